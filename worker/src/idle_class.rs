//! The kernel's idle class: a thread in it runs only when nothing else wants the processor.

use nix::{errno::Errno, libc};

/// Puts the calling thread, and nothing else, into the idle class.
#[allow(unsafe_code)]
pub fn enter() -> Result<(), Errno> {
    // SAFETY: all zeros is a valid `sched_param`, which is plain integers on every Linux libc.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value that the call only reads; pid 0 is the calling thread.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_is_in_the_idle_class() {
        /// Field 41 of `stat` is the scheduling policy (proc_pid_stat(5)); 5 is SCHED_IDLE.
        fn policy() -> String {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, rest) = stat.rsplit_once(')').unwrap();
            rest.split_whitespace().nth(41 - 3).unwrap().to_owned()
        }
        let inside = std::thread::spawn(|| enter().map(|()| policy())).join().unwrap();
        assert_eq!(inside, Ok("5".to_owned()));
        assert_eq!(policy(), "0");
    }
}
