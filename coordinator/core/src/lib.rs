//! The decisions of a coordinator. Pure: no clock, no randomness, no async, no I/O.
//!
//! [`Coordinator::handle`] takes one [`Input`] and the time, and never fails on remote input: a bad message becomes
//! a typed refusal, counted and told in an event. [`Coordinator::next_effect`] is drained by the shell,
//! [`Coordinator::next_deadline`] says when to come back with [`Input::Tick`]. The two enums together are the
//! table of contents of the program.

mod coordinator;
mod effect;
pub mod foresight;
pub mod in_force;
mod input;
mod orders;
pub mod ownership;
pub mod pool;
mod registry;
mod time;
mod trouble;
mod world;

pub use coordinator::{
    Coordinator, KEEP_AGAIN_MS, PoolCapacity, STATUS_INTERVAL_MS, THROTTLE_EXPIRY_INTERVAL_MS, Unattended,
};
pub use effect::{BlockDuty, Effect, FoundTask, JudgeTask, PoolEffect};
pub use input::{
    ArrivedFound, ArrivedShare, BlockAnswer, Input, JudgedFound, JudgedShare, LeaseInput, NodeFacts,
    PoolInput, Recovered, ShareBasis, Template, Trouble, Verdict,
};
pub use orders::KeptDocument;
pub use registry::{Applied, Registry};
pub use time::{MonoMs, Now};
pub use trouble::{ELSEWHERE_STEADY_MS, UNATTENDED_AFTER_MS};

/// Most pools of one farm.
pub const MAX_POOLS: usize = 256;
/// Most nodes with a configuration of their own.
pub const MAX_NODES: usize = 100_000;
