//! The configurations that operators wished for: which are good, and which is the newest good one of each key.

use bus_schemas::{
    WorkerId,
    config::{ConfigKey, NodeConfig, PoolConfig, parse_strict},
    policy::FarmConfig,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be in force of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This edit.
    Edit(u64, Vec<u8>),
    /// Nothing.
    Gone,
    /// A destroyed bucket leaves it open.
    Open,
}

#[derive(Debug, Clone)]
struct Wish {
    revision: u64,
    good: bool,
    value: Option<Vec<u8>>,
    at_us: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Configs {
    wishes: BTreeMap<ConfigKey, Vec<Wish>>,
    /// Every good edit over all lives of the bucket.
    good: BTreeMap<ConfigKey, BTreeSet<u64>>,
    /// Since when the bucket is not the first one, if it is not.
    replaced: bool,
    /// Since when the farm is halted by what is in force.
    pub(crate) halted_since_us: Option<u64>,
    /// When a store was last replaced.
    pub(crate) disturbed_us: u64,
}

fn is_good(key: &ConfigKey, json: &[u8]) -> bool {
    match key {
        ConfigKey::Farm => parse_strict::<FarmConfig>(json).is_ok(),
        ConfigKey::Pool(_) => parse_strict::<PoolConfig>(json).is_ok(),
        ConfigKey::Node(_) => parse_strict::<NodeConfig>(json).is_ok(),
    }
}

impl Configs {
    /// An edit was stored, or a deletion.
    pub(crate) fn wished(&mut self, key: &str, revision: u64, value: Option<&[u8]>, at_us: u64) {
        let Ok(key) = key.parse::<ConfigKey>() else { return };
        let good = value.is_none_or(|json| is_good(&key, json));
        if good {
            self.good.entry(key.clone()).or_default().insert(revision);
        }
        let wish = Wish { revision, good, value: value.map(<[u8]>::to_vec), at_us };
        self.wishes.entry(key).or_default().push(wish);
    }

    /// The bucket was replaced; it holds these now.
    pub(crate) fn replaced<'a>(&mut self, held: impl Iterator<Item = (&'a str, u64, Option<&'a [u8]>)>) {
        self.wishes.clear();
        self.replaced = true;
        for (key, revision, value) in held {
            self.wished(key, revision, value, 0);
        }
    }

    /// What is to be in force, of edits that are older than `settled_us`.
    pub(crate) fn wanted(&self, key: &ConfigKey, settled_us: u64) -> Wanted {
        let wishes = self.wishes.get(key).map_or(&[][..], Vec::as_slice);
        if wishes.last().is_some_and(|w| w.at_us > settled_us) {
            return Wanted::Open;
        }
        let newest = wishes.iter().rev().find(|w| w.good);
        if self.replaced
            && newest.is_none_or(|good| wishes.last().is_some_and(|w| w.revision != good.revision))
        {
            return Wanted::Open;
        }
        match newest {
            Some(Wish { revision, value: Some(json), .. }) => Wanted::Edit(*revision, json.clone()),
            _ => Wanted::Gone,
        }
    }

    /// Whether an edit of this revision was ever good.
    pub(crate) fn was_good(&self, key: &ConfigKey, revision: u64) -> bool {
        revision == 0 || self.good.get(key).is_some_and(|good| good.contains(&revision))
    }

    /// The labels of a worker, if they are known and settled.
    pub(crate) fn labels(&self, worker: &WorkerId, settled_us: u64) -> Option<BTreeMap<String, String>> {
        match self.wanted(&ConfigKey::Node(worker.clone()), settled_us) {
            Wanted::Edit(_, json) => Some(parse_strict::<NodeConfig>(&json).ok()?.labels),
            Wanted::Gone => Some(BTreeMap::new()),
            Wanted::Open => None,
        }
    }
}
