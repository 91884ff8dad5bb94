//! Every configuration: what operators wish for, and what is in force. An edit that is refused leaves the last good
//! one in force.

use crate::{
    MAX_NODES, MAX_POOLS,
    in_force::{Ours, Reconciled, reconcile},
};
use bus_schemas::{
    Blob, Message, PoolId, WorkerId,
    command::RefusedEdit,
    config::{Checked, ConfigKey, InForce, InvalidConfig, NodeConfig, PoolConfig, parse_strict},
    event::EventData,
    policy::FarmConfig,
};
use std::{collections::BTreeMap, ops::Bound};

/// What changed by an entry of a bucket.
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
    /// Nothing: the edit was refused, or is older than what was looked at.
    Nothing,
}

/// One key.
#[derive(Debug)]
struct Entry<C> {
    /// Newest revision of the bucket of wishes that was looked at, 0 when that bucket holds none.
    seen: u64,
    /// Revision of the newest edit, or deletion, that was applied in the life of that bucket.
    applied: u64,
    in_force: Option<InForce<C>>,
    refused: Option<RefusedEdit>,
    /// The bucket of what is in force was seen to hold just this.
    published: bool,
}

impl<C> Default for Entry<C> {
    fn default() -> Self {
        Self { seen: 0, applied: 0, in_force: None, refused: None, published: false }
    }
}

/// What became of an edit.
enum Edited {
    Applied,
    Removed,
    Old,
    Refused { reason: String, in_force: u64 },
}

/// Every entry of one kind.
#[derive(Debug)]
struct Kind<K, C> {
    entries: BTreeMap<K, Entry<C>>,
    /// Entries with something in force.
    count: usize,
    limit: usize,
}

impl<K: Ord + Clone, C: Checked> Kind<K, C>
where
    InForce<C>: Message,
{
    fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), count: 0, limit }
    }

    fn get(&self, id: &K) -> Option<(u64, &C)> {
        let in_force = self.entries.get(id)?.in_force.as_ref()?;
        Some((in_force.revision, &in_force.config))
    }

    fn after(&self, id: Option<&K>) -> impl Iterator<Item = (&K, u64, &C)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((from, Bound::Unbounded)).filter_map(|(id, entry)| {
            let in_force = entry.in_force.as_ref()?;
            Some((id, in_force.revision, &in_force.config))
        })
    }

    /// Puts what is in force for `id`, and says whether there was something.
    fn put(&mut self, id: &K, in_force: Option<InForce<C>>) -> bool {
        let entry = self.entries.entry(id.clone()).or_default();
        let is = in_force.is_some();
        let was = std::mem::replace(&mut entry.in_force, in_force).is_some();
        self.count = self.count + usize::from(is) - usize::from(was);
        was
    }

    fn edit(&mut self, id: &K, revision: u64, json: Option<&[u8]>) -> Edited {
        let (full, limit) = (self.count >= self.limit, self.limit);
        let entry = self.entries.entry(id.clone()).or_default();
        if revision <= entry.seen {
            return Edited::Old;
        }
        entry.seen = revision;
        let Some(json) = json else {
            (entry.applied, entry.refused, entry.published) = (revision, None, false);
            return if self.put(id, None) { Edited::Removed } else { Edited::Old };
        };
        let reason = match judge(revision, json) {
            Ok(_) if full && entry.in_force.is_none() => {
                format!("there are {limit} of them already, the most that are allowed")
            }
            Ok(in_force) => {
                (entry.applied, entry.refused, entry.published) = (revision, None, false);
                self.put(id, Some(in_force));
                return Edited::Applied;
            }
            Err(error) => error.to_string(),
        };
        entry.refused = Some(RefusedEdit { revision, reason: reason.clone() });
        Edited::Refused { reason, in_force: entry.in_force.as_ref().map_or(0, |c| c.revision) }
    }

    /// Whether something is in force now that was not.
    fn adopt(&mut self, id: &K, bytes: &[u8]) -> Result<bool, String> {
        let adopted = InForce::<C>::decode(bytes).map_err(|e| e.to_string())?;
        adopted.config.check().map_err(|e| e.to_string())?;
        let entry = self.entries.entry(id.clone()).or_default();
        let other = entry.in_force.as_ref().is_none_or(|now| now.revision != adopted.revision);
        entry.published = true;
        if entry.refused.as_ref().is_some_and(|refused| refused.revision <= adopted.revision) {
            entry.refused = None;
        }
        if adopted.revision <= entry.seen {
            entry.applied = entry.applied.max(adopted.revision);
        }
        self.put(id, Some(adopted));
        Ok(other)
    }

    fn ours(&self, id: &K, key: ConfigKey) -> Ours {
        let Some(entry) = self.entries.get(id) else {
            return Ours { key, seen: 0, applied: 0, in_force: None };
        };
        let bytes = entry.in_force.as_ref().and_then(|in_force| in_force.canonical().ok());
        Ours { key, seen: entry.seen, applied: entry.applied, in_force: bytes.map(Blob) }
    }

    /// Notes what the bucket of what is in force holds, and says whether it is what it should be.
    fn published(&mut self, id: &K, key: ConfigKey, bytes: Option<&[u8]>) -> bool {
        let ours = self.ours(id, key);
        let agreed = reconcile(&ours, ours.seen, bytes) == Reconciled::Agreed;
        if bytes.is_some() || self.entries.contains_key(id) {
            self.entries.entry(id.clone()).or_default().published = agreed;
        }
        agreed
    }

    fn forget_wishes(&mut self) {
        self.entries.values_mut().for_each(|entry| (entry.seen, entry.applied) = (0, 0));
    }

    fn forget_published(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.published = false);
    }

    fn unwished(&self) -> usize {
        self.entries.values().filter(|entry| entry.in_force.is_some() && entry.seen == 0).count()
    }

    fn unpublished(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().filter(|(_, entry)| !entry.published).map(|(id, _)| id)
    }
}

