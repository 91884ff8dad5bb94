//! Components that come over the bus, from a real bucket into the worker's sandbox.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]
#![cfg(test)]

#[path = "../../algorithms/component/tests/component/toy.rs"]
#[allow(dead_code, missing_docs)]
mod toy;

use algorithm_api::{Algorithm, Range, Target};
use algorithm_component::{Limits, NotWanted, Sandbox, Wanted, digest};
use async_nats::jetstream::object_store::ObjectMetadata;
use nats_adapter::{Action, Bus, BusOptions, ObjectError, ensure, streams};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use system_tests::{
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
};
use toy::{ID, Toy};
use worker::components::{ComponentError, Components};

/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(60);

struct Stage {
    _server: NatsServer,
    bus: Bus,
    /// The digests that may run.
    permitted: Arc<Mutex<Vec<[u8; 32]>>>,
    components: Components,
}

impl Stage {
    async fn start() -> Self {
        let config = Some(repository().join("nats/server/one.conf"));
        let options = NatsOptions { config, ..NatsOptions::default() };
        let server = NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap();
        let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
        ensure(&bus, 1, Action::Create).await.unwrap();
        let permitted = Arc::<Mutex<Vec<[u8; 32]>>>::default();
        let list = Arc::clone(&permitted);
        let is_permitted = move |wanted: &Wanted| {
            let found = list.lock().unwrap().contains(&wanted.digest);
            if found { Ok(()) } else { Err("no certificate".to_owned()) }
        };
        let limits = Limits { component_len: 64 << 10, ..Limits::default() };
        let sandbox = Sandbox::new(limits, &[]).unwrap();
        let components = Components::new(bus.clone(), sandbox, Arc::new(is_permitted));
        Self { _server: server, bus, permitted, components }
    }

    /// What `nats object put` does.
    async fn put(&self, name: &str, bytes: &[u8]) {
        let store = self.bus.jetstream().get_object_store(streams::COMPONENTS).await.unwrap();
        let object = ObjectMetadata { name: name.to_owned(), ..ObjectMetadata::default() };
        store.put(object, &mut &*bytes).await.unwrap();
    }

    fn permit(&self, wanted: &Wanted) {
        self.permitted.lock().unwrap().push(wanted.digest);
    }

    async fn obtain(
        &self,
        wanted: &Wanted,
    ) -> Result<algorithm_component::ComponentAlgorithm, ComponentError> {
        tokio::time::timeout(SOON, self.components.obtain(wanted)).await.expect("in time")
    }
}

fn wanted(bytes: &[u8]) -> Wanted {
    Wanted { id: ID.to_owned(), version: 2, digest: digest(bytes) }
}

#[tokio::test]
async fn a_permitted_component_comes_from_the_bucket_and_searches() {
    let stage = Stage::start().await;
    let bytes = Toy::default().component();
    let wanted = wanted(&bytes);
    stage.put(&wanted.object_name(), &bytes).await;
    stage.permit(&wanted);
    assert!(stage.components.loaded(&wanted).is_none(), "nobody asked for it yet");
    let component = stage.obtain(&wanted).await.unwrap();
    let mut range = Range { next: 0, end: 50 };
    let mut search = component.prepare(&[1]).unwrap();
    assert_eq!(search.search(&mut range, u64::MAX, &Target::MAX, &mut |_| {}), 50);
    assert!(stage.components.loaded(&wanted).is_some());

    stage.permitted.lock().unwrap().clear();
    assert!(stage.components.loaded(&wanted).is_none(), "it is revoked");
    assert_eq!(
        stage.obtain(&wanted).await.unwrap_err(),
        ComponentError::NotPermitted("no certificate".to_owned())
    );
}

#[tokio::test]
async fn what_is_not_permitted_missing_too_big_or_another_is_refused_by_name() {
    let stage = Stage::start().await;
    let bytes = Toy::default().component();
    let right = wanted(&bytes);
    let refused = stage.obtain(&right).await.unwrap_err();
    assert_eq!(refused, ComponentError::NotPermitted("no certificate".to_owned()));

    stage.permit(&right);
    let (bucket, object) = (streams::COMPONENTS.to_owned(), right.object_name());
    let none = ObjectError::NoObject { bucket, object: object.clone() };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::Fetch(none));

    let too_big = vec![0; (64 << 10) + 1];
    stage.put(&object, &too_big).await;
    let refusal = ObjectError::TooBig { object: object.clone(), len: too_big.len(), most: 64 << 10 };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::Fetch(refusal));

    let other = Toy { positions: 9, ..Toy::default() }.component();
    stage.put(&object, &other).await;
    let tampered = NotWanted::Digest { found: digest(&other), wanted: right.digest };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::NotWanted(tampered));

    stage.put(&object, &bytes).await;
    let misnamed = Wanted { version: 3, ..right.clone() };
    let refused = stage.obtain(&misnamed).await.unwrap_err();
    assert!(matches!(refused, ComponentError::NotWanted(NotWanted::Identity { .. })), "{refused}");
    stage.obtain(&right).await.unwrap();
}
