//! Trust roots that make no sense are refused when they are read.

use crate::people::*;
use certification::{PublicKey, TrustRoots};

fn key(name: &str, key: &str, roles: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nkey = \"{key}\"\nroles = [{roles}]\n")
}

#[test]
fn trust_roots_are_read_with_their_names_roles_and_numbers() {
    let roots =
        TrustRoots::parse(&roots_toml("authors_needed = 2\nprogram_must_be_certified = true")).unwrap();
    assert_eq!((roots.authors_needed(), roots.certifiers_needed()), (2, 1));
    assert!(roots.program_must_be_certified());
    assert_eq!(roots.find(PEOPLE.ada.id()).map(|trusted| trusted.name.as_str()), Some("Ada"));
    assert_eq!(roots.find(PEOPLE.stranger.id()), None);
    assert_eq!(roots.keys().len(), 5);
}

#[test]
fn trust_roots_under_which_nothing_could_be_valid_or_one_key_counts_twice_are_refused() {
    let (ada, bob) = (PEOPLE.ada.public(), PEOPLE.bob.public());
    let pair = key("Ada", &ada, "\"author\"") + &key("Bob", &bob, "\"certifier\"");
    assert!(TrustRoots::parse(&pair).is_ok());
    // The same Ed25519 key under another id.
    let renamed = {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let mut bytes = BASE64_STANDARD.decode(&ada).unwrap();
        bytes[2] ^= 1;
        BASE64_STANDARD.encode(bytes)
    };
    assert!(PublicKey::parse(&renamed).unwrap().is_same_key(&PublicKey::parse(&ada).unwrap()));
    for (case, text) in [
        ("an unknown key of the table", format!("owner = 1\n{pair}")),
        ("an unknown role", pair.replace("certifier", "king")),
        ("no role", pair.replace("\"certifier\"", "")),
        ("a key that is none", pair.replace(&bob, "RWQ")),
        ("the same key twice", key("Ada", &ada, "\"author\"") + &key("Bob", &ada, "\"certifier\"")),
        (
            "the same key under two ids",
            key("Ada", &ada, "\"author\"") + &key("Bob", &renamed, "\"certifier\""),
        ),
        ("one person alone", key("Ada", &ada, "\"author\", \"certifier\"")),
        ("authors only", key("Ada", &ada, "\"author\"")),
        ("nobody needed", format!("authors_needed = 0\n{pair}")),
        ("more needed than there are", format!("certifiers_needed = 2\n{pair}")),
        (
            "very many needed",
            format!("certifiers_needed = 18446744073709551615\n{pair}")
                .replace("18446744073709551615", "9223372036854775807"),
        ),
        ("a name that deceives", pair.replace("Ada", "A\\u001bda")),
        ("oversize", format!("{pair}#{}", " ".repeat(64 << 10))),
    ] {
        assert!(TrustRoots::parse(&text).is_err(), "{case}");
    }
}

#[test]
fn a_public_key_is_read_from_its_line_or_its_file() {
    let line = PEOPLE.ada.public();
    let from_line = PublicKey::parse(&line).unwrap();
    let from_file = PublicKey::parse(&format!("untrusted comment: minisign public key\n{line}\n")).unwrap();
    assert_eq!(from_line, from_file);
    for wrong in ["", "RWQ", "untrusted comment: x", &line[1..], &format!("{line}AAAA"), &"A".repeat(2000)] {
        assert!(PublicKey::parse(wrong).is_err(), "{wrong}");
    }
}
