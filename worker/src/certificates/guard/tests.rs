//! A host's judgement over restarts, with real keys and real files.

use super::*;
use certification::{Catalogue, Certificate, Purpose, Revocation, Revocations, Signature, Signed, Statement};
use minisign::KeyPair;
use std::{fs, io::Cursor};

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds)
}

struct Host {
    folder: tempfile::TempDir,
    author: KeyPair,
    certifier: KeyPair,
}

fn native(source: &[u8]) -> Subject {
    Subject::NativeAlgorithm { id: "sha256d".to_owned(), version: 1, source_sha256: Digest::of(source) }
}

fn component() -> Subject {
    Subject::Component { id: "guest".to_owned(), version: 3, artifact_sha256: Digest::of(b"wasm") }
}

fn program() -> Subject {
    let (name, version) = ("dcmf-worker".to_owned(), "1".to_owned());
    Subject::Program { name, version, executable_sha256: Digest::of(b"elf") }
}

fn sign(document: &mut Signed, key: &KeyPair, purpose: Purpose) {
    let text = Cursor::new(document.body().to_owned());
    let signed = minisign::sign(None, &key.sk, text, Some(purpose.comment()), None).unwrap();
    document.add(Signature::parse(&signed.into_string()).unwrap()).unwrap();
}

impl Host {
    fn new() -> Self {
        let key = || KeyPair::generate_unencrypted_keypair().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), author: key(), certifier: key() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    fn roots(&self, head: &str) -> TrustRoots {
        let entry = |role: &str, key: &KeyPair| {
            let key = key.pk.to_base64();
            format!("[[keys]]\nname = \"{role}\"\nkey = \"{key}\"\nroles = [\"{role}\"]\n")
        };
        let (author, certifier) = (entry("author", &self.author), entry("certifier", &self.certifier));
        TrustRoots::parse(&format!("{head}\n{author}{certifier}")).unwrap()
    }

    fn guard(&self, head: &str) -> Guard {
        Guard::open(self.roots(head), self.file(), program(), vec![native(b"good")], at(NOW))
    }

    fn certificate(&self, subject: Subject, expires: u64) -> Certificate {
        let statement = Statement::new(subject, "Bob".to_owned(), at(NOW - 10), at(expires));
        let mut document = Signed::new(statement.to_text().unwrap());
        sign(&mut document, &self.author, Purpose::Author);
        sign(&mut document, &self.certifier, Purpose::Certifier);
        Certificate::of(document).unwrap()
    }

    fn catalogue(&self, serial: u64, subjects: &[Subject], list: Option<Signed>) -> Vec<u8> {
        let certify = |subject: &Subject| self.certificate(subject.clone(), NOW + 100).document().clone();
        let certificates = subjects.iter().map(certify).collect();
        let mut document = Signed::new(Catalogue::new(serial, certificates, list).to_text().unwrap());
        sign(&mut document, &self.certifier, Purpose::Catalogue);
        document.to_json().into_bytes()
    }

    fn list(&self, serial: u64, digest: Digest) -> Signed {
        let entry = Revocation::Digest { sha256: digest, reason: "drill".to_owned() };
        let mut document = Signed::new(Revocations::new(serial, vec![entry]).to_text().unwrap());
        sign(&mut document, &self.certifier, Purpose::Revocations);
        document
    }
}

fn code(guard: &Guard, subject: &Subject) -> &'static str {
    guard.judge(subject, at(NOW)).map_or_else(|denial| denial.code(), |_| "permitted")
}

#[test]
fn a_host_denies_what_it_has_no_certificate_for_and_permits_the_rest_until_its_end() {
    let host = Host::new();
    let mut guard = host.guard("");
    assert_eq!(code(&guard, &native(b"good")), "not-certified");
    guard.offer(&host.catalogue(NOW, &[native(b"good"), component()], None), at(NOW)).unwrap();
    for (subject, wanted) in [
        (native(b"good"), "permitted"),
        (native(b"other"), "edited-after-certification"),
        (component(), "permitted"),
        (program(), "not-certified"),
    ] {
        assert_eq!(code(&guard, &subject), wanted, "{subject}");
    }
    let (clearances, end) = guard.clearances(at(NOW));
    assert_eq!((clearances.len(), end), (1, Some(at(NOW + 100))));
    assert_eq!(clearances[0].verdict, Ok(TimestampMs((NOW + 100) * 1_000)));
    assert_eq!(clearances[0].digest.0, Digest::of(b"good").as_bytes());
    let (clearances, end) = guard.clearances(at(NOW + 100));
    assert_eq!((clearances[0].verdict.as_ref().unwrap_err().code, end), ("certificate-expired", None));
}

