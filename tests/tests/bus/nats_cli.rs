//! The stock `nats` program takes the same files and sees the same things.

use crate::{connect, pool, soon};
use bus_schemas::{
    command::{CommandError, CommandName, ErrorCode},
    subject::COMMAND_SERVICE,
};
use nats_adapter::{Action, CommandService, ObjectError, Outcome, ensure, streams};
use std::{
    ffi::OsStr,
    process::{Output, Stdio},
};
use system_tests::{
    farm::programs::Program,
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::{Part, repository},
};

async fn server() -> NatsServer {
    let config = Some(repository().join("nats/server/one.conf"));
    let options = NatsOptions { config, ..NatsOptions::default() };
    NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap()
}

async fn run<A: AsRef<OsStr>>(server: &NatsServer, arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = tokio::process::Command::new(Part::NatsCli.locate().unwrap());
    command.env("HOME", server.folder()).arg("--server").arg(server.url()).args(arguments);
    soon("the nats program", command.output()).await.unwrap()
}

async fn nats<A: AsRef<OsStr>>(server: &NatsServer, arguments: impl IntoIterator<Item = A>) -> String {
    let output = run(server, arguments).await;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn every_file_makes_the_stream_that_the_code_wants() {
    let server = server().await;
    for (name, _) in streams::FILES {
        let file = repository().join("nats/streams").join(format!("{name}.json"));
        let arguments: [&OsStr; 4] = ["stream".as_ref(), "add".as_ref(), "--config".as_ref(), file.as_ref()];
        nats(&server, arguments).await;
    }
    let file = repository().join("nats/consumers/found.json");
    let arguments: [&OsStr; 5] =
        ["consumer".as_ref(), "add".as_ref(), "DCMF_FOUND".as_ref(), "--config".as_ref(), file.as_ref()];
    assert!(nats(&server, arguments).await.contains("found-main"));
    let bus = connect(&server).await;
    assert_eq!(ensure(&bus, 1, Action::Look).await.unwrap(), Outcome::default());
}

#[tokio::test]
async fn an_object_that_was_put_by_hand_is_read_by_the_code_and_no_longer_one_than_is_wanted() {
    let server = server().await;
    let bus = connect(&server).await;
    let bucket = streams::COMPONENTS;
    let none = bus.object(bucket, "mine", 10).await;
    assert_eq!(none, Err(ObjectError::NoBucket(bucket.to_owned())));
    ensure(&bus, 1, Action::Create).await.unwrap();
    let none = bus.object(bucket, "mine", 10).await;
    assert_eq!(none, Err(ObjectError::NoObject { bucket: bucket.to_owned(), object: "mine".to_owned() }));

    // More than one chunk.
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let file = server.folder().join("component");
    std::fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();
    nats(&server, ["object", "put", bucket, file, "--name", "mine", "--no-progress", "--force"]).await;
    assert_eq!(bus.object(bucket, "mine", bytes.len()).await.as_ref(), Ok(&bytes));
    let (object, len, most) = ("mine".to_owned(), bytes.len(), bytes.len() - 1);
    assert_eq!(bus.object(bucket, "mine", most).await, Err(ObjectError::TooBig { object, len, most }));
    nats(&server, ["object", "rm", "--force", bucket, "mine"]).await;
    assert!(matches!(bus.object(bucket, "mine", 10).await, Err(ObjectError::NoObject { .. })));
}

#[tokio::test]
async fn buckets_are_listed_read_and_written_by_hand() {
    let server = server().await;
    let bus = connect(&server).await;
    ensure(&bus, 1, Action::Create).await.unwrap();
    let list = nats(&server, ["kv", "ls", "--names"]).await;
    for bucket in [streams::CONFIG, streams::MEMBERS, streams::LEASES] {
        assert!(list.contains(bucket), "{list}");
    }
    let kv = bus.kv(streams::CONFIG);
    kv.put("pool.main", "by code".into()).await.unwrap();
    assert_eq!(nats(&server, ["kv", "get", streams::CONFIG, "pool.main", "--raw"]).await.trim(), "by code");
    nats(&server, ["kv", "put", streams::CONFIG, "pool.main", "by hand"]).await;
    assert_eq!(kv.get("pool.main").await.unwrap().unwrap().value, "by hand");
    nats(&server, ["kv", "del", "-f", streams::CONFIG, "pool.main"]).await;
    assert_eq!(kv.get("pool.main").await.unwrap(), None);
}

#[tokio::test]
async fn commands_are_listed_and_their_refusals_shown() {
    let server = server().await;
    let bus = connect(&server).await;
    let name = CommandName::find("pool", "get").unwrap();
    let mut service = CommandService::start(&bus, "1.2.3", std::slice::from_ref(name)).await.unwrap();
    let listed = nats(&server, ["micro", "info", COMMAND_SERVICE]).await;
    assert!(listed.contains("1.2.3") && listed.contains("pool-get"), "{listed}");
    let refusal = CommandError::new(ErrorCode::UnknownPool, format!("there is no pool {}", pool()));
    let subject = name.on(pool());
    let ask = run(&server, ["request", &subject, "{}"]);
    let serve = async { service.next().await.unwrap().refuse(&refusal).await.unwrap() };
    let (asked, ()) = tokio::join!(ask, serve);
    let shown = String::from_utf8_lossy(&asked.stdout);
    assert!(shown.contains("\"unknown-pool\""), "{shown}");
    let stats = nats(&server, ["micro", "stats", COMMAND_SERVICE, "--json"]).await;
    assert!(stats.contains("\"refused\": 1"), "{stats}");
}

#[tokio::test]
async fn dcmf_bus_ends_as_ever_when_nobody_reads_what_it_says() {
    let server = server().await;
    for (command, code) in [("drift", 1), ("ensure", 0), ("drift", 0)] {
        let mut child = tokio::process::Command::new(Program::Bus.locate().unwrap())
            .args(["--server", server.url(), command])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = soon("dcmf-bus", child.wait_with_output()).await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), told.as_ref()), (Some(code), ""), "{command}");
    }
}
