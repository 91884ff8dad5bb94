//! Reserved huge pages that the kernel grants and then refuses when they are touched end nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use algorithm_api::{
    Algorithm,
    context::{Mode, Pages, Seeded},
};
use algorithm_randomx::{RandomX, SEED_LEN};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Set in the processes that the test below starts.
const INSIDE: &str = "RANDOMX_TEST_PAGES_ARE_WITHHELD";

fn shim(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let (source, out) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/withheld_pages.c"), folder.join(name));
    // RandomX's own sources need a C compiler too.
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&out).args(flags).arg(source).arg("-ldl");
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

#[test]
fn a_context_takes_other_pages_where_reserved_ones_are_granted_and_then_refused() {
    if std::env::var_os(INSIDE).is_some() {
        return search_in_what_there_is();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, flags) in [("withheld.so", &[][..]), ("withheld-old.so", &["-DOLD_KERNEL"])] {
        let test = "a_context_takes_other_pages_where_reserved_ones_are_granted_and_then_refused";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(INSIDE, "1")
            .env("LD_PRELOAD", shim(folder, name, flags))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{name}: signal {:?}: {told}", child.status.signal());
        assert!(told.contains("1 passed"), "{name}: {told}");
    }
}

/// Touches a cache, a part of a data set and a scratchpad.
fn search_in_what_there_is() {
    let randomx = RandomX::new();
    let context = randomx.begin(&[1; SEED_LEN], Mode::Fast).unwrap();
    for _ in 0..20 {
        context.advance();
    }
    let areas = context.report().areas;
    assert_eq!(areas.len(), 2, "{areas:?}");
    let light = randomx.begin(&[1; SEED_LEN], Mode::Light).unwrap();
    let mut input = vec![1; SEED_LEN];
    input.extend([0; 76]);
    // Whatever it says of these bytes, a machine was made for them.
    let _ = randomx.verify(&input, &[0; 4]);
    for area in areas.iter().chain(&light.report().areas) {
        assert!(!matches!(area.pages, Pages::Huge), "{area:?}");
    }
}
