//! What the load of the host leaves to the search: measured several times a second, answered in proportion, and with
//! hysteresis: less at once, more only after it has been calm for a while.
//!
//! The kernel yields within microseconds (idle class in an idle group), so for algorithms that only compute the
//! governor acts late, near saturation. Algorithms that need the caches and the memory's bandwidth harm the main
//! application although they yield, so for them it acts early. The main application's own signal outranks both: the
//! governor learns how much of the search the application tolerates, and forgets that slowly.

use crate::moment::MonotonicMs;
use bus_schemas::{
    heartbeat::LoadReport,
    policy::LoadPolicy,
    set_point::{LoadLimit, LoadReason},
};

/// A limit changes by at least this much, percent: less is noise.
const STEP: u8 = 5;
/// A rising demand is the mean of the last samples of so much time, microseconds: it has settled when that has passed, and
/// what comes in single requests does not look like more than it is. Soon for what harms although it yields, later for
/// what the kernel holds back by itself: bursts would lower its cap for nothing.
const ATTACK_MEMORY_HARD_US: u64 = 80_000;
const ATTACK_US: u64 = 240_000;
/// Most samples of that mean.
const ATTACK_SAMPLES: usize = 16;
/// Time constant with which a falling demand is followed, milliseconds.
const DECAY_MS: u64 = 400;
/// Least time between two steps down for one signal of the application, milliseconds: it needs that long to show what
/// the last one did.
const SIGNAL_STEP_MS: u64 = 500;
/// What harmed the application is tried again after this time, milliseconds.
const FORGET_MS: u64 = 60_000;
/// A sample older than this tells nothing any more, milliseconds.
pub const SAMPLE_LIFE_MS: u64 = 2_000;
/// Left to the search while the hypervisor gives much time to others, percent.
const LEFT_UNDER_STEAL: u8 = 50;

/// What the load monitor measured since its last sample. Shares are of the whole host's processor time, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadSample {
    /// Time since the last sample, microseconds.
    pub elapsed_us: u32,
    /// Use by everything but the search.
    pub demand_permille: u16,
    /// Use by the search.
    pub search_permille: u16,
    /// Time that the hypervisor gave to others.
    pub steal_permille: u16,
    /// Share of the time in which some task waited for memory.
    pub memory_permille: u16,
    /// What running search threads wanted and did not get; `None` when none runs.
    pub shortfall_permille: Option<u16>,
    /// Tasks that run or wait for a processor, without ours.
    pub runnable: u16,
    /// How much slower the main application is than at its best, by its own signal, percent.
    pub slowdown_percent: Option<u16>,
}

/// How long a search thread works between two short rests, in which its processor is free for whatever waits elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Work, microseconds.
    pub work_us: u32,
    /// Rest, microseconds.
    pub rest_us: u32,
}

/// From this demand on, in thousandths, the search rests after so much work, microseconds. A processor that goes idle
/// pulls over what waits behind another one; the busier the host, the more often something does.
const RHYTHMS: [(u16, u32); 3] = [(400, 500), (100, 1_000), (0, 2_000)];
/// In an idle group, where rests are for a cap only, so much is worked between two, microseconds: each one ends with a thread
/// that wakes, and that is what the application notices.
pub(crate) const WORK_IN_IDLE_GROUP_US: u32 = 20_000;
/// Length of a rest, microseconds: just long enough that the kernel looks for waiting tasks.
const REST_US: u32 = 20;

/// What the governor has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It throttles from now on.
    Engaged(LoadLimit),
    /// It does not any more.
    Released {
        /// For how long it did, milliseconds.
        engaged_ms: u64,
        /// The least that was left, percent.
        least_percent: u8,
    },
}

#[derive(Debug, Clone, Copy)]
struct Engagement {
    since: MonotonicMs,
    least: u8,
    limit: LoadLimit,
}

/// What the application's own signal taught.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    /// Left to the search now, percent.
    left: u8,
    /// The least that harmed; not tried before `forget_at`.
    harmful: u8,
    forget_at: MonotonicMs,
    stepped: MonotonicMs,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Governor {
    /// Demand, smoothed, in thousandths of thousandths.
    demand: u64,
    /// The last samples, newest first: microseconds, and thousandths of the host.
    recent: [(u32, u16); ATTACK_SAMPLES],
    /// What the search may take from others, in thousandths of the host: it looks like idle time, and is none.
    taken: u16,
    last: Option<(MonotonicMs, LoadSample)>,
    tolerance: Tolerance,
    engagement: Option<Engagement>,
    /// Since when the limit could rise, and to what at least in the second half of that time.
    calm: Option<(MonotonicMs, u8)>,
    vectors: Vectors,
}

/// Whether the search may use wide vectors: not while the main application does much, and again when it has not for a while.
#[derive(Debug, Clone, Copy, Default)]
struct Vectors {
    wide: bool,
    quiet_since: Option<MonotonicMs>,
}

