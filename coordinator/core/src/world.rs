//! What holds for the whole farm, as its pools need it to decide.

use crate::{orders, registry::Registry, time::MonoMs};
use bus_schemas::{
    PoolId, WorkerId,
    config::NodeConfig,
    member::Role,
    policy::FarmConfig,
    throttle::{LiveThrottle, Throttles},
};
use std::collections::BTreeMap;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The configurations in force and the throttle orders that live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) throttles: &'a Throttles,
}

impl<'a> World<'a> {
    pub(crate) fn farm(self) -> Option<&'a FarmConfig> {
        self.registry.farm().map(|(_, farm)| farm)
    }

    pub(crate) fn halted(self) -> bool {
        self.farm().is_some_and(|f| f.halted)
    }

    pub(crate) fn node(self, worker: &WorkerId) -> Option<&'a NodeConfig> {
        self.registry.node(worker).map(|(_, node)| node)
    }

    /// The role that an operator decided, and why. A drained worker stands by whatever else is said.
    pub(crate) fn fixed(self, worker: &WorkerId) -> Option<(Role, &'static str)> {
        let node = self.node(worker)?;
        if node.drained {
            return Some((Role::Backup, "drained"));
        }
        node.role.map(|role| (role, "pinned by the node's configuration"))
    }

    /// The live throttle order that binds a worker most.
    pub(crate) fn lowest(self, pool: &PoolId, worker: &WorkerId, at: MonoMs) -> Option<&'a LiveThrottle> {
        let labels = self.node(worker).map_or(&NO_LABELS, |n| &n.labels);
        self.throttles.lowest(pool, worker, labels, orders::clock(at))
    }
}
