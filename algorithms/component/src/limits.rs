//! How much a component may have.

use std::time::Duration;

/// Longest component, in bytes. Compiling takes a second for a few of these at most.
pub const MAX_COMPONENT_LEN: usize = 4 << 20;
/// Core modules, and instances of them, of one component. A component made of one module has up to four.
pub(crate) const MAX_INSTANCES: usize = 16;
/// Linear memories of one instance, which share its limit.
pub(crate) const MAX_MEMORIES: usize = 4;
/// Tables of one instance.
pub(crate) const MAX_TABLES: usize = 8;
/// Elements of all tables together.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 1 << 16;
/// Handles that live at a time.
pub(crate) const MAX_HANDLES: usize = 64;
/// Data that a guest hands over in one call, in bytes as the host keeps it.
pub(crate) const MAX_HANDED_OVER: usize = 1 << 20;
/// Stack of a guest, in bytes. The stack of the calling thread has more.
pub(crate) const MAX_STACK: usize = 512 << 10;
/// Findings of one call.
pub(crate) const MAX_FINDINGS: u32 = 256;
/// Longest id, in bytes.
pub(crate) const MAX_ID_LEN: usize = 64;
/// Longest input that a component may ask for, in bytes.
pub(crate) const MAX_INPUT_LEN: u32 = 64 << 10;
/// Longest finding, in bytes.
pub(crate) const MAX_FINDING_LEN: u32 = 1 << 10;
/// Longest reason that is taken over from a guest, in characters.
pub(crate) const MAX_REASON_LEN: usize = 200;
/// Instances that are kept for the next verification.
pub(crate) const MAX_IDLE_VERIFIERS: usize = 8;
/// Verifications after which an instance gives way to a new one.
pub(crate) const VERIFICATIONS_PER_INSTANCE: u32 = 4_096;
/// Components that stay loaded. Compiled, each takes some of its own length in memory.
pub(crate) const MAX_LOADED: usize = 4;
/// How long one call of a guest, or of a kernel, is meant to take, in processor time: positions are handed out accordingly.
pub(crate) const SLICE: Duration = Duration::from_millis(20);
/// How often a guest that runs is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What the owner of the host may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. There is an instance for each search, and up to eight that verify.
    pub memory_bytes: usize,
    /// Processor time of one call, after which it is interrupted. A call is to start an instance, to prepare an input, to verify
    /// a finding, or to scan a batch of positions that is meant to take a fiftieth of it.
    pub call_time: Duration,
    /// Longest component, in bytes.
    pub component_len: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, call_time: Duration::from_secs(1), component_len: MAX_COMPONENT_LEN }
    }
}
