//! Commands that set one key of a configuration and leave the rest as a person wrote it.

use super::{Commands, bus_error, conflict, unknown_pool};
use bus_schemas::{
    PoolId, WorkerId,
    command::{CommandError, ErrorCode, FarmDuty, NodeDuty, PoolRequest, Revision},
    config::{Checked, ConfigKey, NodeConfig, PoolConfig, parse_strict},
    policy::FarmConfig,
};
use nats_adapter::{Call, KvEntry, KvError, streams};
use serde_json::{Map, Value};

/// Most attempts to set a key of a configuration that others edit at the same time.
const MAX_ATTEMPTS: u32 = 8;

/// A configuration in which a key is to be set.
struct Base {
    config: Map<String, Value>,
    /// Newest revision of the bucket of wishes, 0 where it holds none.
    revision: u64,
}

/// An edit as a person wrote it, if it can be in force.
fn wished<C: Checked>(entry: &KvEntry) -> Option<Map<String, Value>> {
    parse_strict::<C>(&entry.value).ok()?;
    serde_json::from_slice(&entry.value).ok()
}

/// What is in force as an edit: what is absent by default is left out again.
fn published(entry: &KvEntry) -> Option<Map<String, Value>> {
    let mut published: Map<String, Value> = serde_json::from_slice(&entry.value).ok()?;
    let mut config = published.remove("config")?;
    leave_nulls_out(&mut config);
    match config {
        Value::Object(config) => Some(config),
        _ => None,
    }
}

fn leave_nulls_out(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(leave_nulls_out);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_nulls_out),
        _ => {}
    }
}

impl Commands {
    pub(super) async fn pool_set_paused(&self, call: &Call, paused: bool) -> Result<Revision, CommandError> {
        let pool: PoolId = call.target()?;
        let PoolRequest { reason, .. } = call.decode()?;
        tracing::info!(%pool, paused, reason, "a pool is paused or resumed");
        let key = ConfigKey::Pool(pool.clone());
        self.set::<PoolConfig>(&key, "paused", paused).await
    }

    pub(super) async fn node_set_drained(
        &self,
        call: &Call,
        drained: bool,
    ) -> Result<Revision, CommandError> {
        let node: WorkerId = call.target()?;
        let NodeDuty { reason } = call.decode()?;
        tracing::info!(%node, drained, reason, "a node is drained or takes part again");
        self.set::<NodeConfig>(&ConfigKey::Node(node), "drained", drained).await
    }

    /// Sets `field` and leaves the rest. An order does not depend on what somebody else wrote wrongly, nor on how often
    /// somebody writes: where the newest edit is refused, the order goes into what is in force and takes that edit's place.
    async fn set<C: Checked>(
        &self,
        key: &ConfigKey,
        field: &str,
        value: bool,
    ) -> Result<Revision, CommandError> {
        let kv = self.bus.kv(streams::CONFIG);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Base { mut config, revision } = self.base::<C>(key).await?;
            config.insert(field.to_owned(), value.into());
            let json = serde_json::to_vec(&config)
                .map_err(|e| CommandError::new(ErrorCode::InvalidConfig, format!("{key}: {e}")))?;
            let written = match revision {
                0 => kv.create(key, json.into()).await,
                revision => kv.update(key, json.into(), revision).await,
            };
            match written {
                Ok(revision) => return Ok(Revision { revision }),
                Err(KvError::RevisionMismatch { .. }) if attempt < MAX_ATTEMPTS => {}
                Err(error) => return Err(conflict(key, error)),
            }
        }
    }

    async fn base<C: Checked>(&self, key: &ConfigKey) -> Result<Base, CommandError> {
        let edit = self.bus.kv(streams::CONFIG).get(key).await.map_err(bus_error)?;
        let revision = edit.as_ref().map_or(0, |edit| edit.revision);
        if let Some(config) = edit.as_ref().and_then(wished::<C>) {
            return Ok(Base { config, revision });
        }
        let in_force = self.bus.kv(streams::IN_FORCE).get(key).await.map_err(bus_error)?;
        let config = match in_force.as_ref().and_then(published) {
            Some(config) => config,
            None => self.begin(key).await?,
        };
        Ok(Base { config, revision })
    }

    /// The configuration of somebody who has none: a worker that was seen may be given its first.
    async fn begin(&self, key: &ConfigKey) -> Result<Map<String, Value>, CommandError> {
        match key {
            ConfigKey::Pool(pool) => Err(unknown_pool(pool)),
            ConfigKey::Node(node) if self.node(node).await.is_none() => {
                let text = format!("no node {node} was ever configured or seen");
                Err(CommandError::new(ErrorCode::UnknownNode, text))
            }
            ConfigKey::Node(_) | ConfigKey::Farm => Ok(Map::new()),
        }
    }

    /// The kill switch asks for no revision: nothing that somebody else writes at the same time may keep it open.
    pub(super) async fn farm_set_halted(&self, call: &Call, halted: bool) -> Result<Revision, CommandError> {
        let FarmDuty { reason } = call.decode()?;
        let config = FarmConfig { halted, reason: reason.clone() };
        let invalid = |why: String| CommandError::new(ErrorCode::InvalidConfig, format!("farm: {why}"));
        config.check().map_err(|e| invalid(e.to_string()))?;
        tracing::warn!(halted, reason, "the farm is halted or goes on");
        // What cannot be read does not keep the switch from working.
        let base = self.base::<FarmConfig>(&ConfigKey::Farm).await;
        let mut config = base.map(|base| base.config).unwrap_or_default();
        config.insert("halted".to_owned(), halted.into());
        config.insert("reason".to_owned(), reason.into());
        let json = serde_json::to_vec_pretty(&config).map_err(|e| invalid(e.to_string()))?;
        let put = self.bus.kv(streams::CONFIG).put(&ConfigKey::Farm, json.into()).await;
        put.map(|revision| Revision { revision }).map_err(|e| conflict(&ConfigKey::Farm, e))
    }
}
