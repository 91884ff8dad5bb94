//! The pool's and the node's configuration as last heard: only a higher revision replaces one, and an invalid one
//! replaces nothing.

use crate::{
    input::Stored,
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
struct InForce<C> {
    key: ConfigKey,
    value: Option<C>,
    /// Revision of `value`, or of its deletion; 0 when nothing was heard yet.
    revision: u64,
    /// The newest revision that was refused, so that it is reported once.
    refused: u64,
    /// A push came since the last read began, so that an absence in its answer may be older.
    pushed: bool,
}

impl<C: Checked> InForce<C> {
    fn new(key: ConfigKey) -> Self {
        Self { key, value: None, revision: 0, refused: 0, pushed: false }
    }

    /// Whether this is news of the present, and what there is to say about it.
    fn apply(&mut self, stored: Stored<C>) -> (bool, Option<Notice>) {
        let Stored { revision, value } = stored;
        if revision <= self.revision {
            let current = revision == self.revision;
            let (key, in_force) = (self.key.clone(), self.revision);
            let outdated = || Notice::OrderRefused(Refusal::ConfigOutdated { key, revision, in_force });
            return (current, (!current).then(outdated));
        }
        let checked = value.and_then(|v| match v.as_ref().map_or(Ok(()), C::check) {
            Ok(()) => Ok(v),
            Err(e) => Err(e.to_string()),
        });
        match checked {
            Ok(value) => {
                let gone = value.is_none();
                (self.value, self.revision) = (value, revision);
                let key = self.key.clone();
                let notice =
                    if gone { Notice::ConfigGone { key } } else { Notice::ConfigApplied { key, revision } };
                (true, Some(notice))
            }
            Err(reason) => {
                let known = revision <= self.refused;
                self.refused = self.refused.max(revision);
                let (key, in_force) = (self.key.clone(), self.revision);
                let refusal = || Refusal::Config { key, revision, reason, in_force };
                (true, (!known).then(|| Notice::OrderRefused(refusal())))
            }
        }
    }

    /// The bucket holds nothing under the key.
    fn absent(&mut self) -> Option<Notice> {
        if self.pushed || self.value.is_none() {
            return None;
        }
        self.value = None;
        Some(Notice::ConfigGone { key: self.key.clone() })
    }

    fn read(&mut self, stored: Option<Stored<C>>) -> (bool, Option<Notice>) {
        match stored {
            Some(stored) => self.apply(stored),
            None => (true, self.absent()),
        }
    }
}

/// Both configurations and the lease that hearing of them renews.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    farm: InForce<FarmConfig>,
    pool: InForce<PoolConfig>,
    node: InForce<NodeConfig>,
    /// When the bus last told the configuration of the present. An invalid edit counts: the bus speaks, and the
    /// last good revision stays in force.
    heard: MonotonicMs,
}

impl Configuration {
    pub(crate) fn new(pool: PoolId, worker: WorkerId) -> Self {
        Self {
            farm: InForce::new(ConfigKey::Farm),
            pool: InForce::new(ConfigKey::Pool(pool)),
            node: InForce::new(ConfigKey::Node(worker)),
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

    /// Revisions in force of the pool's and the node's configuration.
    pub(crate) fn revisions(&self) -> (u64, u64) {
        (self.pool.revision, self.node.revision)
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
        now: MonotonicMs,
    ) -> [Option<Notice>; 3] {
        let (current, notice) = self.pool.read(pool);
        if current {
            self.heard = now;
        }
        [self.farm.read(farm).1, notice, self.node.read(node).1]
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
