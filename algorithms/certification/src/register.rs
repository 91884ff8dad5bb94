//! What a host has heard: the newest catalogue, the newest list of revocations, and the highest serials ever seen.

use crate::{
    Catalogue, Certificate, MAX_CATALOGUE_LEN, MAX_REVOCATIONS_LEN, MAX_SERIAL_AHEAD_SECONDS, Malformed,
    Permit, Purpose, Refusal, Revocations, Signed, Subject, TrustRoots, UnixSeconds, judge, signers,
};
use serde::{Deserialize, Serialize};

/// The highest serials that this host has seen. Kept on the host over restarts, so that nothing older is believed again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Of a catalogue; 0 before the first.
    pub catalogue: u64,
    /// Of a list of revocations; 0 before the first.
    pub revocations: u64,
}

impl Seen {
    /// Reads the JSON that was kept.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = |reason: String| Malformed::new("record of seen serials", &reason);
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))
    }

    /// The JSON to be kept.
    pub fn to_json(self) -> String {
        serde_json::json!({ "catalogue": self.catalogue, "revocations": self.revocations }).to_string()
    }
}

/// What a new document brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Something differs from before: keep the document and [`Register::seen`], and judge anew.
    pub is_new: bool,
    /// Certificates of the catalogue that this version cannot read.
    pub unreadable: Vec<Malformed>,
}

/// Trust roots, and what was heard under them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    roots: TrustRoots,
    seen: Seen,
    certificates: Vec<Certificate>,
    revocations: Revocations,
    revocations_document: Option<Signed>,
}

impl Register {
    /// Nothing was heard in this life; `seen` is what the last one kept.
    pub fn new(roots: TrustRoots, seen: Seen) -> Self {
        Self {
            roots,
            seen,
            certificates: Vec::new(),
            revocations: Revocations::default(),
            revocations_document: None,
        }
    }

    /// The trust roots.
    pub fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    /// What to keep over a restart.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The certificates of the catalogue in force.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The list in force.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The list in force as it was signed, to be kept over a restart: a later catalogue may come without one.
    pub fn revocations_document(&self) -> Option<&Signed> {
        self.revocations_document.as_ref()
    }

    /// Takes a catalogue, from the bus or from what was kept. If it is refused, nothing changes.
    pub fn accept_catalogue(&mut self, bytes: &[u8], now: UnixSeconds) -> Result<Change, Refusal> {
        const WHAT: &str = "the catalogue";
        let document = Signed::parse("catalogue", bytes, MAX_CATALOGUE_LEN)?;
        signers::of_document(&document, Purpose::Catalogue, WHAT, &self.roots, &self.revocations)?;
        let catalogue = Catalogue::parse(document.body())?;
        check_serial(WHAT, catalogue.serial, self.seen.catalogue, now)?;
        let mut new = self.clone();
        let mut change = Change::default();
        if let Some(list) = &catalogue.revocations {
            change = new.take_revocations(list, now)?;
        }
        (new.certificates, change.unreadable) = catalogue.read_certificates();
        change.is_new |= new.certificates != self.certificates || self.seen.catalogue < catalogue.serial;
        new.seen.catalogue = catalogue.serial;
        *self = new;
        Ok(change)
    }

    /// Takes a list of revocations that came alone. If it is refused, nothing changes.
    pub fn accept_revocations(&mut self, bytes: &[u8], now: UnixSeconds) -> Result<Change, Refusal> {
        self.take_revocations(&Signed::parse("list of revocations", bytes, MAX_REVOCATIONS_LEN)?, now)
    }

    fn take_revocations(&mut self, document: &Signed, now: UnixSeconds) -> Result<Change, Refusal> {
        const WHAT: &str = "the list of revocations";
        // The newest list may be the one by which its signer revoked his own key; it goes on travelling with later catalogues.
        if self.revocations_document.as_ref().is_some_and(|known| known.body() == document.body()) {
            return Ok(Change::default());
        }
        signers::of_document(document, Purpose::Revocations, WHAT, &self.roots, &self.revocations)?;
        let list = Revocations::parse(document.body())?;
        check_serial(WHAT, list.serial, self.seen.revocations, now)?;
        if !list.holds_all_of(&self.revocations) {
            return Err(Refusal::RevocationWithdrawn { serial: list.serial });
        }
        let is_new = list != self.revocations;
        self.seen.revocations = list.serial;
        self.revocations = list;
        self.revocations_document = Some(document.clone());
        Ok(Change { is_new, unreadable: Vec::new() })
    }

    /// Whether `subject` may run now. Nothing may while a list of revocations is known to exist that is not at hand.
    pub fn judge(&self, subject: &Subject, now: UnixSeconds) -> Result<Permit, Refusal> {
        let (offered, seen) = (self.revocations.serial, self.seen.revocations);
        if offered < seen {
            return Err(Refusal::RolledBack { what: "the list of revocations", offered, seen });
        }
        judge(subject, &self.certificates, &self.revocations, &self.roots, now)
    }

    /// Whether `algorithm` may run now inside `program`, which needs a certificate of its own where the host's file wants that and
    /// never may have a revoked digest. The permit ends with the certificate that ends first.
    pub fn judge_within(
        &self,
        program: &Subject,
        algorithm: &Subject,
        now: UnixSeconds,
    ) -> Result<Permit, Refusal> {
        if !self.roots.program_must_be_certified() {
            self.revocations.check_digest(program)?;
            return self.judge(algorithm, now);
        }
        let program = self.judge(program, now)?;
        let permit = self.judge(algorithm, now)?;
        Ok(Permit { valid_until: permit.valid_until.min(program.valid_until), ..permit })
    }
}

fn check_serial(what: &'static str, offered: u64, seen: u64, now: UnixSeconds) -> Result<(), Refusal> {
    if offered < seen {
        return Err(Refusal::RolledBack { what, offered, seen });
    }
    if offered > now.plus(MAX_SERIAL_AHEAD_SECONDS).get() {
        return Err(Refusal::NotYetValid { what: what.to_owned(), from: UnixSeconds::new(offered) });
    }
    Ok(())
}
