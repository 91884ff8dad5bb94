//! Some hundred farms, each disturbed for some minutes of virtual time.

use simulation::{Counts, Options, run, shrink};
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 150;

fn play(options: &Options) -> Counts {
    let report = run(options);
    let report = if report.failure.is_some() { shrink(report) } else { report };
    let steps =
        || report.steps.iter().map(|(place, step)| format!("{place}: {step:?}\n")).collect::<String>();
    assert_eq!(report.failure, None, "{}{}", steps(), report.options.command());
    report.counts
}

#[test]
fn whatever_happens_to_a_farm_its_promises_hold() {
    let next = AtomicU64::new(1);
    let play_some = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return counts;
            }
            counts.add(play(&Options::new(seed, Options::workers_of(seed), 2)));
        }
    };
    let mut counts = Counts::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(play_some)).collect();
        threads.into_iter().for_each(|thread| counts.add(thread.join().unwrap()));
    });
    assert!(counts.crashes > 200 && counts.partitions > 200 && counts.restores > 15, "{}", counts.summary());
    assert!(counts.credited > 2_000 && counts.orders > 100 && counts.edits > 100, "{}", counts.summary());
}

#[test]
fn a_farm_of_two_hundred_workers_keeps_its_promises() {
    let counts = play(&Options { coordinators: Some(3), ..Options::new(7, 200, 1) });
    assert!(counts.credited > 500, "{}", counts.summary());
}

#[test]
fn one_seed_gives_one_simulation() {
    let story = |seed| run(&Options { story: true, ..Options::new(seed, 4, 1) }).story;
    let told = story(5);
    assert!(told.len() > 100 && told == story(5) && told != story(6));
}
