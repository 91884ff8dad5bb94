//! Which node is asked for templates. Pure: time comes in as milliseconds on any clock that never goes back.
//!
//! A node is **whole** when it answers, is not behind another and did not refuse its own template. The first whole node in
//! order of preference is used; one that is in use is left at once when it is not whole, and one before it is gone
//! back to when that has been whole for [`RETURN_AFTER_MS`].

use bus_schemas::node_status::NodeStanding;

/// First pause after a failure, in milliseconds.
pub const FIRST_BACKOFF_MS: u64 = 500;
/// Longest pause of a failing node, in milliseconds.
pub const MAX_BACKOFF_MS: u64 = 10_000;
/// How long a node that refused its own template is left alone, in milliseconds; twice as long after each refusal that
/// follows another.
pub const REFUSAL_PAUSE_MS: u64 = 30_000;
/// Longest such pause, in milliseconds.
pub const MAX_REFUSAL_PAUSE_MS: u64 = 600_000;
/// How long another node must have been further until a node counts as lagging, in milliseconds.
pub const LAG_GRACE_MS: u64 = 5_000;
/// How long a preferred node must have been whole until templates come from it again, in milliseconds.
pub const RETURN_AFTER_MS: u64 = 10_000;

/// What failed at a node, and so what must work before it is whole again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// How far it is.
    Height,
    /// A template, or what it thinks of its own.
    Template,
}

/// A node that is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Further {
    pub(crate) node: usize,
    pub(crate) height: u64,
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeState {
    pub(crate) failures: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) height: Option<u64>,
    pub(crate) answered_at_ms: Option<u64>,
    pub(crate) behind: Option<Further>,
    behind_since_ms: Option<u64>,
    retry_at_ms: u64,
    /// Its last failure was of a template: only a template makes it whole again.
    template_failed: bool,
    refusals: u32,
    refused_until_ms: u64,
    /// Since when it is whole; at the start every node is taken for whole and never left for.
    whole_since_ms: Option<u64>,
}

impl NodeState {
    fn refuses(&self, now_ms: u64) -> bool {
        self.refused_until_ms > now_ms
    }

    fn is_whole(&self, now_ms: u64) -> bool {
        self.failures == 0 && self.behind.is_none() && !self.refuses(now_ms)
    }

    fn may_be_asked(&self, now_ms: u64) -> bool {
        (self.failures == 0 || self.retry_at_ms <= now_ms) && !self.refuses(now_ms)
    }

    fn may_be_asked_at(&self) -> u64 {
        let retry = if self.failures == 0 { 0 } else { self.retry_at_ms };
        retry.max(self.refused_until_ms)
    }
}

/// The nodes of one source in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failover {
    states: Vec<NodeState>,
    current: usize,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Ask this node.
    Ask(usize),
    /// None is worth asking before this moment.
    WaitUntil(u64),
}