impl Vectors {
    fn follow(&mut self, demand_permille: u64, policy: &LoadPolicy, now: MonotonicMs) {
        if demand_permille >= u64::from(policy.wide_vectors_below_percent) * 10 {
            *self = Self::default();
            return;
        }
        let since = *self.quiet_since.get_or_insert(now);
        self.wide |= now.since(since) >= u64::from(policy.release_after_ms);
    }
}

impl Default for Governor {
    fn default() -> Self {
        let zero = MonotonicMs::default();
        Self {
            demand: 0,
            // One sample alone says little.
            recent: [(20_000, 0); ATTACK_SAMPLES],
            taken: 0,
            last: None,
            tolerance: Tolerance { left: 100, harmful: u8::MAX, forget_at: zero, stepped: zero },
            engagement: None,
            calm: None,
            vectors: Vectors::default(),
        }
    }
}

/// What is left at `value` when it falls evenly from all at `engage` to nothing at `stop`, percent.
fn proportional(value: u64, engage: u8, stop: u8) -> u8 {
    let (engage, stop) = (u64::from(engage) * 10, u64::from(stop) * 10);
    let left = stop.saturating_sub(value) * 100 / stop.saturating_sub(engage).max(1);
    u8::try_from(left.min(100)).unwrap_or(100)
}

fn percent(permille: u64) -> u16 {
    u16::try_from(permille.div_ceil(10)).unwrap_or(u16::MAX)
}

impl Governor {
    /// Takes a sample; tells when it begins or ends to throttle.
    pub fn sample(
        &mut self,
        sample: LoadSample,
        policy: &LoadPolicy,
        memory_hard: bool,
        now: MonotonicMs,
    ) -> Option<Verdict> {
        self.smooth(sample, if memory_hard { ATTACK_MEMORY_HARD_US } else { ATTACK_US });
        self.vectors.follow(self.demand / 1_000, policy, now);
        self.last = Some((now, sample));
        let wanted = self.wanted(sample, policy, memory_hard, now);
        self.follow(wanted, policy.release_after_ms.into(), now)
    }

    /// Says how much of the host, in thousandths, the search may take from others, since the kernel does not make it yield.
    pub fn set_taken(&mut self, permille: u16) {
        self.taken = permille;
    }

    /// Time has passed without a sample: what nobody measures is not free, so nothing is searched until a sample comes.
    pub fn tick(&mut self, now: MonotonicMs) -> Option<Verdict> {
        if self.last.is_none_or(|(at, _)| now.since(at) < SAMPLE_LIFE_MS) {
            return None;
        }
        self.last = None;
        self.calm = None;
        self.vectors = Vectors::default();
        self.engage(LoadLimit { percent: 0, reason: LoadReason::Unmeasured, measured: 0 }, now)
    }

