use super::*;
use nix::unistd::gettid;
use std::sync::atomic::AtomicBool;

/// A thread that computes until it is dropped.
struct Spinner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Spinner {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            tell.send(gettid().as_raw()).unwrap();
            while !ended.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { stop, thread: Some(thread), tid: told.recv().unwrap() }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn load(reports: &mut mpsc::Receiver<Report>) -> LoadSample {
    loop {
        if let Report::Load(sample) = reports.blocking_recv().unwrap() {
            return sample;
        }
    }
}

#[test]
fn a_search_thread_is_seen_by_its_own_clock_and_what_should_run_and_does_not_is_a_shortfall() {
    let spinner = Spinner::start();
    let watched = Watched::default();
    watched.threads.lock().unwrap().push(spinner.tid);
    watched.hundredths.store(100, Relaxed);
    let wanted = Arc::clone(&watched.hundredths);
    let (sender, mut reports) = mpsc::channel(64);
    let _sampler = Sampler::start(watched, sender).unwrap();
    let seen = (0..100).map(|_| load(&mut reports)).find(|s| s.search_permille > 0);
    assert!(seen.is_some_and(|s| s.shortfall_permille.is_some()), "{seen:?}");
    // 40 threads that should run and of which one does.
    wanted.store(4_000, Relaxed);
    let short = (0..100).map(|_| load(&mut reports)).find(|s| s.shortfall_permille > Some(900));
    assert!(short.is_some());
}

#[test]
fn a_veto_is_told_when_it_is_put_and_when_it_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("veto");
    let watched = Watched { veto: Some(veto::Watch::new(file.clone())), ..Watched::default() };
    let (sender, mut reports) = mpsc::channel(64);
    let _sampler = Sampler::start(watched, sender).unwrap();
    let mut news = || loop {
        if let Report::Veto(text) = reports.blocking_recv().unwrap() {
            return text;
        }
    };
    veto::put(&file, "maintenance").unwrap();
    assert_eq!(news().as_deref(), Some("maintenance"));
    assert!(veto::lift(&file).unwrap());
    assert_eq!(news(), None);
}

#[test]
fn the_monitor_ends_when_nobody_listens_and_samples_without_room_are_counted() {
    let (sender, reports) = mpsc::channel(1);
    let sampler = Sampler::start(Watched::default(), sender).unwrap();
    while sampler.counters().dropped.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
    drop(reports);
    while sampler.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
        std::thread::yield_now();
    }
}

#[test]
fn a_host_on_which_measuring_takes_long_is_measured_less_often() {
    for (step_us, cadence_ms) in [(0, 20), (30, 20), (40, 20), (60, 30), (100, 50), (u64::MAX, 50)] {
        assert_eq!(cadence(step_us), Duration::from_millis(cadence_ms), "{step_us}");
    }
}
