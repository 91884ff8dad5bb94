//! Who used the processors: readings of the kernel's counters.

use nix::{
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use std::{collections::BTreeMap, fs, io, time::Duration};

/// Unit of `/proc/stat` (`USER_HZ`), which is the same on every architecture that this runs on.
const TICK: Duration = Duration::from_millis(10);
/// How the names of the worker's search threads begin.
const SEARCH: &str = "search-";

/// Processors that can be used.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine's counters since its start, all processors together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineTime {
    /// Time with nothing to do.
    pub idle: Duration,
    /// Time that the hypervisor gave to others.
    pub steal: Duration,
    /// All of it.
    pub total: Duration,
}

impl MachineTime {
    /// What the counters say now.
    pub fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Self::parse(&text).ok_or_else(|| io::Error::other("/proc/stat has no line of all processors"))
    }

    /// Columns: user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user.
    fn parse(text: &str) -> Option<Self> {
        let columns = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u32> = columns.take(8).map_while(|column| column.parse().ok()).collect();
        let at = |index: usize| ticks.get(index).copied();
        Some(Self {
            idle: TICK * (at(3)? + at(4)?),
            steal: TICK * at(7)?,
            total: TICK * ticks.iter().sum::<u32>(),
        })
    }

    /// What passed since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
            total: self.total.saturating_sub(earlier.total),
        }
    }
}

/// Processor time that a process with all its threads has used.
pub fn of_process(process: u32) -> io::Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process.cast_signed()))?;
    Ok(clock_gettime(clock)?.into())
}

/// Processor time of several processes.
pub fn of_processes(processes: &[u32]) -> io::Result<Duration> {
    processes.iter().map(|process| of_process(*process)).sum()
}

/// The process and everything of its process group.
pub fn group(leader: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that ended since the folder was read has no file any more.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        if fields.split(' ').nth(2).and_then(|group| group.parse().ok()) == Some(leader) {
            found.push(process);
        }
    }
    Ok(found)
}

/// Processor time of each thread, by its id.
pub type Threads = BTreeMap<u32, Duration>;

/// The threads that hash: those of a worker by their names.
#[derive(Debug, Clone)]
pub struct HashThreads {
    ids: Vec<u32>,
    process: u32,
}

impl HashThreads {
    /// The search threads that the worker has at this moment.
    pub fn of_worker(process: u32) -> io::Result<Self> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = entry?.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            let id = path.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
            if let Some(id) = id.filter(|_| name.starts_with(SEARCH)) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(Self { ids, process })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What each of them has used. One that has ended is absent.
    pub fn read(&self) -> Threads {
        let read = |id: &u32| {
            let text = fs::read_to_string(format!("/proc/{}/task/{id}/schedstat", self.process)).ok()?;
            let nanos = text.split_whitespace().next()?.parse().ok()?;
            Some((*id, Duration::from_nanos(nanos)))
        };
        self.ids.iter().filter_map(read).collect()
    }
}

/// What threads used between two readings; a thread that is absent from one of them counts as far as it is known.
pub fn used(before: &Threads, after: &Threads) -> Duration {
    let each =
        |(id, time): (&u32, &Duration)| time.saturating_sub(*before.get(id).unwrap_or(&Duration::ZERO));
    after.iter().map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_all_processors_is_read_with_waiting_for_disks_as_idle() {
        let text = "cpu  100 5 50 1000 20 1 4 7 0 0\ncpu0 1 1 1 1\n";
        let time = MachineTime::parse(text).unwrap();
        let ms = Duration::from_millis;
        assert_eq!(time, MachineTime { idle: ms(10_200), steal: ms(70), total: ms(11_870) });
        assert_eq!(MachineTime::parse("cpu0 1 2 3 4 5 6 7 8\n"), None);
    }

    #[test]
    fn the_counters_of_this_process_and_machine_go_on() {
        let (machine, own) = (MachineTime::now().unwrap(), of_process(std::process::id()).unwrap());
        crate::bench::idle::application::calibrate(Duration::from_millis(1));
        assert!(of_process(std::process::id()).unwrap() > own);
        assert!(MachineTime::now().unwrap().since(&machine).total > Duration::ZERO);
    }

    #[test]
    fn only_threads_with_the_name_of_a_search_thread_are_watched() {
        let own = std::process::id();
        assert!(HashThreads::of_worker(own).unwrap().is_empty());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("search-0".to_owned());
        let thread = thread.spawn(move || wait.recv().is_ok()).unwrap();
        let named = || HashThreads::of_worker(own).ok().filter(|threads| !threads.is_empty());
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let threads = loop {
            match named() {
                Some(threads) => break threads,
                None => assert!(std::time::Instant::now() < deadline, "the thread has its name in time"),
            }
        };
        let before = threads.read();
        assert_eq!(before.len(), 1);
        assert_eq!(used(&before, &before), Duration::ZERO);
        assert_eq!(used(&Threads::new(), &before), before.values().sum::<Duration>());
        go.send(()).unwrap();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_process_is_found_in_its_own_group() {
        let own = nix::unistd::getpgrp().as_raw().cast_unsigned();
        assert!(group(own).unwrap().contains(&std::process::id()));
    }
}
