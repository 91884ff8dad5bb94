//! What goes over the bus: subscriptions and reads become inputs, effects become messages. Nothing is decided here.

use crate::{certificates::Certificates, metrics::Metrics};
use bus_schemas::{
    Message, PoolId, TimestampMs, WorkerId,
    config::{ConfigKey, InForce, NodeConfig, PoolConfig},
    event::Event,
    heartbeat::Heartbeat,
    job::Job,
    member::{JoinReply, JoinRequest, Leave, Member},
    policy::FarmConfig,
    subject::{Subject, filter},
    throttle::{KeptOrders, Throttle, ThrottleTarget, kept_key},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use nats_adapter::{
    Bus, Expect, KvEntry, PendingAck, PublishError, ReadError, Republished, StreamMoment, Undecodable,
    streams,
};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::sync::mpsc;
use worker_core::{Authority, Input, Lane, Publication, Snapshot, Stored, ThrottleOrder};

/// Messages that wait for the publisher. The core keeps fewer shares in flight; a reconnect may repeat them once.
pub const OUTGOING_LIMIT: usize = 2 * worker_core::MAX_IN_FLIGHT + 64;

/// Most throttle orders of one target that are read from the stream because no coordinator has kept them yet: as many as it
/// holds of a subject.
const MAX_UNKEPT_ORDERS: usize = 256;

/// A subscription that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot subscribe to {subject}: {reason}; check the connection and the permissions")]
pub struct SubscribeFailed {
    /// To what.
    pub subject: String,
    /// What the client said.
    pub reason: String,
}

impl SubscribeFailed {
    fn new(subject: &Subject, reason: &dyn std::fmt::Display) -> Self {
        Self { subject: subject.to_string(), reason: reason.to_string() }
    }
}

/// Whose traffic it is.
#[derive(Debug, Clone)]
pub struct Address {
    /// The pool.
    pub pool: PoolId,
    /// The worker.
    pub worker: WorkerId,
}

impl Address {
    fn lane(&self, lane: Lane) -> Subject {
        let (pool, worker) = (self.pool.clone(), self.worker.clone());
        match lane {
            Lane::Share => Subject::Share(pool, worker),
            Lane::Found => Subject::Found(pool, worker),
        }
    }
}

/// A message to be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// Into its stream, with an answer to the core.
    Share(Publication),
    /// Once, to whoever listens.
    Heartbeat(Box<Heartbeat>),
    /// Once, to whoever listens.
    Leave(Leave),
    /// Once, to whoever listens, and into the stream of events if it is there.
    Event(Box<Event>),
}

fn undecodable(error: Undecodable) -> Input {
    Input::Undecodable { subject: error.subject, reason: error.reason }
}

/// A message without content in a job's place withdraws the job before it.
fn no_job(error: Undecodable) -> Input {
    if error.payload.is_empty() { Input::JobWithdrawn } else { undecodable(error) }
}

