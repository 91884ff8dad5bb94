//! Everything that a coordinator can ask for.

use crate::{in_force::Ours, orders::KeptDocument};
use bus_schemas::{
    Blob, Hash32, PoolId, Target, WorkerId,
    block::BlockState,
    command::{CommandError, PoolStatus},
    config::PoolConfig,
    event::Event,
    job::Job,
    ledger::LedgerRecord,
    member::Member,
    share::Finding,
    throttle::ThrottleTarget,
};
use std::sync::Arc;

/// Everything that can be asked for.
#[derive(Debug)]
pub enum Effect {
    /// Try to take the lease; answer with [`crate::LeaseInput`].
    AcquireLease(PoolId),
    /// Renew the lease of this epoch.
    RenewLease(PoolId, u64),
    /// Give the lease of this epoch up.
    ReleaseLease(PoolId, u64),
    /// Read what JetStream holds of the pool; answer with [`crate::Input::Recovered`].
    Recover(PoolId, u64),
    /// Begin to work for the pool: job source, share intake from after `shares_after`, block lane, requests.
    StartPool {
        /// The pool.
        pool: PoolId,
        /// Our epoch.
        epoch: u64,
        /// Last sequence of the share stream that need not be read.
        shares_after: u64,
        /// The configuration in force.
        config: Box<PoolConfig>,
    },
    /// The source of a pool that runs is another now, or is asked at another pace.
    RestartSource(PoolId, u64, Box<PoolConfig>),
    /// Stop everything that was started for the pool.
    StopPool(PoolId, u64),
    /// See to it that the bucket of what is in force holds this, by [`crate::in_force::reconcile`]; a newer effect for
    /// the same key takes the place of one that is not done. Answer with [`crate::Input::InForceAdopted`] if that is
    /// what comes of it.
    PublishInForce(Box<Ours>),
    /// Keep the orders for a target, where its document is still of this revision or cannot be read: one of another revision will
    /// be told and answered. Without any order the document is taken away.
    KeepOrders(ThrottleTarget, Box<KeptDocument>),
    /// Tell the world.
    PublishEvent(Box<Event>),
    /// Show how the pool runs.
    PublishStatus(PoolId, Box<PoolStatus>),
    /// Something for an owned pool.
    Pool(PoolId, u64, PoolEffect),
    /// Nothing is left to do: end.
    Exit,
}

/// Something for an owned pool.
#[derive(Debug)]
pub enum PoolEffect {
    /// Keep the template, then store and send the job; answer with [`crate::PoolInput::JobPublished`].
    PublishJob(Arc<Job>, Blob),
    /// Tell the workers that the job before is in force no more, though there is no other yet.
    WithdrawJob,
    /// Store a member's record, in the order of the effects; then answer the waiting join.
    StoreMember(Box<Member>, Option<u64>),
    /// Delete the record of a member that is long gone: what the bucket holds of it up to the last revision that an owner of this
    /// pool knows, and nothing that was written since. Where a crash comes before, the next owner finds the record and asks again.
    ForgetMember(WorkerId),
    /// Answer a join with no.
    RefuseJoin(u64, CommandError),
    /// Judge shares; answer with [`crate::PoolInput::Judged`].
    Judge(Vec<JudgeTask>),
    /// Judge a block candidate before everything else; answer with [`crate::PoolInput::FoundJudged`].
    JudgeFound(FoundTask),
    /// Acknowledge a message of the block lane.
    AckFound(u64),
    /// Let a message of the block lane be delivered again later: it cannot be judged here now.
    PutOffFound(u64),
    /// Work on a block.
    Block(Box<BlockDuty>),
    /// Append to the ledger; answer with [`crate::PoolInput::LedgerAppended`].
    AppendLedger(Box<LedgerRecord>),
}

/// A share to be judged.
#[derive(Debug, Clone)]
pub struct JudgeTask {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its job.
    pub job: Arc<Job>,
    /// The slot that it claims and that was checked.
    pub slot: u16,
    /// What was found.
    pub finding: Finding,
    /// What it must meet.
    pub target: Target,
}

/// A block candidate to be judged against the network target.
#[derive(Debug, Clone)]
pub struct FoundTask {
    /// Its message.
    pub token: u64,
    /// Its job.
    pub job: Arc<Job>,
    /// The slot that it claims and that was checked.
    pub slot: u16,
    /// What was found.
    pub finding: Finding,
}

/// What is to be done with a block.
#[derive(Debug, Clone)]
pub enum BlockDuty {
    /// Put it together and keep its bytes, then submit it once. Answers: [`crate::PoolInput::BlockUnusable`], or
    /// [`crate::PoolInput::BlockStored`] or [`crate::PoolInput::BlockUnkept`] and then [`crate::PoolInput::BlockAnswered`].
    Make {
        /// Its hash.
        hash: Hash32,
        /// Its job.
        job: Arc<Job>,
        /// The slot of its finder.
        slot: u16,
        /// What was found.
        finding: Finding,
        /// Who found it.
        worker: WorkerId,
    },
    /// It is not decided: submit it once more. Answers as for [`BlockDuty::Make`].
    Resubmit(Hash32),
    /// Keep its new state.
    StoreState {
        /// Its hash.
        hash: Hash32,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
        /// The state.
        state: BlockState,
    },
}
