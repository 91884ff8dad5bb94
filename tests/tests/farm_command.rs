//! `make run` as a program: its exit codes, its end by time and by signal, and what it leaves behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Duration;
use system_tests::farm::programs::Program;
use system_tests::folder::RunFolder;
use system_tests::process::{Launch, Process};
use system_tests::wait;

const SOON: Duration = Duration::from_secs(60);

fn start(folder: &RunFolder, arguments: &[&str]) -> Process {
    let run = folder.path().join("run");
    Launch::new("farm", Program::Farm.locate().unwrap(), folder.path())
        .args(["--folder".as_ref(), run.as_os_str()])
        .args(arguments)
        .start()
        .unwrap()
}

fn shown(process: &Process) -> String {
    std::fs::read_to_string(process.log()).unwrap()
}

async fn ended(process: &mut Process) -> i32 {
    let end = async || process.ended().unwrap();
    wait::until(SOON, "the farm's end", end).await.unwrap().code().unwrap_or(-1)
}

async fn mines(process: &mut Process) {
    let log = process.log().to_owned();
    let accepted = async || std::fs::read_to_string(&log).ok()?.contains("block accepted").then_some(());
    process.ready(SOON, "show a block", accepted).await.unwrap();
}

/// Processes whose command line or folder names `folder`.
fn left_in(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let process = |entry: std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.contains(name).then_some(command)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| process(entry.ok()?)).collect()
}

#[tokio::test]
async fn a_run_ends_by_itself_with_success_when_blocks_were_accepted() {
    let folder = RunFolder::temporary().unwrap();
    let mut farm = start(&folder, &["--for", "8s"]);
    assert_eq!(ended(&mut farm).await, 0, "{}", shown(&farm));
    let text = shown(&farm);
    for told in [
        "export NATS_URL=nats://127.0.0.1:",
        "nats sub",
        "block accepted   height 1 ",
        "2 active, 1 backup",
        "stopped; ",
    ] {
        assert!(text.contains(told), "{told:?} is missing in:\n{text}");
    }
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
    assert!(folder.path().join("run/coordinator.log").is_file(), "what it wrote stays");
}

#[tokio::test]
async fn a_run_without_a_block_ends_with_failure() {
    let folder = RunFolder::temporary().unwrap();
    let mut farm = start(&folder, &["--for", "0s"]);
    let code = ended(&mut farm).await;
    let text = shown(&farm);
    // A block may be there before the first screen is.
    assert_eq!(code == 0, text.contains("block accepted"), "{code}:\n{text}");
    assert_eq!(left_in(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_signal_stops_everything_in_order_and_a_second_one_at_once() {
    for signals in [1, 2] {
        let folder = RunFolder::temporary().unwrap();
        let mut farm = start(&folder, &[]);
        mines(&mut farm).await;
        for _ in 0..signals {
            farm.signal(Signal::SIGINT).unwrap();
        }
        let code = ended(&mut farm).await;
        let gone = async || left_in(folder.path()).is_empty().then_some(());
        wait::until(SOON, "every process to be gone", gone).await.unwrap();
        if signals == 1 {
            assert_eq!(code, 0, "{}", shown(&farm));
            assert!(shown(&farm).contains("asked to stop"), "{}", shown(&farm));
        }
    }
}

#[tokio::test]
async fn a_folder_with_somebodys_files_is_left_alone_and_a_second_farm_in_one_is_refused() {
    let folder = RunFolder::temporary().unwrap();
    let run = folder.inner("run").unwrap();
    std::fs::write(run.join("thesis.txt"), "ten years of work").unwrap();
    let mut refused = start(&folder, &[]);
    assert_eq!(ended(&mut refused).await, 1);
    assert!(shown(&refused).contains("no farm's folder"), "{}", shown(&refused));
    assert!(run.join("thesis.txt").is_file());

    let folder = RunFolder::temporary().unwrap();
    let mut first = start(&folder, &[]);
    mines(&mut first).await;
    let mut second = start(&folder, &["--for", "1s"]);
    assert_eq!(ended(&mut second).await, 1);
    assert!(shown(&first).contains("another farm runs in"), "{}", shown(&first));
    first.signal(Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut first).await, 0);
}

#[tokio::test]
async fn two_farms_that_are_started_at_once_both_mine() {
    let folders = [RunFolder::temporary().unwrap(), RunFolder::temporary().unwrap()];
    let mut farms = [start(&folders[0], &[]), start(&folders[1], &[])];
    for farm in &mut farms {
        mines(farm).await;
        farm.signal(Signal::SIGTERM).unwrap();
        assert_eq!(ended(farm).await, 0, "{}", shown(farm));
    }
}
