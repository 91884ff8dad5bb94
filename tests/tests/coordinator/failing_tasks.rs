//! Every task's end is seen: each is broken on purpose, by panic and by an end, and the farm goes on.

use crate::Farm;
use bus_schemas::event::EventData;
use coordinator::tasks::Faults;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, every_hash_is_a_share, job},
    wait,
};
use tokio::sync::Notify;

/// Breaks one task once, when it is told to.
fn breaks_once(task: &'static str, panics: bool) -> (Faults, Arc<Notify>) {
    let (now, broken) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let told = now.clone();
    let faults = Faults::default().in_tasks(move |name| {
        let (told, broken, mine) = (told.clone(), broken.clone(), name == task);
        Box::pin(async move {
            if !mine || broken.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            told.notified().await;
            broken.store(true, Ordering::SeqCst);
            assert!(!panics, "broken on purpose");
        })
    });
    (faults, now)
}

#[tokio::test]
async fn a_task_of_a_pool_that_panics_or_ends_gives_the_pool_up_and_no_share_is_lost() {
    let tasks = [
        "writer",
        "ledger",
        "blocks",
        "found",
        "nodes",
        "source",
        "intake",
        "joins",
        "leaves",
        "heartbeats",
        "views",
    ];
    for (task, panics) in tasks.into_iter().flat_map(|task| [(task, true), (task, false)]) {
        let (faults, now) = breaks_once(task, panics);
        let mut farm = Farm::start_with(&every_hash_is_a_share(), "", faults).await;
        let worker = farm.worker("w1").await;
        let first = job(&farm.bus, &farm.pool).await.unwrap();
        worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
        now.notify_one();
        let told =
            |e: &EventData| matches!(e, EventData::PoolDisowned { reason, .. } if reason.contains(task));
        farm.event(task, told).await;
        farm.goes_on(first.epoch).await;
        worker.send(&worker.share(&first, 2).unwrap()).await.unwrap();
        farm.credited(2).await;
    }
}

#[tokio::test]
async fn a_recovery_that_panics_is_tried_again() {
    let left = Arc::new(AtomicU32::new(2));
    let faults = Faults::default().in_tasks(move |name| {
        let (left, mine) = (left.clone(), name == "recovery");
        Box::pin(async move {
            let broken =
                mine && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            assert!(!broken, "broken on purpose");
            std::future::pending::<()>().await;
        })
    });
    let farm = Farm::start_with(&every_hash_is_a_share(), "", faults).await;
    let worker = farm.worker("w1").await;
    worker.send(&worker.share(&job(&farm.bus, &farm.pool).await.unwrap(), 1).unwrap()).await.unwrap();
    farm.credited(1).await;
}

#[tokio::test]
async fn a_task_that_the_process_cannot_do_without_ends_it_and_another_coordinator_takes_over() {
    let tasks = [
        "lease",
        "events",
        "statuses",
        "configuration",
        "configuration in force",
        "throttles",
        "in_force",
        "store",
        "streams",
        "judges",
        "connection",
    ];
    for task in tasks {
        let (faults, now) = breaks_once(task, true);
        let mut farm = Farm::start_with(&every_hash_is_a_share(), "", faults).await;
        let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
        let _second = InProcess::start(farm.server.url(), "c2", "").unwrap();
        now.notify_one();
        let ended =
            tokio::time::timeout(COORDINATOR_DEADLINE, farm.coordinator.take().unwrap().ended()).await;
        let error = ended.expect("it ends").unwrap().unwrap_err();
        assert!(error.to_string().contains(task), "{task}: {error}");
        farm.goes_on(epoch).await;
    }
}

#[tokio::test]
async fn without_its_pages_a_coordinator_goes_on_and_tells_that_they_are_gone() {
    for (task, panics) in [("http", true), ("http", false), ("metrics upkeep", true)] {
        let (faults, now) = breaks_once(task, panics);
        let more = "http = \"127.0.0.1:0\"";
        let mut farm = Farm::start_with(&every_hash_is_a_share(), more, faults).await;
        let worker = farm.worker("w1").await;
        now.notify_one();
        let told = |e: &EventData| matches!(e, EventData::TaskFailed { task: t, .. } if t == task);
        farm.event(task, told).await;
        worker.send(&worker.share(&job(&farm.bus, &farm.pool).await.unwrap(), 1).unwrap()).await.unwrap();
        farm.credited(1).await;
    }
}

#[tokio::test]
async fn a_command_whose_answer_panics_harms_no_other() {
    let (faults, now) = breaks_once("answer", true);
    let farm = Farm::start_with(&every_hash_is_a_share(), "", faults).await;
    now.notify_one();
    let status = bus_schemas::subject::command("farm", "status");
    wait::until(COORDINATOR_DEADLINE, "a request that is not answered", async || {
        let request = farm.bus.request_bytes(&status, Default::default());
        let answer = tokio::time::timeout(std::time::Duration::from_secs(1), request).await;
        (!matches!(answer, Ok(Ok(_)))).then_some(())
    })
    .await
    .unwrap();
    wait::until(COORDINATOR_DEADLINE, "an answer", async || {
        farm.bus.request_bytes(&status, Default::default()).await.ok()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_share_that_makes_its_algorithm_panic_is_refused_told_and_holds_nobody_up() {
    let faults = Faults::default().in_judges(|task| assert_ne!(task.finding.nonce(), 7, "broken on purpose"));
    let mut farm = Farm::start_with(&every_hash_is_a_share(), "", faults).await;
    let worker = farm.worker("w1").await;
    let job = job(&farm.bus, &farm.pool).await.unwrap();
    for nonce in [6, 7, 8] {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    let told = |e: &EventData| matches!(e, EventData::TaskFailed { task, .. } if task == "judge");
    farm.event("the panic", told).await;
    farm.credited(2).await;
    let refused = system_tests::coordinator::ledger(&farm.bus, &farm.pool).await.unwrap();
    let not_judged = refused.iter().flat_map(|r| &r.refused);
    let not_judged = not_judged.filter(|r| r.refusal == bus_schemas::share::ShareRefusal::NotJudged);
    assert_eq!(not_judged.map(|r| r.shares).sum::<u64>(), 1);
}
