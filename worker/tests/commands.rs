//! The subcommands as an administrator types them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output},
};

fn run(config: &Path, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dcmf-worker"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

#[test]
fn a_host_is_paused_shown_as_paused_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("worker.toml");
    std::fs::write(&config, "worker = 'w1'\npool = 'main'\ngroup = 'none'\n").unwrap();
    let run = |arguments: &[&str], told: &str| {
        let (output, text) = run(&config, arguments);
        assert!(output.status.success() && text.contains(told), "{arguments:?}: {text}");
        text
    };
    let text = run(&["check"], "veto                no");
    for told in ["gentle ", "scheduling group ", "pressure of memory ", "w1", "pin: true"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    run(&["pause", "--reason", "backup until six"], "paused: ");
    run(&["check"], "veto                backup until six");
    run(&["resume"], "resumed: ");
    run(&["resume"], "was not paused: ");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn what_cannot_be_done_is_told_and_ends_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("worker.toml");
    std::fs::write(&config, "veto_file = '/proc/none/veto'\n").unwrap();
    for (arguments, told) in [
        (&["pause"][..], "cannot write the veto file /proc/none/veto"),
        (&["check"], "worker is missing; give --worker"),
        (&["monitor", "--target", "farm", "--name", "m"], "nothing is to be watched"),
        (
            &["monitor", "--target", "farm", "--name", "a.b", "--demand-percent", "9"],
            "--name \"a.b\" cannot be used",
        ),
        (&["monitor", "--target", "rack", "--name", "m", "--demand-percent", "9"], "is no target; use farm"),
        (&["monitor", "--target", "farm", "--name", "m", "--probe", "http://127.0.0.1:1/"], "--limit-ms"),
    ] {
        let (output, text) = run(&config, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
}

#[test]
fn a_host_shows_what_its_certificates_permit_and_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("worker.toml");
    let text = format!("worker = 'w1'\npool = 'main'\nstate_folder = '{}'\n", folder.path().display());
    std::fs::write(&config, &text).unwrap();
    let show = |told: &[&str]| {
        let (output, text) = run(&config, &["certificates"]);
        assert!(output.status.success(), "{text}");
        for told in told {
            assert!(text.contains(told), "{told}: {text}");
        }
    };
    show(&[
        "trust roots     0 keys",
        "the program dcmf-worker 0.1.0\n",
        "need not be certified",
        "the algorithm sha256d version 1\n",
        "refused       no-trust-roots: this host trusts nobody",
    ]);
    let key = |role: &str| {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = pair.pk.to_base64();
        format!("[[trust.keys]]\nname = '{role}'\nkey = '{key}'\nroles = ['{role}']\n")
    };
    let trust = format!("[trust]\nprogram_must_be_certified = true\n{}{}", key("author"), key("certifier"));
    std::fs::write(&config, format!("{text}{trust}")).unwrap();
    show(&[
        "trust roots     2 keys",
        "certified too",
        "refused       not-certified: the program dcmf-worker",
    ]);
    std::fs::write(folder.path().join("w1.certificates.json"), "{").unwrap();
    show(&["unusable        ", "is damaged", "refused       state-unusable: "]);
}
