//! Following the chain of a node: plain questions, at most one long poll, and the next node when one is not good for it.
//!
//! What is asked runs in tasks of its own. Whoever waits for a template may go away, for instance because the time for a
//! new job has come; the next one who waits gets the answer, and a node that is silent runs out of its time all the same.

use super::{
    Nodes, Rpc,
    failover::Asked,
    long_poll::{Abandoned, LongPoll},
    task::Task,
    watch,
};
use crate::source::{BoxFuture, SourceError, Template};
use bus_schemas::Hash32;
use std::{
    sync::{Arc, Mutex as BlockingMutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Mutex, task::JoinSet};

/// What is asked of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// The current template.
    Now,
    /// The current template, or nothing while this block is on top: many nodes tell that at a lower price.
    Unless(Hash32),
    /// The next template after the one that came with this token.
    After(String),
}

/// What a node answers.
pub(crate) struct Answer {
    /// Height of its best block.
    pub(crate) height: u64,
    /// The template, if it was asked for or the block on top is another.
    pub(crate) template: Option<Template>,
}

/// How a kind of node is asked.
pub(crate) trait Asks: Send + Sync + 'static {
    /// Asks for a template.
    fn template(&self, node: Arc<Rpc>, question: Question)
    -> BoxFuture<'static, Result<Answer, SourceError>>;

    /// Asks for the height of the best block at the lowest price.
    fn height(&self, node: Arc<Rpc>) -> BoxFuture<'static, Result<u64, SourceError>>;
}

struct Plain {
    node: usize,
    task: Task<Result<Answer, SourceError>>,
}

/// What is under way, and what is known.
#[derive(Default)]
struct Asking {
    plain: Option<Plain>,
    long_poll: Option<LongPoll>,
    /// The newest template and its node.
    newest: Option<(usize, Template)>,
}

/// What came first.
enum Came {
    Plain(Result<Answer, SourceError>),
    LongPoll(Result<Answer, SourceError>),
    Silence,
    OtherNode,
}

impl Asking {
    /// Ends what is asked of other nodes than this one.
    fn leave_others(&mut self, node: usize) {
        self.plain.take_if(|plain| plain.node != node);
        self.long_poll.take_if(|long_poll| long_poll.node() != node);
    }

    /// An answer that waits is older than what is asked for now.
    fn forget_answered(&mut self) {
        self.long_poll.take_if(|long_poll| long_poll.is_answered());
    }

    /// Remembers what a plain question brought. A long poll that waits for another block than the one on top has been
    /// answered at its node, or was lost on the way.
    fn learn(&mut self, node: usize, template: &Template) {
        let top = template.assembly.work().prev_hash();
        if let Some(mut overdue) = self.long_poll.take_if(|long_poll| long_poll.top() != top) {
            overdue.is_over();
        }
        self.newest = Some((node, template.clone()));
    }

    /// Waits for the first of: an answer, another node to ask, and the end of `patience` if nothing is being asked plainly.
    async fn first(&mut self, nodes: &Nodes, node: usize, patience: Duration) -> Came {
        let asks_plainly = self.plain.is_some();
        let came = tokio::select! {
            biased;
            answer = answer_of(self.plain.as_mut().map(|plain| &mut plain.task)) => Came::Plain(answer),
            answer = answer_of(self.long_poll.as_mut().map(LongPoll::task)) => Came::LongPoll(answer),
            () = nodes.other_than(node) => Came::OtherNode,
            () = tokio::time::sleep(patience), if !asks_plainly => Came::Silence,
        };
        match came {
            Came::Plain(_) => self.plain = None,
            Came::LongPoll(_) => {}
            Came::Silence | Came::OtherNode => {}
        }
        came
    }
}

async fn answer_of(task: Option<&mut Task<Result<Answer, SourceError>>>) -> Result<Answer, SourceError> {
    match task {
        Some(task) => task.await.unwrap_or_else(|| {
            Err(SourceError::Setup { reason: "a question to a node was given up".to_owned() })
        }),
        None => std::future::pending().await,
    }
}

/// Follows the nodes of one source.
pub(crate) struct Follow<A> {
    asks: Arc<A>,
    nodes: Arc<Nodes>,
    /// Time between two questions where no long poll is waiting.
    poll: Duration,
    abandoned: Abandoned,
    asking: Mutex<Asking>,
    /// Looks at all nodes, from the first question on.
    watch: BlockingMutex<Option<JoinSet<()>>>,
}

