//! Watching a bucket.

use crate::{
    Bus, Kv, KvError, ReadError, ReplayError,
    backoff::Backoff,
    delivery::Delivered,
    follow::{Burst, Follower, OpenError, Plan, Start},
};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// Longest delay between two attempts to watch a bucket that was made anew.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(2);

/// What a watch sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key has a value.
    Put {
        /// The key.
        key: String,
        /// Its revision.
        revision: u64,
        /// Its value.
        value: Bytes,
    },
    /// A key has none any more: deleted, purged, or its time to live is over.
    Delete {
        /// The key.
        key: String,
        /// The deletion's revision.
        revision: u64,
    },
    /// Every value that was there has been told. Told again after [`WatchEvent::Restarted`].
    Initialised,
    /// The bucket was made anew: forget everything; what it holds now follows.
    Restarted,
}

/// A bucket that is being watched. It goes on over reconnects and restarts of the server, and never ends.
#[derive(Debug)]
pub struct Watch {
    bus: Bus,
    kv: Kv,
    filter: String,
    follower: Option<Follower>,
    backoff: Backoff,
    ready: VecDeque<WatchEvent>,
}

impl Watch {
    pub(crate) async fn start(bus: Bus, kv: Kv, filter: String) -> Result<Self, KvError> {
        let backoff = Backoff::new(RESTART_DELAY_MAX);
        let mut watch = Self { bus, kv, filter, follower: None, backoff, ready: VecDeque::new() };
        watch.follower = Some(watch.open().await.map_err(|e| ReadError::from(ReplayError::from(e)))?);
        Ok(watch)
    }

    /// The next event. May be dropped in a `select!`: nothing is lost.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let Some(follower) = &mut self.follower else {
                self.restart().await;
                continue;
            };
            match follower.next().await {
                Some(Burst::Messages { messages, caught_up }) => {
                    let event = |delivered: Delivered| self.kv.event(delivered);
                    self.ready.extend(messages.into_iter().map(event));
                    if caught_up {
                        self.ready.push_back(WatchEvent::Initialised);
                    }
                }
                Some(Burst::Rewound { .. }) | None => {
                    self.follower = None;
                    self.ready.push_back(WatchEvent::Restarted);
                }
            }
        }
    }

    async fn restart(&mut self) {
        match self.open().await {
            Ok(follower) => {
                self.follower = Some(follower);
                self.backoff.reset();
            }
            Err(error) => {
                tracing::warn!(%error, bucket = self.kv.bucket(), "the bucket cannot be watched");
                tokio::time::sleep(self.backoff.next()).await;
            }
        }
    }

    async fn open(&self) -> Result<Follower, OpenError> {
        let stream = self.kv.stream().to_owned();
        let plan = Plan { stream, filter: self.filter.clone(), start: Start::LastPerSubject };
        Follower::start(self.bus.clone(), plan).await
    }
}
