//! What is in force for the farm, the pool and the node, as last heard: only a higher revision of the bucket replaces
//! one, and what is not valid replaces nothing. What the bucket's leader says at this moment holds whatever was heard
//! before: a bucket that was made anew, or restored, counts from a lower number again.

use crate::{
    input::{Authority, Stored},
    moment::MonotonicMs,
    notice::{Notice, Refusal},
};
use bus_schemas::{
    config::{Checked, ConfigKey, NodeConfig, PoolConfig},
    id::{PoolId, WorkerId},
    policy::FarmConfig,
};

/// One configuration.
#[derive(Debug, Clone)]
struct Followed<C> {
    key: ConfigKey,
    value: Option<C>,
    /// The edit that `value` comes from.
    edit: u64,
    /// Revision of the bucket at which `value`, or its deletion, was published; 0 when nothing was heard yet.
    revision: u64,
    /// The newest revision that was refused, so that it is reported once.
    refused: u64,
    /// A push came since the last read began, so that the read's answer may be older.
    pushed: bool,
    /// Rises with every change.
    changes: u64,
    /// Something was heard that may mean that the bucket was made anew.
    doubted: bool,
}

impl<C: Checked> Followed<C> {
    fn new(key: ConfigKey) -> Self {
        Self { key, value: None, edit: 0, revision: 0, refused: 0, pushed: false, changes: 0, doubted: false }
    }

    fn set(&mut self, value: Option<C>, edit: u64, revision: u64) {
        (self.value, self.edit, self.revision) = (value, edit, revision);
        self.changes += 1;
    }

    /// Whether this is news of the present, and what there is to say about it.
    fn apply(&mut self, stored: Stored<C>) -> (bool, Option<Notice>) {
        let Stored { revision, value } = stored;
        if revision <= self.revision {
            let current = revision == self.revision;
            self.doubted |= !current;
            let (key, in_force) = (self.key.clone(), self.revision);
            let outdated = || Notice::OrderRefused(Refusal::ConfigOutdated { key, revision, in_force });
            return (current, (!current).then(outdated));
        }
        let checked = value.and_then(|v| match v.as_ref().map_or(Ok(()), |v| v.config.check()) {
            Ok(()) => Ok(v),
            Err(e) => Err(e.to_string()),
        });
        match checked {
            Ok(value) => {
                let key = self.key.clone();
                let notice = match &value {
                    None => Notice::ConfigGone { key },
                    Some(in_force) => Notice::ConfigApplied { key, revision: in_force.revision },
                };
                let edit = value.as_ref().map_or(0, |in_force| in_force.revision);
                self.set(value.map(|in_force| in_force.config), edit, revision);
                (true, Some(notice))
            }
            Err(reason) => {
                let known = revision <= self.refused;
                self.refused = self.refused.max(revision);
                let (key, in_force) = (self.key.clone(), self.edit);
                let refusal = || Refusal::Config { key, revision, reason, in_force };
                (true, (!known).then(|| Notice::OrderRefused(refusal())))
            }
        }
    }

    /// The bucket holds nothing under the key. A replica may not have heard yet of what is there, so it is believed only where
    /// that is gentle: without the pool's configuration nothing is searched, without the others more than they allow.
    fn absent(&mut self, authority: Authority) -> Option<Notice> {
        if self.pushed {
            return None;
        }
        if authority == Authority::Leader {
            (self.revision, self.refused) = (0, 0);
        }
        self.value.as_ref()?;
        self.doubted |= authority == Authority::Replica;
        if authority == Authority::Replica && !matches!(self.key, ConfigKey::Pool(_)) {
            return None;
        }
        self.set(None, 0, self.revision);
        Some(Notice::ConfigGone { key: self.key.clone() })
    }

