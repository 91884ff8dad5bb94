//! The worker's place in its pool, fenced by epoch and generation, and the asking for one.

use crate::{
    input::Authority,
    jitter::{Backoff, Jitter},
    moment::MonotonicMs,
    notice::{Notice, Refusal},
};
use bus_schemas::{
    PoolId, SessionId, WorkerId,
    member::{Member, Standing},
};

/// Delay between requests to join that were refused or not answered.
const JOIN_RETRY: Backoff = Backoff { first_ms: 500, cap_ms: 15_000 };
/// A request to join is given up after this time, milliseconds.
pub const JOIN_TIMEOUT_MS: u64 = 10_000;

/// Delay before a worker asks again for a place that another session of its id has taken.
pub const DISPLACED_MS: u64 = 10_000;

/// A role that comes when a later owner's job is there already may have been stored after that owner looked, which has this
/// time to take it back, milliseconds.
pub const LATE_ROLE_MS: u64 = 1_000;

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) pool: PoolId,
    pub(crate) worker: WorkerId,
    pub(crate) session: SessionId,
}

/// Our place.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    who: Who,
    member: Option<Member>,
    /// Highest epoch and generation ever seen, of whatever session.
    fence: (u64, u64),
    /// A role came since the last read began, so that the read's answer may be older.
    pushed: bool,
    /// The place may be another's; a read that begins from this moment on tells.
    doubted: Option<MonotonicMs>,
    /// When the last read since the bus is there began.
    read_at: Option<MonotonicMs>,
    failures: u32,
    join: Join,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// May be sent from then on.
    From(MonotonicMs),
    /// Sent; given up at this moment.
    Pending(MonotonicMs),
}

impl Membership {
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            member: None,
            fence: (0, 0),
            pushed: false,
            doubted: None,
            read_at: None,
            failures: 0,
            join: Join::From(MonotonicMs::default()),
        }
    }

    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// Whether the place may be another's, so that no job may be taken up in it.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// From when on a read is wanted that tells whose the place is.
    pub(crate) fn wants_read(&self) -> Option<MonotonicMs> {
        self.doubted.filter(|from| self.read_at < Some(*from))
    }

    /// A read begins.
    pub(crate) fn on_read_begin(&mut self, now: MonotonicMs) {
        (self.pushed, self.read_at) = (false, Some(now));
    }

    /// What a read gave, if anything; `false` when only the leader can say what it means.
    pub(crate) fn on_read(
        &mut self,
        role: Option<Member>,
        authority: Authority,
        job_epoch: u64,
        now: MonotonicMs,
        jitter: &mut Jitter,
    ) -> (bool, [Option<Notice>; 2]) {
        let followed = role.as_ref().is_some_and(|role| (role.epoch, role.generation) >= self.fence);
        let rewinds = !followed && !self.pushed && (role.is_some() || self.member.is_some());
        if rewinds && authority == Authority::Replica {
            return (false, [None, None]);
        }
        let mut rewound = None;
        if rewinds {
            self.fence = (0, 0);
            self.member = None;
            rewound = Some(Notice::OrderRewound { order: "role" });
        }
        // A coordinator stores that a place is another's before the first job in which it is.
        self.doubted = self.doubted.filter(|from| self.read_at < Some(*from));
        // What is read again and again is mostly known; only a push that is too late deserves a refusal.
        let role = role.filter(|role| (role.epoch, role.generation) >= self.fence);
        (true, [rewound, role.and_then(|role| self.apply(role, job_epoch, now, jitter))])
    }

    /// A push: `false` when it is older than what was seen, so that only the leader can say what it means.
    pub(crate) fn on_push(
        &mut self,
        role: Member,
        job_epoch: u64,
        now: MonotonicMs,
        jitter: &mut Jitter,
    ) -> (bool, Option<Notice>) {
        let older = (role.epoch, role.generation) < self.fence;
        self.pushed |= !older;
        (!older, self.apply(role, job_epoch, now, jitter))
    }

    /// Whether the pool counts us as present.
    pub(crate) fn has_place(&self) -> bool {
        self.member.as_ref().is_some_and(|m| m.standing == Standing::Present)
    }

    /// Follows a role, or says why not; `job_epoch` is that of the job that is known. A newer role for another session takes our place away; it is asked for
    /// again only after a while, since two processes under one id would otherwise displace each other at once.
    fn apply(
        &mut self,
        member: Member,
        job_epoch: u64,
        now: MonotonicMs,
        jitter: &mut Jitter,
    ) -> Option<Notice> {
        if member.pool != self.who.pool || member.worker != self.who.worker {
            let (pool, worker) = (member.pool, member.worker);
            return Some(Notice::OrderRefused(Refusal::RoleNotOurs { pool, worker }));
        }
        let (epoch, generation) = (member.epoch, member.generation);
        if (epoch, generation) < self.fence {
            return Some(Notice::OrderRefused(Refusal::RoleOutdated { epoch, generation }));
        }
        if member.session != self.who.session {
            if (epoch, generation) == self.fence {
                return None;
            }
            self.fence = (epoch, generation);
            if self.member.take().is_some() {
                self.join = Join::From(now.plus_ms(jitter.around(DISPLACED_MS)));
            }
            return Some(Notice::OrderRefused(Refusal::RoleOfOtherSession(member.session)));
        }
        if (epoch, generation) == self.fence && self.member.is_some() {
            return None;
        }
        self.fence = (epoch, generation);
        self.doubted = (epoch < job_epoch).then(|| now.plus_ms(LATE_ROLE_MS));
        let notice = Notice::RoleApplied {
            role: member.role,
            standing: member.standing,
            slot: member.slot,
            epoch,
            generation,
            reason: member.reason.clone(),
        };
        self.member = Some(member);
        if self.has_place() {
            self.failures = 0;
            self.join = Join::From(MonotonicMs::default());
        }
        Some(notice)
    }

    /// Whether a request to join is due; it then counts as sent. One that was never answered is given up.
    pub(crate) fn wants_join(&mut self, now: MonotonicMs) -> bool {
        let due = match self.join {
            Join::From(at) | Join::Pending(at) => at <= now,
        };
        if self.has_place() || !due {
            return false;
        }
        self.join = Join::Pending(now.plus_ms(JOIN_TIMEOUT_MS));
        true
    }

    /// A request was refused or not answered; gives the delay until the next.
    pub(crate) fn on_join_failed(&mut self, now: MonotonicMs, jitter: &mut Jitter) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let delay = JOIN_RETRY.delay(self.failures, jitter);
        self.join = Join::From(now.plus_ms(delay));
        delay
    }

    /// The bus is back: whatever was asked is lost, and the place is to be heard of again.
    pub(crate) fn on_connected(&mut self) {
        (self.doubted, self.read_at) = (Some(MonotonicMs::default()), None);
        self.failures = 0;
        self.join = Join::From(MonotonicMs::default());
    }

    /// When [`Membership::wants_join`] may turn true by itself.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        let (Join::From(at) | Join::Pending(at)) = self.join;
        (!self.has_place()).then_some(at)
    }
}
