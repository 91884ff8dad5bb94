//! Why something may not run.

use crate::{Digest, KeyId, Purpose, UnixSeconds};

/// Something from outside that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} is malformed: {reason}")]
pub struct Malformed {
    /// What.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, reason: &str) -> Self {
        Self { what, reason: reason.to_owned() }
    }
}

/// Why something may not run, or why a catalogue or list is not taken. In the order of [`Refusal::CODES`]: of several reasons,
/// that of the certificate which came furthest is stated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody whom this host trusts ever certified it.
    #[error("{subject} is not certified: no certificate names it; have it certified, or use another")]
    NotCertified {
        /// What.
        subject: String,
    },
    /// The sources are not those that were certified.
    #[error(
        "{subject} was edited after certification: it was compiled from {digest}, certified is {certified}; \
         install the certified build, or have this one certified"
    )]
    EditedAfterCertification {
        /// What.
        subject: String,
        /// Digest of what is here.
        digest: Digest,
        /// Digest that is certified.
        certified: Digest,
    },
    /// The artifact is not the one that was certified.
    #[error(
        "{subject} is not the certified artifact: it has {digest}, certified is {certified}; fetch it again, or have this one certified"
    )]
    ArtifactChanged {
        /// What.
        subject: String,
        /// Digest of what is here.
        digest: Digest,
        /// Digest that is certified.
        certified: Digest,
    },
    /// The program is not the one that was certified.
    #[error(
        "{subject} was tampered with or built anew: the executable has {digest}, certified is {certified}; \
         install it again from a trusted source and look who changed it"
    )]
    ProgramTampered {
        /// What.
        subject: String,
        /// Digest of what is here.
        digest: Digest,
        /// Digest that is certified.
        certified: Digest,
    },
    /// Nobody signed it.
    #[error(
        "{what} has no signature for this purpose ({purpose}); sign it, and look whether the transport cut it"
    )]
    SignatureMissing {
        /// What.
        what: String,
        /// Wanted.
        purpose: Purpose,
    },
    /// Too few authors signed.
    #[error("{what}: {have} author signatures, {needed} are needed; let an author sign it")]
    AuthorSignatureMissing {
        /// What.
        what: String,
        /// Good ones.
        have: usize,
        /// Wanted.
        needed: usize,
    },
    /// Too few certifiers signed.
    #[error("{what}: {have} certifier signatures, {needed} are needed; let a certifier countersign it")]
    CertifierSignatureMissing {
        /// What.
        what: String,
        /// Good ones.
        have: usize,
        /// Wanted.
        needed: usize,
    },
    /// A signature that is needed is by a key that this host does not trust for it.
    #[error(
        "{what} is signed by key {key}, which this host's trust roots do not have{}; \
         is it a certificate of this farm? Trust roots are in the host's own file only",
        .purpose.map(|purpose| format!(" as {purpose}")).unwrap_or_default()
    )]
    KeyNotInTrustRoots {
        /// What.
        what: String,
        /// Whose signature.
        key: KeyId,
        /// What the signature is for; unknown when the key is.
        purpose: Option<Purpose>,
    },
    /// One key signed as author and as certifier.
    #[error(
        "{what}: key {key} signed as author and as certifier, which counts once; let somebody else countersign it"
    )]
    SameKeyForBothRoles {
        /// What.
        what: String,
        /// Which key.
        key: KeyId,
    },
    /// A key is revoked.
    #[error("{what} is signed by key {key}, which is revoked: {reason}; have it signed with another key")]
    KeyRevoked {
        /// What.
        what: String,
        /// Which key.
        key: KeyId,
        /// As the list says.
        reason: String,
    },
    /// The text is not what the key signed.
    #[error(
        "{what}: the signature of key {key} is wrong; the text was changed after signing, do not trust where it came from"
    )]
    SignatureWrong {
        /// What.
        what: String,
        /// Whose signature it claims to be.
        key: KeyId,
    },
    /// The certificate is revoked.
    #[error("the certificate {certificate} of {what} is revoked: {reason}; have it certified anew")]
    CertificateRevoked {
        /// What.
        what: String,
        /// Digest of its statement.
        certificate: Digest,
        /// As the list says.
        reason: String,
    },
    /// The certificate has ended.
    #[error("the certificate of {what} expired at {since}; have it certified anew")]
    Expired {
        /// What.
        what: String,
        /// When.
        since: UnixSeconds,
    },
    /// It comes from the future.
    #[error("{what} is not valid before {from}; wait, and look at the host's clock")]
    NotYetValid {
        /// What.
        what: String,
        /// When it will be.
        from: UnixSeconds,
    },
    /// Whatever has this digest may not run.
    #[error("{subject} has the digest {digest}, which is revoked: {reason}; install a newer version")]
    DigestRevoked {
        /// What.
        subject: String,
        /// The digest.
        digest: Digest,
        /// As the list says.
        reason: String,
    },
    /// Something older than what this host has already seen.
    #[error(
        "{what} has serial {offered}, but {seen} was seen before: somebody offers an old one; \
         publish the newest, and look who sent this"
    )]
    RolledBack {
        /// What.
        what: &'static str,
        /// Serial of what was offered; 0 when it is not there at all.
        offered: u64,
        /// Highest seen.
        seen: u64,
    },
    /// A newer list lacks what an older one had.
    #[error(
        "the list of revocations {serial} lacks an entry of the one before: what is revoked stays revoked; make it from the newest list"
    )]
    RevocationWithdrawn {
        /// Of the newer list.
        serial: u64,
    },
    /// It cannot be read.
    #[error("{0}; update this program, or have it made again")]
    Malformed(#[from] Malformed),
}

impl Refusal {
    /// All codes, the least specific first.
    pub const CODES: [&str; 18] = [
        "not-certified",
        "edited-after-certification",
        "artifact-changed",
        "program-tampered",
        "signature-missing",
        "author-signature-missing",
        "certifier-signature-missing",
        "key-not-in-trust-roots",
        "same-key-for-both-roles",
        "key-revoked",
        "signature-wrong",
        "certificate-revoked",
        "certificate-expired",
        "not-yet-valid",
        "digest-revoked",
        "rolled-back",
        "revocation-withdrawn",
        "malformed",
    ];

    /// Its name for programs; never changes its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotCertified { .. } => "not-certified",
            Self::EditedAfterCertification { .. } => "edited-after-certification",
            Self::ArtifactChanged { .. } => "artifact-changed",
            Self::ProgramTampered { .. } => "program-tampered",
            Self::SignatureMissing { .. } => "signature-missing",
            Self::AuthorSignatureMissing { .. } => "author-signature-missing",
            Self::CertifierSignatureMissing { .. } => "certifier-signature-missing",
            Self::KeyNotInTrustRoots { .. } => "key-not-in-trust-roots",
            Self::SameKeyForBothRoles { .. } => "same-key-for-both-roles",
            Self::KeyRevoked { .. } => "key-revoked",
            Self::SignatureWrong { .. } => "signature-wrong",
            Self::CertificateRevoked { .. } => "certificate-revoked",
            Self::Expired { .. } => "certificate-expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::DigestRevoked { .. } => "digest-revoked",
            Self::RolledBack { .. } => "rolled-back",
            Self::RevocationWithdrawn { .. } => "revocation-withdrawn",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Its place in [`Refusal::CODES`].
    pub(crate) fn rank(&self) -> usize {
        Self::CODES.iter().position(|code| *code == self.code()).unwrap_or_default()
    }
}
