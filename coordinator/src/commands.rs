//! Commands: what needs the core's view is taken in the loop, the rest is asked of JetStream by a task for each call.

mod duty;
mod elsewhere;
mod foresee;
mod snapshot;
mod throttle;
mod upcoming;

use crate::metrics::Metrics;
use bus_schemas::{
    Message, PoolId, WorkerId,
    command::{
        CommandError, ErrorCode, FarmStatus, JobView, Known, NodeList, NodePut, NodeView, Page, PoolList,
        PoolPut, PoolRequest, PoolView, PutReply, Revision, Source, ViewOf,
    },
    config::{Checked, ConfigKey, InvalidConfig, NodeConfig, PoolConfig, parse_strict},
    job::Job,
    subject::Subject,
};
use futures_util::future::BoxFuture;
use nats_adapter::{Bus, Call, KvError, ReadError, streams};
use snapshot::last_if;
use std::sync::Arc;

pub(crate) use snapshot::Snapshot;

type Answer<'a> = BoxFuture<'a, Result<bytes::Bytes, CommandError>>;

/// What answers a command.
struct Command {
    entity: &'static str,
    verb: &'static str,
    answer: for<'a> fn(&'a Commands, &'a Call) -> Answer<'a>,
}

macro_rules! commands {
    ($($entity:literal $verb:literal => |$commands:ident, $call:ident| $answer:expr;)+) => {
        /// What answers each command of the contract.
        const ANSWERS: &[Command] = &[$(Command {
            entity: $entity,
            verb: $verb,
            answer: |$commands, $call| Box::pin(async move { $answer.and_then(encoded) }),
        }),+];
    };
}

commands! {
    "pool" "put" => |c, call| c.pool_put(call).await;
    "pool" "get" => |c, call| c.pool_get(call).await;
    "pool" "list" => |c, call| c.pool_list(call).await;
    "pool" "pause" => |c, call| c.pool_set_paused(call, true).await;
    "pool" "resume" => |c, call| c.pool_set_paused(call, false).await;
    "pool" "delete" => |c, call| c.pool_delete(call).await;
    "node" "put" => |c, call| c.node_put(call).await;
    "node" "get" => |c, call| c.node_get(call).await;
    "node" "list" => |c, call| c.node_list(call).await;
    "node" "drain" => |c, call| c.node_set_drained(call, true).await;
    "node" "undrain" => |c, call| c.node_set_drained(call, false).await;
    "node" "explain" => |c, call| c.node_explain(call).await;
    "pool" "preview" => |c, call| c.pool_preview(call).await;
    "job" "show" => |c, call| c.job_show(call).await;
    "throttle" "put" => |c, call| c.throttle_put(call).await;
    "throttle" "list" => |c, call| c.throttle_list(call);
    "farm" "halt" => |c, call| c.farm_set_halted(call, true).await;
    "farm" "resume" => |c, call| c.farm_set_halted(call, false).await;
    "farm" "status" => |c, call| c.farm_status(call).await;
}

/// Calls that are being answered at the same time at most; more wait in the connection's queue.
pub(crate) const MAX_CALLS: usize = 64;

