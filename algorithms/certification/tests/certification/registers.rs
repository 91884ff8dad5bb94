//! Catalogues and lists as they come, in whatever order.

use crate::people::*;
use certification::{
    Catalogue, Digest, MAX_CATALOGUE_LEN, Purpose, Refusal, Register, Revocation, Seen, Signed, Statement,
    Subject, TrustRoots,
};

fn json(document: &Signed) -> Vec<u8> {
    document.to_json().into_bytes()
}

fn digest_entry(bytes: &[u8]) -> Revocation {
    Revocation::Digest { sha256: Digest::of(bytes), reason: "a fault".to_owned() }
}

fn ours() -> Statement {
    statement(&native(b"source"))
}

fn code(result: Result<impl std::fmt::Debug, Refusal>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn a_certified_algorithm_runs_once_the_catalogue_is_there_and_until_it_is_revoked() {
    let mut register = Register::new(roots(), Seen::default());
    let subject = native(b"source");
    assert_eq!(code(register.judge(&subject, at(NOW))), "not-certified");

    let first = catalogue(NOW, &[certificate(&ours())], None, &PEOPLE.publisher);
    let change = register.accept_catalogue(&json(&first), at(NOW)).unwrap();
    assert!(change.is_new && change.unreadable.is_empty());
    assert!(register.judge(&subject, at(NOW)).is_ok());
    assert!(!register.accept_catalogue(&json(&first), at(NOW)).unwrap().is_new, "delivered twice");

    let revoked = list(NOW, vec![digest_entry(b"source")], &PEOPLE.bob);
    assert!(register.accept_revocations(&json(&revoked), at(NOW)).unwrap().is_new);
    assert_eq!(code(register.judge(&subject, at(NOW))), "digest-revoked");
    assert_eq!(register.seen(), Seen { catalogue: NOW, revocations: NOW });
    assert_eq!(register.revocations_document(), Some(&revoked));

    let without_list = catalogue(NOW + 1, &[certificate(&ours())], None, &PEOPLE.publisher);
    register.accept_catalogue(&json(&without_list), at(NOW)).unwrap();
    assert_eq!(
        code(register.judge(&subject, at(NOW))),
        "digest-revoked",
        "a catalogue without a list lifts nothing"
    );
}

#[test]
fn an_older_catalogue_or_list_is_refused_also_after_a_restart() {
    let mut register = Register::new(roots(), Seen::default());
    let (old, new) =
        (catalogue(NOW - 2, &[], None, &PEOPLE.publisher), catalogue(NOW, &[], None, &PEOPLE.publisher));
    let (old_list, new_list) =
        (list(NOW - 2, vec![], &PEOPLE.bob), list(NOW, vec![digest_entry(b"x")], &PEOPLE.bob));
    register.accept_catalogue(&json(&new), at(NOW)).unwrap();
    register.accept_revocations(&json(&new_list), at(NOW)).unwrap();
    let kept = Seen::parse(register.seen().to_json().as_bytes()).unwrap();
    assert_eq!(kept, register.seen());
    let mut restarted = Register::new(roots(), kept);
    for register in [&mut register, &mut restarted] {
        let before = register.clone();
        assert_eq!(code(register.accept_catalogue(&json(&old), at(NOW))), "rolled-back");
        assert_eq!(code(register.accept_revocations(&json(&old_list), at(NOW))), "rolled-back");
        let with_old_list = catalogue(NOW + 1, &[], Some(old_list.clone()), &PEOPLE.publisher);
        assert_eq!(code(register.accept_catalogue(&json(&with_old_list), at(NOW))), "rolled-back");
        assert_eq!(*register, before, "a refused document changes nothing");
    }
}

#[test]
fn nothing_runs_while_the_list_that_was_seen_is_not_at_hand() {
    let mut register = Register::new(roots(), Seen { catalogue: 0, revocations: NOW });
    let good = catalogue(NOW, &[certificate(&ours())], None, &PEOPLE.publisher);
    register.accept_catalogue(&json(&good), at(NOW)).unwrap();
    assert_eq!(code(register.judge(&native(b"source"), at(NOW))), "rolled-back");
    register.accept_revocations(&json(&list(NOW, vec![], &PEOPLE.bob)), at(NOW)).unwrap();
    assert!(register.judge(&native(b"source"), at(NOW)).is_ok());
}

#[test]
fn what_is_revoked_stays_revoked() {
    let mut register = Register::new(roots(), Seen::default());
    register.accept_revocations(&json(&list(NOW, vec![digest_entry(b"x")], &PEOPLE.bob)), at(NOW)).unwrap();
    for entries in [vec![], vec![digest_entry(b"y")], vec![revoked_key(PEOPLE.ada.id())]] {
        let shorter = list(NOW + 1, entries, &PEOPLE.eve);
        assert_eq!(code(register.accept_revocations(&json(&shorter), at(NOW))), "revocation-withdrawn");
    }
    let longer = list(NOW + 1, vec![digest_entry(b"y"), digest_entry(b"x")], &PEOPLE.eve);
    assert!(register.accept_revocations(&json(&longer), at(NOW)).unwrap().is_new);
}

#[test]
fn who_may_sign_what_is_for_the_trust_roots_to_say() {
    let fresh = || Register::new(roots(), Seen::default());
    for (person, catalogues, lists) in [
        (&PEOPLE.ada, true, true),
        (&PEOPLE.bob, true, true),
        (&PEOPLE.publisher, true, false),
        (&PEOPLE.stranger, false, false),
    ] {
        let taken = fresh().accept_catalogue(&json(&catalogue(NOW, &[], None, person)), at(NOW));
        assert_eq!(
            taken.as_ref().err().map(Refusal::code),
            (!catalogues).then_some("key-not-in-trust-roots")
        );
        let taken = fresh().accept_revocations(&json(&list(NOW, vec![], person)), at(NOW));
        assert_eq!(taken.as_ref().err().map(Refusal::code), (!lists).then_some("key-not-in-trust-roots"));
    }
    let unsigned = Signed::new(Catalogue::new(NOW, vec![], None).to_text().unwrap());
    assert_eq!(code(fresh().accept_catalogue(&json(&unsigned), at(NOW))), "signature-missing");
    let mut as_author = unsigned.clone();
    PEOPLE.ada.signs(&mut as_author, Purpose::Author);
    assert_eq!(code(fresh().accept_catalogue(&json(&as_author), at(NOW))), "signature-missing");
}

#[test]
fn a_revoked_key_signs_no_further_catalogue_and_no_further_list() {
    let mut register = Register::new(roots(), Seen::default());
    let own = list(NOW, vec![revoked_key(PEOPLE.bob.id())], &PEOPLE.bob);
    let carried = catalogue(NOW, &[], Some(own.clone()), &PEOPLE.bob);
    register.accept_catalogue(&json(&carried), at(NOW)).unwrap();
    assert!(
        !register.accept_revocations(&json(&own), at(NOW)).unwrap().is_new,
        "the list that revoked its own signer stays"
    );
    register.accept_catalogue(&json(&catalogue(NOW + 1, &[], Some(own), &PEOPLE.ada)), at(NOW)).unwrap();
    let next = list(NOW + 1, vec![revoked_key(PEOPLE.bob.id())], &PEOPLE.bob);
    assert_eq!(code(register.accept_revocations(&json(&next), at(NOW))), "key-revoked");
    assert_eq!(
        code(register.accept_catalogue(&json(&catalogue(NOW + 1, &[], None, &PEOPLE.bob)), at(NOW))),
        "key-revoked"
    );
    assert!(register.accept_catalogue(&json(&catalogue(NOW + 1, &[], None, &PEOPLE.ada)), at(NOW)).is_ok());
}

#[test]
fn a_serial_from_the_future_cannot_lock_out_the_honest_ones() {
    let mut register = Register::new(roots(), Seen::default());
    let far = u64::MAX;
    assert_eq!(
        code(register.accept_catalogue(&json(&catalogue(far, &[], None, &PEOPLE.ada)), at(NOW))),
        "not-yet-valid"
    );
    assert_eq!(
        code(register.accept_revocations(&json(&list(far, vec![], &PEOPLE.ada)), at(NOW))),
        "not-yet-valid"
    );
    let soon = catalogue(NOW + DAY, &[], None, &PEOPLE.ada);
    assert!(register.accept_catalogue(&json(&soon), at(NOW)).is_ok());
}

#[test]
fn a_tampered_catalogue_is_refused_and_its_certificates_are_judged_one_by_one() {
    let mut register = Register::new(roots(), Seen::default());
    let good = catalogue(NOW, &[certificate(&ours())], None, &PEOPLE.publisher);
    let body = good.body().replace("Bob", "Rob");
    let mut forged = Signed::new(body);
    forged.add(good.signatures()[0].clone()).unwrap();
    assert_eq!(code(register.accept_catalogue(&json(&forged), at(NOW))), "signature-wrong");

    let bad = signed_by(&ours(), &[(&PEOPLE.stranger, Purpose::Author)]);
    let mixed = catalogue(NOW, std::slice::from_ref(&bad), None, &PEOPLE.publisher);
    register.accept_catalogue(&json(&mixed), at(NOW)).unwrap();
    assert_eq!(
        code(register.judge(&native(b"source"), at(NOW))),
        "key-not-in-trust-roots",
        "a publisher certifies nothing"
    );
    let mixed = catalogue(NOW + 1, &[bad, certificate(&ours())], None, &PEOPLE.publisher);
    register.accept_catalogue(&json(&mixed), at(NOW)).unwrap();
    assert!(register.judge(&native(b"source"), at(NOW)).is_ok());
}

#[test]
fn a_certificate_of_a_later_format_is_told_of_and_does_not_stop_the_others() {
    let mut later = Signed::new("{\"format\":\"dcmf-statement-2\"}".to_owned());
    PEOPLE.ada.signs(&mut later, Purpose::Author);
    let certificates = vec![later, certificate(&ours()).document().clone()];
    let mut document = Signed::new(Catalogue::new(NOW, certificates, None).to_text().unwrap());
    PEOPLE.ada.signs(&mut document, Purpose::Catalogue);
    let mut register = Register::new(roots(), Seen::default());
    let change = register.accept_catalogue(&json(&document), at(NOW)).unwrap();
    assert_eq!(change.unreadable.len(), 1);
    assert!(register.judge(&native(b"source"), at(NOW)).is_ok());
}

#[test]
fn where_the_host_wants_it_the_program_needs_a_certificate_too() {
    let program = |bytes| Subject::Program {
        name: "dcmf-worker".to_owned(),
        version: "0.1.0".to_owned(),
        executable_sha256: Digest::of(bytes),
    };
    let strict = TrustRoots::parse(&roots_toml("program_must_be_certified = true")).unwrap();
    let mut of_program = statement(&program(b"ours"));
    of_program.expires = at(NOW + 60);
    let both = catalogue(NOW, &[certificate(&ours()), certificate(&of_program)], None, &PEOPLE.publisher);
    let only = catalogue(NOW, &[certificate(&ours())], None, &PEOPLE.publisher);
    for (roots, document, executable, wanted) in [
        (&roots(), &only, b"any!", Ok(at(NOW + DAY))),
        (&strict, &both, b"ours", Ok(at(NOW + 60))),
        (&strict, &both, b"edit", Err("program-tampered")),
        (&strict, &only, b"ours", Err("not-certified")),
    ] {
        let mut register = Register::new(roots.clone(), Seen::default());
        register.accept_catalogue(&json(document), at(NOW)).unwrap();
        let judged = register.judge_within(&program(executable), &native(b"source"), at(NOW));
        assert_eq!(judged.map(|permit| permit.valid_until).map_err(|refusal| refusal.code()), wanted);
        let revoked = list(NOW, vec![digest_entry(executable)], &PEOPLE.bob);
        register.accept_revocations(&json(&revoked), at(NOW)).unwrap();
        let judged = register.judge_within(&program(executable), &native(b"source"), at(NOW));
        assert_eq!(code(judged), "digest-revoked");
    }
}

#[test]
fn the_largest_catalogue_fits_into_a_message_of_nats_and_a_larger_one_is_refused() {
    let mut statement = ours();
    statement.reviewer = "R".repeat(200);
    let certificate = certificate(&statement);
    let document = catalogue(NOW, &vec![certificate; 200], None, &PEOPLE.publisher);
    let bytes = json(&document);
    assert!(bytes.len() < MAX_CATALOGUE_LEN, "{} bytes", bytes.len());
    let mut register = Register::new(roots(), Seen::default());
    register.accept_catalogue(&bytes, at(NOW)).unwrap();
    assert_eq!(register.certificates().len(), 200);
    let mut padded = bytes;
    padded.resize(MAX_CATALOGUE_LEN + 1, b' ');
    assert_eq!(code(register.accept_catalogue(&padded, at(NOW))), "malformed");
}
