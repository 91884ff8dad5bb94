//! The catalogue of streams, and what `ensure` makes of a server.

use crate::{Farm, pool};
use bus_schemas::{Message, WorkerId, block, config, event, job, ledger, share, subject::Subject};
use nats_adapter::{Action, Outcome, ensure, streams};
use serde_json::{Value, json};

#[test]
fn no_key_of_a_file_is_lost_when_it_is_read() {
    for ((name, text), config) in streams::FILES.iter().zip(streams::declared(1).unwrap()) {
        let file: Value = serde_json::from_str(text).unwrap();
        let read = serde_json::to_value(&config).unwrap();
        for (key, value) in file.as_object().unwrap() {
            assert_eq!(read.get(key), Some(value), "{name}: {key}");
        }
        assert_eq!(*name, config.name);
        for limit in [
            "max_age",
            "max_bytes",
            "max_msg_size",
            "max_msgs_per_subject",
            "max_consumers",
            "storage",
            "compression",
        ] {
            assert!(file.get(limit).is_some(), "{name} names no {limit}");
        }
    }
}

#[test]
fn no_key_of_the_consumers_file_is_lost_and_its_limits_are_those_of_the_code() {
    let file: Value = serde_json::from_str(streams::FOUND_CONSUMER).unwrap();
    let config = streams::declared_consumer().unwrap();
    let read = serde_json::to_value(&config).unwrap();
    for (key, value) in file.as_object().unwrap() {
        assert_eq!(read.get(key), Some(value), "{key}");
    }
    assert_eq!(config.ack_wait, nats_adapter::REDELIVERY_AFTER);
    assert_eq!(usize::try_from(config.max_ack_pending).unwrap(), nats_adapter::MAX_IN_HAND);
    let main = bus_schemas::PoolId::new("main").unwrap();
    assert_eq!(config.filter_subject, bus_schemas::subject::filter::found(&main));
}

#[test]
fn a_stream_takes_the_largest_message_of_its_subjects() {
    let largest = [
        (streams::JOB, job::Job::MAX_LEN),
        (streams::SHARE, share::Share::MAX_LEN),
        (streams::FOUND, share::Share::MAX_LEN),
        (streams::BLOCK, block::MAX_BLOCK_MESSAGE_LEN),
        (streams::TEMPLATE, block::TemplateRecord::MAX_LEN),
        (streams::CHAIN, block::ChainRecord::MAX_LEN),
        (streams::LEDGER, ledger::LedgerRecord::MAX_LEN),
        (streams::EVENT, event::Event::MAX_LEN),
        (streams::DEAD, nats_adapter::MAX_DEAD_LETTER_LEN),
        (streams::KV_IN_FORCE, config::MAX_IN_FORCE_LEN),
        (streams::KV_CERTIFICATES, certification::MAX_CATALOGUE_LEN),
    ];
    for (name, len) in largest {
        let declared = streams::declared(1).unwrap();
        let config = declared.iter().find(|config| config.name == name).unwrap();
        let room = usize::try_from(config.max_message_size).unwrap();
        assert!(room >= len + streams::MAX_HEADERS_LEN, "{name}: {room} for {len}");
    }
}

#[test]
fn each_subject_is_kept_in_its_own_stream_or_in_none() {
    let (p, w) = (pool(), WorkerId::new("w1").unwrap());
    let kept = [
        (Subject::Job(p.clone()), Some(streams::JOB)),
        (Subject::Share(p.clone(), w.clone()), Some(streams::SHARE)),
        (Subject::Found(p.clone(), w.clone()), Some(streams::FOUND)),
        (Subject::Block(p.clone(), "00".to_owned()), Some(streams::BLOCK)),
        (Subject::Template(p.clone(), bus_schemas::JobId::new("j").unwrap()), Some(streams::TEMPLATE)),
        (Subject::Chain(p.clone()), Some(streams::CHAIN)),
        (Subject::Ledger(p.clone()), Some(streams::LEDGER)),
        (Subject::Dead("share.main.w1".to_owned()), Some(streams::DEAD)),
        (Subject::Heartbeat(p.clone(), w.clone()), None),
        (Subject::Join(p.clone(), w.clone()), None),
        (Subject::Leave(p.clone(), w.clone()), None),
        (Subject::Role(p, w), None),
        (Subject::Catalogue, None),
    ];
    let declared = streams::declared(1).unwrap();
    for (subject, stream) in kept {
        let keeps = |pattern: &String| subject.to_string().starts_with(pattern.trim_end_matches('>'));
        let found: Vec<_> =
            declared.iter().filter(|c| c.subjects.iter().any(keeps)).map(|c| &c.name[..]).collect();
        assert_eq!(found, Vec::from_iter(stream), "{subject}");
    }
}

#[tokio::test]
async fn what_is_missing_is_made_and_then_nothing_differs() {
    let farm = Farm::start().await;
    assert_eq!(ensure(&farm.bus, 1, Action::Look).await.unwrap(), Outcome::default());
    farm.bus.jetstream().delete_stream(streams::EVENT).await.unwrap();
    let looked = ensure(&farm.bus, 1, Action::Look).await.unwrap();
    assert_eq!(looked.missing, [streams::EVENT]);
    assert_eq!(ensure(&farm.bus, 1, Action::Create).await.unwrap().missing, [streams::EVENT]);
    assert_eq!(ensure(&farm.bus, 1, Action::Create).await.unwrap(), Outcome::default());
}

#[tokio::test]
async fn what_differs_is_named_and_only_what_loses_nothing_is_applied() {
    let farm = Farm::start().await;
    let mut config =
        farm.bus.jetstream().get_stream(streams::EVENT).await.unwrap().cached_info().config.clone();
    config.max_bytes = 1_000_000;
    config.max_age *= 2;
    config.subjects.push("more".to_owned());
    farm.bus.jetstream().update_stream(&config).await.unwrap();

    let told = |outcome: &Outcome| -> Vec<_> {
        outcome.drift.iter().map(|d| (d.stream.clone(), d.field.clone(), d.safe)).collect()
    };
    let name = || streams::EVENT.to_owned();
    let all = [
        (name(), "max_age".to_owned(), false),
        (name(), "max_bytes".to_owned(), true),
        (name(), "subjects".to_owned(), false),
    ];
    let looked = ensure(&farm.bus, 1, Action::Create).await.unwrap();
    assert_eq!(told(&looked), all);
    assert_eq!(looked.drift[1].found, json!(1_000_000));

    let applied = ensure(&farm.bus, 1, Action::Apply).await.unwrap();
    assert_eq!(applied.changed, [streams::EVENT]);
    assert_eq!(told(&applied), [all[0].clone(), all[2].clone()]);
    let left = ensure(&farm.bus, 1, Action::Look).await.unwrap();
    assert_eq!(told(&left), [all[0].clone(), all[2].clone()]);
}
