//! The decisions of a worker: pure, without clock, randomness or I/O.
//!
//! [`WorkerCore::handle`] takes an [`Input`] and the moment, [`WorkerCore::next_effect`] is drained after each
//! call, [`WorkerCore::next_deadline`] says when to call with a tick. [`Input`] and [`Effect`] together are the
//! table of contents of the program.
//!
//! # What it promises
//! - It never has more threads search than the host's own file allows, none as a backup, in a pause, while the farm is
//!   halted or the host's administrator vetoes it, and only the host's safe profile when it has not heard its
//!   configuration for the configuration lease.
//! - It hands out no position of a slot's space twice, whatever is stopped, paused or resumed.
//! - It searches with no algorithm that its host's certificates do not permit at that moment.
//! - It follows no role and no job that is older, by epoch first, than one that it has seen.
//! - A share leaves the outbox when the bus has stored it, or is counted under a [`DropReason`]; a block candidate
//!   is never dropped while the process lives.

mod calendar;
pub mod clearance;
mod configuration;
mod effect;
pub mod governor;
mod input;
pub mod invariants;
mod jitter;
mod limits;
mod membership;
mod moment;
mod notice;
mod outbox;
mod plan;
pub mod search;
mod worker;

pub use calendar::{AGENDA_PATIENCE_MS, AGENDA_RETRY_MS, AgendaQuestion, SCHEDULE_RECHECK_MS};
pub use clearance::{Clearance, Denied};
pub use effect::{Assignment, Effect, Lane, Pace, Publication, SearchOrder};
pub use governor::{LoadSample, Rhythm};
pub use input::{Authority, GroupReport, Input, Snapshot, Stored, ThrottleOrder};
pub use limits::{HostLimits, UNGENTLE_PERCENT};
pub use membership::{DISPLACED_MS, JOIN_TIMEOUT_MS};
pub use moment::{MonotonicMs, Now};
pub use notice::{Notice, Refusal};
pub use outbox::{DropReason, HOLD_SEARCH_AT, MAX_IN_FLIGHT, OUTBOX_LIMIT, RELEASE_SEARCH_AT};
pub use plan::{PlanKey, Unit};
pub use worker::{DRAIN_LIMIT_MS, Identity, Offered, READ_INTERVAL_MS, Status, WorkerCore};
