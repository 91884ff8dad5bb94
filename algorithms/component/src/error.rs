//! What can go wrong, and whose fault it is.

use crate::limits::MAX_REASON_LEN;
use std::time::Duration;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The WebAssembly engine does not run here.
    #[error(
        "no WebAssembly engine: {0}; a systemd unit needs MemoryDenyWriteExecute=no for it; native algorithms do without"
    )]
    Engine(String),
    /// The thread that interrupts guests cannot be started.
    #[error("the thread that interrupts components cannot be started: {0}; raise the limit of tasks")]
    Thread(#[from] std::io::Error),
}

/// Why a component is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is longer than allowed.
    #[error(
        "the component has {len} bytes, allowed are {most}; build it smaller, for instance with opt-level \"s\""
    )]
    TooBig {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        most: usize,
    },
    /// The bytes are no component that can be compiled.
    #[error("not a WebAssembly component: {0}; a core module has to be made into one first")]
    NotAComponent(String),
    /// It wants what no component gets here.
    #[error("the component imports {0}, which is not offered; it gets permitted kernels and nothing else")]
    NotOffered(String),
    /// It does not export what an algorithm has to, or in another shape.
    #[error("the component is not of the world dcmf:algorithm/component@1.0.0: {0}")]
    WrongWorld(String),
    /// What it says about itself is out of bounds.
    #[error("the component describes itself wrongly: {0}")]
    Descriptor(String),
    /// It failed before it could say what it is.
    #[error("the component fails when it is asked what it is: {0}")]
    Failed(#[from] Failure),
}

/// What a running component did wrong. The instance is gone then; others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It did not come back.
    #[error("interrupted after {} ms of processor time in one call", .0.as_millis())]
    TimedOut(Duration),
    /// It wanted more memory, table elements or instances than it may have, and did not get over it.
    #[error("it wants more than it may have: {0}")]
    LimitHit(String),
    /// It trapped, for instance by running out of stack or by a panic.
    #[error("it trapped: {0}")]
    Trapped(String),
    /// It answered what cannot be.
    #[error("its answer is garbage: {0}")]
    Garbage(String),
}

/// A guest's words, cut and without anything that a terminal would obey.
pub(crate) fn tame(words: &str) -> String {
    words.chars().take(MAX_REASON_LEN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A digest as people write it.
pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
