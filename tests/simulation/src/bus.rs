//! What a process sees of the bus: requests that may fail or never be answered, and subscriptions.

use crate::{
    executor::Owner,
    queue::{Queue, sleep_ms},
    server::{
        Bounds,
        stream::{Ack, Headers, Publish, Refused, Stored, Stream},
        subscriptions::{Heard, Reply, Subscriber},
    },
    world::World,
};
use std::{future::Future, rc::Rc, task::Poll};

/// Longest wait for an answer, milliseconds.
const DEADLINE_MS: u64 = 5_000;

/// Why something did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BusError {
    /// There is no connection.
    Disconnected,
    /// No answer came: it was done or not.
    Timeout,
    /// The stream is not there.
    NoStream,
    /// Nobody answers on the subject.
    NoResponders,
    /// The stream refuses it.
    Refused(Refused),
}

impl BusError {
    pub(crate) fn is_wrong_last(self) -> bool {
        self == Self::Refused(Refused::WrongLast)
    }
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Bus {
    pub(crate) world: Rc<World>,
    pub(crate) owner: Owner,
}

impl Bus {
    pub(crate) fn is_connected(&self) -> bool {
        self.world.with_link(self.owner.process, |link| link.connected)
    }

    /// Has work done at the server.
    pub(crate) async fn call<T: 'static>(
        &self,
        work: impl FnOnce(&Rc<World>) -> T + 'static,
    ) -> Result<T, BusError> {
        if !self.is_connected() {
            return Err(BusError::Disconnected);
        }
        let (answer, process) = (Queue::default(), self.owner.process);
        let answered = answer.clone();
        let arrival = move |world: &Rc<World>| {
            let result = work(world);
            world.send_in(process, Box::new(move |_| answered.push(result)));
        };
        self.world.send_out(process, Box::new(arrival));
        let until = self.world.now() + DEADLINE_MS * 1_000;
        answer.next_until(&self.world, Some(until)).await.ok_or(BusError::Timeout)
    }