impl<A: Asks> Follow<A> {
    pub(crate) fn new(asks: A, nodes: Nodes, poll: Duration) -> Self {
        Self {
            asks: Arc::new(asks),
            nodes: Arc::new(nodes),
            poll,
            abandoned: Abandoned::default(),
            asking: Mutex::default(),
            watch: BlockingMutex::default(),
        }
    }

    pub(crate) fn remember_abandoned(&mut self, abandoned: Abandoned) {
        self.abandoned = abandoned;
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything that is asked for templates, until one is asked for again.
    pub(crate) fn rest(&self) {
        *self.watch() = None;
        // Whoever holds it is asking for a template at this moment.
        if let Ok(mut asking) = self.asking.try_lock() {
            *asking = Asking::default();
        }
    }

    /// See [`crate::JobSource::template`].
    pub(crate) async fn next(&self, after: Option<&Template>) -> Result<Template, SourceError> {
        self.watch().get_or_insert_with(|| watch::over(&self.nodes, &self.asks));
        let mut asking = self.asking.lock().await;
        if after.is_none() {
            asking.forget_answered();
        }
        loop {
            let (node, rpc) = self.nodes.pick().await?;
            asking.leave_others(node);
            let waits = self.waits_on(&mut asking, node, rpc, after);
            if let Some(top) = waits {
                self.long_poll(&mut asking, node, rpc, top);
            } else if asking.plain.is_none() {
                asking.plain = Some(self.ask(node, rpc, Question::Now));
            }
            let waiting = asking.long_poll.is_some();
            let patience = if waiting { rpc.limits().longpoll } else { self.poll };
            let (came, from_long_poll) = match asking.first(&self.nodes, node, patience).await {
                Came::OtherNode => continue,
                Came::Silence => {
                    let question = waits.map_or(Question::Now, Question::Unless);
                    asking.plain = Some(self.ask(node, rpc, question));
                    continue;
                }
                Came::Plain(answer) => (answer, false),
                Came::LongPoll(answer) => {
                    let ended = asking.long_poll.take();
                    if let Err(error) = answer {
                        // It may have been ended on the way and still wait at the node. The plain question tells
                        // whether the node lives.
                        tracing::debug!(%error, "a long poll broke off");
                        drop(ended);
                        asking.plain.get_or_insert_with(|| self.ask(node, rpc, Question::Now));
                        continue;
                    }
                    if let Some(mut ended) = ended {
                        ended.is_over();
                    }
                    (answer, true)
                }
            };
            let Answer { height, template } = match came {
                Ok(answer) => answer,
                Err(error) => {
                    self.nodes.failed(node, Asked::Template, &error);
                    // A preferred node that was tried again and is not good yet: the one in use goes on.
                    if self.nodes.is_used_beside(node) {
                        continue;
                    }
                    return Err(error);
                }
            };
            self.nodes.succeeded(node, height);
            let Some(template) = template else { continue };
            asking.learn(node, &template);
            if after.is_none_or(|last| template.differs_from(last)) {
                return Ok(template);
            }
            if from_long_poll {
                // Also a node that ends long polls without anything new is asked no faster than by polling.
                tokio::time::sleep(self.poll).await;
            }
        }
    }

    /// The block on top of which the next template is waited for: nothing new is known of this node. `None` where it must
    /// be asked what it has.
    fn waits_on(
        &self,
        asking: &mut Asking,
        node: usize,
        rpc: &Rpc,
        after: Option<&Template>,
    ) -> Option<Hash32> {
        let last = after?;
        if asking.newest.as_ref().is_none_or(|(of, _)| *of != node) && last.origin == rpc.url {
            asking.newest = Some((node, last.clone()));
        }
        let known = asking.newest.as_ref().filter(|(of, newest)| *of == node && !newest.differs_from(last));
        known.map(|(_, newest)| newest.assembly.work().prev_hash())
    }

    fn ask(&self, node: usize, rpc: &Arc<Rpc>, question: Question) -> Plain {
        Plain { node, task: Task::spawn(self.asks.template(Arc::clone(rpc), question)) }
    }

    /// Begins a long poll unless one is waiting, the node offers none, or an earlier one may still wait there.
    fn long_poll(&self, asking: &mut Asking, node: usize, rpc: &Arc<Rpc>, top: Hash32) {
        if asking.long_poll.is_some() || !self.abandoned.allows(&rpc.url, top) {
            return;
        }
        let token = asking.newest.as_ref().and_then(|(_, newest)| newest.longpoll.clone());
        let Some(token) = token else { return };
        let task = Task::spawn(self.asks.template(Arc::clone(rpc), Question::After(token)));
        asking.long_poll = Some(LongPoll::new(node, &rpc.url, top, task, &self.abandoned));
    }
}
