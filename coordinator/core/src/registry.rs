//! The configurations in force. An edit that is refused leaves the last good one in force.

use crate::{MAX_NODES, MAX_POOLS};
use bus_schemas::{
    PoolId, WorkerId,
    config::{Checked, ConfigKey, NodeConfig, PoolConfig, parse_strict},
    event::EventData,
    policy::FarmConfig,
};
use std::collections::BTreeMap;

/// A configuration and its revision.
type Versioned<T> = (u64, T);

/// What changed by an entry of the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// A pool has this configuration from now on.
    Pool(PoolId),
    /// A pool is gone.
    PoolRemoved(PoolId),
    /// A node has another configuration, or none of its own.
    Node(WorkerId),
    /// The farm has another configuration, or none of its own.
    Farm,
    /// Nothing: the edit was refused, or is older than what is in force.
    Nothing,
}

/// Every configuration in force.
#[derive(Debug, Default)]
pub struct Registry {
    farm: BTreeMap<(), Versioned<FarmConfig>>,
    pools: BTreeMap<PoolId, Versioned<PoolConfig>>,
    nodes: BTreeMap<WorkerId, Versioned<NodeConfig>>,
}

impl Registry {
    /// Takes an entry of the bucket. The second value is what to tell the world, if anything.
    pub fn apply(&mut self, key: &str, revision: u64, value: Option<&[u8]>) -> (Applied, Option<EventData>) {
        let refused = |reason: String, in_force| {
            let event = EventData::ConfigRefused { key: key.to_owned(), revision, reason, in_force };
            (Applied::Nothing, Some(event))
        };
        match (key.parse(), value) {
            (Err(e), Some(_)) => refused(bus_schemas::config::InvalidConfigKey::to_string(&e), 0),
            (Err(_), None) => (Applied::Nothing, None),
            (Ok(ConfigKey::Pool(pool)), Some(json)) => {
                let result = put(&mut self.pools, MAX_POOLS, &pool, revision, json);
                outcome(result, key, revision, Applied::Pool(pool), refused)
            }
            (Ok(ConfigKey::Node(node)), Some(json)) => {
                let result = put(&mut self.nodes, MAX_NODES, &node, revision, json);
                outcome(result, key, revision, Applied::Node(node), refused)
            }
            (Ok(ConfigKey::Farm), Some(json)) => {
                let result = put(&mut self.farm, 1, &(), revision, json);
                outcome(result, key, revision, Applied::Farm, refused)
            }
            (Ok(ConfigKey::Farm), None) => match self.farm.remove(&()) {
                Some(_) => (Applied::Farm, applied_event(key, revision)),
                None => (Applied::Nothing, None),
            },
            (Ok(ConfigKey::Pool(pool)), None) => match self.pools.remove(&pool) {
                Some(_) => (Applied::PoolRemoved(pool), applied_event(key, revision)),
                None => (Applied::Nothing, None),
            },
            (Ok(ConfigKey::Node(node)), None) => match self.nodes.remove(&node) {
                Some(_) => (Applied::Node(node), applied_event(key, revision)),
                None => (Applied::Nothing, None),
            },
        }
    }

    /// The farm's configuration, if it has one.
    pub fn farm(&self) -> Option<&FarmConfig> {
        self.farm.get(&()).map(|(_, c)| c)
    }

    /// A pool's configuration and revision.
    pub fn pool(&self, pool: &PoolId) -> Option<(u64, &PoolConfig)> {
        self.pools.get(pool).map(|(r, c)| (*r, c))
    }

    /// A node's configuration and revision.
    pub fn node(&self, node: &WorkerId) -> Option<(u64, &NodeConfig)> {
        self.nodes.get(node).map(|(r, c)| (*r, c))
    }

    /// Every pool in the order of the ids.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolId, u64, &PoolConfig)> {
        self.pools.iter().map(|(id, (r, c))| (id, *r, c))
    }

    /// Every node with a configuration of its own, in the order of the ids.
    pub fn nodes(&self) -> impl Iterator<Item = (&WorkerId, u64, &NodeConfig)> {
        self.nodes.iter().map(|(id, (r, c))| (id, *r, c))
    }
}

fn applied_event(key: &str, revision: u64) -> Option<EventData> {
    Some(EventData::ConfigApplied { key: key.to_owned(), revision })
}

/// Puts a checked configuration; `Ok(false)` when it is not newer, `Err` with the reason and the revision in force.
fn put<K: Ord + Clone, C: Checked>(
    map: &mut BTreeMap<K, Versioned<C>>,
    limit: usize,
    id: &K,
    revision: u64,
    json: &[u8],
) -> Result<bool, (String, u64)> {
    let in_force = map.get(id).map_or(0, |(r, _)| *r);
    if revision <= in_force {
        return Ok(false);
    }
    let config: C = parse_strict(json).map_err(|e| (e.to_string(), in_force))?;
    if in_force == 0 && map.len() >= limit {
        return Err((format!("there are {limit} of them already, the most that are allowed"), 0));
    }
    map.insert(id.clone(), (revision, config));
    Ok(true)
}

fn outcome(
    result: Result<bool, (String, u64)>,
    key: &str,
    revision: u64,
    applied: Applied,
    refused: impl Fn(String, u64) -> (Applied, Option<EventData>),
) -> (Applied, Option<EventData>) {
    match result {
        Ok(true) => (applied, applied_event(key, revision)),
        Ok(false) => (Applied::Nothing, None),
        Err((reason, in_force)) => refused(reason, in_force),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_edit_is_refused_with_its_reason_and_the_last_good_one_stays_in_force() {
        let mut registry = Registry::default();
        let main = PoolId::new("main").unwrap();
        assert_eq!(registry.apply("pool.main", 3, Some(br#"{"threads":2}"#)).0, Applied::Pool(main.clone()));
        for (revision, json) in [(4, "{\"thread\":1}"), (5, "not json"), (6, r#"{"slot_bits":0}"#)] {
            let (applied, event) = registry.apply("pool.main", revision, Some(json.as_bytes()));
            assert_eq!(applied, Applied::Nothing);
            assert!(matches!(event, Some(EventData::ConfigRefused { in_force: 3, .. })), "{json}");
        }
        assert_eq!(registry.pool(&main).map(|(r, c)| (r, c.threads)), Some((3, Some(2))));
    }

    #[test]
    fn an_older_revision_changes_nothing_and_a_foreign_key_is_refused() {
        let mut registry = Registry::default();
        registry.apply("node.w1", 9, Some(b"{}"));
        assert_eq!(registry.apply("node.w1", 8, Some(br#"{"threads":1}"#)), (Applied::Nothing, None));
        let (_, event) = registry.apply("node.a.b", 10, Some(b"{}"));
        assert!(matches!(event, Some(EventData::ConfigRefused { .. })));
        let (_, event) = registry.apply("whatever", 11, Some(b"{}"));
        assert!(matches!(event, Some(EventData::ConfigRefused { .. })));
    }

    #[test]
    fn a_deleted_pool_is_removed_once() {
        let mut registry = Registry::default();
        let main = PoolId::new("main").unwrap();
        registry.apply("pool.main", 1, Some(b"{}"));
        assert_eq!(registry.apply("pool.main", 2, None).0, Applied::PoolRemoved(main));
        assert_eq!(registry.apply("pool.main", 2, None), (Applied::Nothing, None));
    }
}
