//! RandomX: the preparation of its data set, then how fast it searches with the data set and without.

use super::{
    Plan, Selection, WORKER, case, contender::OnPath, huge_pages::HugePages, race::Rows,
    whole_worker::WholeWorker, xmrig::Xmrig,
};
use crate::{
    bench::{
        Figure,
        idle::processor_time::{of_process, processors},
    },
    coordinator::Failure,
};
use algorithm_api::{
    Algorithm,
    context::{Context, Mode, Pages, Progress, Seeded},
};
use algorithm_randomx::RandomX;
use serde_json::json;
use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Its name among the algorithms.
pub(super) const NAME: &str = "randomx-v1";
/// Any seed; every input begins with it.
const SEED: [u8; 32] = [0x5e; 32];
/// Of the blob behind it: as Monero's are.
const BLOB_LEN: usize = 76;
/// Huge pages that a data set, its cache and a compiler take, and those of each thread.
const PAGES: u64 = 1_172;
const PAGES_A_THREAD: u64 = 2;
/// How often a thread without work looks whether there is some.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// As fast as the peer at least.
const GOAL: f64 = 1.0;

/// Measures both modes.
pub(super) fn measure(
    plan: Plan,
    selection: &Selection,
    peer: Option<&Path>,
) -> Result<Vec<Figure>, Failure> {
    let peer = peer.filter(|program| Xmrig::is(program));
    // The bare library, the worker, and the peer.
    let programs = 2 + u64::from(peer.is_some());
    let _pages = HugePages::reserve(programs * (PAGES + PAGES_A_THREAD * processors() as u64));
    let randomx = RandomX::new();
    let seeded = randomx.seeded().ok_or("RandomX without contexts")?;
    let mut figures = Vec::new();
    for mode in [Mode::Fast, Mode::Light].into_iter().filter(|mode| selection.has_path(&mode.to_string())) {
        let (context, mut xmrig) = match mode {
            Mode::Fast => preparations(plan, seeded, peer, &mut figures)?,
            Mode::Light => (prepared(seeded, Mode::Light)?, None),
        };
        let worker = WholeWorker::of_randomx(SEED, mode)?;
        for threads in selection.threads() {
            let mut rows = Rows::default();
            let algorithm = context.algorithm().ok_or("the context is not ready")?;
            rows.add(OnPath::of(mode.to_string(), algorithm, SEED.to_vec(), BLOB_LEN));
            rows.add(worker.clone());
            if let Some(program) = peer {
                let prepared = if threads == processors() { xmrig.take() } else { None };
                rows.add(prepared.map_or_else(|| Xmrig::start(program, mode, threads), Ok)?);
            }
            rows.turns(plan, NAME, threads)?;
            let extra = [("mode", json!(mode.to_string())), ("pages", json!(pages(context.as_ref())))];
            figures.extend(rows.figures(NAME, threads, &extra));
            for (row, path) in [(0, mode.to_string()), (1, format!("{WORKER} {mode}"))] {
                figures.extend(rows.ratios(NAME, threads, row, &[("path", json!(path))], Some(GOAL)));
            }
        }
    }
    Ok(figures)
}

/// Prepares data sets, in turns with the peer; the last of each is returned.
fn preparations(
    plan: Plan,
    seeded: &dyn Seeded,
    peer: Option<&Path>,
    figures: &mut Vec<Figure>,
) -> Result<(Arc<dyn Context>, Option<Xmrig>), Failure> {
    let (mut own, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut last, mut xmrig) = (None, None);
    for round in 0..plan.rounds.div_ceil(2) {
        drop((last.take(), xmrig.take()));
        seeded.trim();
        let (begun, before) = (Instant::now(), of_process(std::process::id())?);
        last = Some(prepared(seeded, Mode::Fast)?);
        own.push(begun.elapsed().as_secs_f64());
        let cpu = of_process(std::process::id())?.saturating_sub(before);
        if let Some(program) = peer {
            let started = Xmrig::start(program, Mode::Fast, processors())?;
            others.push(started.dataset_seconds().ok_or("xmrig does not say what its data set took")?);
            // All that it has done so far is to prepare.
            let cpu_of_peer = started.processor_time()?;
            tracing::info!("a data set took {cpu:.1?} of the processors, of the peer's {cpu_of_peer:.1?}");
            ratios.push(cpu_of_peer.as_secs_f64() / cpu.as_secs_f64());
            xmrig = Some(started);
        }
        tracing::info!("data sets: {own:.2?} s, of the peer {others:.2?} s, round {round}");
    }
    let context = last.ok_or("no rounds")?;
    let pages_of_peer = xmrig.as_ref().and_then(Xmrig::huge_pages);
    tracing::info!("RandomX obtained {:?}, the peer {pages_of_peer:?} huge pages", context.report());
    let threads = processors();
    let pages = pages(context.as_ref());
    let of_own = case(NAME, threads, &[("path", json!("fast")), ("pages", json!(pages))]);
    figures.extend(Figure::lower("dataset_seconds", "s", &of_own, &own));
    if peer.is_some() {
        let pages = pages_of_peer.map_or_else(|| "unknown".to_owned(), |share| format!("huge {share}"));
        let of_peer = case(NAME, threads, &[("path", json!("xmrig fast")), ("pages", json!(pages))]);
        figures.extend(Figure::lower("dataset_seconds", "s", &of_peer, &others));
        let both = case(NAME, threads, &[("path", json!("data set")), ("peer", json!("xmrig"))]);
        figures.extend(Figure::higher("ratio_to_peer", "ratio", &both, &ratios, Some(GOAL)));
    }
    Ok((context, xmrig))
}

/// A context, prepared by as many threads as there are processors.
fn prepared(seeded: &dyn Seeded, mode: Mode) -> Result<Arc<dyn Context>, Failure> {
    let context = seeded.begin(&SEED, mode)?;
    thread::scope(|scope| {
        for _ in 0..processors() {
            scope.spawn(|| {
                loop {
                    match context.advance() {
                        Progress::Ready => return,
                        Progress::Underway { .. } => {}
                        Progress::Waiting => thread::sleep(LOOK_EVERY),
                    }
                }
            });
        }
    });
    Ok(context)
}

/// The pages of the largest part of a context.
fn pages(context: &dyn Context) -> String {
    let report = context.report();
    let largest = report.areas.iter().max_by_key(|area| area.bytes);
    match largest.map(|area| (area.pages, area.bytes)) {
        Some((Pages::Huge, _)) => "huge 100%".to_owned(),
        Some((Pages::Transparent { huge_bytes: Some(huge) }, bytes)) => {
            format!("transparent {}%", huge.min(bytes) * 100 / bytes.max(1))
        }
        Some((Pages::Transparent { huge_bytes: None }, _)) => "transparent".to_owned(),
        Some((Pages::Small, _)) => "small".to_owned(),
        None => "unknown".to_owned(),
    }
}
