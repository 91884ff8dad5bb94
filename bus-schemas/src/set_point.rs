//! What a worker does right now, and why: one pure function that the worker obeys and the coordinator previews and
//! explains.

use crate::{
    config::{NodeConfig, PoolConfig},
    member::{Role, Standing},
    policy::{FarmConfig, Layer, Priority},
    schedule::{Schedule, Verdict},
    throttle::LiveThrottle,
    units::TimestampMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Enabled or not, with how many threads of which priority for which share of their time, and the reason that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetPoint {
    /// Search threads; zero means that nothing is searched.
    pub threads: u16,
    /// Share of each thread's time in which it searches, 1 to 100 percent.
    #[serde(default = "whole")]
    pub cap_percent: u8,
    /// How the kernel ranks the threads.
    #[serde(default)]
    pub priority: Priority,
    /// The rule that decided.
    pub reason: Reason,
}

fn whole() -> u8 {
    100
}

impl SetPoint {
    /// Whether anything is searched.
    pub fn enabled(&self) -> bool {
        self.threads > 0
    }

    /// Nothing is searched.
    pub fn stopped(reason: Reason) -> Self {
        Self { threads: 0, cap_percent: 100, priority: Priority::Idle, reason }
    }

    /// Hundredths of a thread.
    pub fn capacity(&self) -> u32 {
        u32::from(self.threads) * u32::from(self.cap_percent)
    }
}

/// The rule that decided a set-point, in the order in which [`resolve`] asks them; the configuration lease is asked at the end,
/// before the host's own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No configuration has been read yet.
    NoConfiguration,
    /// The host's administrator has vetoed the search in a local file; nothing remote lifts that.
    LocalVeto,
    /// The farm's kill switch.
    FarmHalted,
    /// The pool is paused.
    PoolPaused,
    /// The node is disabled.
    NodeDisabled,
    /// The host's certificates do not permit the job's algorithm.
    NotCertified,
    /// Nothing was heard for the configuration lease: the local safe profile holds.
    ConfigurationLease,
    /// The worker holds no role in the pool.
    NoRole,
    /// The worker is a backup.
    Backup,
    /// All that the host offers.
    HostThreads,
    /// The pool's number of threads or cap.
    PoolThreads,
    /// The number of threads or cap of a label's policy.
    LabelThreads,
    /// The node's own number of threads or cap.
    NodeThreads,
    /// A window or hour of the schedule.
    Schedule,
    /// A throttle order.
    Throttle,
    /// The load of the host, measured by the worker.
    Load,
    /// Search threads would compete with other programs on this host as equals, so few of them run.
    SchedulingGroup,
    /// The host's administrator said so in the host's own file.
    LocalLimit,
    /// A rule that this version does not know: a newer one decided by it.
    #[serde(other)]
    Unknown,
}

/// What the worker measures and what its host's own file says: the part of the input that only the worker knows. It
/// travels in heartbeats, so that the coordinator can explain what a worker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalState {
    /// The most threads that the host's own file allows.
    pub threads: u16,
    /// The most of their time that the host's own file allows, percent.
    pub cap_percent: u8,
    /// Threads of the local safe profile, which holds when nothing was heard for the configuration lease.
    pub safe_threads: u16,
    /// The host's administrator vetoes the search.
    pub vetoed: bool,
    /// What the governor allows for the load of the host.
    #[serde(default)]
    pub load: Option<LoadLimit>,
    /// What is allowed because the scheduling group of the search could not be lowered.
    #[serde(default)]
    pub group_percent: Option<u8>,
    /// Why the host does not permit the job's algorithm: a code of `docs/codes.md`.
    #[serde(default)]
    pub uncertified: Option<String>,
}

impl LocalState {
    /// A host that allows `threads` and has nothing to say besides.
    pub fn open(threads: u16) -> Self {
        Self {
            threads,
            cap_percent: 100,
            safe_threads: 0,
            vetoed: false,
            load: None,
            group_percent: None,
            uncertified: None,
        }
    }
}

/// What the governor allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadLimit {
    /// The most of its time that a search thread may use, percent; 0 stops.
    pub percent: u8,
    /// What was measured that decided.
    pub reason: LoadReason,
    /// The measured value: percent, of the host's time for demand, steal and memory, of slowdown for the signal.
    pub measured: u16,
}

/// What the governor answered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadReason {
    /// Other programs want the processors.
    Demand,
    /// The main application became slower, by its own signal.
    Slowdown,
    /// Tasks wait for memory.
    MemoryPressure,
    /// The hypervisor gives the processors to others.
    Steal,
    /// The load monitor has fallen silent: what nobody measures is not free.
    Unmeasured,
    /// Something that this version does not know: a newer one answered to it.
    #[serde(other)]
    Unknown,
}

