//! Taking away what a stream keeps of one subject.

use crate::{Bus, ReadError};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Purge {
    filter: String,
    /// The first sequence that stays.
    seq: u64,
}

#[derive(Deserialize)]
struct Purged {
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    code: u16,
    description: String,
}

impl Bus {
    /// Takes away what `stream` keeps of `subject` up to the sequence `to`; nothing is stored, so a full stream does it too.
    pub(crate) async fn purge(&self, stream: &str, subject: String, to: u64) -> Result<(), ReadError> {
        if !self.is_connected() {
            return Err(ReadError::Disconnected(stream.to_owned()));
        }
        let failed = |reason: String| ReadError::Failed { stream: stream.to_owned(), reason };
        let body = Purge { filter: subject, seq: to.saturating_add(1) };
        let body = serde_json::to_vec(&body).map_err(|e| failed(e.to_string()))?;
        let request = self.client().request(format!("$JS.API.STREAM.PURGE.{stream}"), body.into());
        let answer = request.await.map_err(|e| failed(e.to_string()))?;
        let purged: Purged = serde_json::from_slice(&answer.payload).map_err(|e| failed(e.to_string()))?;
        match purged.error {
            None => Ok(()),
            Some(error) if error.code == 404 => Err(ReadError::NoStream(stream.to_owned())),
            Some(error) => Err(failed(error.description)),
        }
    }
}
