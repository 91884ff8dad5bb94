//! Whether something may run on a host: certificates, the host's trust roots, revocation and catalogues.
//!
//! | | what it is | who signs it |
//! |---|---|---|
//! | [`Statement`] | this digest of this thing was reviewed, until then | authors and certifiers: a [`Certificate`] |
//! | [`Revocations`] | what must not run any more, whatever was signed | an author or a certifier |
//! | [`Catalogue`] | certificates and the list of revocations, as one message | a publisher, an author or a certifier |
//! | [`TrustRoots`] | whose signatures count; from the host's own file alone | nobody: the host's administrator writes it |
//!
//! Everything is refused unless [`judge`] permits it, and a [`Refusal`] says why. [`Register`] keeps what a host has heard. All of it
//! decides from what is handed in: no clock, no file, no network, no randomness. What comes from outside never panics and is bounded.
//!
//! What is signed is JSON text, byte for byte, by minisign's pre-hashed signatures; each states in its trusted comment what it
//! is for (`dcmf author`, `dcmf certifier`, `dcmf catalogue`, `dcmf revocations`), so none can be taken for another. Times are
//! RFC 3339 in UTC and count whole seconds.

mod catalogue;
mod certificate;
mod digest;
mod judge;
mod key;
mod refusal;
mod register;
mod revocations;
mod roots;
mod signed;
mod signers;
mod statement;
mod text;
mod time;

pub use catalogue::Catalogue;
pub use certificate::Certificate;
pub use digest::Digest;
pub use judge::{Permit, judge};
pub use key::{KeyId, PublicKey, Signature};
pub use refusal::{Malformed, Refusal};
pub use register::{Change, Register, Seen};
pub use revocations::{Revocation, Revocations};
pub use roots::{Role, TrustRoots, TrustedKey};
pub use signed::{Purpose, Signed};
pub use statement::{KnownAnswers, Rate, Statement, Subject};
pub use time::UnixSeconds;

/// Longest statement in bytes.
pub const MAX_STATEMENT_LEN: usize = 16 << 10;
/// Longest certificate in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 64 << 10;
/// Longest signed list of revocations in bytes.
pub const MAX_REVOCATIONS_LEN: usize = 256 << 10;
/// Longest signed catalogue in bytes: a message of NATS holds 1 MiB, headers included, unless the server says otherwise.
pub const MAX_CATALOGUE_LEN: usize = 768 << 10;
/// Longest file of trust roots in bytes.
pub const MAX_ROOTS_LEN: usize = 64 << 10;
/// Most signatures of one document.
pub const MAX_SIGNATURES: usize = 16;
/// Longest signature or public key as text, in bytes.
pub const MAX_SIGNATURE_LEN: usize = 1024;
/// Most certificates of one catalogue.
pub const MAX_CERTIFICATES: usize = 256;
/// Most entries of a list of revocations.
pub const MAX_REVOCATIONS: usize = 1024;
/// Most measured rates of one statement.
pub const MAX_RATES: usize = 64;
/// Most keys of a host's trust roots.
pub const MAX_KEYS: usize = 64;
/// Longest id of an algorithm, name or version of a program, in bytes.
pub const MAX_NAME_LEN: usize = 64;
/// Longest text for people, in bytes.
pub const MAX_TEXT_LEN: usize = 200;
/// How far ahead of the host's clock, in seconds, the serial of a catalogue or a list may be. Serials are the Unix time of
/// making: who holds a stolen key could else put one so high that no honest list would ever follow.
pub const MAX_SERIAL_AHEAD_SECONDS: u64 = 24 * 60 * 60;
