//! What a command needs of the core, taken in the loop: only the part that the request asks for, so that nobody waits while
//! more is copied.

use bus_schemas::{
    PoolId, WorkerId,
    command::{CommandError, ErrorCode, FarmStatus, ListRequest, MAX_PAGE, Membership, NodeView, Page},
    config::{NodeConfig, PoolConfig},
    member::Standing,
    policy::FarmConfig,
    throttle::{LiveThrottle, ThrottleTarget, Throttles},
};
use coordinator_core::{Coordinator, Now, foresight::MemberFacts};
use nats_adapter::Call;
use std::collections::{BTreeMap, BTreeSet};

/// The part of the farm that a call asks for, as this coordinator sees it at that moment.
pub(crate) struct Snapshot {
    /// With the pools that are asked for.
    pub(super) farm: FarmStatus,
    /// Pools of which another coordinator may know more, where members are asked for.
    pub(super) elsewhere: Vec<PoolId>,
    /// Every pool, where members are asked for.
    pub(super) configured: BTreeSet<PoolId>,
    pub(super) nodes: BTreeMap<WorkerId, NodeView>,
    /// More nodes than these are behind this one.
    pub(super) nodes_to: Option<WorkerId>,
    pub(super) halt: Option<FarmConfig>,
    /// Configurations of the pools in which the node that is asked for may be.
    pub(super) configs: BTreeMap<PoolId, PoolConfig>,
    pub(super) throttles: Throttles,
    pub(super) listed: Vec<LiveThrottle>,
    /// What is known of those members who are asked for, with their own configuration.
    pub(super) facts: Vec<(MemberFacts, Option<NodeConfig>)>,
}

/// Reads what a list is asked for with; nothing asks for the first page.
pub(super) fn listing(call: &Call) -> Result<ListRequest, CommandError> {
    let request: ListRequest = call.decode()?;
    if request.limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        return Err(malformed(format!("limit must be 1 to {MAX_PAGE}")));
    }
    Ok(request)
}

/// Where a list goes on, in the terms of what it lists.
pub(super) fn after<T: std::str::FromStr>(request: &ListRequest) -> Result<Option<T>, CommandError> {
    let parse = |text: &String| text.parse().map_err(|_| not_next(text));
    request.after.as_ref().map(parse).transpose()
}

fn not_next(text: &str) -> CommandError {
    malformed(format!("after is {text:?}, which is no next of an answer"))
}

fn malformed(text: String) -> CommandError {
    CommandError::new(ErrorCode::MalformedRequest, text)
}

/// The `next` that goes on behind a throttle order. No target holds a space.
pub(super) fn next_order(live: &LiveThrottle) -> String {
    format!("{} {}", live.target, live.order.source)
}

pub(super) fn after_order(request: &ListRequest) -> Result<Option<(ThrottleTarget, String)>, CommandError> {
    let parse = |text: &String| {
        let (target, source) = text.split_once(' ').ok_or_else(|| not_next(text))?;
        Ok((target.parse().map_err(|_| not_next(text))?, source.to_owned()))
    };
    request.after.as_ref().map(parse).transpose()
}

impl Snapshot {
    /// Costs what the request asks for: at most a page, or what decides for the members of the pool whose future is asked for. Of
    /// a request that cannot be read nothing is taken; whoever answers it says so.
    pub(crate) fn take(core: &Coordinator, call: &Call, now: Now) -> Self {
        let mut this = Self {
            farm: core.farm_status(env!("CARGO_PKG_VERSION")),
            elsewhere: Vec::new(),
            configured: BTreeSet::new(),
            nodes: BTreeMap::new(),
            nodes_to: None,
            halt: None,
            configs: BTreeMap::new(),
            throttles: Throttles::default(),
            listed: Vec::new(),
            facts: Vec::new(),
        };
        // What is missing shows in the answer.
        let _ = this.fill(core, call, now);
        this
    }

