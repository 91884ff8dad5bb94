//! Whom a source asks for templates: one long poll at a time, and the next node when one is silent, refuses or lags.

use super::{PATIENT, SHORT, previous, source, source_with, template};
use crate::scripted::{Node, Reply};
use bus_schemas::node_status::NodeStanding;
use job_sources::{Abandoned, JobSource, Limits, Proposal, SourceError};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// Longer than a source of these tests polls.
const A_WHILE: Duration = Duration::from_millis(250);
/// For what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node that holds each long poll until its client leaves, like Bitcoin Core holds a thread.
struct Holding {
    node: Node,
    top: Arc<AtomicU8>,
    long_polls: Arc<AtomicUsize>,
    plain: Arc<AtomicUsize>,
}

async fn holding() -> Holding {
    let (top, long_polls, plain) =
        (Arc::new(AtomicU8::new(1)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (now, held, asked) = (Arc::clone(&top), Arc::clone(&long_polls), Arc::clone(&plain));
    let node = Node::start(move |request| {
        let top = now.load(SeqCst);
        if request.params[0]["longpollid"] == json!(format!("after-{top}")) {
            held.fetch_add(1, SeqCst);
            return Reply::HangUntilLeft;
        }
        asked.fetch_add(1, SeqCst);
        Reply::Result(template(top, true))
    })
    .await;
    Holding { node, top, long_polls, plain }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_refresh_asks_plainly_and_leaves_no_second_long_poll_behind() {
    let holding = holding().await;
    let source = source(&[&holding.node.url]);
    for round in 1..=5 {
        let current = source.template(None).await.unwrap();
        assert!(tokio::time::timeout(A_WHILE, source.template(Some(&current))).await.is_err());
        assert_eq!((holding.long_polls.load(SeqCst), holding.plain.load(SeqCst)), (1, round));
    }
    assert_eq!(holding.node.left(), 0, "the one long poll goes on");
}

#[tokio::test]
async fn a_long_poll_ends_with_the_wish_and_the_next_waits_for_another_block() {
    let (holding, abandoned) = (holding().await, Abandoned::default());
    let first = source(&[&holding.node.url]).remembering(abandoned.clone());
    let current = first.template(None).await.unwrap();
    assert!(tokio::time::timeout(A_WHILE, first.template(Some(&current))).await.is_err());
    first.rest();
    until("the connection is closed", || holding.node.left() == 1).await;

    // Another source of the same node, after the pool was configured anew: the first poll may still wait there.
    let second = source(&[&holding.node.url]).remembering(abandoned);
    let current = second.template(None).await.unwrap();
    let plain = holding.plain.load(SeqCst);
    assert!(tokio::time::timeout(2 * A_WHILE, second.template(Some(&current))).await.is_err());
    assert_eq!(holding.long_polls.load(SeqCst), 1);
    assert!(holding.plain.load(SeqCst) > plain, "it is polled meanwhile");

    holding.top.store(2, SeqCst);
    let next = second.template(Some(&current)).await.unwrap();
    assert_eq!(previous(&next), 2);
    assert!(tokio::time::timeout(A_WHILE, second.template(Some(&next))).await.is_err());
    assert_eq!(holding.long_polls.load(SeqCst), 2);
    drop(second);
    until("the second is closed as well", || holding.node.left() == 2).await;
}

#[tokio::test]
async fn a_new_block_that_a_plain_question_shows_is_taken_though_the_long_poll_is_silent() {
    let holding = holding().await;
    let source = source_with(&[&holding.node.url], Limits { longpoll: SHORT, ..PATIENT }, None);
    let current = source.template(None).await.unwrap();
    assert!(tokio::time::timeout(A_WHILE, source.template(Some(&current))).await.is_err());
    holding.top.store(2, SeqCst);
    assert_eq!(previous(&source.template(Some(&current)).await.unwrap()), 2);
    until("the overdue one is closed", || holding.node.left() == 1).await;
}

#[tokio::test]
async fn a_silent_node_is_left_although_nobody_waits_as_long_as_it_may_take() {
    let silent = Node::start(|_| Reply::Hang).await;
    let good = Node::start(|_| Reply::Result(template(2, true))).await;
    let limits = Limits { answer: Duration::from_secs(1), ..PATIENT };
    let source = source_with(&[&silent.url, &good.url], limits, None);
    let (mut failures, refresh) = (0, Duration::from_millis(100));
    let found = async {
        loop {
            match tokio::time::timeout(refresh, source.template(None)).await {
                Ok(Ok(template)) => return template,
                Ok(Err(SourceError::Timeout { .. })) => failures += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => {}
            }
        }
    };
    let template = tokio::time::timeout(DEADLINE, found).await.unwrap();
    assert_eq!((template.origin, failures), (good.url.clone(), 1));
    assert_eq!(source.health()[0].standing, NodeStanding::Failing);
    assert_eq!(source.health()[1].standing, NodeStanding::InUse);
}

#[tokio::test]
async fn a_node_that_refuses_its_own_template_is_left_for_the_next() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let refusing = Node::start(move |request| match request.params[0]["mode"].as_str() {
        Some("proposal") => Reply::Result(json!("bad-txns-inputs-missingorspent")),
        _ => {
            count.fetch_add(1, SeqCst);
            Reply::Result(template(1, true))
        }
    })
    .await;
    let good = Node::start(|request| match request.params[0]["mode"].as_str() {
        Some("proposal") => Reply::Result(json!(null)),
        _ => Reply::Result(template(1, true)),
    })
    .await;
    let source = source(&[&refusing.url, &good.url]);
    let first = source.template(None).await.unwrap();
    assert!(matches!(source.propose(&first).await.unwrap(), Proposal::Refused { .. }));
    for _ in 0..20 {
        let next = source.template(None).await.unwrap();
        assert_eq!(next.origin, good.url);
        assert_eq!(source.propose(&next).await.unwrap(), Proposal::Valid);
    }
    assert_eq!(asked.load(SeqCst), 1);
    assert_eq!(source.health()[0].standing, NodeStanding::Refusing);
    assert!(source.health()[0].last_error.as_ref().unwrap().contains("bad-txns"));
}

#[tokio::test]
async fn a_proposal_that_gets_no_answer_is_a_failure_of_its_node() {
    let replies: [fn() -> Reply; 3] =
        [|| Reply::Error(-28, "Loading"), || Reply::Raw(503, Vec::new()), || Reply::Hang];
    for reply in replies {
        let node = Node::start(move |request| match request.params[0]["mode"].as_str() {
            Some("proposal") => reply(),
            _ => Reply::Result(template(1, true)),
        })
        .await;
        let good = Node::start(|_| Reply::Result(template(1, true))).await;
        let source = source_with(&[&node.url, &good.url], Limits { answer: SHORT, ..PATIENT }, None);
        let first = source.template(None).await.unwrap();
        assert!(source.propose(&first).await.is_err());
        assert_eq!(source.health()[0].standing, NodeStanding::Failing);
        assert_eq!(source.template(None).await.unwrap().origin, good.url);
    }
}

#[tokio::test]
async fn a_node_that_is_behind_another_is_left_for_it_and_gone_back_to() {
    let height = Arc::new(AtomicU8::new(100));
    let own = Arc::clone(&height);
    let at = |height: u8| {
        let mut template = template(height, false);
        template["height"] = json!(height + 1);
        Reply::Result(template)
    };
    let behind = Node::start(move |request| match request.method.as_str() {
        "getblockcount" => Reply::Result(json!(own.load(SeqCst))),
        _ => at(own.load(SeqCst)),
    })
    .await;
    // This one does not know the cheap question.
    let further = Node::start(move |request| match request.method.as_str() {
        "getblockcount" => Reply::Error(-32_601, "Method not found"),
        _ => at(103),
    })
    .await;
    let source = source(&[&behind.url, &further.url]);
    let first = source.template(None).await.unwrap();
    assert_eq!(first.origin, behind.url);
    let second = tokio::time::timeout(DEADLINE, source.template(Some(&first))).await.unwrap().unwrap();
    assert_eq!((second.origin.as_str(), previous(&second)), (further.url.as_str(), 103));
    let health = source.health();
    assert_eq!((health[0].standing, health[0].height), (NodeStanding::Lagging, Some(100)));
    assert_eq!(health[0].behind, Some((further.url.clone(), 103)));
    assert_eq!((health[1].standing, health[1].height), (NodeStanding::InUse, Some(103)));

    height.store(104, SeqCst);
    let third = tokio::time::timeout(DEADLINE, source.template(Some(&second))).await.unwrap().unwrap();
    assert_eq!((third.origin.as_str(), previous(&third)), (behind.url.as_str(), 104));
}
