//! Reads configuration, role, job and throttle orders, each by a request of its own, as the real worker does.

use super::{Address, stored};
use crate::{
    bus::{Bus, BusError},
    queue::Queue,
    server::{
        declared::{IN_FORCE, JOB, MEMBERS, THROTTLE, key_subject},
        stream::Stored as Kept,
    },
};
use bus_schemas::{
    Message, TimestampMs, WorkerId,
    config::{ConfigKey, InForce, NodeConfig},
    job::Job,
    member::Member,
    subject::Subject,
    throttle::{KeptOrders, Throttle, ThrottleTarget, kept_key},
};
use worker_core::{Authority, Input, Snapshot, Stored, ThrottleOrder};

/// Most throttle orders of one target that are read from the stream because nobody has kept them yet.
const MAX_UNKEPT_ORDERS: usize = 256;

pub(super) async fn read(bus: Bus, address: Address, authority: Authority, inputs: Queue<Input>) {
    let answer = match snapshot(&bus, &address, authority, &inputs).await {
        Ok(snapshot) => Input::ConfigurationRead(Box::new(snapshot)),
        Err(error) => Input::ReadFailed { reason: format!("{error:?}") },
    };
    inputs.push(answer);
}

async fn last(
    bus: &Bus,
    stream: &'static str,
    subject: String,
    authority: Authority,
) -> Result<Option<Kept>, BusError> {
    match authority {
        Authority::Replica => bus.last_direct(stream, subject).await,
        Authority::Leader => bus.last(stream, subject).await,
    }
}

async fn entry(
    bus: &Bus,
    stream: &'static str,
    key: String,
    authority: Authority,
) -> Result<Option<Kept>, BusError> {
    let last = last(bus, stream, key_subject(stream, key), authority).await?;
    Ok(last.filter(|last| !last.headers.deletes))
}

fn decoded<C>(kept: &Kept) -> Stored<C>
where
    InForce<C>: Message,
{
    stored(kept.sequence, false, &kept.payload)
}

async fn snapshot(
    bus: &Bus,
    address: &Address,
    authority: Authority,
    inputs: &Queue<Input>,
) -> Result<Snapshot, BusError> {
    let Address { pool, worker } = address;
    let farm = entry(bus, IN_FORCE, ConfigKey::Farm.to_string(), authority).await?;
    let pool_config = entry(bus, IN_FORCE, ConfigKey::Pool(pool.clone()).to_string(), authority).await?;
    let node = entry(bus, IN_FORCE, ConfigKey::Node(worker.clone()).to_string(), authority).await?;
    let role = entry(bus, MEMBERS, format!("{pool}.{worker}"), authority).await?;
    let job = last(bus, JOB, Subject::Job(pool.clone()).to_string(), authority).await?;
    let node: Option<Stored<NodeConfig>> = node.as_ref().map(decoded);
    let mut present = Snapshot {
        authority,
        farm: farm.as_ref().map(decoded),
        pool: pool_config.as_ref().map(decoded),
        throttles: throttles(bus, address, node.as_ref(), authority).await?,
        node,
        ..Snapshot::default()
    };
    if let Some(role) = role {
        match Member::decode(&role.payload) {
            Ok(member) => present.role = Some(member),
            Err(error) => inputs
                .push(Input::Undecodable { subject: role.subject.to_string(), reason: error.to_string() }),
        }
    }
    match job {
        Some(kept) if kept.payload.is_empty() => inputs.push(Input::JobWithdrawn),
        Some(kept) => present.job = Job::decode(&kept.payload).ok(),
        None => {}
    }
    Ok(present)
}

/// Every throttle order that concerns this worker: what coordinators kept, and what the stream holds beyond that.
async fn throttles(
    bus: &Bus,
    address: &Address,
    node: Option<&Stored<NodeConfig>>,
    authority: Authority,
) -> Result<Vec<ThrottleOrder>, BusError> {
    let Address { pool, worker } = address.clone();
    let mut targets = vec![ThrottleTarget::Farm, ThrottleTarget::Pool(pool), ThrottleTarget::Worker(worker)];
    let labels = node.and_then(|n| n.value.as_ref().ok()?.as_ref()).map(|n| &n.config.labels);
    targets.extend(labels.into_iter().flatten().filter_map(|(key, value)| {
        Some(ThrottleTarget::Label(WorkerId::new(key.as_str()).ok()?, WorkerId::new(value.as_str()).ok()?))
    }));
    let moment = match bus.bounds(THROTTLE).await {
        Ok(moment) => moment,
        Err(BusError::NoStream) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let now = TimestampMs(moment.now_us / 1_000);
    let mut known = Vec::new();
    for target in targets {
        let kept = entry(bus, IN_FORCE, kept_key(&target), authority).await?;
        let kept = kept.and_then(|kept| KeptOrders::decode(&kept.payload).ok()).unwrap_or_default();
        let same_stream = kept.stream == moment.identity() && kept.sequence <= moment.last;
        let mut sequence = if same_stream { kept.sequence } else { 0 };
        known.extend(kept.orders.into_iter().map(|kept| ThrottleOrder {
            target: target.clone(),
            age_ms: now.since(kept.stored_at_ms),
            keep_ms: kept.keep_until_ms.since(kept.stored_at_ms),
            stored_at: Some(kept.stored_at_ms),
            order: kept.order,
        }));
        let subject = Subject::Throttle(target.clone()).to_string();
        for _ in 0..MAX_UNKEPT_ORDERS {
            let Some(next) = bus.next_of(THROTTLE, subject.clone(), sequence).await? else { break };
            sequence = next.sequence;
            let Ok(order) = Throttle::decode(&next.payload) else { continue };
            let stored_at = next.stored_at();
            known.push(ThrottleOrder {
                target: target.clone(),
                order,
                stored_at: Some(stored_at),
                age_ms: now.since(stored_at),
                keep_ms: 0,
            });
        }
    }
    Ok(known)
}
