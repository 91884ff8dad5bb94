//! What algorithms prepare once for many inputs (RandomX's data set): kept over jobs and pauses, the next one made ahead,
//! given back when it was not used for long.

use algorithm_api::{
    Algorithm,
    context::{Context, ContextError, Mode, Pages, Progress, Report, Seeded},
};
use bus_schemas::Hash32;
use room::Room;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

mod room;

/// How often it is looked whether something is to be given back, or memory that was short is there now.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// So many looks in a row must find memory for the fast mode before a light context is given up for it.
const LOOKS_FOR_FAST: u8 = 4;
/// A context that no thread has asked for so long is given back.
pub const KEPT_UNUSED: Duration = Duration::from_secs(15 * 60);
/// Steps of about a millisecond that a thread spends on the next context before each of its units.
const STEPS_AHEAD: u32 = 12;

/// The contexts of one worker.
pub struct Contexts {
    held: Mutex<Held>,
    /// Memory that the worker may take, in bytes, if its own file limits it.
    limit: Option<u64>,
}

#[derive(Default)]
struct Held {
    current: Option<Kept>,
    next: Option<Kept>,
    /// The next seed for which there is no memory.
    refused: Option<Vec<u8>>,
    /// The current context is of a mode that the host's memory does not fit any more: it is begun anew when it is asked for.
    outgrown: bool,
    /// Looks in a row that found memory for the fast mode.
    room_seen: u8,
}

impl Held {
    fn give_back(&mut self) {
        let Self { current, .. } = std::mem::take(self);
        if let Some(seeded) = current.and_then(|kept| kept.algorithm.seeded()) {
            seeded.trim();
        }
    }
}

struct Kept {
    algorithm: &'static dyn Algorithm,
    context: Arc<dyn Context>,
    began: Instant,
    used: Instant,
    /// What it obtained, once that was told.
    report: Option<Report>,
}

impl Kept {
    fn is(&self, algorithm: &'static dyn Algorithm, seed: &[u8]) -> bool {
        self.algorithm.descriptor() == algorithm.descriptor() && self.context.seed() == seed
    }

