//! What answers to a submitted block decide, of one node and of several.

use super::{PATIENT, SHORT, block, nobody, source, source_with};
use crate::scripted::{Node, Reply, Request};
use bus_schemas::config;
use job_sources::{
    Decision, JobSource, Limits, NodeAddress, SourceError, Submission, SubmitOutcome, monero::MoneroSource,
};
use serde_json::{Value, json};

const OURS: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const OTHER: &str = "0807070707070707070707070707070707070707070707070707070707070707";
const WALLET: &str =
    "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// A Bitcoin-family node that says this to a block and has these blocks from the block's height on.
async fn node(said: fn() -> Reply, chain: &'static [&'static str]) -> Node {
    Node::start(move |request| match request.method.as_str() {
        "submitblock" => said(),
        "getblockhash" => {
            let above = request.params[0].as_u64().unwrap() - block().height;
            match chain.get(usize::try_from(above).unwrap()) {
                Some(hash) => Reply::Result(json!(hash)),
                None => Reply::Error(-8, "Block height out of range"),
            }
        }
        other => panic!("{other}"),
    })
    .await
}

async fn submitted(nodes: &[&Node]) -> Submission {
    let urls: Vec<_> = nodes.iter().map(|node| node.url.as_str()).collect();
    source(&urls).submit(&block()).await
}

fn is_open(submission: &Submission) -> bool {
    matches!(submission.decision(), Some(Decision::Open { .. }))
}

#[tokio::test]
async fn an_answer_that_judges_nothing_leaves_the_block_open() {
    let said: [fn() -> Reply; 10] = [
        || Reply::Result(json!("prev-blk-not-found")),
        || Reply::Result(json!("time-too-new")),
        || Reply::Result(json!("rejected: already have block (orphan) 07")),
        || Reply::Result(json!("rejected: previous block 07 is unknown")),
        || Reply::Result(json!("inconclusive")),
        // btcd is silent over an orphan.
        || Reply::Result(Value::Null),
        || Reply::Error(-28, "Loading block index..."),
        || Reply::Error(-25, "Error: System error while flushing"),
        || Reply::Raw(503, b"Work queue depth exceeded".to_vec()),
        || Reply::Raw(502, b"<html>Bad Gateway</html>".to_vec()),
    ];
    for (number, said) in said.into_iter().enumerate() {
        let submission = submitted(&[&node(said, &[]).await]).await;
        assert!(is_open(&submission), "{number}: {submission:?}");
    }
}

#[tokio::test]
async fn words_that_are_not_known_leave_the_block_open_and_say_so() {
    for said in [(|| Reply::Result(json!("fascinating"))) as fn() -> Reply, || Reply::Error(-77, "why not")] {
        let submission = submitted(&[&node(said, &[]).await]).await;
        assert!(matches!(submission.reports[0].outcome, Err(SourceError::UnknownAnswer { .. })));
        let Some(Decision::Open { unknown: true, said, .. }) = submission.decision() else { panic!() };
        assert!(said.contains("fascinating") || said.contains("why not"), "{said}");
    }
}

#[tokio::test]
async fn a_block_whose_place_is_taken_is_open_until_the_other_is_buried() {
    const SHALLOW: &[&str] = &[OTHER; 6];
    const BURIED: &[&str] = &[OTHER; 7];
    for said in [(|| Reply::Result(json!("inconclusive"))) as fn() -> Reply, || {
        Reply::Result(json!("prev-blk-not-found"))
    }] {
        assert!(is_open(&submitted(&[&node(said, SHALLOW).await]).await));
        let submission = submitted(&[&node(said, BURIED).await]).await;
        assert_eq!(submission.decision(), Some(Decision::Final(SubmitOutcome::NotTip)));
    }
}

#[tokio::test]
async fn a_node_that_does_not_know_the_previous_block_decides_nothing_while_another_is_down() {
    for said in [(|| Reply::Result(json!("prev-blk-not-found"))) as fn() -> Reply, || {
        Reply::Result(json!("inconclusive"))
    }] {
        let (gone, lagging) = (nobody().await, node(said, &[]).await);
        let submission = source(&[&gone, &lagging.url]).submit(&block()).await;
        assert!(matches!(submission.outcome(), Some(Err(_))), "{:?}", submission.outcome());
        assert!(is_open(&submission));
    }
}

