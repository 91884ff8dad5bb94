//! xmrig, which everybody mines RandomX with, in the same run: started once, halted while others have their turn.

use super::contender::{Contender, Searched};
use crate::{
    bench::idle::processor_time::of_process, coordinator::Failure, folder::RunFolder, process::Launch,
    process::Process,
};
use algorithm_api::context::Mode;
use nix::sys::signal::Signal;
use std::{
    ffi::OsStr,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How the names of its programs begin.
const PROGRAM: &str = "xmrig";
/// It searches for longer than any of this takes, and says each second how far it is.
const ENDLESS: [&str; 4] = ["--bench=10M", "--print-time=1", "--no-color", "--donate-level=0"];
/// It would change registers of the processor for everybody, and only root may.
const LEAVE_THE_PROCESSOR: &str = "--randomx-wrmsr=-1";
/// Time that it may take to compute its data set.
const READY_DEADLINE: Duration = Duration::from_secs(180);
/// Time that it may take between two words.
const SILENCE: Duration = Duration::from_secs(20);
/// After it goes on, so long does not count.
const WARM_UP: Duration = Duration::from_millis(300);
/// How often is looked at what it says.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// xmrig at its own benchmark. Ends when dropped.
#[derive(Debug)]
pub(super) struct Xmrig {
    process: Process,
    mode: Mode,
    log: PathBuf,
    _folder: RunFolder,
}

impl Xmrig {
    /// Whether a program is one.
    pub(super) fn is(program: &Path) -> bool {
        program.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PROGRAM))
    }

    /// Starts it, lets it prepare with all processors, and halts it.
    pub(super) fn start(program: &Path, mode: Mode, threads: usize) -> Result<Self, Failure> {
        let folder = RunFolder::temporary()?;
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        // It writes to a terminal, to a pipe or to a file that it opens itself, but not to a file that it is given.
        let log = folder.path().join("own.log");
        // It would read a configuration in the user's home.
        let process = Launch::new(PROGRAM, program, folder.path())
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .args(ENDLESS)
            .args([OsStr::new("--log-file"), log.as_os_str()])
            .args([LEAVE_THE_PROCESSOR, &format!("--randomx-mode={mode}"), &format!("--threads={threads}")])
            .start()?;
        let mut started = Self { process, mode, log, _folder: folder };
        started.wait(READY_DEADLINE, "search", |log| log.contains("READY threads").then_some(()))?;
        started.process.signal(Signal::SIGSTOP)?;
        Ok(started)
    }

    /// What its data set took, by itself: the cache and all items, without the making of the pages.
    pub(super) fn dataset_seconds(&self) -> Option<f64> {
        dataset_seconds(&self.log().ok()?)
    }

    /// What it has used of the processors.
    pub(super) fn processor_time(&self) -> Result<Duration, Failure> {
        Ok(of_process(self.process.id())?)
    }

    /// How much of its memory lies in reserved huge pages.
    pub(super) fn huge_pages(&self) -> Option<String> {
        huge_pages(&self.log().ok()?)
    }

    fn log(&self) -> Result<String, Failure> {
        match fs::read(&self.log) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        look: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < deadline {
            if let Some(seen) = look(&self.log()?) {
                return Ok(seen);
            }
            self.process.check_alive()?;
            thread::sleep(LOOK_EVERY);
        }
        let log = self.log()?;
        Err(format!("{PROGRAM} does not {what} within {deadline:?}; its log:\n{log}").into())
    }

    /// Waits for the next word about hashes: how many, the processor time used, and when.
    fn progress(&mut self) -> Result<(u64, Duration, Instant), Failure> {
        let said = counts(&self.log()?).count();
        let hashes = self.wait(SILENCE, "say how far it is", |log| counts(log).nth(said))?;
        Ok((hashes, self.processor_time()?, Instant::now()))
    }
}

impl Contender for Xmrig {
    fn name(&self) -> String {
        format!("{PROGRAM} {}", self.mode)
    }

    fn peer(&self) -> Option<&str> {
        Some(PROGRAM)
    }

    /// As many threads as it was started with.
    fn search(&mut self, _threads: usize, length: Duration) -> Result<Searched, Failure> {
        self.process.signal(Signal::SIGCONT)?;
        thread::sleep(WARM_UP);
        let (hashes, cpu, begun) = self.progress()?;
        let searched = loop {
            let now = self.progress()?;
            let clock = now.2.duration_since(begun);
            if clock >= length {
                let hashes = now.0.saturating_sub(hashes) as f64;
                break Searched { hashes, cpu: now.1.saturating_sub(cpu), clock };
            }
        };
        self.process.signal(Signal::SIGSTOP)?;
        Ok(searched)
    }
}

/// Hashes done by each line such as `[…]  bench     0.01% 878/10000000 (1.007s)`; the last line may be half written.
fn counts(log: &str) -> impl Iterator<Item = u64> {
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| {
        let (_, rest) = line.split_once(" bench ")?;
        let (done, _) = rest.split_whitespace().nth(1)?.split_once('/')?;
        done.parse().ok()
    })
}

/// Out of `[…]  randomx  dataset ready (8423 ms)`.
fn dataset_seconds(log: &str) -> Option<f64> {
    let (_, rest) = log.split_once("dataset ready (")?;
    let (milliseconds, _) = rest.split_once(" ms)")?;
    Some(milliseconds.parse::<f64>().ok()? / 1e3)
}

/// Out of `[…]  randomx  allocated 2336 MB (2080+256) huge pages 100% 1168/1168 +JIT (369 ms)`.
fn huge_pages(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(" allocated "))?;
    let (_, rest) = line.split_once("huge pages ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[2026-11-21 22:07:31.027]  bench    start benchmark hashes 10M algo rx/0
[2026-11-21 22:07:31.398]  randomx  allocated 2336 MB (2080+256) huge pages 100% 1168/1168 +JIT (369 ms)
[2026-11-21 22:07:48.076]  randomx  dataset ready (16678 ms)
[2026-11-21 22:07:48.078]  cpu      READY threads 2/2 (2) huge pages 100% 2/2 memory 4096 KB (2 ms)
[2026-11-21 22:07:49.077]  miner    speed 10s/60s/15m n/a n/a n/a H/s max n/a H/s
[2026-11-21 22:07:49.082]  bench     0.01% 878/10000000 (1.007s)
[2026-11-21 22:07:50.082]  bench     0.02% 1825/10000000 (2.007s)
[2026-11-21 22:07:51.083]  bench     0.03% 27";

    #[test]
    fn what_xmrig_says_is_read_and_a_half_written_line_is_not() {
        assert_eq!(counts(LOG).collect::<Vec<_>>(), [878, 1825]);
        assert_eq!(dataset_seconds(LOG), Some(16.678));
        assert_eq!(huge_pages(LOG).as_deref(), Some("100%"));
        assert_eq!((dataset_seconds("nothing"), huge_pages("nothing")), (None, None));
    }

    #[test]
    fn only_xmrig_is_one() {
        assert!(Xmrig::is(Path::new("/opt/xmrig")));
        assert!(Xmrig::is(Path::new("/opt/xmrig-6.26.0")));
        assert!(!Xmrig::is(Path::new("/opt/xmrig/minerd")));
    }
}
