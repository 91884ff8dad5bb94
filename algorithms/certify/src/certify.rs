//! Signing statements: `certify`, `countersign`, `attach`.

use crate::{
    algorithms,
    cli::{self, SignAs},
    component::Component,
    failure::Failure,
    files,
    keys::Signer,
    measure::{self, Testee},
    output::say,
};
use certification::{
    Certificate, Digest, MAX_CERTIFICATE_LEN, MAX_SIGNATURE_LEN, Purpose, Signature, Signed, Statement,
    Subject, UnixSeconds,
};
use std::path::Path;

const DAY_SECONDS: u64 = 24 * 60 * 60;

impl From<SignAs> for Purpose {
    fn from(role: SignAs) -> Self {
        match role {
            SignAs::Author => Self::Author,
            SignAs::Certifier => Self::Certifier,
        }
    }
}

/// Tests something, states it and signs that.
pub(crate) fn certify(command: cli::Certify, now: UnixSeconds) -> Result<(), Failure> {
    match command {
        cli::Certify::Algorithm { id, measured, statement: arguments } => {
            let signer = begin(&arguments)?;
            let entry = algorithms::find(&id)?;
            let statement = tested(entry.subject()?, &entry.testee()?, &measured, &arguments, now)?;
            finish(&signer, &statement, &arguments)
        }
        cli::Certify::Component { file, id, version, vectors, measured, statement: arguments } => {
            let signer = begin(&arguments)?;
            let component = Component::load(&file, &vectors, (&id, version))?;
            let statement = tested(component.subject(), &component.testee(), &measured, &arguments, now)?;
            finish(&signer, &statement, &arguments)
        }
        cli::Certify::Program { file, name, version, statement: arguments } => {
            let signer = begin(&arguments)?;
            let subject = Subject::Program { name, version, executable_sha256: digest_of(&file)? };
            finish(&signer, &state(subject, &arguments, now), &arguments)
        }
    }
}

/// What can go wrong at once does so before anything is measured.
fn begin(arguments: &cli::Statement) -> Result<Signer, Failure> {
    files::must_be_free(&arguments.out)?;
    Signer::read(&arguments.signing)
}

fn tested(
    subject: Subject,
    testee: &Testee<'_>,
    measured: &cli::Measured,
    arguments: &cli::Statement,
    now: UnixSeconds,
) -> Result<Statement, Failure> {
    let mut statement = state(subject, arguments, now);
    statement.known_answers = Some(measure::prove(testee)?);
    statement.rates = measure::rates(testee, measured)?;
    Ok(statement)
}

fn state(subject: Subject, arguments: &cli::Statement, now: UnixSeconds) -> Statement {
    let expires = now.plus(u64::from(arguments.days) * DAY_SECONDS);
    Statement::new(subject, arguments.reviewer.clone(), now, expires)
}

fn finish(signer: &Signer, statement: &Statement, arguments: &cli::Statement) -> Result<(), Failure> {
    let text = statement.to_text()?;
    let mut document = Signed::new(text.clone());
    signer.sign(&mut document, arguments.role.into(), &text)?;
    files::Fresh::public(&arguments.out)?.write(&document.to_json())?;
    say!("certificate {} written to {}", Digest::of(text.as_bytes()), arguments.out.display());
    Ok(())
}

/// Checks what a certificate says against what is here, and adds a signature.
pub(crate) fn countersign(command: &cli::Countersign) -> Result<(), Failure> {
    let signer = Signer::read(&command.signing)?;
    let certificate = read_certificate(&command.certificate)?;
    let statement = certificate.statement();
    let shown = statement.to_text()?;
    if shown != certificate.document().body() {
        // Blanks, carriage returns and escapes could show a reader something else than what is signed.
        return Err(Failure::Differs(
            "the statement is not written in the usual form; have it made anew".to_owned(),
        ));
    }
    check_here(statement, command.artifact.as_deref(), command.vectors.as_deref())?;
    let mut document = certificate.document().clone();
    signer.sign(&mut document, command.role.into(), &shown)?;
    files::replace(&command.certificate, &document.to_json())
}

/// A certifier signs what he has seen himself.
fn check_here(statement: &Statement, artifact: Option<&Path>, vectors: Option<&Path>) -> Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    let certified = statement.subject.digest();
    let (here, known_answers) = match (&statement.subject, artifact, vectors) {
        (Subject::NativeAlgorithm { id, version, .. }, None, None) => {
            let entry = algorithms::find(id)?;
            if entry.algorithm.descriptor().version != *version {
                return Err(Failure::Differs(format!("{id} is not compiled in here with version {version}")));
            }
            (entry.compiled_digest()?, Some(measure::prove(&entry.testee()?)?))
        }
        (Subject::NativeAlgorithm { .. }, ..) => {
            return usage("a native algorithm has no --artifact and no --vectors: it is compiled in here");
        }
        (Subject::Component { id, version, .. }, Some(file), Some(vectors)) => {
            let component = Component::load(file, vectors, (id, *version))?;
            (component.subject().digest(), Some(measure::prove(&component.testee())?))
        }
        (Subject::Component { .. }, ..) => {
            return usage("name the component with --artifact and its known answers with --vectors");
        }
        (Subject::Program { .. }, Some(file), None) => (digest_of(file)?, None),
        (Subject::Program { .. }, ..) => {
            return usage("name the executable with --artifact, and no --vectors");
        }
    };
    if here != certified {
        return Err(Failure::Differs(format!(
            "{} has the digest {here} here, the certificate says {certified}; it is not signed",
            statement.subject
        )));
    }
    if known_answers != statement.known_answers {
        return Err(Failure::Differs(
            "the certificate names other known answers than passed here".to_owned(),
        ));
    }
    Ok(())
}

/// Adds a signature that was made elsewhere.
pub(crate) fn attach(command: &cli::Attach) -> Result<(), Failure> {
    let mut document = read_certificate(&command.certificate)?.document().clone();
    let signature = Signature::parse(&files::read_text(&command.signature, MAX_SIGNATURE_LEN)?)?;
    let Some(purpose @ (Purpose::Author | Purpose::Certifier)) = Purpose::of(&signature) else {
        return Err(Failure::Usage(format!(
            "{} does not say what it is for: sign with `minisign -S -t \"{}\"`",
            command.signature.display(),
            Purpose::Certifier.comment()
        )));
    };
    say!("signature as {purpose} by key {} added, not verified: inspect with --trust", signature.key_id());
    document.add(signature)?;
    files::replace(&command.certificate, &document.to_json())
}

/// Reads a certificate.
pub(crate) fn read_certificate(path: &Path) -> Result<Certificate, Failure> {
    Ok(Certificate::parse(&files::read(path, MAX_CERTIFICATE_LEN)?)?)
}

fn digest_of(path: &Path) -> Result<Digest, Failure> {
    Ok(Digest::of(&files::read(path, files::MAX_ARTIFACT_LEN)?))
}
