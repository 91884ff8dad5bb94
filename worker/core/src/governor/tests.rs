//! Hosts under load, sample by sample.

use super::*;

struct Host {
    governor: Governor,
    policy: LoadPolicy,
    memory_hard: bool,
    now: u64,
    told: Vec<Verdict>,
}

impl Host {
    fn new(memory_hard: bool) -> Self {
        Self {
            governor: Governor::default(),
            policy: LoadPolicy::default(),
            memory_hard,
            now: 0,
            told: Vec::new(),
        }
    }

    /// Runs for `ms` milliseconds under this load, a sample every 20 ms, and gives the limits that were seen.
    fn run(&mut self, ms: u64, sample: LoadSample) -> Vec<u8> {
        let mut seen = Vec::new();
        for _ in 0..ms / 20 {
            self.now += 20;
            let sample = LoadSample { elapsed_us: 20_000, ..sample };
            let told = self.governor.sample(sample, &self.policy, self.memory_hard, MonotonicMs(self.now));
            self.told.extend(told);
            seen.push(self.left());
        }
        seen
    }

    fn left(&self) -> u8 {
        self.governor.limit().map_or(100, |l| l.percent)
    }
}

fn demand(percent: u16) -> LoadSample {
    LoadSample { demand_permille: percent * 10, ..LoadSample::default() }
}

#[test]
fn a_search_that_only_computes_is_left_to_the_kernel_until_the_host_is_nearly_full() {
    for (load, left) in [(5, 100), (50, 100), (80, 100), (91, 50), (100, 0)] {
        let mut host = Host::new(false);
        host.run(2_000, demand(load));
        assert_eq!(host.left(), left, "{load} %");
    }
}

#[test]
fn what_a_search_takes_that_does_not_yield_counts_as_demand() {
    for (load, left) in [(5, 100), (70, 100), (80, 60), (90, 0), (93, 0)] {
        let mut host = Host::new(false);
        host.governor.set_taken(100);
        host.run(2_000, demand(load));
        assert!(host.left().abs_diff(left) <= STEP, "{load} %: {}", host.left());
    }
}

#[test]
fn a_search_that_needs_the_memory_shrinks_in_proportion_to_the_demand() {
    for (load, left) in [(5, 100), (20, 100), (39, 60), (50, 25), (64, 0)] {
        let mut host = Host::new(true);
        host.run(2_000, demand(load));
        assert!(host.left().abs_diff(left) <= STEP, "{load} %: {}", host.left());
    }
}

#[test]
fn after_a_step_of_the_load_the_limit_has_settled_within_300_ms_and_stays() {
    let mut host = Host::new(true);
    host.run(1_000, demand(5));
    let seen = host.run(5_000, demand(60));
    assert_eq!(seen[14], 0, "after 300 ms: {seen:?}");
    assert!(seen.windows(2).all(|w| w[1] <= w[0]), "{seen:?}");
    assert!(matches!(host.told[..], [Verdict::Engaged(LoadLimit { reason: LoadReason::Demand, .. })]));
}

/// What two processors are seen to do in 20 ms when requests of half a millisecond come at random and the kernel looks who
/// runs at each of ten ticks.
fn requests(percent: u16, seed: &mut u64) -> LoadSample {
    let mut uniform = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f64 / f64::from(1 << 24)
    };
    let mean = f64::from(percent) / 100.0 * 40.0 / 0.5;
    // A sum of twelve such numbers is near enough to the normal distribution.
    let count = mean + ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) * mean.sqrt();
    let ticks = (0..10).filter(|_| uniform() < count * 0.5 / 40.0).count();
    demand(ticks as u16 * 10)
}

#[test]
fn after_a_step_to_a_load_of_single_requests_the_limit_has_nearly_always_settled_within_300_ms() {
    let mut late = 0;
    for mut seed in 0..200 {
        let mut host = Host::new(true);
        let mut seen = Vec::new();
        for _ in 0..50 {
            let sample = requests(5, &mut seed);
            host.run(20, sample);
        }
        for _ in 0..150 {
            let sample = requests(56, &mut seed);
            seen.extend(host.run(20, sample));
        }
        assert!(seen.windows(2).all(|w| w[1] <= w[0]), "{seen:?}");
        late += u32::from(seen[14].abs_diff(*seen.last().unwrap()) > 10);
    }
    println!("{late} of 200 steps took longer");
    assert!(late <= 10, "{late} of 200 steps took longer");
}

#[test]
fn single_requests_do_not_lower_the_cap_of_a_search_that_the_kernel_holds_back() {
    let mut lowered = 0;
    for mut seed in 0..200 {
        let mut host = Host::new(false);
        for _ in 0..150 {
            let sample = requests(60, &mut seed);
            host.run(20, sample);
        }
        lowered += usize::from(!host.told.is_empty());
    }
    println!("lowered in {lowered} of 200 runs of three seconds");
    assert_eq!(lowered, 0);
}

