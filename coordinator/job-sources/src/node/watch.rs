//! Looks at all nodes of a source now and then: how far each is, so that one that lags is noticed and one that is whole
//! again is gone back to.

use super::{
    Nodes,
    failover::Asked,
    follow::{Asks, Question},
};
use crate::source::SourceError;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// Time between two questions to a node how far it is.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// Time between two templates of a node that is not in use: where it does not know the cheap question, or where its last
/// template failed.
pub const TEMPLATE_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Errors of a node that is not ready yet: RPC_IN_WARMUP, RPC_CLIENT_NOT_CONNECTED, RPC_CLIENT_IN_INITIAL_DOWNLOAD.
const NOT_READY: [i64; 3] = [-28, -9, -10];

/// One task for each node, so that a silent one does not hold the others up. A single node has nothing to be held against.
pub(crate) fn over<A: Asks>(nodes: &Arc<Nodes>, asks: &Arc<A>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if nodes.len() > 1 {
        for index in 0..nodes.len() {
            tasks.spawn(look(Arc::clone(nodes), Arc::clone(asks), index));
        }
    }
    tasks
}

async fn look<A: Asks>(nodes: Arc<Nodes>, asks: Arc<A>, index: usize) {
    let mut knows_cheap_question = true;
    let mut template_at = Instant::now();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let (Some(asked), Some(rpc)) = (nodes.look_at(index), nodes.rpc(index)) else { continue };
        if asked == Asked::Height && knows_cheap_question {
            match asks.height(Arc::clone(rpc)).await {
                Ok(height) => {
                    nodes.measured(index, height);
                    continue;
                }
                Err(error) if says_nothing_of_the_question(&error) => {
                    nodes.failed(index, Asked::Height, &error);
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "the height is read from templates of this node");
                    knows_cheap_question = false;
                }
            }
        }
        // One in use gives templates anyway.
        if nodes.is_current(index) || template_at.elapsed() < TEMPLATE_LOOK_INTERVAL {
            continue;
        }
        template_at = Instant::now();
        match asks.template(Arc::clone(rpc), Question::Now).await {
            Ok(answer) => nodes.gave(index, answer.height),
            Err(error) => nodes.failed(index, Asked::Template, &error),
        }
    }
}

/// Whether the node failed, and not only did not know what it was asked.
fn says_nothing_of_the_question(error: &SourceError) -> bool {
    match error {
        SourceError::Unreachable { .. } | SourceError::Timeout { .. } | SourceError::Busy { .. } => true,
        SourceError::Rpc { code, .. } => NOT_READY.contains(code),
        _ => false,
    }
}
