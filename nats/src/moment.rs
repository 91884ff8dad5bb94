//! What a server tells of a stream and of its own time, so that the age of a message is told by the clock that stamped it.

use crate::{Bus, ReadError};
use bus_schemas::TimestampMs;
use serde::Deserialize;

/// A stream at a moment of its server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMoment {
    /// When the stream was created, as the server writes it: another one of the same name is not the same.
    pub created: String,
    /// Sequence of the last message that it ever took.
    pub last: u64,
    /// The server's time.
    pub now: TimestampMs,
}

#[derive(Deserialize)]
struct Info {
    error: Option<ApiError>,
    created: Option<String>,
    state: Option<State>,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct State {
    last_seq: u64,
}

#[derive(Deserialize)]
struct ApiError {
    code: u16,
    description: String,
}

impl Bus {
    /// What the server says of `stream` and of its own time (`ts`, which servers tell since 2.10).
    pub async fn stream_moment(&self, stream: &str) -> Result<StreamMoment, ReadError> {
        if !self.is_connected() {
            return Err(ReadError::Disconnected(stream.to_owned()));
        }
        let failed = |reason: String| ReadError::Failed { stream: stream.to_owned(), reason };
        let request = self.client().request(format!("$JS.API.STREAM.INFO.{stream}"), "".into());
        let answer = request.await.map_err(|e| failed(e.to_string()))?;
        let info: Info = serde_json::from_slice(&answer.payload).map_err(|e| failed(e.to_string()))?;
        match info {
            Info { error: Some(error), .. } if error.code == 404 => {
                Err(ReadError::NoStream(stream.to_owned()))
            }
            Info { error: Some(error), .. } => Err(failed(error.description)),
            Info { created: Some(created), state: Some(state), ts: Some(ts), .. } => {
                let now = TimestampMs::from_rfc3339(&ts);
                let now = now.ok_or_else(|| failed(format!("it tells the time as {ts:?}")))?;
                Ok(StreamMoment { created, last: state.last_seq, now })
            }
            Info { .. } => Err(failed("it does not tell its time; use nats-server 2.11 or newer".to_owned())),
        }
    }
}
