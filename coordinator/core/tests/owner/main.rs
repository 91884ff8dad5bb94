//! The owner of a pool, driven by hand: tables of decisions, and every order of events with crashes anywhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod absence;
mod backups;
mod blocks;
mod crashes;
mod foresight;
mod judge;
mod model;
mod orders;
mod says;
mod staleness;
mod stuck;
mod tables;
