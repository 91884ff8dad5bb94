//! Any message of the bus as JSON, for people: what `dcmf-decode` prints.

use crate::{
    block::{BlockRecord, ChainRecord, TemplateRecord},
    codec::{DecodeError, Encoding, Message},
    heartbeat::Heartbeat,
    job::Job,
    share::Share,
    subject::{InvalidSubject, PREFIX, Subject},
};
use serde_json::Value;

/// Longest message that is read, in bytes: a block and its envelope.
pub const MAX_INPUT_LEN: usize = crate::block::MAX_BLOCK_MESSAGE_LEN;

/// Why a message cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Longer than any message of ours.
    #[error("the message is longer than {MAX_INPUT_LEN} bytes, the most that any message has")]
    TooLarge,
    /// The subject says nothing about the type.
    #[error("{0}; leave --subject out to try every type")]
    Subject(#[from] InvalidSubject),
    /// The subject carries JSON, and this is none.
    #[error("{subject} carries JSON, but this is none")]
    NoJson {
        /// As given.
        subject: String,
    },
    /// Not of the type that the subject carries.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// Neither JSON nor any of our MessagePack messages.
    #[error("neither JSON nor a job, share, heartbeat, block, template or chain record")]
    Unknown,
    /// Read, but JSON cannot say it.
    #[error("{message} cannot be written as JSON: {reason}")]
    Unwritable {
        /// Its type.
        message: &'static str,
        /// What the codec said.
        reason: String,
    },
}

type Reader = fn(&[u8]) -> Result<Value, Unreadable>;

/// Everything that travels as MessagePack. No two have the same required fields, so at most one reads a message.
const MESSAGE_PACK: [Reader; 6] = [
    read::<Share>,
    read::<Heartbeat>,
    read::<Job>,
    read::<BlockRecord>,
    read::<TemplateRecord>,
    read::<ChainRecord>,
];

fn read<M: Message>(bytes: &[u8]) -> Result<Value, Unreadable> {
    const { assert!(matches!(M::ENCODING, Encoding::MessagePack)) };
    let message = M::decode(bytes)?;
    serde_json::to_value(message)
        .map_err(|e| Unreadable::Unwritable { message: M::NAME, reason: e.to_string() })
}

/// The reader of what a subject carries, `None` where that is JSON.
fn reader(subject: &Subject) -> Option<Reader> {
    Some(match subject {
        Subject::Job(..) => read::<Job>,
        Subject::Share(..) | Subject::Found(..) => read::<Share>,
        Subject::Heartbeat(..) => read::<Heartbeat>,
        Subject::Block(..) => read::<BlockRecord>,
        Subject::Template(..) => read::<TemplateRecord>,
        Subject::Chain(..) => read::<ChainRecord>,
        Subject::Dead(rest) => return reader(&format!("{PREFIX}.{rest}").parse().ok()?),
        Subject::Role(..)
        | Subject::Join(..)
        | Subject::Leave(..)
        | Subject::InForce(..)
        | Subject::View(..)
        | Subject::Throttle(..)
        | Subject::Latency(..)
        | Subject::Catalogue
        | Subject::Ledger(..) => return None,
    })
}

/// One message as JSON. JSON passes through and an empty message is `null`, whatever the subject; of the rest the
/// subject names the type, and without a subject every type is tried.
pub fn to_json(subject: Option<&str>, bytes: &[u8]) -> Result<Value, Unreadable> {
    if bytes.len() > MAX_INPUT_LEN {
        return Err(Unreadable::TooLarge);
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    // No MessagePack map begins like a JSON text, so this takes nothing away from the other types.
    if let Ok(json) = serde_json::from_slice(bytes) {
        return Ok(json);
    }
    match subject {
        Some(text) => match reader(&text.parse()?) {
            Some(read) => read(bytes),
            None => Err(Unreadable::NoJson { subject: text.to_owned() }),
        },
        None => MESSAGE_PACK.iter().find_map(|read| read(bytes).ok()).ok_or(Unreadable::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, Visitor};

    /// The subject of a message that travels as MessagePack.
    fn subject_of(name: &str) -> String {
        let rest = match name {
            "Job" => "job.main",
            "Share" => "share.main.w1",
            "Heartbeat" => "hb.main.w1",
            "BlockRecord" => "block.main.00ff",
            "TemplateRecord" => "template.main.0a",
            "ChainRecord" => "chain.main",
            other => panic!("{other} has no subject here"),
        };
        format!("{PREFIX}.{rest}")
    }

    struct EveryExample;

    impl Visitor for EveryExample {
        fn visit<M: Message + schemars::JsonSchema + PartialEq + std::fmt::Debug>(&mut self, example: M) {
            let bytes = example.encode().unwrap();
            let shown = serde_json::to_value(&example).unwrap();
            assert_eq!(to_json(None, &bytes), Ok(shown.clone()), "{} without a subject", M::NAME);
            if M::ENCODING == Encoding::MessagePack {
                let subject = subject_of(M::NAME);
                assert_eq!(to_json(Some(&subject), &bytes), Ok(shown.clone()), "{subject}");
                let dead = crate::subject::dead_letter(&subject).to_string();
                assert_eq!(to_json(Some(&dead), &bytes), Ok(shown), "{dead}");
                let readers = MESSAGE_PACK.iter().filter(|read| read(&bytes).is_ok()).count();
                assert_eq!(readers, 1, "{} is read as {readers} types", M::NAME);
            }
        }
    }

    #[test]
    fn every_message_is_shown_with_and_without_its_subject() {
        examples::visit(&mut EveryExample).unwrap();
    }

    #[test]
    fn bytes_are_shown_as_hex_and_work_as_decimal_digits() {
        let job = to_json(None, &examples::job().unwrap().encode().unwrap()).unwrap();
        assert_eq!(job["work"]["header"]["coinbase_prefix"], "01000000");
        assert_eq!(job["network_target"].as_str().map(str::len), Some(64));
    }

    #[test]
    fn what_cannot_be_shown_says_why() {
        let share = examples::share().unwrap().encode().unwrap();
        let named = |rest: &str| format!("{PREFIX}.{rest}");
        assert!(matches!(to_json(Some("elsewhere"), &share), Err(Unreadable::Subject(_))));
        assert!(matches!(to_json(Some(&named("job.main")), &share), Err(Unreadable::Malformed(_))));
        assert!(matches!(to_json(Some(&named("ledger.main")), &share), Err(Unreadable::NoJson { .. })));
        assert_eq!(to_json(None, b"\xc1 nothing of ours"), Err(Unreadable::Unknown));
        assert_eq!(to_json(None, &vec![0; MAX_INPUT_LEN + 1]), Err(Unreadable::TooLarge));
        assert_eq!(to_json(None, b""), Ok(Value::Null));
    }
}
