//! Everything that runs for a pool while it is owned. Dropped, all of it stops.

mod blocks;
mod former;
mod found;
mod intake;
mod ledger;
mod origin;
pub(crate) mod persist;
mod requests;
mod source;
mod writer;

use crate::{
    components::Components,
    judges::Overloaded,
    metrics::Metrics,
    recovery::Positions,
    stores::Stores,
    tasks::{Faults, Obituary, guarded},
};
use bus_schemas::{PoolId, WorkerId, config::PoolConfig, ledger::LedgerRecord};
use coordinator_core::{BlockDuty, Input, LeaseInput, PoolEffect, PoolInput, Trouble};
use job_sources::{Abandoned, Credentials};
use nats_adapter::Bus;
pub(crate) use requests::{Asked, answer_view};
use std::{collections::BTreeMap, future::Future, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Most members' records that wait to be stored.
pub(crate) const WRITE_BACKLOG: usize = 65_536;
/// Most jobs that wait to be stored; the core has one under way at a time.
pub(crate) const JOB_BACKLOG: usize = 4;
/// Most ledger records that wait; the core has one under way at a time.
pub(crate) const LEDGER_BACKLOG: usize = 4;
/// Most duties about blocks that wait.
pub(crate) const BLOCK_BACKLOG: usize = 1_024;
/// Most acknowledgements of the block lane that wait.
pub(crate) const ACK_BACKLOG: usize = 4_096;

/// What every task of a pool needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) bus: Bus,
    pub(crate) pool: PoolId,
    pub(crate) epoch: u64,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) credentials: Arc<BTreeMap<String, Credentials>>,
    pub(crate) components: Arc<Components>,
    pub(crate) abandoned: Abandoned,
    pub(crate) stores: Stores,
    pub(crate) views: mpsc::Sender<(PoolId, u64, Asked)>,
    pub(crate) faults: Faults,
}

impl Context {
    /// Gives the pool up: it is taken anew, by whoever comes first.
    pub(crate) async fn give_up(&self, trouble: Trouble) {
        let lost = LeaseInput::GivenUp { epoch: self.epoch, trouble };
        // A process that ends gives everything up.
        let _ = self.inputs.send(Input::Lease(self.pool.clone(), lost)).await;
    }

    /// Tells the core; `false` when nobody listens any more.
    async fn tell(&self, input: PoolInput) -> bool {
        self.inputs.send(Input::Pool(self.pool.clone(), self.epoch, input)).await.is_ok()
    }
}

/// A pool that is owned.
pub(crate) struct OwnedPool {
    pub(crate) epoch: u64,
    _tasks: JoinSet<()>,
    members: mpsc::Sender<writer::MemberWrite>,
    forgets: mpsc::Sender<WorkerId>,
    jobs: mpsc::Sender<writer::JobWrite>,
    ledger: mpsc::Sender<LedgerRecord>,
    blocks: mpsc::Sender<BlockDuty>,
    acks: mpsc::Sender<found::Done>,
    joins: requests::Waiting,
    config: watch::Sender<PoolConfig>,
    room: watch::Sender<bool>,
}

