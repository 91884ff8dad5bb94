//! One stream as JetStream keeps it: sequences, limits, duplicate window, expected sequences, times to live.

use super::declared::{Declared, Discard, fits};
use bus_schemas::TimestampMs;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

/// What a writer says beside the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// `Nats-Msg-Id`.
    pub(crate) msg_id: Option<Rc<str>>,
    /// `Nats-Expected-Last-Subject-Sequence`.
    pub(crate) expected: Option<u64>,
    /// `Nats-TTL`, seconds.
    pub(crate) ttl_s: Option<u64>,
    /// A deletion of a bucket's key, or the marker that the server puts where a time to live has ended.
    pub(crate) deletes: bool,
    /// Whose renewal of a lease it is.
    pub(crate) holder: Option<u64>,
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) subject: Rc<str>,
    pub(crate) payload: Rc<[u8]>,
    pub(crate) headers: Headers,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    /// When the server stored it, microseconds of its own clock since the Unix epoch.
    pub(crate) stamp_us: u64,
    pub(crate) subject: Rc<str>,
    pub(crate) payload: Rc<[u8]>,
    pub(crate) headers: Headers,
    /// The same in every backup of it, and of nothing else.
    pub(crate) uid: u64,
}

impl Stored {
    pub(crate) fn stored_at(&self) -> TimestampMs {
        TimestampMs(self.stamp_us / 1_000)
    }

    /// Its writer named the message that it follows.
    pub(crate) fn is_guarded(&self) -> bool {
        self.headers.expected.is_some()
    }
}

/// Why a message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No stream takes the subject.
    NoStream,
    /// The subject's last message is another one than expected.
    WrongLast,
    /// It is larger than the stream takes.
    TooLarge,
    /// The stream is full and refuses what is new.
    Full,
}

/// The answer to a message that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) sequence: u64,
    pub(crate) duplicate: bool,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) declared: Rc<Declared>,
    /// When it was created, nanoseconds of the server's clock; no two streams share it.
    pub(crate) created_ns: u64,
    pub(crate) last: u64,
    messages: BTreeMap<u64, Stored>,
    subjects: BTreeMap<Rc<str>, VecDeque<u64>>,
    ids: BTreeMap<Rc<str>, (u64, u64)>,
    id_ages: VecDeque<(u64, Rc<str>)>,
    ends: BTreeSet<(u64, u64)>,
    bytes: u64,
}

