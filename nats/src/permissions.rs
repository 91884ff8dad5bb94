//! What each party may say and hear on the bus, derived from the subjects: the one list from which permissions of a server are
//! written.
//!
//! A party's own ids stand at fixed tokens of its subjects, so no worker can speak for another one or as a coordinator.

use crate::streams;
use bus_schemas::{
    CoordinatorId, PoolId, WorkerId,
    command::{Access, COMMANDS, CommandName},
    config::ConfigKey,
    subject::{CATALOGUE_KEY, PREFIX, Subject, filter},
    throttle::ThrottleTarget,
};

/// Somebody with a connection of its own.
#[derive(Debug, Clone, Copy)]
pub enum Party<'a> {
    /// A coordinator; it may work for every pool.
    Coordinator(&'a CoordinatorId),
    /// A worker of a pool.
    Worker(&'a PoolId, &'a WorkerId),
    /// A load monitor on a host that does not mine.
    Monitor,
    /// An application that tells of its own latency under this name.
    Application(&'a WorkerId),
    /// A person who steers the farm, or a program for one.
    Operator,
    /// A person who sees everything and changes nothing.
    Viewer,
    /// The office that signs certificates.
    Certifier,
}

/// What a party may do. Subjects have wildcards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects on which it may publish, requests included.
    pub publish: Vec<String>,
    /// Subjects to which it may subscribe.
    pub subscribe: Vec<String>,
    /// Streams, buckets included, whose messages it reads through JetStream.
    pub read: Vec<&'static str>,
}

/// The subjects of the keys of a bucket.
fn bucket(name: &str) -> String {
    format!("$KV.{name}.>")
}

/// The subjects of one kind in all pools.
fn all(kind: &str) -> String {
    format!("{PREFIX}.{kind}.>")
}

/// The subjects on which commands are asked for.
fn commands(may: impl Fn(&CommandName) -> bool) -> impl Iterator<Item = String> {
    COMMANDS.iter().filter(move |name| may(name)).map(CommandName::served)
}

impl Permissions {
    /// Those of a party.
    pub fn of(party: Party<'_>) -> Self {
        match party {
            Party::Coordinator(coordinator) => Self::of_coordinator(coordinator),
            Party::Worker(pool, worker) => Self::of_worker(pool, worker),
            Party::Monitor => Self { publish: vec![filter::throttles()], ..Self::default() },
            Party::Application(name) => {
                Self { publish: vec![Subject::Latency(name.clone()).to_string()], ..Self::default() }
            }
            Party::Operator => {
                let mut these = Self::of_viewer();
                these.publish.extend(commands(|name| name.access == Access::Steer));
                these.publish.extend([filter::throttles(), bucket(streams::CONFIG)]);
                // The bytes of components and what describes them.
                these.publish.push(format!("$O.{}.>", streams::COMPONENTS));
                these
            }
            Party::Viewer => Self::of_viewer(),
            Party::Certifier => Self {
                publish: vec![format!("$KV.{}.{CATALOGUE_KEY}", streams::CERTIFICATES)],
                subscribe: vec![Subject::Catalogue.to_string()],
                read: vec![streams::KV_CERTIFICATES],
            },
        }
    }

    fn of_coordinator(coordinator: &CoordinatorId) -> Self {
        let written = ["job", "block", "template", "chain", "ledger", "dead", "view", "throttle"];
        let buckets =
            [streams::CONFIG, streams::IN_FORCE, streams::MEMBERS, streams::LEASES, streams::STATUS];
        let heard = ["hb", "join", "leave", "view"];
        Self {
            publish: written
                .map(all)
                .into_iter()
                .chain(buckets.map(bucket))
                .chain([filter::events_of_coordinator(coordinator)])
                .collect(),
            subscribe: heard
                .map(all)
                .into_iter()
                .chain(COMMANDS.iter().flat_map(|name| [name.served(), name.bare()]))
                .chain(["$SRV.>".to_owned()])
                .collect(),
            read: streams::FILES.iter().map(|(name, _)| *name).collect(),
        }
    }

