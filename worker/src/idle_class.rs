//! The kernel's classes for search threads: they run only when nothing else wants the processor, or little beside it.

use bus_schemas::policy::Priority;
use nix::{errno::Errno, libc};

/// Nice value of [`Priority::Background`].
const BACKGROUND_NICE: i32 = 19;

/// Puts the calling thread, and nothing else, into the class of this priority. A host that does not permit to leave the
/// idle class answers `EPERM`, and the thread stays as gentle as it was.
pub fn enter(priority: Priority) -> Result<(), Errno> {
    match priority {
        Priority::Idle => set_class(libc::SCHED_IDLE),
        Priority::Background => {
            set_class(libc::SCHED_BATCH)?;
            set_nice(BACKGROUND_NICE)
        }
    }
}

#[allow(unsafe_code)]
fn set_class(class: libc::c_int) -> Result<(), Errno> {
    // SAFETY: all zeros is a valid `sched_param`, which is plain integers on every Linux libc.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value that the call only reads; pid 0 is the calling thread.
    Errno::result(unsafe { libc::sched_setscheduler(0, class, &parameters) }).map(drop)
}

#[allow(unsafe_code)]
fn set_nice(nice: i32) -> Result<(), Errno> {
    // SAFETY: the call takes plain integers; on Linux who 0 is the calling thread.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// Lets the calling thread wake from a rest on time: the kernel may otherwise add fifty microseconds.
pub fn sleep_precisely() -> Result<(), Errno> {
    nix::sys::prctl::set_timerslack(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 19 and 41 of `stat` are the nice value and the scheduling policy (proc_pid_stat(5)).
    fn nice_and_class() -> (String, String) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<_> = rest.split_whitespace().collect();
        (fields[19 - 3].to_owned(), fields[41 - 3].to_owned())
    }

    #[test]
    fn only_the_thread_that_asks_changes_its_class() {
        let before = nice_and_class();
        let inside =
            |priority| std::thread::spawn(move || enter(priority).map(|()| nice_and_class())).join().unwrap();
        assert_eq!(inside(Priority::Idle).map(|(_, class)| class), Ok("5".to_owned()));
        assert_eq!(inside(Priority::Background), Ok(("19".to_owned(), "3".to_owned())));
        assert_eq!(nice_and_class(), before);
    }
}
