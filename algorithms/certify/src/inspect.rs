//! `dcmf-certify inspect`: what a document says, who signed it, and whether a host would believe it.

use crate::{
    certify::read_certificate,
    cli::Inspect,
    failure::Failure,
    files,
    output::{self, say},
};
use certification::{
    Catalogue, Certificate, MAX_CATALOGUE_LEN, MAX_REVOCATIONS_LEN, MAX_ROOTS_LEN, Permit, Purpose, Refusal,
    Register, Revocation, Revocations, Seen, Signature, Signed, Statement, TrustRoots, UnixSeconds, judge,
};
use serde::Deserialize;

/// What the signed text says it is.
#[derive(Deserialize)]
struct Heading {
    format: String,
}

/// Under whom to judge, and when.
struct Host {
    register: Register,
    now: UnixSeconds,
}

/// Shows a document.
pub(crate) fn run(command: &Inspect, now: UnixSeconds) -> Result<(), Failure> {
    let bytes = files::read(&command.file, MAX_CATALOGUE_LEN)?;
    let document = Signed::parse("document", &bytes, MAX_CATALOGUE_LEN)?;
    if command.text {
        output::write(format_args!("{}", document.body()));
        return Ok(());
    }
    let now = command.at.unwrap_or(now);
    let mut host = match &command.trust {
        Some(path) => {
            let roots = TrustRoots::parse(&files::read_text(path, MAX_ROOTS_LEN)?)?;
            Some(Host { register: Register::new(roots, Seen::default()), now })
        }
        None => None,
    };
    if let (Some(host), Some(path)) = (&mut host, &command.revocations) {
        host.register.accept_revocations(&files::read(path, MAX_REVOCATIONS_LEN)?, now)?;
    }
    let heading: Heading = serde_json::from_str(document.body())
        .map_err(|_| Failure::Usage(format!("{} says nothing of its format", command.file.display())))?;
    let judged = match heading.format.as_str() {
        "dcmf-statement-1" => certificate(&read_certificate(&command.file)?, host.as_ref()),
        "dcmf-revocations-1" => {
            show_list(&document, &Revocations::parse(document.body())?, host.as_ref());
            host.as_mut().map_or(Ok(()), |host| host.register.accept_revocations(&bytes, now).map(drop))
        }
        "dcmf-catalogue-1" => show_catalogue(&document, &bytes, host)?,
        _ => {
            return Err(Failure::Usage(
                "it is of a format that this program does not know; update it".to_owned(),
            ));
        }
    };
    Ok(judged?)
}

/// Shows a certificate; the refusal if a host was named that would refuse it.
fn certificate(certificate: &Certificate, host: Option<&Host>) -> Result<(), Refusal> {
    say!("certificate   {}", certificate.digest());
    show_statement(certificate.statement());
    show_signatures(certificate.document(), host);
    let Some(Host { register, now }) = host else {
        say!("not judged    name a host's trust roots with --trust");
        return Ok(());
    };
    let certificates = std::slice::from_ref(certificate);
    let subject = &certificate.statement().subject;
    let judged = judge(subject, certificates, register.revocations(), register.roots(), *now);
    match &judged {
        Ok(permit) => say!("valid         {}", told(permit)),
        Err(refusal) => say!("refused       {}", refusal.code()),
    }
    judged.map(drop)
}

fn told(permit: &Permit) -> String {
    format!(
        "until {}, by the authors {} and the certifiers {}",
        permit.valid_until,
        permit.authors.join(", "),
        permit.certifiers.join(", ")
    )
}

fn show_statement(statement: &Statement) {
    say!("of            {}", statement.subject);
    say!("digest        {}", statement.subject.digest());
    match &statement.known_answers {
        Some(answers) => say!("known answers {} passed, of the file {}", answers.passed, answers.sha256),
        None => say!("known answers none"),
    }
    for rate in &statement.rates {
        say!(
            "rate          {} hashes per CPU-second, {} threads, {}",
            rate.hashes_per_cpu_second,
            rate.threads,
            rate.path
        );
    }
    say!("reviewer      {}", statement.reviewer);
    say!("from, until   {}, {}", statement.issued, statement.expires);
    say!("serial        {}", statement.serial);
}

fn show_signatures(document: &Signed, host: Option<&Host>) {
    for signature in document.signatures() {
        say!("signature     key {} {}", signature.key_id(), worth(document, signature, host));
    }
    if document.signatures().is_empty() {
        say!("signature     none");
    }
}

/// What a signature is worth; what it claims is shown as a claim until it was verified.
fn worth(document: &Signed, signature: &Signature, host: Option<&Host>) -> String {
    let purpose =
        Purpose::of(signature).map_or("for another purpose".to_owned(), |purpose| format!("as {purpose}"));
    let Some(Host { register, .. }) = host else { return format!("{purpose}, not verified") };
    let Some(trusted) = register.roots().find(signature.key_id()) else {
        return format!("{purpose}, not in the trust roots");
    };
    let right = trusted.key.verifies(document.body().as_bytes(), signature);
    format!("{purpose}, {} of {}", if right { "right" } else { "WRONG" }, trusted.name)
}

fn show_list(document: &Signed, list: &Revocations, host: Option<&Host>) {
    say!("list of revocations {}", list.serial);
    for entry in &list.entries {
        match entry {
            Revocation::Certificate { sha256, reason } => say!("certificate   {sha256}: {reason}"),
            Revocation::Digest { sha256, reason } => say!("digest        {sha256}: {reason}"),
            Revocation::Key { id, reason } => say!("key           {id}: {reason}"),
        }
    }
    show_signatures(document, host);
}

/// Shows a catalogue and each of its certificates; the inner result is what a host says of the whole.
fn show_catalogue(
    document: &Signed,
    bytes: &[u8],
    mut host: Option<Host>,
) -> Result<Result<(), Refusal>, Failure> {
    let catalogue = Catalogue::parse(document.body())?;
    say!("catalogue {}", catalogue.serial);
    show_signatures(document, host.as_ref());
    let taken = match &mut host {
        Some(Host { register, now }) => register.accept_catalogue(bytes, *now).map(drop),
        None => Ok(()),
    };
    if let Some(list) = &catalogue.revocations {
        say!();
        show_list(list, &Revocations::parse(list.body())?, host.as_ref());
    }
    let (certificates, unreadable) = catalogue.read_certificates();
    for each in &certificates {
        say!();
        // A catalogue may hold certificates that have ended; it is judged as a whole.
        if let Err(refusal) = certificate(each, host.as_ref()) {
            say!("              {refusal}");
        }
    }
    for error in unreadable {
        say!("\n{error}");
    }
    Ok(taken)
}
