//! Every code is explained to people.

use certification::Refusal;
use std::{collections::BTreeSet, path::Path};

#[test]
fn every_code_of_a_refusal_is_explained_and_no_other() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/codes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Certificates")).unwrap();
    let explained: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    assert_eq!(explained, BTreeSet::from(Refusal::CODES));
}
