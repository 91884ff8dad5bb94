//! What other coordinators know. The owner of a pool is asked: it alone hears every heartbeat, so an answer costs one
//! round trip when somebody asks, where listening would cost each coordinator every heartbeat of every worker all the time.
//! Who gets no answer falls back to what owners have stored, and says so, with its age by the server's own clock.

use super::{Commands, place};
use bus_schemas::{
    Message, PoolId, WorkerId,
    command::{
        FarmStatus, Known, Membership, NodeView, OwnerView, PoolStatus, PoolView, Source, ViewRequest,
    },
    member::Member,
    subject::Subject,
};
use futures_util::future::join_all;
use nats_adapter::{Delivered, RequestError, streams};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Longest wait for an owner's answer.
const ASK_DEADLINE: Duration = Duration::from_millis(800);
/// Longest wait for what is stored.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);
/// A stored state that is older is not what is now: its owner writes it every second, milliseconds.
const STALE_AFTER_MS: u64 = 5_000;

/// What came of the question to an owner.
enum Asked {
    Answered(Box<OwnerView>, u64),
    /// Nobody listens as its owner.
    Nobody,
    Silent(String),
}

impl Asked {
    fn note(&self) -> String {
        match self {
            Self::Answered(..) => String::new(),
            Self::Nobody => "nobody owns it at this moment".to_owned(),
            Self::Silent(why) => format!("its owner did not answer: {why}"),
        }
    }
}

impl Commands {
    async fn ask(&self, pool: &PoolId, request: &ViewRequest) -> Asked {
        let began = Instant::now();
        let subject = Subject::View(pool.clone());
        match timeout(ASK_DEADLINE, self.bus.request::<ViewRequest, OwnerView>(&subject, request)).await {
            Ok(Ok(view)) => {
                let age = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                Asked::Answered(Box::new(view), age)
            }
            Ok(Err(RequestError::NoResponders { .. })) => Asked::Nobody,
            Ok(Err(error)) => Asked::Silent(error.to_string()),
            Err(_) => Asked::Silent(format!("nothing within {ASK_DEADLINE:?}")),
        }
    }

    /// The farm, with what other owners know.
    pub(super) async fn farm(&self) -> FarmStatus {
        let mut farm = self.snapshot.farm.clone();
        let unknown = farm.pools.iter_mut().filter(|view| view.status.is_none());
        join_all(unknown.map(|view| self.look_elsewhere(view))).await;
        farm
    }

    async fn look_elsewhere(&self, view: &mut PoolView) {
        let asked = self.ask(&view.pool, &ViewRequest { status_only: true, ..ViewRequest::default() }).await;
        let note = asked.note();
        if let Asked::Answered(answer, age) = asked {
            view.status = Some(answer.status);
            view.known = Known { source: Source::Owner, age_ms: Some(age), ..Known::default() };
            view.stuck = answer.stuck;
            return;
        }
        match timeout(READ_DEADLINE, self.stored_status(&view.pool)).await {
            Ok(Some((status, age_ms))) => {
                let stale = age_ms.is_none_or(|age| age > STALE_AFTER_MS);
                view.known = Known { source: Source::StoredStatus, age_ms, stale, note };
                view.status = Some(status);
            }
            Ok(None) => view.known = Known { stale: true, note, ..Known::default() },
            Err(_) => {
                let note = format!("{note}; what it stored could not be read within {READ_DEADLINE:?}");
                view.known = Known { stale: true, note, ..Known::default() };
            }
        }
    }

    /// The state that the last owner stored, and its age.
    async fn stored_status(&self, pool: &PoolId) -> Option<(PoolStatus, Option<u64>)> {
        let last = self.bus.kv(streams::STATUS).last_kept(pool.as_str()).await.ok()??;
        let status = serde_json::from_slice(&last.payload).ok()?;
        let now = self.bus.stream_moment(streams::KV_STATUS).await.ok().map(|moment| moment.now);
        Some((status, now.map(|now| now.since(last.stored_at))))
    }

    /// Every node, or only `wanted`, with the places that other owners decided.
    pub(super) async fn nodes(&self, wanted: Option<&WorkerId>) -> BTreeMap<WorkerId, NodeView> {
        let mut nodes = self.snapshot.nodes.clone();
        let pools = &self.snapshot.farm.pools;
        let elsewhere: Vec<_> = pools.iter().filter(|p| p.status.is_none()).map(|p| &p.pool).collect();
        let request = ViewRequest { node: wanted.cloned(), ..ViewRequest::default() };
        let answers = join_all(elsewhere.iter().map(|pool| self.ask(pool, &request))).await;
        let mut told: BTreeSet<&PoolId> =
            pools.iter().filter(|p| p.status.is_some()).map(|p| &p.pool).collect();
        let mut notes = BTreeMap::new();
        for (pool, asked) in elsewhere.into_iter().zip(answers) {
            notes.insert(pool, asked.note());
            let Asked::Answered(view, age) = asked else { continue };
            told.insert(pool);
            for member in view.members {
                let mut membership = member.membership;
                membership.known.age_ms = membership.known.age_ms.map(|known| known.saturating_add(age));
                place(&mut nodes, &member.node, membership);
            }
        }
        let (records, now) = match timeout(READ_DEADLINE, self.records()).await {
            Ok(read) => read,
            Err(_) => {
                tracing::warn!("places in pools of other owners are not shown: they cannot be read");
                (Vec::new(), None)
            }
        };
        for (member, stored) in records {
            if told.contains(&member.pool) || wanted.is_some_and(|node| *node != member.worker) {
                continue;
            }
            let age_ms = now.map(|now: bus_schemas::TimestampMs| now.since(stored.stored_at));
            let note = notes.get(&member.pool).map_or("its pool is not configured", String::as_str);
            let (worker, membership) = from_record(member, age_ms, note);
            place(&mut nodes, &worker, membership);
        }
        nodes
    }

    async fn records(&self) -> (Vec<(Member, Delivered)>, Option<bus_schemas::TimestampMs>) {
        let records = match self.bus.kv(streams::MEMBERS).stamped_entries().await {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "places in pools of other owners are not shown");
                return (Vec::new(), None);
            }
        };
        let read = |(key, last): (String, Delivered)| {
            let member = Member::decode(&last.payload).ok()?;
            (format!("{}.{}", member.pool, member.worker) == key).then_some((member, last))
        };
        let members = records.into_iter().filter_map(read).collect();
        (members, self.bus.stream_moment(streams::KV_MEMBERS).await.ok().map(|moment| moment.now))
    }
}

/// What the record of a member says; of what it does now it says nothing.
fn from_record(member: Member, age_ms: Option<u64>, note: &str) -> (WorkerId, Membership) {
    let Member { pool, role, standing, slot, generation, reason, decided_at_ms, worker, .. } = member;
    let note = format!("this is what was decided when its place last changed; {note}");
    let membership = Membership {
        pool,
        role,
        standing,
        slot,
        generation,
        reason,
        hash_rate: None,
        threads: None,
        capacity_percent: None,
        set_point_reason: None,
        last_heard_ms: decided_at_ms,
        known: Known { source: Source::MemberRecord, age_ms, stale: true, note },
    };
    (worker, membership)
}
