//! The declared streams and buckets, as the files that the real server gets declare them.

use serde::Deserialize;
use std::rc::Rc;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[&str] = &[$(include_str!(concat!("../../../../nats/streams/", $name, ".json"))),+];
    };
}

files!(
    "DCMF_BLOCK",
    "DCMF_FOUND",
    "DCMF_JOB",
    "DCMF_LEDGER",
    "DCMF_SHARE",
    "DCMF_TEMPLATE",
    "DCMF_THROTTLE",
    "KV_dcmf_config",
    "KV_dcmf_in_force",
    "KV_dcmf_leases",
    "KV_dcmf_members",
);

pub(crate) const JOB: &str = "DCMF_JOB";
pub(crate) const SHARE: &str = "DCMF_SHARE";
pub(crate) const FOUND: &str = "DCMF_FOUND";
pub(crate) const BLOCK: &str = "DCMF_BLOCK";
pub(crate) const TEMPLATE: &str = "DCMF_TEMPLATE";
pub(crate) const LEDGER: &str = "DCMF_LEDGER";
pub(crate) const THROTTLE: &str = "DCMF_THROTTLE";
pub(crate) const CONFIG: &str = "KV_dcmf_config";
pub(crate) const IN_FORCE: &str = "KV_dcmf_in_force";
pub(crate) const LEASES: &str = "KV_dcmf_leases";
pub(crate) const MEMBERS: &str = "KV_dcmf_members";

/// The subject of a bucket's key.
pub(crate) fn key_subject(stream: &str, key: impl std::fmt::Display) -> String {
    format!("$KV.{}.{key}", stream.strip_prefix("KV_").unwrap_or(stream))
}

/// The key of a bucket's subject.
pub(crate) fn key_of<'a>(stream: &str, subject: &'a str) -> &'a str {
    let bucket = stream.strip_prefix("KV_").unwrap_or(stream);
    let key = subject.strip_prefix("$KV.").and_then(|rest| rest.strip_prefix(bucket)?.strip_prefix('.'));
    key.unwrap_or(subject)
}

/// What the server does when a stream is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Discard {
    Old,
    New,
}

/// Where a bucket publishes what it stored once more.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Republish {
    pub(crate) src: String,
    pub(crate) dest: String,
}

/// What the model obeys of a stream's file. Limits are -1 or 0 where there is none, times are in nanoseconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) discard: Discard,
    pub(crate) max_msgs_per_subject: i64,
    pub(crate) max_bytes: i64,
    pub(crate) max_age: u64,
    pub(crate) max_msg_size: i64,
    pub(crate) duplicate_window: u64,
    #[serde(default)]
    pub(crate) allow_msg_ttl: bool,
    #[serde(default)]
    pub(crate) subject_delete_marker_ttl: u64,
    pub(crate) republish: Option<Republish>,
}

/// Every stream that the model has.
pub(crate) fn declared() -> Result<Vec<Rc<Declared>>, serde_json::Error> {
    FILES.iter().map(|json| serde_json::from_str(json).map(Rc::new)).collect()
}

/// Whether a subject fits a filter with the wildcards of NATS.
pub(crate) fn fits(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_files_are_read() {
        let all = declared().unwrap();
        let named = |name: &str| all.iter().find(|d| d.name == name).unwrap();
        assert_eq!(named(JOB).max_msgs_per_subject, 256);
        assert_eq!(named(LEDGER).discard, Discard::New);
        assert!(named(THROTTLE).allow_msg_ttl && named(LEASES).allow_msg_ttl);
        assert!(named(IN_FORCE).republish.is_some());
    }

    #[test]
    fn filters_fit_as_the_server_says() {
        for (filter, subject, wanted) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(fits(filter, subject), wanted, "{filter} {subject}");
        }
    }
}
