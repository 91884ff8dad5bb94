//! Nodes that are slow, gone, rude or wrong, and what the source makes of them.
#![cfg(test)]

mod following;
mod judging;
mod scripted;

use bus_schemas::{
    Blob, Hash32,
    config::{Chain, GetBlockTemplateSource, Payout},
};
use job_sources::{
    Credentials, FoundBlock, JobSource, Limits, NodeAddress, Proposal, SourceError, SubmitOutcome, Template,
    gbt::GbtSource,
};
use scripted::{Node, Reply, Request};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;

/// For tests in which nothing may run out of time.
const PATIENT: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(30),
    longpoll: Duration::from_secs(30),
    submit: Duration::from_secs(30),
    answer_len: 64 * 1024,
};
/// Short enough that a node which hangs costs a test little.
const SHORT: Duration = Duration::from_millis(300);

fn template(previous: u8, longpoll: bool) -> Value {
    let mut sets: Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let mut template = sets["bitcoin_regtest_gbt_block"]["template"].take();
    template["previousblockhash"] = json!(hex::encode([previous; 32]));
    if longpoll {
        template["longpollid"] = json!(format!("after-{previous}"));
    } else {
        template.as_object_mut().unwrap().remove("longpollid");
    }
    template
}

fn source_with(urls: &[&str], limits: Limits, credentials: Option<Credentials>) -> GbtSource {
    let config = GetBlockTemplateSource {
        chain: Chain::Bitcoin,
        nodes: Vec::new(),
        payout: Payout::Script(Blob(vec![0x51])),
        tag: String::new(),
        poll_ms: 100,
    };
    let address = |url: &&str| NodeAddress { url: (*url).to_owned(), credentials: credentials.clone() };
    GbtSource::new(&config, urls.iter().map(address).collect(), limits).unwrap()
}

fn source(urls: &[&str]) -> GbtSource {
    source_with(urls, PATIENT, None)
}

/// A port at which nobody listens any more.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn previous(template: &Template) -> u8 {
    template.header().unwrap().work.prev_hash.0[0]
}

fn block() -> FoundBlock {
    FoundBlock { hash: Hash32([7; 32]), height: 125, bytes: vec![1, 2, 3] }
}

async fn refusal(reply: fn() -> Reply) -> SourceError {
    let node = Node::start(move |_| reply()).await;
    source(&[&node.url]).template(None).await.unwrap_err()
}