/// Reads an edit as strictly as an operator wants it to be read.
pub(crate) fn judge<C: Checked>(revision: u64, json: &[u8]) -> Result<InForce<C>, InvalidConfig>
where
    InForce<C>: Message,
{
    let in_force = InForce { revision, config: parse_strict(json)? };
    in_force.canonical()?;
    Ok(in_force)
}

/// Every configuration.
#[derive(Debug)]
pub struct Registry {
    farm: Kind<(), FarmConfig>,
    pools: Kind<PoolId, PoolConfig>,
    nodes: Kind<WorkerId, NodeConfig>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { farm: Kind::new(1), pools: Kind::new(MAX_POOLS), nodes: Kind::new(MAX_NODES) }
    }
}

impl Registry {
    /// Takes an entry of the bucket of wishes. The second value is what to tell the world, if anything.
    pub fn apply(&mut self, key: &str, revision: u64, value: Option<&[u8]>) -> (Applied, Option<EventData>) {
        let refused = |reason: String, in_force| {
            let event = EventData::ConfigRefused { key: key.to_owned(), revision, reason, in_force };
            (Applied::Nothing, Some(event))
        };
        let (edited, applied, removed) = match (key.parse(), value) {
            (Err(e), Some(_)) => return refused(bus_schemas::config::InvalidConfigKey::to_string(&e), 0),
            (Err(_), None) => return (Applied::Nothing, None),
            (Ok(ConfigKey::Farm), json) => {
                (self.farm.edit(&(), revision, json), Applied::Farm, Applied::Farm)
            }
            (Ok(ConfigKey::Pool(pool)), json) => {
                let edited = self.pools.edit(&pool, revision, json);
                (edited, Applied::Pool(pool.clone()), Applied::PoolRemoved(pool))
            }
            (Ok(ConfigKey::Node(node)), json) => {
                let edited = self.nodes.edit(&node, revision, json);
                (edited, Applied::Node(node.clone()), Applied::Node(node))
            }
        };
        let event = Some(EventData::ConfigApplied { key: key.to_owned(), revision });
        match edited {
            Edited::Applied => (applied, event),
            Edited::Removed => (removed, event),
            Edited::Old => (Applied::Nothing, None),
            Edited::Refused { reason, in_force } => refused(reason, in_force),
        }
    }

