//! Who certifies what a farm of the tests or of `make run` runs: keys that are made when the farm starts and lie beside it.
//!
//! For a demonstration that is right, and for a real installation it is not: there an author and a certifier are two people who
//! looked at the sources, and their secret keys are on no host that mines.

use crate::HarnessError;
use bus_schemas::subject::CATALOGUE_KEY;
use certification::{
    Catalogue, Certificate, Digest, PublicKey, Purpose, Revocation, Revocations, Signature, Signed,
    Statement, Subject, TrustRoots,
};
use minisign::{KeyPair, PError};
use nats_adapter::{Bus, KvError, streams};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};
use worker::certificates;

/// How long certificates of a farm are valid, seconds: two weeks.
const VALID_SECONDS: u64 = 14 * 24 * 60 * 60;

/// Why nothing could be certified.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key could not be made or used.
    #[error("keys for certificates: {0}")]
    Key(String),
    /// What was to be signed is not what it should be.
    #[error(transparent)]
    Malformed(#[from] certification::Malformed),
    /// The program that is to be certified cannot be read.
    #[error(transparent)]
    Program(#[from] certificates::ProgramUnreadable),
    /// A file could not be written.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// The catalogue could not be published.
    #[error(transparent)]
    Kv(#[from] KvError),
}

impl From<PError> for AuthorityError {
    fn from(error: PError) -> Self {
        Self::Key(error.to_string())
    }
}

/// Somebody with a key pair.
#[derive(Debug, Clone)]
pub struct Person(KeyPair);

impl Person {
    /// Somebody new.
    pub fn new() -> Result<Self, AuthorityError> {
        Ok(Self(KeyPair::generate_unencrypted_keypair()?))
    }

    /// The public key as trust roots have it.
    pub fn public(&self) -> Result<PublicKey, AuthorityError> {
        Ok(PublicKey::parse(&self.0.pk.to_base64())?)
    }

    /// Adds a signature.
    pub fn signs(&self, document: &mut Signed, purpose: Purpose) -> Result<(), AuthorityError> {
        let text = Cursor::new(document.body());
        let signed = minisign::sign(None, &self.0.sk, text, Some(purpose.comment()), None)?;
        Ok(document.add(Signature::parse(&signed.into_string())?)?)
    }

    /// Writes `<name>.key` and `<name>.pub` as `dcmf-certify` and `minisign` take them, without a password.
    fn write(&self, folder: &Path, name: &str) -> Result<(), AuthorityError> {
        let files =
            [("key", self.0.sk.to_box(None)?.into_string()), ("pub", self.0.pk.to_box()?.into_string())];
        for (extension, text) in files {
            let path = folder.join(format!("{name}.{extension}"));
            fs::write(&path, text).map_err(HarnessError::io(format!("writing {}", path.display())))?;
        }
        Ok(())
    }
}

/// An author, a certifier and a publisher.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Signs as the first.
    pub author: Person,
    /// Signs as the second.
    pub certifier: Person,
    /// Signs catalogues.
    pub publisher: Person,
    /// Where what they sign is left as files.
    folder: Option<PathBuf>,
}

impl Authority {
    /// Three new people.
    pub fn new() -> Result<Self, AuthorityError> {
        let (author, certifier, publisher) = (Person::new()?, Person::new()?, Person::new()?);
        Ok(Self { author, certifier, publisher, folder: None })
    }

    /// Three new people whose keys, and what they publish by [`Authority::permit_all`], lie in `folder`.
    pub fn in_folder(folder: &Path) -> Result<Self, AuthorityError> {
        let authority = Self { folder: Some(folder.to_owned()), ..Self::new()? };
        authority.author.write(folder, "author")?;
        authority.certifier.write(folder, "certifier")?;
        authority.publisher.write(folder, "publisher")?;
        Ok(authority)
    }

    /// The table `[trust]` of a worker's host file; `head` are lines for its beginning. To stand at the file's end.
    pub fn trust(&self, head: &str) -> String {
        format!("\n[trust]\n{head}\n{}", self.keys("trust.keys"))
    }

    /// The same for a worker that runs in this process, whose program is that of the test.
    pub fn roots(&self) -> Result<TrustRoots, AuthorityError> {
        Ok(TrustRoots::parse(&self.keys("keys"))?)
    }

    fn keys(&self, table: &str) -> String {
        let people =
            [("author", &self.author), ("certifier", &self.certifier), ("publisher", &self.publisher)];
        let entry = |(role, person): (&str, &Person)| {
            let key = person.0.pk.to_base64();
            format!("[[{table}]]\nname = \"the farm's {role}\"\nkey = \"{key}\"\nroles = [\"{role}\"]\n")
        };
        people.map(entry).concat()
    }

    /// Signed by author and certifier.
    pub fn certificate(&self, statement: &Statement) -> Result<Certificate, AuthorityError> {
        let signers = [(&self.author, Purpose::Author), (&self.certifier, Purpose::Certifier)];
        signed_by(statement, &signers)
    }

    /// Certificates of what is compiled into this program's worker, and of the worker's program at `program`.
    pub fn certify_all(&self, program: Option<&Path>) -> Result<Vec<Certificate>, AuthorityError> {
        let mut subjects = worker::algorithms::subjects();
        if let Some(program) = program {
            subjects.push(certificates::of_executable(program)?);
        }
        subjects.into_iter().map(|subject| self.certificate(&statement(subject))).collect()
    }

    /// A list of revocations, signed by the certifier.
    pub fn revocations(&self, serial: u64, entries: Vec<Revocation>) -> Result<Signed, AuthorityError> {
        let mut document = Signed::new(Revocations::new(serial, entries).to_text()?);
        self.certifier.signs(&mut document, Purpose::Revocations)?;
        Ok(document)
    }

    /// A catalogue as the bus takes it, signed by the publisher.
    pub fn catalogue(
        &self,
        serial: u64,
        certificates: &[Certificate],
        revocations: Option<Signed>,
    ) -> Result<String, AuthorityError> {
        let certificates = certificates.iter().map(|certificate| certificate.document().clone()).collect();
        let mut document = Signed::new(Catalogue::new(serial, certificates, revocations).to_text()?);
        self.publisher.signs(&mut document, Purpose::Catalogue)?;
        Ok(document.to_json())
    }

    /// Certifies what is compiled into this program's worker, and the worker's program at `program`, and publishes that.
    pub async fn permit_all(&self, bus: &Bus, program: Option<&Path>) -> Result<(), AuthorityError> {
        let certificates = self.certify_all(program)?;
        let catalogue = self.catalogue(certificates::now().get(), &certificates, None)?;
        if let Some(folder) = &self.folder {
            leave(folder, &certificates, &catalogue)?;
        }
        publish(bus, catalogue).await
    }
}

/// Writes what was signed as files that `dcmf-certify` takes.
fn leave(folder: &Path, certificates: &[Certificate], catalogue: &str) -> Result<(), HarnessError> {
    let write = |name: String, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(HarnessError::io(format!("writing {}", path.display())))
    };
    for certificate in certificates {
        let name = match &certificate.statement().subject {
            Subject::NativeAlgorithm { id, .. } | Subject::Component { id, .. } => id,
            Subject::Program { name, .. } => name,
        };
        write(format!("{name}.cert"), &certificate.document().to_json())?;
    }
    write("catalogue.json".to_owned(), catalogue)
}

/// That `subject` may run for some time from now on.
pub fn statement(subject: Subject) -> Statement {
    let now = certificates::now();
    Statement::new(subject, "the farm itself".to_owned(), now, now.plus(VALID_SECONDS))
}

/// Signed by whomever.
pub fn signed_by(
    statement: &Statement,
    signers: &[(&Person, Purpose)],
) -> Result<Certificate, AuthorityError> {
    let mut document = Signed::new(statement.to_text()?);
    for (person, purpose) in signers {
        person.signs(&mut document, *purpose)?;
    }
    Ok(Certificate::of(document)?)
}

/// Puts a catalogue where `nats kv put dcmf_certificates catalogue` puts it.
pub async fn publish(bus: &Bus, catalogue: String) -> Result<(), AuthorityError> {
    bus.kv(streams::CERTIFICATES).put(CATALOGUE_KEY, catalogue.into()).await?;
    Ok(())
}

/// The entry by which whatever has this digest is revoked.
pub fn revoked(digest: Digest) -> Revocation {
    Revocation::Digest { sha256: digest, reason: "a drill".to_owned() }
}
