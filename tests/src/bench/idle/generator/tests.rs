use super::*;
use crate::bench::idle::application;
use std::{net::TcpListener, thread};

/// The application in this process, with `work` for each request.
fn application(work: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let rounds = if work.is_zero() { 1 } else { application::calibrate(work) };
    thread::spawn(move || application::serve(&listener, rounds));
    address
}

const WARM_UP: Duration = Duration::from_millis(50);
const LENGTH: Duration = Duration::from_millis(250);

#[test]
fn every_request_that_counts_is_answered_and_its_latency_told() {
    let mut generator = Generator::connect(application(Duration::ZERO), "/", 4).unwrap();
    let arrivals = Arrivals::poisson(1, 400.0, WARM_UP, LENGTH);
    let counted = arrivals.at.iter().filter(|at| **at >= nanos(WARM_UP)).count();
    for _ in 0..2 {
        let begin = Instant::now();
        let answers = generator.run(&arrivals, begin).unwrap();
        assert!(begin.elapsed() >= arrivals.end);
        assert_eq!(answers.latencies.len(), counted);
        assert!(answers.latencies.iter().all(|latency| *latency > 0));
        assert!(answers.processor_time > Duration::ZERO);
    }
}

#[test]
fn latency_counts_from_the_intended_time_though_the_request_waited_for_a_connection() {
    let work = Duration::from_millis(5);
    let mut generator = Generator::connect(application(work), "/", 1).unwrap();
    let arrivals = Arrivals { at: vec![0; 10], counted_from: Duration::ZERO, end: Duration::from_millis(1) };
    let answers = generator.run(&arrivals, Instant::now()).unwrap();
    assert!(answers.latencies.is_sorted());
    // Nine others went before the last. Calibration may have been a little too low.
    assert!(*answers.latencies.last().unwrap() > nanos(work) * 8, "{:?}", answers.latencies);
}

#[test]
fn an_application_that_is_gone_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Generator::connect(address, "/", 1).unwrap_err();
    assert!(matches!(error, GeneratorError::Connection { what: "connecting to", .. }), "{error}");
}
