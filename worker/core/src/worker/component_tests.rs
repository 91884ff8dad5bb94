//! Components on the stage.

use super::{
    Offered,
    stage::{Seen, Stage, digest, job},
};
use crate::{
    clearance::{Clearance, Denied},
    effect::Effect,
    input::Input,
};
use bus_schemas::{
    AlgorithmId, Blob, TimestampMs,
    config::PoolConfig,
    event::EventData,
    job::{AlgorithmRef, Job},
};

fn one_thread() -> PoolConfig {
    PoolConfig { threads: Some(1), ..PoolConfig::default() }
}

/// A component whose digest is made of `byte`.
fn component(byte: u8) -> AlgorithmRef {
    AlgorithmRef { id: AlgorithmId::new("guest").unwrap(), version: 1, digest: Blob(vec![byte; 32]) }
}

fn job_of(sequence: u64, algorithm: AlgorithmRef) -> Job {
    let mut job = Job { algorithm, ..job(1, sequence, 1) };
    job.id = job.derive_id().unwrap();
    job
}

fn give(stage: &mut Stage, sequence: u64, byte: u8) -> Seen {
    stage.give(Input::Job(Box::new(job_of(sequence, component(byte)))))
}

fn obtained(stage: &mut Stage, byte: u8) -> Seen {
    let AlgorithmRef { id, version, digest } = component(byte);
    stage.give(Input::AlgorithmObtained(Offered { id, version, digest, memory_hard: false }))
}

fn denied(stage: &mut Stage, byte: u8) -> Seen {
    let denied = Denied { code: "not-certified", reason: "for a reason".to_owned() };
    stage.give(Input::AlgorithmDenied { algorithm: component(byte), denied })
}

/// The native algorithm and these components are certified.
fn certify(stage: &mut Stage, bytes: &[u8]) -> Seen {
    let clearance = |algorithm: AlgorithmId, digest: Blob| Clearance {
        algorithm,
        version: 1,
        digest,
        verdict: Ok(TimestampMs(u64::MAX)),
    };
    let mut all = vec![clearance(AlgorithmId::sha256d(), digest())];
    all.extend(bytes.iter().map(|byte| clearance(component(*byte).id, component(*byte).digest)));
    stage.give(Input::Clearances(all))
}

fn asked(seen: &Seen) -> Vec<AlgorithmRef> {
    let asked =
        |e: &Effect| if let Effect::ObtainAlgorithm(wanted) = e { Some(wanted.clone()) } else { None };
    seen.all.iter().filter_map(asked).collect()
}

fn told(seen: &Seen) -> Vec<String> {
    let code = |e: &Effect| match e {
        Effect::PublishEvent(event) => match &event.what {
            EventData::WorkerAlgorithmRefused { code, .. } => Some(code.clone()),
            _ => None,
        },
        _ => None,
    };
    seen.all.iter().filter_map(code).collect()
}

fn sequence(stage: &Stage) -> Option<u64> {
    stage.core.status().job_sequence
}

#[test]
fn a_component_is_asked_for_once_and_searched_when_it_is_here_and_certified() {
    let (mut stage, started) = Stage::mining(one_thread());
    assert_eq!(asked(&give(&mut stage, 2, 8)), [component(8)]);
    for again in [give(&mut stage, 2, 8), give(&mut stage, 3, 8)] {
        assert_eq!((asked(&again), again.stopped().len()), (Vec::new(), 0), "what is searched goes on");
    }
    assert_eq!(sequence(&stage), Some(1));
    certify(&mut stage, &[8]);
    let seen = obtained(&mut stage, 8);
    assert_eq!((sequence(&stage), seen.stopped().len()), (Some(3), 1), "the latest job is searched");
    let seen = stage.end(&started[0], 100);
    assert_eq!(seen.started()[0].assignment.job.algorithm, component(8));
    let next = give(&mut stage, 4, 8);
    assert_eq!((asked(&next), sequence(&stage)), (Vec::new(), Some(4)), "it is here");
}

#[test]
fn a_component_that_is_here_without_a_certificate_is_not_searched_and_one_that_loses_it_stops() {
    let (mut stage, started) = Stage::mining(one_thread());
    give(&mut stage, 2, 8);
    let seen = obtained(&mut stage, 8);
    assert_eq!(told(&seen), ["not-judged"]);
    assert!(stage.end(&started[0], 100).started().is_empty());
    assert_eq!(certify(&mut stage, &[8]).started().len(), 1);
    let seen = certify(&mut stage, &[]);
    assert_eq!((seen.stopped().len(), told(&seen).len()), (1, 1));
}

#[test]
fn a_component_that_is_denied_is_told_once_and_asked_for_anew_by_each_job() {
    let (mut stage, _) = Stage::mining(one_thread());
    for sequence in 2..5 {
        assert_eq!(asked(&give(&mut stage, sequence, 8)), [component(8)]);
        let seen = denied(&mut stage, 8);
        let news = if sequence == 2 { vec!["not-certified".to_owned()] } else { Vec::new() };
        assert_eq!((told(&seen), seen.stopped().len()), (news, 0));
        assert_eq!(seen.refusals().iter().map(|r| r.label()).collect::<Vec<_>>(), ["algorithm-denied"]);
    }
    assert!(told(&denied(&mut stage, 8)).is_empty(), "nobody asked");
    assert_eq!(sequence(&stage), Some(1));
}

#[test]
fn a_job_that_is_superseded_while_it_waits_is_never_searched() {
    let (mut stage, _) = Stage::mining(one_thread());
    assert_eq!(asked(&give(&mut stage, 2, 8)), [component(8)]);
    assert!(asked(&give(&mut stage, 3, 9)).is_empty(), "one is asked for at a time");
    let late = give(&mut stage, 2, 8);
    assert_eq!(late.refusals().iter().map(|r| r.label()).collect::<Vec<_>>(), ["job-outdated"]);
    let seen = obtained(&mut stage, 8);
    assert_eq!((asked(&seen), sequence(&stage)), (vec![component(9)], Some(1)));
    stage.give(Input::Job(Box::new(job(1, 4, 1))));
    assert_eq!(sequence(&stage), Some(4), "a native job waits for nothing");
    let seen = obtained(&mut stage, 9);
    assert_eq!((sequence(&stage), seen.stopped().len(), asked(&seen).len()), (Some(4), 0, 0));
}

#[test]
fn a_component_that_fails_is_asked_for_anew_by_the_next_job() {
    let mut stage = Stage::mining(one_thread()).0;
    certify(&mut stage, &[8]);
    let running = stage.give(Input::Job(Box::new(job(1, 2, 1))));
    assert_eq!(running.stopped().len(), 1);
    give(&mut stage, 3, 8);
    obtained(&mut stage, 8);
    let order = stage.core.crew.running().next().unwrap().order;
    let started = stage.give(Input::UnitEnded { thread: 0, order, next: 0 }).started();
    let refused = Input::SearchRefused {
        thread: 0,
        order: started[0].order,
        reason: "interrupted after 1000 ms".to_owned(),
    };
    assert!(stage.give(refused).started().is_empty());
    assert_eq!(asked(&give(&mut stage, 4, 8)), [component(8)]);
}
