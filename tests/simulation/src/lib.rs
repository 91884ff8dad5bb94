//! The real cores of several coordinators and workers under virtual time, over one model of JetStream that fails in every
//! way it may fail: messages are late or lost, processes are cut off or die between any two effects, clocks differ, stores
//! are made anew or set back, operators do what operators do.
//!
//! Everything follows from one seed ([`Options`]): [`run`] gives the same [`Report`] each time, [`shrink`] finds the few
//! steps that matter of a seed that fails. What is true is kept beside the farm (`truth/`) and held against the cores, after
//! each step (`checks`) and when all is quiet (`quiet`).
//!
//! Shells are imitated (`coordinator/`, `worker/`), task by task as the real ones are written; what they do on the bus goes
//! through `bus` and `follow` to the `server`, which reads the limits of `nats/streams/*.json`.

mod bus;
mod chain;
mod checks;
mod clock;
mod coordinator;
mod counts;
mod executor;
mod follow;
mod hashing;
mod link;
mod operator;
mod options;
mod plan;
mod queue;
mod quiet;
mod random;
mod run;
mod server;
mod shrink;
mod truth;
mod watch;
mod worker;
mod world;

pub use counts::Counts;
pub use link::Cut;
pub use options::Options;
pub use plan::{Action, Rubbish, Step};
pub use run::{Report, run};
pub use shrink::shrink;
