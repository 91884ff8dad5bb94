//! What the host's certificates say of the job's algorithm.

use super::WorkerCore;
use crate::{
    clearance::{DIGEST_DIFFERS, Denied, NOT_OFFERED},
    moment::{MonotonicMs, Now},
    notice::{Notice, Refusal},
};
use bus_schemas::{
    Blob,
    event::EventData,
    job::{AlgorithmRef, Job},
};

impl WorkerCore {
    /// Notes whether the job's algorithm may run now, and tells when it may not any more.
    pub(super) fn look_at_clearances(&mut self, now: Now) {
        self.permitted = self.clearances.permitted(now.wall);
        let denied = self.offered().and_then(|offered| {
            let judged = self.clearances.check(&offered.id, offered.version, &offered.digest, now.wall);
            Some((
                judged.err()?,
                AlgorithmRef {
                    id: offered.id.clone(),
                    version: offered.version,
                    digest: offered.digest.clone(),
                },
            ))
        });
        let code = denied.as_ref().map(|(denied, _)| denied.code);
        if self.limits.local.uncertified.as_deref() != code {
            self.limits.local.uncertified = code.map(str::to_owned);
        }
        if let Some((denied, algorithm)) = denied {
            self.tell_refused(algorithm, denied, now);
        }
    }

    /// When the job's algorithm may cease to be permitted.
    pub(super) fn clearance_deadline(&self, now: Now) -> Option<MonotonicMs> {
        let offered = self.offered()?;
        self.clearances.next_deadline(&offered.id, offered.version, &offered.digest, now)
    }

    /// The algorithm is neither here nor can be obtained: tells, and refuses the job.
    pub(super) fn refuse_algorithm_of(&mut self, job: &Job, now: Now) {
        let AlgorithmRef { id: algorithm, version, .. } = job.algorithm.clone();
        let here = self.algorithms.iter().find(|o| o.id == algorithm && o.version == version);
        let (digest, job) = (here.map_or_else(Blob::default, |o| o.digest.clone()), job.id.clone());
        let (code, refusal) = match here {
            Some(_) => {
                (DIGEST_DIFFERS, Refusal::DigestDiffers { job, algorithm: algorithm.clone(), version })
            }
            None => {
                (NOT_OFFERED, Refusal::AlgorithmNotOffered { job, algorithm: algorithm.clone(), version })
            }
        };
        let denied = Denied { code, reason: refusal.to_string() };
        self.refuse(refusal);
        self.tell_refused(AlgorithmRef { id: algorithm, version, digest }, denied, now);
    }

    pub(super) fn on_catalogue_refused(&mut self, denied: Denied, now: Now) {
        let news = self.clearances.is_catalogue_news(&denied, now.monotonic);
        self.note(Some(Notice::CatalogueRefused(denied.clone())));
        if news {
            let worker = self.membership.who().worker.clone();
            let Denied { code, reason } = denied;
            let what = EventData::WorkerCatalogueRefused { worker, code: code.to_owned(), reason };
            self.tell(Some(what), now);
        }
    }

    pub(super) fn tell_refused(&mut self, algorithm: AlgorithmRef, denied: Denied, now: Now) {
        let AlgorithmRef { id: algorithm, version, digest } = algorithm;
        if !self.clearances.is_news(&algorithm, version, denied.code) {
            return;
        }
        let worker = self.membership.who().worker.clone();
        let (code, reason) = (denied.code.to_owned(), denied.reason.clone());
        self.note(Some(Notice::AlgorithmRefused { algorithm: algorithm.clone(), version, denied }));
        let what = EventData::WorkerAlgorithmRefused { worker, algorithm, version, digest, code, reason };
        self.tell(Some(what), now);
    }
}
