//! Certifying components from end to end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../component/tests/component/guests.rs"]
mod guests;
mod office;
#[path = "../../component/tests/component/toy.rs"]
mod toy;

use office::Office;
use serde_json::{Value, json};
use std::{fs, path::Path};
use toy::{ID, Toy};

/// The published headers, as the program takes known answers.
fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../sha256d/tests/vectors.json")).unwrap();
    let answer = |published: &Value| {
        let input = published["header"].as_str().unwrap();
        let finding = input.get(152..).unwrap();
        let nonce: [u8; 4] = hex::decode(finding).unwrap().try_into().unwrap();
        let (name, hash) = (&published["name"], &published["hash_raw_le"]);
        let position = u32::from_le_bytes(nonce);
        json!({"name": name, "input": input, "finding": finding, "position": position, "hash": hash})
    };
    file["sha256d"].as_array().unwrap().iter().map(answer).collect()
}

fn write(office: &Office, file: &str, answers: &[Value]) {
    fs::write(office.path(file), serde_json::to_vec(answers).unwrap()).unwrap();
}

#[test]
fn a_component_is_certified_when_its_known_answers_pass_in_the_sandbox_on_wasm32_target() {
    let office = Office::new();
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../component/guests"));
    fs::write(office.path("c.wasm"), guests::build(workspace, "sha256d-kernel")).unwrap();
    let answers = vectors();
    write(&office, "v.json", &answers);
    write(&office, "fewer.json", &answers[1..]);
    let mut wrong = answers.clone();
    wrong[2]["hash"] = answers[1]["hash"].clone();
    write(&office, "wrong.json", &wrong);
    write(&office, "none.json", &[]);
    let certify = |id: &str, vectors: &str| {
        format!(
            "certify component c.wasm --id {id} --version 1 --vectors {vectors} --seconds 1 --key author.key --reviewer Ada --days 30 --out c.cert --yes"
        )
    };
    office.refuses(
        &certify("sha256d", "v.json"),
        1,
        "says that it is the component sha256d-kernel version 1",
    );
    office.refuses(&certify("sha256d-kernel", "wrong.json"), 1, "which is not the published hash");
    office.refuses(&certify("sha256d-kernel", "none.json"), 1, "nothing to check");
    assert!(!office.path("c.cert").exists());
    let told = office.does(&certify("sha256d-kernel", "v.json"));
    let passed = format!("{} known answers and the conformance kit passed", answers.len());
    assert!(told.contains(&passed) && told.contains("hashes per CPU-second"), "{told}");

    let countersign = |more: &str| format!("countersign c.cert {more} --key certifier.key --yes");
    office.refuses(&countersign("--artifact c.wasm"), 2, "--vectors");
    office.refuses(&countersign("--artifact c.wasm --vectors fewer.json"), 1, "other known answers");
    office.does(&countersign("--artifact c.wasm --vectors v.json"));
    let shown = office.does("inspect c.cert --trust trust.toml");
    assert!(shown.contains("the component sha256d-kernel version 1"), "{shown}");
}

#[test]
fn a_component_that_finds_nothing_or_cannot_be_loaded_is_not_certified() {
    let office = Office::new();
    let hash = "00".repeat(32);
    let answer = json!({"name": "any", "input": "00", "finding": "00", "position": 0, "hash": hash});
    write(&office, "v.json", &[answer]);
    let certify = format!(
        "certify component c.wasm --id {ID} --version 2 --vectors v.json --seconds 1 --key author.key --reviewer Ada --days 30 --out c.cert --yes"
    );
    fs::write(office.path("c.wasm"), Toy::default().component()).unwrap();
    office.refuses(&certify, 1, "does not pass");
    fs::write(office.path("c.wasm"), "no component").unwrap();
    office.refuses(&certify, 1, "cannot run on any host");
    fs::write(office.path("c.wasm"), Toy { scan: "unreachable", ..Toy::default() }.component()).unwrap();
    office.refuses(&certify, 1, "does not pass");
    fs::write(office.path("v.json"), "[{\"name\": \"any\"}]").unwrap();
    office.refuses(&certify, 2, "known answers in v.json");
    assert!(!office.path("c.cert").exists());
}
