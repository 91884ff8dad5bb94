//! Rules that operators set for pools, labels and nodes, and how much of a host they leave to the search.

use crate::{
    config::{InvalidConfig, check_range, value},
    schedule::Schedule,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest percentage of a load policy. One above 100 is never reached, so that what it stands for is off.
pub const NEVER_PERCENT: u8 = 200;
/// Most policies for labels in one pool.
pub const MAX_LABEL_POLICIES: usize = 64;

/// How the kernel ranks search threads. What is ranked higher in this list is never harsher on the host.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// The idle class (`SCHED_IDLE`): runs when nothing else wants the processor.
    #[default]
    Idle,
    /// The batch class (`SCHED_BATCH`) at nice 19: gets a small share beside other programs.
    Background,
}

/// What an operator allows: of the layers pool, label and node the last one that says something wins, field by field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layer<'a> {
    /// Search threads.
    pub threads: Option<u16>,
    /// Share of these threads' time, percent.
    pub cap_percent: Option<u8>,
    /// How the kernel ranks them.
    pub priority: Option<Priority>,
    /// When.
    pub schedule: Option<&'a Schedule>,
}

/// A policy for all nodes of a pool that carry a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LabelPolicy {
    /// The label's key, for instance `rack`.
    pub key: String,
    /// The label's value, for instance `b2`.
    pub value: String,
    /// Search threads instead of the pool's number.
    pub threads: Option<u16>,
    /// Share of these threads' time instead of the pool's, 1 to 100 percent.
    pub cap_percent: Option<u8>,
    /// Priority instead of the pool's.
    pub priority: Option<Priority>,
    /// Schedule instead of the pool's.
    pub schedule: Option<Schedule>,
}

impl LabelPolicy {
    /// What it allows.
    pub fn layer(&self) -> Layer<'_> {
        Layer {
            threads: self.threads,
            cap_percent: self.cap_percent,
            priority: self.priority,
            schedule: self.schedule.as_ref(),
        }
    }
}

/// How the governor of a worker answers to the load of its host. Percentages are of the whole host; one above 100, up to
/// [`NEVER_PERCENT`], is never reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadPolicy {
    /// Use of the host by everything but the search at which throttling begins, for algorithms that only compute:
    /// below it the kernel's own yielding is enough.
    pub engage_percent: u8,
    /// Use by everything else at which nothing is searched any more. Between the two the search shrinks evenly.
    pub stop_percent: u8,
    /// As `engage_percent`, for algorithms that need the caches and the memory's bandwidth as well.
    pub memory_hard_engage_percent: u8,
    /// As `stop_percent`, for algorithms that need the caches and the memory's bandwidth as well.
    pub memory_hard_stop_percent: u8,
    /// Slowdown of the main application, by its own signal, that is tolerated.
    pub slowdown_percent: u16,
    /// Share of the time in which some task waited for memory (`some` of PSI) at which nothing is searched.
    pub memory_pressure_percent: u8,
    /// Share of the time that the hypervisor gave to others at which the search is halved.
    pub steal_percent: u8,
    /// Use by everything else below which the search may use wide vectors (AVX2, AVX-512): on some processors whoever
    /// runs within milliseconds after them runs at a lower clock. At 0 it never may, at [`NEVER_PERCENT`] always.
    pub wide_vectors_below_percent: u8,
    /// How long the load must be lower before the search grows again, milliseconds.
    pub release_after_ms: u32,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self {
            engage_percent: 85,
            stop_percent: 97,
            memory_hard_engage_percent: 25,
            memory_hard_stop_percent: 60,
            slowdown_percent: 5,
            memory_pressure_percent: 10,
            steal_percent: 25,
            wide_vectors_below_percent: 5,
            release_after_ms: 2_000,
        }
    }
}

/// When backup hosts step in and step back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupPolicy {
    /// Backups step in when the capacity of the active members is below this percentage of `active_members` whole
    /// members. A member that is throttled counts by what is left to it.
    pub threshold_percent: u8,
    /// How long throttled members may keep the capacity below the threshold before backups step in, milliseconds. A
    /// lost member is replaced at once.
    pub activate_after_ms: u32,
    /// How long the capacity must be enough without the surplus members before they step back, milliseconds.
    pub stand_down_after_ms: u32,
}

impl Default for BackupPolicy {
    fn default() -> Self {
        Self { threshold_percent: 100, activate_after_ms: 15_000, stand_down_after_ms: 60_000 }
    }
}

/// What an operator decided about the whole farm: JSON in the bucket `dcmf_config` under `farm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FarmConfig {
    /// The kill switch: nothing is searched anywhere.
    pub halted: bool,
    /// Why, for people.
    pub reason: String,
}

impl LoadPolicy {
    /// Answers to nothing, for hosts that do nothing else: what would engage is never reached.
    pub fn never() -> Self {
        Self {
            engage_percent: NEVER_PERCENT - 1,
            stop_percent: NEVER_PERCENT,
            memory_hard_engage_percent: NEVER_PERCENT - 1,
            memory_hard_stop_percent: NEVER_PERCENT,
            memory_pressure_percent: NEVER_PERCENT,
            steal_percent: NEVER_PERCENT,
            wide_vectors_below_percent: NEVER_PERCENT,
            ..Self::default()
        }
    }
}

fn check_load(field: &'static str, v: u8) -> Result<(), InvalidConfig> {
    if (1..=NEVER_PERCENT).contains(&v) {
        return Ok(());
    }
    Err(value(field, format!("{v} is outside 1 to {NEVER_PERCENT}; what is above 100 is never reached")))
}

/// Checks one layer's values; `field` names are those of a pool's configuration.
pub(crate) fn check_layer(layer: Layer<'_>) -> Result<(), InvalidConfig> {
    if let Some(threads) = layer.threads {
        check_range("threads", threads.into(), 0..=4_096)?;
    }
    if let Some(cap) = layer.cap_percent {
        check_range("cap_percent", cap.into(), 1..=100)?;
    }
    if let Some(schedule) = layer.schedule {
        schedule.check().map_err(|e| value("schedule", e.to_string()))?;
    }
    Ok(())
}

impl LoadPolicy {
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        let pairs = [
            ("load.engage_percent", self.engage_percent, self.stop_percent),
            (
                "load.memory_hard_engage_percent",
                self.memory_hard_engage_percent,
                self.memory_hard_stop_percent,
            ),
        ];
        for (field, engage, stop) in pairs {
            check_load(field, engage)?;
            check_load(field, stop)?;
            if engage >= stop {
                return Err(value(
                    field,
                    format!("{engage} is not below the percentage {stop} at which the search stops"),
                ));
            }
        }
        check_load("load.memory_pressure_percent", self.memory_pressure_percent)?;
        check_load("load.steal_percent", self.steal_percent)?;
        check_load("load.wide_vectors_below_percent", self.wide_vectors_below_percent)?;
        check_range("load.slowdown_percent", self.slowdown_percent.into(), 1..=10_000)?;
        check_range("load.release_after_ms", self.release_after_ms.into(), 100..=3_600_000)
    }
}

impl BackupPolicy {
    pub(crate) fn check(&self) -> Result<(), InvalidConfig> {
        check_range("backup.threshold_percent", self.threshold_percent.into(), 1..=100)?;
        check_range("backup.activate_after_ms", self.activate_after_ms.into(), 100..=86_400_000)?;
        check_range("backup.stand_down_after_ms", self.stand_down_after_ms.into(), 100..=86_400_000)
    }
}
