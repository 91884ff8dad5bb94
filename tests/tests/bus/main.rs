//! The bus adapter against real servers.
#![cfg(test)]

mod cluster;
mod commands;
mod connection;
mod leases;
mod nats_cli;
mod publishing;
mod reading;
mod streams;

use bus_schemas::{
    PoolId, WorkerId, examples,
    share::{Finding, Share},
    subject::Subject,
};
use nats_adapter::{Action, Bus, BusOptions, ensure};
use std::{future::Future, time::Duration};
use system_tests::{
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
};

/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(30);

/// A server with the streams of a farm, and a connection to it.
struct Farm {
    server: NatsServer,
    bus: Bus,
}

impl Farm {
    async fn start() -> Self {
        let config = Some(repository().join("nats/server/one.conf"));
        let options = NatsOptions { config, ..NatsOptions::default() };
        let server = NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap();
        let bus = connect(&server).await;
        ensure(&bus, 1, Action::Create).await.unwrap();
        Self { server, bus }
    }

    /// Kills the server, starts it again, and waits until the connection is back.
    async fn kill_and_restart(&mut self) {
        let before = self.bus.link().borrow().connects;
        self.server.kill9().unwrap();
        self.server.start_again().await.unwrap();
        let mut link = self.bus.link();
        soon("the connection to come back", link.wait_for(|link| link.connects > before)).await.unwrap();
    }
}

async fn connect(server: &NatsServer) -> Bus {
    Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap()
}

/// Waits for `future`, but not for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}

fn pool() -> PoolId {
    PoolId::new("main").unwrap()
}

fn shares() -> Subject {
    Subject::Share(pool(), WorkerId::new("w1").unwrap())
}

/// A share that differs from those of other numbers.
fn share(number: u32) -> Share {
    let mut share = examples::share().unwrap();
    let Finding::Header(finding) = &mut share.finding else { panic!("a header") };
    finding.nonce = number;
    share
}
