//! What the coordinator shows of itself: to people, to metrics and to whoever looks ahead.

use super::{Coordinator, PoolCapacity, Slot, Unattended};
use crate::{
    foresight::MemberFacts,
    orders,
    time::{MonoMs, Now},
    world::World,
};
use bus_schemas::{
    PoolId, WorkerId,
    command::{
        FarmStatus, FarmView, Known, MemberView, Membership, OwnerView, PoolStatus, PoolView, Source, Stuck,
        ViewRequest,
    },
    config::ConfigKey,
    job::Job,
    throttle::Throttles,
};
use std::{collections::BTreeMap, sync::Arc};

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

    /// Every member of an owned pool, for people.
    pub fn memberships(&self, now: MonoMs) -> impl Iterator<Item = (&WorkerId, Membership)> {
        self.slots.values().filter_map(|s| s.pool.as_ref()).flat_map(move |p| p.memberships(now))
    }

    /// What is known of one owned pool, with the members that `wanted` names; `None` when it is not owned here.
    pub fn view(&self, pool: &PoolId, wanted: &ViewRequest, now: Now) -> Option<OwnerView> {
        let owned = self.slots.get(pool)?.pool.as_ref()?;
        let asked = |id: &WorkerId| !wanted.status_only && wanted.node.as_ref().is_none_or(|node| node == id);
        let members = owned.memberships(now.mono).filter(|(id, _)| asked(id));
        Some(OwnerView {
            status: owned.status(&self.id, now.wall),
            stuck: self.stuck(pool).cloned(),
            members: members
                .map(|(node, membership)| MemberView { node: node.clone(), membership })
                .collect(),
            next: None,
        })
    }

    /// The throttle orders as this coordinator knows them, on the wall clock.
    pub fn throttles(&self, now: Now) -> Throttles {
        self.orders.on_the_wall(now)
    }

    /// How many throttle orders bind somebody.
    pub fn live_throttles(&self, now: Now) -> usize {
        self.orders.throttles().live(orders::clock(now.mono)).count()
    }

    /// What is known of every member of the owned pools.
    pub fn facts(&self) -> impl Iterator<Item = MemberFacts> {
        self.slots.values().filter_map(|s| s.pool.as_ref()).flat_map(|p| p.facts())
    }

    /// What the active members of an owned pool have and what is wanted; nothing where everybody is to mine, or
    /// nobody.
    pub fn capacity(&self, pool: &PoolId) -> Option<PoolCapacity> {
        let world = World { registry: &self.registry, throttles: self.orders.throttles() };
        let capacity = self.slots.get(pool)?.pool.as_ref()?.capacity(world)?;
        Some(PoolCapacity { percent: capacity.percent, wanted: capacity.wanted })
    }

    /// The farm as this coordinator sees it; of pools that others own it knows nothing.
    pub fn farm_status(&self, version: &str, now: Now) -> FarmStatus {
        let own: BTreeMap<_, _> = self.statuses(now).collect();
        let view = |(pool, revision, config): (&PoolId, u64, &bus_schemas::config::PoolConfig)| {
            let status = own.get(pool).cloned();
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
        };
        FarmStatus {
            coordinator: self.id.clone(),
            version: version.to_owned(),
            farm: self.farm_view(),
            pools: self.registry.pools().map(view).collect(),
            next: None,
        }
    }

    fn farm_view(&self) -> FarmView {
        let (revision, config) = self.registry.farm().map(|(r, c)| (r, c.clone())).unwrap_or_default();
        FarmView { revision, config, refused: self.registry.refused(&ConfigKey::Farm).cloned() }
    }
}
