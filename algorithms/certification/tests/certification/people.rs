//! Who signs in these tests, and what.

use certification::{
    Catalogue, Certificate, Digest, KeyId, PublicKey, Purpose, Revocation, Revocations, Signature, Signed,
    Statement, Subject, TrustRoots, UnixSeconds,
};
use minisign::KeyPair;
use std::{io::Cursor, sync::LazyLock};

/// When the tests take place.
pub const NOW: u64 = 1_800_000_000;
pub const DAY: u64 = 24 * 60 * 60;

pub fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds)
}

/// Somebody with a key pair.
pub struct Person(KeyPair);

impl Person {
    pub fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    pub fn public(&self) -> String {
        self.0.pk.to_base64()
    }

    pub fn id(&self) -> KeyId {
        PublicKey::parse(&self.public()).unwrap().id()
    }

    pub fn sign(&self, text: &str, comment: &str) -> Signature {
        let signed = minisign::sign(None, &self.0.sk, Cursor::new(text), Some(comment), None).unwrap();
        Signature::parse(&signed.into_string()).unwrap()
    }

    pub fn signs(&self, document: &mut Signed, purpose: Purpose) {
        document.add(self.sign(document.body(), purpose.comment())).unwrap();
    }
}

pub struct People {
    pub ada: Person,
    pub bob: Person,
    pub eve: Person,
    pub both: Person,
    pub publisher: Person,
    pub stranger: Person,
}

/// Ada writes, Bob and Eve certify, one person may do both, one publishes, and the stranger is nobody.
pub static PEOPLE: LazyLock<People> = LazyLock::new(|| People {
    ada: Person::new(),
    bob: Person::new(),
    eve: Person::new(),
    both: Person::new(),
    publisher: Person::new(),
    stranger: Person::new(),
});

pub fn roots_toml(head: &str) -> String {
    let key = |name: &str, person: &Person, roles: &str| {
        format!("[[keys]]\nname = \"{name}\"\nkey = \"{}\"\nroles = [{roles}]\n", person.public())
    };
    [
        format!("{head}\n"),
        key("Ada", &PEOPLE.ada, "\"author\""),
        key("Bob", &PEOPLE.bob, "\"certifier\""),
        key("Eve", &PEOPLE.eve, "\"certifier\""),
        key("Both", &PEOPLE.both, "\"author\", \"certifier\""),
        key("Publisher", &PEOPLE.publisher, "\"publisher\""),
    ]
    .concat()
}

pub fn roots() -> TrustRoots {
    TrustRoots::parse(&roots_toml("")).unwrap()
}

pub fn native(source: &[u8]) -> Subject {
    Subject::NativeAlgorithm { id: "sha256d".to_owned(), version: 1, source_sha256: Digest::of(source) }
}

/// Of `subject`, valid from a day before [`NOW`] to a day after.
pub fn statement(subject: &Subject) -> Statement {
    Statement::new(subject.clone(), "Bob".to_owned(), at(NOW - DAY), at(NOW + DAY))
}

pub fn signed_by(statement: &Statement, signers: &[(&Person, Purpose)]) -> Certificate {
    let mut document = Signed::new(statement.to_text().unwrap());
    signers.iter().for_each(|(person, purpose)| person.signs(&mut document, *purpose));
    Certificate::of(document).unwrap()
}

/// Signed by Ada and Bob.
pub fn certificate(statement: &Statement) -> Certificate {
    signed_by(statement, &[(&PEOPLE.ada, Purpose::Author), (&PEOPLE.bob, Purpose::Certifier)])
}

/// The same text with something replaced, under the old signatures.
pub fn tampered(certificate: &Certificate, from: &str, to: &str) -> Certificate {
    let body = certificate.document().body().replace(from, to);
    assert_ne!(body, certificate.document().body(), "{from} is not there");
    let mut document = Signed::new(body);
    for signature in certificate.document().signatures() {
        document.add(signature.clone()).unwrap();
    }
    Certificate::of(document).unwrap()
}

pub fn revoked_key(id: KeyId) -> Revocation {
    Revocation::Key { id, reason: "stolen".to_owned() }
}

pub fn list(serial: u64, entries: Vec<Revocation>, signer: &Person) -> Signed {
    let mut document = Signed::new(Revocations::new(serial, entries).to_text().unwrap());
    signer.signs(&mut document, Purpose::Revocations);
    document
}

pub fn catalogue(serial: u64, certificates: &[Certificate], list: Option<Signed>, signer: &Person) -> Signed {
    let certificates = certificates.iter().map(|certificate| certificate.document().clone()).collect();
    let mut document = Signed::new(Catalogue::new(serial, certificates, list).to_text().unwrap());
    signer.signs(&mut document, Purpose::Catalogue);
    document
}
