//! Each reason to refuse, and which of several wins.

use crate::people::*;
use certification::{
    Certificate, Digest, Purpose, Refusal, Revocation, Revocations, Subject, TrustRoots, judge,
};

const AUTHOR: Purpose = Purpose::Author;
const CERTIFIER: Purpose = Purpose::Certifier;

/// What it is, what is said of it, the certificates, what is revoked, and when.
type Case = (&'static str, &'static str, Vec<Certificate>, Vec<Revocation>, u64);

fn code(certificates: &[Certificate], entries: &[Revocation], roots: &TrustRoots, now: u64) -> &'static str {
    let revocations = Revocations::new(1, entries.to_vec());
    match judge(&native(b"source"), certificates, &revocations, roots, at(now)) {
        Ok(_) => "permitted",
        Err(refusal) => {
            assert!(Refusal::CODES.contains(&refusal.code()));
            refusal.code()
        }
    }
}

fn revoked_certificate(certificate: &Certificate) -> Revocation {
    Revocation::Certificate { sha256: certificate.digest(), reason: "a fault".to_owned() }
}

fn revoked_digest(source: &[u8]) -> Revocation {
    Revocation::Digest { sha256: Digest::of(source), reason: "a fault".to_owned() }
}

#[test]
fn each_fault_of_a_certificate_is_refused_for_its_own_reason() {
    let People { ada, bob, eve, both, publisher, stranger } = &*PEOPLE;
    let ours = statement(&native(b"source"));
    let good = certificate(&ours);
    let by = |signers: &[(&Person, Purpose)]| vec![signed_by(&ours, signers)];
    let other_version = Subject::NativeAlgorithm {
        id: "sha256d".to_owned(),
        version: 2,
        source_sha256: Digest::of(b"source"),
    };
    let component =
        Subject::Component { id: "sha256d".to_owned(), version: 1, artifact_sha256: Digest::of(b"source") };
    let only = |certificate: &Certificate| vec![certificate.clone()];
    let table: Vec<Case> = vec![
        ("author and certifier", "permitted", only(&good), vec![], NOW),
        ("the first second", "permitted", only(&good), vec![], NOW - DAY),
        ("the last second", "permitted", only(&good), vec![], NOW + DAY - 1),
        (
            "a person of both roles as author",
            "permitted",
            by(&[(both, AUTHOR), (bob, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "a person of both roles as certifier",
            "permitted",
            by(&[(ada, AUTHOR), (both, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "twice by one and once by another",
            "permitted",
            by(&[(both, AUTHOR), (both, CERTIFIER), (eve, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "a stranger's signature beside enough",
            "permitted",
            by(&[(stranger, AUTHOR), (ada, AUTHOR), (bob, CERTIFIER)]),
            vec![],
            NOW,
        ),
        ("nothing", "not-certified", vec![], vec![], NOW),
        ("another version", "not-certified", vec![certificate(&statement(&other_version))], vec![], NOW),
        ("another kind", "not-certified", vec![certificate(&statement(&component))], vec![], NOW),
        (
            "other sources",
            "edited-after-certification",
            vec![certificate(&statement(&native(b"other")))],
            vec![],
            NOW,
        ),
        (
            "other sources, expired",
            "edited-after-certification",
            vec![certificate(&statement(&native(b"other")))],
            vec![],
            NOW + DAY,
        ),
        (
            "other sources, badly signed",
            "not-certified",
            vec![signed_by(&statement(&native(b"other")), &[(ada, AUTHOR)])],
            vec![],
            NOW,
        ),
        ("no signature", "author-signature-missing", by(&[]), vec![], NOW),
        ("certifier only", "author-signature-missing", by(&[(bob, CERTIFIER)]), vec![], NOW),
        (
            "two certifiers",
            "author-signature-missing",
            by(&[(bob, CERTIFIER), (eve, CERTIFIER)]),
            vec![],
            NOW,
        ),
        ("author only", "certifier-signature-missing", by(&[(ada, AUTHOR)]), vec![], NOW),
        ("author twice", "certifier-signature-missing", by(&[(ada, AUTHOR), (ada, AUTHOR)]), vec![], NOW),
        (
            "signed for another purpose",
            "certifier-signature-missing",
            by(&[(ada, AUTHOR), (bob, Purpose::Catalogue)]),
            vec![],
            NOW,
        ),
        (
            "one person for both",
            "same-key-for-both-roles",
            by(&[(both, AUTHOR), (both, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "an author as certifier",
            "key-not-in-trust-roots",
            by(&[(ada, AUTHOR), (ada, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "a publisher as certifier",
            "key-not-in-trust-roots",
            by(&[(ada, AUTHOR), (publisher, CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "another farm's root",
            "key-not-in-trust-roots",
            by(&[(stranger, AUTHOR), (Box::leak(Box::new(Person::new())), CERTIFIER)]),
            vec![],
            NOW,
        ),
        (
            "a stranger as certifier",
            "key-not-in-trust-roots",
            by(&[(ada, AUTHOR), (stranger, CERTIFIER)]),
            vec![],
            NOW,
        ),
        ("another reviewer", "signature-wrong", vec![tampered(&good, "\"Bob\"", "\"Rob\"")], vec![], NOW),
        (
            "a later expiry",
            "signature-wrong",
            vec![tampered(&good, &at(NOW + DAY).to_string(), &at(NOW + 9 * DAY).to_string())],
            vec![],
            NOW,
        ),
        ("a space more", "signature-wrong", vec![tampered(&good, "{\n", "{ \n")], vec![], NOW),
        (
            "this digest put into a certificate of another",
            "signature-wrong",
            vec![tampered(
                &certificate(&statement(&native(b"other"))),
                &Digest::of(b"other").to_string(),
                &Digest::of(b"source").to_string(),
            )],
            vec![],
            NOW,
        ),
        ("the author's key revoked", "key-revoked", only(&good), vec![revoked_key(ada.id())], NOW),
        ("the certifier's key revoked", "key-revoked", only(&good), vec![revoked_key(bob.id())], NOW),
        ("a third key revoked", "permitted", only(&good), vec![revoked_key(eve.id())], NOW),
        (
            "the certificate revoked",
            "certificate-revoked",
            only(&good),
            vec![revoked_certificate(&good)],
            NOW,
        ),
        ("the digest revoked", "digest-revoked", only(&good), vec![revoked_digest(b"source")], NOW),
        ("the digest revoked, not certified", "digest-revoked", vec![], vec![revoked_digest(b"source")], NOW),
        ("another digest revoked", "permitted", only(&good), vec![revoked_digest(b"other")], NOW),
        ("expired", "certificate-expired", only(&good), vec![], NOW + DAY),
        ("not yet valid", "not-yet-valid", only(&good), vec![], NOW - DAY - 1),
    ];
    let roots = roots();
    for (case, wanted, certificates, entries, now) in &table {
        assert_eq!(code(certificates, entries, &roots, *now), *wanted, "{case}");
    }
}

#[test]
fn of_several_faults_the_one_that_was_reached_last_is_stated() {
    let People { ada, bob, both, stranger, .. } = &*PEOPLE;
    let ours = statement(&native(b"source"));
    let good = certificate(&ours);
    let mut later = ours.clone();
    later.serial += 1;
    let edited = certificate(&statement(&native(b"other")));
    let unsigned = signed_by(&ours, &[(ada, AUTHOR)]);
    let foreign = signed_by(&ours, &[(ada, AUTHOR), (stranger, CERTIFIER)]);
    let alone = signed_by(&ours, &[(both, AUTHOR), (both, CERTIFIER)]);
    let wrong = tampered(&good, "\"Bob\"", "\"Rob\"");
    let expired = certificate(&later);
    let cases: Vec<(Vec<&Certificate>, Vec<Revocation>, u64, &str)> = vec![
        (vec![&edited, &unsigned], vec![], NOW, "certifier-signature-missing"),
        (vec![&unsigned, &foreign], vec![], NOW, "key-not-in-trust-roots"),
        (vec![&alone, &foreign], vec![], NOW, "same-key-for-both-roles"),
        (vec![&alone, &wrong], vec![], NOW, "signature-wrong"),
        (vec![&wrong, &good], vec![revoked_certificate(&good)], NOW, "certificate-revoked"),
        (vec![&wrong, &good, &expired], vec![revoked_certificate(&good)], NOW + DAY, "certificate-expired"),
        (vec![&good], vec![revoked_certificate(&good), revoked_key(bob.id())], NOW, "key-revoked"),
        (vec![&good], vec![revoked_certificate(&good)], NOW + DAY, "certificate-revoked"),
        (vec![&edited, &unsigned, &foreign, &wrong, &good], vec![], NOW, "permitted"),
    ];
    for (certificates, entries, now, wanted) in cases {
        let mut certificates: Vec<Certificate> = certificates.into_iter().cloned().collect();
        assert_eq!(code(&certificates, &entries, &roots(), now), wanted);
        certificates.reverse();
        assert_eq!(code(&certificates, &entries, &roots(), now), wanted, "in another order");
    }
}

#[test]
fn two_of_three_certifiers_are_needed_when_the_host_says_so() {
    let People { ada, bob, eve, both, stranger, .. } = &*PEOPLE;
    let two = TrustRoots::parse(&roots_toml("certifiers_needed = 2")).unwrap();
    let ours = statement(&native(b"source"));
    for (signers, wanted) in [
        (vec![(ada, AUTHOR), (bob, CERTIFIER), (eve, CERTIFIER)], "permitted"),
        (vec![(ada, AUTHOR), (both, CERTIFIER), (eve, CERTIFIER)], "permitted"),
        (vec![(ada, AUTHOR), (bob, CERTIFIER)], "certifier-signature-missing"),
        (vec![(ada, AUTHOR), (bob, CERTIFIER), (bob, CERTIFIER)], "certifier-signature-missing"),
        (vec![(ada, AUTHOR), (bob, CERTIFIER), (stranger, CERTIFIER)], "key-not-in-trust-roots"),
        (vec![(both, AUTHOR), (bob, CERTIFIER), (both, CERTIFIER)], "same-key-for-both-roles"),
        (vec![(bob, CERTIFIER), (eve, CERTIFIER)], "author-signature-missing"),
    ] {
        assert_eq!(code(&[signed_by(&ours, &signers)], &[], &two, NOW), wanted);
    }
}

#[test]
fn the_digests_of_a_component_and_of_a_program_have_reasons_of_their_own() {
    let component = |bytes| Subject::Component {
        id: "sha256d".to_owned(),
        version: 1,
        artifact_sha256: Digest::of(bytes),
    };
    let program = |bytes| Subject::Program {
        name: "dcmf-worker".to_owned(),
        version: "0.1.0".to_owned(),
        executable_sha256: Digest::of(bytes),
    };
    let none = Revocations::default();
    for (certified, here, wanted) in [
        (component(b"one"), component(b"two"), "artifact-changed"),
        (program(b"one"), program(b"two"), "program-tampered"),
    ] {
        let certificates = [certificate(&statement(&certified))];
        assert!(judge(&certified, &certificates, &none, &roots(), at(NOW)).is_ok());
        let refusal = judge(&here, &certificates, &none, &roots(), at(NOW)).unwrap_err();
        assert_eq!(refusal.code(), wanted);
        for digest in [here.digest(), certified.digest()] {
            assert!(refusal.to_string().contains(&digest.to_string()), "{refusal}");
        }
    }
}

#[test]
fn a_permit_names_its_certificate_and_ends_with_the_one_that_lasts_longest() {
    let ours = statement(&native(b"source"));
    let mut longer = ours.clone();
    longer.expires = at(NOW + 9 * DAY);
    let longer = certificate(&longer);
    let certificates = [certificate(&ours), longer.clone(), certificate(&ours)];
    let permit =
        judge(&native(b"source"), &certificates, &Revocations::default(), &roots(), at(NOW)).unwrap();
    assert_eq!(permit.certificate, longer.digest());
    assert_eq!(permit.valid_until, at(NOW + 9 * DAY));
    assert_eq!((permit.authors, permit.certifiers), (vec!["Ada".to_owned()], vec!["Bob".to_owned()]));
}

#[test]
fn a_host_without_trust_roots_permits_nothing() {
    let certificates = [certificate(&statement(&native(b"source")))];
    assert_eq!(code(&certificates, &[], &TrustRoots::none(), NOW), "key-not-in-trust-roots");
    assert_eq!(code(&certificates, &[], &TrustRoots::parse("").unwrap(), NOW), "key-not-in-trust-roots");
}
