use super::*;
use crate::{
    id::{PoolId, WorkerId},
    policy::LabelPolicy,
    throttle::{ArrivedOrder, Throttle, ThrottleTarget, Throttles},
};

struct Case {
    farm: FarmConfig,
    pool: PoolConfig,
    node: NodeConfig,
    role: Option<(Role, Standing)>,
    verdict: Option<Verdict>,
    throttle: Option<LiveThrottle>,
    local: LocalState,
    lease_expired: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            farm: FarmConfig::default(),
            pool: PoolConfig::default(),
            node: NodeConfig::default(),
            role: Some((Role::Active, Standing::Present)),
            verdict: None,
            throttle: None,
            local: LocalState::open(4),
            lease_expired: false,
        }
    }
}

impl Case {
    fn input(&self) -> SetPointInput<'_> {
        SetPointInput {
            farm: Some(&self.farm),
            pool: Some(&self.pool),
            node: Some(&self.node),
            role: self.role,
            schedule: self.verdict.as_ref(),
            throttle: self.throttle.as_ref(),
            local: &self.local,
            lease_expired: self.lease_expired,
        }
    }

    fn resolve(&self) -> (u16, u8, Reason) {
        let set_point = resolve(self.input());
        assert_eq!(explain(self.input()).0, set_point);
        (set_point.threads, set_point.cap_percent, set_point.reason)
    }
}

fn verdict(cap_percent: u8, threads: Option<u16>) -> Option<Verdict> {
    Some(Verdict { threads, cap_percent, rule: "window \"w\"".into(), until: TimestampMs(1) })
}

fn arrived(target: ThrottleTarget, order: Throttle) -> ArrivedOrder {
    ArrivedOrder { target, order, given_at: TimestampMs(0), stored_at: None, keep_ms: 0 }
}

fn throttled(cap_percent: u8) -> Option<LiveThrottle> {
    let order =
        Throttle { cap_percent, threads: None, ttl_seconds: 60, reason: "busy".into(), source: "m".into() };
    let mut throttles = Throttles::default();
    throttles.take(arrived(ThrottleTarget::Farm, order)).unwrap();
    throttles.live(TimestampMs(0)).next().cloned()
}

fn load(percent: u8) -> Option<LoadLimit> {
    Some(LoadLimit { percent, reason: LoadReason::Demand, measured: 90 })
}

#[test]
fn what_stops_a_worker_ranks_from_the_hosts_administrator_down() {
    let mut case = Case {
        farm: FarmConfig { halted: true, reason: "drill".into() },
        pool: PoolConfig { paused: true, ..PoolConfig::default() },
        node: NodeConfig { enabled: false, ..NodeConfig::default() },
        role: Some((Role::Backup, Standing::Present)),
        local: LocalState {
            vetoed: true,
            uncertified: Some("certificate-expired".into()),
            ..LocalState::open(4)
        },
        lease_expired: true,
        ..Case::default()
    };
    assert_eq!(resolve(SetPointInput { pool: None, ..case.input() }).reason, Reason::NoConfiguration);
    assert_eq!(case.resolve(), (0, 100, Reason::LocalVeto));
    case.local.vetoed = false;
    assert_eq!(case.resolve(), (0, 100, Reason::FarmHalted));
    case.farm.halted = false;
    assert_eq!(case.resolve(), (0, 100, Reason::PoolPaused));
    case.pool.paused = false;
    assert_eq!(case.resolve(), (0, 100, Reason::NodeDisabled));
    case.node.enabled = true;
    assert_eq!(case.resolve(), (0, 100, Reason::NotCertified));
    assert!(explain(case.input()).1[0].says.contains("certificate-expired"));
    case.local.uncertified = None;
    assert_eq!(case.resolve(), (0, 100, Reason::Backup));
    for role in [None, Some((Role::Active, Standing::Lost))] {
        case.role = role;
        assert_eq!(case.resolve(), (0, 100, Reason::NoRole));
    }
    case.role = Some((Role::Active, Standing::Present));
    assert_eq!(case.resolve(), (0, 100, Reason::ConfigurationLease));
    case.lease_expired = false;
    assert_eq!(case.resolve(), (4, 100, Reason::HostThreads));
}

