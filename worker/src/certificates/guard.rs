//! The judgement of one host: its trust roots, what it has heard and kept, its own program.

use super::kept::{Kept, KeptError};
use bus_schemas::{AlgorithmId, Blob, TimestampMs};
use certification::{Digest, Malformed, Permit, Refusal, Register, Subject, TrustRoots, UnixSeconds};
use std::path::PathBuf;
use worker_core::{Clearance, Denied, clearance::NOT_JUDGED};

/// Most algorithms and components that are judged again and again.
pub const MAX_SUBJECTS: usize = 256;
/// Code of a host whose kept record cannot be used.
pub const STATE_UNUSABLE: &str = "state-unusable";
const NO_TRUST_ROOTS: &str = "no-trust-roots";
const TOO_MANY: &str = "too-many-components";

/// Why something may not run on this host, or why a catalogue is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// As the certificates say.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host's file names nobody whose signatures count.
    #[error(
        "this host trusts nobody; put the keys of your authors and certifiers under [trust] in its worker.toml"
    )]
    NoTrustRoots,
    /// What was seen before is not known, or cannot be kept, so an old catalogue could pass for the newest.
    #[error(transparent)]
    State(#[from] KeptError),
    /// Judging has failed before in this life.
    #[error("certificates cannot be judged any more; start the worker again and look at its log")]
    NotJudged,
    /// No more components can be watched.
    #[error("{MAX_SUBJECTS} algorithms and components are judged already; start the worker again")]
    TooMany,
}

impl Denial {
    /// The codes that no [`Refusal`] has.
    pub const OWN_CODES: [&'static str; 4] = [NO_TRUST_ROOTS, STATE_UNUSABLE, NOT_JUDGED, TOO_MANY];

    /// Its name for programs; never changes its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::NoTrustRoots => NO_TRUST_ROOTS,
            Self::State(_) => STATE_UNUSABLE,
            Self::NotJudged => NOT_JUDGED,
            Self::TooMany => TOO_MANY,
        }
    }
}

impl From<Malformed> for Denial {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(malformed.into())
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { code: denial.code(), reason: denial.to_string() }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    register: Register,
    file: PathBuf,
    /// What lies in the file, or would if it could be written.
    kept: Kept,
    /// Why the record is of no use: it could not be read at the start, or not be written.
    unread: Option<KeptError>,
    unwritten: Option<KeptError>,
    program: Subject,
    subjects: Vec<Subject>,
    /// Digest of the catalogue in force, so that reading it again costs nothing.
    accepted: Option<Digest>,
}

impl Guard {
    /// Reads what was kept in `file`. `program` is what runs here, `subjects` are the algorithms compiled into it.
    pub fn open(
        roots: TrustRoots,
        file: PathBuf,
        program: Subject,
        subjects: Vec<Subject>,
        now: UnixSeconds,
    ) -> Self {
        let (kept, unread) = match Kept::read(&file) {
            Ok(kept) => (kept, None),
            Err(error) => (Kept::default(), Some(error)),
        };
        if let Some(error) = &unread {
            tracing::error!(%error, "nothing is permitted on this host");
        }
        let register = Register::new(roots, kept.seen);
        let mut guard =
            Self { register, file, kept, unread, unwritten: None, program, subjects, accepted: None };
        guard.take_kept(now);
        guard
    }

    /// Believes what was kept as far as the trust roots of today do. What they do not stays seen, so nothing older passes.
    fn take_kept(&mut self, now: UnixSeconds) {
        if let Some(list) = &self.kept.revocations
            && let Err(refusal) = self.register.accept_revocations(list.as_bytes(), now)
        {
            tracing::error!(file = %self.file.display(), %refusal, "the kept list of revocations is not believed any more");
        }
        if let Some(catalogue) = &self.kept.catalogue {
            match self.register.accept_catalogue(catalogue.as_bytes(), now) {
                Ok(_) => self.accepted = Some(Digest::of(catalogue.as_bytes())),
                Err(refusal) => {
                    tracing::error!(file = %self.file.display(), %refusal, "the kept catalogue is not believed any more");
                }
            }
        }
    }

