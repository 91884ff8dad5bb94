//! Reading a stream in order, for ever: each message once, from a start on, until the stream is another one.

use crate::{
    bus::{Bus, BusError},
    queue::Timer,
    server::stream::Stored,
};
use std::{cell::Cell, future::Future, pin::Pin, task::Poll};

/// Most messages that are handed on at once.
const BURST: usize = 1_024;
/// After so long without news the stream is asked again, milliseconds.
const ASK_AGAIN_MS: u64 = 4_000;
/// Pause before the stream is opened again, milliseconds.
const REOPEN_MS: u64 = 500;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Sequence(u64),
    LastPerSubject,
}

/// What came.
pub(crate) enum Burst {
    Messages {
        messages: Vec<Stored>,
        caught_up: bool,
    },
    /// The stream is not the one that was read, or lost its end.
    Rewound,
}

/// See the module's documentation.
pub(crate) struct Follower {
    bus: Bus,
    stream: &'static str,
    filter: String,
    start: Start,
    created_ns: u64,
    goal: u64,
    caught_up: bool,
}

struct Fetched {
    created_ns: u64,
    last: u64,
    messages: Vec<Stored>,
    more: bool,
}

impl Follower {
    /// Opens the stream once, so that a wrong one is told at once. `None`: it does not reach up to the start.
    pub(crate) async fn open(
        bus: &Bus,
        stream: &'static str,
        filter: String,
        start: Start,
    ) -> Result<Option<Self>, BusError> {
        let bounds = bus.bounds(stream).await?;
        if let Start::Sequence(wanted) = start
            && bounds.last + 1 < wanted
        {
            return Ok(None);
        }
        let (bus, created_ns, goal) = (bus.clone(), bounds.created_ns, bounds.last);
        Ok(Some(Self { bus, stream, filter, start, created_ns, goal, caught_up: false }))
    }

    /// The next messages, at least one unless everything that was there at the begin has been told now.
    pub(crate) async fn next(&mut self) -> Burst {
        loop {
            let (stream, filter, start) = (self.stream, self.filter.clone(), self.start);
            let fetched = self.bus.call(move |w| fetch(w, stream, &filter, start)).await;
            let Ok(Some(Fetched { created_ns, last, messages, more })) = fetched else {
                self.bus.sleep_ms(REOPEN_MS).await;
                continue;
            };
            let wanted = if let Start::Sequence(wanted) = start { wanted } else { 0 };
            if created_ns != self.created_ns || last + 1 < wanted {
                return Burst::Rewound;
            }
            match messages.last() {
                Some(message) if more => self.start = Start::Sequence(message.sequence + 1),
                _ => self.start = Start::Sequence(last.max(wanted.saturating_sub(1)) + 1),
            }
            let at_goal = !more || messages.last().is_some_and(|m| m.sequence >= self.goal);
            let caught_up = at_goal && !self.caught_up;
            self.caught_up |= at_goal;
            if !messages.is_empty() || caught_up {
                return Burst::Messages { messages, caught_up };
            }
            self.wait(last).await;
        }
    }

    /// Waits for news of the stream that is known up to `last`.
    async fn wait(&self, last: u64) {
        let world = self.bus.world.clone();
        let seen = world.server.borrow().peek(self.stream).map(|s| (s.created_ns, s.last));
        if seen != Some((self.created_ns, last)) {
            return;
        }
        let mut timer: Pin<Box<Timer>> = Box::pin(crate::queue::sleep_ms(&world, ASK_AGAIN_MS));
        let listed = Cell::new(false);
        let process = self.bus.owner.process;
        std::future::poll_fn(move |context| {
            if listed.replace(true) {
                return Poll::Ready(());
            }
            let mut server = world.server.borrow_mut();
            let waiting = server.waiting.entry(self.stream.to_owned()).or_default();
            waiting.push((process, context.waker().clone()));
            drop(server);
            timer.as_mut().poll(context)
        })
        .await;
    }
}

fn fetch(
    world: &std::rc::Rc<crate::world::World>,
    stream: &str,
    filter: &str,
    start: Start,
) -> Option<Fetched> {
    let mut server = world.server.borrow_mut();
    let stream = server.stream(stream, world.now())?;
    let mut messages: Vec<_> = match start {
        Start::Sequence(from) => stream.from(from, filter).take(BURST + 1).cloned().collect(),
        Start::LastPerSubject => stream.last_of_each(filter).into_iter().cloned().collect(),
    };
    let more = matches!(start, Start::Sequence(_)) && messages.len() > BURST;
    if more {
        messages.truncate(BURST);
    }
    Some(Fetched { created_ns: stream.created_ns, last: stream.last, messages, more })
}
