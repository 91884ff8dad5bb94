//! Signatures made once by Debian's minisign 0.11 (libsodium 1.0.18): `minisign -G -W`, `minisign -S -t "dcmf author" …`. The files
//! lie in `tests/minisign-0.11` as they were written.

use certification::{
    Certificate, PublicKey, Purpose, Revocations, Signature, Signed, TrustRoots, UnixSeconds, judge,
};

const STATEMENT: &str = include_str!("../minisign-0.11/statement.json");
const AUTHOR: &str = include_str!("../minisign-0.11/statement.author.minisig");
const CERTIFIER: &str = include_str!("../minisign-0.11/statement.certifier.minisig");
const DEFAULT: &str = include_str!("../minisign-0.11/statement.default.minisig");
const LEGACY: &str = include_str!("../minisign-0.11/statement.legacy.minisig");
const AUTHOR_KEY: &str = include_str!("../minisign-0.11/author.pub");
const CERTIFIER_KEY: &str = include_str!("../minisign-0.11/certifier.pub");

fn roots() -> TrustRoots {
    let line = |file: &str| file.lines().nth(1).unwrap().to_owned();
    TrustRoots::parse(&format!(
        "[[keys]]\nname = \"a\"\nkey = \"{}\"\nroles = [\"author\"]\n[[keys]]\nname = \"c\"\nkey = \"{}\"\nroles = [\"certifier\"]\n",
        line(AUTHOR_KEY),
        line(CERTIFIER_KEY)
    ))
    .unwrap()
}

fn code(text: &str, signatures: &[&str]) -> &'static str {
    let mut document = Signed::new(text.to_owned());
    for signature in signatures {
        document.add(Signature::parse(signature).unwrap()).unwrap();
    }
    let certificate = Certificate::of(document).unwrap();
    let now: UnixSeconds = "2027-01-01T00:00:00Z".parse().unwrap();
    let subject = certificate.statement().subject.clone();
    let judged = judge(&subject, &[certificate], &Revocations::default(), &roots(), now);
    judged.map_or_else(|refusal| refusal.code(), |_| "permitted")
}

#[test]
fn a_statement_signed_by_the_minisign_program_is_permitted() {
    assert_eq!(code(STATEMENT, &[AUTHOR, CERTIFIER]), "permitted");
    assert_eq!(code(&STATEMENT.replace("Ada", "Eda"), &[AUTHOR, CERTIFIER]), "signature-wrong");
    assert_eq!(code(STATEMENT, &[AUTHOR]), "certifier-signature-missing");
    assert_eq!(
        code(STATEMENT, &[DEFAULT, CERTIFIER]),
        "author-signature-missing",
        "its comment names no role"
    );
}

#[test]
fn key_ids_are_those_that_the_minisign_program_prints() {
    let key = PublicKey::parse(AUTHOR_KEY).unwrap();
    let printed = AUTHOR_KEY.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert_eq!(printed.parse(), Ok(key.id()));
    assert_eq!(key.id().to_string(), format!("{printed:0>16}"));
}

#[test]
fn the_comment_of_the_minisign_program_is_read_and_its_legacy_format_is_refused() {
    let signature = Signature::parse(DEFAULT).unwrap();
    assert!(signature.trusted_comment().starts_with("timestamp:"));
    assert_eq!(Purpose::of(&signature), None);
    let refused = Signature::parse(LEGACY).unwrap_err();
    assert!(refused.reason.contains("pre-hashed"), "{refused}");
}
