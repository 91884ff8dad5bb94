//! The worker: the shell around its core.
//!
//! [`shell`] holds the one loop; [`bus`] turns messages into inputs and effects into messages; [`search`] runs the
//! algorithms on threads of the kernel's idle class; [`certificates`] says which may run; nothing outside [`worker_core`] decides anything.
//!
//! | task or thread | what if it ends |
//! |---|---|
//! | the loop ([`Worker::run`]) | the worker ends |
//! | publisher | the worker ends |
//! | subscriptions | with the connection, which ends the worker; a panic ends it too |
//! | the catalogue of certificates | with the connection; if judging panics nothing is permitted any more |
//! | a read, a join, an agenda | each answers once; a panic ends the worker |
//! | HTTP | an error in the log; the worker goes on |
//! | the load monitor | the worker ends |
//! | a search thread | the core is told and does not use it again; without any left the worker is not ready |
//!
//! A worker that ends searches nothing, and its host starts it again.

pub mod affinity;
pub mod algorithms;
pub mod bus;
pub mod certificates;
pub mod cli;
pub mod components;
pub mod config;
pub mod contexts;
pub mod group;
pub mod host;
pub mod http;
pub mod idle_class;
pub mod load;
pub mod lookout;
pub mod metrics;
pub mod monitor;
pub mod pace;
pub mod placement;
pub mod report;
pub mod search;
pub mod shell;
pub mod signal;
pub mod surroundings;
pub mod veto;

pub use config::{Config, ConfigError, Flags};
pub use shell::{RunError, Worker, run};
