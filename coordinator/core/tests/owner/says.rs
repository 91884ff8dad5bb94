//! What a worker says of itself in its heartbeats.

use bus_schemas::{
    policy::Priority,
    set_point::{Reason, SetPoint},
};

/// What a worker says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Says {
    pub rate: u64,
    pub set_point: SetPoint,
    /// The threads that its host offers and what the load of the host leaves, percent.
    pub host: Option<(u16, u8)>,
}

/// One thread with `cap_percent` of its time, by the load of the host.
pub fn loaded(cap_percent: u8) -> SetPoint {
    match cap_percent {
        0 => SetPoint::stopped(Reason::Load),
        100 => {
            SetPoint { threads: 1, cap_percent: 100, priority: Priority::Idle, reason: Reason::HostThreads }
        }
        _ => SetPoint { threads: 1, cap_percent, priority: Priority::Idle, reason: Reason::Load },
    }
}
