//! Logins, permissions, and what the connection reports.

use crate::{SOON, share, shares, soon};
use nats_adapter::{Bus, BusEvent, BusOptions, ConnectError};
use nix::sys::signal::Signal;
use std::time::Duration;
use system_tests::{
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    ports::free_ports,
    wait,
};

const USERS: &str = r#"
authorization {
  users: [
    { user: deaf, password: x, permissions: { subscribe: { deny: ["dcmf.>"] } } }
    { user: mute, password: x, permissions: { publish: { deny: [">"] } } }
  ]
}
"#;

/// The harness comes in without a login, so the users are told to the running server.
async fn server_with_users() -> NatsServer {
    let folder = RunFolder::temporary().unwrap();
    let config = folder.path().join("users.conf");
    std::fs::write(&config, "").unwrap();
    let options = NatsOptions { config: Some(config.clone()), ..NatsOptions::default() };
    let mut server = NatsServer::start_in(folder, options).await.unwrap();
    std::fs::write(&config, USERS).unwrap();
    server.process().signal(Signal::SIGHUP).unwrap();
    let log = server.process().log().to_owned();
    let reloaded =
        async || std::fs::read_to_string(&log).ok()?.contains("Reloaded server configuration").then_some(());
    wait::until(SOON, "the server to know its users", reloaded).await.unwrap();
    server
}

async fn connect_as(server: &NatsServer, user: &str, password: &str) -> Result<Bus, ConnectError> {
    let url = server.url().replace("nats://", &format!("nats://{user}:{password}@"));
    Bus::connect(BusOptions::new("test", [url])).await
}

#[tokio::test]
async fn a_wrong_login_is_refused_by_name() {
    let server = server_with_users().await;
    let error = connect_as(&server, "deaf", "wrong").await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let error = connect_as(&server, "deaf", "wr#ng").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("wr#ng"), "{error}");
}

#[tokio::test]
async fn a_login_that_may_not_send_is_no_connection() {
    let server = server_with_users().await;
    let error = connect_as(&server, "mute", "x").await.unwrap_err();
    assert!(matches!(error, ConnectError::NoRoundTrip { .. }), "{error}");
}

#[tokio::test]
async fn a_forbidden_subscription_is_reported() {
    let server = server_with_users().await;
    let bus = connect_as(&server, "deaf", "x").await.unwrap();
    let mut events = bus.events();
    let _silent = bus.subscribe_bytes(shares()).await.unwrap();
    let refused = soon("the refusal", async {
        loop {
            if let BusEvent::Refused(reason) = events.recv().await.unwrap() {
                return reason;
            }
        }
    });
    assert!(refused.await.contains("Permissions Violation"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_or_waited_for() {
    let [port] = free_ports().unwrap();
    let url = format!("nats://127.0.0.1:{port}");
    let error = Bus::connect(BusOptions::new("test", [&url])).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");

    let options = BusOptions { patience: Duration::from_secs(60), ..BusOptions::new("test", [&url]) };
    let waiting = tokio::spawn(Bus::connect(options));
    let options = NatsOptions { port: Some(port), ..NatsOptions::default() };
    let _server = NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap();
    let bus = soon("the connection", waiting).await.unwrap().unwrap();
    bus.publish(shares(), &share(1)).await.unwrap();
}
