//! What a server must be able to do, asked of it at the start, so that a farm says at once what is to be set instead of
//! failing later at whatever needs it.

use crate::{Bus, Drift, streams};
use std::fmt;

/// Oldest server that ends a message after its own time to live, which leases and throttle orders need.
pub const MIN_SERVER_VERSION: (u64, u64) = (2, 11);
/// What the server's file should say about the size of a message; holds the largest message of the catalogue.
const PAYLOAD_TO_SET: &str = "8MiB";

/// Something that a server lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortcoming {
    /// It is too old.
    Version {
        /// What it says of itself.
        found: String,
    },
    /// It takes only smaller messages.
    MaxPayload {
        /// Bytes that it takes.
        found: usize,
        /// Bytes that are needed.
        needed: usize,
        /// The stream whose messages need them.
        stream: String,
        /// Without them nothing runs; else only what is so large is lost.
        fatal: bool,
    },
    /// A stream that needs it does not let single messages end.
    MessageTtl {
        /// The stream.
        stream: String,
    },
}

impl Shortcoming {
    /// Every code, for the documentation.
    pub const CODES: [&str; 3] = ["server-too-old", "max-payload-too-small", "message-ttl-off"];

    /// The code in `docs/codes.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Version { .. } => "server-too-old",
            Self::MaxPayload { .. } => "max-payload-too-small",
            Self::MessageTtl { .. } => "message-ttl-off",
        }
    }

    /// Whether nothing can run with it.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Version { .. } | Self::MessageTtl { .. } => true,
            Self::MaxPayload { fatal, .. } => *fatal,
        }
    }
}

impl fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = MIN_SERVER_VERSION;
        write!(f, "{}: ", self.code())?;
        match self {
            Self::Version { found } => write!(
                f,
                "the NATS server is version {found} and cannot end single messages; install nats-server {major}.{minor} or newer"
            ),
            Self::MaxPayload { found, needed, stream, .. } => write!(
                f,
                "the NATS server takes messages of {found} bytes, those of {stream} have up to {needed}; set max_payload: {PAYLOAD_TO_SET} in the server's file and load it with: nats-server --signal reload"
            ),
            Self::MessageTtl { stream } => write!(
                f,
                "stream {stream} does not let single messages end, so a lease would be held for ever; set it with: dcmf-bus ensure --apply"
            ),
        }
    }
}

/// The server cannot carry a farm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unsuitable(pub Vec<Shortcoming>);

/// What the connected server lacks. `largest` says how large the messages are that must pass: of a stream, its bytes, and
/// whether nothing runs without them.
pub fn shortcomings(bus: &Bus, largest: &[(String, usize, bool)]) -> Vec<Shortcoming> {
    let server = bus.client().server_info();
    let mut found = Vec::new();
    if !is_new_enough(&server.version) {
        found.push(Shortcoming::Version { found: server.version });
    }
    let most = server.max_payload;
    // The worst of them says it all: what is to be set is the same.
    let small = largest.iter().filter(|(_, needed, _)| most < *needed);
    if let Some((stream, needed, fatal)) = small.max_by_key(|(_, needed, fatal)| (*fatal, *needed)) {
        let (needed, fatal, stream) = (*needed, *fatal, stream.clone());
        found.push(Shortcoming::MaxPayload { found: most, needed, stream, fatal });
    }
    found
}

/// What is found in the drift of the streams.
pub fn of_drift(drift: &[Drift]) -> Vec<Shortcoming> {
    let off = |d: &&Drift| d.field == "allow_msg_ttl" && d.declared == true;
    drift.iter().filter(off).map(|d| Shortcoming::MessageTtl { stream: d.stream.clone() }).collect()
}

/// The largest messages of the catalogue's streams: without blocks and what makes them a farm of small blocks runs.
pub fn largest_messages() -> Result<Vec<(String, usize, bool)>, streams::InvalidFile> {
    let of = |config: async_nats::jetstream::stream::Config| {
        let large = [streams::BLOCK, streams::TEMPLATE, streams::OBJ_COMPONENTS, streams::KV_CERTIFICATES];
        let fatal = !large.contains(&config.name.as_str());
        (config.name, usize::try_from(config.max_message_size).unwrap_or(0), fatal)
    };
    Ok(streams::declared(1)?.into_iter().map(of).collect())
}

/// A version is `major.minor.patch`, with or without something behind it.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= MIN_SERVER_VERSION,
        // A server that says nothing understandable of itself is taken at its deeds.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, enough) in [
            ("2.10.29", false),
            ("2.9.0", false),
            ("1.99.0", false),
            ("2.11.0", true),
            ("2.11.0-RC.1", true),
            ("v2.15.1", true),
            ("3.0.0", true),
            ("dev", true),
        ] {
            assert_eq!(is_new_enough(version), enough, "{version}");
        }
    }

    #[test]
    fn each_shortcoming_has_its_code_and_says_what_to_set() {
        let all = [
            Shortcoming::Version { found: "2.10.1".to_owned() },
            Shortcoming::MaxPayload { found: 1, needed: 2, stream: "S".to_owned(), fatal: true },
            Shortcoming::MessageTtl { stream: "S".to_owned() },
        ];
        assert_eq!(all.each_ref().map(Shortcoming::code), Shortcoming::CODES);
        let said = Unsuitable(all.to_vec()).to_string();
        for word in ["nats-server 2.11", "max_payload: 8MiB", "dcmf-bus ensure --apply"] {
            assert!(said.contains(word), "{said}");
        }
    }
}
