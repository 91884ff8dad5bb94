//! Commands: what needs the core's view is taken in the loop, the rest is asked of JetStream by a task for each call.

mod duty;
mod foresee;
mod throttle;

use crate::metrics::Metrics;
use bus_schemas::{
    Message, PoolId,
    command::{
        CommandError, ErrorCode, FarmStatus, JobView, Membership, NodeList, NodePut, NodeRequest, NodeView,
        PoolList, PoolPut, PoolRequest, PoolStatus, PoolView, Revision,
    },
    config::{Checked, ConfigKey, InvalidConfig, NodeConfig, PoolConfig, parse_strict},
    job::Job,
    member::{Member, Standing},
    policy::FarmConfig,
    subject::Subject,
    throttle::Throttles,
};
use coordinator_core::{Coordinator, foresight::MemberFacts};
use nats_adapter::{Bus, Call, KvError, ReadError, WatchEvent, streams};
use std::{collections::BTreeMap, sync::Arc};

/// Every command: entity and verb.
pub(crate) const COMMANDS: [(&str, &str); 19] = [
    ("pool", "put"),
    ("pool", "get"),
    ("pool", "list"),
    ("pool", "pause"),
    ("pool", "resume"),
    ("pool", "delete"),
    ("node", "put"),
    ("node", "get"),
    ("node", "list"),
    ("node", "drain"),
    ("node", "undrain"),
    ("node", "explain"),
    ("pool", "preview"),
    ("job", "show"),
    ("throttle", "put"),
    ("throttle", "list"),
    ("farm", "halt"),
    ("farm", "resume"),
    ("farm", "status"),
];

/// Calls that are being answered at the same time at most; more wait in the connection's queue.
pub(crate) const MAX_CALLS: usize = 64;

/// The farm as this coordinator sees it at the moment of a call.
pub(crate) struct Snapshot {
    farm: FarmStatus,
    nodes: BTreeMap<bus_schemas::WorkerId, NodeView>,
    halt: Option<FarmConfig>,
    throttles: Throttles,
    /// Of the pools that are owned here; only for commands that look ahead.
    facts: Vec<MemberFacts>,
}

impl Snapshot {
    /// Costs one pass over the pools and all members.
    pub(crate) fn take(core: &Coordinator, command: (&str, &str)) -> Self {
        let farm = core.farm_status(env!("CARGO_PKG_VERSION"), |_| None);
        let mut nodes = BTreeMap::new();
        for (id, revision, config) in core.registry().nodes() {
            let view = NodeView { node: id.clone(), revision, config: config.clone(), membership: None };
            nodes.insert(id.clone(), view);
        }
        for (id, membership) in core.memberships() {
            place(&mut nodes, id, membership);
        }
        let looks_ahead = matches!(command, ("node", "explain") | ("pool", "preview"));
        let facts = if looks_ahead { core.facts().collect() } else { Vec::new() };
        let wants_orders = looks_ahead || command.0 == "throttle";
        let throttles = if wants_orders { core.throttles().clone() } else { Throttles::default() };
        Self { farm, nodes, halt: core.registry().farm().cloned(), throttles, facts }
    }
}

/// A worker may have left one pool for another; the place where it was heard of last is shown.
fn place(
    nodes: &mut BTreeMap<bus_schemas::WorkerId, NodeView>,
    id: &bus_schemas::WorkerId,
    membership: Membership,
) {
    let view = nodes.entry(id.clone()).or_insert_with(|| NodeView {
        node: id.clone(),
        revision: 0,
        config: NodeConfig::default(),
        membership: None,
    });
    let rank = |m: &Membership| (m.standing == Standing::Present, m.last_heard_ms);
    if view.membership.as_ref().is_none_or(|m| rank(m) < rank(&membership)) {
        view.membership = Some(membership);
    }
}

