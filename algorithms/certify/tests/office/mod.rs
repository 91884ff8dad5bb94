//! A folder in which the program runs as people run it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

/// A folder with keys of an author, a certifier and a stranger, and a host's trust roots.
pub struct Office(pub TempDir);

impl Office {
    pub fn new() -> Self {
        let office = Self(tempfile::tempdir().unwrap());
        for name in ["author", "certifier", "stranger"] {
            let made = office.run(&format!("keygen --no-password --secret {name}.key --public {name}.pub"));
            office.succeeded(&made);
        }
        office.trust("trust.toml", "author", "certifier");
        office.trust("other.toml", "stranger", "certifier");
        office
    }

    pub fn trust(&self, file: &str, author: &str, certifier: &str) {
        let entry = |name: &str, role: &str| {
            let key = self.text(&format!("{name}.pub"));
            let key = key.lines().nth(1).unwrap();
            format!("[[keys]]\nname = \"{name}\"\nkey = \"{key}\"\nroles = [\"{role}\"]\n")
        };
        fs::write(self.path(file), entry(author, "author") + &entry(certifier, "certifier")).unwrap();
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub fn run(&self, arguments: &str) -> Output {
        self.run_with(arguments, "")
    }

    /// Runs the program in the folder; `input` is what a person types.
    pub fn run_with(&self, arguments: &str, input: &str) -> Output {
        let mut child = self.start(arguments);
        // The program may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// As [`Office::run_with`], and nobody reads what the program says.
    #[allow(dead_code, reason = "not every test binary asks for it")]
    pub fn run_unheard(&self, arguments: &str, input: &str) -> Output {
        let mut child = self.start(arguments);
        drop(child.stdout.take());
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn start(&self, arguments: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_dcmf-certify"))
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn succeeded(&self, output: &Output) -> String {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout.clone()).unwrap()
    }

    pub fn does(&self, arguments: &str) -> String {
        self.succeeded(&self.run(arguments))
    }

    /// The program refuses with this exit code and says `wanted`.
    pub fn refuses(&self, arguments: &str, exit_code: i32, wanted: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit_code), "{arguments}: {said}");
        assert!(said.contains(wanted), "{arguments}: {said}");
    }
}
