//! Where the readings come from: files that stay open and clocks. Nothing is allocated for a reading.

use super::{
    meter::SlowReading,
    text::{self, Ticks},
};
use nix::{
    errno::Errno,
    libc,
    time::{ClockId, clock_gettime},
};
use std::{fs::File, os::unix::fs::FileExt};

/// The first lines of `/proc/stat` are enough.
const BUFFER_LEN: usize = 1_024;

/// Files of the kernel; one that the host does not have is absent.
#[derive(Debug)]
pub struct Sources {
    stat: Option<File>,
    memory: Option<File>,
    loadavg: Option<File>,
    online: Option<File>,
}

/// What a host tells of its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Use of the processors (`/proc/stat`).
    pub processors: bool,
    /// Waiting for memory (`/proc/pressure/memory`).
    pub memory_pressure: bool,
    /// Waiting for a processor (`/proc/pressure/cpu`). It contains the waiting of the search itself, so it is not used.
    pub processor_pressure: bool,
    /// Length of the run queue (`/proc/loadavg`).
    pub run_queue: bool,
}

/// Looks what this host tells.
pub fn available() -> Available {
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    Available {
        processors: text::ticks(&read("/proc/stat")).is_some(),
        memory_pressure: text::pressure(&read("/proc/pressure/memory")).is_some(),
        processor_pressure: text::pressure(&read("/proc/pressure/cpu")).is_some(),
        run_queue: text::runnable(&read("/proc/loadavg")).is_some(),
    }
}

impl Sources {
    /// Opens what there is.
    pub fn open() -> Self {
        let open = |path: &str| {
            File::open(path)
                .inspect_err(
                    |error| tracing::warn!(%error, "{path} cannot be read, and that load is not seen"),
                )
                .ok()
        };
        Self {
            stat: open("/proc/stat"),
            memory: open("/proc/pressure/memory"),
            loadavg: open("/proc/loadavg"),
            online: open("/sys/devices/system/cpu/online"),
        }
    }

    /// Tasks that run or wait for a processor.
    pub fn runnable(&self) -> Option<u32> {
        read(self.loadavg.as_ref(), text::runnable)
    }

    /// Processors that are online, whether or not this process may use them. They come and go.
    pub fn processors(&self) -> Option<u16> {
        read(self.online.as_ref(), text::processors)
    }

    /// Use of the whole host.
    pub fn ticks(&self) -> Option<Ticks> {
        read(self.stat.as_ref(), text::ticks)
    }

    /// What is read less often.
    pub fn slow(&self) -> SlowReading {
        SlowReading {
            ticks: self.ticks(),
            own_us: clock_us(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0),
            memory_us: read(self.memory.as_ref(), text::pressure),
        }
    }
}

/// What a file of the kernel tells now, as `parse` reads it.
pub(crate) fn read<T>(file: Option<&File>, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut buffer = [0; BUFFER_LEN];
    let len = file?.read_at(&mut buffer, 0).ok()?;
    parse(buffer.get(..len)?)
}

/// Processor time of a thread, microseconds. A thread of another process cannot be read.
pub fn thread_us(tid: i32) -> Result<u64, Errno> {
    // The kernel's encoding of a thread's clock: the complement of the id, then per-thread and scheduler time.
    const PER_THREAD: i32 = 4;
    const SCHEDULER: i32 = 2;
    clock_us(ClockId::from_raw(libc::clockid_t::from((!tid << 3) | PER_THREAD | SCHEDULER)))
}

/// A clock in microseconds.
pub fn clock_us(clock: ClockId) -> Result<u64, Errno> {
    let time = clock_gettime(clock)?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Ok(seconds.saturating_mul(1_000_000) + u64::try_from(time.tv_nsec() / 1_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::gettid;

    #[test]
    fn this_host_tells_its_load() {
        let sources = Sources::open();
        assert!(sources.ticks().is_some_and(|t| t.busy > 0));
        assert!(sources.runnable().is_some());
        assert!(sources.processors().is_some());
        assert_eq!(sources.memory.is_some(), available().memory_pressure);
    }

    #[test]
    fn the_clock_of_another_thread_is_read_by_its_id() {
        let own = std::thread::current().id();
        let tid = gettid().as_raw();
        let (seen, by) =
            std::thread::spawn(move || (thread_us(tid), std::thread::current().id())).join().unwrap();
        assert_ne!(by, own);
        let now = clock_us(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        assert!(seen.is_ok_and(|seen| seen <= now), "{seen:?} {now}");
        assert!(thread_us(1).is_err(), "a thread of another process");
    }
}