/// Answers one call.
pub(crate) async fn answer(bus: Bus, call: Call, snapshot: Snapshot, metrics: Arc<Metrics>) {
    let commands = Commands { bus, snapshot };
    let (entity, verb) = call.command();
    let answer = match (entity, verb) {
        ("pool", "put") => commands.pool_put(&call).await.and_then(encoded),
        ("pool", "get") => commands.pool_get(&call).await.and_then(encoded),
        ("pool", "list") => Ok(commands.farm().await).map(|f| PoolList { pools: f.pools }).and_then(encoded),
        ("pool", "pause") => commands.pool_set_paused(&call, true).await.and_then(encoded),
        ("pool", "resume") => commands.pool_set_paused(&call, false).await.and_then(encoded),
        ("pool", "delete") => commands.pool_delete(&call).await.and_then(encoded),
        ("node", "put") => commands.node_put(&call).await.and_then(encoded),
        ("node", "get") => commands.node_get(&call).await.and_then(encoded),
        ("node", "list") => {
            Ok(NodeList { nodes: commands.nodes().await.into_values().collect() }).and_then(encoded)
        }
        ("node", "drain") => commands.node_set_drained(&call, true).await.and_then(encoded),
        ("node", "undrain") => commands.node_set_drained(&call, false).await.and_then(encoded),
        ("node", "explain") => commands.node_explain(&call).await.and_then(encoded),
        ("pool", "preview") => commands.pool_preview(&call).await.and_then(encoded),
        ("throttle", "put") => commands.throttle_put(&call).await.and_then(encoded),
        ("throttle", "list") => Ok(commands.throttle_list()).and_then(encoded),
        ("farm", "halt") => commands.farm_set_halted(&call, true).await.and_then(encoded),
        ("farm", "resume") => commands.farm_set_halted(&call, false).await.and_then(encoded),
        ("job", "show") => commands.job_show(&call).await.and_then(encoded),
        _ => Ok(commands.farm().await).and_then(encoded),
    };
    let sent = match answer {
        Ok(body) => {
            metrics.command("answered");
            call.respond_bytes(body).await
        }
        Err(error) => {
            metrics.command("refused");
            tracing::info!(command = ?call.command(), %error, "a command was refused");
            call.refuse(&error).await
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "a command was not answered");
    }
}

fn encoded<M: Message>(message: M) -> Result<bytes::Bytes, CommandError> {
    let too_large =
        |e| CommandError::new(ErrorCode::BusUnavailable, format!("the answer cannot be sent: {e}"));
    message.encode().map(Into::into).map_err(|e: bus_schemas::codec::EncodeError| too_large(e.to_string()))
}

fn bus_error(error: impl std::fmt::Display) -> CommandError {
    CommandError::new(ErrorCode::BusUnavailable, error.to_string())
}

fn unknown_pool(pool: &PoolId) -> CommandError {
    CommandError::new(ErrorCode::UnknownPool, format!("there is no pool {pool}"))
}

struct Commands {
    bus: Bus,
    snapshot: Snapshot,
}

impl Commands {
    /// The farm, with the states that other owners wrote.
    async fn farm(&self) -> FarmStatus {
        let mut farm = self.snapshot.farm.clone();
        for view in farm.pools.iter_mut().filter(|v| v.status.is_none()) {
            view.status = self.status_elsewhere(&view.pool).await;
        }
        farm
    }

    async fn status_elsewhere(&self, pool: &PoolId) -> Option<PoolStatus> {
        // Written by an owner that is gone, it would tell of a pool that does not run.
        self.bus.kv(streams::LEASES).get(pool).await.ok()??;
        let entry = self.bus.kv(streams::STATUS).get(pool).await.ok()??;
        serde_json::from_slice(&entry.value).ok()
    }