#[test]
fn a_component_that_is_watched_is_judged_with_the_others() {
    let host = Host::new();
    let mut guard = host.guard("");
    guard.watch(component()).unwrap();
    guard.watch(component()).unwrap();
    guard.offer(&host.catalogue(NOW, &[component()], None), at(NOW)).unwrap();
    let (clearances, _) = guard.clearances(at(NOW));
    let of_guest = clearances.iter().find(|c| c.algorithm.as_str() == "guest").unwrap();
    assert_eq!((clearances.len(), of_guest.version, of_guest.verdict.is_ok()), (2, 3, true));
    for version in 0..u32::try_from(MAX_SUBJECTS).unwrap() - 2 {
        let artifact_sha256 = Digest::of(b"more");
        guard.watch(Subject::Component { id: "more".to_owned(), version, artifact_sha256 }).unwrap();
    }
    let artifact_sha256 = Digest::of(b"one too many");
    let more = Subject::Component { id: "more".to_owned(), version: 1, artifact_sha256 };
    assert_eq!(guard.watch(more), Err(Denial::TooMany));
}

#[test]
fn a_program_that_must_be_certified_and_is_not_permits_no_algorithm() {
    let host = Host::new();
    let mut guard = host.guard("program_must_be_certified = true");
    guard.offer(&host.catalogue(NOW, &[native(b"good")], None), at(NOW)).unwrap();
    assert_eq!(code(&guard, &native(b"good")), "not-certified");
    guard.offer(&host.catalogue(NOW + 1, &[native(b"good"), program()], None), at(NOW)).unwrap();
    assert_eq!(code(&guard, &native(b"good")), "permitted");
    let mut changed = host.guard("program_must_be_certified = true");
    let Subject::Program { name, version, .. } = program() else { return };
    changed.program = Subject::Program { name, version, executable_sha256: Digest::of(b"tampered") };
    assert_eq!(code(&changed, &native(b"good")), "program-tampered");
}

#[test]
fn what_was_seen_and_revoked_stays_so_over_restarts_even_when_later_catalogues_do_not_repeat_it() {
    let host = Host::new();
    let all = [native(b"good"), component()];
    let old = host.catalogue(NOW, &all, None);
    let mut guard = host.guard("");
    guard.offer(&old, at(NOW)).unwrap();
    let list = host.list(NOW + 1, Digest::of(b"wasm"));
    guard.offer(&host.catalogue(NOW + 1, &all, Some(list)), at(NOW)).unwrap();
    guard.offer(&host.catalogue(NOW + 2, &all, None), at(NOW)).unwrap();
    for mut guard in [guard, host.guard("")] {
        assert_eq!(code(&guard, &native(b"good")), "permitted");
        assert_eq!(code(&guard, &component()), "digest-revoked");
        assert_eq!(guard.offer(&old, at(NOW)).unwrap_err().code(), "rolled-back");
    }
}

#[test]
fn another_hosts_roots_believe_nothing_of_what_was_kept_and_still_refuse_what_is_older() {
    let host = Host::new();
    host.guard("").offer(&host.catalogue(NOW + 5, &[native(b"good")], None), at(NOW)).unwrap();
    let other = Host::new();
    let mut guard = Guard::open(other.roots(""), host.file(), program(), vec![native(b"good")], at(NOW));
    assert_eq!(code(&guard, &native(b"good")), "not-certified");
    let older = other.catalogue(NOW, &[native(b"good")], None);
    assert_eq!(guard.offer(&older, at(NOW)).unwrap_err().code(), "rolled-back");
    guard.offer(&other.catalogue(NOW + 6, &[native(b"good")], None), at(NOW)).unwrap();
    assert_eq!(code(&guard, &native(b"good")), "permitted");
}

#[test]
fn a_record_that_is_damaged_denies_everything_and_is_not_touched() {
    let host = Host::new();
    let catalogue = host.catalogue(NOW, &[native(b"good")], None);
    fs::write(host.file(), "{").unwrap();
    let mut guard = host.guard("");
    assert_eq!(guard.offer(&catalogue, at(NOW)).unwrap_err().code(), STATE_UNUSABLE);
    assert_eq!(code(&guard, &native(b"good")), STATE_UNUSABLE);
    assert_eq!(fs::read_to_string(host.file()).unwrap(), "{");
}

#[test]
fn what_cannot_be_kept_permits_nothing_until_it_can() {
    let host = Host::new();
    let mut guard = host.guard("");
    fs::create_dir(host.file()).unwrap();
    let refused = guard.offer(&host.catalogue(NOW, &[native(b"good")], None), at(NOW)).unwrap_err();
    assert_eq!(refused.code(), STATE_UNUSABLE);
    let verdict = |guard: &mut Guard| guard.clearances(at(NOW)).0[0].verdict.clone();
    assert_eq!(verdict(&mut guard).unwrap_err().code, STATE_UNUSABLE);
    fs::remove_dir(host.file()).unwrap();
    assert!(verdict(&mut guard).is_ok(), "it was tried again");
    assert_eq!(code(&host.guard(""), &native(b"good")), "permitted", "and kept");
}

#[test]
fn a_host_that_trusts_nobody_denies_everything_and_keeps_nothing() {
    let host = Host::new();
    let catalogue = host.catalogue(NOW, &[native(b"good")], None);
    let mut guard = Guard::open(TrustRoots::none(), host.file(), program(), vec![native(b"good")], at(NOW));
    guard.offer(&catalogue, at(NOW)).unwrap();
    assert_eq!(code(&guard, &native(b"good")), "no-trust-roots");
    assert!(!host.file().exists());
}
