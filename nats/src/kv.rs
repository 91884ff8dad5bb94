//! Buckets: values by key, with revisions.

use crate::{
    Bus, Expect, PublishError, ReadError, Stored,
    delivery::{Delivered, Undecodable},
    subscribe::{KV_OPERATION, is_deletion},
    watch::{Watch, WatchEvent},
};
use async_nats::HeaderMap;
use bus_schemas::Message;
use bytes::Bytes;
use std::fmt::Display;

/// A value and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry<T = Bytes> {
    /// Its revision: the sequence of the bucket's stream.
    pub revision: u64,
    /// The value.
    pub value: T,
}

/// A kept version of a key, and whether its owner wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Its value, `None` for a deletion.
    pub value: Option<Bytes>,
    /// When the bucket stored it.
    pub stored_at: bus_schemas::TimestampMs,
    /// Its writer named the revision that it replaced, see [`Delivered::is_guarded`].
    pub guarded: bool,
}

/// Why a bucket did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// A key is tokens of letters, digits, `-`, `_`, `/` or `=`, joined by dots.
    #[error("{0:?} is no key; use letters, digits, '-', '_', '/', '=' and dots between")]
    InvalidKey(String),
    /// The key has another revision than was named, or exists already.
    #[error("{bucket} has another revision of {key} than {expected}; read it again")]
    RevisionMismatch {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What was expected; zero: that there is none.
        expected: u64,
    },
    /// It could not be written, or may not have been.
    #[error(transparent)]
    Publish(PublishError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Undecodable> for KvError {
    fn from(error: Undecodable) -> Self {
        Self::Read(error.into())
    }
}

/// A bucket. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Kv {
    bus: Bus,
    bucket: String,
    stream: String,
    prefix: String,
}

impl Bus {
    /// The bucket `bucket`; whether it is there shows in its use.
    pub fn kv(&self, bucket: &str) -> Kv {
        Kv {
            bus: self.clone(),
            bucket: bucket.to_owned(),
            stream: format!("KV_{bucket}"),
            prefix: format!("$KV.{bucket}."),
        }
    }
}

impl Kv {
    /// The value of `key` as the bucket's leader knows it, `None` when there is none.
    pub async fn get(&self, key: impl Display) -> Result<Option<KvEntry>, KvError> {
        let subject = self.subject(&key.to_string())?;
        Ok(value(self.bus.last_bytes(&self.stream, subject).await?))
    }

    /// The value of `key` as any replica knows it: cheap, but in a cluster it may be a moment old.
    pub async fn get_direct(&self, key: impl Display) -> Result<Option<KvEntry>, KvError> {
        let subject = self.subject(&key.to_string())?;
        Ok(value(self.bus.last_bytes_direct(&self.stream, subject).await?))
    }

    /// The newest revision of `key` as the bucket's leader knows it, a deletion included; 0 when there never was any.
    pub async fn revision(&self, key: impl Display) -> Result<u64, KvError> {
        let subject = self.subject(&key.to_string())?;
        Ok(self.bus.last_bytes(&self.stream, subject).await?.map_or(0, |last| last.sequence))
    }

    /// Like [`Kv::get`], decoded.
    pub async fn get_as<M: Message>(&self, key: impl Display) -> Result<Option<KvEntry<M>>, KvError> {
        let key = key.to_string();
        self.get(&key).await?.map(|entry| self.decode(&key, &entry)).transpose()
    }

    /// Reads an entry's value.
    pub fn decode<M: Message>(&self, key: &str, entry: &KvEntry) -> Result<KvEntry<M>, KvError> {
        let value = M::decode(&entry.value).map_err(|e| Undecodable {
            subject: format!("{}{key}", self.prefix),
            sequence: Some(entry.revision),
            reason: e.to_string(),
            payload: entry.value.clone(),
        })?;
        Ok(KvEntry { revision: entry.revision, value })
    }

    /// Puts a value, whatever was there, and gives its revision.
    pub async fn put(&self, key: impl Display, value: Bytes) -> Result<u64, KvError> {
        let stored = self.write(&key.to_string(), value, HeaderMap::new(), Expect::None).await?;
        Ok(stored.sequence)
    }