    /// Publishes into a stream; the answer is to be waited for. The order of calls is the order in the stream.
    pub(crate) fn publish(
        &self,
        subject: impl ToString,
        payload: Vec<u8>,
        headers: Headers,
    ) -> impl Future<Output = Result<Ack, BusError>> + 'static {
        let publish = Publish { subject: subject.to_string().into(), payload: payload.into(), headers };
        let (answer, process) = (Queue::default(), self.owner.process);
        let connected = self.is_connected();
        let answered = answer.clone();
        if connected {
            let arrival = move |world: &Rc<World>| {
                let result = world.publish(publish);
                world.send_in(process, Box::new(move |_| answered.push(result)));
            };
            self.world.send_out(process, Box::new(arrival));
        }
        let world = self.world.clone();
        let until = world.now() + DEADLINE_MS * 1_000;
        async move {
            if !connected {
                return Err(BusError::Disconnected);
            }
            match answer.next_until(&world, Some(until)).await {
                Some(Ok(ack)) => Ok(ack),
                Some(Err(Refused::NoStream)) => Err(BusError::NoStream),
                Some(Err(refused)) => Err(BusError::Refused(refused)),
                None => Err(BusError::Timeout),
            }
        }
    }

    /// Publishes for whoever listens now.
    pub(crate) fn publish_once(&self, subject: impl ToString, payload: Vec<u8>) {
        let subject: Rc<str> = subject.to_string().into();
        let payload: Rc<[u8]> = payload.into();
        let arrival = move |world: &Rc<World>| {
            world.fan_out(&Heard { subject, payload, republished: None, reply: None });
        };
        self.world.send_out(self.owner.process, Box::new(arrival));
    }

    /// Asks whoever answers on a subject.
    pub(crate) async fn request(
        &self,
        subject: impl ToString,
        payload: Vec<u8>,
    ) -> Result<Rc<[u8]>, BusError> {
        let subject: Rc<str> = subject.to_string().into();
        let payload: Rc<[u8]> = payload.into();
        let (process, queue) = (self.owner.process, Queue::default());
        let reply = Some(Reply { process, queue: queue.clone() });
        let heard = self
            .call(move |world| world.fan_out(&Heard { subject, payload, republished: None, reply }))
            .await?;
        if heard == 0 {
            return Err(BusError::NoResponders);
        }
        let until = self.world.now() + DEADLINE_MS * 1_000;
        queue.next_until(&self.world, Some(until)).await.ok_or(BusError::Timeout)
    }

    pub(crate) fn reply(&self, to: Reply, payload: Vec<u8>) {
        let arrival = move |world: &Rc<World>| {
            let payload: Rc<[u8]> = payload.into();
            world.send_in(to.process, Box::new(move |_| to.queue.push(payload)));
        };
        self.world.send_out(self.owner.process, Box::new(arrival));
    }

    pub(crate) fn subscribe(&self, filter: &str) -> Queue<Heard> {
        let queue = Queue::default();
        self.subscribe_into(filter, &queue);
        queue
    }

    pub(crate) fn subscribe_into(&self, filter: &str, queue: &Queue<Heard>) {
        let subscriber = Subscriber { owner: self.owner, queue: queue.clone() };
        self.world.subscriptions.borrow_mut().add(filter, subscriber);
    }

    /// What a stream has, as its leader says.
    pub(crate) async fn bounds(&self, stream: &'static str) -> Result<Bounds, BusError> {
        self.call(move |w| w.server.borrow_mut().bounds(stream, w.now())).await?.ok_or(BusError::NoStream)
    }

    /// What a stream's leader answers.
    /// Deletes what a stream holds of a subject up to a sequence.
    pub(crate) async fn purge(
        &self,
        stream: &'static str,
        subject: String,
        up_to: u64,
    ) -> Result<(), BusError> {
        self.call(move |w| w.server.borrow_mut().purge(stream, &subject, up_to)).await
    }

    async fn read<T: 'static>(
        &self,
        stream: &'static str,
        look: impl FnOnce(&Stream) -> T + 'static,
    ) -> Result<T, BusError> {
        let found = self.call(move |w| w.server.borrow_mut().stream(stream, w.now()).map(look));
        found.await?.ok_or(BusError::NoStream)
    }

    /// The last message of a subject, as the stream's leader knows it.
    pub(crate) async fn last(
        &self,
        stream: &'static str,
        subject: impl ToString,
    ) -> Result<Option<Stored>, BusError> {
        let subject = subject.to_string();
        self.read(stream, move |s| s.last_of(&subject).cloned()).await
    }

    /// The last message of a subject, as any replica knows it: sometimes a moment old.
    pub(crate) async fn last_direct(
        &self,
        stream: &'static str,
        subject: impl ToString,
    ) -> Result<Option<Stored>, BusError> {
        let subject = subject.to_string();
        let found = self
            .call(move |w| {
                let lag = {
                    let mut random = w.random.borrow_mut();
                    if random.chance(100) { random.below(300_000) } else { 0 }
                };
                let mut server = w.server.borrow_mut();
                let seen = server.clock_us(w.now()).saturating_sub(lag);
                server.stream(stream, w.now()).map(|s| s.last_before(&subject, seen).cloned())
            })
            .await?;
        found.ok_or(BusError::NoStream)
    }

    /// The first message of a subject after a sequence.
    pub(crate) async fn next_of(
        &self,
        stream: &'static str,
        subject: String,
        after: u64,
    ) -> Result<Option<Stored>, BusError> {
        self.read(stream, move |s| s.next_of(&subject, after).cloned()).await
    }

    /// The message at a sequence, or the next one that is there.
    pub(crate) async fn at_or_after(
        &self,
        stream: &'static str,
        sequence: u64,
    ) -> Result<Option<Stored>, BusError> {
        self.read(stream, move |s| s.at_or_after(sequence).cloned()).await
    }

    /// Everything that fits, from a sequence on.
    pub(crate) async fn read_from(
        &self,
        stream: &'static str,
        filter: String,
        sequence: u64,
    ) -> Result<Vec<Stored>, BusError> {
        self.read(stream, move |s| s.from(sequence, &filter).cloned().collect()).await
    }

    /// The last message of each subject that fits.
    pub(crate) async fn read_last_of_each(
        &self,
        stream: &'static str,
        filter: String,
    ) -> Result<Vec<Stored>, BusError> {
        self.read(stream, move |s| s.last_of_each(&filter).into_iter().cloned().collect()).await
    }

    /// Waits until there is a connection.
    pub(crate) async fn connected(&self) {
        while !self.is_connected() {
            self.link_changed().await;
        }
    }

    /// Waits until the link is another than it was.
    pub(crate) async fn link_changed(&self) {
        let process = self.owner.process;
        let state = |link: &crate::link::Link| (link.connected, link.connects);
        let before = self.world.with_link(process, |link| state(link));
        std::future::poll_fn(|context| {
            self.world.with_link(process, |link| {
                if state(link) != before {
                    return Poll::Ready(());
                }
                link.watchers.push(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    pub(crate) async fn sleep_ms(&self, ms: u64) {
        sleep_ms(&self.world, ms).await;
    }
}