    fn read(&mut self, stored: Option<Stored<C>>, authority: Authority) -> (bool, [Option<Notice>; 2]) {
        if authority == Authority::Leader {
            self.doubted = false;
        }
        let Some(stored) = stored else { return (true, [self.absent(authority), None]) };
        let mut rewound = None;
        let (from, to) = (self.revision, stored.revision);
        // A replica that did not hold it yet took it away.
        let taken_away = to == from && self.value.is_none();
        if authority == Authority::Leader && (to < from || taken_away) && !self.pushed {
            rewound = (to < from).then(|| Notice::ConfigRewound { key: self.key.clone(), from, to });
            (self.revision, self.refused) = (0, 0);
        }
        let (current, notice) = self.apply(stored);
        (current, [rewound, notice])
    }
}

/// What is in force, and the lease that hearing of it renews.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    farm: Followed<FarmConfig>,
    pool: Followed<PoolConfig>,
    node: Followed<NodeConfig>,
    /// When the bus last told the configuration of the present. An invalid one counts: the bus speaks, and the
    /// last good one stays in force.
    heard: MonotonicMs,
}

impl Configuration {
    pub(crate) fn new(pool: PoolId, worker: WorkerId) -> Self {
        Self {
            farm: Followed::new(ConfigKey::Farm),
            pool: Followed::new(ConfigKey::Pool(pool)),
            node: Followed::new(ConfigKey::Node(worker)),
            heard: MonotonicMs::default(),
        }
    }

    pub(crate) fn farm(&self) -> Option<&FarmConfig> {
        self.farm.value.as_ref()
    }

    pub(crate) fn pool(&self) -> Option<&PoolConfig> {
        self.pool.value.as_ref()
    }

    pub(crate) fn node(&self) -> Option<&NodeConfig> {
        self.node.value.as_ref()
    }

    /// The edits that the pool's and the node's configuration come from.
    pub(crate) fn edits(&self) -> (u64, u64) {
        (self.pool.edit, self.node.edit)
    }

    /// Rise with every change of the pool's and the node's configuration.
    pub(crate) fn changes(&self) -> (u64, u64) {
        (self.pool.changes, self.node.changes)
    }

    /// Whether something was heard that only the bucket's leader can decide.
    pub(crate) fn doubted(&self) -> bool {
        self.farm.doubted || self.pool.doubted || self.node.doubted
    }

    /// A read begins.
    pub(crate) fn on_read_begin(&mut self) {
        (self.farm.pushed, self.pool.pushed, self.node.pushed) = (false, false, false);
    }

    /// What a read gave.
    pub(crate) fn on_read(
        &mut self,
        farm: Option<Stored<FarmConfig>>,
        pool: Option<Stored<PoolConfig>>,
        node: Option<Stored<NodeConfig>>,
        authority: Authority,
        now: MonotonicMs,
    ) -> impl Iterator<Item = Option<Notice>> + use<> {
        let (current, of_pool) = self.pool.read(pool, authority);
        if current {
            self.heard = now;
        }
        [self.farm.read(farm, authority).1, of_pool, self.node.read(node, authority).1].into_iter().flatten()
    }

    /// A push of the pool's configuration.
    pub(crate) fn on_pool(&mut self, stored: Stored<PoolConfig>, now: MonotonicMs) -> Option<Notice> {
        let (current, notice) = self.pool.apply(stored);
        if current {
            self.pool.pushed = true;
            self.heard = now;
        }
        notice
    }

    /// A push of the farm's configuration.
    pub(crate) fn on_farm(&mut self, stored: Stored<FarmConfig>) -> Option<Notice> {
        let (current, notice) = self.farm.apply(stored);
        self.farm.pushed |= current;
        notice
    }

    /// A push of the node's configuration.
    pub(crate) fn on_node(&mut self, stored: Stored<NodeConfig>) -> Option<Notice> {
        let (current, notice) = self.node.apply(stored);
        self.node.pushed |= current;
        notice
    }

    /// When the lease runs out, `None` without a configuration.
    pub(crate) fn lease_end(&self) -> Option<MonotonicMs> {
        self.pool().map(|pool| self.heard.plus_ms(pool.config_lease_ms.into()))
    }

    /// Whether the lease has run out.
    pub(crate) fn lease_expired(&self, now: MonotonicMs) -> bool {
        self.lease_end().is_some_and(|end| end <= now)
    }
}