/// Everything that decides.
#[derive(Debug, Clone, Copy)]
pub struct SetPointInput<'a> {
    /// The farm's configuration.
    pub farm: Option<&'a FarmConfig>,
    /// The pool's configuration.
    pub pool: Option<&'a PoolConfig>,
    /// The node's own configuration.
    pub node: Option<&'a NodeConfig>,
    /// The role of the worker.
    pub role: Option<(Role, Standing)>,
    /// What the schedule that is in force says, see [`schedule`]. The caller keeps it until it ends.
    pub schedule: Option<&'a Verdict>,
    /// The live throttle order that binds most, see [`crate::throttle::Throttles::lowest`].
    pub throttle: Option<&'a LiveThrottle>,
    /// What only the worker knows.
    pub local: &'a LocalState,
    /// Whether the configuration lease has run out.
    pub lease_expired: bool,
}

/// One link of the chain of reasons: what a rule allows, and what is left after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The rule.
    pub rule: Reason,
    /// What it says, for people.
    pub says: String,
    /// Threads that are left after it.
    pub threads: u16,
    /// Share of their time that is left after it, percent.
    pub cap_percent: u8,
    /// Whether it made the set-point smaller or chose it.
    pub decides: bool,
}

/// The schedule in force for a worker: the node's own, else that of the first policy for one of its labels, else the
/// pool's.
pub fn schedule<'a>(pool: Option<&'a PoolConfig>, node: Option<&'a NodeConfig>) -> Option<&'a Schedule> {
    layers(pool, node).into_iter().rev().find_map(|(_, layer)| layer.schedule)
}

fn layers<'a>(pool: Option<&'a PoolConfig>, node: Option<&'a NodeConfig>) -> [(Reason, Layer<'a>); 3] {
    let label = pool.and_then(|pool| {
        let labels = &node?.labels;
        let policies = pool.labels.iter();
        policies.into_iter().find(|p| labels.get(&p.key).is_some_and(|value| *value == p.value))
    });
    [
        (Reason::PoolThreads, pool.map(PoolConfig::layer).unwrap_or_default()),
        (Reason::LabelThreads, label.map(|l| l.layer()).unwrap_or_default()),
        (Reason::NodeThreads, node.map(NodeConfig::layer).unwrap_or_default()),
    ]
}

/// Resolves the set-point. It never has more threads than the host's own file allows. Allocates nothing.
pub fn resolve(input: SetPointInput<'_>) -> SetPoint {
    Chain { steps: None, ..Chain::new() }.run(input)
}

/// Resolves the set-point and tells the chain of reasons: every rule that had something to say, in the order of ranks.
pub fn explain(input: SetPointInput<'_>) -> (SetPoint, Vec<Step>) {
    let mut chain = Chain::new();
    let set_point = chain.run(input);
    (set_point, chain.steps.unwrap_or_default())
}

/// What the rules have left so far.
struct Chain {
    threads: u16,
    percent: u8,
    priority: Priority,
    reason: Reason,
    steps: Option<Vec<Step>>,
}

impl Chain {
    fn new() -> Self {
        Self {
            threads: 0,
            percent: 100,
            priority: Priority::Idle,
            reason: Reason::NoConfiguration,
            steps: Some(Vec::new()),
        }
    }

    fn step(&mut self, rule: Reason, decides: bool, says: fmt::Arguments<'_>) {
        let (threads, cap_percent) = (self.threads, self.percent);
        if decides {
            self.reason = rule;
        }
        if let Some(steps) = &mut self.steps {
            steps.push(Step { rule, says: says.to_string(), threads, cap_percent, decides });
        }
    }

    fn stop(&mut self, rule: Reason, says: fmt::Arguments<'_>) -> SetPoint {
        (self.threads, self.percent) = (0, 100);
        self.step(rule, true, says);
        SetPoint::stopped(rule)
    }

    /// A rule that allows at most so much.
    fn limit(&mut self, rule: Reason, threads: Option<u16>, percent: u8, says: fmt::Arguments<'_>) {
        let before = (self.threads, self.percent);
        self.threads = self.threads.min(threads.unwrap_or(u16::MAX));
        self.percent = self.percent.min(percent);
        if self.percent == 0 {
            (self.threads, self.percent) = (0, 100);
        }
        let decides = before.0 > 0 && (self.threads, self.percent) != before;
        self.step(rule, decides, says);
    }

