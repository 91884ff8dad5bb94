//! Everything besides configuration and role that limits the search: schedule, throttle orders, load, veto, group.

use crate::{
    calendar::Calendar,
    governor::{Governor, LoadSample, Rhythm, Verdict, WORK_IN_IDLE_GROUP_US},
    input::{GroupReport, ThrottleOrder},
    moment::{MonotonicMs, Now},
    search::MAX_THREADS,
};
use bus_schemas::{
    PoolId, TimestampMs, WorkerId,
    config::{NodeConfig, PoolConfig},
    event::EventData,
    set_point::LocalState,
    throttle::{ArrivedOrder, InvalidThrottle, LiveThrottle, MAX_TTL_SECONDS, Throttles},
};

/// What is left to the search, percent, where its scheduling group could not be lowered and the host does not say.
pub const UNGENTLE_PERCENT: u8 = 10;

/// What the monotonic clock shows at its zero as the clock of throttle orders: the longest may have been given before that.
const ORDER_CLOCK_ZERO_MS: u64 = MAX_TTL_SECONDS as u64 * 1_000;

/// The moment on the clock of throttle orders, which no step of the wall clock touches.
fn clock(now: MonotonicMs) -> TimestampMs {
    TimestampMs(now.0.saturating_add(ORDER_CLOCK_ZERO_MS))
}

/// What the host's own file allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// Most search threads.
    pub threads: u16,
    /// Most of their time, 1 to 100 percent.
    pub cap_percent: u8,
    /// Threads of the safe profile, which holds when nothing was heard for the configuration lease.
    pub safe_threads: u16,
    /// What is left where the scheduling group could not be lowered, 1 to 100 percent.
    pub ungentle_percent: u8,
}

impl HostLimits {
    /// All the time of `threads` threads, and none in silence.
    pub fn open(threads: u16) -> Self {
        Self { threads, cap_percent: 100, safe_threads: 0, ungentle_percent: UNGENTLE_PERCENT }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) local: LocalState,
    pub(crate) governor: Governor,
    throttles: Throttles,
    pub(crate) calendar: Calendar,
    ungentle_percent: u8,
    group: Option<GroupReport>,
}

impl Limits {
    pub(crate) fn new(host: HostLimits) -> Self {
        let HostLimits { threads, cap_percent, safe_threads, ungentle_percent } = host;
        let threads = threads.min(MAX_THREADS);
        Self {
            local: LocalState {
                cap_percent: cap_percent.clamp(1, 100),
                safe_threads: safe_threads.min(threads),
                ..LocalState::open(threads)
            },
            governor: Governor::default(),
            throttles: Throttles::default(),
            calendar: Calendar::default(),
            ungentle_percent: ungentle_percent.clamp(1, 100),
            group: None,
        }
    }

    pub(crate) fn set_threads(&mut self, threads: u16) {
        self.local.threads = threads.min(MAX_THREADS);
    }

    /// Tells when the veto begins or ends.
    pub(crate) fn on_veto(&mut self, worker: &WorkerId, veto: Option<String>) -> Option<EventData> {
        let before = std::mem::replace(&mut self.local.vetoed, veto.is_some());
        match (before, veto) {
            (false, Some(reason)) => Some(EventData::WorkerVetoed { worker: worker.clone(), reason }),
            (true, None) => Some(EventData::WorkerVetoLifted { worker: worker.clone() }),
            _ => None,
        }
    }

    /// Tells when what was found is new.
    pub(crate) fn on_group(&mut self, worker: &WorkerId, report: GroupReport) -> Option<EventData> {
        self.local.group_percent = (!report.gentle).then_some(self.ungentle_percent);
        // Who allows all of it wants no limit here.
        let taken = self.local.group_percent.filter(|percent| *percent < 100).unwrap_or(0);
        self.governor.set_taken(u16::from(taken) * 10);
        if self.group.as_ref() == Some(&report) {
            return None;
        }
        let GroupReport { gentle, share_permille, detail, .. } = report.clone();
        self.group = Some(report);
        Some(EventData::WorkerGroupChecked { worker: worker.clone(), gentle, share_permille, detail })
    }

    pub(crate) fn on_load(
        &mut self,
        worker: &WorkerId,
        sample: LoadSample,
        pool: Option<&PoolConfig>,
        memory_hard: bool,
        now: MonotonicMs,
    ) -> Option<EventData> {
        let policy = pool.map(|p| p.load.clone()).unwrap_or_default();
        let verdict = self.governor.sample(sample, &policy, memory_hard, now);
        self.governed(worker, verdict)
    }

    pub(crate) fn on_tick(&mut self, worker: &WorkerId, now: MonotonicMs) -> Option<EventData> {
        let verdict = self.governor.tick(now);
        self.governed(worker, verdict)
    }

    /// How the search is to rest. In an idle group of its own it need not: there, a thread that wakes from its rest only gets
    /// into the way of what runs.
    pub(crate) fn rhythm(&self) -> Rhythm {
        let rhythm = self.governor.rhythm();
        let idle = self.group.as_ref().is_some_and(|group| group.idle);
        if idle { Rhythm { work_us: WORK_IN_IDLE_GROUP_US, rest_us: 0 } } else { rhythm }
    }

    fn governed(&mut self, worker: &WorkerId, verdict: Option<Verdict>) -> Option<EventData> {
        self.local.load = self.governor.limit();
        let worker = worker.clone();
        verdict.map(|verdict| match verdict {
            Verdict::Engaged(limit) => EventData::ThrottleEngaged {
                worker,
                reason: limit.reason,
                measured: limit.measured,
                left_percent: limit.percent,
            },
            Verdict::Released { engaged_ms, least_percent } => {
                EventData::ThrottleReleased { worker, engaged_ms, least_percent }
            }
        })
    }

    pub(crate) fn on_throttle(
        &mut self,
        arrived: ThrottleOrder,
        now: MonotonicMs,
    ) -> Result<(), InvalidThrottle> {
        let ThrottleOrder { target, order, stored_at, age_ms, keep_ms } = arrived;
        let given_at = TimestampMs(clock(now).0.saturating_sub(age_ms));
        self.throttles.expire(clock(now));
        self.throttles.take(ArrivedOrder { target, order, given_at, stored_at, keep_ms })
    }

    /// The throttle order that binds this worker most.
    pub(crate) fn throttle(
        &self,
        pool: &PoolId,
        worker: &WorkerId,
        node: Option<&NodeConfig>,
        now: MonotonicMs,
    ) -> Option<&LiveThrottle> {
        let none = std::collections::BTreeMap::new();
        self.throttles.lowest(pool, worker, node.map_or(&none, |n| &n.labels), clock(now))
    }

    /// When something of this may change without an input.
    pub(crate) fn next_deadline(&self, now: Now) -> Option<MonotonicMs> {
        let ends = self
            .throttles
            .next_end(clock(now.monotonic))
            .map(|end| now.monotonic.plus_ms(end.since(clock(now.monotonic)).max(1)));
        [self.calendar.next_deadline(), ends, self.governor.next_deadline()].into_iter().flatten().min()
    }

    /// Forgets the throttle orders that have ended.
    pub(crate) fn expire(&mut self, now: MonotonicMs) {
        self.throttles.expire(clock(now));
    }
}
