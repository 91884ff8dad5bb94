//! The contract, frozen: golden bytes and schemas of every message. `UPDATE_CONTRACT=1 cargo test -p
//! dcmf-bus-schemas` writes them anew; such a change goes into a commit of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use bus_schemas::{
    codec::{Encoding, Message},
    examples::{self, Visitor, visit},
};
use schemars::JsonSchema;
use std::{fmt::Debug, fs, path::PathBuf};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Another kind of what [`Golden`] holds one example of.
fn frozen_kind<M: Message + PartialEq + Debug>(kind: &str, example: M) {
    let bytes = example.encode().unwrap();
    frozen(folder("golden").join(format!("{}.{kind}.msgpack", M::NAME)), &bytes);
    assert_eq!(M::decode(&bytes).unwrap(), example);
}

#[test]
fn the_bytes_of_each_kind_of_work_are_frozen_and_read_back() {
    let job = examples::crypto_note_job().unwrap();
    job.check().unwrap();
    frozen_kind("crypto-note", job);
    frozen_kind("crypto-note", examples::crypto_note_share().unwrap());
}

fn frozen(path: PathBuf, now: &[u8]) {
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        fs::write(&path, now).unwrap();
    }
    let was = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; is the message new?", path.display()));
    assert!(was == now, "{} differs: the contract changed", path.display());
}

struct Golden;

impl Visitor for Golden {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, example: M) {
        let bytes = example.encode().unwrap();
        let extension = match M::ENCODING {
            Encoding::Json => "json",
            Encoding::MessagePack => "msgpack",
        };
        frozen(folder("golden").join(format!("{}.{extension}", M::NAME)), &bytes);
        assert_eq!(M::decode(&bytes).unwrap(), example);
    }
}

#[test]
fn the_bytes_of_every_message_are_frozen_and_read_back() {
    visit(&mut Golden).unwrap();
}

struct Schemas;

impl Visitor for Schemas {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, _: M) {
        let mut text = serde_json::to_string_pretty(&schemars::schema_for!(M)).unwrap();
        text.push('\n');
        frozen(folder("schemas").join(format!("{}.json", M::NAME)), text.as_bytes());
    }
}

#[test]
fn the_schema_of_every_message_is_checked_in() {
    visit(&mut Schemas).unwrap();
}

struct BothCodecs;

impl Visitor for BothCodecs {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, example: M) {
        let json = serde_json::to_vec(&example).unwrap();
        assert_eq!(serde_json::from_slice::<M>(&json).unwrap(), example, "{} in JSON", M::NAME);
        if M::ENCODING == Encoding::MessagePack {
            let packed = rmp_serde::to_vec_named(&example).unwrap();
            assert_eq!(rmp_serde::from_slice::<M>(&packed).unwrap(), example, "{} in MessagePack", M::NAME);
        }
    }
}

#[test]
fn every_message_survives_json_and_those_of_machines_message_pack_too() {
    visit(&mut BothCodecs).unwrap();
}

/// Requests are typed by people: there a key that means nothing is a mistake and is refused.
const STRICT: [&str; 9] = [
    "PoolRequest",
    "PoolPut",
    "ViewOf",
    "NodePut",
    "NodeDuty",
    "FarmDuty",
    "ExplainRequest",
    "PreviewRequest",
    "ListRequest",
];

struct UnknownFields;

impl Visitor for UnknownFields {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, example: M) {
        let mut value = serde_json::to_value(&example).unwrap();
        // An enum reply is a map of its variant; the field is added inside.
        let object = value.as_object_mut().unwrap();
        let inner = match object.values_mut().next() {
            Some(serde_json::Value::Object(inner)) if M::NAME == "JoinReply" => inner,
            _ => object,
        };
        inner.insert("a_field_of_tomorrow".into(), serde_json::json!({ "x": [1, 2] }));
        let read = match M::ENCODING {
            Encoding::Json => M::decode(&serde_json::to_vec(&value).unwrap()),
            Encoding::MessagePack => {
                // Binary fields are hex in a JSON value, so the extra field is appended to the packed map.
                let mut packed = example.encode().unwrap();
                append_field(&mut packed);
                M::decode(&packed)
            }
        };
        if STRICT.contains(&M::NAME) {
            assert!(read.is_err(), "{} took an unknown field", M::NAME);
        } else {
            assert_eq!(read.unwrap(), example, "{}", M::NAME);
        }
    }
}

fn append_field(packed: &mut Vec<u8>) {
    match packed[0] {
        marker @ 0x80..0x8f => packed[0] = marker + 1,
        // A full fixmap becomes a map16 of sixteen entries.
        0x8f => drop(packed.splice(0..1, [0xde, 0, 16])),
        other => panic!("a message begins with {other:x}, not a small map"),
    }
    packed.extend(rmp_serde::to_vec("a_field_of_tomorrow").unwrap());
    packed.extend(rmp_serde::to_vec(&[1, 2]).unwrap());
}

#[test]
fn unknown_fields_are_ignored_except_in_requests_that_people_type() {
    visit(&mut UnknownFields).unwrap();
}