    fn of_worker(pool: &PoolId, worker: &WorkerId) -> Self {
        let own = [Subject::Share, Subject::Found, Subject::Heartbeat, Subject::Join, Subject::Leave];
        let own = own.map(|subject| subject(pool.clone(), worker.clone()).to_string());
        let targets = [
            ThrottleTarget::Farm,
            ThrottleTarget::Pool(pool.clone()),
            ThrottleTarget::Worker(worker.clone()),
        ];
        let keys = [ConfigKey::Farm, ConfigKey::Pool(pool.clone()), ConfigKey::Node(worker.clone())];
        Self {
            publish: own.into_iter().chain([filter::events_of_worker(worker)]).collect(),
            subscribe: [Subject::Job(pool.clone()), Subject::Role(pool.clone(), worker.clone())]
                .into_iter()
                .chain(keys.map(Subject::InForce))
                .chain(targets.map(Subject::Throttle))
                .chain([Subject::Catalogue])
                .map(String::from)
                .chain([filter::label_throttles(), filter::latencies()])
                .chain([format!("{}.>", filter::worker_inbox(worker))])
                .collect(),
            read: vec![
                streams::KV_IN_FORCE,
                streams::KV_MEMBERS,
                streams::JOB,
                streams::THROTTLE,
                streams::KV_CERTIFICATES,
                streams::OBJ_COMPONENTS,
            ],
        }
    }