    /// Like [`Kv::put`], encoded.
    pub async fn put_as<M: Message>(&self, key: impl Display, value: &M) -> Result<u64, KvError> {
        let value = value.encode().map_err(|e| KvError::Publish(e.into()))?;
        self.put(key, value.into()).await
    }

    /// Puts a value only if there is none, and gives its revision.
    pub async fn create(&self, key: impl Display, value: Bytes) -> Result<u64, KvError> {
        let key = key.to_string();
        let subject = self.subject(&key)?;
        let expected = match self.bus.last_bytes(&self.stream, subject).await? {
            None => 0,
            Some(last) if is_deletion(last.headers.as_ref()) => last.sequence,
            Some(_) => return Err(self.mismatch(key, 0)),
        };
        let expect = Expect::LastSubjectSequence(expected);
        match self.write(&key, value, HeaderMap::new(), expect).await {
            Err(KvError::RevisionMismatch { .. }) => Err(self.mismatch(key, 0)),
            other => Ok(other?.sequence),
        }
    }

    /// Puts a value only if the key has this revision, and gives the new one.
    pub async fn update(&self, key: impl Display, value: Bytes, revision: u64) -> Result<u64, KvError> {
        let expect = Expect::LastSubjectSequence(revision);
        Ok(self.write(&key.to_string(), value, HeaderMap::new(), expect).await?.sequence)
    }

    /// Deletes the key, whatever it holds; its history stays. Gives the revision of the deletion.
    pub async fn delete(&self, key: impl Display) -> Result<u64, KvError> {
        self.remove(&key.to_string(), Expect::None).await
    }

    /// Deletes the key only if it has this revision. Gives the revision of the deletion.
    pub async fn delete_at(&self, key: impl Display, revision: u64) -> Result<u64, KvError> {
        self.remove(&key.to_string(), Expect::LastSubjectSequence(revision)).await
    }

    /// Takes away what the bucket holds of `key` up to `revision`, history included, and nothing that was written since. Leaves no
    /// mark of a deletion and needs no room; whoever listens to the key is not told.
    pub async fn purge_to(&self, key: impl Display, revision: u64) -> Result<(), KvError> {
        let subject = self.subject(&key.to_string())?;
        Ok(self.bus.purge(&self.stream, subject, revision).await?)
    }

    /// Every key that has a value, in order of their revisions.
    pub async fn keys(&self) -> Result<Vec<String>, KvError> {
        let put = |event| match event {
            WatchEvent::Put { key, .. } => Some(key),
            _ => None,
        };
        Ok(self.entries().await?.into_iter().filter_map(put).collect())
    }

    /// Every value, in order of their revisions.
    pub async fn entries(&self) -> Result<Vec<WatchEvent>, KvError> {
        let last = self.bus.read_last_of_each(&self.stream, self.filter()).await?;
        let events = last.into_iter().map(|delivered| self.event(delivered));
        Ok(events.filter(|event| matches!(event, WatchEvent::Put { .. })).collect())
    }

    /// The last version of each key under a wildcard that has a value, with its key and stamp.
    pub async fn stamped(&self, keys: impl Display) -> Result<Vec<(String, Delivered)>, KvError> {
        let last = self.bus.read_last_of_each(&self.stream, format!("{}{keys}", self.prefix)).await?;
        let live = last.into_iter().filter(|delivered| !is_deletion(delivered.headers.as_ref()));
        let keyed = live.filter_map(|delivered| {
            Some((delivered.subject.strip_prefix(&self.prefix)?.to_owned(), delivered))
        });
        Ok(keyed.collect())
    }

    /// What is kept of the changes of `key`, oldest first.
    pub async fn history(&self, key: impl Display) -> Result<Vec<WatchEvent>, KvError> {
        let subject = self.subject(&key.to_string())?;
        let all = self.bus.read_all(&self.stream, subject).await?;
        Ok(all.into_iter().map(|delivered| self.event(delivered)).collect())
    }

