//! The program from end to end, in a folder of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod office;

use certification::{MAX_CATALOGUE_LEN, Register, Seen, Signed, Subject, TrustRoots, UnixSeconds};
use office::Office;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// A program, certified by the author and countersigned by the certifier.
fn certified_program(office: &Office) {
    fs::write(office.path("worker"), "the program").unwrap();
    office.does(
        "certify program worker --name dcmf-worker --version 0.1.0 --key author.key --reviewer Ada --days 30 --out w.cert --yes",
    );
    office.does("countersign w.cert --artifact worker --key certifier.key --yes");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_for_its_owner_alone_and_never_printed() {
    let office = Office::new();
    assert_eq!(mode(&office.path("author.key")), 0o600);
    let secret = office.text("author.key");
    office.refuses("keygen --no-password --secret author.key --public new.pub", 2, "exists already");
    office.refuses("keygen --no-password --secret new.key --public author.pub", 2, "exists already");
    assert_eq!(office.text("author.key"), secret);
    assert!(!office.path("new.pub").exists() && !office.path("new.key").exists());

    let told = office.does("keygen --no-password --secret another.key --public another.pub");
    let line = office.text("another.key").lines().nth(1).unwrap().to_owned();
    assert!(!told.contains(&line[..40]), "the secret key was printed");
    assert!(told.contains(office.text("another.pub").lines().nth(1).unwrap()));
}

#[test]
fn a_key_with_a_password_signs_only_with_it() {
    let office = Office::new();
    fs::write(office.path("right"), "correct horse\n").unwrap();
    fs::write(office.path("wrong"), "battery staple\n").unwrap();
    office.does("keygen --secret p.key --public p.pub --password-file right");
    fs::write(office.path("worker"), "the program").unwrap();
    let certify = "certify program worker --name w --version 1 --reviewer Ada --days 1 --key p.key --yes";
    office.refuses(&format!("{certify} --out w.cert --password-file wrong"), 2, "Wrong password");
    office.does(&format!("{certify} --out w.cert --password-file right"));
}

#[test]
fn a_key_of_the_minisign_program_signs_here_too() {
    let office = Office::new();
    fs::write(office.path("m.key"), include_str!("minisign-0.11/secret.key")).unwrap();
    fs::write(office.path("m.pub"), include_str!("minisign-0.11/public.key")).unwrap();
    office.trust("m.toml", "author", "m");
    fs::write(office.path("worker"), "the program").unwrap();
    office.does("certify program worker --name w --version 1 --key author.key --reviewer Ada --days 1 --out w.cert --yes");
    office.does("countersign w.cert --artifact worker --key m.key --yes");
    office.does("inspect w.cert --trust m.toml");
    let key = office.text("m.key");
    let public_half = key.replacen("Xd9/AvIbtno", "Xd9/BvIbtno", 1);
    let secret_half = key.replacen("CAgXkUMAuN", "CAgXkUMBuN", 1);
    assert!(public_half != key && secret_half != key);
    for (file, text) in [
        ("public.key", public_half.as_str()),
        ("secret.key", secret_half.as_str()),
        ("cut.key", &key[..key.len() - 9]),
        ("none.key", "key\nRW\n"),
    ] {
        fs::write(office.path(file), text).unwrap();
        office.refuses(
            &format!("countersign w.cert --artifact worker --key {file} --yes"),
            2,
            "cannot be used",
        );
    }
}

#[test]
fn an_algorithm_is_certified_when_author_and_certifier_have_signed_it_and_its_known_answers_pass() {
    let office = Office::new();
    let told = office.does(
        "certify algorithm sha256d --seconds 1 --threads 1 --key author.key --reviewer Ada --days 30 --out a.cert --yes",
    );
    assert!(told.contains("known answers and the conformance kit passed"), "{told}");
    assert!(told.contains("hashes per CPU-second on 1 threads"), "{told}");
    office.refuses("inspect a.cert --trust trust.toml", 1, "certifier-signature-missing");
    office.refuses("countersign a.cert --artifact a.cert --key certifier.key --yes", 2, "--artifact");
    office.does("countersign a.cert --key certifier.key --yes");
    let shown = office.does("inspect a.cert --trust trust.toml");
    for wanted in [
        "the algorithm sha256d version 1",
        "as author, right of author",
        "as certifier, right of certifier",
        "valid         until",
    ] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    office.refuses("inspect a.cert --trust other.toml", 1, "key-not-in-trust-roots");
    office.refuses("inspect a.cert --trust trust.toml --at 2199-01-01T00:00:00Z", 1, "certificate-expired");
    office.refuses("inspect a.cert --trust trust.toml --at 2001-01-01T00:00:00Z", 1, "not-yet-valid");
    assert!(office.does("inspect a.cert").contains("not judged"));
    office.refuses(
        "certify algorithm md5 --key author.key --reviewer Ada --days 30 --out b.cert --yes",
        2,
        "sha256d, scrypt-1024-1-1",
    );
}

#[test]
fn nothing_is_signed_that_was_not_confirmed_or_differs_from_what_is_here() {
    let office = Office::new();
    fs::write(office.path("worker"), "the program").unwrap();
    fs::write(office.path("tampered"), "the program!").unwrap();
    let certify = "certify program worker --name dcmf-worker --version 0.1.0 --key author.key --reviewer Ada --days 30 --out w.cert";
    for answer in ["", "no\n", "y\n"] {
        assert_eq!(office.run_with(certify, answer).status.code(), Some(3), "{answer:?}");
        assert!(!office.path("w.cert").exists());
    }
    let told = office.succeeded(&office.run_with(certify, "yes\n"));
    assert!(
        told.contains("\"reviewer\": \"Ada\"") && told.contains("Sign this as author with key"),
        "{told}"
    );
    office.refuses(certify, 2, "exists already");
    let before = office.text("w.cert");
    office.refuses("countersign w.cert --artifact tampered --key certifier.key --yes", 1, "it is not signed");
    office.refuses("countersign w.cert --key certifier.key --yes", 2, "--artifact");
    let disguised = before.replacen("{\\n", "{ \\r\\n", 1);
    assert_ne!(disguised, before);
    fs::write(office.path("disguised.cert"), disguised).unwrap();
    office.refuses("countersign disguised.cert --artifact worker --key certifier.key --yes", 1, "usual form");
    assert_eq!(office.text("w.cert"), before);
}

#[test]
fn a_certificate_that_was_edited_cut_or_signed_alone_is_refused_with_its_code() {
    let office = Office::new();
    certified_program(&office);
    office.does("inspect w.cert --trust trust.toml");
    let good = office.text("w.cert");
    fs::write(office.path("edited.cert"), good.replace("Ada", "Eve")).unwrap();
    office.refuses("inspect edited.cert --trust trust.toml", 1, "signature-wrong");
    fs::write(office.path("cut.cert"), &good[..good.len() / 2]).unwrap();
    office.refuses("inspect cut.cert --trust trust.toml", 1, "malformed");
    fs::write(office.path("large.cert"), " ".repeat(MAX_CATALOGUE_LEN + 1)).unwrap();
    office.refuses("inspect large.cert --trust trust.toml", 2, "too much");
    office.refuses("inspect none.cert --trust trust.toml", 2, "cannot read");
    office.does(
        "certify program worker --name dcmf-worker --version 0.1.0 --key author.key --reviewer Ada --days 30 --out alone.cert --yes",
    );
    office.does("countersign alone.cert --artifact worker --key author.key --yes");
    office.refuses("inspect alone.cert --trust trust.toml", 1, "key-not-in-trust-roots");
}

#[test]
fn each_way_to_revoke_is_believed_and_a_list_only_grows() {
    let office = Office::new();
    certified_program(&office);
    let shown = office.does("inspect w.cert");
    let value = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let digest = value("digest");
    let key =
        shown.lines().find(|line| line.contains("as author")).unwrap().split_whitespace().nth(2).unwrap();
    for (index, (what, code)) in [
        ("--certificate w.cert".to_owned(), "certificate-revoked"),
        (format!("--certificate-digest {}", value("certificate")), "certificate-revoked"),
        (format!("--digest {digest}"), "digest-revoked"),
        (format!("--key-id {key}"), "key-revoked"),
    ]
    .iter()
    .enumerate()
    {
        let list = format!("{index}.list");
        office.does(&format!("revoke --list {list} {what} --reason leaked --key certifier.key --yes"));
        office.refuses(&format!("inspect w.cert --trust trust.toml --revocations {list}"), 1, code);
        office.does(&format!("inspect {list} --trust trust.toml"));
        office.refuses(
            &format!("inspect {list} --trust other.toml --at 2001-01-01T00:00:00Z"),
            1,
            "not-yet-valid",
        );
    }
    office.does(&format!("revoke --list 2.list --key-id {key} --reason stolen --key certifier.key --yes"));
    let shown = office.does("inspect 2.list --trust trust.toml");
    assert!(shown.contains(&digest) && shown.contains(key), "{shown}");
    office.does("revoke --list s.list --certificate w.cert --reason spite --key stranger.key --yes");
    office.refuses("inspect w.cert --trust trust.toml --revocations s.list", 1, "key-not-in-trust-roots");
    office.refuses("revoke --list 2.list --reason why --key certifier.key --yes", 2, "required");
}

#[test]
fn a_host_takes_the_newest_catalogue_and_refuses_the_one_before() {
    let office = Office::new();
    certified_program(&office);
    office.does("catalogue --out c.json --key author.key --yes w.cert");
    let first = office.text("c.json");
    let serial = |text: &str| -> u64 {
        let body = Signed::parse("catalogue", text.as_bytes(), MAX_CATALOGUE_LEN).unwrap();
        certification::Catalogue::parse(body.body()).unwrap().serial
    };
    office.does("revoke --list r.list --certificate w.cert --reason leaked --key certifier.key --yes");
    office.does("catalogue --out c.json --key author.key --revocations r.list --yes w.cert");
    let second = office.text("c.json");
    assert!(serial(&second) > serial(&first));
    let shown = office.does("inspect c.json --trust trust.toml");
    assert!(shown.contains("certificate-revoked") && shown.contains("list of revocations"), "{shown}");
    office.refuses("inspect c.json --trust trust.toml --at 2001-01-01T00:00:00Z", 1, "not-yet-valid");

    let now = UnixSeconds::new(serial(&second));
    let mut register = Register::new(TrustRoots::parse(&office.text("trust.toml")).unwrap(), Seen::default());
    let program = Subject::Program {
        name: "dcmf-worker".to_owned(),
        version: "0.1.0".to_owned(),
        executable_sha256: certification::Digest::of(b"the program"),
    };
    register.accept_catalogue(first.as_bytes(), now).unwrap();
    assert!(register.judge(&program, now).is_ok());
    register.accept_catalogue(second.as_bytes(), now).unwrap();
    assert_eq!(register.judge(&program, now).unwrap_err().code(), "certificate-revoked");
    assert_eq!(register.accept_catalogue(first.as_bytes(), now).unwrap_err().code(), "rolled-back");
}

#[test]
fn a_signature_that_was_made_elsewhere_is_attached() {
    let office = Office::new();
    certified_program(&office);
    let whole = Signed::parse("certificate", office.text("w.cert").as_bytes(), MAX_CATALOGUE_LEN).unwrap();
    let [author, certifier] = whole.signatures() else { panic!("two signatures") };
    let mut alone = Signed::new(whole.body().to_owned());
    alone.add(author.clone()).unwrap();
    fs::write(office.path("alone.cert"), alone.to_json()).unwrap();
    fs::write(office.path("s.minisig"), certifier.as_str()).unwrap();
    assert_eq!(office.does("inspect alone.cert --text"), whole.body());
    office.refuses("inspect alone.cert --trust trust.toml", 1, "certifier-signature-missing");
    office.does("attach alone.cert s.minisig");
    office.does("inspect alone.cert --trust trust.toml");
}

/// Copies what the digests are made of into `to`.
fn checkout(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(file), to.join(file)).unwrap();
    }
    copy(&root.join("algorithms"), &to.join("algorithms"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_source_that_was_edited_differs_from_the_list_until_it_is_renewed() {
    let office = Office::new();
    checkout(office.0.path());
    office.does("digest --write");
    office.does("digest --check");
    let before = office.does("digest sha256d");
    let source = office.path("algorithms/sha256d/src/lib.rs");
    let old = fs::read_to_string(&source).unwrap();
    fs::write(&source, format!("{old}\n// edited\n")).unwrap();
    office.refuses("digest --check", 1, "cargo run -p dcmf-certify -- digest --write");
    assert_ne!(office.does("digest sha256d"), before);
    fs::write(&source, old.replace('\n', "\r\n")).unwrap();
    assert_eq!(office.does("digest sha256d"), before, "the line ending of a checkout does not count");
    let lines = office.does("digest sha256d --manifest");
    assert!(lines.contains(" algorithms/api/src/lib.rs\n") && lines.contains("package sha2 "), "{lines}");
    assert!(!lines.contains("/tests/"), "{lines}");
    fs::remove_file(office.path("Cargo.lock")).unwrap();
    office.refuses("digest --check --repository .", 2, "no checkout");
}

#[test]
fn a_command_does_its_work_when_nobody_reads_what_it_says_and_signs_nothing_unseen() {
    let office = Office::new();
    fs::write(office.path("worker"), "the program").unwrap();
    let certify =
        "certify program worker --name w --version 1 --key author.key --reviewer Ada --days 1 --out";
    for (arguments, typed, code) in [
        (format!("{certify} w.cert --yes"), "", 0),
        ("inspect w.cert".to_owned(), "", 0),
        (format!("{certify} unseen.cert"), "yes\n", 3),
    ] {
        let output = office.run_unheard(&arguments, typed);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && !told.contains("panicked"), "{arguments}: {told}");
    }
    assert!(office.path("w.cert").exists() && !office.path("unseen.cert").exists());
}
