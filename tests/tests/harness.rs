//! The harness itself: each real part starts, answers, and is gone with its guard.

use async_nats::jetstream;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use system_tests::folder::RunFolder;
use system_tests::nats_server::{NatsOptions, NatsServer};
use system_tests::process::{Launch, Process, ProcessError};
use system_tests::{HarnessError, bitcoin_knots, btcd, litecoind, monerod, wait};

const SOON: Duration = Duration::from_secs(10);

fn start(program: &str, arguments: &[&str], folder: &RunFolder) -> Result<Process, ProcessError> {
    Launch::new("child", program, folder.path()).args(arguments).start()
}

/// A process that was killed but not yet reaped by init counts as gone.
fn is_gone(id: u32) -> bool {
    let zombie = || match std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    };
    kill(Pid::from_raw(id.cast_signed()), None) == Err(Errno::ESRCH) || zombie()
}

#[tokio::test]
async fn a_process_is_gone_when_its_guard_is_dropped() {
    let folder = RunFolder::temporary().unwrap();
    let process = start("/bin/sleep", &["1000"], &folder).unwrap();
    let id = process.id();
    assert!(!is_gone(id));
    drop(process);
    assert!(is_gone(id));
}

/// This test runs itself a second time as the parent that is killed.
#[tokio::test]
async fn a_process_is_gone_when_its_parent_is_killed() {
    const AS_PARENT: &str = "DCMF_TEST_AS_PARENT";
    let folder = RunFolder::temporary().unwrap();
    if std::env::var_os(AS_PARENT).is_some() {
        let process = start("/bin/sleep", &["1000"], &folder).unwrap();
        println!("\nchild={}", process.id());
        loop {
            std::thread::park();
        }
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_is_gone_when_its_parent_is_killed", "--nocapture"])
        .env(AS_PARENT, "1")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let child = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("child=")?.parse::<u32>().ok());
    let child = child.expect("the parent names its child");
    // setpriv becomes `sleep` only after it has asked for the signal.
    let sleeps =
        || std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "sleep");
    wait::until(SOON, "the child to run", async || sleeps().then_some(())).await.unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait::until(SOON, "the orphan to be gone", async || is_gone(child).then_some(())).await.unwrap();
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_the_deadline() {
    let folder = RunFolder::temporary().unwrap();
    let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
    let mut process = start("/bin/bash", &["-c", script], &folder).unwrap();
    let log = process.log().to_owned();
    let deaf = async || std::fs::read_to_string(&log).ok().filter(|text| text.contains("deaf"));
    wait::until(SOON, "the trap to be set", deaf).await.unwrap();
    let status = process.stop(Duration::from_millis(100)).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGKILL as i32));
}

#[tokio::test]
async fn a_process_that_ends_by_itself_is_reported_with_its_last_words() {
    let folder = RunFolder::temporary().unwrap();
    let mut process = start("/bin/sh", &["-c", "echo last words >&2; exit 3"], &folder).unwrap();
    let never = process.ready(SOON, "do what it never does", async || None::<()>).await;
    let Err(HarnessError::Process(ProcessError::EndedEarly { status, tail, .. })) = never else {
        panic!("{never:?}");
    };
    assert_eq!((status.code(), tail.as_str()), (Some(3), "last words"));
}

#[tokio::test]
async fn waiting_in_vain_says_what_was_waited_for() {
    let overdue =
        wait::until(Duration::from_millis(50), "the moon", std::future::pending::<Option<()>>).await;
    assert_eq!(overdue.unwrap_err().to_string(), "waited 50ms in vain for the moon");
}

#[tokio::test]
async fn a_nats_server_keeps_its_port_and_its_streams_over_stop_and_kill() {
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url().to_owned();
    let connect = async || jetstream::new(async_nats::connect(&url).await.unwrap());
    let stream = jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept".to_owned()],
        ..jetstream::stream::Config::default()
    };
    connect().await.create_stream(stream).await.unwrap();
    connect().await.publish("kept", "first".into()).await.unwrap().await.unwrap();

    assert!(server.stop().await.unwrap().success(), "stopped in order, not killed");
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    connect().await.publish("kept", "second".into()).await.unwrap().await.unwrap();

    server.kill9().unwrap();
    server.start_again().await.unwrap();
    let mut stream = connect().await.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 2);
    let folder = server.folder().to_owned();
    drop(server);
    assert!(!folder.exists(), "{folder:?} is left behind");
}

#[tokio::test]
async fn a_nats_server_takes_a_configuration_file_and_says_why_it_refuses_one() {
    let folder = RunFolder::temporary().unwrap();
    let config = folder.path().join("server.conf");
    let options = || NatsOptions { config: Some(config.clone()), port: None };

    std::fs::write(&config, "server_name: named\nmax_payload: 4096\njetstream { store_dir: own }\n").unwrap();
    let server = NatsServer::start_in(RunFolder::temporary().unwrap(), options()).await.unwrap();
    let info = async_nats::connect(server.url()).await.unwrap().server_info();
    assert_eq!((info.server_name.as_str(), info.max_payload), ("named", 4096));
    assert!(server.folder().join("own").is_dir(), "its store lies in its folder");

    std::fs::write(&config, "max_payload: many\n").unwrap();
    let refused = NatsServer::start_in(RunFolder::temporary().unwrap(), options()).await.unwrap_err();
    assert!(refused.to_string().contains("server.conf:1:"), "{refused}");
}