    fn fill(&mut self, core: &Coordinator, call: &Call, now: Now) -> Result<(), CommandError> {
        let name = call.name();
        match (name.entity, name.verb) {
            ("farm", "status") | ("pool", "list") => {
                let request = listing(call)?;
                let after = after(&request)?;
                let page = Page::of(core.pool_views(after.as_ref(), now), request.most());
                self.farm.next = last_if(page.goes_on, &page.entries, |view| view.pool.to_string());
                self.farm.pools = page.entries;
            }
            ("pool", "get" | "delete") | ("job", "show") => {
                let pool: PoolId = call.target()?;
                self.farm.pools.extend(core.pool_view(&pool, now));
            }
            ("pool", "preview") => {
                let pool: PoolId = call.target()?;
                self.configs.extend(core.registry().pool(&pool).map(|(_, c)| (pool.clone(), c.clone())));
                self.halt = core.registry().farm().map(|(_, farm)| farm.clone());
                let own = |facts: MemberFacts| {
                    let config = core.registry().node(&facts.worker).map(|(_, config)| config.clone());
                    (facts, config)
                };
                self.facts = core.facts(&pool).map(own).collect();
                if !core.runs(&pool) {
                    // Who its members are, only its owner can tell.
                    let nodes = core.registry().nodes_after(None).map(|(node, ..)| node);
                    self.nodes = nodes.map(|node| (node.clone(), core.node_view(node))).collect();
                    self.elsewhere.push(pool);
                }
            }
            ("node", "get" | "drain" | "undrain") => self.node(core, &call.target()?, now),
            ("node", "explain") => {
                let node: WorkerId = call.target()?;
                self.node(core, &node, now);
                self.explained(core, &node, now);
            }
            ("node", "list") => {
                let request = listing(call)?;
                self.elsewhere(core);
                let (nodes, goes_on) = core.nodes_after(after(&request)?.as_ref(), request.most());
                self.nodes_to = nodes.last().filter(|_| goes_on).cloned();
                nodes.iter().for_each(|node| self.put(core, node, now));
            }
            ("throttle", "list") => {
                let request = listing(call)?;
                let after = after_order(&request)?;
                self.listed = core.throttles_after(after.as_ref(), now).take(request.most() + 1).collect();
            }
            _ => {}
        }
        Ok(())
    }

    fn elsewhere(&mut self, core: &Coordinator) {
        self.configured = core.registry().pools().map(|(pool, ..)| pool.clone()).collect();
        self.elsewhere = self.configured.iter().filter(|pool| !core.runs(pool)).cloned().collect();
    }

    /// A node that is configured, or a member of a pool that is owned here.
    fn node(&mut self, core: &Coordinator, node: &WorkerId, now: Now) {
        self.elsewhere(core);
        let is_known = core.registry().node(node).is_some() || core.places(node, now.mono).next().is_some();
        if is_known {
            self.put(core, node, now);
        }
    }

    fn put(&mut self, core: &Coordinator, node: &WorkerId, now: Now) {
        self.nodes.insert(node.clone(), core.node_view(node));
        for membership in core.places(node, now.mono) {
            place(&mut self.nodes, node, membership);
        }
    }

    fn explained(&mut self, core: &Coordinator, node: &WorkerId, now: Now) {
        self.halt = core.registry().farm().map(|(_, farm)| farm.clone());
        self.throttles = core.throttles(now);
        let here = core.places(node, now.mono).map(|membership| membership.pool);
        let pools: Vec<_> = here.chain(self.elsewhere.iter().cloned()).collect();
        for pool in pools {
            let config = core.registry().node(node).map(|(_, config)| config.clone());
            self.facts.extend(core.facts_of(&pool, node).map(|facts| (facts, config)));
            self.configs.extend(core.registry().pool(&pool).map(|(_, c)| (pool, c.clone())));
        }
    }
}

/// Where a page goes on, if it does: behind its last entry.
pub(super) fn last_if<T>(goes_on: bool, entries: &[T], name: impl Fn(&T) -> String) -> Option<String> {
    entries.last().filter(|_| goes_on).map(name)
}

/// A worker may have left one pool for another; the place where it was heard of last is shown.
pub(super) fn place(nodes: &mut BTreeMap<WorkerId, NodeView>, id: &WorkerId, membership: Membership) {
    let view = nodes.entry(id.clone()).or_insert_with(|| NodeView {
        node: id.clone(),
        revision: 0,
        config: NodeConfig::default(),
        refused: None,
        membership: None,
    });
    let rank = |m: &Membership| (m.standing == Standing::Present, m.last_heard_ms);
    if view.membership.as_ref().is_none_or(|m| rank(m) < rank(&membership)) {
        view.membership = Some(membership);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{TimestampMs, throttle::Throttle};

    #[test]
    fn a_list_of_orders_goes_on_behind_the_last_one_whatever_its_source_is_called() {
        for source in ["", "load monitor of rack 7", "x"] {
            for target in ["farm", "pool.main", "worker.w1", "label.rack.b2"] {
                let (reason, source) = (String::new(), source.to_owned());
                let order = Throttle { cap_percent: 5, threads: None, ttl_seconds: 9, reason, source };
                let (given_at_ms, until_ms) = (TimestampMs(0), TimestampMs(9_000));
                let target: ThrottleTarget = target.parse().unwrap();
                let live = LiveThrottle { target, order, given_at_ms, until_ms };
                let request = ListRequest { limit: None, after: Some(next_order(&live)) };
                assert_eq!(after_order(&request), Ok(Some((live.target, live.order.source))));
            }
        }
        let request = ListRequest { limit: None, after: Some("nobody".to_owned()) };
        assert_eq!(after_order(&request).map_err(|e| e.code), Err(ErrorCode::MalformedRequest));
        assert_eq!(after::<WorkerId>(&request), Ok(WorkerId::new("nobody").ok()));
        let request = ListRequest { limit: None, after: Some("a b".to_owned()) };
        assert_eq!(after::<WorkerId>(&request).map_err(|e| e.code), Err(ErrorCode::MalformedRequest));
    }
}
