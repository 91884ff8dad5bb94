//! What is malformed, and what is only unusual.

use crate::people::*;
use certification::{
    Catalogue, Certificate, KnownAnswers, MAX_CERTIFICATE_LEN, MAX_CERTIFICATES, MAX_RATES, MAX_REVOCATIONS,
    MAX_SIGNATURES, Purpose, Rate, Revocation, Revocations, Seen, Signature, Signed, Statement,
};

fn full() -> Statement {
    let mut full = statement(&native(b"source"));
    full.known_answers = Some(KnownAnswers { passed: 7, sha256: native(b"vectors").digest() });
    full.rates = vec![Rate { path: "portable".to_owned(), threads: 2, hashes_per_cpu_second: 1_000_000 }];
    full
}

#[test]
fn a_statement_is_read_as_it_was_written_and_its_bytes_are_what_is_signed() {
    let text = full().to_text().unwrap();
    assert_eq!(Statement::parse(&text).unwrap(), full());
    let certificate = certificate(&full());
    let read = Certificate::parse(certificate.document().to_json().as_bytes()).unwrap();
    assert_eq!(read, certificate);
    assert_eq!(read.document().body(), text);
}

#[test]
fn a_statement_with_anything_unknown_missing_twice_or_out_of_range_is_malformed() {
    let text = full().to_text().unwrap();
    let edits = [
        ("\"serial\":", "\"only_on_tuesdays\": true, \"serial\":"),
        ("\"kind\": \"native-algorithm\",", "\"kind\": \"native-algorithm\", \"note\": \"\","),
        ("\"passed\": 7,", "\"passed\": 7, \"failed\": 0,"),
        ("\"threads\": 2,", "\"threads\": 2, \"cores\": 1,"),
        ("\"serial\":", "\"serial\": 1, \"serial\":"),
        ("\"reviewer\": \"Bob\",", ""),
        ("dcmf-statement-1", "dcmf-statement-2"),
        ("native-algorithm", "shell-script"),
        ("\"version\": 1", "\"version\": -1"),
        ("\"version\": 1", "\"version\": 1.0"),
        ("\"threads\": 2", "\"threads\": 65536"),
        ("\"Bob\"", "\"\""),
        ("\"Bob\"", "\"Bo\\u001b[2Jb\""),
        ("\"sha256d\"", "\"sha 256d\""),
        (&native(b"source").digest().to_string(), "00"),
        (&at(NOW + DAY).to_string(), &at(NOW - DAY).to_string()),
        (&at(NOW + DAY).to_string(), "tomorrow"),
    ];
    for (from, to) in edits {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from} is not there");
        assert!(Statement::parse(&edited).is_err(), "{from} -> {to}");
    }
    assert!(Statement::parse(&format!("{text}{}", " ".repeat(16 << 10))).is_err(), "oversize");
    assert!(Statement::parse(&format!("{text}x")).is_err(), "something after it");
}

#[test]
fn no_statement_is_written_that_would_not_be_read() {
    let mut many = full();
    many.rates = vec![many.rates[0].clone(); MAX_RATES + 1];
    let mut backwards = full();
    backwards.expires = backwards.issued;
    let mut deceiving = full();
    deceiving.rates[0].path = "\u{202e}".to_owned();
    for wrong in [many, backwards, deceiving] {
        assert!(wrong.to_text().is_err());
    }
}

