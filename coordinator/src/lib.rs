//! The coordinator's shell: it brings inputs to the core, does what the core asks for, and decides nothing.
//!
//! | task | what it does | what if it ends |
//! |---|---|---|
//! | `run` | the loop around the core | the process ends |
//! | `lease` | takes, renews and releases one pool's lease | the process ends |
//! | `recovery` | reads what JetStream holds of a pool | the pool is given up and taken again |
//! | `source`, `intake`, `found`, `joins`, `leaves`, `heartbeats`, `views`, `writer`, `ledger`, `blocks` | one of each for an owned pool | the pool is given up and taken again, later after each time |
//! | `events`, `statuses` | publish what the core tells | the process ends |
//! | `configuration`, `configuration in force`, `throttles` | bring what operators wrote and ordered, and what is in force | the process ends |
//! | `in_force` | publishes what is in force | the process ends |
//! | `store`, `streams` | look whether the store takes what is written, make streams that are missing | the process ends |
//! | `judge-*` threads | hash shares, and block candidates on a thread of their own | a panic is the share's, which is refused; one that hangs is replaced, with too many of them the process ends |
//! | `judges` | looks after the judging threads | the process ends |
//! | `answer` | answers one command | whoever asked gets no answer |
//! | `connection` | says in the readiness whether there is one | the process ends |
//! | `http`, `metrics upkeep` | `/metrics`, `/livez`, `/readyz`; forgets old samples | the process goes on without |
//!
//! An end comes by return, error or panic ([`tasks`]); each that should not have come is logged, counted and told.

mod announce;
mod chain_log;
mod commands;
mod components;
mod configuration;
mod health;
mod host;
mod http;
mod in_force;
mod judge;
mod judges;
mod lease;
mod ledger_chain;
mod metrics;
mod node_metrics;
mod pool;
mod recovery;
mod run;
mod shell;
mod stores;
mod streams_watch;
pub mod tasks;
mod throttles;

pub use host::{HostConfig, HostConfigError};
pub use judge::{Judge, MAX_JUDGE_BATCHES, algorithm};
pub use run::{INPUT_BACKLOG, RunError, run, run_with};
