//! The program itself: what it says and how it ends.
#![allow(clippy::unwrap_used, reason = "the functions beside the tests are tests too")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_dcmf-worker"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_worker_that_cannot_start_says_why_and_ends_with_a_code() {
    for (arguments, code, told) in [
        (&["--worker", "a.b", "--pool", "main"][..], 2, "worker \"a.b\" cannot be used: an id holds '.'"),
        (&["--worker", "w1"], 2, "pool is missing; give --pool"),
        (&["--worker", "w1", "--pool", "p", "--http", "192.0.2.1:1"], 1, "cannot listen on 192.0.2.1:1"),
    ] {
        let output = timeout(SOON, start(arguments).wait_with_output()).await.unwrap().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(told), "{log}");
    }
}

#[tokio::test]
async fn a_worker_that_waits_for_a_server_ends_in_order_on_sigterm_and_sigint() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Port 1 of this machine serves nothing.
        let server = ["--server", "nats://127.0.0.1:1", "--http", "127.0.0.1:0"];
        let mut child = start(&[&["--worker", "w1", "--pool", "main"], &server[..]].concat());
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let waits = async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains("no connection yet") {
                    return;
                }
            }
            panic!("it never waited for a server");
        };
        timeout(SOON, waits).await.unwrap();
        kill(Pid::from_raw(child.id().unwrap().cast_signed()), signal).unwrap();
        let status = timeout(SOON, child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

/// A worker that cannot start, with nothing of the environment that changes its log.
fn refused(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcmf-worker"));
    command.args(["--worker", "a.b", "--pool", "main"]).env_remove("DCMF_LOG").env_remove("NO_COLOR");
    command
        .envs(environment.iter().copied())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn dcmf_log_says_how_much_is_logged_and_a_file_gets_no_colours() {
    for (environment, logs) in [
        (&[][..], true),
        (&[("DCMF_LOG", "debug")], true),
        (&[("DCMF_LOG", "off")], false),
        (&[("DCMF_LOG", "not=a=filter")], true),
        (&[("RUST_LOG", "off")], true),
    ] {
        let output = timeout(SOON, refused(environment).output()).await.unwrap().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log.contains("cannot be used"), logs, "{environment:?}: {log}");
        assert!(!log.contains('\u{1b}'), "{log:?}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[tokio::test]
async fn nobody_who_stops_reading_makes_the_program_panic() {
    let mut child = refused(&[]).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(timeout(SOON, child.wait()).await.unwrap().unwrap().code(), Some(2));
    let mut check = Command::new(env!("CARGO_BIN_EXE_dcmf-worker"))
        .args(["--worker", "w1", "--pool", "p", "check"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    drop(check.stdout.take());
    let output = timeout(SOON, check.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !log.contains("panicked"), "{:?}: {log}", output.status);
}