#[test]
fn a_certificate_cut_anywhere_is_malformed() {
    let bytes = certificate(&full()).document().to_json().into_bytes();
    for len in 0..bytes.len() {
        assert!(Certificate::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Certificate::parse(&bytes).is_ok());
}

#[test]
fn an_oversize_or_strange_envelope_is_malformed() {
    let good = certificate(&full()).document().to_json();
    let mut long = good.clone().into_bytes();
    long.resize(MAX_CERTIFICATE_LEN + 1, b' ');
    assert!(Certificate::parse(&long).is_err());
    for wrong in [
        "".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        good.replacen("{\"body\"", "{\"extra\":1,\"body\"", 1),
        good.replacen("\"signatures\":[", "\"signatures\":[\"no signature\",", 1),
        "[".repeat(60_000),
        format!("{{\"body\":{}", "{\"a\":".repeat(10_000)),
    ] {
        assert!(Certificate::parse(wrong.as_bytes()).is_err(), "{}", &wrong[..wrong.len().min(60)]);
    }
    assert!(Certificate::parse(&[0xff, 0xfe, 0x00]).is_err());
}

#[test]
fn there_are_never_more_signatures_certificates_or_entries_than_the_limits_say() {
    let mut document = Signed::new("text".to_owned());
    for _ in 0..MAX_SIGNATURES {
        PEOPLE.ada.signs(&mut document, Purpose::Author);
    }
    let one_more = PEOPLE.ada.sign("text", "dcmf author");
    assert!(document.add(one_more.clone()).is_err());
    let json = serde_json_of(&document, one_more.as_str());
    assert!(Signed::parse("certificate", json.as_bytes(), usize::MAX).is_err());

    let certificates = vec![Signed::new(String::new()); MAX_CERTIFICATES + 1];
    assert!(Catalogue::new(1, certificates, None).to_text().is_err());
    let entry = Revocation::Key { id: PEOPLE.ada.id(), reason: "stolen".to_owned() };
    assert!(Revocations::new(1, vec![entry.clone(); MAX_REVOCATIONS]).to_text().is_ok());
    assert!(Revocations::new(1, vec![entry; MAX_REVOCATIONS + 1]).to_text().is_err());
}

/// The document with one signature more than can be added.
fn serde_json_of(document: &Signed, extra: &str) -> String {
    let extra = extra.replace('\n', "\\n").replace('\t', "\\t");
    document.to_json().replacen("\"signatures\":[", &format!("\"signatures\":[\"{extra}\","), 1)
}

#[test]
fn lists_catalogues_and_records_with_unknown_keys_are_malformed() {
    let list = Revocations::new(1, vec![revoked_key(PEOPLE.ada.id())]).to_text().unwrap();
    assert_eq!(Revocations::parse(&list).unwrap().entries.len(), 1);
    assert!(Revocations::parse(&list.replacen("\"serial\"", "\"x\":1,\"serial\"", 1)).is_err());
    assert!(Revocations::parse(&list.replacen("\"reason\"", "\"x\":1,\"reason\"", 1)).is_err());
    assert!(Revocations::parse(&list.replacen("stolen", "", 1)).is_err());
    let catalogue = Catalogue::new(1, vec![], None).to_text().unwrap();
    assert_eq!(Catalogue::parse(&catalogue).unwrap().serial, 1);
    assert!(Catalogue::parse(&catalogue.replacen("\"serial\"", "\"x\":1,\"serial\"", 1)).is_err());
    assert!(Seen::parse(b"{\"catalogue\":1,\"revocations\":2}").is_ok());
    for wrong in ["", "{}", "{\"catalogue\":1}", "{\"catalogue\":-1,\"revocations\":2}"] {
        assert!(Seen::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn the_purpose_of_a_signature_is_the_first_two_words_of_its_trusted_comment() {
    let purpose = |comment: &str| Purpose::of(&PEOPLE.ada.sign("text", comment));
    for purpose_of in Purpose::ALL {
        assert_eq!(purpose(purpose_of.comment()), Some(purpose_of));
        assert_eq!(purpose(&format!("{}\ttimestamp:1", purpose_of.comment())), Some(purpose_of));
    }
    for other in ["", "dcmf", "author", "dcmf authority", "timestamp:1\tfile:x\thashed", " dcmf author"] {
        assert_eq!(purpose(other), None, "{other:?}");
    }
}

#[test]
fn a_trusted_comment_that_was_changed_makes_the_signature_wrong() {
    let document = certificate(&full()).document().to_json();
    let swapped = document.replacen("dcmf author", "dcmf certifier", 1);
    let certificate = Certificate::parse(swapped.as_bytes()).unwrap();
    let refusal =
        certification::judge(&native(b"source"), &[certificate], &Revocations::default(), &roots(), at(NOW));
    assert_eq!(refusal.unwrap_err().code(), "signature-wrong");
    assert!(Signature::parse("untrusted comment: x\nRUQ=\ntrusted comment: x\n").is_err());
}
