//! Everything that runs for a pool while it is owned. Dropped, all of it stops.

mod blocks;
mod former;
mod found;
mod intake;
mod ledger;
mod origin;
mod persist;
mod requests;
mod source;
mod writer;

use crate::{components::Components, judge::Overloaded, metrics::Metrics, recovery::Positions};
use bus_schemas::{PoolId, config::PoolConfig, ledger::LedgerRecord};
use coordinator_core::{BlockDuty, Input, LeaseInput, PoolEffect, PoolInput};
use job_sources::{Abandoned, Credentials};
use nats_adapter::Bus;
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
}

impl Context {
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
    jobs: mpsc::Sender<writer::JobWrite>,
    ledger: mpsc::Sender<LedgerRecord>,
    blocks: mpsc::Sender<BlockDuty>,
    acks: mpsc::Sender<u64>,
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
        let queues = writer::Queues { members: member_queue, jobs: job_queue };
        let write = writer::run(c.clone(), queues, positions, joins.clone(), templates.clone());
        spawn(&mut tasks, c, "writer", write);
        spawn(&mut tasks, c, "ledger", ledger::run(c.clone(), ledger_queue, ledger_at));
        let nodes = source::watch_nodes(c.clone(), sources.clone());
        spawn(&mut tasks, c, "blocks", blocks::run(c.clone(), block_queue, sources, templates));
        spawn(&mut tasks, c, "nodes", nodes);
        spawn(&mut tasks, c, "found", found::run(c.clone(), ack_queue));
        spawn(&mut tasks, c, "source", source::run(c.clone(), configs, source));
        spawn(&mut tasks, c, "intake", intake::run(c.clone(), shares_after, rooms));
        spawn(&mut tasks, c, "joins", requests::joins(c.clone(), joins.clone()));
        spawn(&mut tasks, c, "leaves", requests::leaves(c.clone()));
        spawn(&mut tasks, c, "heartbeats", requests::heartbeats(c.clone()));
        Self { epoch: c.epoch, _tasks: tasks, members, jobs, ledger, blocks, acks, joins, config, room }
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
            PoolEffect::RefuseJoin(token, error) => {
                self.joins.refuse(token, error);
                Ok(())
            }
            PoolEffect::AckFound(token) => self.acks.try_send(token).map_err(|_| Overloaded),
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
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (inputs, pool, epoch) = (context.inputs.clone(), context.pool.clone(), context.epoch);
    tasks.spawn(async move {
        task.await;
        tracing::warn!(%pool, task = name, "a task of the pool ended; the pool is given up");
        let reason = format!("its {name} ended; the coordinator's log says why");
        let _ = inputs.send(Input::Lease(pool, LeaseInput::Lost { epoch, reason })).await;
    });
}
