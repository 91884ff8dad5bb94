//! The typed adapter over async-nats, and the streams, buckets and server configurations.
//!
//! It decides nothing: it encodes, sends, waits for no longer than a named limit, and says what came of it. What
//! async-nats leaves to chance is settled here: reconnects are jittered, nothing waits without a bound, reading goes
//! on by itself after a server is gone, a lease keeps its time to live, and bytes that nobody can read are counted
//! and kept as dead letters.
//!
//! # Delivery
//! [`Bus::publish_stored`] that ends in [`PublishError::Timeout`] may have stored the message; send it again with the
//! same message id or the same expected sequence. Reading is at least once, in stream order, with the sequence.
//!
//! # Cancelling
//! Every `next` may be dropped in a `select!` without losing a message: a task of its own does the reading, bounded by
//! a small queue, and ends when its reader is dropped.

mod backoff;
mod bus;
mod consume;
mod dead_letter;
mod delivery;
mod ensure;
mod follow;
mod kv;
mod lease;
mod moment;
mod objects;
pub mod permissions;
mod publish;
mod purge;
mod read;
mod replay;
mod request;
mod requirements;
mod service;
pub mod streams;
mod subscribe;
mod watch;

pub use async_nats::{HeaderMap, Subject as RawSubject};
pub use backoff::Backoff;
pub use bus::{
    Bus, BusEvent, BusOptions, CONNECT_DEADLINE, ConnectError, CounterValues, EVENT_BACKLOG, Link, LinkState,
    PUBLISH_DEADLINE, RECONNECT_DELAY_MAX,
};
pub use consume::{
    Acker, Consume, ConsumeOptions, Consumed, Exhausted, MAX_DELIVERIES, MAX_IN_HAND, REDELIVERY_AFTER,
};
pub use dead_letter::{MAX_DEAD_LETTER_LEN, header};
pub use delivery::{Delivered, Entry, Undecodable};
pub use ensure::{Action, Drift, EnsureError, Outcome, ensure};
pub use kv::{Kept, Kv, KvEntry, KvError};
pub use lease::{
    Acquired, CLOCK_MARGIN, Lease, LeaseError, MAX_LEASE_TTL, MIN_LEASE_TTL, STALE_MARGIN, Sighting,
};
pub use moment::StreamMoment;
pub use objects::{OBJECT_DEADLINE, ObjectError};
pub use publish::{ACK_DEADLINE, Expect, MAX_ACKS_IN_FLIGHT, PendingAck, PublishError, Stored};
pub use read::{READ_STALL_DEADLINE, ReadError, StreamBounds};
pub use replay::{BURST_BYTES, BURST_MESSAGES, Replay, ReplayError};
pub use request::{REQUEST_DEADLINE, Request, RequestError, Requests};
pub use requirements::{
    MIN_SERVER_VERSION, Shortcoming, Unsuitable, largest_messages, of_drift, shortcomings,
};
pub use service::{Call, CommandService, ServiceError};
pub use subscribe::{
    Incoming, RawIncoming, RawSubscription, Republished, RepublishedSubscription, Subscription,
};
pub use watch::{Watch, WatchEvent};