impl Stream {
    pub(crate) fn new(declared: Rc<Declared>, created_ns: u64) -> Self {
        Self {
            declared,
            created_ns,
            last: 0,
            messages: BTreeMap::new(),
            subjects: BTreeMap::new(),
            ids: BTreeMap::new(),
            id_ages: VecDeque::new(),
            ends: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// The same stream restored: another creation, the same messages under the same sequences.
    pub(crate) fn restored(&self, created_ns: u64) -> Self {
        Self { created_ns, ..self.clone() }
    }

    /// What tells it from another one of its name.
    pub(crate) fn identity(&self) -> String {
        self.created_ns.to_string()
    }

    /// Forgets what is too old. Where the last message of a subject ends by its time to live, a marker takes its place if the
    /// stream says so.
    pub(crate) fn expire(&mut self, now_us: u64, next_uid: &mut u64) {
        let window_us = self.declared.duplicate_window / 1_000;
        while let Some((at, id)) = self.id_ages.front().filter(|(at, _)| at + window_us <= now_us).cloned() {
            self.id_ages.pop_front();
            if self.ids.get(&id).is_some_and(|(_, since)| *since == at) {
                self.ids.remove(&id);
            }
        }
        let age_us = Some(self.declared.max_age / 1_000).filter(|age_us| *age_us > 0);
        while let Some((sequence, oldest)) = self.messages.first_key_value()
            && age_us.is_some_and(|age_us| oldest.stamp_us + age_us <= now_us)
        {
            let sequence = *sequence;
            self.remove(sequence);
        }
        while let Some((at, sequence)) = self.ends.first().copied().filter(|(at, _)| *at <= now_us) {
            self.ends.remove(&(at, sequence));
            let Some(ended) = self.remove(sequence) else { continue };
            let was_last = !self.subjects.contains_key(&ended.subject);
            let marker_s = self.declared.subject_delete_marker_ttl / 1_000_000_000;
            if was_last && marker_s > 0 && !ended.headers.deletes {
                let headers = Headers { deletes: true, ttl_s: Some(marker_s), ..Headers::default() };
                let marker = Publish { subject: ended.subject, payload: Rc::from([]), headers };
                self.put(marker, at, next_uid);
            }
        }
    }

    fn remove(&mut self, sequence: u64) -> Option<Stored> {
        let gone = self.messages.remove(&sequence)?;
        self.bytes -= size(&gone.payload);
        if let Some(of_subject) = self.subjects.get_mut(&gone.subject) {
            of_subject.retain(|s| *s != sequence);
            if of_subject.is_empty() {
                self.subjects.remove(&gone.subject);
            }
        }
        Some(gone)
    }

    /// Stores a message in the order of checks of the real server: duplicates first.
    pub(crate) fn store(&mut self, new: Publish, now_us: u64, next_uid: &mut u64) -> Result<Ack, Refused> {
        self.expire(now_us, next_uid);
        if let Some((sequence, _)) = new.headers.msg_id.as_ref().and_then(|id| self.ids.get(id)) {
            return Ok(Ack { sequence: *sequence, duplicate: true });
        }
        let last = self.subjects.get(&new.subject).and_then(|s| s.back()).copied().unwrap_or(0);
        if new.headers.expected.is_some_and(|expected| expected != last) {
            return Err(Refused::WrongLast);
        }
        let size = size(&new.payload);
        if self.declared.max_msg_size > 0 && size > self.declared.max_msg_size.unsigned_abs() {
            return Err(Refused::TooLarge);
        }
        let room = self.declared.max_bytes.max(0).unsigned_abs();
        if room > 0 && self.bytes + size > room {
            if self.declared.discard == Discard::New {
                return Err(Refused::Full);
            }
            while self.bytes + size > room {
                let Some(oldest) = self.messages.keys().next().copied() else { break };
                self.remove(oldest);
            }
        }
        Ok(Ack { sequence: self.put(new, now_us, next_uid), duplicate: false })
    }

    fn put(&mut self, new: Publish, now_us: u64, next_uid: &mut u64) -> u64 {
        self.last += 1;
        *next_uid += 1;
        let Publish { subject, payload, headers } = new;
        if let Some(id) = headers.msg_id.clone() {
            self.ids.insert(id.clone(), (self.last, now_us));
            self.id_ages.push_back((now_us, id));
        }
        if let Some(ttl_s) = headers.ttl_s.filter(|_| self.declared.allow_msg_ttl) {
            self.ends.insert((now_us + ttl_s * 1_000_000, self.last));
        }
        self.bytes += size(&payload);
        let of_subject = self.subjects.entry(subject.clone()).or_default();
        of_subject.push_back(self.last);
        let most = usize::try_from(self.declared.max_msgs_per_subject).unwrap_or(usize::MAX);
        let surplus = (of_subject.len() > most).then(|| of_subject.front().copied()).flatten();
        let stored =
            Stored { sequence: self.last, stamp_us: now_us, subject, payload, headers, uid: *next_uid };
        self.messages.insert(self.last, stored);
        if let Some(surplus) = surplus {
            self.remove(surplus);
        }
        self.last
    }

    /// Deletes what is kept of a subject up to a sequence; nothing takes its place.
    pub(crate) fn purge(&mut self, subject: &str, up_to: u64) {
        let of_subject = self.subjects.get(subject).into_iter().flatten().copied();
        for sequence in of_subject.filter(|s| *s <= up_to).collect::<Vec<_>>() {
            self.remove(sequence);
        }
    }

    /// The last message of a subject.
    pub(crate) fn last_of(&self, subject: &str) -> Option<&Stored> {
        self.messages.get(self.subjects.get(subject)?.back()?)
    }

    /// The last message of a subject that was stored before then.
    pub(crate) fn last_before(&self, subject: &str, at_us: u64) -> Option<&Stored> {
        let of_subject = self.subjects.get(subject)?.iter().rev().filter_map(|s| self.messages.get(s));
        of_subject.into_iter().find(|m| m.stamp_us <= at_us)
    }

    /// The first message of a subject after a sequence.
    pub(crate) fn next_of(&self, subject: &str, after: u64) -> Option<&Stored> {
        let next = self.subjects.get(subject)?.iter().find(|s| **s > after)?;
        self.messages.get(next)
    }

    /// The message at this sequence, or the next one that is there.
    pub(crate) fn at_or_after(&self, sequence: u64) -> Option<&Stored> {
        self.messages.range(sequence..).next().map(|(_, m)| m)
    }

    /// Messages that fit, from a sequence on.
    pub(crate) fn from<'a>(&'a self, sequence: u64, filter: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.messages.range(sequence..).map(|(_, m)| m).filter(move |m| fits(filter, &m.subject))
    }

    /// The last message of each subject that fits, in the order of the stream.
    pub(crate) fn last_of_each(&self, filter: &str) -> Vec<&Stored> {
        let subjects = self.subjects.iter().filter(|(subject, _)| fits(filter, subject));
        let mut last: Vec<_> = subjects.filter_map(|(_, s)| self.messages.get(s.back()?)).collect();
        last.sort_by_key(|m| m.sequence);
        last
    }

    /// Sequence of the first message, or the next to come.
    pub(crate) fn first(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(self.last + 1)
    }

    pub(crate) fn holds(&self, uid: u64) -> bool {
        self.messages.values().any(|m| m.uid == uid)
    }
}

fn size(payload: &[u8]) -> u64 {
    payload.len() as u64
}

#[cfg(test)]
mod tests {
    use super::{super::declared::*, *};

