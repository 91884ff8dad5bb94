//! What the load monitor takes of one processor: `cargo run --release --example load-cost [seconds]`.
//!
//! It runs beside as many search-like threads as there are processors, since reading their clocks is part of its work.
#![allow(clippy::unwrap_used, reason = "a measurement program may end with what went wrong")]

use bus_schemas::policy::Priority;
use nix::unistd::gettid;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::channel,
    },
    time::{Duration, Instant},
};
use worker::{
    affinity, idle_class,
    load::{Report, Sampler, Watched},
    veto,
};

fn main() {
    let seconds: u64 = std::env::args().nth(1).map_or(10, |text| text.parse().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let watched = Watched {
        veto: Some(veto::Watch::new(std::env::temp_dir().join("dcmf-load-cost-veto"))),
        ..Watched::default()
    };
    let processors = affinity::allowed().unwrap();
    let spinners: Vec<_> = processors
        .iter()
        .map(|cpu| {
            let ((tell, told), stop, cpu) = (channel(), Arc::clone(&stop), *cpu);
            let thread = std::thread::spawn(move || {
                affinity::pin(0, cpu).unwrap();
                idle_class::enter(Priority::Idle).unwrap();
                tell.send(gettid().as_raw()).unwrap();
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
            watched.threads.lock().unwrap().push(told.recv().unwrap());
            thread
        })
        .collect();
    watched.hundredths.store(u32::try_from(processors.len() * 100).unwrap(), Relaxed);
    let (sender, mut reports) = tokio::sync::mpsc::channel(64);
    let sampler = Sampler::start(watched, sender).unwrap();
    let (began, mut samples, mut last) = (Instant::now(), 0_u32, None);
    while began.elapsed() < Duration::from_secs(seconds) {
        if let Some(Report::Load(sample)) = reports.blocking_recv() {
            samples += 1;
            last = Some(sample);
        }
    }
    let counters = sampler.counters();
    let (steps, own_us) = (counters.steps.load(Relaxed), counters.own_us.load(Relaxed));
    let elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap();
    println!("{steps} measurements, {samples} samples, {} dropped", counters.dropped.load(Relaxed));
    println!("{:.1} µs a measurement", own_us as f64 / steps as f64);
    println!("{:.3} % of one processor; at most 0.25 is wanted", own_us as f64 * 100.0 / elapsed_us as f64);
    println!("the last sample: {last:?}");
    stop.store(true, Relaxed);
    for spinner in spinners {
        spinner.join().unwrap();
    }
}
