//! Fast reading of a stream in order, without acknowledgements, from a sequence that the reader keeps itself.

use crate::{
    Bus,
    delivery::Delivered,
    follow::{Burst, Follower, OpenError, Plan, Start},
};
use std::collections::VecDeque;

/// Most messages that are handed on at once.
pub const BURST_MESSAGES: usize = 1_024;
/// A burst that holds this many bytes is handed on.
pub const BURST_BYTES: usize = 1024 * 1024;

/// Why a replay cannot begin or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is no such stream.
    #[error("there is no stream {0}; create it with `dcmf-bus ensure`")]
    NoStream(String),
    /// The stream was made anew or lost its end: what stands there now is not what follows on what was read.
    #[error(
        "stream {stream} ends at {last}, but {wanted} is wanted: it was made anew or restored; decide where to go on"
    )]
    Rewound {
        /// The stream.
        stream: String,
        /// The sequence that was to come next.
        wanted: u64,
        /// Its last sequence.
        last: u64,
    },
    /// The consumer could not be opened.
    #[error("cannot read stream {stream}: {reason}; look at the server and try again")]
    Failed {
        /// The stream.
        stream: String,
        /// What the client said.
        reason: String,
    },
    /// The reading task is gone: the runtime shuts down.
    #[error("reading stream {0} has ended")]
    Ended(String),
}

impl From<OpenError> for ReplayError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoStream(stream) => Self::NoStream(stream),
            OpenError::Rewound { stream, wanted, last } => Self::Rewound { stream, wanted, last },
            OpenError::Failed { stream, reason } => Self::Failed { stream, reason },
        }
    }
}

/// A stream that is being read. It goes on over reconnects and restarts of the server.
#[derive(Debug)]
pub struct Replay {
    stream: String,
    follower: Follower,
    ready: VecDeque<Delivered>,
    caught_up: bool,
}

impl Bus {
    /// Reads what `stream` has for `filter` from `from_sequence` on, and what comes after. A sequence that is no
    /// longer there begins at the next; one that is not there yet, except the very next, is [`ReplayError::Rewound`].
    pub async fn replay(
        &self,
        stream: &str,
        filter: impl Into<String>,
        from_sequence: u64,
    ) -> Result<Replay, ReplayError> {
        let start = Start::Sequence(from_sequence);
        let plan = Plan { stream: stream.to_owned(), filter: filter.into(), start };
        let follower = Follower::start(self.clone(), plan).await?;
        Ok(Replay::new(stream, follower))
    }
}

impl Replay {
    pub(crate) fn new(stream: &str, follower: Follower) -> Self {
        Self { stream: stream.to_owned(), follower, ready: VecDeque::new(), caught_up: false }
    }

    /// Waits for a message and gives up to `max` that are there already, at least one, in stream order.
    ///
    /// Only a stream that was made anew ends it. May be dropped in a `select!`: nothing is lost.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivered>, ReplayError> {
        while self.ready.is_empty() {
            self.receive().await?;
        }
        Ok(self.ready.drain(..max.max(1).min(self.ready.len())).collect())
    }

    /// Whether everything that was there when the reading began has been handed to [`Replay::next_batch`].
    pub fn is_caught_up(&self) -> bool {
        self.caught_up && self.ready.is_empty()
    }

    /// Waits until there is a message or everything that was there has been read.
    pub(crate) async fn receive(&mut self) -> Result<(), ReplayError> {
        match self.follower.next().await {
            Some(Burst::Messages { messages, caught_up }) => {
                self.ready.extend(messages);
                self.caught_up |= caught_up;
                Ok(())
            }
            Some(Burst::Rewound { wanted, last }) => {
                Err(ReplayError::Rewound { stream: self.stream.clone(), wanted, last })
            }
            None => Err(ReplayError::Ended(self.stream.clone())),
        }
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Delivered> {
        self.ready.drain(..)
    }
}
