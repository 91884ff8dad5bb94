use super::*;
use bus_schemas::{
    ShareBits, examples,
    job::{AlgorithmRef, Job, WorkUnit},
    work::NonceRange,
};
use worker_core::{Assignment, Unit};

const SOON: Duration = Duration::from_secs(20);

fn order(algorithm: &str, number: u64, bits: u8, end: u64) -> SearchOrder {
    let mut job: Job = examples::job().unwrap();
    job.algorithm = AlgorithmRef { id: AlgorithmId::new(algorithm).unwrap(), ..job.algorithm };
    let target = bus_schemas::Target::from_share_bits(ShareBits::new(bits));
    let assignment =
        Assignment { job: Arc::new(job), slot: 3, slot_generation: 1, bits: ShareBits::new(bits), target };
    let unit = Unit { row: 5, nonces: NonceRange { start: 100, end } };
    SearchOrder { thread: 0, order: number, assignment: Arc::new(assignment), unit }
}

fn pool() -> (SearchPool, mpsc::Receiver<Input>) {
    let (results, inbox) = mpsc::channel(16);
    (SearchPool::new(results, Arc::new(|_| ()), Arc::new(Contexts::new(Some(1_500)))), inbox)
}

async fn next(inbox: &mut mpsc::Receiver<Input>) -> Input {
    tokio::time::timeout(SOON, inbox.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_finding_of_a_unit_is_reported_once_and_verifies() {
    for (algorithm, end) in [("sha256d", 100_000), ("scrypt-1024-1-1", 600)] {
        let (mut pool, mut inbox) = pool();
        let order = order(algorithm, 1, 6, end);
        pool.start(order.clone()).unwrap();
        let job = &order.assignment.job;
        let WorkUnit::Header(work) = &job.work else { panic!("a header") };
        let (roll, version) = order.unit.roll(&job.work);
        let header = work.header(job.extranonce(3, roll), version, work.time, 0);
        let plain = algorithms::find(&job.algorithm.id, 1).unwrap();
        let mut expected = (100..end as u32).filter(|nonce| {
            order.assignment.target.is_met_by(&plain.verify(&header, &nonce.to_le_bytes()).unwrap())
        });
        loop {
            match next(&mut inbox).await {
                Input::Found { nonce, order: 1, .. } => assert_eq!(Some(nonce), expected.next()),
                Input::UnitEnded { order: 1, next, .. } => {
                    assert_eq!((next, expected.next()), (end, None));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_stopped_unit_says_how_far_it_got_and_the_thread_takes_the_next() {
    let (mut pool, mut inbox) = pool();
    pool.start(order("sha256d", 1, 200, 1 << 32)).unwrap();
    pool.stop(0, 1);
    let Input::UnitEnded { order: 1, next: stopped_at, .. } = next(&mut inbox).await else { panic!() };
    assert!((100..1 << 32).contains(&stopped_at));
    pool.start(order("sha256d", 2, 200, 101)).unwrap();
    assert!(matches!(next(&mut inbox).await, Input::UnitEnded { order: 2, next: 101, .. }));
}

#[tokio::test]
async fn an_algorithm_that_is_not_compiled_in_is_refused() {
    let (mut pool, mut inbox) = pool();
    pool.start(order("x11", 1, 8, 200)).unwrap();
    let Input::SearchRefused { order: 1, reason, .. } = next(&mut inbox).await else { panic!() };
    assert_eq!(reason, "x11 version 1 is not here");
}

#[tokio::test]
async fn the_easiest_target_loses_nothing_although_every_hash_is_a_finding() {
    let (mut pool, mut inbox) = pool();
    pool.start(order("sha256d", 1, 0, 5_100)).unwrap();
    for nonce in 100..5_100 {
        assert!(matches!(next(&mut inbox).await, Input::Found { nonce: found, .. } if found == nonce));
    }
    assert!(matches!(next(&mut inbox).await, Input::UnitEnded { next: 5_100, .. }));
}

#[test]
fn a_chunk_is_sized_by_time_and_by_what_it_may_find() {
    let mut chunk = Chunk::default();
    for _ in 0..30 {
        chunk.measure(chunk.budget, Duration::from_nanos(chunk.budget * 100), CHUNK);
    }
    assert_eq!(chunk.budget, 20_000, "2 ms at 10 MH/s");
    chunk.measure(20_000, Duration::from_millis(20), CHUNK);
    assert_eq!(chunk.budget, 2_000);
    chunk.measure(2_000, Duration::from_millis(2), CHUNK / 4);
    assert_eq!(chunk.budget, 500, "a shorter rhythm makes shorter chunks");
    let most = |bits| {
        let target = bus_schemas::Target::from_share_bits(ShareBits::new(bits));
        most_positions(&Target::from_le_bytes(target.to_le_bytes()))
    };
    assert_eq!([most(0), most(1), most(9), most(200)], [64, 128, 64 << 9, u64::MAX]);
}

#[test]
fn a_chunk_is_searched_in_turns_that_are_neither_many_nor_short() {
    let of = |positions| turns(positions).collect::<Vec<_>>();
    assert_eq!(of(1), [1]);
    assert_eq!(of(52), [52], "a slow algorithm's chunk stays whole");
    assert_eq!(of(1_100), [512, 588], "vectors stay full");
    for positions in [1, 1_023, 5_000, 40_000, 80_000, 100_000, 127_500, MAX_BUDGET] {
        let turns = of(positions);
        assert_eq!(turns.iter().sum::<u64>(), positions);
        assert!(turns.len() <= TURNS as usize * 3 / 2);
        assert!(turns.len() == 1 || turns.iter().all(|turn| *turn >= LEAST_TURN));
        let (last, others) = turns.split_last().unwrap();
        assert!(others.iter().all(|turn| turn % if *turn < BATCHES { LANES } else { BATCHES } == 0));
        assert!(others.iter().all(|turn| (*turn..=2 * turn).contains(last)));
    }
}

#[tokio::test]
async fn a_thread_that_rests_wakes_for_a_stop_and_for_a_higher_cap() {
    let rhythm = worker_core::Rhythm { work_us: 1, rest_us: 16_000_000 };
    let resting = Pace { cap_percent: 1, priority: Priority::Idle, rhythm, wide_vectors: false };
    let open = Pace { cap_percent: 100, rhythm: worker_core::Rhythm { rest_us: 0, ..rhythm }, ..resting };
    let (mut pool, mut inbox) = pool();
    let begun = std::time::Instant::now();
    pool.set_pace(resting);
    pool.start(order("sha256d", 1, 200, 200_000)).unwrap();
    pool.set_pace(open);
    assert!(matches!(next(&mut inbox).await, Input::UnitEnded { order: 1, next: 200_000, .. }));
    pool.set_pace(resting);
    pool.start(order("sha256d", 2, 200, 1 << 32)).unwrap();
    pool.stop(0, 2);
    assert!(matches!(next(&mut inbox).await, Input::UnitEnded { order: 2, .. }));
    assert!(begun.elapsed() < Duration::from_micros(rhythm.rest_us.into()), "{:?}", begun.elapsed());
}
