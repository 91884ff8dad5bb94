//! What workers say: joins that wait for an answer, good-byes, heartbeats.

use super::Context;
use bus_schemas::{
    command::{CommandError, ErrorCode, OwnerView, Page, ViewRequest},
    heartbeat::Heartbeat,
    member::{JoinReply, JoinRequest, Leave, Member},
    subject::{Subject, filter},
};
use coordinator_core::{PoolInput, Trouble};
use nats_adapter::{Request, Undecodable};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most joins that wait for their answer; a worker that gets none asks again.
pub(crate) const MAX_WAITING_JOINS: usize = 4_096;

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    requests: BTreeMap<u64, Request<JoinRequest>>,
}

/// Joins that wait for their answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<Inner>>);

impl Waiting {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, request: Request<JoinRequest>) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        let token = inner.next;
        inner.requests.insert(token, request);
        if inner.requests.len() > MAX_WAITING_JOINS {
            inner.requests.pop_first();
        }
        token
    }

    pub(crate) fn accept(&self, token: u64, member: Member) {
        self.answer(token, JoinReply::Accepted(Box::new(member)));
    }

    pub(crate) fn refuse(&self, token: u64, error: CommandError) {
        let CommandError { code, message, hint } = error;
        self.answer(token, JoinReply::Refused { code, message: format!("{message}; {hint}") });
    }

    fn answer(&self, token: u64, reply: JoinReply) {
        let Some(request) = self.inner().requests.remove(&token) else { return };
        // Ends by itself: a publish has its deadline.
        tokio::spawn(async move {
            if let Err(error) = request.reply(&reply).await {
                tracing::debug!(%error, "a join was not answered; the worker asks again");
            }
        });
    }
}

fn refused(what: &str, error: &dyn std::fmt::Display) -> Trouble {
    tracing::error!(%error, what, "a subscription of the pool was refused");
    Trouble::of(format!("{what} cannot be taken: {error}"))
}

fn closed() -> Trouble {
    Trouble::of("the connection was closed")
}

async fn put_aside(context: &Context, undecodable: Undecodable) {
    let Undecodable { subject, reason, .. } = undecodable;
    context.tell(PoolInput::Undecodable { subject, reason }).await;
}

/// Takes joins until the pool is given up.
pub(crate) async fn joins(context: Context, waiting: Waiting) -> Trouble {
    let mut requests = match context.bus.responder::<JoinRequest>(filter::joins(&context.pool), None).await {
        Ok(requests) => requests,
        Err(error) => return refused("joins", &error),
    };
    while let Some(request) = requests.next().await {
        match request {
            Ok(request) => {
                let Subject::Join(_, worker) = request.subject.clone() else { continue };
                let asked = Box::new(request.message.clone());
                let token = waiting.add(request);
                if !context.tell(PoolInput::Join { token, worker, request: asked }).await {
                    let error = CommandError::new(ErrorCode::NotOwner, "the pool is being given up");
                    waiting.refuse(token, error);
                    return closed();
                }
            }
            Err(undecodable) => put_aside(&context, undecodable).await,
        }
    }
    closed()
}

/// Takes good-byes until the pool is given up.
pub(crate) async fn leaves(context: Context) -> Trouble {
    let mut leaves = match context.bus.subscribe::<Leave>(filter::leaves(&context.pool)).await {
        Ok(leaves) => leaves,
        Err(error) => return refused("good-byes", &error),
    };
    while let Some(leave) = leaves.next().await {
        match leave {
            Ok(leave) => {
                if let Subject::Leave(_, worker) = leave.subject {
                    context.tell(PoolInput::Leave(worker, leave.message)).await;
                }
            }
            Err(undecodable) => put_aside(&context, undecodable).await,
        }
    }
    closed()
}

/// Takes heartbeats until the pool is given up.
pub(crate) async fn heartbeats(context: Context) -> Trouble {
    let mut heartbeats = match context.bus.subscribe::<Heartbeat>(filter::heartbeats(&context.pool)).await {
        Ok(heartbeats) => heartbeats,
        Err(error) => return refused("heartbeats", &error),
    };
    while let Some(heartbeat) = heartbeats.next().await {
        match heartbeat {
            Ok(heartbeat) => {
                if let Subject::Heartbeat(_, worker) = heartbeat.subject {
                    context.tell(PoolInput::Heartbeat(worker, Box::new(heartbeat.message))).await;
                }
            }
            Err(undecodable) => put_aside(&context, undecodable).await,
        }
    }
    closed()
}

/// A question to the owner that waits for the loop.
pub(crate) type Asked = Box<Request<ViewRequest>>;

/// Takes questions to the owner until the pool is given up: only who owns a pool listens, so an answer is the owner's.
pub(crate) async fn views(context: Context) -> Trouble {
    let subject = Subject::View(context.pool.clone());
    let mut requests = match context.bus.responder::<ViewRequest>(&subject, None).await {
        Ok(requests) => requests,
        Err(error) => return refused("questions", &error),
    };
    while let Some(request) = requests.next().await {
        match request {
            Ok(request) => {
                // Who asks waits for a moment only; with a full queue it falls back to what is stored.
                let _ = context.views.try_send((context.pool.clone(), context.epoch, Box::new(request)));
            }
            Err(undecodable) => put_aside(&context, undecodable).await,
        }
    }
    closed()
}

/// Answers a question to the owner with as many members as an answer holds.
pub(crate) async fn answer_view(request: Asked, mut view: OwnerView) {
    let page = Page::of(std::mem::take(&mut view.members), request.message.most());
    view.next = page.entries.last().filter(|_| page.goes_on).map(|member| member.node.clone());
    view.members = page.entries;
    if let Err(error) = request.reply(&view).await {
        tracing::debug!(%error, "a question to the owner was not answered");
    }
}