    fn of_viewer() -> Self {
        let asks = commands(|name| name.access == Access::Read);
        Self {
            publish: asks.chain(["$SRV.>".to_owned()]).collect(),
            subscribe: vec![format!("{PREFIX}.>")],
            read: streams::FILES.iter().map(|(name, _)| *name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::JobId;

    fn ids() -> (CoordinatorId, PoolId, WorkerId) {
        let coordinator = CoordinatorId::new("c1").unwrap();
        (coordinator, PoolId::new("main").unwrap(), WorkerId::new("w1").unwrap())
    }

    fn everybody() -> Vec<(&'static str, Permissions)> {
        let (coordinator, pool, worker) = ids();
        let parties = [
            ("coordinator", Party::Coordinator(&coordinator)),
            ("worker", Party::Worker(&pool, &worker)),
            ("monitor", Party::Monitor),
            ("application", Party::Application(&worker)),
            ("operator", Party::Operator),
            ("viewer", Party::Viewer),
            ("certifier", Party::Certifier),
        ];
        parties.map(|(name, party)| (name, Permissions::of(party))).into()
    }

    /// Whether every subject under `inner` is one under `outer`.
    fn covers(outer: &str, inner: &str) -> bool {
        let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
        loop {
            match (outer.next(), inner.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    fn publishers(subject: &str) -> Vec<&'static str> {
        let may = |these: &Permissions| these.publish.iter().any(|p| covers(p, subject));
        everybody().into_iter().filter(|(_, these)| may(these)).map(|(name, _)| name).collect()
    }

    fn subscribers(subject: &str) -> Vec<&'static str> {
        let may = |these: &Permissions| these.subscribe.iter().any(|p| covers(p, subject));
        everybody().into_iter().filter(|(_, these)| may(these)).map(|(name, _)| name).collect()
    }

    /// One subject of each kind, and who publishes it: itself, or the key of the bucket of which the server republishes it.
    fn kinds() -> Vec<(Subject, String, &'static [&'static str])> {
        let (_, p, w) = ids();
        let pair = || (p.clone(), w.clone());
        let of = |subject: fn(PoolId, WorkerId) -> Subject| subject(pair().0, pair().1);
        let all = [
            Subject::Job(p.clone()),
            of(Subject::Role),
            of(Subject::Share),
            of(Subject::Found),
            of(Subject::Heartbeat),
            of(Subject::Join),
            of(Subject::Leave),
            Subject::InForce(ConfigKey::Farm),
            Subject::View(p.clone()),
            Subject::Block(p.clone(), "00".repeat(32)),
            Subject::Template(p.clone(), JobId::new("0a").unwrap()),
            Subject::Chain(p.clone()),
            Subject::Ledger(p.clone()),
            Subject::Throttle(ThrottleTarget::Farm),
            Subject::Latency(w.clone()),
            Subject::Catalogue,
            Subject::Dead("share.main.w1".to_owned()),
        ];
        let published = |subject: Subject| {
            let (by, who): (_, &'static [&'static str]) = match &subject {
                Subject::Role(p, w) => (format!("$KV.{}.{p}.{w}", streams::MEMBERS), &["coordinator"]),
                Subject::InForce(key) => (format!("$KV.{}.{key}", streams::IN_FORCE), &["coordinator"]),
                Subject::Catalogue => {
                    (format!("$KV.{}.{CATALOGUE_KEY}", streams::CERTIFICATES), &["certifier"])
                }
                Subject::Share(..)
                | Subject::Found(..)
                | Subject::Heartbeat(..)
                | Subject::Join(..)
                | Subject::Leave(..) => (subject.to_string(), &["worker"]),
                Subject::Throttle(_) => (subject.to_string(), &["coordinator", "monitor", "operator"]),
                Subject::Latency(_) => (subject.to_string(), &["application"]),
                Subject::Job(_)
                | Subject::View(_)
                | Subject::Block(..)
                | Subject::Template(..)
                | Subject::Chain(_)
                | Subject::Ledger(_)
                | Subject::Dead(_) => (subject.to_string(), &["coordinator"]),
            };
            (subject, by, who)
        };
        all.map(published).into()
    }

    #[test]
    fn every_subject_belongs_to_somebody_and_is_heard_by_somebody() {
        for (subject, by, who) in kinds() {
            assert_eq!(publishers(&by), who, "{subject}");
            assert!(!subscribers(&subject.to_string()).is_empty(), "{subject}");
        }
    }

    #[test]
    fn every_command_is_served_by_coordinators_and_asked_for_by_those_who_may() {
        for name in &COMMANDS {
            let subject = name.served();
            let who: &[&str] =
                if name.access == Access::Read { &["operator", "viewer"] } else { &["operator"] };
            assert_eq!(publishers(&subject), who, "{name}");
            assert!(subscribers(&subject).contains(&"coordinator"), "{name}");
        }
    }

    #[test]
    fn every_stream_is_written_by_somebody_and_read_by_more_than_its_writer() {
        for (name, json) in streams::FILES {
            let config: serde_json::Value = serde_json::from_str(json).unwrap();
            for subjects in config["subjects"].as_array().unwrap() {
                let subjects = subjects.as_str().unwrap();
                let written = everybody().iter().any(|(_, these)| {
                    these.publish.iter().any(|own| covers(subjects, own) || covers(own, subjects))
                });
                assert!(written, "nobody writes {subjects} of {name}");
            }
            let readers = everybody().into_iter().filter(|(_, these)| these.read.contains(name)).count();
            assert!(readers >= 2, "{name}");
        }
    }

    #[test]
    fn a_worker_speaks_for_itself_alone() {
        let ours = |rest: &str| publishers(&format!("{PREFIX}.{rest}"));
        for rest in [
            "share.main.w2",
            "share.other.w1",
            "evt.worker.w2.throttle.engaged.main.w2",
            "job.main",
            "throttle.farm",
            "cmd.farm.halt",
        ] {
            assert!(!ours(rest).contains(&"worker"), "{rest}");
        }
        for key in ["dcmf_config.farm", "dcmf_members.main.w1", "dcmf_in_force.farm"] {
            assert!(!publishers(&format!("$KV.{key}")).contains(&"worker"), "{key}");
        }
        assert_eq!(ours("evt.worker.w1.throttle.engaged.main.w1"), ["worker"]);
        assert_eq!(ours("evt.coordinator.c1.block.accepted.main"), ["coordinator"]);
    }
}
