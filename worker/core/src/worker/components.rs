//! Algorithms that are not compiled in: which job waits for one, which one is here.

use super::{Offered, WorkerCore};
use crate::{clearance::Denied, effect::Effect, moment::Now, notice::Refusal};
use bus_schemas::{
    JobId,
    job::{AlgorithmRef, Job},
};

/// Length of a digest that names a component, in bytes.
const DIGEST_LEN: usize = 32;

/// One is asked for at a time, one is kept, one job waits: a later one takes its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Components {
    here: Option<Offered>,
    asked: Option<AlgorithmRef>,
    waiting: Option<Job>,
    /// What was last denied, and the code.
    denied: Option<(AlgorithmRef, &'static str)>,
}

impl Components {
    /// Whether an algorithm is named as a component is.
    pub(super) fn can_be(wanted: &AlgorithmRef) -> bool {
        wanted.digest.0.len() == DIGEST_LEN
    }

    /// Epoch, sequence and id of the job that waits.
    pub(super) fn fence(&self) -> Option<((u64, u64), &JobId)> {
        self.waiting.as_ref().map(|job| ((job.epoch, job.sequence), &job.id))
    }

    /// No job waits any more.
    pub(super) fn give_up(&mut self) {
        self.waiting = None;
    }

    /// What cannot be searched with is asked for anew by the next job.
    pub(super) fn forget(&mut self, wanted: &AlgorithmRef) {
        self.here.take_if(|here| here.fits(wanted));
    }
}

impl WorkerCore {
    /// Every algorithm that is here.
    pub(super) fn known(&self) -> impl Iterator<Item = &Offered> {
        self.algorithms.iter().chain(&self.components.here)
    }

    /// Whether an algorithm of this id and version is compiled in, of whatever build.
    pub(super) fn is_native(&self, wanted: &AlgorithmRef) -> bool {
        self.algorithms.iter().any(|native| native.id == wanted.id && native.version == wanted.version)
    }

    /// The job is searched once its algorithm is here; what is searched goes on until then.
    pub(super) fn wait_for_algorithm(&mut self, job: Job) {
        let wanted = job.algorithm.clone();
        self.components.waiting = Some(job);
        if self.components.asked.is_none() {
            self.components.asked = Some(wanted.clone());
            self.effects.push_back(Effect::ObtainAlgorithm(wanted));
        }
    }

    pub(super) fn on_obtained(&mut self, offered: Offered, now: Now) {
        let Some(asked) = self.components.asked.take() else { return };
        if offered.fits(&asked) {
            let waits = |job: &Job| offered.fits(&job.algorithm);
            // What is searched now stays here until the job that wants another is.
            if self.components.waiting.as_ref().is_some_and(waits) {
                self.components.here = Some(offered);
                self.components.denied = None;
            }
        }
        self.go_on(now);
    }

    pub(super) fn on_denied(&mut self, algorithm: AlgorithmRef, denied: Denied, now: Now) {
        if self.components.asked.take_if(|asked| *asked == algorithm).is_none() {
            return;
        }
        if let Some(job) = self.components.waiting.take_if(|job| job.algorithm == algorithm) {
            let AlgorithmRef { id, version, .. } = algorithm.clone();
            let reason = denied.reason.clone();
            self.refuse(Refusal::AlgorithmDenied { job: job.id, algorithm: id, version, reason });
            // Each job asks anew, and while the answer is the same it is told once.
            let last = self.components.denied.replace((algorithm.clone(), denied.code));
            if last != self.components.denied {
                self.tell_refused(algorithm, denied, now);
            }
        }
        self.go_on(now);
    }

    /// Looks anew at the job that waits.
    fn go_on(&mut self, now: Now) {
        if let Some(job) = self.components.waiting.take() {
            self.on_job(job, now);
        }
    }
}