#[tokio::test]
async fn btcd_hands_out_a_template_of_real_difficulty_and_survives_a_kill() {
    let mut pair = btcd::start(RunFolder::temporary().unwrap(), btcd::ANY_MINING_ADDRESS).await.unwrap();
    let template = pair.first.template(&["segwit"]).await.unwrap();
    assert_eq!((&template["height"], &template["bits"]), (&json!(1), &json!("1e0377ae")));
    pair.first.kill9().unwrap();
    pair.second.rpc.height().await.expect("the second node goes on");
    pair.first.start_again().await.unwrap();
    let genesis = pair.first.rpc.block_at(0, 1).await.unwrap();
    assert_eq!(template["previousblockhash"], genesis["hash"]);
}

#[tokio::test]
async fn bitcoin_knots_and_btcd_agree_on_the_signet() {
    let mut knots = bitcoin_knots::start(RunFolder::temporary().unwrap()).await.unwrap();
    let mut btcd = btcd::start(RunFolder::temporary().unwrap(), btcd::ANY_MINING_ADDRESS).await.unwrap();
    let of_knots = knots.first.template(&bitcoin_knots::RULES).await.unwrap();
    let of_btcd = btcd.first.template(&["segwit"]).await.unwrap();
    for field in ["previousblockhash", "bits", "height", "coinbasevalue"] {
        assert!(
            !of_knots[field].is_null() && of_knots[field] == of_btcd[field],
            "{field}: {of_knots} {of_btcd}"
        );
    }
}

#[tokio::test]
async fn litecoind_hands_out_a_template_to_both_nodes_and_shares_its_blocks() {
    let mut pair = litecoind::start(RunFolder::temporary().unwrap()).await.unwrap();
    let blocks = litecoind::generate(&pair.first.rpc, 3).await.unwrap();
    assert_eq!((blocks.len(), pair.first.rpc.height().await.unwrap()), (3, 3));
    let second = pair.second.rpc.clone();
    let caught_up = async || second.height().await.is_ok_and(|height| height == 3).then_some(());
    wait::until(SOON, "the second node to have the blocks", caught_up).await.unwrap();
    for node in [&mut pair.first, &mut pair.second] {
        assert_eq!(node.template(&litecoind::RULES).await.unwrap()["height"], json!(4));
    }

    assert!(pair.first.stop().await.unwrap().success(), "stopped in order, not killed");
    pair.first.start_again().await.unwrap();
    litecoind::generate(&pair.first.rpc, 1).await.expect("the wallet is there after a restart");
    assert_eq!(pair.first.rpc.height().await.unwrap(), 4);
}

#[tokio::test]
async fn litecoind_asks_for_an_extension_block_from_height_432_on() {
    let mut pair = litecoind::start(RunFolder::temporary().unwrap()).await.unwrap();
    litecoind::prepare_mweb(&pair.first.rpc).await.unwrap();
    let template = pair.first.template(&litecoind::RULES).await.unwrap();
    assert_eq!(template["height"], json!(litecoind::FIRST_MWEB_HEIGHT));
    assert!(template["mweb"].as_str().is_some_and(|bytes| !bytes.is_empty()), "{template}");
    litecoind::generate(&pair.first.rpc, 1).await.unwrap();
    assert_eq!(pair.first.rpc.height().await.unwrap(), litecoind::FIRST_MWEB_HEIGHT);
}

#[tokio::test]
async fn monerod_hands_out_a_template_mines_and_keeps_its_chain_over_a_kill() {
    let (address, difficulty) = (monerod::ANY_MINING_ADDRESS, 3);
    let mut monerod = monerod::start(RunFolder::temporary().unwrap(), difficulty).await.unwrap();
    let template = monerod.template(address, 16).await.unwrap();
    assert_eq!((template.height, template.difficulty, template.seed_height), (1, difficulty, 0));
    let genesis = monerod.header_at(0).await.unwrap();
    assert_eq!((&template.prev_hash, &template.seed_hash), (&genesis.hash, &genesis.hash));
    let reserved = 2 * template.reserved_offset..2 * (template.reserved_offset + 16);
    assert_eq!(&template.blocktemplate_blob[reserved], "00".repeat(16));

    assert_eq!(monerod.generate(3, address).await.unwrap(), 3);
    assert_eq!(monerod.block_count().await.unwrap(), 4);
    let last = monerod.last_header().await.unwrap();
    assert_eq!((last.height, last.orphan_status), (3, false));

    let refused = monerod.submit("00").await.unwrap_err();
    assert!(refused.to_string().contains("Wrong block blob"), "{refused}");

    monerod.node.kill9().unwrap();
    monerod.node.start_again().await.unwrap();
    assert_eq!(monerod.last_header().await.unwrap(), last);
}
