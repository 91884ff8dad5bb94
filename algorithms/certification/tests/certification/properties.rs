//! Nothing from outside makes it panic, and no change of a signed text is believed.

use crate::people::*;
use certification::{
    Catalogue, Certificate, Digest, KeyId, PublicKey, Register, Revocations, Seen, Signature, Statement,
    TrustRoots, UnixSeconds, judge,
};
use proptest::prelude::*;

/// Hands `bytes` to everything that reads something from outside.
fn read_by_all(bytes: &[u8]) {
    let _ = Certificate::parse(bytes);
    let _ = Seen::parse(bytes);
    let mut register = Register::new(roots(), Seen::default());
    let _ = register.accept_catalogue(bytes, at(NOW));
    let _ = register.accept_revocations(bytes, at(NOW));
    let text = String::from_utf8_lossy(bytes);
    let _ = Statement::parse(&text);
    let _ = Revocations::parse(&text);
    let _ = Catalogue::parse(&text);
    let _ = Signature::parse(&text);
    let _ = PublicKey::parse(&text);
    let _ = TrustRoots::parse(&text);
    let _ = text.parse::<UnixSeconds>().map(|time| time.to_string());
    let _ = text.parse::<Digest>();
    let _ = text.parse::<KeyId>();
}

/// Real documents, to be damaged.
fn documents() -> Vec<Vec<u8>> {
    let certificate = certificate(&statement(&native(b"source")));
    let list = list(NOW, vec![revoked_key(PEOPLE.stranger.id())], &PEOPLE.bob);
    vec![
        certificate.document().to_json().into_bytes(),
        certificate.document().body().to_owned().into_bytes(),
        certificate.document().signatures()[0].as_str().to_owned().into_bytes(),
        list.to_json().into_bytes(),
        catalogue(NOW, &[certificate], Some(list), &PEOPLE.publisher).to_json().into_bytes(),
        roots_toml("").into_bytes(),
        PEOPLE.ada.public().into_bytes(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        read_by_all(&bytes);
    }

    #[test]
    fn damaged_documents_never_panic(which in 0_usize..7, at in any::<prop::sample::Index>(), new in any::<u8>(), len in any::<prop::sample::Index>()) {
        let mut bytes = documents().swap_remove(which);
        let at = at.index(bytes.len());
        bytes[at] = new;
        read_by_all(&bytes);
        bytes.truncate(len.index(bytes.len()));
        read_by_all(&bytes);
    }

    #[test]
    fn no_damaged_certificate_is_believed(at_byte in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let good = certificate(&statement(&native(b"source")));
        let mut bytes = good.document().to_json().into_bytes();
        let index = at_byte.index(bytes.len());
        bytes[index] ^= flip;
        if let Ok(read) = Certificate::parse(&bytes) {
            // The untrusted comments are signed by nobody, and JSON can write one text in several ways.
            let judged = judge(&native(b"source"), std::slice::from_ref(&read), &Revocations::default(), &roots(), at(NOW));
            prop_assert_eq!(judged.is_ok(), read.document().body() == good.document().body() && both_verify(&read));
        }
    }

    #[test]
    fn any_second_is_written_and_read_again(second in any::<u64>()) {
        let time = UnixSeconds::new(second);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }
}

fn both_verify(certificate: &Certificate) -> bool {
    let body = certificate.document().body().as_bytes();
    let signatures = certificate.document().signatures();
    let by =
        |person: &Person, signature| PublicKey::parse(&person.public()).unwrap().verifies(body, signature);
    by(&PEOPLE.ada, &signatures[0]) && by(&PEOPLE.bob, &signatures[1])
}
