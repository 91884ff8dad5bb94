//! Every decoder, every subject and both strict configurations against arbitrary bytes.
#![no_main]

use bus_schemas::{
    codec::Message,
    config::{NodeConfig, PoolConfig, parse_strict},
    examples::{Visitor, visit},
    subject::Subject,
};
use libfuzzer_sys::fuzz_target;

struct DecodeAll<'a>(&'a [u8]);

impl Visitor for DecodeAll<'_> {
    fn visit<M: Message + schemars::JsonSchema + PartialEq + std::fmt::Debug>(&mut self, _: M) {
        if let Ok(read) = M::decode(self.0) {
            let written = read.encode().expect("what was read can be written");
            assert_eq!(M::decode(&written).expect("what was written can be read"), read);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    visit(&mut DecodeAll(bytes)).expect("the examples are valid");
    let _ = parse_strict::<PoolConfig>(bytes);
    let _ = parse_strict::<NodeConfig>(bytes);
    if let Ok(subject) = std::str::from_utf8(bytes).map(str::parse::<Subject>) {
        let _ = subject.map(|s| s.to_string());
    }
});
