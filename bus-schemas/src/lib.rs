//! The contract of the bus: ids, units, subjects, messages and codecs. Pure: no async, no clock, no I/O.
//!
//! Everything that crosses the bus is declared here and nowhere else; a test of the workspace asserts that no
//! subject literal stands outside this crate.
//!
//! # Two encodings
//! JSON where a person may look or type (events, commands, configuration, roles, the ledger); MessagePack as
//! named maps where machines talk often (jobs, shares, heartbeats, block candidates). One subject has one
//! encoding: [`codec::Message::ENCODING`] says which. Bytes are lower-case hex in JSON and `bin` in MessagePack.
//!
//! # How a message may change
//! 1. A field may be added when it carries `#[serde(default)]`; readers ignore fields that they do not know.
//! 2. A field is never removed, renamed, given another unit or another meaning; a new name is a new field.
//! 3. An enum that travels may gain a variant only if every reader refuses an unknown one with a typed
//!    rejection (work and findings) or maps it to its `unknown` variant (display enums).
//! 4. Types that differ between the encodings are never placed inside an internally tagged or flattened enum:
//!    serde buffers those and loses which encoding is being read.
//! 5. What cannot be changed within these rules gets the next version of the subject prefix.
//!
//! The bytes of one example of each message are frozen under `golden/`, their JSON Schemas under `schemas/`;
//! a change of either is a change of the contract and goes into a commit of its own.

pub mod blob;
pub mod block;
pub mod codec;
pub mod command;
pub mod config;
pub mod decode;
pub mod event;
pub mod examples;
pub mod heartbeat;
pub mod id;
pub mod job;
pub mod latency;
pub mod ledger;
pub mod member;
pub mod node_status;
pub mod policy;
pub mod schedule;
pub mod set_point;
pub mod share;
pub mod subject;
pub mod throttle;
pub mod units;
pub mod work;

pub use blob::{Blob, Hash32};
pub use codec::{DecodeError, Encoding, Message};
pub use id::{AlgorithmId, CoordinatorId, JobId, PoolId, SessionId, WorkerId};
pub use units::{HashRate, ShareBits, Target, TimestampMs, Watts, Work};
