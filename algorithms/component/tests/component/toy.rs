//! Components in WebAssembly text, of which each test replaces a piece by something evil.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the pieces of the text lie that is made a module.
#[derive(Clone, Copy)]
pub struct Toy {
    /// Functions of the host.
    pub imports: &'static str,
    /// Items of the module: tables, functions, a start function.
    pub items: &'static str,
    /// Pages of memory at the start.
    pub pages: u32,
    /// What runs first in each function.
    pub describe: &'static str,
    pub prepare: &'static str,
    pub scan: &'static str,
    pub verify: &'static str,
    pub realloc: &'static str,
    /// What it says about itself.
    pub id: (u32, u32),
    pub input: (u32, u32),
    pub finding: (u32, u32),
    pub positions: u64,
    pub memory: u64,
}

/// Where the id stands in its memory.
const ID_AT: u32 = 512;
pub const ID: &str = "toy-2";

impl Default for Toy {
    /// A good one: it scans what it is asked for and finds nothing.
    fn default() -> Self {
        Self {
            imports: "",
            items: "",
            pages: 1,
            describe: "",
            prepare: "",
            scan: "",
            verify: "",
            realloc: "",
            id: (ID_AT, ID.len() as u32),
            input: (1, 4),
            finding: (1, 4),
            positions: 1000,
            memory: 65_536,
        }
    }
}

impl Toy {
    pub fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.text()).unwrap();
        let mut resolve = Resolve::default();
        let wit = include_str!("../../wit/algorithm.wit");
        let package = resolve.push_str("algorithm.wit", wit).unwrap();
        let world = resolve.select_world(&[package], Some("component")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    /// The record that `describe` points to.
    fn descriptor(&self) -> String {
        let words = [self.id.0, self.id.1, 2, self.input.0, self.input.1, self.finding.0, self.finding.1, 0];
        let bytes = words.into_iter().flat_map(u32::to_le_bytes);
        let bytes = bytes.chain([self.positions, self.memory].into_iter().flat_map(u64::to_le_bytes));
        bytes.map(|byte| format!("\\{byte:02x}")).collect()
    }

    /// Memory: 0 the descriptor, 64 what `prepare` returns, 128 what `scan` returns, 192 what `verify` returns, from 4096 on
    /// what the host hands over.
    fn text(&self) -> String {
        let Self { imports, items, pages, describe, prepare, scan, verify, realloc, .. } = self;
        let descriptor = self.descriptor();
        format!(
            r#"(module
            (import "[export]dcmf:algorithm/algorithm@1.0.0" "[resource-new]search" (func $new (param i32) (result i32)))
            {imports}
            (memory (export "memory") {pages})
            (global $free (mut i32) (i32.const 4096))
            {items}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                {realloc}
                global.get $free
                (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8))))
            (func (export "dcmf:algorithm/algorithm@1.0.0#describe") (result i32)
                {describe}
                (i32.const 0))
            (func (export "dcmf:algorithm/algorithm@1.0.0#prepare") (param i32 i32) (result i32)
                {prepare}
                (i32.store8 (i32.const 64) (i32.const 0))
                (i32.store (i32.const 68) (call $new (i32.const 7)))
                (i32.const 64))
            (func (export "dcmf:algorithm/algorithm@1.0.0#[method]search.scan")
                (param $self i32) (param $next i64) (param $end i64) (param $budget i64)
                (param i64 i64 i64 i64) (param $most i32) (result i32)
                (i64.store (i32.const 128) (i64.add (local.get $next) (local.get $budget)))
                (i32.store (i32.const 136) (i32.const 256))
                (i32.store (i32.const 140) (i32.const 0))
                {scan}
                (i32.const 128))
            (func (export "dcmf:algorithm/algorithm@1.0.0#verify") (param i32 i32 i32 i32) (result i32)
                {verify}
                (i32.const 192))
            (data (i32.const 0) "{descriptor}")
            (data (i32.const {ID_AT}) "{ID}"))"#
        )
    }
}