    /// Takes a catalogue from the bus. If it is refused, the one before stays.
    pub fn offer(&mut self, catalogue: &[u8], now: UnixSeconds) -> Result<(), Denial> {
        // A host that trusts nobody has nothing to say about catalogues.
        if self.register.roots().keys().is_empty() {
            return Ok(());
        }
        if let Some(error) = &self.unread {
            return Err(error.clone().into());
        }
        let digest = Digest::of(catalogue);
        if self.accepted == Some(digest) {
            return Ok(());
        }
        let change = self.register.accept_catalogue(catalogue, now)?;
        for malformed in &change.unreadable {
            tracing::warn!(%malformed, "a certificate of the catalogue cannot be read");
        }
        self.accepted = Some(digest);
        self.kept.seen = self.register.seen();
        // It was parsed a moment ago, so it is text.
        self.kept.catalogue = Some(String::from_utf8_lossy(catalogue).into_owned());
        if let Some(list) = self.register.revocations_document() {
            self.kept.revocations = Some(list.to_json());
        }
        self.keep();
        tracing::info!(
            serial = self.kept.seen.catalogue,
            revocations = self.kept.seen.revocations,
            certificates = self.register.certificates().len(),
            "a new catalogue of certificates is in force"
        );
        self.unwritten.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    fn keep(&mut self) {
        self.unwritten = self.kept.write(&self.file).err();
        if let Some(error) = &self.unwritten {
            tracing::error!(%error, "nothing is permitted on this host until what was seen can be kept");
        }
    }

    /// Whether `subject` may run now, in this program.
    pub fn judge(&self, subject: &Subject, now: UnixSeconds) -> Result<Permit, Denial> {
        if self.register.roots().keys().is_empty() {
            return Err(Denial::NoTrustRoots);
        }
        if let Some(error) = self.unread.as_ref().or(self.unwritten.as_ref()) {
            return Err(error.clone().into());
        }
        Ok(self.register.judge_within(&self.program, subject, now)?)
    }

    /// Judges `subject` from now on as well.
    pub fn watch(&mut self, subject: Subject) -> Result<(), Denial> {
        if !self.subjects.contains(&subject) {
            if self.subjects.len() >= MAX_SUBJECTS {
                return Err(Denial::TooMany);
            }
            self.subjects.push(subject);
        }
        Ok(())
    }

    /// What may run now, for the core, and when the first of it ends.
    pub fn clearances(&mut self, now: UnixSeconds) -> (Vec<Clearance>, Option<UnixSeconds>) {
        if self.unwritten.is_some() {
            self.keep();
        }
        let mut first_end: Option<UnixSeconds> = None;
        let mut clearances = Vec::new();
        for subject in &self.subjects {
            let judged = self.judge(subject, now);
            if let Ok(permit) = &judged {
                first_end = Some(first_end.map_or(permit.valid_until, |end| end.min(permit.valid_until)));
            }
            clearances.extend(clearance(subject, judged));
        }
        (clearances, first_end)
    }

    /// What is judged: the program itself, then what runs in it.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.program).chain(&self.subjects)
    }

    /// Trust roots, and what was heard under them.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// Where the record lies, and why it is of no use if it is.
    pub fn record(&self) -> (&std::path::Path, Option<&KeptError>) {
        (&self.file, self.unread.as_ref().or(self.unwritten.as_ref()))
    }
}

/// For the core, whose algorithms are those that a job can name.
fn clearance(subject: &Subject, judged: Result<Permit, Denial>) -> Option<Clearance> {
    let (id, version) = match subject {
        Subject::NativeAlgorithm { id, version, .. } | Subject::Component { id, version, .. } => {
            (id, *version)
        }
        Subject::Program { .. } => return None,
    };
    let algorithm = AlgorithmId::new(id.as_str()).ok()?;
    let digest = Blob(subject.digest().as_bytes().to_vec());
    let until = |permit: Permit| TimestampMs(permit.valid_until.get().saturating_mul(1_000));
    Some(Clearance { algorithm, version, digest, verdict: judged.map(until).map_err(Into::into) })
}

#[cfg(test)]
mod tests;
