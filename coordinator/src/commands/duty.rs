//! Commands that set one key of a configuration and leave the rest as a person wrote it.

use super::{Commands, bus_error, conflict, unknown_pool};
use bus_schemas::{
    command::{CommandError, ErrorCode, FarmDuty, NodeDuty, PoolRequest, Revision},
    config::{Checked, ConfigKey, NodeConfig, PoolConfig, parse_strict},
    policy::FarmConfig,
};
use nats_adapter::{Call, KvEntry, streams};
use serde_json::{Map, Value};

/// The kept configuration as text that a person wrote.
fn kept(key: &ConfigKey, entry: &KvEntry) -> Result<Map<String, Value>, CommandError> {
    let invalid = |why: String| {
        CommandError::new(ErrorCode::InvalidConfig, format!("{key} in the bucket is no JSON object: {why}"))
    };
    serde_json::from_slice(&entry.value).map_err(|e| invalid(e.to_string()))
}

impl Commands {
    pub(super) async fn pool_set_paused(&self, call: &Call, paused: bool) -> Result<Revision, CommandError> {
        let PoolRequest { pool, reason, .. } = call.decode()?;
        let key = ConfigKey::Pool(pool.clone());
        let entry = self.bus.kv(streams::CONFIG).get(&key).await.map_err(bus_error)?;
        let entry = entry.ok_or_else(|| unknown_pool(&pool))?;
        let mut config = kept(&key, &entry)?;
        config.insert("paused".to_owned(), paused.into());
        tracing::info!(%pool, paused, reason, "a pool is paused or resumed");
        self.put::<PoolConfig>(&key, &config.into(), Some(entry.revision)).await
    }

    pub(super) async fn node_set_drained(
        &self,
        call: &Call,
        drained: bool,
    ) -> Result<Revision, CommandError> {
        let NodeDuty { node, reason } = call.decode()?;
        let key = ConfigKey::Node(node.clone());
        let entry = self.bus.kv(streams::CONFIG).get(&key).await.map_err(bus_error)?;
        if entry.is_none() && !self.nodes().await.contains_key(&node) {
            let text = format!("no node {node} was ever configured or seen");
            return Err(CommandError::new(ErrorCode::UnknownNode, text));
        }
        let mut config = entry.as_ref().map(|entry| kept(&key, entry)).transpose()?.unwrap_or_default();
        config.insert("drained".to_owned(), drained.into());
        tracing::info!(%node, drained, reason, "a node is drained or takes part again");
        self.put::<NodeConfig>(&key, &config.into(), Some(entry.map_or(0, |e| e.revision))).await
    }

    /// The kill switch asks for no revision: nothing that somebody else writes at the same time may keep it open.
    pub(super) async fn farm_set_halted(&self, call: &Call, halted: bool) -> Result<Revision, CommandError> {
        let FarmDuty { reason } = call.decode()?;
        let kv = self.bus.kv(streams::CONFIG);
        let written = |config: &Map<String, Value>| {
            let json = serde_json::to_vec_pretty(config).ok()?;
            parse_strict::<FarmConfig>(&json).ok().map(|_| json)
        };
        let set = |mut config: Map<String, Value>| {
            config.insert("halted".to_owned(), halted.into());
            config.insert("reason".to_owned(), reason.clone().into());
            config
        };
        let config = FarmConfig { halted, reason: reason.clone() };
        config.check().map_err(|e| CommandError::new(ErrorCode::InvalidConfig, format!("farm: {e}")))?;
        let entry = kv.get(&ConfigKey::Farm).await.map_err(bus_error)?;
        let before = entry.and_then(|entry| kept(&ConfigKey::Farm, &entry).ok()).unwrap_or_default();
        // What somebody broke by hand does not keep the switch from working.
        let json = written(&set(before)).or_else(|| written(&set(Map::new()))).ok_or_else(|| {
            CommandError::new(ErrorCode::InvalidConfig, "farm: the switch cannot be written as JSON")
        })?;
        tracing::warn!(halted, reason, "the farm is halted or goes on");
        let put = kv.put(&ConfigKey::Farm, json.into()).await;
        put.map(|revision| Revision { revision }).map_err(|e| conflict(&ConfigKey::Farm, e))
    }
}