    /// Follows what another coordinator published; an error where it cannot be read here.
    pub fn adopt(&mut self, key: &ConfigKey, bytes: &[u8]) -> Result<Applied, String> {
        let (other, applied) = match key {
            ConfigKey::Farm => (self.farm.adopt(&(), bytes)?, Applied::Farm),
            ConfigKey::Pool(pool) => (self.pools.adopt(pool, bytes)?, Applied::Pool(pool.clone())),
            ConfigKey::Node(node) => (self.nodes.adopt(node, bytes)?, Applied::Node(node.clone())),
        };
        Ok(if other { applied } else { Applied::Nothing })
    }

    /// What this coordinator would publish under a key.
    pub fn ours(&self, key: &ConfigKey) -> Ours {
        match key {
            ConfigKey::Farm => self.farm.ours(&(), key.clone()),
            ConfigKey::Pool(pool) => self.pools.ours(pool, key.clone()),
            ConfigKey::Node(node) => self.nodes.ours(node, key.clone()),
        }
    }

    /// Notes what the bucket of what is in force holds under a key, and says whether it is what it should be.
    pub fn published(&mut self, key: &ConfigKey, bytes: Option<&[u8]>) -> bool {
        match key {
            ConfigKey::Farm => self.farm.published(&(), key.clone(), bytes),
            ConfigKey::Pool(pool) => self.pools.published(pool, key.clone(), bytes),
            ConfigKey::Node(node) => self.nodes.published(node, key.clone(), bytes),
        }
    }

    /// Every key under which the bucket of what is in force was not seen to hold what it should.
    pub fn unpublished(&self) -> Vec<ConfigKey> {
        let farm = self.farm.unpublished().map(|()| ConfigKey::Farm);
        let pools = self.pools.unpublished().cloned().map(ConfigKey::Pool);
        farm.chain(pools).chain(self.nodes.unpublished().cloned().map(ConfigKey::Node)).collect()
    }

    /// The bucket of wishes was made anew: its revisions begin again. What is in force stays.
    pub fn forget_wishes(&mut self) {
        self.farm.forget_wishes();
        self.pools.forget_wishes();
        self.nodes.forget_wishes();
    }

    /// The bucket of what is in force was made anew.
    pub fn forget_published(&mut self) {
        self.farm.forget_published();
        self.pools.forget_published();
        self.nodes.forget_published();
    }

    /// How many configurations are in force that the bucket of wishes does not hold.
    pub fn unwished(&self) -> usize {
        self.farm.unwished() + self.pools.unwished() + self.nodes.unwished()
    }

    /// The farm's configuration, if it has one.
    pub fn farm(&self) -> Option<(u64, &FarmConfig)> {
        self.farm.get(&())
    }

    /// A pool's configuration and revision.
    pub fn pool(&self, pool: &PoolId) -> Option<(u64, &PoolConfig)> {
        self.pools.get(pool)
    }

    /// A node's configuration and revision.
    pub fn node(&self, node: &WorkerId) -> Option<(u64, &NodeConfig)> {
        self.nodes.get(node)
    }

    /// The newest edit of a key, if it was refused.
    pub fn refused(&self, key: &ConfigKey) -> Option<&RefusedEdit> {
        match key {
            ConfigKey::Farm => self.farm.entries.get(&())?.refused.as_ref(),
            ConfigKey::Pool(pool) => self.pools.entries.get(pool)?.refused.as_ref(),
            ConfigKey::Node(node) => self.nodes.entries.get(node)?.refused.as_ref(),
        }
    }

