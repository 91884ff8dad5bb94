//! Certificates on the stage.

use super::stage::{Seen, Stage, clearance, digest, job, node, pool};
use crate::{
    clearance::{Clearance, DIGEST_DIFFERS, Denied, EXPIRED, NOT_JUDGED, NOT_OFFERED},
    effect::Effect,
    input::Input,
};
use bus_schemas::{
    AlgorithmId, Blob, TimestampMs,
    config::{NodeConfig, PoolConfig},
    event::EventData,
    job::{AlgorithmRef, Job},
    set_point::Reason,
};

fn one_thread() -> PoolConfig {
    PoolConfig { threads: Some(1), ..PoolConfig::default() }
}

/// Codes of the refusals that were told to the farm.
fn told(seen: &Seen) -> Vec<String> {
    let code = |e: &Effect| match e {
        Effect::PublishEvent(event) => match &event.what {
            EventData::WorkerAlgorithmRefused { code, .. } => Some(code.clone()),
            EventData::WorkerCatalogueRefused { code, .. } => Some(format!("catalogue {code}")),
            _ => None,
        },
        _ => None,
    };
    seen.all.iter().filter_map(code).collect()
}

fn denied(code: &'static str) -> Denied {
    Denied { code, reason: "for a reason".to_owned() }
}

fn reason(stage: &Stage) -> Reason {
    stage.core.status().set_point.reason
}

fn with_algorithm(sequence: u64, id: &str, version: u32, digest: Blob) -> Job {
    let mut job = job(1, sequence, 1);
    job.algorithm = AlgorithmRef { id: AlgorithmId::new(id).unwrap(), version, digest };
    job.id = job.derive_id().unwrap();
    job
}

#[test]
fn a_worker_that_was_told_nothing_of_certificates_joins_and_searches_nothing() {
    let mut stage = Stage::uncertified();
    let connected = stage.give(Input::Connected);
    assert_eq!(connected.joins(), 1);
    stage.give(Input::PoolConfig(pool(1, one_thread())));
    stage.give(Input::Role(Box::new(super::stage::member(1, 1))));
    let seen = stage.give(Input::Job(Box::new(job(1, 1, 1))));
    assert_eq!((seen.started().len(), told(&seen)), (0, vec![NOT_JUDGED.to_owned()]));
    assert_eq!(reason(&stage), Reason::NotCertified);
    assert!(stage.live(5_000).heartbeats() >= 4, "it stays a member");
    assert_eq!(stage.give(clearance(Ok(TimestampMs(u64::MAX)))).started().len(), 1);
}

#[test]
fn a_clearance_that_is_withdrawn_stops_the_search_at_once_and_its_return_goes_on_at_the_same_place() {
    let (mut stage, started) = Stage::mining(one_thread());
    let seen = stage.give(clearance(Err(denied("certificate-revoked"))));
    assert_eq!((seen.stopped().len(), seen.heartbeats()), (1, 1));
    assert_eq!(told(&seen), ["certificate-revoked"]);
    assert_eq!(reason(&stage), Reason::NotCertified);
    stage.end(&started[0], 300);
    for _ in 0..3 {
        assert!(told(&stage.give(clearance(Err(denied("certificate-revoked"))))).is_empty(), "told once");
    }
    let seen =
        stage.give(Input::NodeConfig(node(2, NodeConfig { threads: Some(4), ..NodeConfig::default() })));
    assert!(seen.started().is_empty(), "nothing on the bus lifts it");
    let again = stage.give(clearance(Ok(TimestampMs(u64::MAX)))).started();
    assert_eq!(again[0].unit.nonces.start, 300);
    assert_eq!(told(&stage.give(clearance(Err(denied("certificate-revoked"))))), ["certificate-revoked"]);
}

#[test]
fn a_clearance_ends_by_itself_on_the_second_while_the_bus_is_gone() {
    let (mut stage, _) = Stage::mining(one_thread());
    let until = TimestampMs(stage.moment().wall.0 + 100_000);
    stage.give(clearance(Ok(until)));
    stage.give(Input::Disconnected);
    assert!(stage.live(99_999).stopped().is_empty());
    let seen = stage.live(1);
    assert_eq!((seen.stopped().len(), told(&seen)), (1, vec![EXPIRED.to_owned()]));
    assert!(told(&stage.give(clearance(Err(denied(EXPIRED))))).is_empty(), "the shell only repeats it");
}

#[test]
fn a_clearance_of_another_build_or_version_permits_nothing() {
    for (version, bytes) in [(1, 8), (2, 7)] {
        let (mut stage, _) = Stage::mining(one_thread());
        let verdict = Ok(TimestampMs(u64::MAX));
        let (algorithm, digest) = (AlgorithmId::sha256d(), Blob(vec![bytes; 32]));
        let seen = stage.give(Input::Clearances(vec![Clearance { algorithm, version, digest, verdict }]));
        assert_eq!((seen.stopped().len(), reason(&stage)), (1, Reason::NotCertified), "{version} {bytes}");
    }
}

#[test]
fn a_job_for_another_build_or_another_algorithm_is_refused_with_an_event_and_the_last_one_goes_on() {
    let (mut stage, started) = Stage::mining(one_thread());
    let current = |stage: &Stage| stage.core.status().job_sequence;
    for (job, code) in [
        (with_algorithm(2, "sha256d", 1, Blob(vec![8; 32])), DIGEST_DIFFERS),
        (with_algorithm(3, "x11", 1, Blob::default()), NOT_OFFERED),
    ] {
        let seen = stage.give(Input::Job(Box::new(job.clone())));
        assert_eq!(told(&seen), [code]);
        assert_eq!(seen.refusals().iter().map(|r| r.label()).collect::<Vec<_>>(), [code]);
        let seen = stage.give(Input::Job(Box::new(job)));
        assert_eq!((told(&seen), seen.refusals().len()), (Vec::new(), 1), "told once, counted each time");
        assert_eq!((current(&stage), seen.stopped().len()), (Some(1), 0));
    }
    let seen = stage.give(Input::Job(Box::new(with_algorithm(4, "sha256d", 1, digest()))));
    assert_eq!((current(&stage), seen.stopped()), (Some(4), vec![(0, started[0].order)]));
}

#[test]
fn a_catalogue_that_is_refused_is_told_and_stops_nothing() {
    let (mut stage, _) = Stage::mining(one_thread());
    let seen = stage.give(Input::CatalogueRefused(denied("rolled-back")));
    assert_eq!((told(&seen), seen.stopped().len()), (vec!["catalogue rolled-back".to_owned()], 0));
    assert!(told(&stage.give(Input::CatalogueRefused(denied("rolled-back")))).is_empty());
}
