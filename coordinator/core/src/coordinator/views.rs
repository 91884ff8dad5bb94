//! What the coordinator shows of itself: to people, to metrics and to whoever looks ahead.

use super::{Coordinator, PoolCapacity, Slot, Unattended};
use crate::pool::Pool;
use crate::{
    foresight::MemberFacts,
    orders,
    time::{MonoMs, Now},
    world::World,
};
use bus_schemas::{
    PoolId, WorkerId,
    command::{
        FarmStatus, FarmView, Known, MemberView, Membership, NodeView, OwnerView, PoolStatus, PoolView,
        Source, Stuck, ViewRequest,
    },
    config::{ConfigKey, PoolConfig},
    job::Job,
    throttle::{LiveThrottle, ThrottleTarget, Throttles},
};
use std::{collections::BTreeSet, sync::Arc};

impl Coordinator {
    /// How the pools run that this coordinator owns.
    pub fn statuses(&self, now: Now) -> impl Iterator<Item = (&PoolId, PoolStatus)> {
        self.slots.iter().filter_map(move |(id, s)| Some((id, s.pool.as_ref()?.status(&self.id, now.wall))))
    }

    /// What keeps a pool from going on, as this coordinator sees it.
    pub fn stuck(&self, pool: &PoolId) -> Option<&Stuck> {
        let slot = self.slots.get(pool)?;
        slot.pool.as_ref().and_then(|p| p.stuck()).or_else(|| slot.attention.stuck())
    }

    /// The wanted pools that nobody was seen to own for too long.
    pub fn unattended(&self, now: MonoMs) -> Vec<Unattended> {
        let of = |(pool, slot): (&PoolId, &Slot)| {
            let (for_ms, reason) = slot.attention.unattended(now)?;
            Some(Unattended { pool: pool.clone(), for_ms, reason: reason.map(str::to_owned) })
        };
        self.slots.iter().filter(|(_, s)| s.pool.is_none()).filter_map(of).collect()
    }

    /// The current job of an owned pool.
    pub fn job(&self, pool: &PoolId) -> Option<&Arc<Job>> {
        self.slots.get(pool)?.pool.as_ref()?.job()
    }

    /// The places of one worker in the owned pools, for people.
    pub fn places<'a>(&'a self, worker: &'a WorkerId, now: MonoMs) -> impl Iterator<Item = Membership> + 'a {
        self.owned().filter_map(move |p| p.membership(worker, now))
    }

    fn owned(&self) -> impl Iterator<Item = &Pool> {
        self.slots.values().filter_map(|s| s.pool.as_deref())
    }

    /// What is known of one owned pool, with the members that `wanted` names and, where there are more, one beyond its limit;
    /// `None` when it is not owned here.
    pub fn view(&self, pool: &PoolId, wanted: &ViewRequest, now: Now) -> Option<OwnerView> {
        let owned = self.slots.get(pool)?.pool.as_ref()?;
        let member = |node: &WorkerId, membership| MemberView { node: node.clone(), membership };
        let members = match &wanted.node {
            _ if wanted.status_only => Vec::new(),
            Some(node) => owned.membership(node, now.mono).map(|m| member(node, m)).into_iter().collect(),
            None => {
                let members = owned.memberships(wanted.after.as_ref(), now.mono);
                members.take(wanted.most() + 1).map(|(node, m)| member(node, m)).collect()
            }
        };
        Some(OwnerView {
            status: owned.status(&self.id, now.wall),
            stuck: self.stuck(pool).cloned(),
            members,
            next: None,
        })
    }

