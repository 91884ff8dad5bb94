//! What one would write first: a thread for each processor that hashes without a pause, or only while the rest of the
//! machine is quiet, as BOINC does. The priority is that of the process.

use super::processor_time::{MachineTime, of_process, processors};
use algorithm_api::{Algorithm, Range, Search, Target};
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use std::{
    io,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How often the rest of the machine is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Positions between two looks at the switch: a millisecond or so of either algorithm.
const CHUNKS: [(&dyn Algorithm, u64); 2] = [(&Sha256d, 8_192), (&Scrypt1024, 4)];

/// Whether the threads may hash.
#[derive(Debug)]
struct Switch {
    on: Mutex<bool>,
    changed: Condvar,
}

static SWITCH: Switch = Switch { on: Mutex::new(true), changed: Condvar::new() };

impl Switch {
    fn set(&self, on: bool) {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = on;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        while !*on {
            on = self.changed.wait(on).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Hashes until the process ends. With `stop_above`, all threads stop while others used more percent of the machine.
pub fn mine(algorithm: &str, stop_above: Option<u8>) -> io::Result<()> {
    let known = CHUNKS.iter().find(|(known, _)| known.descriptor().id == algorithm);
    let (algorithm, chunk) = *known.ok_or_else(|| io::Error::other(format!("{algorithm} is unknown")))?;
    for number in 0..processors() {
        let header = [number as u8; 80];
        let mut search = algorithm.prepare(&header).map_err(io::Error::other)?;
        let positions = algorithm.descriptor().positions;
        let hash = move || {
            loop {
                hash_through(search.as_mut(), positions, chunk);
            }
        };
        thread::Builder::new().name(format!("search-{number}")).spawn(hash)?;
    }
    match stop_above {
        None => loop {
            thread::park();
        },
        Some(percent) => watch(percent),
    }
}

/// All positions once, none of which is a finding.
fn hash_through(search: &mut dyn Search, positions: u64, chunk: u64) {
    let mut range = Range { next: 0, end: positions };
    let nothing = Target::from_le_bytes([0; 32]);
    while !range.is_empty() {
        SWITCH.wait();
        search.search(&mut range, chunk, &nothing, &mut |_| ());
    }
}

fn watch(percent: u8) -> io::Result<()> {
    let read = || Ok::<_, io::Error>((MachineTime::now()?, of_process(std::process::id())?));
    let mut before = read()?;
    loop {
        thread::sleep(LOOK_EVERY);
        let now = read()?;
        let machine = now.0.since(&before.0);
        let busy = machine.total.saturating_sub(machine.idle).saturating_sub(machine.steal);
        let others = busy.saturating_sub(now.1.saturating_sub(before.1));
        SWITCH.set(others.as_secs_f64() * 100.0 <= machine.total.as_secs_f64() * f64::from(percent));
        before = now;
    }
}
