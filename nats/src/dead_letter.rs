//! Dead letters: what could not be read or handled is kept where people look, with the reason.

use crate::{Bus, Expect, delivery::Undecodable};
use async_nats::{HeaderMap, HeaderValue, header::NATS_MESSAGE_ID};
use bus_schemas::subject;
use bytes::Bytes;
use std::sync::atomic::Ordering::Relaxed;

/// Most bytes of a message that its dead letter keeps.
pub const MAX_DEAD_LETTER_LEN: usize = 60 * 1024;
/// Most bytes of a reason in a header.
const MAX_REASON_LEN: usize = 512;

/// Headers of a dead letter.
pub mod header {
    /// Why it is dead.
    pub const REASON: &str = "Dcmf-Reason";
    /// The subject that it came on.
    pub const SUBJECT: &str = "Dcmf-Subject";
    /// The stream that it came from.
    pub const STREAM: &str = "Dcmf-Stream";
    /// Its sequence there.
    pub const SEQUENCE: &str = "Dcmf-Sequence";
    /// Length in bytes of the message, when the dead letter holds only its beginning.
    pub const WHOLE_LENGTH: &str = "Dcmf-Whole-Length";
}

/// A message and why it is dead.
pub(crate) struct DeadLetter<'a> {
    pub(crate) subject: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) sequence: Option<u64>,
    pub(crate) reason: &'a str,
    pub(crate) payload: &'a Bytes,
}

impl Bus {
    /// Counts a message of `stream` that nobody can read, and keeps it as a dead letter. One that cannot be kept is
    /// counted and logged: a dead letter never stops the living.
    pub async fn dead_letter(&self, stream: &str, undecodable: &Undecodable) {
        self.count().undecodable.fetch_add(1, Relaxed);
        let Undecodable { subject, sequence, reason, payload } = undecodable;
        self.keep_dead_letter(DeadLetter { subject, stream, sequence: *sequence, reason, payload }).await;
    }

    pub(crate) async fn keep_dead_letter(&self, letter: DeadLetter<'_>) {
        let DeadLetter { subject, stream, sequence, reason, payload } = letter;
        let mut headers = HeaderMap::new();
        headers.insert(header::REASON, one_line(reason).as_str());
        headers.insert(header::SUBJECT, one_line(subject).as_str());
        headers.insert(header::STREAM, one_line(stream).as_str());
        if let Some(sequence) = sequence {
            headers.insert(header::SEQUENCE, HeaderValue::from(sequence));
            headers.insert(NATS_MESSAGE_ID, one_line(&format!("{stream}-{sequence}")).as_str());
        }
        let kept = payload.slice(..payload.len().min(MAX_DEAD_LETTER_LEN));
        if kept.len() < payload.len() {
            headers.insert(header::WHOLE_LENGTH, HeaderValue::from(payload.len()));
        }
        let dead = subject::dead_letter(subject);
        if let Err(error) = self.publish_bytes_stored(&dead, kept, headers, Expect::None).await {
            self.count().dead_letters_lost.fetch_add(1, Relaxed);
            tracing::error!(%error, subject, stream, sequence, reason, "a dead letter could not be kept");
        }
    }
}

/// A header is one line of limited length.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > MAX_REASON_LEN {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_becomes_one_line_of_limited_length() {
        assert_eq!(one_line("a\r\nb"), "a  b");
        let long = one_line(&"ü".repeat(600));
        assert_eq!(long.len(), MAX_REASON_LEN);
    }
}