    fn prepared(&self) -> f64 {
        match self.context.progress() {
            Progress::Ready => 1.0,
            Progress::Underway { done, total } => done as f64 / total.max(1) as f64,
            Progress::Waiting => 0.0,
        }
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contexts").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Contexts {
    /// None yet; `limit_mib` is the most memory of the whole worker in MiB.
    pub fn new(limit_mib: Option<u64>) -> Self {
        Self { held: Mutex::default(), limit: limit_mib.map(|mib| mib << 20) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context of a seed, begun if need be; what belongs to another seed than this and `next` is given back. It may
    /// have to be advanced until it is ready.
    pub fn of(
        &self,
        algorithm: &'static dyn Algorithm,
        seeded: &'static dyn Seeded,
        seed: &Hash32,
        next: Option<&Hash32>,
    ) -> Result<Arc<dyn Context>, ContextError> {
        let mut held = self.held();
        let is_wanted = |kept: &Kept| kept.is(algorithm, &seed.0);
        if std::mem::take(&mut held.outgrown) {
            held.give_back();
        }
        // Gives memory back before more is taken.
        let kept = match held.current.take().filter(is_wanted) {
            Some(kept) => kept,
            None => match held.next.take().filter(is_wanted) {
                Some(kept) => kept,
                None => self.begin(algorithm, seeded, &seed.0)?,
            },
        };
        let Held { current, next: ahead, refused, .. } = &mut *held;
        let current = current.insert(kept);
        current.used = Instant::now();
        if let Some(next) = next.filter(|next| *next != seed)
            && current.context.progress() == Progress::Ready
            && !ahead.as_ref().is_some_and(|kept| kept.is(algorithm, &next.0))
            && refused.as_deref() != Some(&next.0)
        {
            drop(ahead.take());
            *ahead = self.begin_ahead(algorithm, seeded, &next.0, current.context.mode());
            *refused = ahead.is_none().then(|| next.0.to_vec());
        }
        Ok(Arc::clone(&current.context))
    }

    /// Does a small part of the next context, if there is something to do.
    pub fn work_ahead(&self, goes_on: impl Fn() -> bool) {
        let Some(next) = self.held().next.as_ref().map(|kept| Arc::clone(&kept.context)) else { return };
        for _ in 0..STEPS_AHEAD {
            if !goes_on() || !matches!(next.advance(), Progress::Underway { .. }) {
                break;
            }
        }
    }

    /// What there is to say of the current context once it is ready: how long it took and what it obtained. Said once.
    pub fn news(&self) -> Option<Prepared> {
        let mut held = self.held();
        let kept = held.current.as_mut().filter(|kept| kept.report.is_none())?;
        if kept.context.progress() != Progress::Ready {
            return None;
        }
        let report = kept.context.report();
        kept.report = Some(report.clone());
        Some(Prepared {
            algorithm: kept.algorithm.descriptor().id.clone(),
            took: kept.began.elapsed(),
            report,
        })
    }

    /// How far everything is, without waiting for anybody; nothing while it is being changed.
    pub fn standing(&self) -> Option<Standing> {
        let held = self.held.try_lock().ok()?;
        let report = held.current.as_ref().and_then(|kept| kept.report.as_ref());
        Some(Standing {
            prepared: [&held.current, &held.next].map(|kept| kept.as_ref().map_or(0.0, Kept::prepared)),
            bytes: report.map(bytes_by_pages).unwrap_or_default(),
        })
    }

    /// Gives back what no thread has asked for since [`KEPT_UNUSED`]. Returns whether there was something.
    pub fn tidy(&self, now: Instant) -> bool {
        let mut held = self.held();
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.used) >= KEPT_UNUSED;
        let is_due = held.current.as_ref().is_some_and(is_old);
        if is_due {
            held.give_back();
        }
        is_due
    }

    /// Looks whether the memory still suits the current context: limits are set while a worker runs, and other programs come
    /// and go. Returns the mode that it changes to when it is asked for next.
    pub fn reconsider(&self) -> Option<Mode> {
        self.reconsider_with(Room::now(self.limit))
    }

    fn reconsider_with(&self, room: Room) -> Option<Mode> {
        let mut held = self.held();
        let kept = held.current.as_ref()?;
        let (mode, seeded) = (kept.context.mode(), kept.algorithm.seeded()?);
        if held.outgrown || kept.context.progress() != Progress::Ready {
            return None;
        }
        let wanted = match mode {
            // Nothing is left at all: the kernel reclaims at every step, or ends us.
            Mode::Fast if room.group == 0 => Mode::Light,
            Mode::Light if room.fits(&areas(seeded, Mode::Fast)) => {
                held.room_seen = held.room_seen.saturating_add(1);
                if held.room_seen < LOOKS_FOR_FAST {
                    return None;
                }
                Mode::Fast
            }
            _ => {
                held.room_seen = 0;
                return None;
            }
        };
        (held.outgrown, held.room_seen) = (true, 0);
        Some(wanted)
    }

    /// Gives everything back: another algorithm is searched now.
    pub fn clear(&self) {
        self.held().give_back();
    }

    fn begin(
        &self,
        algorithm: &'static dyn Algorithm,
        seeded: &'static dyn Seeded,
        seed: &[u8],
    ) -> Result<Kept, ContextError> {
        let room = Room::now(self.limit);
        let mode = if room.fits(&areas(seeded, Mode::Fast)) { Mode::Fast } else { Mode::Light };
        let begun = seeded.begin(seed, mode);
        let context = match begun {
            Err(error @ ContextError::Memory { .. }) if mode == Mode::Fast => {
                tracing::warn!(%error, "searching in the light mode instead, at about a tenth of the rate");
                seeded.begin(seed, Mode::Light)?
            }
            begun => begun?,
        };
        if context.mode() == Mode::Light {
            let Room { ordinary, reserved, own, .. } = room;
            tracing::warn!(
                wanted_mib = seeded.memory_bytes(Mode::Fast) >> 20,
                room_mib = ordinary.min(own) >> 20,
                reserved_huge_mib = reserved >> 20,
                "not enough memory for the fast mode: the light mode has about a tenth of its rate"
            );
        }
        let now = Instant::now();
        Ok(Kept { algorithm, context, began: now, used: now, report: None })
    }

    /// Only with room for a second one of the same mode: what runs is not slowed down for what comes.
    fn begin_ahead(
        &self,
        algorithm: &'static dyn Algorithm,
        seeded: &'static dyn Seeded,
        seed: &[u8],
        mode: Mode,
    ) -> Option<Kept> {
        if !Room::now(self.limit).fits(&areas(seeded, mode)) {
            tracing::info!("no memory to prepare the next seed ahead; it is prepared when its time has come");
            return None;
        }
        let begun = seeded.begin(seed, mode);
        let context =
            begun.inspect_err(|error| tracing::info!(%error, "the next seed is not prepared ahead"));
        let now = Instant::now();
        Some(Kept { algorithm, context: context.ok()?, began: now, used: now, report: None })
    }
}

/// The areas that a context of a mode takes, in the order in which it takes them.
fn areas(seeded: &dyn Seeded, mode: Mode) -> Vec<u64> {
    let light = seeded.memory_bytes(Mode::Light);
    match mode {
        Mode::Light => vec![light],
        Mode::Fast => vec![seeded.memory_bytes(Mode::Fast).saturating_sub(light), light],
    }
}

/// Looks from time to time whether something can be given back or another mode fits better, until it is dropped.
pub async fn keep_tidy(contexts: Arc<Contexts>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let contexts = Arc::clone(&contexts);
        // Gigabytes are not given back in no time.
        let look = move || (contexts.tidy(Instant::now()), contexts.reconsider());
        match tokio::task::spawn_blocking(look).await {
            Ok((given_back, mode)) => {
                if given_back {
                    tracing::info!(
                        "memory that was prepared for a search is given back: nothing was searched for long"
                    );
                }
                if let Some(mode) = mode {
                    tracing::warn!("the memory that may be taken has changed: the {mode} mode is next");
                }
            }
            Err(error) => tracing::error!(%error, "memory could not be given back"),
        }
    }
}

/// The kinds of pages, in the order of [`Standing::bytes`].
pub const PAGES: [&str; 3] = ["reserved-huge", "transparent-huge", "small"];

/// How far the preparations are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Standing {
    /// Of the current seed's context and of the next one's, from 0, also when there is none, to 1 when it is ready.
    pub prepared: [f64; 2],
    /// Memory that the current context obtained, by [`PAGES`], in bytes; nothing before it is ready.
    pub bytes: [u64; 3],
}