#[test]
fn the_node_wins_over_its_label_and_that_over_the_pool_and_the_host_over_all() {
    let mut case = Case::default();
    case.pool.threads = Some(3);
    assert_eq!(case.resolve(), (3, 100, Reason::PoolThreads));
    case.pool.labels = vec![LabelPolicy {
        key: "rack".into(),
        value: "b2".into(),
        threads: Some(2),
        priority: Some(Priority::Background),
        ..LabelPolicy::default()
    }];
    assert_eq!(case.resolve(), (3, 100, Reason::PoolThreads));
    case.node.labels.insert("rack".into(), "b2".into());
    assert_eq!(case.resolve(), (2, 100, Reason::LabelThreads));
    assert_eq!(resolve(case.input()).priority, Priority::Background);
    case.node.threads = Some(1);
    case.node.priority = Some(Priority::Idle);
    assert_eq!(case.resolve(), (1, 100, Reason::NodeThreads));
    assert_eq!(resolve(case.input()).priority, Priority::Idle);
    case.node.threads = Some(99);
    assert_eq!(case.resolve(), (4, 100, Reason::LocalLimit));
}

#[test]
fn the_lowest_of_all_limits_holds_and_names_itself() {
    let mut case = Case { verdict: verdict(75, None), ..Case::default() };
    assert_eq!(case.resolve(), (3, 100, Reason::Schedule));
    case.throttle = throttled(50);
    assert_eq!(case.resolve(), (2, 100, Reason::Throttle));
    case.local.load = load(25);
    assert_eq!(case.resolve(), (1, 100, Reason::Load));
    case.local.group_percent = Some(5);
    assert_eq!(case.resolve(), (1, 20, Reason::SchedulingGroup));
    case.throttle = throttled(0);
    assert_eq!(case.resolve(), (0, 100, Reason::Throttle));
    case.verdict = verdict(0, None);
    assert_eq!(case.resolve(), (0, 100, Reason::Schedule));
}

#[test]
fn a_limit_that_is_higher_than_what_is_left_decides_nothing() {
    let case = Case { verdict: verdict(50, Some(4)), throttle: throttled(80), ..Case::default() };
    assert_eq!(case.resolve(), (2, 100, Reason::Schedule));
}

#[test]
fn silence_leaves_the_safe_profile_and_no_more() {
    let mut case = Case { lease_expired: true, ..Case::default() };
    case.local.safe_threads = 1;
    assert_eq!(case.resolve(), (1, 100, Reason::ConfigurationLease));
    case.pool.threads = Some(0);
    assert_eq!(case.resolve(), (0, 100, Reason::PoolThreads));
}

#[test]
fn a_share_of_the_time_becomes_fewer_threads_first() {
    let mut case = Case::default();
    for (cap, wanted) in
        [(100, (4, 100)), (99, (4, 99)), (75, (3, 100)), (60, (3, 80)), (25, (1, 100)), (1, (1, 4))]
    {
        case.pool.cap_percent = Some(cap);
        let (threads, percent, _) = case.resolve();
        assert_eq!((threads, percent), wanted, "{cap}");
    }
}

#[test]
fn the_chain_of_reasons_tells_every_rule_that_spoke() {
    let mut case = Case { verdict: verdict(75, None), throttle: throttled(90), ..Case::default() };
    case.pool.threads = Some(4);
    let (set_point, steps) = explain(case.input());
    let told: Vec<_> = steps.iter().map(|s| (s.rule, s.threads, s.cap_percent, s.decides)).collect();
    assert_eq!(
        told,
        [
            (Reason::HostThreads, 4, 100, true),
            (Reason::PoolThreads, 4, 100, true),
            (Reason::Schedule, 4, 75, true),
            (Reason::Throttle, 4, 75, false),
            (Reason::LocalLimit, 4, 75, false),
        ]
    );
    assert_eq!(set_point.reason, Reason::Schedule);
    assert!(steps[3].says.contains("busy"), "{}", steps[3].says);
}

#[test]
fn nothing_that_is_said_makes_a_worker_harsher_than_its_host_allows() {
    let mut case = Case { local: LocalState { cap_percent: 40, ..LocalState::open(2) }, ..Case::default() };
    case.node.threads = Some(64);
    case.node.cap_percent = Some(100);
    assert_eq!(case.resolve(), (1, 80, Reason::LocalLimit));
}

#[test]
fn a_worker_and_a_pool_of_other_names_are_not_meant() {
    let mut throttles = Throttles::default();
    let order = throttled(0).unwrap().order;
    let target = ThrottleTarget::Worker(WorkerId::new("w2").unwrap());
    throttles.take(arrived(target, order)).unwrap();
    let (pool, worker) = (PoolId::new("main").unwrap(), WorkerId::new("w1").unwrap());
    assert_eq!(throttles.lowest(&pool, &worker, &Default::default(), TimestampMs(1)), None);
}