impl Failover {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { states: vec![NodeState::default(); nodes], current: 0 }
    }

    pub(crate) fn pick(&self, now_ms: u64) -> Pick {
        let whole = |state: &&NodeState| state.is_whole(now_ms);
        if self.states.get(self.current).as_ref().is_some_and(whole) {
            let back = self.states.iter().take(self.current).position(|state| {
                let since = state.whole_since_ms.map(|at| at.max(state.refused_until_ms));
                whole(&state) && since.is_some_and(|at| now_ms >= at.saturating_add(RETURN_AFTER_MS))
            });
            return Pick::Ask(back.unwrap_or(self.current));
        }
        if let Some(index) = self.states.iter().position(|state| whole(&state)) {
            return Pick::Ask(index);
        }
        // Better an old tip than none: of those that answer, the one that is furthest; the first of equals.
        let answering = self.states.iter().enumerate().filter(|(_, s)| s.failures == 0 && !s.refuses(now_ms));
        if let Some((index, _)) = answering.rev().max_by_key(|(_, state)| state.height) {
            return Pick::Ask(index);
        }
        let current = self.states.get(self.current).is_some_and(|state| state.may_be_asked(now_ms));
        let ready = current.then_some(self.current);
        match ready.or_else(|| self.states.iter().position(|state| state.may_be_asked(now_ms))) {
            Some(index) => Pick::Ask(index),
            None => {
                Pick::WaitUntil(self.states.iter().map(NodeState::may_be_asked_at).min().unwrap_or(now_ms))
            }
        }
    }

    /// The node gave a template that builds on a block of this height, and that template is used.
    pub(crate) fn succeeded(&mut self, index: usize, height: u64, now_ms: u64) {
        if index < self.states.len() {
            self.current = index;
        }
        self.gave(index, height, now_ms);
    }

    /// The node gave a template that builds on a block of this height.
    pub(crate) fn gave(&mut self, index: usize, height: u64, now_ms: u64) {
        if let Some(state) = self.states.get_mut(index) {
            state.template_failed = false;
        }
        self.measured(index, height, now_ms);
    }

    /// The node said how far it is.
    pub(crate) fn measured(&mut self, index: usize, height: u64, now_ms: u64) {
        let further = self.further_than(index, height, now_ms);
        let Some(state) = self.states.get_mut(index) else { return };
        state.height = Some(height);
        state.answered_at_ms = Some(now_ms);
        if !state.template_failed {
            state.failures = 0;
            state.last_error = None;
        }
        match further {
            None => {
                state.behind = None;
                state.behind_since_ms = None;
            }
            Some(further) => {
                let since = *state.behind_since_ms.get_or_insert(now_ms);
                if now_ms >= since.saturating_add(LAG_GRACE_MS) {
                    state.behind = Some(further);
                }
            }
        }
        if state.is_whole(now_ms) {
            state.whole_since_ms.get_or_insert(now_ms);
        } else if state.failures > 0 || state.behind.is_some() {
            state.whole_since_ms = None;
        }
    }

    /// The furthest of the other nodes, if it is further than `height`.
    fn further_than(&self, index: usize, height: u64, now_ms: u64) -> Option<Further> {
        let others = self
            .states
            .iter()
            .enumerate()
            .filter(|(other, state)| *other != index && state.failures == 0 && !state.refuses(now_ms));
        let furthest = others.filter_map(|(node, state)| Some(Further { node, height: state.height? }));
        furthest.rev().max_by_key(|further| further.height).filter(|further| further.height > height)
    }

    /// The node did not answer, or wrongly.
    pub(crate) fn failed(&mut self, index: usize, asked: Asked, now_ms: u64, error: String) {
        if let Some(state) = self.states.get_mut(index) {
            let pause = FIRST_BACKOFF_MS.saturating_mul(1 << state.failures.min(16)).min(MAX_BACKOFF_MS);
            state.failures = state.failures.saturating_add(1);
            state.retry_at_ms = now_ms.saturating_add(pause);
            state.last_error = Some(error);
            state.template_failed |= asked == Asked::Template;
            state.behind_since_ms = None;
            state.behind = None;
            state.whole_since_ms = None;
        }
    }

    /// The node refused its own template.
    pub(crate) fn refused(&mut self, index: usize, now_ms: u64, reason: String) {
        if let Some(state) = self.states.get_mut(index) {
            let pause =
                REFUSAL_PAUSE_MS.saturating_mul(1 << state.refusals.min(16)).min(MAX_REFUSAL_PAUSE_MS);
            state.refusals = state.refusals.saturating_add(1);
            state.refused_until_ms = now_ms.saturating_add(pause);
            state.last_error = Some(reason);
            state.whole_since_ms = Some(state.refused_until_ms);
        }
    }

    /// The node takes its own template.
    pub(crate) fn agreed(&mut self, index: usize) {
        if let Some(state) = self.states.get_mut(index) {
            state.refusals = 0;
        }
    }

    pub(crate) fn is_current(&self, index: usize) -> bool {
        index == self.current
    }

    /// Whether templates come from another node than this one, which is whole.
    pub(crate) fn is_used_beside(&self, index: usize, now_ms: u64) -> bool {
        index != self.current && self.states.get(self.current).is_some_and(|state| state.is_whole(now_ms))
    }

    /// Whether and how the node is to be asked how far it is; `None` while it is left alone.
    pub(crate) fn look_at(&self, index: usize, now_ms: u64) -> Option<Asked> {
        let state = self.states.get(index).filter(|state| state.may_be_asked(now_ms))?;
        Some(if state.template_failed { Asked::Template } else { Asked::Height })
    }

    pub(crate) fn standing(&self, index: usize, now_ms: u64) -> NodeStanding {
        let Some(state) = self.states.get(index) else { return NodeStanding::Unknown };
        if state.refuses(now_ms) {
            NodeStanding::Refusing
        } else if state.failures > 0 {
            NodeStanding::Failing
        } else if state.behind.is_some() {
            NodeStanding::Lagging
        } else if state.answered_at_ms.is_none() {
            NodeStanding::Unknown
        } else if index == self.current {
            NodeStanding::InUse
        } else {
            NodeStanding::Standby
        }
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = (bool, &NodeState)> {
        self.states.iter().enumerate().map(|(index, state)| (index == self.current, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(nodes: &mut Failover, index: usize, at: u64) {
        nodes.failed(index, Asked::Template, at, "down".into());
    }

    #[test]
    fn the_first_node_is_preferred_and_a_good_one_is_stayed_with_until_it_fails() {
        let mut nodes = Failover::new(3);
        assert_eq!(nodes.pick(0), Pick::Ask(0));
        down(&mut nodes, 0, 0);
        assert_eq!(nodes.pick(0), Pick::Ask(1));
        nodes.succeeded(1, 5, 0);
        assert_eq!(nodes.pick(1_000_000), Pick::Ask(1));
        down(&mut nodes, 1, 1_000_000);
        assert_eq!(nodes.pick(1_000_000), Pick::Ask(2));
    }

    #[test]
    fn when_all_nodes_fail_the_pause_doubles_up_to_its_limit() {
        let mut nodes = Failover::new(1);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..9 {
            down(&mut nodes, 0, now);
            let Pick::WaitUntil(until) = nodes.pick(now) else { panic!("must wait") };
            pauses.push(until - now);
            now = until;
            assert_eq!(nodes.pick(now), Pick::Ask(0));
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]);
        nodes.succeeded(0, 5, now);
        down(&mut nodes, 0, now);
        assert_eq!(nodes.pick(now), Pick::WaitUntil(now + 500));
    }

    #[test]
    fn of_pausing_nodes_the_first_to_recover_is_waited_for() {
        let mut nodes = Failover::new(2);
        down(&mut nodes, 0, 0);
        down(&mut nodes, 0, 0);
        down(&mut nodes, 1, 0);
        assert_eq!(nodes.pick(0), Pick::WaitUntil(500));
        assert_eq!(nodes.pick(500), Pick::Ask(1));
    }

    #[test]
    fn a_preferred_node_is_gone_back_to_when_it_has_been_whole_for_its_time() {
        let mut nodes = Failover::new(2);
        down(&mut nodes, 0, 0);
        nodes.succeeded(1, 5, 0);
        // Its height alone does not undo that it gave no template.
        nodes.measured(0, 5, 1_000);
        assert_eq!(nodes.standing(0, 1_000), NodeStanding::Failing);
        assert_eq!(nodes.look_at(0, 1_000), Some(Asked::Template));
        nodes.gave(0, 5, 2_000);
        assert_eq!(nodes.standing(0, 2_000), NodeStanding::Standby);
        assert_eq!(nodes.pick(2_000 + RETURN_AFTER_MS - 1), Pick::Ask(1));
        assert_eq!(nodes.pick(2_000 + RETURN_AFTER_MS), Pick::Ask(0));
        // A moment of failure and its time begins anew.
        nodes.failed(0, Asked::Height, 11_000, "gone".into());
        nodes.measured(0, 5, 12_000);
        assert_eq!(nodes.pick(13_000), Pick::Ask(1));
        assert_eq!(nodes.pick(12_000 + RETURN_AFTER_MS), Pick::Ask(0));
    }

    #[test]
    fn a_node_lags_when_another_has_been_further_for_longer_than_the_grace() {
        let mut nodes = Failover::new(2);
        nodes.succeeded(0, 100, 0);
        nodes.measured(1, 101, 1_000);
        nodes.measured(0, 100, 1_100);
        assert_eq!(nodes.pick(1_100), Pick::Ask(0), "a block travels");
        // However many blocks come meanwhile: who follows within the grace does not lag.
        nodes.measured(1, 103, 4_000);
        nodes.measured(0, 103, 4_100);
        nodes.measured(1, 104, 7_000);
        nodes.measured(0, 103, 7_100);
        nodes.measured(0, 103, 7_100 + LAG_GRACE_MS - 1);
        assert_eq!(nodes.pick(20_000), Pick::Ask(0));
        nodes.measured(0, 103, 7_100 + LAG_GRACE_MS);
        assert_eq!(nodes.pick(20_000), Pick::Ask(1));
        assert_eq!(nodes.standing(0, 20_000), NodeStanding::Lagging);
        assert_eq!(nodes.states[0].behind, Some(Further { node: 1, height: 104 }));
        // It has caught up, and is gone back to after its time.
        nodes.succeeded(1, 104, 20_000);
        nodes.measured(0, 104, 21_000);
        assert_eq!(nodes.pick(21_000), Pick::Ask(1));
        assert_eq!(nodes.pick(21_000 + RETURN_AFTER_MS), Pick::Ask(0));
    }

    #[test]
    fn a_lagging_node_is_better_than_none_and_of_two_the_further_one() {
        let mut nodes = Failover::new(3);
        for at in [0, LAG_GRACE_MS, 2 * LAG_GRACE_MS] {
            nodes.measured(2, 103, at);
            nodes.measured(0, 100, at);
            nodes.measured(1, 101, at);
        }
        assert_eq!(nodes.pick(10_000), Pick::Ask(2));
        down(&mut nodes, 2, 10_000);
        assert_eq!(nodes.pick(10_000), Pick::Ask(1));
    }

    #[test]
    fn a_node_that_refuses_its_own_template_is_left_for_longer_each_time() {
        let mut nodes = Failover::new(2);
        nodes.succeeded(0, 100, 0);
        nodes.refused(0, 0, "bad-txns".into());
        assert_eq!(nodes.standing(0, 0), NodeStanding::Refusing);
        nodes.succeeded(1, 100, 0);
        nodes.measured(0, 100, 1_000);
        assert_eq!(nodes.look_at(0, 1_000), None);
        assert_eq!(nodes.pick(REFUSAL_PAUSE_MS + RETURN_AFTER_MS - 1), Pick::Ask(1));
        assert_eq!(nodes.pick(REFUSAL_PAUSE_MS + RETURN_AFTER_MS), Pick::Ask(0));
        nodes.refused(0, 50_000, "bad-txns".into());
        assert_eq!(nodes.standing(0, 50_000 + 2 * REFUSAL_PAUSE_MS - 1), NodeStanding::Refusing);
        nodes.agreed(0);
        nodes.refused(0, 200_000, "bad-txns".into());
        assert_ne!(nodes.standing(0, 200_000 + REFUSAL_PAUSE_MS), NodeStanding::Refusing);
    }

    #[test]
    fn a_single_node_that_refuses_is_not_asked_until_its_pause_is_over() {
        let mut nodes = Failover::new(1);
        nodes.succeeded(0, 100, 0);
        nodes.refused(0, 0, "bad-txns".into());
        assert_eq!(nodes.pick(0), Pick::WaitUntil(REFUSAL_PAUSE_MS));
        assert_eq!(nodes.pick(REFUSAL_PAUSE_MS), Pick::Ask(0));
    }
}