#[tokio::test]
async fn rubbish_wrong_types_and_broken_answers_are_typed_refusals() {
    let bad: [fn() -> Reply; 7] = [
        || Reply::Raw(200, b"<html>hello</html>".to_vec()),
        || Reply::Raw(500, b"Internal Server Error".to_vec()),
        || Reply::Raw(200, vec![0xff, 0xfe, 0]),
        || Reply::Raw(200, br#"{"result":null,"error":"text"}"#.to_vec()),
        || Reply::Raw(404, br#"{"result":null,"error":null}"#.to_vec()),
        || Reply::Result(json!({ "height": "one hundred" })),
        || Reply::Result(Value::Null),
    ];
    for reply in bad {
        let error = refusal(reply).await;
        assert!(matches!(error, SourceError::BadAnswer { method: "getblocktemplate", .. }), "{error}");
    }
}

#[tokio::test]
async fn a_template_that_must_not_be_mined_names_the_node_and_the_reason() {
    let error = refusal(|| {
        let mut template = template(1, true);
        template["coinbasevalue"] = json!(null);
        Reply::Result(template)
    });
    assert!(matches!(error.await, SourceError::Template { .. }));
}

#[tokio::test]
async fn a_node_that_hangs_runs_out_of_its_time() {
    let node = Node::start(|_| Reply::Hang).await;
    let source = source_with(&[&node.url], Limits { answer: SHORT, ..PATIENT }, None);
    let error = source.template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Timeout { limit_ms: 300, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_its_limit() {
    let node = Node::start(|_| Reply::Endless).await;
    let error = source(&[&node.url]).template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::BadAnswer { .. }), "{error}");
    assert!(error.to_string().contains("65536"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_gone_or_hangs_up_is_unreachable() {
    let gone = nobody().await;
    let error = source(&[&gone]).template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    let error = refusal(|| Reply::Close).await;
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_nodes_own_error_keeps_its_code_and_words() {
    let error = refusal(|| Reply::Error(-9, "Bitcoin is not connected!")).await;
    let SourceError::Rpc { code, message, .. } = error else { panic!("{error}") };
    assert_eq!((code, message.as_str()), (-9, "Bitcoin is not connected!"));
}

#[tokio::test]
async fn name_and_password_are_sent_and_a_refusal_of_them_says_where_to_look() {
    let node = Node::start(|request: Request| match request.authorization.as_deref() {
        // "farm:secret" in base64.
        Some("Basic ZmFybTpzZWNyZXQ=") => Reply::Result(template(1, true)),
        _ => Reply::Raw(401, Vec::new()),
    })
    .await;
    let credentials = Credentials { user: "farm".into(), password: "secret".into() };
    let known = source_with(&[&node.url], PATIENT, Some(credentials));
    assert_eq!(previous(&known.template(None).await.unwrap()), 1);
    let error = source(&[&node.url]).template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Unauthorized { .. }));
    assert!(error.to_string().contains("host file"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let node = Node::start(|_| Reply::Raw(307, Vec::new())).await;
    let error = source(&[&node.url]).template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::BadAnswer { .. }), "{error}");
}

#[tokio::test]
async fn many_calls_use_one_connection() {
    let node = Node::start(|request| Reply::Result(template(request.number as u8, true))).await;
    let source = source(&[&node.url]);
    for number in 0..20 {
        assert_eq!(previous(&source.template(None).await.unwrap()), number);
    }
    assert_eq!(node.connections(), 1);
}

#[tokio::test]
async fn the_second_node_takes_over_and_is_stayed_with() {
    let gone = nobody().await;
    let node = Node::start(|_| Reply::Result(template(2, true))).await;
    let source = source(&[&gone, &node.url]);
    assert!(source.template(None).await.is_err());
    for _ in 0..3 {
        let template = source.template(None).await.unwrap();
        assert_eq!((previous(&template), &template.origin), (2, &node.url));
    }
    let health = source.health();
    assert_eq!((health[0].current, health[0].failures), (false, 1));
    assert_eq!((health[1].current, health[1].failures), (true, 0));
    assert!(health[0].last_error.as_ref().unwrap().contains(&gone));
}

#[tokio::test]
async fn a_long_poll_sends_the_nodes_token_and_brings_the_next_template() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let node = Node::start(move |request| {
        log.lock().unwrap().push(request.params[0]["longpollid"].clone());
        Reply::Result(template(1 + request.number as u8, true))
    })
    .await;
    let source = source(&[&node.url]);
    let first = source.template(None).await.unwrap();
    let second = source.template(Some(&first)).await.unwrap();
    assert_eq!((previous(&first), previous(&second)), (1, 2));
    assert_eq!(*seen.lock().unwrap(), [Value::Null, json!("after-1")]);
}

#[tokio::test]
async fn a_long_poll_that_runs_out_is_followed_by_a_plain_question_and_is_no_failure() {
    let node = Node::start(|request| match (request.number, request.params[0]["longpollid"].is_null()) {
        (0 | 2, true) => Reply::Result(template(1, true)),
        (_, true) => Reply::Result(template(2, true)),
        (_, false) => Reply::Hang,
    })
    .await;
    let source = source_with(&[&node.url], Limits { longpoll: SHORT, ..PATIENT }, None);
    let first = source.template(None).await.unwrap();
    assert_eq!(previous(&source.template(Some(&first)).await.unwrap()), 2);
    assert_eq!(source.health()[0].failures, 0);
}

#[tokio::test]
async fn a_node_without_long_polling_is_polled_until_something_changes() {
    let node =
        Node::start(|request| Reply::Result(template(if request.number < 4 { 1 } else { 2 }, false))).await;
    let source = source(&[&node.url]);
    let first = source.template(None).await.unwrap();
    assert_eq!(previous(&source.template(Some(&first)).await.unwrap()), 2);
}

#[tokio::test]
async fn a_failed_over_template_is_not_asked_after_with_another_nodes_token() {
    let gone = nobody().await;
    let node = Node::start(|request| match request.params[0]["longpollid"].as_str() {
        None => Reply::Result(template(9, true)),
        Some(token) => Reply::Raw(400, token.as_bytes().to_vec()),
    })
    .await;
    let elsewhere = Node::start(|_| Reply::Result(template(1, true))).await;
    let foreign = source(&[&elsewhere.url]).template(None).await.unwrap();
    let source = source(&[&gone, &node.url]);
    assert!(source.template(Some(&foreign)).await.is_err());
    assert_eq!(previous(&source.template(Some(&foreign)).await.unwrap()), 9);
}

#[tokio::test]
async fn a_proposal_is_asked_of_the_templates_own_node() {
    let proposed = Arc::new(Mutex::new(Value::Null));
    let log = Arc::clone(&proposed);
    let node = Node::start(move |request| match request.params[0]["mode"].as_str() {
        Some("proposal") => {
            *log.lock().unwrap() = request.params[0].clone();
            Reply::Result(json!("bad-txns"))
        }
        _ => Reply::Result(template(1, true)),
    })
    .await;
    let source = source(&[&node.url]);
    let template = source.template(None).await.unwrap();
    let answer = source.propose(&template).await.unwrap();
    assert_eq!(answer, Proposal::Refused { reason: "bad-txns".into() });
    let data = hex::decode(proposed.lock().unwrap()["data"].as_str().unwrap()).unwrap();
    let block: bitcoin::Block = bitcoin::consensus::deserialize(&data).unwrap();
    assert!(block.check_merkle_root());
}

#[tokio::test]
async fn a_node_that_does_not_offer_proposals_is_not_asked() {
    let node = Node::start(|request| {
        let mut template = template(1, true);
        template["capabilities"] = json!([]);
        if request.number == 0 { Reply::Result(template) } else { Reply::Raw(500, Vec::new()) }
    })
    .await;
    let source = source(&[&node.url]);
    let template = source.template(None).await.unwrap();
    assert_eq!(source.propose(&template).await.unwrap(), Proposal::Unsupported);
}

async fn submitted(script: impl Fn(Request) -> Reply + Send + Sync + 'static) -> SubmitOutcome {
    let node = Node::start(script).await;
    let source = source(&[&node.url]);
    source.submit(&block()).await.reports.remove(0).outcome.unwrap()
}

#[tokio::test]
async fn a_block_is_accepted_or_known_only_when_it_stands_in_the_active_chain() {
    let answers = |said: Value, active: Option<&'static str>| {
        move |request: Request| match (request.method.as_str(), active) {
            ("submitblock", _) => Reply::Result(said.clone()),
            ("getblockhash", Some(hash)) if request.params == json!([125]) => Reply::Result(json!(hash)),
            _ => Reply::Error(-8, "Block height out of range"),
        }
    };
    const OURS: &str = "0707070707070707070707070707070707070707070707070707070707070707";
    const OTHER: &str = "0807070707070707070707070707070707070707070707070707070707070707";
    for (said, success) in [
        (Value::Null, SubmitOutcome::Accepted),
        (json!("duplicate"), SubmitOutcome::AlreadyKnown),
        (json!("rejected: already have block 07"), SubmitOutcome::AlreadyKnown),
    ] {
        assert_eq!(submitted(answers(said.clone(), Some(OURS))).await, success);
        assert_eq!(submitted(answers(said.clone(), Some(OTHER))).await, SubmitOutcome::NotTip);
        assert_eq!(submitted(answers(said, None)).await, SubmitOutcome::NotTip);
    }
}

#[tokio::test]
async fn a_refused_block_keeps_the_nodes_reason() {
    let outcome = submitted(|_| Reply::Result(json!("bad-txnmrklroot"))).await;
    assert_eq!(outcome, SubmitOutcome::Refused { reason: "bad-txnmrklroot".into() });
}

#[tokio::test]
async fn a_block_goes_to_every_node_at_once_and_one_that_hangs_does_not_hold_up_success() {
    let got = Arc::new(tokio::sync::Semaphore::new(0));
    let signal = Arc::clone(&got);
    let slow = Node::start(move |request| {
        assert_eq!(request.params, json!(["010203"]));
        signal.add_permits(1);
        Reply::Hang
    })
    .await;
    let good = Node::start(|request| match request.method.as_str() {
        "submitblock" => Reply::Result(json!("duplicate")),
        _ => Reply::Result(json!(block().hash.to_display_hex())),
    })
    .await;
    let source = source(&[&slow.url, &good.url]);
    let submission = source.submit(&block()).await;
    assert!(matches!(submission.outcome(), Some(Ok(SubmitOutcome::AlreadyKnown))));
    assert_eq!(submission.reports.len(), 1);
    // The slow one gets the block all the same.
    let permit = tokio::time::timeout(Duration::from_secs(10), got.acquire()).await;
    assert!(permit.is_ok());
}
