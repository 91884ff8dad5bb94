//! Where jobs come from and where blocks go: the embedded chain, Bitcoin-family nodes and Monero daemons, behind one
//! trait.
//!
//! A [`JobSource`] hands out [`Template`]s whose coinbase is our own. The template's [`Assembly`] is plain data: kept
//! by the coordinator before a job is published, it lets any coordinator make the same block of a finding. Blocks
//! are submitted as bytes, so what was kept before a crash can be submitted again after it.
//!
//! - [`embedded`]: a chain of real 80-byte headers that needs nothing external; its state machine is pure.
//! - [`gbt`]: nodes that answer `getblocktemplate` (BIP 22, BIP 23, BIP 145), with longpoll, proposals and failover.
//! - [`monero`]: Monero daemons.

pub mod assembly;
pub mod coinbase;
pub mod embedded;
pub mod gbt;
pub mod merkle;
pub mod monero;
pub mod node;
pub mod payout;
pub mod source;

pub use assembly::{Assembly, AssemblyError, FoundBlock, HeaderAssembly, Solution};
pub use node::{Abandoned, Credentials, Limits, NodeAddress};
pub use source::{
    BoxFuture, Decision, JobSource, NodeHealth, NodeReport, Proposal, SourceError, Submission, SubmitOutcome,
    Template,
};
