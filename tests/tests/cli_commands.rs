//! docs/commands.md, line by line, with the real `nats` program against a real farm.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the test are tests too")]

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use system_tests::farm::chain::ChainKind;
use system_tests::farm::{Farm, FarmPlan, WORKERS, programs};
use system_tests::folder::RunFolder;
use system_tests::parts::{Part, repository};
use system_tests::wait;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

/// Longest wait for what a command should show.
const SOON: Duration = Duration::from_secs(45);
/// Commands that change nothing: what they show may take a moment to be so, and they are asked again until it is.
const LOOKS: &[&str] = &[
    ".get ",
    ".list ",
    ".show ",
    ".status ",
    "stream get",
    "stream subjects",
    "stream info",
    "kv get",
    "kv ls",
    "kv history",
    "micro",
];

/// A command of the page and the pieces of its answer.
#[derive(Debug)]
struct Example {
    line: usize,
    command: String,
    answer: Vec<String>,
    /// It goes on until the reader ends it.
    endless: bool,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (index, text) in page.lines().enumerate() {
        match (text, examples.last_mut()) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            _ if !inside => {}
            (text, last) => match (text.strip_prefix("$ "), last) {
                (Some(command), _) => {
                    let command = command.to_owned();
                    examples.push(Example { line: index + 1, command, answer: Vec::new(), endless: false });
                }
                (None, Some(last)) if text == "^C" => last.endless = true,
                (None, Some(last)) => last.answer.extend(text.split('…').map(str::to_owned)),
                (None, None) => panic!("line {}: an answer without a command", index + 1),
            },
        }
    }
    examples
}

/// The pieces of an example's answer stand in `shown` one after another.
fn shows(example: &Example, shown: &str) -> bool {
    let mut rest = shown;
    example.answer.iter().all(|piece| match rest.split_once(piece.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn start(farm: &Farm, command: &str) -> Child {
    let nats = Part::NatsCli.locate().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [nats.parent().unwrap().to_owned(), programs::folder()];
    let path: OsString =
        std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).unwrap();
    Command::new("/bin/bash")
        // Both outputs in one pipe, in the order in which the program wrote them.
        .args(["-c", &format!("exec 2>&1; exec {command}")])
        .env("PATH", path)
        .env("HOME", farm.folder.path())
        .env("NATS_URL", farm.server.url())
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// What a command shows, as it comes.
struct Output {
    shown: String,
    stream: ChildStdout,
}

impl Output {
    fn of(child: &mut Child) -> Self {
        Self { shown: String::new(), stream: child.stdout.take().unwrap() }
    }

    /// Reads until `enough`, or to the end.
    async fn read(&mut self, enough: impl Fn(&str) -> bool) {
        let mut bytes = [0; 4_096];
        loop {
            let count = self.stream.read(&mut bytes).await.unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if count == 0 || enough(&self.shown) {
                return;
            }
        }
    }
}

/// Runs a command once. An endless one is ended when it has shown what it should.
async fn run(farm: &Farm, example: &Example) -> (String, Option<ExitStatus>) {
    let mut child = start(farm, &example.command);
    let mut output = Output::of(&mut child);
    let enough = |shown: &str| example.endless && shows(example, shown);
    let finished = tokio::time::timeout(SOON, async {
        output.read(enough).await;
        if example.endless { None } else { Some(child.wait().await.unwrap()) }
    });
    match finished.await {
        Ok(status) => (output.shown, status),
        Err(_) => {
            panic!("line {}: `{}` does not end; so far:\n{}", example.line, example.command, output.shown)
        }
    }
}

async fn check(farm: &Farm, example: &Example) {
    let mut last = String::new();
    let looks = LOOKS.iter().any(|look| example.command.contains(look));
    let what = format!("line {} of docs/commands.md", example.line);
    let outcome = wait::until(SOON, what, async || {
        let (shown, status) = run(farm, example).await;
        let right = shows(example, &shown) && status.is_none_or(|status| status.success());
        last = format!("{status:?}\n{shown}");
        if right { Some(true) } else { (!looks).then_some(false) }
    });
    let right = outcome.await.unwrap_or(false);
    assert!(right, "line {}: `{}` should show {:?}:\n{last}", example.line, example.command, example.answer);
}

#[tokio::test]
async fn every_command_of_the_cheat_sheet_does_what_it_says_with_the_real_nats_cli() {
    let page = std::fs::read_to_string(repository().join("docs/commands.md")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 40, "{} commands were found", examples.len());
    let plan = FarmPlan::new(ChainKind::Embedded);
    let mut farm = Farm::start(RunFolder::temporary().unwrap(), plan).await.unwrap();
    let everyone = |status: &bus_schemas::command::PoolStatus| {
        usize::try_from(status.active + status.backup).unwrap() == WORKERS.len()
    };
    farm.until_status(SOON, "every worker to join", everyone).await.unwrap();
    for example in &examples {
        check(&farm, example).await;
        farm.check_alive().unwrap();
    }
    farm.stop().await.unwrap();
}
