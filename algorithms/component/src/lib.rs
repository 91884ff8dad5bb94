//! Algorithms as WebAssembly components: code that came over the bus, in a sandbox.
//!
//! ```text
//! let sandbox = Sandbox::new(Limits::default(), &permitted_natives)?;   // one for the process
//! let algorithm = sandbox.load(&bytes)?;                                // compiles; an `Algorithm` like a native one
//! ```
//!
//! The interface is `wit/algorithm.wit`, the same as the trait [`Algorithm`](algorithm_api::Algorithm). A component can import
//! nothing else, so it has no file, no network, no clock and no environment: it computes, or asks a native kernel that is itself
//! permitted here. Its memory, tables, stack, instances and handles are limited ([`Limits`]); a call that uses more processor time
//! than allowed is interrupted; what it reports is held against what was asked for before anyone sees it. Whatever it does wrong
//! becomes a [`Failure`], and ends that instance alone.
//!
//! Time is the processor time of the calling thread, not what the clock on the wall says: a search in the idle class may have to
//! wait for seconds without being at fault.
//!
//! Whether a component may run at all is not asked here: the caller judges [`digest`] of its bytes before it loads them.
//!
//! `interface.rs` has the types that both sides share, `sandbox.rs` compiling and linking, `guest.rs` one running instance and all
//! that bounds it, `kernels.rs` the native imports, `findings.rs` what is believed of a report.

mod algorithm;
mod cache;
mod error;
mod findings;
mod guest;
mod interface;
mod kernels;
mod limits;
mod sandbox;
mod slice;
mod ticker;

pub use algorithm::ComponentAlgorithm;
pub use cache::{Cache, NotWanted, Wanted};
pub use error::{Failure, LoadError, SandboxError};
pub use limits::Limits;
pub use sandbox::{Sandbox, digest};
