//! Lists of revocations and catalogues: `revoke`, `catalogue`.

use crate::{certify::read_certificate, cli, failure::Failure, files, keys::Signer, output::say};
use certification::{
    Catalogue, MAX_CATALOGUE_LEN, MAX_REVOCATIONS_LEN, Purpose, Revocation, Revocations, Signed, UnixSeconds,
};
use std::path::Path;

/// Adds entries to a list and signs it anew.
pub(crate) fn revoke(command: &cli::Revoke, now: UnixSeconds) -> Result<(), Failure> {
    let signer = Signer::read(&command.signing)?;
    let old = match read_signed("list of revocations", &command.list, MAX_REVOCATIONS_LEN)? {
        Some(document) => Revocations::parse(document.body())?,
        None => Revocations::default(),
    };
    let mut entries = old.entries;
    let reason = || command.reason.clone();
    let mut certificates = command.certificate_digest.clone();
    for path in &command.certificate {
        certificates.push(read_certificate(path)?.digest());
    }
    let new = certificates.into_iter().map(|sha256| Revocation::Certificate { sha256, reason: reason() });
    let new = new
        .chain(command.digest.iter().map(|sha256| Revocation::Digest { sha256: *sha256, reason: reason() }));
    let new = new.chain(command.key_id.iter().map(|id| Revocation::Key { id: *id, reason: reason() }));
    for entry in new {
        if !entries.iter().any(|old| old.is_same(&entry)) {
            entries.push(entry);
        }
    }
    let text = Revocations::new(next_serial(old.serial, now), entries).to_text()?;
    let mut document = Signed::new(text.clone());
    signer.sign(&mut document, Purpose::Revocations, &text)?;
    write_within(&command.list, &document, MAX_REVOCATIONS_LEN)
}

/// Makes a catalogue.
pub(crate) fn catalogue(command: &cli::Catalogue, now: UnixSeconds) -> Result<(), Failure> {
    let signer = Signer::read(&command.signing)?;
    let old = match read_signed("catalogue", &command.out, MAX_CATALOGUE_LEN)? {
        Some(document) => Catalogue::parse(document.body())?.serial,
        None => 0,
    };
    let mut shown = String::new();
    let mut certificates = Vec::new();
    for path in &command.certificates {
        let certificate = read_certificate(path)?;
        let (digest, statement) = (certificate.digest(), certificate.statement());
        shown += &format!("certificate {digest} of {}, until {}\n", statement.subject, statement.expires);
        certificates.push(certificate.document().clone());
    }
    let revocations = match &command.revocations {
        None => None,
        Some(path) => {
            let missing = || Failure::Usage(format!("{} is not there", path.display()));
            let document =
                read_signed("list of revocations", path, MAX_REVOCATIONS_LEN)?.ok_or_else(missing)?;
            let list = Revocations::parse(document.body())?;
            shown += &format!("list of revocations {} with {} entries\n", list.serial, list.entries.len());
            Some(document)
        }
    };
    let serial = next_serial(old, now);
    shown += &format!("catalogue {serial}");
    let mut document = Signed::new(Catalogue::new(serial, certificates, revocations).to_text()?);
    signer.sign(&mut document, Purpose::Catalogue, &shown)?;
    write_within(&command.out, &document, MAX_CATALOGUE_LEN)
}

/// Unix time, unless two are made within a second.
fn next_serial(old: u64, now: UnixSeconds) -> u64 {
    now.get().max(old.saturating_add(1))
}

fn read_signed(what: &'static str, path: &Path, limit: usize) -> Result<Option<Signed>, Failure> {
    if files::must_be_free(path).is_ok() {
        return Ok(None);
    }
    Ok(Some(Signed::parse(what, &files::read(path, limit)?, limit)?))
}

fn write_within(path: &Path, document: &Signed, limit: usize) -> Result<(), Failure> {
    let json = document.to_json();
    if json.len() > limit {
        return Err(Failure::TooLarge { path: path.to_owned(), limit });
    }
    files::replace(path, &json)?;
    say!("written to {}", path.display());
    Ok(())
}
