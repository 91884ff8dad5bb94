//! What other coordinators know. The owner of a pool is asked: it alone hears every heartbeat, so an answer costs one
//! round trip when somebody asks, where listening would cost each coordinator every heartbeat of every worker all the time.
//! Who gets no answer falls back to what owners have stored, and says so, with its age by the server's own clock.

use super::{Commands, snapshot::place};
use bus_schemas::{
    Message, PoolId, WorkerId,
    command::{
        FarmStatus, Known, MemberView, Membership, NodeView, OwnerView, PoolStatus, PoolView, Source,
        ViewRequest,
    },
    member::{Member, Standing},
    subject::Subject,
};
use futures_util::future::join_all;
use nats_adapter::{Delivered, KvError, RequestError, streams};
use std::{
    collections::BTreeMap,
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

    /// The farm, with what other owners know of the pools that were asked for.
    pub(super) async fn farm(&self) -> FarmStatus {
        let mut farm = self.snapshot.farm.clone();
        let unknown = farm.pools.iter_mut().filter(|view| view.status.is_none());
        join_all(unknown.map(|view| self.look_elsewhere(view))).await;
        farm
    }

    /// The pool that was asked for.
    pub(super) async fn pool(&self, pool: &PoolId) -> Option<PoolView> {
        self.farm().await.pools.into_iter().find(|view| view.pool == *pool)
    }

    async fn look_elsewhere(&self, view: &mut PoolView) {
        let request = ViewRequest { status_only: true, ..ViewRequest::default() };
        let asked = self.ask(&view.pool, &request).await;
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

    /// One node, with the places that other owners decided. Where one of them does not answer, or nobody knows it as present,
    /// its records are read, and no others.
    pub(super) async fn node(&self, node: &WorkerId) -> Option<NodeView> {
        let mut nodes = self.snapshot.nodes.clone();
        let request = ViewRequest { node: Some(node.clone()), ..ViewRequest::default() };
        let asked = self.ask_elsewhere(&request).await;
        let silent: BTreeMap<_, _> = asked.silent.into_iter().collect();
        asked.members.into_iter().for_each(|member| place(&mut nodes, &member.node, member.membership));
        let membership = nodes.get(node).and_then(|view| view.membership.as_ref());
        let is_present = membership.is_some_and(|m| m.standing == Standing::Present);
        if !is_present || !silent.is_empty() {
            for (member, age_ms) in self.records(format!("*.{node}")).await {
                let is_told = self.snapshot.configured.contains(&member.pool);
                if is_told && !silent.contains_key(&member.pool) {
                    continue;
                }
                let note = silent.get(&member.pool).map_or("its pool is not configured", String::as_str);
                let (worker, membership) = from_record(member, age_ms, note);
                place(&mut nodes, &worker, membership);
            }
        }
        nodes.remove(node)
    }

    /// Nodes behind `after` in the order of their ids, at most so many of each owner, with the places that owners decided, and
    /// whether there are more. Of the members of a pool whose owner does not answer the records are read.
    pub(super) async fn nodes(
        &self,
        after: Option<WorkerId>,
        most: usize,
    ) -> (BTreeMap<WorkerId, NodeView>, bool) {
        let mut nodes = self.snapshot.nodes.clone();
        let limit = u16::try_from(most).ok();
        let request = ViewRequest { after: after.clone(), limit, ..ViewRequest::default() };
        let asked = self.ask_elsewhere(&request).await;
        let mut ends: Vec<_> = self.snapshot.nodes_to.iter().cloned().chain(asked.ends).collect();
        asked.members.into_iter().for_each(|member| place(&mut nodes, &member.node, member.membership));
        for (pool, note) in &asked.silent {
            for (member, age_ms) in self.records(format!("{pool}.*")).await {
                let (worker, membership) = from_record(member, age_ms, note);
                place(&mut nodes, &worker, membership);
            }
        }
        // Behind the end of what somebody told there may be more of whom only that one knows.
        ends.sort();
        let end = ends.first();
        nodes.retain(|node, _| {
            after.as_ref().is_none_or(|after| node > after) && end.is_none_or(|end| node <= end)
        });
        (nodes, end.is_some())
    }

    /// Asks the owners of all pools of which they may know more.
    async fn ask_elsewhere(&self, request: &ViewRequest) -> Elsewhere {
        let pools = &self.snapshot.elsewhere;
        let answers = join_all(pools.iter().map(|pool| self.ask(pool, request))).await;
        let mut elsewhere = Elsewhere::default();
        for (pool, asked) in pools.iter().zip(answers) {
            let note = asked.note();
            let Asked::Answered(view, age) = asked else {
                elsewhere.silent.push((pool.clone(), note));
                continue;
            };
            elsewhere.ends.extend(view.next);
            for mut member in view.members {
                let known = &mut member.membership.known;
                known.age_ms = known.age_ms.map(|known| known.saturating_add(age));
                elsewhere.members.push(member);
            }
        }
        elsewhere
    }

    /// The records of the members under these keys, each with its age by the server's clock.
    async fn records(&self, keys: String) -> Vec<(Member, Option<u64>)> {
        let read = async {
            let records = self.bus.kv(streams::MEMBERS).stamped(&keys).await?;
            let now = self.bus.stream_moment(streams::KV_MEMBERS).await.ok().map(|moment| moment.now);
            Ok::<_, KvError>((records, now))
        };
        let (records, now) = match timeout(READ_DEADLINE, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::warn!(%error, keys, "places in pools of other owners are not shown");
                return Vec::new();
            }
            Err(_) => {
                tracing::warn!(keys, "places in pools of other owners are not shown: they cannot be read");
                return Vec::new();
            }
        };
        let read = |(key, last): (String, Delivered)| {
            let member = Member::decode(&last.payload).ok()?;
            let age_ms = now.map(|now| now.since(last.stored_at));
            (format!("{}.{}", member.pool, member.worker) == key).then_some((member, age_ms))
        };
        records.into_iter().filter_map(read).collect()
    }
}

/// What other owners answered.
#[derive(Default)]
struct Elsewhere {
    members: Vec<MemberView>,
    /// Where the page of an owner ends that has more.
    ends: Vec<WorkerId>,
    /// Pools whose owner did not answer, and why.
    silent: Vec<(PoolId, String)>,
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