#[test]
fn a_load_that_jumps_to_and_fro_does_not_make_the_limit_jump() {
    let mut host = Host::new(true);
    host.run(1_000, demand(40));
    let (mut changes, mut last) = (0, host.left());
    for round in 0..100 {
        let seen = host.run(100, demand(if round % 2 == 0 { 30 } else { 50 }));
        for left in seen {
            changes += u32::from(left != last);
            last = left;
        }
    }
    assert!(changes <= 4, "{changes} changes in ten seconds");
}

#[test]
fn the_search_comes_back_only_after_the_host_was_calm_and_both_ends_are_told() {
    let mut host = Host::new(true);
    host.run(1_000, demand(70));
    assert_eq!(host.left(), 0);
    host.run(1_500, demand(0));
    assert_eq!(host.left(), 0, "not before the release time");
    host.run(4_000, demand(0));
    assert_eq!(host.left(), 100);
    assert!(
        matches!(host.told[1], Verdict::Released { least_percent: 0, engaged_ms: 2_000.. }),
        "{:?}",
        host.told
    );
    assert_eq!(host.told.len(), 2);
}

#[test]
fn the_least_of_all_measures_holds_and_is_named() {
    let mut host = Host::new(false);
    host.run(200, LoadSample { memory_permille: 150, steal_permille: 900, ..demand(90) });
    let limit = host.governor.limit().unwrap();
    assert_eq!((limit.percent, limit.reason, limit.measured), (0, LoadReason::MemoryPressure, 15));
    let mut host = Host::new(false);
    host.run(200, LoadSample { steal_permille: 300, ..demand(10) });
    assert_eq!(host.governor.limit().map(|l| (l.percent, l.reason)), Some((50, LoadReason::Steal)));
}

#[test]
fn it_learns_how_much_the_application_tolerates() {
    let mut host = Host::new(false);
    // An application that is slowed as soon as more than half of the search runs.
    let mut harmed = 0;
    for step in 0..6_000 {
        let slow = host.left() > 50;
        harmed += u32::from(slow && step >= 1_000);
        host.run(20, LoadSample { slowdown_percent: Some(if slow { 40 } else { 0 }), ..demand(10) });
    }
    assert!((35..=50).contains(&host.left()), "{}", host.left());
    assert!(harmed < 250, "after it has learnt, it harms for {harmed} of 5000 samples");
}

#[test]
fn a_load_monitor_that_falls_silent_stops_the_search_until_it_is_back() {
    let mut host = Host::new(false);
    assert_eq!(host.governor.next_deadline(), None, "before the first sample nothing is expected");
    host.run(1_000, demand(10));
    assert_eq!(host.governor.next_deadline(), Some(MonotonicMs(3_000)));
    assert_eq!(host.governor.tick(MonotonicMs(2_999)), None);
    assert!(matches!(host.governor.tick(MonotonicMs(3_000)), Some(Verdict::Engaged(_))));
    assert_eq!(host.governor.limit().map(|l| (l.percent, l.reason)), Some((0, LoadReason::Unmeasured)));
    assert_eq!(host.governor.next_deadline(), None);
    host.now = 3_000;
    host.run(3_000, demand(10));
    assert_eq!(host.left(), 100);
}

#[test]
fn wide_vectors_are_for_hosts_that_have_been_quiet_for_a_while() {
    let mut host = Host::new(false);
    assert!(!host.governor.wide_vectors(), "before anything is known");
    host.run(1_900, demand(2));
    assert!(!host.governor.wide_vectors());
    host.run(200, demand(2));
    assert!(host.governor.wide_vectors());
    host.run(60, demand(33));
    assert!(!host.governor.wide_vectors(), "at once");
    host.run(6_000, demand(6));
    assert!(!host.governor.wide_vectors());
    host.run(4_000, demand(2));
    assert!(host.governor.wide_vectors());
    host.governor.tick(MonotonicMs(host.now + SAMPLE_LIFE_MS));
    assert!(!host.governor.wide_vectors(), "nobody measures");
    for (below, wide) in [(1, false), (101, true)] {
        let mut host = Host::new(false);
        host.policy.wide_vectors_below_percent = below;
        host.run(3_000, demand(100));
        assert!(!host.governor.wide_vectors() || wide);
        host.run(9_000, demand(1));
        assert_eq!(host.governor.wide_vectors(), wide, "below {below}");
    }
}

#[test]
fn the_rhythm_follows_the_load() {
    let mut host = Host::new(false);
    let mut last = u32::MAX;
    for load in [0, 15, 33, 50, 80] {
        host.run(2_000, demand(load));
        let Rhythm { work_us, rest_us } = host.governor.rhythm();
        assert!(work_us <= last && rest_us > 0);
        last = work_us;
    }
    assert_eq!(last, 500);
}
