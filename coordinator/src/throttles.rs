//! The throttle orders as inputs: what was kept of them, then the stream from its beginning, each with its age by the clock
//! of the server that stored it, so that a coordinator that starts knows what lives.

use crate::tasks::Vital;
use bus_schemas::{
    Message, TimestampMs,
    subject::{Subject, filter},
    throttle::{KEPT_KEY, KeptOrders, Throttle, kept_target},
};
use coordinator_core::Input;
use nats_adapter::{
    Bus, Delivered, ReadError, Replay, ReplayError, StreamMoment, Undecodable, WatchEvent, streams,
};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Orders that are taken at once.
const BATCH: usize = 256;
/// Pause before a stream that was made anew is read again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// Most unreadable messages of one batch that are put aside; the others are only told.
const DEAD_LETTERS_PER_BATCH: usize = 16;

/// After so long the server is asked for its time again: clocks drift.
const CLOCK_LIFE: Duration = Duration::from_secs(10);

/// The server's clock, as it was told and as it goes on by our own.
struct ServerClock {
    moment: StreamMoment,
    told: Instant,
}

impl ServerClock {
    async fn ask(bus: &Bus) -> Result<Self, ReadError> {
        let moment = bus.stream_moment(streams::THROTTLE).await?;
        Ok(Self { moment, told: Instant::now() })
    }

    fn now(&self) -> TimestampMs {
        self.moment.now.plus_ms(u64::try_from(self.told.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The stream from its beginning, after what was kept was handed on.
struct Opened {
    replay: Replay,
    clock: ServerClock,
    complete: bool,
}

async fn open(bus: &Bus, inputs: &mpsc::Sender<Input>) -> Result<Opened, ReadError> {
    let replay = bus.replay(streams::THROTTLE, filter::throttles(), 1).await?;
    let clock = ServerClock::ask(bus).await?;
    let mut first =
        vec![Input::ThrottlesBegin { stream: clock.moment.created.clone(), last: clock.moment.last }];
    let keys = format!("$KV.{}.{KEPT_KEY}.>", streams::IN_FORCE);
    for kept in bus.read_last_of_each(streams::KV_IN_FORCE, keys).await? {
        let WatchEvent::Put { key, value, .. } = bus.kv(streams::IN_FORCE).event(kept) else { continue };
        match (kept_target(&key), KeptOrders::decode(&value)) {
            (Some(target), Ok(kept)) => {
                first.push(Input::ThrottlesKept { target, kept: Box::new(kept), at: clock.now() });
            }
            _ => tracing::warn!(key, "kept orders cannot be read and are left out"),
        }
    }
    for input in first {
        // The loop that is gone wants nothing.
        let _ = inputs.send(input).await;
    }
    Ok(Opened { replay, clock, complete: false })
}

/// Reads the stream; it goes on over restarts of the server.
pub(crate) async fn watch(
    bus: &Bus,
    inputs: mpsc::Sender<Input>,
    tasks: &mut Vital,
) -> Result<(), ReadError> {
    let (bus, mut opened) = (bus.clone(), open(bus, &inputs).await?);
    tasks.spawn("throttles", async move {
        loop {
            match follow(&bus, &mut opened, &inputs).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "throttle orders are read from the beginning again");
                    tokio::time::sleep(RESTART_DELAY).await;
                    if let Ok(again) = open(&bus, &inputs).await {
                        opened = again;
                    }
                }
            }
        }
    });
    Ok(())
}

/// Hands one batch on; `false` when nobody listens any more.
async fn follow(bus: &Bus, opened: &mut Opened, inputs: &mpsc::Sender<Input>) -> Result<bool, ReplayError> {
    // A stream without any order is complete before its first batch comes.
    if !opened.complete && opened.replay.is_caught_up() {
        opened.complete = true;
        if inputs.send(Input::ThrottlesComplete).await.is_err() {
            return Ok(false);
        }
    }
    let batch = opened.replay.next_batch(BATCH).await?;
    if opened.clock.told.elapsed() > CLOCK_LIFE
        && let Ok(clock) = ServerClock::ask(bus).await
    {
        opened.clock = clock;
    }
    let mut letters = DEAD_LETTERS_PER_BATCH;
    for delivered in &batch {
        let input = input(bus, delivered, opened.clock.now(), &mut letters).await;
        if inputs.send(input).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn input(bus: &Bus, delivered: &Delivered, now: TimestampMs, letters: &mut usize) -> Input {
    let (sequence, stored_at) = (delivered.sequence, delivered.stored_at);
    let age_ms = now.since(stored_at);
    let read = delivered.decode::<Throttle>().and_then(|entry| match (entry.subject, entry.message) {
        (Subject::Throttle(target), order) => match order.check() {
            Ok(()) => Ok(Input::Throttle { sequence, target, order, stored_at, age_ms }),
            Err(error) => Err(unreadable(delivered, error.to_string())),
        },
        (subject, _) => Err(unreadable(delivered, format!("{subject} is no subject of throttle orders"))),
    });
    match read {
        Ok(input) => input,
        Err(undecodable) => {
            if let Some(left) = letters.checked_sub(1) {
                *letters = left;
                bus.dead_letter(streams::THROTTLE, &undecodable).await;
            }
            let Undecodable { subject, reason, .. } = undecodable;
            Input::ThrottleUnreadable { sequence, stored_at, subject, reason }
        }
    }
}

fn unreadable(delivered: &Delivered, reason: String) -> Undecodable {
    let (subject, payload) = (delivered.subject.to_string(), delivered.payload.clone());
    Undecodable { subject, sequence: Some(delivered.sequence), reason, payload }
}
