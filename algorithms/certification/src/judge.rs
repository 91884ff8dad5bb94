//! The decision.

use crate::{Certificate, Digest, Refusal, Revocations, Subject, TrustRoots, UnixSeconds, signers};

/// It may run. Only [`judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permit {
    /// What may run.
    pub subject: Subject,
    /// By which certificate: the digest of its statement.
    pub certificate: Digest,
    /// From then on it may not run any more, unless it is judged anew.
    pub valid_until: UnixSeconds,
    /// Authors who signed.
    pub authors: Vec<String>,
    /// Certifiers who signed.
    pub certifiers: Vec<String>,
}

/// Whether `subject` may run now. It may not unless a certificate says so that is of exactly this digest, signed by enough authors
/// and certifiers of `roots` with different keys, not revoked, and valid at `now`.
///
/// Of several certificates that permit it the one that lasts longest counts. If none does, the reason of the one that came
/// furthest is stated, in this order of checks:
///
/// 1. the digest itself is revoked;
/// 2. some certificate names this thing, else `not-certified`;
/// 3. one names this digest, else, if one of another digest is rightly signed, `edited-after-certification`, `artifact-changed` or
///    `program-tampered`;
/// 4. signatures: a wrong one, a revoked key, one key for both roles, an unknown key, then too few authors, too few certifiers;
/// 5. the certificate is revoked;
/// 6. it has ended, or has not begun.
pub fn judge(
    subject: &Subject,
    certificates: &[Certificate],
    revocations: &Revocations,
    roots: &TrustRoots,
    now: UnixSeconds,
) -> Result<Permit, Refusal> {
    let (name, digest) = (subject.to_string(), subject.digest());
    revocations.check_digest(subject)?;
    let mut refusal = Refusal::NotCertified { subject: name.clone() };
    let mut permit: Option<Permit> = None;
    for certificate in certificates.iter().filter(|c| c.statement().subject.is_same_thing(subject)) {
        let judged = if certificate.statement().subject.digest() == digest {
            judge_one(subject, &name, certificate, revocations, roots, now)
        } else {
            Err(another_digest(subject, &name, certificate, revocations, roots))
        };
        match judged {
            Ok(new) if permit.as_ref().is_none_or(|old| old.valid_until < new.valid_until) => {
                permit = Some(new)
            }
            Ok(_) => {}
            Err(new) if new.rank() > refusal.rank() => refusal = new,
            Err(_) => {}
        }
    }
    permit.ok_or(refusal)
}

fn judge_one(
    subject: &Subject,
    name: &str,
    certificate: &Certificate,
    revocations: &Revocations,
    roots: &TrustRoots,
    now: UnixSeconds,
) -> Result<Permit, Refusal> {
    let signers = signers::of_statement(certificate.document(), name, roots, revocations)?;
    let (what, statement, digest) = (name.to_owned(), certificate.statement(), certificate.digest());
    if let Some(reason) = revocations.of_certificate(digest) {
        return Err(Refusal::CertificateRevoked { what, certificate: digest, reason: reason.to_owned() });
    }
    if now >= statement.expires {
        return Err(Refusal::Expired { what, since: statement.expires });
    }
    if now < statement.issued {
        return Err(Refusal::NotYetValid { what, from: statement.issued });
    }
    Ok(Permit {
        subject: subject.clone(),
        certificate: digest,
        valid_until: statement.expires,
        authors: signers.authors,
        certifiers: signers.certifiers,
    })
}

/// What to say of a certificate that is about other bytes of the same thing. One that this host would never have believed proves
/// no edit.
fn another_digest(
    subject: &Subject,
    name: &str,
    certificate: &Certificate,
    revocations: &Revocations,
    roots: &TrustRoots,
) -> Refusal {
    let name = name.to_owned();
    if signers::of_statement(certificate.document(), &name, roots, revocations).is_err() {
        return Refusal::NotCertified { subject: name };
    }
    let (digest, certified) = (subject.digest(), certificate.statement().subject.digest());
    match subject {
        Subject::NativeAlgorithm { .. } => {
            Refusal::EditedAfterCertification { subject: name, digest, certified }
        }
        Subject::Component { .. } => Refusal::ArtifactChanged { subject: name, digest, certified },
        Subject::Program { .. } => Refusal::ProgramTampered { subject: name, digest, certified },
    }
}