    /// What is kept of the changes of the keys under a wildcard, in order of their revisions.
    pub async fn history_of_all(&self, keys: impl Display) -> Result<Vec<WatchEvent>, KvError> {
        let all = self.bus.read_all(&self.stream, format!("{}{keys}", self.prefix)).await?;
        Ok(all.into_iter().map(|delivered| self.event(delivered)).collect())
    }

    /// Like [`Kv::history_of_all`], with whether each was written by one who knew what it replaced.
    pub async fn kept(&self, keys: impl Display) -> Result<Vec<Kept>, KvError> {
        let all = self.bus.read_all(&self.stream, format!("{}{keys}", self.prefix)).await?;
        let kept = |delivered: Delivered| {
            let (guarded, stored_at) = (delivered.is_guarded(), delivered.stored_at);
            match self.event(delivered) {
                WatchEvent::Put { key, revision, value } => {
                    Some(Kept { key, revision, value: Some(value), stored_at, guarded })
                }
                WatchEvent::Delete { key, revision } => {
                    Some(Kept { key, revision, value: None, stored_at, guarded })
                }
                WatchEvent::Initialised | WatchEvent::Restarted => None,
            }
        };
        Ok(all.into_iter().filter_map(kept).collect())
    }

    /// The last version of `key`, deletions included.
    pub async fn last_kept(&self, key: &str) -> Result<Option<Delivered>, KvError> {
        let subject = self.subject(key)?;
        Ok(self.bus.last_bytes(&self.stream, subject).await?)
    }

    /// The values that are there, then [`WatchEvent::Initialised`], then every change, for ever.
    pub async fn watch_all(&self) -> Result<Watch, KvError> {
        Watch::start(self.bus.clone(), self.clone(), self.filter()).await
    }

    /// Like [`Kv::watch_all`], for one key or the keys under a wildcard.
    pub async fn watch(&self, keys: impl Display) -> Result<Watch, KvError> {
        Watch::start(self.bus.clone(), self.clone(), format!("{}{keys}", self.prefix)).await
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) fn subject(&self, key: &str) -> Result<String, KvError> {
        let token = |token: &str| {
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/=".contains(&b))
        };
        if key.split('.').all(token) {
            Ok(format!("{}{key}", self.prefix))
        } else {
            Err(KvError::InvalidKey(key.to_owned()))
        }
    }

    /// What a message of the bucket's stream says.
    pub fn event(&self, delivered: Delivered) -> WatchEvent {
        let subject = delivered.subject.as_str();
        let key = subject.strip_prefix(&self.prefix).unwrap_or(subject).to_owned();
        let revision = delivered.sequence;
        if is_deletion(delivered.headers.as_ref()) {
            WatchEvent::Delete { key, revision }
        } else {
            WatchEvent::Put { key, revision, value: delivered.payload }
        }
    }

    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        headers: HeaderMap,
        expect: Expect,
    ) -> Result<Stored, KvError> {
        let subject = self.subject(key)?;
        let stored = self.bus.publish_bytes_stored(subject, value, headers, expect).await;
        stored.map_err(|error| match (error, expect) {
            (PublishError::WrongLastSequence { .. }, Expect::LastSubjectSequence(expected)) => {
                self.mismatch(key.to_owned(), expected)
            }
            (error, _) => KvError::Publish(error),
        })
    }

    pub(crate) async fn remove(&self, key: &str, expect: Expect) -> Result<u64, KvError> {
        let mut headers = HeaderMap::new();
        headers.insert(KV_OPERATION, "DEL");
        Ok(self.write(key, Bytes::new(), headers, expect).await?.sequence)
    }

    fn mismatch(&self, key: String, expected: u64) -> KvError {
        KvError::RevisionMismatch { bucket: self.bucket.clone(), key, expected }
    }

    fn filter(&self) -> String {
        format!("{}>", self.prefix)
    }
}

fn value(last: Option<Delivered>) -> Option<KvEntry> {
    let last = last.filter(|last| !is_deletion(last.headers.as_ref()))?;
    Some(KvEntry { revision: last.sequence, value: last.payload })
}