    /// Every node, with the places that other owners decided.
    async fn nodes(&self) -> BTreeMap<bus_schemas::WorkerId, NodeView> {
        let mut nodes = self.snapshot.nodes.clone();
        let events = match self.bus.kv(streams::MEMBERS).entries().await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "places in pools of other owners are not shown");
                Vec::new()
            }
        };
        for event in events {
            let WatchEvent::Put { value, .. } = event else { continue };
            let Ok(member) = Member::decode(&value) else { continue };
            if self.snapshot.farm.pools.iter().any(|p| p.pool == member.pool && p.status.is_some()) {
                continue;
            }
            let Member { pool, role, standing, slot, generation, reason, decided_at_ms, worker, .. } = member;
            let hash_rate = bus_schemas::HashRate(0);
            let (threads, set_point_reason, last_heard_ms) = (0, None, decided_at_ms);
            let place_there = Membership {
                pool,
                role,
                standing,
                slot,
                generation,
                reason,
                hash_rate,
                threads,
                capacity_percent: 0,
                set_point_reason,
                last_heard_ms,
            };
            place(&mut nodes, &worker, place_there);
        }
        nodes
    }

    async fn pool_get(&self, call: &Call) -> Result<PoolView, CommandError> {
        let PoolRequest { pool, .. } = call.decode()?;
        let found = self.farm().await.pools.into_iter().find(|v| v.pool == pool);
        found.ok_or_else(|| unknown_pool(&pool))
    }

    async fn node_get(&self, call: &Call) -> Result<NodeView, CommandError> {
        let NodeRequest { node } = call.decode()?;
        let unknown = || {
            CommandError::new(ErrorCode::UnknownNode, format!("no node {node} was ever configured or seen"))
        };
        self.nodes().await.remove(&node).ok_or_else(unknown)
    }

    async fn job_show(&self, call: &Call) -> Result<JobView, CommandError> {
        let PoolRequest { pool, .. } = call.decode()?;
        if !self.snapshot.farm.pools.iter().any(|v| v.pool == pool) {
            return Err(unknown_pool(&pool));
        }
        let job = match self.bus.last::<Job>(streams::JOB, Subject::Job(pool.clone())).await {
            // It was withdrawn.
            Err(ReadError::Undecodable(error)) if error.payload.is_empty() => None,
            job => job.map_err(bus_error)?,
        };
        let none = || CommandError::new(ErrorCode::NoJob, format!("pool {pool} has no job yet"));
        job.map(|entry| JobView { job: entry.message }).ok_or_else(none)
    }

    async fn pool_put(&self, call: &Call) -> Result<Revision, CommandError> {
        let PoolPut { pool, config, revision } = call.decode()?;
        self.put::<PoolConfig>(&ConfigKey::Pool(pool), &config, revision).await
    }

    async fn node_put(&self, call: &Call) -> Result<Revision, CommandError> {
        let NodePut { node, config, revision } = call.decode()?;
        self.put::<NodeConfig>(&ConfigKey::Node(node), &config, revision).await
    }

    async fn put<C: Checked>(
        &self,
        key: &ConfigKey,
        config: &serde_json::Value,
        revision: Option<u64>,
    ) -> Result<Revision, CommandError> {
        let invalid = |e: InvalidConfig| CommandError::new(ErrorCode::InvalidConfig, format!("{key}: {e}"));
        let json = serde_json::to_vec_pretty(config)
            .map_err(|e| invalid(InvalidConfig::Malformed(e.to_string())))?;
        parse_strict::<C>(&json).map_err(invalid)?;
        let kv = self.bus.kv(streams::CONFIG);
        let written = match revision {
            None => kv.put(key, json.into()).await,
            Some(0) => kv.create(key, json.into()).await,
            Some(revision) => kv.update(key, json.into(), revision).await,
        };
        written.map(|revision| Revision { revision }).map_err(|e| conflict(key, e))
    }

    async fn pool_delete(&self, call: &Call) -> Result<Revision, CommandError> {
        let PoolRequest { pool, force, reason } = call.decode()?;
        let status = self.farm().await.pools.into_iter().find(|v| v.pool == pool).map(|v| v.status);
        let status = status.ok_or_else(|| unknown_pool(&pool))?;
        let present = status.map_or(0, |s| s.active + s.backup);
        if present > 0 && !force {
            return Err(CommandError::new(
                ErrorCode::PoolInUse,
                format!("pool {pool} has {present} members present"),
            ));
        }
        tracing::info!(%pool, reason, "a pool is deleted");
        let key = ConfigKey::Pool(pool);
        let deleted = self.bus.kv(streams::CONFIG).delete(&key).await;
        deleted.map(|revision| Revision { revision }).map_err(|e| conflict(&key, e))
    }
}

fn conflict(key: &ConfigKey, error: KvError) -> CommandError {
    match error {
        KvError::RevisionMismatch { .. } => {
            CommandError::new(ErrorCode::RevisionMismatch, format!("{key} was changed in between: {error}"))
        }
        error => bus_error(error),
    }
}