/// Answers one call.
pub(crate) async fn answer(bus: Bus, call: Call, snapshot: Snapshot, metrics: Arc<Metrics>) {
    let commands = Commands { bus, snapshot };
    let name = call.name();
    let known = ANSWERS.iter().find(|known| (known.entity, known.verb) == (name.entity, name.verb));
    let answer = match known {
        Some(command) => (command.answer)(&commands, &call).await,
        None => {
            let text = format!("there is no command {name}");
            Err(CommandError::new(ErrorCode::MalformedRequest, text))
        }
    };
    let sent = match answer {
        Ok(body) => {
            metrics.command("answered");
            call.respond_bytes(body).await
        }
        Err(error) => {
            metrics.command("refused");
            tracing::info!(command = %call.name(), %error, "a command was refused");
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

pub(crate) struct Commands {
    bus: Bus,
    snapshot: Snapshot,
}

impl Commands {
    async fn pool_get(&self, call: &Call) -> Result<PoolView, CommandError> {
        let pool: PoolId = call.target()?;
        let ViewOf {} = call.decode()?;
        self.pool(&pool).await.ok_or_else(|| unknown_pool(&pool))
    }

    async fn node_get(&self, call: &Call) -> Result<NodeView, CommandError> {
        let node: WorkerId = call.target()?;
        let ViewOf {} = call.decode()?;
        let unknown = || {
            CommandError::new(ErrorCode::UnknownNode, format!("no node {node} was ever configured or seen"))
        };
        self.node(&node).await.ok_or_else(unknown)
    }

    async fn farm_status(&self, call: &Call) -> Result<FarmStatus, CommandError> {
        let request = snapshot::listing(call)?;
        snapshot::after::<PoolId>(&request)?;
        let mut farm = self.farm().await;
        // What other owners told needs room as well.
        let page = Page::of(std::mem::take(&mut farm.pools), request.most());
        let cut = last_if(page.goes_on, &page.entries, |view| view.pool.to_string());
        (farm.pools, farm.next) = (page.entries, cut.or(farm.next));
        Ok(farm)
    }

    async fn pool_list(&self, call: &Call) -> Result<PoolList, CommandError> {
        let FarmStatus { pools, next, .. } = self.farm_status(call).await?;
        Ok(PoolList { pools, next })
    }

    async fn node_list(&self, call: &Call) -> Result<NodeList, CommandError> {
        let request = snapshot::listing(call)?;
        let (nodes, goes_on) = self.nodes(snapshot::after(&request)?, request.most()).await;
        let page = Page::of(nodes.into_values(), request.most());
        let next = last_if(page.goes_on || goes_on, &page.entries, |view| view.node.to_string());
        Ok(NodeList { nodes: page.entries, next })
    }

    async fn job_show(&self, call: &Call) -> Result<JobView, CommandError> {
        let pool: PoolId = call.target()?;
        let ViewOf {} = call.decode()?;
        if !self.snapshot.farm.pools.iter().any(|v| v.pool == pool) {
            return Err(unknown_pool(&pool));
        }
        let job = match self.bus.last::<Job>(streams::JOB, Subject::Job(pool.clone())).await {
            // It was withdrawn.
            Err(ReadError::Undecodable(error)) if error.payload.is_empty() => None,
            job => job.map_err(bus_error)?,
        };
        let none = || CommandError::new(ErrorCode::NoJob, format!("pool {pool} has no job yet"));
        let entry = job.ok_or_else(none)?;
        let now = self.bus.stream_moment(streams::JOB).await.ok().map(|moment| moment.now);
        let age_ms = now.map(|now| now.since(entry.stored_at));
        let known = Known { source: Source::JobStream, age_ms, ..Known::default() };
        Ok(JobView { job: entry.message, known })
    }

    async fn pool_put(&self, call: &Call) -> Result<PutReply, CommandError> {
        let pool: PoolId = call.target()?;
        let PoolPut { config, revision } = call.decode()?;
        let Revision { revision } = self.put::<PoolConfig>(&ConfigKey::Pool(pool), &config, revision).await?;
        Ok(PutReply { revision, windows: upcoming::of_pool(config).await })
    }

    async fn node_put(&self, call: &Call) -> Result<PutReply, CommandError> {
        let node: WorkerId = call.target()?;
        let NodePut { config, revision } = call.decode()?;
        let Revision { revision } = self.put::<NodeConfig>(&ConfigKey::Node(node), &config, revision).await?;
        Ok(PutReply { revision, windows: upcoming::of_node(config).await })
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
        let pool: PoolId = call.target()?;
        let PoolRequest { force, reason } = call.decode()?;
        let view = self.pool(&pool).await.ok_or_else(|| unknown_pool(&pool))?;
        let status = view.status.filter(|_| !view.known.stale);
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

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::command::COMMANDS;

    #[test]
    fn every_command_of_the_contract_has_one_answer_and_there_is_no_other() {
        let mut answers: Vec<_> = ANSWERS.iter().map(|known| (known.entity, known.verb)).collect();
        let mut names: Vec<_> = COMMANDS.iter().map(|name| (name.entity, name.verb)).collect();
        answers.sort_unstable();
        names.sort_unstable();
        assert_eq!(answers, names);
    }
}