    /// The throttle orders that live behind that of a source for a target, on the wall clock.
    pub fn throttles_after<'a>(
        &'a self,
        after: Option<&'a (ThrottleTarget, String)>,
        now: Now,
    ) -> impl Iterator<Item = LiveThrottle> + 'a {
        self.orders.live_after(after, now)
    }

    /// The throttle orders as this coordinator knows them, on the wall clock.
    pub fn throttles(&self, now: Now) -> Throttles {
        self.orders.on_the_wall(now)
    }

    /// How many throttle orders bind somebody.
    pub fn live_throttles(&self, now: Now) -> usize {
        self.orders.throttles().live(orders::clock(now.mono)).count()
    }

    /// What is known of every member of an owned pool: a walk over all.
    pub fn facts<'a>(&'a self, pool: &PoolId) -> impl Iterator<Item = MemberFacts> + 'a {
        self.slots.get(pool).and_then(|s| s.pool.as_ref()).into_iter().flat_map(|p| p.facts())
    }

    /// What is known of one member of an owned pool.
    pub fn facts_of(&self, pool: &PoolId, worker: &WorkerId) -> Option<MemberFacts> {
        self.slots.get(pool)?.pool.as_ref()?.facts_of(worker)
    }

    /// What the active members of an owned pool have and what is wanted; nothing where everybody is to mine, or
    /// nobody.
    pub fn capacity(&self, pool: &PoolId) -> Option<PoolCapacity> {
        let world = World { registry: &self.registry, throttles: self.orders.throttles() };
        let capacity = self.slots.get(pool)?.pool.as_ref()?.capacity(world)?;
        Some(PoolCapacity { percent: capacity.percent, wanted: capacity.wanted })
    }

    /// The farm as this coordinator sees it, without its pools.
    pub fn farm_status(&self, version: &str) -> FarmStatus {
        FarmStatus {
            coordinator: self.id.clone(),
            version: version.to_owned(),
            farm: self.farm_view(),
            pools: Vec::new(),
            next: None,
        }
    }

    /// The pools behind `after` in the order of their ids; of what others own nothing but the configuration is known here.
    pub fn pool_views<'a>(
        &'a self,
        after: Option<&'a PoolId>,
        now: Now,
    ) -> impl Iterator<Item = PoolView> + 'a {
        let pools = self.registry.pools_after(after);
        pools.map(move |(pool, revision, config)| self.view_of(pool, revision, config, now))
    }

    /// One pool.
    pub fn pool_view(&self, pool: &PoolId, now: Now) -> Option<PoolView> {
        let (revision, config) = self.registry.pool(pool)?;
        Some(self.view_of(pool, revision, config, now))
    }

    fn view_of(&self, pool: &PoolId, revision: u64, config: &PoolConfig, now: Now) -> PoolView {
        let owned = self.slots.get(pool).and_then(|s| s.pool.as_ref());
        let status = owned.map(|p| p.status(&self.id, now.wall));
        let known = match status {
            Some(_) => Known { source: Source::Owner, age_ms: Some(0), ..Known::default() },
            None => Known::default(),
        };
        PoolView {
            pool: pool.clone(),
            revision,
            config: config.clone(),
            refused: self.registry.refused(&ConfigKey::Pool(pool.clone())).cloned(),
            status,
            known,
            stuck: self.stuck(pool).cloned(),
        }
    }

    /// Whether this coordinator owns the pool and has read its state.
    pub fn runs(&self, pool: &PoolId) -> bool {
        self.slots.get(pool).is_some_and(|s| s.pool.is_some())
    }

    /// A node as it is configured, by default where it is not.
    pub fn node_view(&self, node: &WorkerId) -> NodeView {
        let of = self.registry.node(node);
        NodeView {
            node: node.clone(),
            revision: of.map_or(0, |(revision, _)| revision),
            config: of.map(|(_, config)| config.clone()).unwrap_or_default(),
            refused: self.registry.refused(&ConfigKey::Node(node.clone())).cloned(),
            membership: None,
        }
    }

    /// The first `most` nodes behind `after` in the order of the ids, of those that have a configuration of their own or are
    /// members of owned pools, and whether there are more. Costs so many steps for each owned pool.
    pub fn nodes_after(&self, after: Option<&WorkerId>, most: usize) -> (Vec<WorkerId>, bool) {
        let configured = self.registry.nodes_after(after).map(|(node, ..)| node);
        let mut nodes: BTreeSet<&WorkerId> = configured.take(most + 1).collect();
        for pool in self.owned() {
            nodes.extend(pool.member_ids(after).take(most + 1));
        }
        (nodes.iter().take(most).map(|node| (*node).clone()).collect(), nodes.len() > most)
    }

    fn farm_view(&self) -> FarmView {
        let (revision, config) = self.registry.farm().map(|(r, c)| (r, c.clone())).unwrap_or_default();
        FarmView { revision, config, refused: self.registry.refused(&ConfigKey::Farm).cloned() }
    }
}
