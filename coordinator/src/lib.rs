//! The coordinator's shell: it brings inputs to the core, does what the core asks for, and decides nothing.
//!
//! | task | what it does | what if it ends |
//! |---|---|---|
//! | `run` | the loop around the core | the process ends |
//! | `lease` | takes, renews and releases one pool's lease | the core steps down when the lease ends |
//! | `source`, `intake`, `found`, `requests`, `writer`, `ledger`, `blocks` | one of each for an owned pool | the pool is given up and taken again |
//! | `configuration`, `throttles` | bring what operators wrote and ordered | the process ends |
//! | `judge-*` threads | hash shares, and block candidates on a thread of their own | the process ends |
//! | `http` | `/metrics`, `/livez`, `/readyz` | the process goes on without |

mod chain_log;
mod commands;
mod components;
mod configuration;
mod host;
mod http;
mod judge;
mod lease;
mod metrics;
mod node_metrics;
mod pool;
mod recovery;
mod run;
mod throttles;

pub use host::{HostConfig, HostConfigError};
pub use judge::{Judge, MAX_JUDGE_BATCHES, algorithm};
pub use run::{INPUT_BACKLOG, RunError, run};