    /// When [`Governor::tick`] is wanted.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        self.last.map(|(at, _)| at.plus_ms(SAMPLE_LIFE_MS))
    }

    fn smooth(&mut self, sample: LoadSample, attack_us: u64) {
        let demand = sample.demand_permille.max(sample.shortfall_permille.unwrap_or(0));
        self.recent.rotate_right(1);
        self.recent[0] = (sample.elapsed_us.max(1), demand);
        let mean = self.recent_mean(attack_us);
        if mean >= self.demand {
            self.demand = mean;
            return;
        }
        let elapsed = u64::from(sample.elapsed_us / 1_000).max(1);
        let share = (elapsed * 1_000 / (elapsed + DECAY_MS)).min(1_000);
        self.demand = (self.demand * (1_000 - share) + mean * share) / 1_000;
    }

    /// The mean of the last samples of at least `attack_us`, in thousandths of thousandths.
    fn recent_mean(&self, attack_us: u64) -> u64 {
        let (mut time, mut used) = (0, 0);
        for (elapsed, demand) in self.recent {
            if time >= attack_us {
                break;
            }
            time += u64::from(elapsed);
            used += u64::from(elapsed) * u64::from(demand) * 1_000;
        }
        used / time.max(1)
    }

    /// What every measure leaves, the least of them.
    fn wanted(
        &mut self,
        sample: LoadSample,
        policy: &LoadPolicy,
        memory_hard: bool,
        now: MonotonicMs,
    ) -> LoadLimit {
        let (engage, stop) = if memory_hard {
            (policy.memory_hard_engage_percent, policy.memory_hard_stop_percent)
        } else {
            (policy.engage_percent, policy.stop_percent)
        };
        let demand = (self.demand / 1_000 + u64::from(self.taken)).min(1_000);
        let (memory, steal) = (sample.memory_permille, sample.steal_permille);
        let over = |value: u16, limit: u8| u32::from(value) >= u32::from(limit) * 10;
        let slowdown = self.tolerated(sample.slowdown_percent, policy, now);
        [
            (proportional(demand, engage, stop), LoadReason::Demand, percent(demand)),
            (slowdown, LoadReason::Slowdown, sample.slowdown_percent.unwrap_or(0)),
            (
                if over(memory, policy.memory_pressure_percent) { 0 } else { 100 },
                LoadReason::MemoryPressure,
                percent(memory.into()),
            ),
            (
                if over(steal, policy.steal_percent) { LEFT_UNDER_STEAL } else { 100 },
                LoadReason::Steal,
                percent(steal.into()),
            ),
        ]
        .into_iter()
        // Less than a step is not worth a thread's waking.
        .map(|(left, reason, measured)| LoadLimit {
            percent: if left < STEP { 0 } else { left },
            reason,
            measured,
        })
        .min_by_key(|limit| limit.percent)
        .unwrap_or(LoadLimit { percent: 100, reason: LoadReason::Demand, measured: 0 })
    }

    /// Less by a quarter while the application is slower than is tolerated, more by one step when it was not for a
    /// while, and not up to what harmed it before that is forgotten.
    fn tolerated(&mut self, slowdown: Option<u16>, policy: &LoadPolicy, now: MonotonicMs) -> u8 {
        let Tolerance { left, harmful, forget_at, stepped } = self.tolerance;
        let harmful = if now >= forget_at { u8::MAX } else { harmful };
        let Some(slowdown) = slowdown else {
            self.tolerance.left = 100;
            return 100;
        };
        if slowdown > policy.slowdown_percent {
            if now.since(stepped) >= SIGNAL_STEP_MS {
                let forget_at = now.plus_ms(FORGET_MS);
                self.tolerance =
                    Tolerance { left: left - left.div_ceil(4), harmful: left, forget_at, stepped: now };
            }
        } else if now.since(stepped) >= u64::from(policy.release_after_ms) {
            let next = (left + STEP).min(100);
            if next < harmful {
                self.tolerance = Tolerance { left: next, harmful, forget_at, stepped: now };
            }
        }
        self.tolerance.left
    }

    /// Down at once, up when it has been calm for `release_after_ms`, and then to the least that was possible in the
    /// second half of that time.
    fn follow(&mut self, wanted: LoadLimit, release_after_ms: u64, now: MonotonicMs) -> Option<Verdict> {
        let current = self.engagement.map_or(100, |e| e.limit.percent);
        let lower = wanted.percent.saturating_add(STEP) <= current || wanted.percent == 0 && current > 0;
        if lower {
            self.calm = None;
            return self.engage(LoadLimit { percent: wanted.percent / STEP * STEP, ..wanted }, now);
        }
        if current == 100 || wanted.percent < current.saturating_add(STEP).min(100) {
            self.calm = None;
            return None;
        }
        let (since, mut least) = self.calm.unwrap_or((now, 100));
        if now.since(since) >= release_after_ms / 2 {
            least = least.min(wanted.percent);
        }
        self.calm = Some((since, least));
        if now.since(since) < release_after_ms {
            return None;
        }
        self.calm = None;
        if least >= 100 {
            return self.release(now);
        }
        if let Some(engagement) = &mut self.engagement {
            engagement.limit.percent = (least / STEP * STEP).max(current);
            engagement.limit.measured = wanted.measured;
        }
        None
    }

    fn engage(&mut self, limit: LoadLimit, now: MonotonicMs) -> Option<Verdict> {
        match &mut self.engagement {
            Some(engagement) => {
                engagement.least = engagement.least.min(limit.percent);
                engagement.limit = limit;
                None
            }
            None => {
                self.engagement = Some(Engagement { since: now, least: limit.percent, limit });
                Some(Verdict::Engaged(limit))
            }
        }
    }

    fn release(&mut self, now: MonotonicMs) -> Option<Verdict> {
        let Engagement { since, least, .. } = self.engagement.take()?;
        Some(Verdict::Released { engaged_ms: now.since(since), least_percent: least })
    }

    /// What it leaves to the search; `None` when that is all.
    pub fn limit(&self) -> Option<LoadLimit> {
        self.engagement.map(|e| e.limit)
    }

    /// How the search is to rest at the present demand.
    pub fn rhythm(&self) -> Rhythm {
        let demand = self.demand / 1_000;
        let fits = |(from, work_us): (u16, u32)| (demand >= from.into()).then_some(work_us);
        let work_us = RHYTHMS.into_iter().find_map(fits).unwrap_or(RHYTHMS[0].1);
        Rhythm { work_us, rest_us: REST_US }
    }

    /// Whether the search may use wide vectors.
    pub fn wide_vectors(&self) -> bool {
        self.vectors.wide
    }

    /// The last sample, for people.
    pub fn report(&self) -> Option<LoadReport> {
        let (_, sample) = self.last?;
        let percent = |permille: u16| u8::try_from(permille.div_ceil(10).min(100)).unwrap_or(100);
        Some(LoadReport {
            demand_percent: percent(sample.demand_permille),
            search_percent: percent(sample.search_permille),
            steal_percent: percent(sample.steal_permille),
            memory_pressure_percent: percent(sample.memory_permille),
            slowdown_percent: sample.slowdown_percent,
            wide_vectors: self.vectors.wide,
        })
    }
}

#[cfg(test)]
mod tests;
