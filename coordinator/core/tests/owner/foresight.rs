//! What is foretold is what the worker's own rules say.

use bus_schemas::{
    PoolId, TimestampMs, WorkerId,
    command::Preview,
    config::{NodeConfig, PoolConfig, parse_strict},
    member::{Role, Standing},
    policy::FarmConfig,
    set_point::{LoadLimit, LoadReason, LocalState, Reason, SetPoint},
    throttle::{ArrivedOrder, Throttle, Throttles},
};
use coordinator_core::foresight::{
    Circumstances, LOAD_LASTS_MS, MAX_SPANS, MemberFacts, Outlook, explain, preview,
};

/// 2026-11-21T00:00:00Z, a Saturday.
const SATURDAY: TimestampMs = TimestampMs(1_795_219_200_000);
const HOUR_MS: u64 = 3_600_000;

fn facts(n: u32, threads: u16) -> MemberFacts {
    MemberFacts {
        pool: PoolId::new("main").unwrap(),
        worker: WorkerId::new(format!("w{n}")).unwrap(),
        role: Role::Active,
        standing: Standing::Present,
        local: Some(LocalState::open(threads)),
        reported: None,
        threads,
    }
}

fn pool(json: &str) -> PoolConfig {
    parse_strict(json.as_bytes()).unwrap()
}

/// Closed from 08:00 to 18:00 on Saturdays.
const CLOSED_BY_DAY: &str = "{\"schedule\":{\"weekly\":{\"sat\":\"########..........######\"}}}";

fn look(config: &PoolConfig, proposed: Option<&PoolConfig>, hours: u64) -> Preview {
    let quarter = NodeConfig { threads: Some(1), ..NodeConfig::default() };
    let members: Vec<_> = (0..4).map(|n| (facts(n, 4), (n == 3).then(|| quarter.clone()))).collect();
    let id = PoolId::new("main").unwrap();
    preview(Outlook {
        id: &id,
        farm: None,
        config,
        proposed,
        members: &members,
        from: SATURDAY,
        until: SATURDAY.plus_ms(hours * HOUR_MS),
    })
}

#[test]
fn a_preview_has_a_span_for_each_change_and_no_gap() {
    let seen = look(&pool(CLOSED_BY_DAY), None, 48);
    assert_eq!(seen.workers, 4);
    let spans: Vec<_> =
        seen.spans.iter().map(|s| (s.from.as_str(), s.search.workers, s.search.thread_hundredths)).collect();
    let wanted = [
        ("2026-11-21T00:00:00.000Z", 4, 1_300),
        ("2026-11-21T08:00:00.000Z", 0, 0),
        ("2026-11-21T18:00:00.000Z", 4, 1_300),
    ];
    assert_eq!(spans, wanted);
    assert!(seen.spans.windows(2).all(|w| w[0].until == w[1].from));
    assert_eq!(seen.spans[2].until, "2026-11-23T00:00:00.000Z");
    assert_eq!(seen.spans[1].search.reasons.get(&Reason::Schedule), Some(&4));
    assert!(!seen.spans[1].search.rules.is_empty());
    assert_eq!(seen.changes, []);
}

#[test]
fn a_preview_of_a_proposal_shows_exactly_when_it_differs() {
    let proposed = pool("{\"schedule\":{\"weekly\":{\"sat\":\"########.....###########\"}}}");
    let seen = look(&pool(CLOSED_BY_DAY), Some(&proposed), 48);
    let changes: Vec<_> = seen.changes.iter().map(|c| (c.from.as_str(), c.until.as_str())).collect();
    assert_eq!(changes, [("2026-11-21T13:00:00.000Z", "2026-11-21T18:00:00.000Z")]);
    assert_eq!((seen.changes[0].before.workers, seen.changes[0].after.workers), (0, 4));
    assert_eq!(look(&proposed, Some(&proposed), 48).changes, []);
    let fewer = pool("{\"threads\":1,\"schedule\":{\"weekly\":{\"sat\":\"########..........######\"}}}");
    let seen = look(&pool(CLOSED_BY_DAY), Some(&fewer), 24);
    assert_eq!(seen.changes.len(), 2, "{:?}", seen.changes);
    assert_eq!(seen.changes[0].after.thread_hundredths, 400);
}

#[test]
fn a_preview_of_the_longest_time_with_the_busiest_schedule_is_bounded() {
    let window = |n: u32| {
        let minute = n % 60;
        format!(
            r#"{{"name":"n{n}","start":"2026-11-21T00:{minute:02}","end":"2026-11-21T23:{minute:02}","repeat":"FREQ=DAILY","priority":{n},"cap_percent":{n},"finish_by_seconds":3600}}"#
        )
    };
    let windows: Vec<_> = (0..64).map(window).collect();
    let config = pool(&format!(r#"{{"schedule":{{"windows":[{}]}}}}"#, windows.join(",")));
    let seen = look(&config, Some(&pool("{}")), 48);
    assert!(seen.spans.len() <= MAX_SPANS && seen.changes.len() <= MAX_SPANS);
}

fn at(member: &MemberFacts, throttles: &Throttles, ms: u64) -> bus_schemas::command::Explanation {
    let (farm, pool) = (FarmConfig::default(), pool(CLOSED_BY_DAY));
    let circumstances = Circumstances { farm: Some(&farm), pool: &pool, node: None, throttles };
    explain(member, circumstances, SATURDAY.plus_ms(ms), SATURDAY)
}

#[test]
fn an_explanation_names_the_rule_of_that_moment_and_what_it_had_to_assume() {
    let mut member = facts(1, 4);
    let load = LoadLimit { percent: 50, reason: LoadReason::Demand, measured: 91 };
    member.local = Some(LocalState { load: Some(load), ..LocalState::open(4) });
    member.reported = Some(SetPoint::stopped(Reason::Backup));
    let mut throttles = Throttles::default();
    let order = Throttle {
        cap_percent: 25,
        threads: None,
        ttl_seconds: 7_200,
        reason: "release".into(),
        source: "ops".into(),
    };
    let target = "worker.w1".parse().unwrap();
    let order = ArrivedOrder { target, order, given_at: SATURDAY, stored_at: None, keep_ms: 0 };
    throttles.take(order).unwrap();

    let now = at(&member, &throttles, 0);
    assert_eq!((now.set_point.threads, now.set_point.reason), (1, Reason::Throttle));
    assert_eq!(now.chain.last().map(|s| s.rule), Some(Reason::LocalLimit));
    assert!(now.chain.iter().any(|s| s.rule == Reason::Load), "{:?}", now.chain);
    assert_eq!((now.reported, now.assumed.len()), (member.reported, 0));

    let soon = at(&member, &throttles, LOAD_LASTS_MS);
    assert!(soon.chain.iter().any(|s| s.rule == Reason::Load));
    let later = at(&member, &throttles, HOUR_MS);
    assert_eq!(later.set_point.reason, Reason::Throttle);
    assert!(later.assumed.iter().any(|a| a.contains("load")), "{:?}", later.assumed);
    let after = at(&member, &throttles, 3 * HOUR_MS);
    assert_eq!((after.set_point.threads, after.set_point.reason), (4, Reason::HostThreads));
    assert_eq!(at(&member, &throttles, 9 * HOUR_MS).set_point.reason, Reason::Schedule);
}

#[test]
fn an_explanation_of_a_worker_that_was_never_heard_of_says_so() {
    let mut member = facts(1, 0);
    member.local = None;
    let told = at(&member, &Throttles::default(), 0);
    assert_eq!(told.set_point.threads, 1);
    assert!(told.assumed[0].contains("nothing was heard"), "{:?}", told.assumed);
}