    /// The rules that stop whatever else is said.
    fn stopped(&mut self, input: SetPointInput<'_>, pool: &PoolConfig) -> Option<SetPoint> {
        let local = input.local;
        if local.vetoed {
            return Some(
                self.stop(Reason::LocalVeto, format_args!("the host's administrator vetoes the search")),
            );
        }
        if let Some(farm) = input.farm.filter(|f| f.halted) {
            return Some(self.stop(Reason::FarmHalted, format_args!("the farm is halted: {}", farm.reason)));
        }
        if pool.paused {
            return Some(self.stop(Reason::PoolPaused, format_args!("the pool is paused")));
        }
        if input.node.is_some_and(|n| !n.enabled) {
            return Some(self.stop(Reason::NodeDisabled, format_args!("the node is disabled")));
        }
        if let Some(code) = &local.uncertified {
            let says = format_args!("the host does not permit the job's algorithm: {code}");
            return Some(self.stop(Reason::NotCertified, says));
        }
        match input.role {
            Some((Role::Active, Standing::Present)) => None,
            Some((Role::Backup, Standing::Present)) => {
                Some(self.stop(Reason::Backup, format_args!("the worker is a backup")))
            }
            _ => Some(self.stop(Reason::NoRole, format_args!("the worker holds no place in the pool"))),
        }
    }

    fn run(&mut self, input: SetPointInput<'_>) -> SetPoint {
        let local = input.local;
        let Some(pool) = input.pool else {
            return self.stop(Reason::NoConfiguration, format_args!("no configuration of the pool was read"));
        };
        if let Some(stopped) = self.stopped(input, pool) {
            return stopped;
        }
        self.threads = local.threads;
        self.step(Reason::HostThreads, true, format_args!("the host offers {} threads", local.threads));
        self.choose(input);
        if let Some(verdict) = input.schedule {
            let says = format_args!("{} allows {} %", verdict.rule, verdict.cap_percent);
            self.limit(Reason::Schedule, verdict.threads, verdict.cap_percent, says);
        }
        if let Some(live) = input.throttle {
            let (order, target) = (&live.order, &live.target);
            let says = format_args!(
                "{target} is throttled to {} % by {:?}: {}",
                order.cap_percent, order.source, order.reason
            );
            self.limit(Reason::Throttle, order.threads, order.cap_percent, says);
        }
        if let Some(load) = local.load {
            let says = format_args!("{:?} of {} % leaves {} %", load.reason, load.measured, load.percent);
            self.limit(Reason::Load, None, load.percent, says);
        }
        if let Some(percent) = local.group_percent {
            let says =
                format_args!("the scheduling group of the search is not lowered; {percent} % is gentle");
            self.limit(Reason::SchedulingGroup, None, percent, says);
        }
        if input.lease_expired {
            let says = format_args!(
                "nothing was heard for the configuration lease; the safe profile has {} threads",
                local.safe_threads
            );
            self.limit(Reason::ConfigurationLease, Some(local.safe_threads), 100, says);
        }
        let says =
            format_args!("the host's file allows {} threads at {} %", local.threads, local.cap_percent);
        self.limit(Reason::LocalLimit, Some(local.threads), local.cap_percent, says);
        self.finish()
    }

    /// What pool, label and node choose, the last that says something.
    fn choose(&mut self, input: SetPointInput<'_>) {
        for (rule, layer) in layers(input.pool, input.node) {
            let Layer { threads, cap_percent, priority, .. } = layer;
            if let Some(priority) = priority {
                self.priority = priority;
            }
            if threads.is_none() && cap_percent.is_none() {
                continue;
            }
            self.threads = threads.unwrap_or(self.threads);
            self.percent = cap_percent.unwrap_or(self.percent);
            let says = match rule {
                Reason::PoolThreads => "the pool",
                Reason::LabelThreads => "the policy of its label",
                _ => "the node's own configuration",
            };
            let (threads, percent) = (self.threads, self.percent);
            self.step(rule, true, format_args!("{says} chooses {threads} threads at {percent} %"));
        }
    }

    /// Fewer threads rather than many that pause often: a processor without a search thread is a place to land on for
    /// the main application.
    fn finish(&mut self) -> SetPoint {
        let hundredths = u32::from(self.threads) * u32::from(self.percent);
        if hundredths == 0 {
            return SetPoint::stopped(self.reason);
        }
        let threads = hundredths.div_ceil(100);
        let cap = (hundredths / threads).clamp(1, 100);
        SetPoint {
            threads: u16::try_from(threads).unwrap_or(u16::MAX),
            cap_percent: u8::try_from(cap).unwrap_or(100),
            priority: self.priority,
            reason: self.reason,
        }
    }
}

/// What the schedule in force says at a moment, to be kept until [`Verdict::until`].
pub fn verdict(pool: Option<&PoolConfig>, node: Option<&NodeConfig>, at: TimestampMs) -> Option<Verdict> {
    schedule(pool, node).map(|schedule| schedule.at(at))
}

#[cfg(test)]
mod tests;
