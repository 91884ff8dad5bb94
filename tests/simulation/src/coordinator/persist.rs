//! Writing until it is certain what became of it.

use super::pool::Context;
use crate::{
    bus::{Bus, BusError},
    server::{
        declared::{MEMBERS, key_subject},
        stream::{Headers, Refused, Stored},
    },
};
use bus_schemas::{Message, TimestampMs, command::Stuck, member::Member};
use coordinator_core::{PoolInput, Trouble};

/// Pauses between two attempts, milliseconds.
const FIRST_PAUSE_MS: u64 = 50;
const MAX_PAUSE_MS: u64 = 2_000;

/// Nothing was written, and it makes no sense to try again.
#[derive(Debug)]
pub(super) enum Failed {
    /// Somebody else wrote in between.
    Overtaken(String),
    /// It can never be written.
    Impossible(String),
}

impl Failed {
    pub(super) fn stuck(&self) -> Option<Stuck> {
        let Self::Impossible(stream) = self else { return None };
        let (reason, repair) = ("it is too large".to_owned(), "raise the limit".to_owned());
        Some(Stuck { reason, stream: Some(stream.clone()), sequence: None, repair })
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed.stuck() {
            Some(stuck) => Self::stuck(stuck),
            None => Self::of(match failed {
                Failed::Overtaken(subject) => format!("another owner wrote to {subject}"),
                Failed::Impossible(stream) => format!("{stream} can never take it"),
            }),
        }
    }
}

/// Pauses, each twice as long as the one before.
pub(super) struct Pause(u64);

impl Pause {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE_MS)
    }

    pub(super) async fn wait(&mut self, bus: &Bus) {
        bus.sleep_ms(self.0).await;
        self.0 = (self.0 * 2).min(MAX_PAUSE_MS);
    }
}

fn is_too_large(error: BusError) -> bool {
    error == BusError::Refused(Refused::TooLarge)
}

/// Appends to `subject` after the message with sequence `after`; returns the new sequence.
pub(super) async fn append(
    context: &Context,
    stream: &'static str,
    subject: &str,
    id: &str,
    payload: Vec<u8>,
    mut after: u64,
) -> Result<u64, Failed> {
    let bus = &context.bus;
    let mut pause = Pause::new();
    loop {
        let headers = Headers { msg_id: Some(id.into()), expected: Some(after), ..Headers::default() };
        match bus.publish(subject, payload.clone(), headers).await {
            Ok(ack) => return Ok(ack.sequence),
            Err(error) if error.is_wrong_last() => match bus.last(stream, subject).await {
                Ok(Some(last)) if *last.payload == payload && last.is_guarded() => return Ok(last.sequence),
                Ok(Some(last)) if !last.is_guarded() && last.sequence > after => {
                    after = last.sequence;
                    put_aside(context, &last);
                    continue;
                }
                Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
                Err(_) => {}
            },
            Err(error) if is_too_large(error) => return Err(Failed::Impossible(stream.to_owned())),
            Err(_) => {}
        }
        pause.wait(bus).await;
    }
}

/// When the stream stored the message of `subject` that has this sequence.
pub(super) async fn stored_at(
    bus: &Bus,
    stream: &'static str,
    subject: &str,
    sequence: u64,
) -> Result<TimestampMs, Failed> {
    let mut pause = Pause::new();
    loop {
        match bus.at_or_after(stream, sequence).await {
            Ok(Some(found)) if found.sequence == sequence => return Ok(found.stored_at()),
            Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
            Err(_) => pause.wait(bus).await,
        }
    }
}

/// Stores on `subject` whatever is there; a repeated id is stored once.
pub(super) async fn store(
    bus: &Bus,
    stream: &str,
    subject: &str,
    id: &str,
    payload: Vec<u8>,
) -> Result<u64, Failed> {
    let mut pause = Pause::new();
    loop {
        let headers = Headers { msg_id: Some(id.into()), ..Headers::default() };
        match bus.publish(subject, payload.clone(), headers).await {
            Ok(ack) => return Ok(ack.sequence),
            Err(error) if is_too_large(error) => return Err(Failed::Impossible(stream.to_owned())),
            Err(_) => pause.wait(bus).await,
        }
    }
}

/// Replaces revision `after` of a member's record; returns the new revision.
pub(super) async fn update(
    context: &Context,
    key: &str,
    value: Vec<u8>,
    mut after: u64,
) -> Result<u64, Failed> {
    let (bus, subject) = (&context.bus, key_subject(MEMBERS, key));
    let mut pause = Pause::new();
    loop {
        let headers = Headers { expected: Some(after), ..Headers::default() };
        match bus.publish(&subject, value.clone(), headers).await {
            Ok(ack) => return Ok(ack.sequence),
            Err(error) if error.is_wrong_last() => match bus.last(MEMBERS, &subject).await {
                Ok(Some(last)) if *last.payload == value && last.is_guarded() => return Ok(last.sequence),
                Ok(Some(last)) if !last.is_guarded() && last.sequence != after => {
                    after = last.sequence;
                    put_aside(context, &last);
                    continue;
                }
                Ok(Some(last)) if is_earlier(&last, context.epoch) && last.sequence != after => {
                    after = last.sequence;
                    continue;
                }
                Ok(None) if after != 0 => {
                    after = 0;
                    continue;
                }
                Ok(_) => return Err(Failed::Overtaken(key.to_owned())),
                Err(_) => {}
            },
            Err(error) if is_too_large(error) => return Err(Failed::Impossible(MEMBERS.to_owned())),
            Err(_) => {}
        }
        pause.wait(bus).await;
    }
}

fn is_earlier(record: &Stored, epoch: u64) -> bool {
    Member::decode(&record.payload).is_ok_and(|member| member.epoch <= epoch)
}

fn put_aside(context: &Context, message: &Stored) {
    let reason = "no owner of the pool wrote it".to_owned();
    context.tell(PoolInput::Undecodable { subject: message.subject.to_string(), reason });
}
