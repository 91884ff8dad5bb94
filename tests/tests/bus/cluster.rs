//! Three servers as `nats/server/cluster` configures them.

use crate::{pool, share, shares, soon};
use bus_schemas::subject::filter;
use nats_adapter::{Action, Bus, BusOptions, Expect, Outcome, ensure, streams};
use system_tests::{
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
    ports::free_ports,
    wait,
};

const REPLICAS: usize = 3;

/// The configuration files with other ports, since tests share the machine.
fn configurations(folder: &RunFolder) -> [NatsOptions; REPLICAS] {
    let ports: [u16; REPLICAS] = free_ports().unwrap();
    [1, 2, 3].map(|node| {
        let name = format!("n{node}.conf");
        let mut text = std::fs::read_to_string(repository().join("nats/server/cluster").join(&name)).unwrap();
        for (fixed, free) in (6221..).zip(ports) {
            assert!(text.contains(&format!("127.0.0.1:{fixed}")), "{name} does not name port {fixed}");
            text = text.replace(&format!("127.0.0.1:{fixed}"), &format!("127.0.0.1:{free}"));
        }
        let path = folder.path().join(&name);
        std::fs::write(&path, text).unwrap();
        NatsOptions { config: Some(path), ..NatsOptions::default() }
    })
}

#[tokio::test]
async fn three_servers_keep_every_message_when_one_is_killed() {
    let folder = RunFolder::temporary().unwrap();
    let start =
        |options| async { NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap() };
    let [first, second, third] = configurations(&folder).map(start);
    let (mut first, second, third) = tokio::join!(first, second, third);
    let servers = [&first, &second, &third].map(|server| server.url().to_owned());
    let bus = Bus::connect(BusOptions::new("test", servers)).await.unwrap();

    let made = async || match ensure(&bus, REPLICAS, Action::Create).await {
        Ok(outcome) if outcome == Outcome::default() => Some(()),
        _ => None,
    };
    wait::until(crate::SOON, "the cluster to have all streams", made).await.unwrap();

    let mut replay = bus.replay(streams::SHARE, filter::shares(&pool()), 1).await.unwrap();
    let mut read = async |expected: u64| {
        let batch = soon("the share", replay.next_batch(1)).await.unwrap();
        assert_eq!(batch[0].sequence, expected);
    };
    bus.publish_stored(shares(), &share(1), None, Expect::LastSubjectSequence(0)).await.unwrap();
    read(1).await;

    first.kill9().unwrap();
    let id = share(2).message_id();
    let again = async || {
        bus.publish_stored(shares(), &share(2), Some(&id), Expect::LastSubjectSequence(1)).await.ok()
    };
    let stored = wait::until(crate::SOON, "the two others to take a share", again).await.unwrap();
    assert_eq!(stored.sequence, 2);
    read(2).await;
    assert_eq!(
        bus.last::<bus_schemas::share::Share>(streams::SHARE, shares()).await.unwrap().unwrap().sequence,
        2
    );
}
