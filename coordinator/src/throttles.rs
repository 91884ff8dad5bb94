//! The throttle orders as inputs: what coordinators keep of them and the stream from its beginning, each with its age by the
//! clock of the server that stored it, so that a coordinator that starts or comes back knows what lives.

use crate::tasks::Vital;
use bus_schemas::{
    Message, TimestampMs,
    subject::{Subject, filter},
    throttle::{KEPT_KEY, KeptOrders, Throttle, kept_target},
};
use coordinator_core::{Input, KeptDocument};
use nats_adapter::{
    Bus, Delivered, KvError, ReadError, Replay, ReplayError, StreamMoment, Undecodable, Watch, WatchEvent,
    streams,
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

/// The stream from its beginning.
struct Opened {
    replay: Replay,
    clock: ServerClock,
    complete: bool,
}

async fn open(bus: &Bus, inputs: &mpsc::Sender<Input>) -> Result<Opened, ReadError> {
    let replay = bus.replay(streams::THROTTLE, filter::throttles(), 1).await?;
    let clock = ServerClock::ask(bus).await?;
    let begin = Input::ThrottlesBegin { stream: clock.moment.created.clone(), last: clock.moment.last };
    // The loop that is gone wants nothing.
    let _ = inputs.send(begin).await;
    Ok(Opened { replay, clock, complete: false })
}

/// Reads what is kept and the stream; it goes on over restarts of the server.
pub(crate) async fn watch(bus: &Bus, inputs: mpsc::Sender<Input>, tasks: &mut Vital) -> Result<(), KvError> {
    let (bus, mut opened) = (bus.clone(), open(bus, &inputs).await?);
    let mut kept = bus.kv(streams::IN_FORCE).watch(format!("{KEPT_KEY}.>")).await?;
    tasks.spawn("throttles", async move {
        loop {
            match follow(&bus, &mut opened, &mut kept, &inputs).await {
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

/// Hands on what comes next; `false` when nobody listens any more.
async fn follow(
    bus: &Bus,
    opened: &mut Opened,
    kept: &mut Watch,
    inputs: &mpsc::Sender<Input>,
) -> Result<bool, ReplayError> {
    // A stream without any order is complete before its first batch comes.
    if !opened.complete && opened.replay.is_caught_up() {
        opened.complete = true;
        if inputs.send(Input::ThrottlesComplete).await.is_err() {
            return Ok(false);
        }
    }
    let told = tokio::select! {
        event = kept.next() => Err(event),
        batch = opened.replay.next_batch(BATCH) => Ok(batch?),
    };
    if opened.clock.told.elapsed() > CLOCK_LIFE
        && let Ok(clock) = ServerClock::ask(bus).await
    {
        opened.clock = clock;
    }
    let batch = match told {
        Ok(batch) => batch,
        Err(event) => {
            let Some(input) = document(event, opened.clock.now()) else { return Ok(true) };
            return Ok(inputs.send(input).await.is_ok());
        }
    };
    let mut letters = DEAD_LETTERS_PER_BATCH;
    for delivered in &batch {
        let input = input(bus, delivered, opened.clock.now(), &mut letters).await;
        if inputs.send(input).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the bucket tells of the document of a target. One that cannot be read is as good as none.
fn document(event: WatchEvent, at: TimestampMs) -> Option<Input> {
    let (key, kept) = match event {
        WatchEvent::Initialised => return Some(Input::ThrottlesKeptComplete),
        WatchEvent::Restarted => return Some(Input::ThrottlesKeptRestarted),
        WatchEvent::Delete { key, .. } => (key, KeptDocument::default()),
        WatchEvent::Put { key, revision, value } => {
            let kept = KeptOrders::decode(&value).map(|orders| KeptDocument { revision, orders });
            let kept = kept.inspect_err(|error| tracing::warn!(key, %error, "kept orders are left out"));
            (key, kept.unwrap_or_default())
        }
    };
    Some(Input::ThrottlesKept { target: kept_target(&key)?, kept: Box::new(kept), at })
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