    fn stream(name: &str) -> Stream {
        let declared = declared().unwrap().into_iter().find(|d| d.name == name).unwrap();
        Stream::new(declared, 1)
    }

    fn message(subject: &str, headers: Headers) -> Publish {
        Publish { subject: subject.into(), payload: Rc::from(*b"x"), headers }
    }

    #[test]
    fn a_second_message_of_an_id_is_acknowledged_as_the_first_before_its_expectation_is_looked_at() {
        let (mut s, mut uid) = (stream(LEDGER), 0);
        let guarded =
            |expected| Headers { msg_id: Some("a".into()), expected: Some(expected), ..Headers::default() };
        assert_eq!(s.store(message("l", guarded(0)), 0, &mut uid), Ok(Ack { sequence: 1, duplicate: false }));
        assert_eq!(s.store(message("l", guarded(0)), 9, &mut uid), Ok(Ack { sequence: 1, duplicate: true }));
        let later = 120_000_001;
        assert_eq!(s.store(message("l", guarded(0)), later, &mut uid), Err(Refused::WrongLast));
        assert_eq!(s.last, 1);
    }

    #[test]
    fn a_lease_ends_by_itself_and_leaves_a_marker_that_ends_too() {
        let (mut s, mut uid) = (stream(LEASES), 0);
        let lease = Headers { ttl_s: Some(2), expected: Some(0), ..Headers::default() };
        s.store(message("k", lease), 0, &mut uid).unwrap();
        s.expire(1_999_999, &mut uid);
        assert!(s.last_of("k").is_some_and(|m| !m.headers.deletes));
        s.expire(2_000_000, &mut uid);
        assert!(s.last_of("k").is_some_and(|m| m.headers.deletes && m.sequence == 2));
        s.expire(62_000_000, &mut uid);
        assert!(s.last_of("k").is_none());
    }

    #[test]
    fn a_subject_keeps_only_so_many_messages() {
        let (mut s, mut uid) = (stream(MEMBERS), 0);
        for at in 0..20 {
            s.store(message("m", Headers::default()), at, &mut uid).unwrap();
        }
        assert_eq!(s.from(1, "m").map(|m| m.sequence).collect::<Vec<_>>(), (13..=20).collect::<Vec<_>>());
    }
}
