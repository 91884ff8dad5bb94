//! Which node is asked next. Pure: time comes in as milliseconds on any clock that never goes back.

/// First pause after a failure, in milliseconds.
pub const FIRST_BACKOFF_MS: u64 = 500;
/// Longest pause of a failing node, in milliseconds.
pub const MAX_BACKOFF_MS: u64 = 10_000;

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeState {
    pub(crate) failures: u32,
    pub(crate) last_error: Option<String>,
    retry_at_ms: u64,
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
    /// All have failed lately; none is worth asking before this moment.
    WaitUntil(u64),
}

impl Failover {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { states: vec![NodeState::default(); nodes], current: 0 }
    }

    /// Stays with the current node while it answers, since its templates build on each other; then the first in
    /// order of preference that is not pausing.
    pub(crate) fn pick(&self, now_ms: u64) -> Pick {
        let ready = |state: &NodeState| state.failures == 0 || state.retry_at_ms <= now_ms;
        if self.states.get(self.current).is_some_and(ready) {
            return Pick::Ask(self.current);
        }
        match self.states.iter().position(ready) {
            Some(index) => Pick::Ask(index),
            None => Pick::WaitUntil(self.states.iter().map(|s| s.retry_at_ms).min().unwrap_or(now_ms)),
        }
    }

    pub(crate) fn succeeded(&mut self, index: usize) {
        if let Some(state) = self.states.get_mut(index) {
            *state = NodeState::default();
            self.current = index;
        }
    }

    pub(crate) fn failed(&mut self, index: usize, now_ms: u64, error: String) {
        if let Some(state) = self.states.get_mut(index) {
            let pause = FIRST_BACKOFF_MS.saturating_mul(1 << state.failures.min(16)).min(MAX_BACKOFF_MS);
            state.failures = state.failures.saturating_add(1);
            state.retry_at_ms = now_ms.saturating_add(pause);
            state.last_error = Some(error);
        }
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = (bool, &NodeState)> {
        self.states.iter().enumerate().map(|(index, state)| (index == self.current, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_is_preferred_and_a_good_one_is_stayed_with() {
        let mut nodes = Failover::new(3);
        assert_eq!(nodes.pick(0), Pick::Ask(0));
        nodes.failed(0, 0, "down".into());
        assert_eq!(nodes.pick(0), Pick::Ask(1));
        nodes.succeeded(1);
        assert_eq!(nodes.pick(1_000_000), Pick::Ask(1));
        nodes.failed(1, 1_000_000, "down".into());
        assert_eq!(nodes.pick(1_000_000), Pick::Ask(0));
    }

    #[test]
    fn when_all_nodes_fail_the_pause_doubles_up_to_its_limit() {
        let mut nodes = Failover::new(1);
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..9 {
            nodes.failed(0, now, "down".into());
            let Pick::WaitUntil(until) = nodes.pick(now) else { panic!("must wait") };
            pauses.push(until - now);
            now = until;
            assert_eq!(nodes.pick(now), Pick::Ask(0));
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]);
        nodes.succeeded(0);
        nodes.failed(0, now, "down".into());
        assert_eq!(nodes.pick(now), Pick::WaitUntil(now + 500));
    }

    #[test]
    fn of_pausing_nodes_the_first_to_recover_is_waited_for() {
        let mut nodes = Failover::new(2);
        nodes.failed(0, 0, "down".into());
        nodes.failed(0, 0, "down".into());
        nodes.failed(1, 0, "down".into());
        assert_eq!(nodes.pick(0), Pick::WaitUntil(500));
        assert_eq!(nodes.pick(500), Pick::Ask(1));
    }
}