fn bytes_by_pages(report: &Report) -> [u64; 3] {
    report.areas.iter().fold([0; 3], |[reserved, transparent, small], area| match area.pages {
        Pages::Huge => [reserved + area.bytes, transparent, small],
        Pages::Transparent { huge_bytes } => {
            let huge = huge_bytes.unwrap_or(0).min(area.bytes);
            [reserved, transparent + huge, small + area.bytes - huge]
        }
        Pages::Small => [reserved, transparent, small + area.bytes],
    })
}

/// A context that has become ready.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Of this algorithm.
    pub algorithm: std::borrow::Cow<'static, str>,
    /// Since it was begun.
    pub took: Duration,
    /// What it obtained.
    pub report: Report,
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is ready in the {} mode", self.algorithm, self.report.mode)?;
        write!(f, " after {:.1} s", self.took.as_secs_f64())?;
        for area in &self.report.areas {
            write!(f, "; {}: {} MiB in ", area.name, area.bytes >> 20)?;
            match area.pages {
                Pages::Huge => f.write_str("reserved huge pages")?,
                Pages::Transparent { huge_bytes: Some(huge) } => {
                    write!(f, "transparent huge pages ({} MiB really)", huge >> 20)?;
                }
                Pages::Transparent { huge_bytes: None } => {
                    f.write_str("transparent huge pages, if the kernel likes")?
                }
                Pages::Small => f.write_str("small pages")?,
            }
        }
        self.report.paths.iter().try_for_each(|(name, choice)| write!(f, "; {name}: {choice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use algorithm_randomx::RandomX;

    static RANDOM_X: RandomX = RandomX::new();
    /// Too little for the fast mode: these tests take 256 MiB a seed.
    const LIMIT_MIB: u64 = 1_500;

    fn of(contexts: &Contexts, seed: u8, next: Option<u8>) -> Arc<dyn Context> {
        let next = next.map(|next| Hash32([next; 32]));
        contexts.of(&RANDOM_X, &RANDOM_X, &Hash32([seed; 32]), next.as_ref()).unwrap()
    }

    #[test]
    fn a_context_is_kept_over_jobs_and_the_next_is_made_ahead_and_then_is_the_current_one() {
        let contexts = Contexts::new(Some(LIMIT_MIB));
        let first = of(&contexts, 1, Some(2));
        assert_eq!(first.mode(), Mode::Light);
        assert!(contexts.held().next.is_none(), "nothing is made ahead while the current one is not ready");
        assert!(contexts.news().is_none());
        assert_eq!(contexts.standing(), Some(Standing::default()));
        while first.advance() != Progress::Ready {}
        assert_eq!(contexts.standing().unwrap().prepared, [1.0, 0.0]);
        let told = contexts.news().unwrap();
        let held: u64 = told.report.areas.iter().map(|area| area.bytes).sum();
        assert_eq!(contexts.standing().unwrap().bytes.iter().sum::<u64>(), held);
        assert!(told.to_string().contains("randomx-v1 is ready in the light mode"), "{told}");
        assert!(contexts.news().is_none(), "said once");

        assert!(Arc::ptr_eq(&of(&contexts, 1, Some(2)), &first));
        let seed = || contexts.held().next.as_ref().map(|kept| kept.context.seed()[0]);
        assert_eq!(seed(), Some(2));
        contexts.work_ahead(|| false);
        let ahead = contexts.held().next.as_ref().map(|kept| Arc::clone(&kept.context)).unwrap();
        assert_ne!(ahead.progress(), Progress::Ready, "whoever is told to stop does nothing");
        while ahead.progress() != Progress::Ready {
            contexts.work_ahead(|| true);
        }
        assert_eq!(contexts.standing().unwrap().prepared, [1.0, 1.0]);
        assert!(Arc::ptr_eq(&of(&contexts, 2, None), &ahead));
        assert_eq!(seed(), None);
    }

    #[test]
    fn a_light_context_gives_way_to_a_fast_one_when_memory_has_been_there_for_a_while() {
        let contexts = Contexts::new(Some(LIMIT_MIB));
        let first = of(&contexts, 1, None);
        let wide = Room { ordinary: 8 << 30, group: 8 << 30, reserved: 0, own: u64::MAX };
        assert_eq!(contexts.reconsider_with(wide), None, "it is not ready");
        while first.advance() != Progress::Ready {}
        let narrow = Room { ordinary: 1 << 30, ..wide };
        let looks = |room| contexts.reconsider_with(room);
        for _ in 1..LOOKS_FOR_FAST {
            assert_eq!(looks(wide), None);
        }
        assert_eq!(looks(narrow), None, "it begins to count anew");
        for _ in 1..LOOKS_FOR_FAST {
            assert_eq!(looks(wide), None);
        }
        assert_eq!((looks(wide), looks(wide)), (Some(Mode::Fast), None));
        assert!(!Arc::ptr_eq(&of(&contexts, 1, None), &first), "it is begun anew when it is asked for");
    }

    #[test]
    fn what_nobody_asks_for_is_given_back_after_its_time() {
        let contexts = Contexts::new(Some(LIMIT_MIB));
        let used = of(&contexts, 1, None);
        let now = Instant::now();
        assert!(!contexts.tidy(now));
        assert!(contexts.tidy(now + KEPT_UNUSED));
        assert!(!Arc::ptr_eq(&of(&contexts, 1, None), &used));
    }
}
