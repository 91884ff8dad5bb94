//! What a worker does right now, and why: one pure function that the worker obeys and the coordinator previews.

use crate::{
    config::{NodeConfig, PoolConfig},
    member::{Role, Standing},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Enabled or not, with how many threads, and the reason that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetPoint {
    /// Search threads; zero means that nothing is searched.
    pub threads: u16,
    /// The rule that decided.
    pub reason: Reason,
}

impl SetPoint {
    /// Whether anything is searched.
    pub fn enabled(&self) -> bool {
        self.threads > 0
    }
}

/// The rule that decided a set-point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No configuration has been read yet.
    NoConfiguration,
    /// Nothing was heard for the configuration lease: the local safe profile holds.
    ConfigurationLease,
    /// The host's administrator said so in the host's own file.
    LocalLimit,
    /// The worker holds no role in the pool.
    NoRole,
    /// The worker is a backup.
    Backup,
    /// The pool is paused.
    PoolPaused,
    /// The node is disabled.
    NodeDisabled,
    /// The node's own number of threads.
    NodeThreads,
    /// The pool's number of threads.
    PoolThreads,
    /// All that the host offers.
    HostThreads,
}

/// Everything that decides.
#[derive(Debug, Clone, Copy)]
pub struct SetPointInput<'a> {
    /// The pool's configuration.
    pub pool: Option<&'a PoolConfig>,
    /// The node's own configuration.
    pub node: Option<&'a NodeConfig>,
    /// The role of the worker.
    pub role: Option<(Role, Standing)>,
    /// The most threads that the host's own file allows.
    pub host_threads: u16,
    /// Whether the configuration lease has run out.
    pub lease_expired: bool,
}

/// Resolves the set-point. The result never has more threads than `host_threads`.
pub fn resolve(input: SetPointInput<'_>) -> SetPoint {
    let stop = |reason| SetPoint { threads: 0, reason };
    let Some(pool) = input.pool else { return stop(Reason::NoConfiguration) };
    if input.lease_expired {
        return stop(Reason::ConfigurationLease);
    }
    if pool.paused {
        return stop(Reason::PoolPaused);
    }
    if input.node.is_some_and(|n| !n.enabled) {
        return stop(Reason::NodeDisabled);
    }
    match input.role {
        Some((Role::Active, Standing::Present)) => {}
        Some((Role::Backup, Standing::Present)) => return stop(Reason::Backup),
        _ => return stop(Reason::NoRole),
    }
    let (wanted, reason) = match (input.node.and_then(|n| n.threads), pool.threads) {
        (Some(n), _) => (n, Reason::NodeThreads),
        (None, Some(n)) => (n, Reason::PoolThreads),
        (None, None) => (input.host_threads, Reason::HostThreads),
    };
    if wanted > input.host_threads {
        return SetPoint { threads: input.host_threads, reason: Reason::LocalLimit };
    }
    SetPoint { threads: wanted, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input<'a>(pool: &'a PoolConfig, node: &'a NodeConfig) -> SetPointInput<'a> {
        SetPointInput {
            pool: Some(pool),
            node: Some(node),
            role: Some((Role::Active, Standing::Present)),
            host_threads: 4,
            lease_expired: false,
        }
    }

    #[test]
    fn the_first_rule_that_stops_a_worker_is_the_stated_reason() {
        let pool = PoolConfig::default();
        let node = NodeConfig::default();
        let paused = PoolConfig { paused: true, ..PoolConfig::default() };
        let disabled = NodeConfig { enabled: false, ..NodeConfig::default() };
        let base = input(&pool, &node);
        let cases = [
            (SetPointInput { pool: None, ..base }, Reason::NoConfiguration),
            (SetPointInput { lease_expired: true, ..base }, Reason::ConfigurationLease),
            (SetPointInput { pool: Some(&paused), ..base }, Reason::PoolPaused),
            (SetPointInput { node: Some(&disabled), ..base }, Reason::NodeDisabled),
            (SetPointInput { role: Some((Role::Backup, Standing::Present)), ..base }, Reason::Backup),
            (SetPointInput { role: Some((Role::Active, Standing::Lost)), ..base }, Reason::NoRole),
            (SetPointInput { role: None, ..base }, Reason::NoRole),
        ];
        for (input, reason) in cases {
            assert_eq!(resolve(input), SetPoint { threads: 0, reason });
        }
    }

    #[test]
    fn the_node_outranks_the_pool_and_the_host_outranks_both() {
        let pool = PoolConfig { threads: Some(2), ..PoolConfig::default() };
        let node = NodeConfig { threads: Some(3), ..NodeConfig::default() };
        let greedy = NodeConfig { threads: Some(99), ..NodeConfig::default() };
        let none = NodeConfig::default();
        assert_eq!(resolve(input(&pool, &none)), SetPoint { threads: 2, reason: Reason::PoolThreads });
        assert_eq!(resolve(input(&pool, &node)), SetPoint { threads: 3, reason: Reason::NodeThreads });
        assert_eq!(resolve(input(&pool, &greedy)), SetPoint { threads: 4, reason: Reason::LocalLimit });
        let open = PoolConfig::default();
        assert_eq!(resolve(input(&open, &none)), SetPoint { threads: 4, reason: Reason::HostThreads });
    }
}
