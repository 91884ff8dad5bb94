//! The server: every declared stream, its own clock, and who has subscribed to what.

pub(crate) mod declared;
pub(crate) mod stream;
pub(crate) mod subscriptions;

use declared::{Declared, fits};
use std::{collections::BTreeMap, rc::Rc, task::Waker};
use stream::{Ack, Publish, Refused, Stored, Stream};

/// A stream at a moment of its server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) created_ns: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) now_us: u64,
}

impl Bounds {
    pub(crate) fn identity(self) -> String {
        self.created_ns.to_string()
    }

    /// When it was created, milliseconds.
    pub(crate) fn created_ms(self) -> u64 {
        self.created_ns / 1_000_000
    }
}

/// See the module's documentation.
pub(crate) struct Server {
    declared: Vec<Rc<Declared>>,
    streams: BTreeMap<String, Stream>,
    /// Its clock at the begin of the simulation, microseconds since the Unix epoch.
    begin_us: u64,
    next_uid: u64,
    next_created: u64,
    /// Who waits for news of a stream.
    pub(crate) waiting: BTreeMap<String, Vec<(usize, Waker)>>,
    /// Where a durable consumer of block candidates stands.
    pub(crate) consumers: BTreeMap<String, Consumer>,
}

/// A durable consumer with acknowledgements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumer {
    created_ns: u64,
    delivered: u64,
    /// What has no acknowledgement, and when it is delivered again.
    pending: BTreeMap<u64, u64>,
}

impl Server {
    pub(crate) fn new(begin_us: u64) -> Result<Self, serde_json::Error> {
        Ok(Self {
            declared: declared::declared()?,
            streams: BTreeMap::new(),
            begin_us,
            next_uid: 0,
            next_created: 0,
            waiting: BTreeMap::new(),
            consumers: BTreeMap::new(),
        })
    }

    /// The server's own clock.
    pub(crate) fn clock_us(&self, now_us: u64) -> u64 {
        self.begin_us + now_us
    }

    fn created_ns(&mut self, now_us: u64) -> u64 {
        self.next_created += 1;
        self.clock_us(now_us) * 1_000 + self.next_created % 1_000
    }

    /// Makes the declared streams that are missing, and names them.
    pub(crate) fn ensure(&mut self, now_us: u64) -> Vec<String> {
        let missing = self.missing();
        for name in &missing {
            self.create(name, now_us);
        }
        missing
    }

    pub(crate) fn missing(&self) -> Vec<String> {
        let names = self.declared.iter().map(|d| d.name.clone());
        names.filter(|name| !self.streams.contains_key(name)).collect()
    }

    fn create(&mut self, name: &str, now_us: u64) {
        let created = self.created_ns(now_us);
        let declared = self.declared.iter().find(|d| d.name == name).cloned();
        if let Some(declared) = declared {
            self.streams.insert(name.to_owned(), Stream::new(declared, created));
        }
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.streams.remove(name);
    }

    /// Puts a backup in a stream's place.
    pub(crate) fn restore(&mut self, name: &str, backup: &Stream, now_us: u64) {
        let created = self.created_ns(now_us);
        self.streams.insert(name.to_owned(), backup.restored(created));
    }

    /// A stream as it is now.
    pub(crate) fn stream(&mut self, name: &str, now_us: u64) -> Option<&Stream> {
        let clock = self.clock_us(now_us);
        let Self { streams, next_uid, .. } = self;
        let stream = streams.get_mut(name)?;
        stream.expire(clock, next_uid);
        Some(stream)
    }

    /// Deletes what a stream keeps of a subject up to a sequence.
    pub(crate) fn purge(&mut self, name: &str, subject: &str, up_to: u64) {
        if let Some(stream) = self.streams.get_mut(name) {
            stream.purge(subject, up_to);
        }
    }

    /// A stream as it was when it was last used.
    pub(crate) fn peek(&self, name: &str) -> Option<&Stream> {
        self.streams.get(name)
    }

    pub(crate) fn bounds(&mut self, name: &str, now_us: u64) -> Option<Bounds> {
        let clock = self.clock_us(now_us);
        let stream = self.stream(name, now_us)?;
        Some(Bounds {
            created_ns: stream.created_ns,
            first: stream.first(),
            last: stream.last,
            now_us: clock,
        })
    }

    /// The stream that takes a subject.
    pub(crate) fn taker(&self, subject: &str) -> Option<&str> {
        let takes = |d: &&Rc<Declared>| d.subjects.iter().any(|filter| fits(filter, subject));
        self.declared.iter().find(takes).map(|d| d.name.as_str())
    }

    /// Stores a message; gives it back as it is stored unless it was there before.
    pub(crate) fn store(&mut self, new: Publish, now_us: u64) -> Result<(Ack, Option<Stored>), Refused> {
        let clock = self.clock_us(now_us);
        let name = self.taker(&new.subject).map(str::to_owned).ok_or(Refused::NoStream)?;
        let Self { streams, next_uid, .. } = self;
        let stream = streams.get_mut(&name).ok_or(Refused::NoStream)?;
        let ack = stream.store(new, clock, next_uid)?;
        let stored = (!ack.duplicate).then(|| stream.at_or_after(ack.sequence).cloned()).flatten();
        Ok((ack, stored))
    }

    /// The next message of a durable consumer: one that was delivered long ago without an acknowledgement, or a new one.
    pub(crate) fn consume(
        &mut self,
        name: &str,
        filter: &str,
        ack_wait_us: u64,
        now_us: u64,
    ) -> Option<Stored> {
        let mut consumer = self.consumers.get(filter).cloned().unwrap_or_default();
        let stream = self.stream(name, now_us)?;
        if consumer.created_ns != stream.created_ns {
            consumer = Consumer { created_ns: stream.created_ns, ..Consumer::default() };
        }
        let again = consumer.pending.iter().find(|(_, at)| **at <= now_us).map(|(s, _)| *s);
        let message = match again {
            Some(sequence) => stream.at_or_after(sequence).filter(|m| m.sequence == sequence).cloned(),
            None => stream.from(consumer.delivered + 1, filter).next().cloned(),
        };
        match (&message, again) {
            (Some(message), _) => {
                consumer.delivered = consumer.delivered.max(message.sequence);
                consumer.pending.insert(message.sequence, now_us + ack_wait_us);
            }
            (None, Some(gone)) => drop(consumer.pending.remove(&gone)),
            (None, None) => {}
        }
        self.consumers.insert(filter.to_owned(), consumer);
        message
    }

    pub(crate) fn acknowledge(&mut self, filter: &str, sequence: u64) {
        if let Some(consumer) = self.consumers.get_mut(filter) {
            consumer.pending.remove(&sequence);
        }
    }
}