    /// Every pool in the order of the ids.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolId, u64, &PoolConfig)> {
        self.pools.after(None)
    }

    /// The pools behind `id` in the order of the ids.
    pub fn pools_after(&self, id: Option<&PoolId>) -> impl Iterator<Item = (&PoolId, u64, &PoolConfig)> {
        self.pools.after(id)
    }

    /// The nodes with a configuration of their own behind `id` in the order of the ids.
    pub fn nodes_after(&self, id: Option<&WorkerId>) -> impl Iterator<Item = (&WorkerId, u64, &NodeConfig)> {
        self.nodes.after(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_pool() -> PoolId {
        PoolId::new("main").unwrap()
    }

    fn key() -> ConfigKey {
        ConfigKey::Pool(main_pool())
    }

    #[test]
    fn a_bad_edit_is_refused_with_its_reason_and_the_last_good_one_stays_in_force() {
        let mut registry = Registry::default();
        assert_eq!(registry.apply("pool.main", 3, Some(br#"{"threads":2}"#)).0, Applied::Pool(main_pool()));
        for (revision, json) in
            [(4, "{\"thread\":1}"), (5, "not json"), (6, r#"{"slot_bits":0}"#), (7, "[]"), (8, "")]
        {
            let (applied, event) = registry.apply("pool.main", revision, Some(json.as_bytes()));
            assert_eq!(applied, Applied::Nothing);
            assert!(matches!(event, Some(EventData::ConfigRefused { in_force: 3, .. })), "{json}");
            assert_eq!(registry.refused(&key()).map(|r| r.revision), Some(revision));
        }
        assert_eq!(registry.pool(&main_pool()).map(|(r, c)| (r, c.threads)), Some((3, Some(2))));
        assert_eq!((registry.ours(&key()).seen, registry.ours(&key()).applied), (8, 3));
        registry.apply("pool.main", 9, Some(b"{}"));
        assert_eq!(registry.refused(&key()), None);
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
        registry.apply("pool.main", 1, Some(b"{}"));
        assert_eq!(registry.apply("pool.main", 2, None).0, Applied::PoolRemoved(main_pool()));
        assert_eq!(registry.apply("pool.main", 2, None), (Applied::Nothing, None));
        assert_eq!(registry.unpublished(), [key()]);
    }

    #[test]
    fn the_revisions_of_a_bucket_that_was_made_anew_begin_again_and_what_was_in_force_stays() {
        let mut registry = Registry::default();
        registry.apply("pool.main", 50, Some(br#"{"threads":2}"#));
        registry.apply("farm", 51, Some(b"{}"));
        registry.forget_wishes();
        assert_eq!(registry.unwished(), 2);
        assert_eq!(registry.pool(&main_pool()).map(|(r, c)| (r, c.threads)), Some((50, Some(2))));
        assert_eq!(registry.apply("farm", 1, Some(br#"{"halted":true}"#)).0, Applied::Farm);
        assert_eq!(registry.farm().map(|(r, f)| (r, f.halted)), Some((1, true)));
        assert_eq!(registry.unwished(), 1);
    }

    #[test]
    fn what_another_coordinator_accepted_is_followed_although_it_has_keys_of_a_newer_version() {
        let mut registry = Registry::default();
        registry.apply("pool.main", 7, Some(br#"{"threads":2}"#));
        registry.apply("pool.main", 8, Some(br#"{"threads":1,"warp":9}"#));
        let newer = br#"{"revision":8,"config":{"threads":1,"warp":9}}"#;
        assert!(!registry.published(&key(), Some(newer)));
        assert_eq!(registry.adopt(&key(), newer), Ok(Applied::Pool(main_pool())));
        assert_eq!(registry.pool(&main_pool()).map(|(r, c)| (r, c.threads)), Some((8, Some(1))));
        assert_eq!(registry.refused(&key()), None);
        assert!(registry.adopt(&key(), br#"{"revision":9,"config":{"threads":"warp"}}"#).is_err());
    }

    #[test]
    fn what_is_published_is_noticed_and_what_is_not_is_named() {
        let mut registry = Registry::default();
        registry.apply("pool.main", 7, Some(b"{}"));
        assert_eq!(registry.unpublished(), [key()]);
        let bytes = registry.ours(&key()).in_force.unwrap().0;
        assert!(registry.published(&key(), Some(&bytes)));
        assert!(registry.unpublished().is_empty());
        registry.forget_published();
        assert_eq!(registry.unpublished(), [key()]);
        assert!(!registry.published(&key(), Some(b"rubbish")));
        assert!(!registry.published(&key(), None));
    }
}