#[tokio::test]
async fn a_no_is_final_only_when_every_node_has_judged() {
    let gone = nobody().await;
    let refusing = node(|| Reply::Result(json!("high-hash")), &[]).await;
    let hanging = Node::start(|_| Reply::Hang).await;
    let limits = Limits { submit: SHORT, ..PATIENT };
    let submission = source_with(&[&gone, &refusing.url, &hanging.url], limits, None).submit(&block()).await;
    assert_eq!(submission.reports.len(), 3);
    assert!(matches!(submission.outcome(), Some(Err(_))));
    let standing = Some(SubmitOutcome::Refused { reason: "high-hash".into() });
    let Some(Decision::Open { said, unknown: false, standing: stands }) = submission.decision() else {
        panic!()
    };
    assert_eq!(stands, standing);
    assert!(said.contains(&gone) && said.contains(&hanging.url) && !said.contains(&refusing.url), "{said}");

    let other = node(|| Reply::Result(json!("bad-cb-amount")), &[]).await;
    let submission = submitted(&[&refusing, &other]).await;
    assert!(matches!(submission.decision(), Some(Decision::Final(SubmitOutcome::Refused { .. }))));
}

#[tokio::test]
async fn a_node_that_is_behind_knows_nothing_better_than_one_that_judged() {
    const BURIED: &[&str] = &[OTHER; 7];
    let behind = node(|| Reply::Result(json!("prev-blk-not-found")), &[]).await;
    let refusing = node(|| Reply::Result(json!("bad-cb-amount")), &[]).await;
    let submission = submitted(&[&behind, &refusing]).await;
    assert!(matches!(submission.outcome(), Some(Ok(SubmitOutcome::Refused { .. }))));
    assert!(matches!(submission.decision(), Some(Decision::Final(SubmitOutcome::Refused { .. }))));
    let further = node(|| Reply::Result(Value::Null), BURIED).await;
    let submission = submitted(&[&behind, &further]).await;
    assert_eq!(submission.decision(), Some(Decision::Final(SubmitOutcome::NotTip)));
    // One that is only starting may.
    let starting = node(|| Reply::Error(-28, "Loading block index..."), &[]).await;
    assert!(is_open(&submitted(&[&starting, &refusing]).await));
}

#[tokio::test]
async fn accepted_by_one_is_accepted_whatever_the_others_say() {
    let good = node(|| Reply::Result(Value::Null), &[OURS]).await;
    let bad = node(|| Reply::Result(json!("bad-txns")), &[]).await;
    let submission = submitted(&[&bad, &good]).await;
    assert_eq!(submission.decision(), Some(Decision::Final(SubmitOutcome::Accepted)));
}

#[tokio::test]
async fn a_node_that_does_not_tell_its_chain_is_believed_that_it_took_the_block() {
    let node = Node::start(|request| match request.method.as_str() {
        "submitblock" => Reply::Result(Value::Null),
        _ => Reply::Error(-32_601, "Method not found"),
    })
    .await;
    assert_eq!(submitted(&[&node]).await.decision(), Some(Decision::Final(SubmitOutcome::Accepted)));
}

/// A daemon that does not know the block, says this to it and has nothing at its height.
async fn daemon(said: fn() -> Reply) -> Submission {
    let answers = move |request: Request| match request.method.as_str() {
        "get_block_header_by_hash" => Reply::Error(-5, "Internal error: can't get block by hash."),
        "get_block_header_by_height" => {
            Reply::Error(-2, "Requested block height: 125 greater than current top")
        }
        "submit_block" => said(),
        other => panic!("{other}"),
    };
    let node = Node::start(answers).await;
    let config = config::MoneroSource { nodes: Vec::new(), wallet: WALLET.into(), poll_ms: 100 };
    let address = NodeAddress { url: node.url.clone(), credentials: None };
    MoneroSource::new(&config, vec![address], PATIENT).unwrap().submit(&block()).await
}

#[tokio::test]
async fn a_daemon_that_is_not_ready_has_not_judged_the_block() {
    let said: [fn() -> Reply; 6] = [
        || Reply::Error(-9, "Core is busy"),
        || Reply::Error(-20, "This command is unsupported for bootstrap daemon"),
        || Reply::Error(-5, "Internal error"),
        || Reply::Result(json!({ "status": "BUSY" })),
        || Reply::Result(json!({ "status": "This command is unsupported for bootstrap daemon" })),
        // It says OK to a block whose previous block it lacks.
        || Reply::Result(json!({ "status": "OK" })),
    ];
    for (number, said) in said.into_iter().enumerate() {
        let submission = daemon(said).await;
        assert!(is_open(&submission), "{number}: {submission:?}");
    }
}

#[tokio::test]
async fn a_daemons_no_is_final_and_what_it_says_otherwise_is_told() {
    let refused = daemon(|| Reply::Error(-7, "Block not accepted")).await;
    assert!(matches!(refused.decision(), Some(Decision::Final(SubmitOutcome::Refused { .. }))));
    let restricted = daemon(|| Reply::Error(-19, "Restricted")).await;
    assert!(matches!(restricted.decision(), Some(Decision::Open { unknown: true, .. })));
}