impl OwnedPool {
    pub(crate) fn start(
        context: &Context,
        config: PoolConfig,
        shares_after: u64,
        positions: Positions,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (members, member_queue) = mpsc::channel(WRITE_BACKLOG);
        let (forgets, forget_queue) = mpsc::channel(WRITE_BACKLOG);
        let (jobs, job_queue) = mpsc::channel(JOB_BACKLOG);
        let (ledger, ledger_queue) = mpsc::channel(LEDGER_BACKLOG);
        let (blocks, block_queue) = mpsc::channel(BLOCK_BACKLOG);
        let (acks, ack_queue) = mpsc::channel(ACK_BACKLOG);
        let (config, configs) = watch::channel(config);
        let (room, rooms) = watch::channel(true);
        let (source, sources) = watch::channel(None);
        let joins = requests::Waiting::default();
        let templates = writer::Templates::default();
        let c = context;
        let ledger_at = positions.ledger;
        let queues = writer::Queues { members: member_queue, forgets: forget_queue, jobs: job_queue };
        let write = writer::run(c.clone(), queues, positions, joins.clone(), templates.clone());
        spawn(&mut tasks, c, "writer", write);
        spawn(&mut tasks, c, "ledger", ledger::run(c.clone(), ledger_queue, ledger_at));
        let nodes = source::watch_nodes(c.clone(), sources.clone());
        spawn(&mut tasks, c, "blocks", blocks::run(c.clone(), block_queue, sources, templates));
        spawn(&mut tasks, c, "nodes", async move {
            nodes.await;
            Trouble::of("nobody listens to the nodes any more")
        });
        spawn(&mut tasks, c, "found", found::run(c.clone(), ack_queue));
        let run_source = source::run(c.clone(), configs, source);
        spawn(&mut tasks, c, "source", async move {
            run_source.await;
            Trouble::of("nobody listens to the source any more")
        });
        spawn(&mut tasks, c, "intake", intake::run(c.clone(), shares_after, rooms));
        spawn(&mut tasks, c, "joins", requests::joins(c.clone(), joins.clone()));
        spawn(&mut tasks, c, "leaves", requests::leaves(c.clone()));
        spawn(&mut tasks, c, "heartbeats", requests::heartbeats(c.clone()));
        spawn(&mut tasks, c, "views", requests::views(c.clone()));
        Self {
            epoch: c.epoch,
            _tasks: tasks,
            members,
            forgets,
            jobs,
            ledger,
            blocks,
            acks,
            joins,
            config,
            room,
        }
    }

    /// The source is another one now, or is asked at another pace.
    pub(crate) fn configure(&self, config: PoolConfig) {
        self.config.send_replace(config);
    }

    /// Whether shares are read from the stream.
    pub(crate) fn set_room(&self, room: bool) {
        self.room.send_if_modified(|r| std::mem::replace(r, room) != room);
    }

    /// Hands an effect to the task that does it. Judging is not among them.
    pub(crate) fn perform(&self, effect: PoolEffect) -> Result<(), Overloaded> {
        match effect {
            PoolEffect::PublishJob(job, assembly) => {
                self.jobs.try_send(writer::JobWrite::Publish(job, assembly)).map_err(|_| Overloaded)
            }
            PoolEffect::WithdrawJob => self.jobs.try_send(writer::JobWrite::Withdraw).map_err(|_| Overloaded),
            PoolEffect::StoreMember(member, token) => {
                self.members.try_send((member, token)).map_err(|_| Overloaded)
            }
            PoolEffect::ForgetMember(worker) => self.forgets.try_send(worker).map_err(|_| Overloaded),
            PoolEffect::RefuseJoin(token, error) => {
                self.joins.refuse(token, error);
                Ok(())
            }
            PoolEffect::AckFound(token) => {
                self.acks.try_send(found::Done::Kept(token)).map_err(|_| Overloaded)
            }
            PoolEffect::PutOffFound(token) => {
                self.acks.try_send(found::Done::PutOff(token)).map_err(|_| Overloaded)
            }
            PoolEffect::Block(duty) => self.blocks.try_send(*duty).map_err(|_| Overloaded),
            PoolEffect::AppendLedger(record) => self.ledger.try_send(*record).map_err(|_| Overloaded),
            PoolEffect::Judge(_) | PoolEffect::JudgeFound(_) => Ok(()),
        }
    }
}

/// Starts a task whose end, however it comes, gives the pool up: its state is read anew by the next owner, which may
/// be this process.
fn spawn(
    tasks: &mut JoinSet<()>,
    context: &Context,
    name: &'static str,
    task: impl Future<Output = Trouble> + Send + 'static,
) {
    let context = context.clone();
    tasks.spawn(async move {
        let trouble = match guarded(&context.faults, name, task).await {
            Ok(Some(trouble)) => trouble,
            Ok(None) => Trouble::of("it ended"),
            Err(panic) => {
                let Context { metrics, inputs, .. } = &context;
                let obituary = Obituary { metrics: metrics.clone(), inputs: inputs.clone() };
                obituary.tell(name, &panic, "the pool is given up and taken anew");
                Trouble::of(panic)
            }
        };
        let Trouble { reason, stuck } = trouble;
        tracing::warn!(pool = %context.pool, task = name, reason, "a task of the pool ended; the pool is given up");
        context.give_up(Trouble { reason: format!("its {name}: {reason}"), stuck }).await;
    });
}
