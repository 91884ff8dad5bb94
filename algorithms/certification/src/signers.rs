//! Whose signatures on a document count.

use crate::{KeyId, Purpose, Refusal, Revocations, Signed, TrustRoots, TrustedKey};

/// What the signatures of one document are worth on this host.
struct Counted<'a> {
    /// What is signed, for the refusal.
    what: String,
    /// Each key and purpose once.
    good: Vec<(Purpose, &'a TrustedKey)>,
    /// Of a key that is trusted, over something else.
    wrong: Option<KeyId>,
    /// By a key that is not trusted at all, or not for this.
    untrusted: Option<(KeyId, Option<Purpose>)>,
    /// By a revoked key, and why it is revoked.
    revoked: Option<(KeyId, String)>,
}

impl<'a> Counted<'a> {
    fn of(document: &Signed, what: String, roots: &'a TrustRoots, revocations: &Revocations) -> Self {
        let mut counted = Self { what, good: Vec::new(), wrong: None, untrusted: None, revoked: None };
        for signature in document.signatures() {
            let id = signature.key_id();
            let Some(trusted) = roots.find(id) else {
                counted.untrusted.get_or_insert((id, None));
                continue;
            };
            if !trusted.key.verifies(document.body().as_bytes(), signature) {
                counted.wrong.get_or_insert(id);
                continue;
            }
            let Some(purpose) = Purpose::of(signature) else { continue };
            if !trusted.may(purpose) {
                counted.untrusted.get_or_insert((id, Some(purpose)));
            } else if let Some(reason) = revocations.of_key(id) {
                counted.revoked.get_or_insert_with(|| (id, reason.to_owned()));
            } else if !counted.good.iter().any(|(p, key)| *p == purpose && key.key == trusted.key) {
                counted.good.push((purpose, trusted));
            }
        }
        counted
    }

    fn by(&self, purpose: Purpose) -> Vec<&'a TrustedKey> {
        self.good.iter().filter(|(own, _)| *own == purpose).map(|(_, key)| *key).collect()
    }

    /// Why signatures are missing: what is wrong with those that are there, before how many are not.
    fn refusal(self, same: Option<KeyId>, missing: Refusal) -> Refusal {
        let what = self.what;
        if let Some(key) = self.wrong {
            return Refusal::SignatureWrong { what, key };
        }
        if let Some((key, reason)) = self.revoked {
            return Refusal::KeyRevoked { what, key, reason };
        }
        if let Some(key) = same {
            return Refusal::SameKeyForBothRoles { what, key };
        }
        if let Some((key, purpose)) = self.untrusted {
            return Refusal::KeyNotInTrustRoots { what, key, purpose };
        }
        missing
    }
}

/// Names of those whose signatures count.
pub(crate) struct Signers {
    pub(crate) authors: Vec<String>,
    pub(crate) certifiers: Vec<String>,
}

/// The authors and certifiers of a statement, if there are enough of them by different keys. Further signatures that do not
/// count do no harm: whoever transports a certificate can append some.
pub(crate) fn of_statement(
    document: &Signed,
    what: &str,
    roots: &TrustRoots,
    revocations: &Revocations,
) -> Result<Signers, Refusal> {
    let counted = Counted::of(document, what.to_owned(), roots, revocations);
    let (authors, certifiers) = (counted.by(Purpose::Author), counted.by(Purpose::Certifier));
    let both: Vec<&TrustedKey> = authors.iter().copied().filter(|key| certifiers.contains(key)).collect();
    let missing = |have: usize, needed: usize| needed.saturating_sub(have - both.len());
    // A key that signed for both fills one place of either.
    let open =
        missing(authors.len(), roots.authors_needed()) + missing(certifiers.len(), roots.certifiers_needed());
    if open <= both.len() {
        let names = |keys: &[&TrustedKey]| keys.iter().map(|key| key.name.clone()).collect();
        return Ok(Signers { authors: names(&authors), certifiers: names(&certifiers) });
    }
    let what = what.to_owned();
    let (have, needed) = (authors.len(), roots.authors_needed());
    let missing = if have < needed {
        Refusal::AuthorSignatureMissing { what, have, needed }
    } else {
        let (have, needed) = (certifiers.len(), roots.certifiers_needed());
        Refusal::CertifierSignatureMissing { what, have, needed }
    };
    let enough = authors.len() >= roots.authors_needed() && certifiers.len() >= roots.certifiers_needed();
    let same = both.first().filter(|_| enough).map(|trusted| trusted.key.id());
    Err(counted.refusal(same, missing))
}

/// Whoever signed a catalogue or a list: one suffices.
pub(crate) fn of_document<'a>(
    document: &Signed,
    purpose: Purpose,
    what: &str,
    roots: &'a TrustRoots,
    revocations: &Revocations,
) -> Result<&'a TrustedKey, Refusal> {
    let counted = Counted::of(document, what.to_owned(), roots, revocations);
    match counted.by(purpose).first() {
        Some(key) => Ok(key),
        None => Err(counted.refusal(None, Refusal::SignatureMissing { what: what.to_owned(), purpose })),
    }
}
