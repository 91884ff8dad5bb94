//! Flags.

use certification::{Digest, KeyId, UnixSeconds};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Certifies algorithms, components and programs of a DCMF farm.
///
/// Exit codes: 0 done, or valid; 1 not valid, refused, or different; 2 cannot be done as given; 3 not confirmed.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key pair, as `minisign -G` does; its keys can be used here as well
    Keygen(Keygen),
    /// Print the source digests of the native algorithms
    Digest(DigestCommand),
    /// Test something and sign a statement about it
    #[command(subcommand)]
    Certify(Certify),
    /// Check a certificate against what is here and add a signature, as a certifier unless told otherwise
    Countersign(Countersign),
    /// Add a signature that `minisign -S -t "dcmf certifier"` made over the text that `inspect --text` prints
    Attach(Attach),
    /// Show what a certificate, list or catalogue says, who signed it and whether a host would believe it
    Inspect(Inspect),
    /// Add an entry to a list of revocations, which is made if it is not there
    Revoke(Revoke),
    /// Put certificates and the list of revocations into one signed catalogue
    Catalogue(Catalogue),
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// File for the secret key; must not exist
    #[arg(long)]
    pub(crate) secret: PathBuf,
    /// File for the public key; must not exist
    #[arg(long)]
    pub(crate) public: PathBuf,
    /// Do not protect the secret key with a password
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) no_password: bool,
    /// Take the password from the first line of this file instead of asking
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DigestCommand {
    /// Only of this algorithm
    pub(crate) algorithm: Option<String>,
    /// Print every line that is digested, to be compared with `diff`
    #[arg(long)]
    pub(crate) manifest: bool,
    /// Write algorithms/certified.toml anew
    #[arg(long, conflicts_with = "check")]
    pub(crate) write: bool,
    /// Compare with algorithms/certified.toml and with what this program was compiled from
    #[arg(long)]
    pub(crate) check: bool,
    /// The checkout; by default the one above the current folder
    #[arg(long)]
    pub(crate) repository: Option<PathBuf>,
}

/// In which role a statement is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignAs {
    /// Who wrote it
    Author,
    /// Who reviewed it
    Certifier,
}

/// With which key something is signed.
#[derive(Debug, Args)]
pub(crate) struct SigningKey {
    /// File of a minisign secret key
    #[arg(long)]
    pub(crate) key: PathBuf,
    /// Take its password from the first line of this file instead of asking
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
    /// Do not ask before signing
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What a statement says besides its subject.
#[derive(Debug, Args)]
pub(crate) struct Statement {
    #[command(flatten)]
    pub(crate) signing: SigningKey,
    /// Who reviewed it
    #[arg(long)]
    pub(crate) reviewer: String,
    /// For how many days it is valid
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// File for the certificate; must not exist
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The role of the key
    #[arg(long = "as", value_enum, default_value = "author")]
    pub(crate) role: SignAs,
}

/// How an algorithm's rate is measured.
#[derive(Debug, Args)]
pub(crate) struct Measured {
    /// Processor time to measure for each number of threads, seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) seconds: u16,
    /// Numbers of threads to measure
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Certify {
    /// An algorithm that is compiled into this program: runs its known answers and the conformance kit, measures its rate
    Algorithm {
        /// Its id
        id: String,
        #[command(flatten)]
        measured: Measured,
        #[command(flatten)]
        statement: Statement,
    },
    /// A WebAssembly component, by the digest of its file: runs known answers and the conformance kit in the sandbox, measures
    Component {
        /// Its file
        file: PathBuf,
        /// Its id
        #[arg(long)]
        id: String,
        /// Its version
        #[arg(long)]
        version: u32,
        /// Known answers: [{"name": …, "input": hex, "finding": hex, "position": number, "hash": hex}]
        #[arg(long)]
        vectors: PathBuf,
        #[command(flatten)]
        measured: Measured,
        #[command(flatten)]
        statement: Statement,
    },
    /// A program, by the digest of its executable file
    Program {
        /// Its file
        file: PathBuf,
        /// Its name
        #[arg(long)]
        name: String,
        /// Its version
        #[arg(long)]
        version: String,
        #[command(flatten)]
        statement: Statement,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Countersign {
    /// The certificate; the signature is added to it
    pub(crate) certificate: PathBuf,
    /// The component or executable that it is about
    #[arg(long)]
    pub(crate) artifact: Option<PathBuf>,
    /// The known answers of the component that it is about
    #[arg(long)]
    pub(crate) vectors: Option<PathBuf>,
    /// The role of the key
    #[arg(long = "as", value_enum, default_value = "certifier")]
    pub(crate) role: SignAs,
    #[command(flatten)]
    pub(crate) signing: SigningKey,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The certificate; the signature is added to it
    pub(crate) certificate: PathBuf,
    /// The `.minisig` file
    pub(crate) signature: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A certificate, a list of revocations or a catalogue
    pub(crate) file: PathBuf,
    /// A host's trust roots; without them nothing is judged
    #[arg(long)]
    pub(crate) trust: Option<PathBuf>,
    /// A list of revocations to be taken into account
    #[arg(long, requires = "trust")]
    pub(crate) revocations: Option<PathBuf>,
    /// Judge as if it were this time, for instance 2026-12-24T18:00:00Z
    #[arg(long)]
    pub(crate) at: Option<UnixSeconds>,
    /// Print exactly the signed text and nothing else
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
pub(crate) struct Revoke {
    /// The list of revocations
    #[arg(long)]
    pub(crate) list: PathBuf,
    /// Revoke the certificate of this file
    #[arg(long, group = "what")]
    pub(crate) certificate: Vec<PathBuf>,
    /// Revoke the certificate whose statement has this digest, as `inspect` shows it
    #[arg(long, group = "what")]
    pub(crate) certificate_digest: Vec<Digest>,
    /// Revoke whatever has this source, artifact or executable digest
    #[arg(long, group = "what")]
    pub(crate) digest: Vec<Digest>,
    /// Revoke all signatures of the key with this id
    #[arg(long, group = "what")]
    pub(crate) key_id: Vec<KeyId>,
    /// Why, for people
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) signing: SigningKey,
}

#[derive(Debug, Args)]
pub(crate) struct Catalogue {
    /// The catalogue; if it is there, its serial is exceeded
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The list of revocations
    #[arg(long)]
    pub(crate) revocations: Option<PathBuf>,
    /// The certificates
    pub(crate) certificates: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) signing: SigningKey,
}