/// Subscribes to everything that a worker is told, before anything is read. The tasks end with the connection.
pub async fn subscribe(
    bus: &Bus,
    address: &Address,
    inputs: &mpsc::Sender<Input>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<(), SubscribeFailed> {
    let (pool, worker) = (address.pool.clone(), address.worker.clone());
    let subject = Subject::Job(pool.clone());
    let mut jobs = bus.subscribe::<Job>(&subject).await.map_err(|e| SubscribeFailed::new(&subject, &e))?;
    let sender = inputs.clone();
    tasks.spawn(async move {
        while let Some(job) = jobs.next().await {
            let input = job.map_or_else(no_job, |incoming| Input::Job(Box::new(incoming.message)));
            if sender.send(input).await.is_err() {
                return;
            }
        }
    });
    let role = Subject::Role(pool.clone(), worker.clone());
    follow::<Member>(bus, role, inputs, tasks, |role| match role {
        // A role that is deleted is none of the coordinator's orders; its heartbeats will tell.
        Ok(Republished { value, .. }) => value.map(|member| Input::Role(Box::new(member))),
        Err(error) => Some(undecodable(error)),
    })
    .await?;
    let key = Subject::InForce(ConfigKey::Farm);
    follow::<InForce<FarmConfig>>(bus, key, inputs, tasks, |pushed| stored(pushed, Input::FarmConfig))
        .await?;
    let targets =
        [ThrottleTarget::Farm, ThrottleTarget::Pool(pool.clone()), ThrottleTarget::Worker(worker.clone())];
    for target in targets {
        throttles(bus, Subject::Throttle(target).to_string(), inputs, tasks).await?;
    }
    throttles(bus, filter::label_throttles(), inputs, tasks).await?;
    let key = Subject::InForce(ConfigKey::Pool(pool));
    follow::<InForce<PoolConfig>>(bus, key, inputs, tasks, |pushed| stored(pushed, Input::PoolConfig))
        .await?;
    let key = Subject::InForce(ConfigKey::Node(worker));
    follow::<InForce<NodeConfig>>(bus, key, inputs, tasks, |pushed| stored(pushed, Input::NodeConfig)).await
}

/// Follows the catalogue of certificates.
pub async fn follow_catalogue(
    bus: &Bus,
    certificates: Certificates,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<(), SubscribeFailed> {
    let subject = Subject::Catalogue;
    let told = bus.subscribe_bytes(&subject).await.map_err(|e| SubscribeFailed::new(&subject, &e))?;
    tasks.spawn(certificates.follow(told));
    Ok(())
}

/// An order that is heard as it is given.
fn heard(target: ThrottleTarget, order: Throttle) -> ThrottleOrder {
    ThrottleOrder { target, order, stored_at: None, age_ms: 0, keep_ms: 0 }
}

/// Takes throttle orders as they are given. Their time to live begins when they come.
async fn throttles(
    bus: &Bus,
    subject: String,
    inputs: &mpsc::Sender<Input>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<(), SubscribeFailed> {
    let subscribed = bus.subscribe::<Throttle>(subject.as_str()).await;
    let failed =
        |e: &dyn std::fmt::Display| SubscribeFailed { subject: subject.clone(), reason: e.to_string() };
    let mut orders = subscribed.map_err(|e| failed(&e))?;
    let sender = inputs.clone();
    tasks.spawn(async move {
        while let Some(order) = orders.next().await {
            let input = match order {
                Ok(incoming) => match incoming.subject {
                    Subject::Throttle(target) => Input::Throttle(heard(target, incoming.message)),
                    _ => continue,
                },
                Err(error) => undecodable(error),
            };
            if sender.send(input).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

async fn follow<M: Message + Send + 'static>(
    bus: &Bus,
    subject: Subject,
    inputs: &mpsc::Sender<Input>,
    tasks: &mut tokio::task::JoinSet<()>,
    input: impl Fn(Result<Republished<M>, Undecodable>) -> Option<Input> + Send + 'static,
) -> Result<(), SubscribeFailed> {
    let subscribed = bus.subscribe_republished::<M>(&subject).await;
    let mut changes = subscribed.map_err(|e| SubscribeFailed::new(&subject, &e))?;
    let sender = inputs.clone();
    tasks.spawn(async move {
        while let Some(change) = changes.next().await {
            if let Some(input) = input(change)
                && sender.send(input).await.is_err()
            {
                return;
            }
        }
    });
    Ok(())
}

/// A pushed configuration; one that cannot be read is refused by the core under its revision, if it has one.
fn stored<C>(
    pushed: Result<Republished<InForce<C>>, Undecodable>,
    input: impl Fn(Stored<C>) -> Input,
) -> Option<Input> {
    Some(match pushed {
        Ok(Republished { revision, value, .. }) => input(Stored { revision, value: Ok(value) }),
        Err(Undecodable { sequence: Some(revision), reason, .. }) => {
            input(Stored { revision, value: Err(reason) })
        }
        Err(error) => undecodable(error),
    })
}

/// Reads the certificates, then configuration, role and job: a job is not to be known before what permits its algorithm.
pub async fn read(
    bus: Bus,
    address: Address,
    authority: Authority,
    certificates: Certificates,
    inputs: mpsc::Sender<Input>,
) {
    let read = async {
        certificates.read(&bus).await?;
        snapshot(&bus, &address, authority, &inputs).await
    };
    let answer = match read.await {
        Ok(snapshot) => Input::ConfigurationRead(Box::new(snapshot)),
        Err(reason) => Input::ReadFailed { reason },
    };
    // The loop that is gone wants no answer.
    let _ = inputs.send(answer).await;
}

/// The value of a key, as `authority` knows it.
async fn entry(
    bus: &Bus,
    bucket: &str,
    key: String,
    authority: Authority,
) -> Result<Option<KvEntry>, String> {
    let kv = bus.kv(bucket);
    let entry = match authority {
        Authority::Replica => kv.get_direct(key).await,
        Authority::Leader => kv.get(key).await,
    };
    entry.map_err(|error| error.to_string())
}

async fn snapshot(
    bus: &Bus,
    address: &Address,
    authority: Authority,
    inputs: &mpsc::Sender<Input>,
) -> Result<Snapshot, String> {
    let Address { pool, worker } = address;
    let in_force = |key: ConfigKey| entry(bus, streams::IN_FORCE, key.to_string(), authority);
    let read = async {
        tokio::try_join!(
            in_force(ConfigKey::Farm),
            in_force(ConfigKey::Pool(pool.clone())),
            in_force(ConfigKey::Node(worker.clone())),
            entry(bus, streams::MEMBERS, format!("{pool}.{worker}"), authority),
            async {
                let subject = Subject::Job(pool.clone());
                let last = match authority {
                    Authority::Replica => bus.last_direct::<Job>(streams::JOB, subject).await,
                    Authority::Leader => bus.last::<Job>(streams::JOB, subject).await,
                };
                match last {
                    Ok(entry) => Ok(Ok(entry.map(|entry| entry.message))),
                    Err(ReadError::Undecodable(error)) => Ok(Err(no_job(error))),
                    Err(error) => Err(error.to_string()),
                }
            },
        )
    };
    let (farm_config, pool_config, node_config, role, job) = read.await?;
    let role = role.map(|entry| Member::decode(&entry.value)).transpose().map_err(|error| {
        let subject = Subject::Role(pool.clone(), worker.clone()).to_string();
        Input::Undecodable { subject, reason: error.to_string() }
    });
    let node: Option<Stored<NodeConfig>> = node_config.map(decoded);
    let mut present = Snapshot {
        authority,
        farm: farm_config.map(decoded),
        pool: pool_config.map(decoded),
        throttles: kept_throttles(bus, address, node.as_ref(), authority, inputs).await?,
        node,
        ..Snapshot::default()
    };
    for unreadable in [role.map(|role| present.role = role), job.map(|job| present.job = job)] {
        if let Err(input) = unreadable {
            // The loop that is gone wants no news.
            let _ = inputs.send(input).await;
        }
    }
    Ok(present)
}

/// Every throttle order that concerns this worker: what coordinators kept, and what the stream holds beyond that.
async fn kept_throttles(
    bus: &Bus,
    address: &Address,
    node: Option<&Stored<NodeConfig>>,
    authority: Authority,
    inputs: &mpsc::Sender<Input>,
) -> Result<Vec<ThrottleOrder>, String> {
    let Address { pool, worker } = address.clone();
    let mut targets = vec![ThrottleTarget::Farm, ThrottleTarget::Pool(pool), ThrottleTarget::Worker(worker)];
    let labels = node.and_then(|n| n.value.as_ref().ok()?.as_ref()).map(|n| &n.config.labels);
    targets.extend(labels.into_iter().flatten().filter_map(|(key, value)| {
        Some(ThrottleTarget::Label(WorkerId::new(key.as_str()).ok()?, WorkerId::new(value.as_str()).ok()?))
    }));
    let moment = match bus.stream_moment(streams::THROTTLE).await {
        Ok(moment) => Told { moment, at: Instant::now() },
        // Everything else was read a moment ago, so the farm is older than throttle orders.
        Err(error @ ReadError::NoStream(_)) => {
            tracing::warn!(%error, "throttle orders are heard, but those from before the start are not known");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut known = Vec::new();
    for target in targets {
        orders_for(bus, &target, &moment, authority, &mut known, inputs).await?;
    }
    Ok(known)
}

/// How the stream of orders stood, and when that was told.
struct Told {
    moment: StreamMoment,
    at: Instant,
}

impl Told {
    /// How long ago something was stored, by the server's clock, milliseconds.
    fn age_ms(&self, stored_at: TimestampMs) -> u64 {
        let since = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moment.now.plus_ms(since).since(stored_at)
    }
}

async fn orders_for(
    bus: &Bus,
    target: &ThrottleTarget,
    told: &Told,
    authority: Authority,
    known: &mut Vec<ThrottleOrder>,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), String> {
    let key = kept_key(target);
    let kept = entry(bus, streams::IN_FORCE, key.clone(), authority).await?;
    let kept = match kept.map(|entry| KeptOrders::decode(&entry.value)).transpose() {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => {
            let subject = format!("{} of {}", key, streams::IN_FORCE);
            // The loop that is gone wants no news.
            let _ = inputs.send(Input::Undecodable { subject, reason: error.to_string() }).await;
            KeptOrders::default()
        }
    };
    let same_stream = kept.stream == told.moment.created && kept.sequence <= told.moment.last;
    let mut sequence = if same_stream { kept.sequence } else { 0 };
    known.extend(kept.orders.into_iter().map(|kept| ThrottleOrder {
        target: target.clone(),
        age_ms: told.age_ms(kept.stored_at_ms),
        keep_ms: kept.keep_until_ms.since(kept.stored_at_ms),
        stored_at: Some(kept.stored_at_ms),
        order: kept.order,
    }));
    let subject = Subject::Throttle(target.clone()).to_string();
    for _ in 0..MAX_UNKEPT_ORDERS {
        let next = bus.next_bytes_direct(streams::THROTTLE, &subject, sequence).await;
        let Some(delivered) = next.map_err(|error| error.to_string())? else { return Ok(()) };
        sequence = delivered.sequence;
        match delivered.decode::<Throttle>() {
            Ok(order) => known.push(ThrottleOrder {
                target: target.clone(),
                order: order.message,
                stored_at: Some(order.stored_at),
                age_ms: told.age_ms(order.stored_at),
                keep_ms: 0,
            }),
            Err(error) => {
                // The loop that is gone wants no news.
                let _ = inputs.send(undecodable(error)).await;
            }
        }
    }
    Ok(())
}

/// The time on the wall.
pub fn wall() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn decoded<C>(entry: KvEntry) -> Stored<C>
where
    InForce<C>: Message,
{
    let value = InForce::decode(&entry.value).map(Some).map_err(|error| error.to_string());
    Stored { revision: entry.revision, value }
}

/// Asks to join.
pub async fn join(
    bus: Bus,
    address: Address,
    request: JoinRequest,
    metrics: Arc<Metrics>,
    inputs: mpsc::Sender<Input>,
) {
    let subject = Subject::Join(address.pool, address.worker);
    let answer = match bus.request::<JoinRequest, JoinReply>(subject, &request).await {
        Ok(reply) => {
            if matches!(reply, JoinReply::Accepted(_)) {
                metrics.joined();
            }
            Input::JoinReply(reply)
        }
        Err(error) => Input::JoinFailed { reason: error.to_string() },
    };
    // The loop that is gone wants no answer.
    let _ = inputs.send(answer).await;
}

/// Sends what comes until `outgoing` is closed and empty, and answers every share.
pub async fn publish(
    bus: Bus,
    address: Address,
    mut outgoing: mpsc::Receiver<Outgoing>,
    metrics: Arc<Metrics>,
    inputs: mpsc::Sender<Input>,
) {
    let mut acks = FuturesUnordered::new();
    loop {
        let answer = tokio::select! {
            Some(answer) = acks.next() => Some(answer),
            message = outgoing.recv() => match message {
                None => return,
                Some(Outgoing::Share(publication)) => {
                    let (id, attempt) = (publication.id, publication.attempt);
                    match send_share(&bus, &address, publication).await {
                        Ok(ack) => {
                            acks.push(answer(ack, id, attempt));
                            None
                        }
                        Err(error) => Some(Input::PublishFailed { id, attempt, reason: error.to_string() }),
                    }
                }
                Some(Outgoing::Heartbeat(heartbeat)) => {
                    let subject = Subject::Heartbeat(address.pool.clone(), address.worker.clone());
                    match bus.publish(subject, heartbeat.as_ref()).await {
                        Ok(()) => metrics.heartbeat(),
                        Err(error) => signal_lost(&metrics, "heartbeat", &error),
                    }
                    None
                }
                Some(Outgoing::Event(event)) => {
                    if let Err(error) = bus.publish(event.bus_subject(), event.as_ref()).await {
                        signal_lost(&metrics, "event", &error);
                    }
                    None
                }
                Some(Outgoing::Leave(leave)) => {
                    let subject = Subject::Leave(address.pool.clone(), address.worker.clone());
                    if let Err(error) = bus.publish(subject, &leave).await {
                        signal_lost(&metrics, "good-bye", &error);
                    }
                    None
                }
            },
        };
        if let Some(answer) = answer
            && inputs.send(answer).await.is_err()
        {
            return;
        }
    }
}

fn signal_lost(metrics: &Metrics, what: &str, error: &PublishError) {
    metrics.signal_lost();
    tracing::debug!(%error, "a {what} was not sent");
}

async fn send_share(
    bus: &Bus,
    address: &Address,
    publication: Publication,
) -> Result<PendingAck, PublishError> {
    let Publication { lane, share, .. } = publication;
    let message_id = share.message_id();
    bus.publish_pipelined(address.lane(lane), &share, Some(&message_id), Expect::None).await
}

async fn answer(ack: PendingAck, id: u64, attempt: u32) -> Input {
    match ack.stored().await {
        Ok(_) => Input::Acked { id },
        Err(error) => Input::PublishFailed { id, attempt, reason: error.to_string() },
    }
}
