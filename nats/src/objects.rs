//! Objects: files of a bucket, as `nats object put` stores them.

use crate::{Bus, ReadError};
use async_nats::jetstream::object_store::{InfoErrorKind, ObjectInfo, ObjectStore};
use std::time::Duration;
use tokio::{io::AsyncReadExt, time::timeout};

/// Longest time in which an object is read.
pub const OBJECT_DEADLINE: Duration = Duration::from_secs(60);

/// Why an object could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such bucket.
    #[error("there is no bucket {0}; create it with `dcmf-bus ensure`")]
    NoBucket(String),
    /// There is no such object.
    #[error("bucket {bucket} has no {object}; store it: nats object put {bucket} FILE --name {object}")]
    NoObject {
        /// The bucket.
        bucket: String,
        /// The object's name.
        object: String,
    },
    /// It is longer than its reader takes.
    #[error("{object} has {len} bytes, {most} are taken at most")]
    TooBig {
        /// The object's name.
        object: String,
        /// Its length in bytes.
        len: usize,
        /// Longest in bytes.
        most: usize,
    },
    /// A link may lead anywhere.
    #[error("{0} is a link; store the object itself")]
    Link(String),
    /// It did not come in time.
    #[error("{0} did not come within {seconds} s; try again", seconds = OBJECT_DEADLINE.as_secs())]
    Timeout(String),
    /// Anything else that the client says.
    #[error("cannot read {object}: {reason}")]
    Failed {
        /// The object's name.
        object: String,
        /// What the client said.
        reason: String,
    },
}

impl Bus {
    /// The bytes of `object` in `bucket`, `most` at the most. The client checks them against the digest that was stored with them.
    pub async fn object(&self, bucket: &str, object: &str, most: usize) -> Result<Vec<u8>, ObjectError> {
        let read = timeout(OBJECT_DEADLINE, self.read_object(bucket, object, most));
        read.await.unwrap_or_else(|_| Err(ObjectError::Timeout(object.to_owned())))
    }

    async fn read_object(&self, bucket: &str, object: &str, most: usize) -> Result<Vec<u8>, ObjectError> {
        let failed = |reason: String| ObjectError::Failed { object: object.to_owned(), reason };
        let store = match self.jetstream().get_object_store(bucket).await {
            Ok(store) => store,
            Err(error) => {
                let bounds = self.stream_bounds(&format!("OBJ_{bucket}")).await;
                let missing = matches!(bounds, Err(ReadError::NoStream(_)));
                let no_bucket = || ObjectError::NoBucket(bucket.to_owned());
                return Err(if missing { no_bucket() } else { failed(error.to_string()) });
            }
        };
        let info = info(&store, bucket, object).await?;
        if info.options.as_ref().is_some_and(|options| options.link.is_some()) {
            return Err(ObjectError::Link(object.to_owned()));
        }
        let too_big = |len: usize| ObjectError::TooBig { object: object.to_owned(), len, most };
        if info.size > most {
            return Err(too_big(info.size));
        }
        let stored = store.get(object).await.map_err(|error| failed(error.to_string()))?;
        // It may have been replaced since by a longer one.
        let (mut bytes, limit) = (Vec::with_capacity(info.size), most as u64 + 1);
        stored.take(limit).read_to_end(&mut bytes).await.map_err(|error| failed(error.to_string()))?;
        if bytes.len() > most { Err(too_big(bytes.len())) } else { Ok(bytes) }
    }
}

async fn info(store: &ObjectStore, bucket: &str, object: &str) -> Result<ObjectInfo, ObjectError> {
    let none = || ObjectError::NoObject { bucket: bucket.to_owned(), object: object.to_owned() };
    let info = store.info(object).await.map_err(|error| match error.kind() {
        InfoErrorKind::NotFound => none(),
        _ => ObjectError::Failed { object: object.to_owned(), reason: error.to_string() },
    })?;
    if info.deleted { Err(none()) } else { Ok(info) }
}
