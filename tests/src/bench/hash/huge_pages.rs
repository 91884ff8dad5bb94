//! Huge pages for the time of a benchmark, where this machine lets us reserve them.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
const COMPACT: &str = "/proc/sys/vm/compact_memory";
/// The kernel finds some at each try, after it has moved what stood in the way.
const TRIES: usize = 8;
/// Waits until nobody holds its input any more, whatever ended that, and puts the second argument into the file of the third.
const GUARDIAN: &str = "trap '' INT TERM HUP QUIT; cat > /dev/null; echo \"$1\" > \"$2\"";

/// A setting of the kernel that is put back, however this process ends: a child does it when its input closes.
#[derive(Debug)]
struct Borrowed {
    file: PathBuf,
    before: u64,
    guardian: Child,
}

impl Borrowed {
    /// From here on the setting is put back to what it is now.
    fn new(file: &Path) -> io::Result<Self> {
        let before = number(file)?;
        // Whoever may not write it has nothing to put back.
        OpenOptions::new().write(true).open(file)?;
        let guardian = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "guardian", &before.to_string()])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal from the terminal is for the benchmark.
            .process_group(0)
            .spawn()?;
        Ok(Self { file: file.to_owned(), before, guardian })
    }

    fn set(&self, value: u64) -> io::Result<()> {
        fs::write(&self.file, value.to_string())
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let done = self.guardian.wait().is_ok_and(|status| status.success());
        if !done && let Err(error) = self.set(self.before) {
            tracing::warn!("{} is not put back to {}: {error}", self.file.display(), self.before);
        }
    }
}

fn number(file: &Path) -> io::Result<u64> {
    fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)
}

/// Sees to it that as many pages are reserved as before when it is dropped or the benchmark is killed, whoever reserved more:
/// xmrig does so too where it finds too few, and leaves them.
#[derive(Debug)]
pub(super) struct HugePages(#[expect(dead_code, reason = "it is there to be dropped")] Borrowed);

impl HugePages {
    /// Reserves pages of 2 MiB until `wanted` are free, where they can be had; it is logged. `None` where nobody here may
    /// reserve any.
    pub(super) fn reserve(wanted: u64) -> Option<Self> {
        let free = free();
        let pages = Borrowed::new(Path::new(RESERVED));
        if free >= wanted {
            tracing::info!("{free} huge pages are free, {wanted} are wanted");
            return pages.ok().map(Self);
        }
        let absent = |error: io::Error| {
            tracing::warn!(
                "no {wanted} huge pages: {error}; everything is measured on the pages that there are"
            );
        };
        let pages = pages.map_err(absent).ok()?;
        match raise(&pages, wanted - free) {
            Ok(now) => tracing::info!("vm.nr_hugepages was {} and is {now} while this runs", pages.before),
            Err(error) => absent(error),
        }
        Some(Self(pages))
    }
}

fn free() -> u64 {
    super::super::field("/proc/meminfo", "HugePages_Free").parse().unwrap_or_default()
}

/// Reserves `more` pages and returns how many there are then; none more if that many cannot be had.
fn raise(pages: &Borrowed, more: u64) -> io::Result<u64> {
    let wanted = pages.before + more;
    for _ in 0..TRIES {
        pages.set(wanted)?;
        if number(&pages.file)? >= wanted {
            return Ok(wanted);
        }
        fs::write(COMPACT, "1")?;
    }
    pages.set(pages.before)?;
    Err(io::Error::other(format!("memory is too scattered for vm.nr_hugepages={wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use std::{
        io::{BufRead, BufReader},
        time::{Duration, Instant},
    };

    /// The file, in the process that the test starts to end it.
    const FILE: &str = "HUGE_PAGES_TEST_FILE";
    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_setting_is_put_back_when_it_is_not_needed_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("setting");
        fs::write(&file, "7\n").unwrap();
        let borrowed = Borrowed::new(&file).unwrap();
        borrowed.set(1_300).unwrap();
        assert_eq!(number(&file).unwrap(), 1_300);
        // Somebody else does it too.
        fs::write(&file, "1400\n").unwrap();
        drop(borrowed);
        assert_eq!(number(&file).unwrap(), 7);
    }

    #[test]
    fn a_setting_is_put_back_however_the_process_ends_that_changed_it() {
        if let Some(file) = std::env::var_os(FILE) {
            let borrowed = Borrowed::new(Path::new(&file)).unwrap();
            borrowed.set(1_300).unwrap();
            println!("\nborrowed");
            loop {
                std::thread::park();
            }
        }
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGABRT] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("setting");
            fs::write(&file, "7\n").unwrap();
            let test = "bench::hash::huge_pages::tests::a_setting_is_put_back_however_the_process_ends_that_changed_it";
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(FILE, &file)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.map_while(Result::ok).any(|line| line == "borrowed"), "{signal}");
            assert_eq!(number(&file).unwrap(), 1_300);
            kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            child.wait().unwrap();
            let deadline = Instant::now() + SOON;
            while number(&file).ok() != Some(7) {
                assert!(Instant::now() < deadline, "{signal}: it was never put back");
                std::thread::yield_now();
            }
        }
    }
}
