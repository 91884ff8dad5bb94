//! What may run on this host: certificates from the bus, judged under the trust roots of the host's own file.
//!
//! Default deny: without trust roots, without a catalogue that they believe, with a kept record that cannot be used and after a
//! panic in here nothing is permitted. The core is told what holds, and searches with nothing else.

mod guard;
mod kept;
mod program;

pub use guard::{Denial, Guard, MAX_SUBJECTS, STATE_UNUSABLE};
pub use kept::{Kept, KeptError, MAX_KEPT_LEN, default_folder, file_in};
pub use program::{PROGRAM, ProgramUnreadable, of_executable, of_running};

use crate::{
    algorithms,
    bus::wall,
    components::{self, Permitted},
    config::Config,
};
use algorithm_component::Wanted;
use bus_schemas::subject::CATALOGUE_KEY;
use bytes::Bytes;
use certification::{Permit, Refusal, Subject, UnixSeconds};
use nats_adapter::{Bus, KvError, RawSubscription, ReadError, streams};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc;
use worker_core::{Input, clearance};

/// Certificates are judged again after this time at the latest: the wall clock may have been set.
pub const RECHECK: Duration = Duration::from_secs(30);

/// Every code with which an algorithm or a catalogue is refused.
pub fn codes() -> impl Iterator<Item = &'static str> {
    let own = clearance::CODES.into_iter().chain(Denial::OWN_CODES).chain(components::CODES);
    Refusal::CODES.into_iter().chain(own.filter(|code| !Refusal::CODES.contains(code)))
}

/// The time on the wall.
pub fn now() -> UnixSeconds {
    UnixSeconds::from_ms(wall().0)
}

/// The guard of a host as its own file wants it, with what was kept. Reads the whole program: not for an async thread.
pub fn open(config: &Config) -> Result<Guard, ProgramUnreadable> {
    let file = file_in(&config.state_folder, &config.worker);
    Ok(Guard::open(config.trust.clone(), file, of_running()?, algorithms::subjects(), now()))
}

/// The one place that knows what may run. Clones share it.
#[derive(Clone)]
pub struct Certificates {
    guard: Arc<Mutex<Guard>>,
    /// Held from a judgement until the core has been told, so that an older one never comes after a newer one.
    turn: Arc<tokio::sync::Mutex<()>>,
    inputs: mpsc::Sender<Input>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// What `guard` says goes to `inputs`.
    pub fn new(guard: Guard, inputs: mpsc::Sender<Input>) -> Self {
        Self { guard: Arc::new(Mutex::new(guard)), turn: Arc::default(), inputs }
    }

    /// Whether this algorithm or component may run now, in this program. Takes the time of a few signatures: not for an async
    /// thread. What goes on running is to be asked for again at [`Permit::valid_until`] and after each change of the
    /// certificates; [`Certificates::watch`] lets the core know both.
    pub fn may_run(&self, subject: &Subject) -> Result<Permit, Denial> {
        self.guard.lock().map_err(|_| Denial::NotJudged)?.judge(subject, now())
    }

    /// The same question for components, from any thread.
    pub fn permitted(&self) -> Permitted {
        let guard = Arc::clone(&self.guard);
        Arc::new(move |wanted: &Wanted| {
            let judged = match guard.lock() {
                Ok(guard) => guard.judge(&components::subject(wanted), now()),
                Err(_) => Err(Denial::NotJudged),
            };
            judged.map(drop).map_err(Into::into)
        })
    }

    /// From now on `subject` is judged together with what is compiled in, and the core has a clearance of it.
    pub async fn watch(&self, subject: Subject) -> Result<(), Denial> {
        self.guard.lock().map_err(|_| Denial::NotJudged)?.watch(subject)?;
        self.judge(None).await;
        Ok(())
    }

    /// Takes a catalogue in if there is one, judges everything anew and tells the core. Gives how long that holds by itself.
    pub async fn judge(&self, catalogue: Option<Bytes>) -> Duration {
        let _turn = self.turn.lock().await;
        let guard = Arc::clone(&self.guard);
        // Signatures and the disk take their time.
        let judged = tokio::task::spawn_blocking(move || {
            let mut guard = guard.lock().ok()?;
            let refused = catalogue.and_then(|bytes| guard.offer(&bytes, now()).err());
            Some((refused, guard.clearances(now())))
        });
        let Some((refused, (clearances, until))) = judged.await.ok().flatten() else {
            tracing::error!(
                "certificates cannot be judged any more, so nothing is permitted: start it again"
            );
            self.tell(Input::Clearances(Vec::new())).await;
            return RECHECK;
        };
        if let Some(denial) = refused {
            self.tell(Input::CatalogueRefused(denial.into())).await;
        }
        self.tell(Input::Clearances(clearances)).await;
        let left = |until: UnixSeconds| until.get().saturating_mul(1_000).saturating_sub(wall().0).max(1);
        until.map_or(RECHECK, |until| RECHECK.min(Duration::from_millis(left(until))))
    }

    async fn tell(&self, input: Input) {
        // The loop that is gone wants no news.
        let _ = self.inputs.send(input).await;
    }

    /// Reads the catalogue that the bus has now.
    pub async fn read(&self, bus: &Bus) -> Result<(), String> {
        match bus.kv(streams::CERTIFICATES).get_direct(CATALOGUE_KEY).await {
            // Who deletes the catalogue takes nothing back: the last one holds until it ends.
            Ok(None) => {}
            Ok(Some(entry)) => {
                self.judge(Some(entry.value)).await;
            }
            Err(KvError::Read(error @ ReadError::NoStream(_))) => {
                tracing::warn!(%error, "only certificates that were kept on this host can permit anything");
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    /// Follows what the bus tells of the catalogue, and the clock, until the connection ends.
    pub async fn follow(self, mut told: RawSubscription) {
        let mut lasts = RECHECK;
        loop {
            let catalogue = tokio::select! {
                told = told.next() => match told {
                    None => return,
                    // A deletion has no bytes.
                    Some(told) if told.payload.is_empty() => continue,
                    Some(told) => Some(told.payload),
                },
                () = tokio::time::sleep(lasts) => None,
            };
            lasts = self.judge(catalogue).await;
        }
    }
}
