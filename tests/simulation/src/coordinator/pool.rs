//! Everything that runs for a pool while it is owned.

use super::{
    blocks,
    persist::{self, Failed},
    recovery::Positions,
};
use crate::{
    bus::Bus,
    executor::Owner,
    follow::{Burst, Follower, Start},
    hashing,
    queue::{Queue, first_of},
    server::{
        declared::{FOUND, JOB, LEDGER, MEMBERS, SHARE, TEMPLATE, key_subject},
        subscriptions::{Heard, Reply},
    },
};
use bus_schemas::{
    Blob, Message, PoolId, TimestampMs, WorkerId,
    block::TemplateRecord,
    config::PoolConfig,
    heartbeat::Heartbeat,
    job::Job,
    ledger::LedgerRecord,
    member::{JoinReply, JoinRequest, Leave, Member},
    share::Share,
    subject::{Subject, filter},
};
use coordinator_core::{
    ArrivedFound, ArrivedShare, BlockDuty, FoundTask, Input, JudgeTask, JudgedFound, JudgedShare, LeaseInput,
    PoolEffect, PoolInput, Trouble,
};
use std::{cell::RefCell, collections::BTreeMap, future::Future, rc::Rc, sync::Arc};

/// A block candidate that is not acknowledged within this time is delivered again, microseconds.
const ACK_WAIT_US: u64 = 30_000_000;
/// Time between two looks for block candidates, milliseconds.
const FOUND_LOOK_MS: u64 = 500;
/// Time between two looks at the source, milliseconds.
const SOURCE_LOOK_MS: u64 = 700;

/// What every task of a pool needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) bus: Bus,
    pub(super) pool: PoolId,
    pub(super) epoch: u64,
    pub(super) inputs: Queue<Input>,
}

impl Context {
    pub(super) fn tell(&self, input: PoolInput) {
        self.inputs.push(Input::Pool(self.pool.clone(), self.epoch, input));
    }

    fn give_up(&self, trouble: Trouble) {
        let lost = LeaseInput::GivenUp { epoch: self.epoch, trouble };
        self.inputs.push(Input::Lease(self.pool.clone(), lost));
    }

    /// Starts a task whose end gives the pool up.
    fn spawn(&self, task: impl Future<Output = Trouble> + 'static) {
        let context = self.clone();
        self.bus.world.executor.spawn(self.bus.owner, async move {
            let trouble = task.await;
            context
                .bus
                .world
                .tell(|| format!("{} under {} ends: {}", context.pool, context.epoch, trouble.reason));
            context.give_up(trouble);
        });
    }
}

enum MemberWrite {
    Store(Box<Member>, Option<u64>),
    Forget(WorkerId),
}

enum JobWrite {
    Publish(Arc<Job>, Blob),
    Withdraw,
}

type Waiting = Rc<RefCell<BTreeMap<u64, Reply>>>;

/// A pool that is owned.
pub(super) struct OwnedPool {
    pub(super) epoch: u64,
    pub(super) group: u64,
    context: Context,
    members: Queue<MemberWrite>,
    jobs: Queue<JobWrite>,
    ledger: Queue<LedgerRecord>,
    blocks: Queue<BlockDuty>,
    joins: Waiting,
    reopen: Queue<()>,
}

impl OwnedPool {
    pub(super) fn start(context: &Context, _: PoolConfig, shares_after: u64, at: Positions) -> Self {
        let Owner { group, .. } = context.bus.owner;
        let owned = Self {
            epoch: context.epoch,
            group,
            context: context.clone(),
            members: Queue::default(),
            jobs: Queue::default(),
            ledger: Queue::default(),
            blocks: Queue::default(),
            joins: Waiting::default(),
            reopen: Queue::default(),
        };
        let c = context;
        c.spawn(append_ledger(c.clone(), owned.ledger.clone(), at.ledger));
        let writer = Writer { context: c.clone(), members: at.members, job: at.job };
        c.spawn(writer.run(owned.jobs.clone(), owned.members.clone(), owned.joins.clone()));
        c.spawn(blocks::run(c.clone(), owned.blocks.clone()));
        c.spawn(found(c.clone()));
        c.spawn(source(c.clone(), owned.reopen.clone()));
        c.spawn(intake(c.clone(), shares_after));
        c.spawn(joins(c.clone(), owned.joins.clone()));
        c.spawn(listen(c.clone()));
        owned
    }

    /// The source is another one now, or is asked at another pace: it is opened anew.
    pub(super) fn configure(&self, _: PoolConfig) {
        self.reopen.push(());
    }

    pub(super) fn perform(&self, effect: PoolEffect) {
        match effect {
            PoolEffect::PublishJob(job, assembly) => self.jobs.push(JobWrite::Publish(job, assembly)),
            PoolEffect::WithdrawJob => self.jobs.push(JobWrite::Withdraw),
            PoolEffect::StoreMember(member, token) => self.members.push(MemberWrite::Store(member, token)),
            PoolEffect::ForgetMember(worker) => self.members.push(MemberWrite::Forget(worker)),
            PoolEffect::RefuseJoin(token, error) => {
                if let Some(reply) = self.joins.borrow_mut().remove(&token) {
                    let refused = JoinReply::Refused { code: error.code, message: error.message };
                    self.context.bus.reply(reply, refused.encode().unwrap_or_default());
                }
            }
            PoolEffect::AckFound(token) => {
                let filter = filter::found(&self.context.pool);
                let arrival = move |w: &Rc<crate::world::World>| {
                    w.server.borrow_mut().acknowledge(&filter, token);
                };
                self.context.bus.world.send_out(self.context.bus.owner.process, Box::new(arrival));
            }
            // It is delivered again when its acknowledgement is overdue.
            PoolEffect::PutOffFound(_) => {}
            PoolEffect::Block(duty) => self.blocks.push(*duty),
            PoolEffect::AppendLedger(record) => self.ledger.push(*record),
            PoolEffect::Judge(tasks) => self.judge(tasks),
            PoolEffect::JudgeFound(task) => self.judge_found(task),
        }
    }

    /// Judges work side by side: answers come late and in another order.
    fn judge(&self, mut tasks: Vec<JudgeTask>) {
        let context = self.context.clone();
        let world = context.bus.world.clone();
        world.clone().executor.spawn(self.context.bus.owner, async move {
            let process = context.bus.owner.process;
            while !tasks.is_empty() {
                let (pause, count) = world.with_process(process, |p| {
                    (p.random.below(40), usize::try_from(p.random.between(1, 64)).unwrap_or(1))
                });
                context.bus.sleep_ms(pause).await;
                let first = tasks.len().saturating_sub(count);
                let judged = tasks.drain(first..).map(|t| JudgedShare {
                    sequence: t.sequence,
                    verdict: hashing::judge(&t.job, t.slot, &t.finding, t.target),
                });
                let judged = judged.collect();
                context.tell(PoolInput::Judged(judged));
            }
        });
    }

    fn judge_found(&self, task: FoundTask) {
        let context = self.context.clone();
        self.context.bus.world.executor.spawn(self.context.bus.owner, async move {
            let FoundTask { token, job, slot, finding } = task;
            context.bus.sleep_ms(1).await;
            let verdict = hashing::judge(&job, slot, &finding, job.network_target);
            context.tell(PoolInput::FoundJudged(JudgedFound { token, verdict }));
        });
    }
}

async fn append_ledger(context: Context, queue: Queue<LedgerRecord>, mut after: u64) -> Trouble {
    let subject = Subject::Ledger(context.pool.clone()).to_string();
    loop {
        let record = queue.next().await;
        let id = format!("{}-{}-{}", context.pool, record.epoch, record.number);
        let payload = record.encode().unwrap_or_default();
        match persist::append(&context, LEDGER, &subject, &id, payload, after).await {
            Ok(sequence) => after = sequence,
            Err(error) => return error.into(),
        }
        context.tell(PoolInput::LedgerAppended(record.number));
    }
}

struct Writer {
    context: Context,
    members: BTreeMap<String, u64>,
    job: u64,
}

impl Writer {
    /// A job goes before all records that wait.
    async fn run(mut self, jobs: Queue<JobWrite>, members: Queue<MemberWrite>, joins: Waiting) -> Trouble {
        loop {
            let result = match first_of(&jobs, &members).await {
                Ok(JobWrite::Publish(job, assembly)) => self.job(&job, assembly).await,
                Ok(JobWrite::Withdraw) => self.withdraw().await,
                Err(MemberWrite::Store(member, token)) => self.member(*member, token, &joins).await,
                Err(MemberWrite::Forget(worker)) => {
                    self.forget(&worker).await;
                    Ok(())
                }
            };
            if let Err(error) = result {
                return error.into();
            }
        }
    }

    async fn member(&mut self, member: Member, token: Option<u64>, joins: &Waiting) -> Result<(), Failed> {
        let key = format!("{}.{}", member.pool, member.worker);
        let after = self.members.get(&key).copied().unwrap_or(0);
        let value = member.encode().unwrap_or_default();
        let revision = persist::update(&self.context, &key, value, after).await?;
        self.members.insert(key, revision);
        let reply = token.and_then(|token| joins.borrow_mut().remove(&token));
        if let Some(reply) = reply {
            let accepted = JoinReply::Accepted(Box::new(member));
            self.context.bus.reply(reply, accepted.encode().unwrap_or_default());
        }
        Ok(())
    }

    /// What is not deleted now, the next owner asks for again.
    async fn forget(&mut self, worker: &WorkerId) {
        let key = format!("{}.{worker}", self.context.pool);
        if let Some(revision) = self.members.remove(&key) {
            let _ = self.context.bus.purge(MEMBERS, key_subject(MEMBERS, key), revision).await;
        }
    }

    async fn withdraw(&mut self) -> Result<(), Failed> {
        let subject = Subject::Job(self.context.pool.clone()).to_string();
        let id = format!("withdrawn-{}-{}", self.context.epoch, self.job);
        self.job = persist::append(&self.context, JOB, &subject, &id, Vec::new(), self.job).await?;
        Ok(())
    }

    async fn job(&mut self, job: &Job, assembly: Blob) -> Result<(), Failed> {
        let told = match self.publish(job, assembly).await {
            Ok(stored_at) => PoolInput::JobPublished(job.id.clone(), stored_at),
            Err(error) => match error.stuck() {
                Some(stuck) => PoolInput::JobUnstorable(job.id.clone(), stuck),
                None => return Err(error),
            },
        };
        self.context.tell(told);
        Ok(())
    }

    async fn publish(&mut self, job: &Job, assembly: Blob) -> Result<TimestampMs, Failed> {
        let (bus, pool, id) = (&self.context.bus, &self.context.pool, job.id.as_str());
        let template = TemplateRecord { job: job.id.clone(), assembly, source: None };
        let subject = Subject::Template(pool.clone(), job.id.clone()).to_string();
        persist::store(bus, TEMPLATE, &subject, id, template.encode().unwrap_or_default()).await?;
        let subject = Subject::Job(pool.clone()).to_string();
        let payload = job.encode().unwrap_or_default();
        self.job = persist::append(&self.context, JOB, &subject, id, payload, self.job).await?;
        persist::stored_at(bus, JOB, &subject, self.job).await
    }
}

/// The lane of blocks: a candidate is delivered until it is acknowledged.
async fn found(context: Context) -> Trouble {
    let filter = filter::found(&context.pool);
    loop {
        let of = filter.clone();
        let next = context.bus.call(move |w| w.server.borrow_mut().consume(FOUND, &of, ACK_WAIT_US, w.now()));
        let Ok(Some(stored)) = next.await else {
            context.bus.sleep_ms(FOUND_LOOK_MS).await;
            continue;
        };
        let Ok(Subject::Found(_, worker)) = stored.subject.parse::<Subject>() else { continue };
        let (token, stored_at) = (stored.sequence, stored.stored_at());
        match Share::decode(&stored.payload) {
            Ok(share) => {
                let found = ArrivedFound { token, stored_at, worker, share };
                context.tell(PoolInput::Found(Box::new(found)));
            }
            Err(_) => {
                let of = filter.clone();
                let _ = context.bus.call(move |w| w.server.borrow_mut().acknowledge(&of, token)).await;
            }
        }
    }
}

/// Offers what the chain wants next, and now and then fails to.
async fn source(context: Context, reopen: Queue<()>) -> Trouble {
    let mut known = None;
    let (world, process) = (context.bus.world.clone(), context.bus.owner.process);
    loop {
        let pause = world.with_process(process, |p| p.random.below(200));
        if world.with_process(process, |p| p.random.chance(5)) {
            context.tell(PoolInput::SourceFailed("no node answers".to_owned()));
            context.bus.sleep_ms(SOURCE_LOOK_MS * 4).await;
            known = None;
        }
        let template = world.chain.borrow().template(&context.pool);
        if known.as_ref() != Some(&template) {
            known = Some(template.clone());
            context.tell(PoolInput::Template(Box::new(template)));
        }
        let until = world.now() + (SOURCE_LOOK_MS + pause) * 1_000;
        if reopen.next_until(&world, Some(until)).await.is_some() {
            known = None;
        }
    }
}

async fn intake(context: Context, shares_after: u64) -> Trouble {
    let filter = filter::shares(&context.pool);
    let opened = Follower::open(&context.bus, SHARE, filter, Start::Sequence(shares_after + 1)).await;
    let mut follower = match opened {
        Ok(Some(follower)) => follower,
        Ok(None) => return Trouble::of("shares cannot be read: the stream ends before"),
        Err(error) => return Trouble::of(format!("shares cannot be read: {error:?}")),
    };
    loop {
        match follower.next().await {
            Burst::Rewound => return Trouble::of("shares cannot be read on: the stream is another one"),
            Burst::Messages { messages, .. } if messages.is_empty() => {}
            Burst::Messages { messages, .. } => {
                let arrived = messages.iter().filter_map(|stored| {
                    let Ok(Subject::Share(_, worker)) = stored.subject.parse::<Subject>() else {
                        return None;
                    };
                    let share = Share::decode(&stored.payload).ok();
                    let (sequence, stored_at) = (stored.sequence, stored.stored_at());
                    Some(ArrivedShare { sequence, stored_at, worker, share })
                });
                context.tell(PoolInput::Shares(arrived.collect()));
            }
        }
    }
}

async fn joins(context: Context, waiting: Waiting) -> Trouble {
    let requests = context.bus.subscribe(&filter::joins(&context.pool));
    let mut token = 0;
    loop {
        let Heard { subject, payload, reply, .. } = requests.next().await;
        let (Ok(Subject::Join(_, worker)), Ok(request)) =
            (subject.parse::<Subject>(), JoinRequest::decode(&payload))
        else {
            continue;
        };
        let Some(reply) = reply else { continue };
        token += 1;
        waiting.borrow_mut().insert(token, reply);
        context.tell(PoolInput::Join { token, worker, request: Box::new(request) });
    }
}

/// Good-byes and signs of life.
async fn listen(context: Context) -> Trouble {
    let heard = context.bus.subscribe(&filter::leaves(&context.pool));
    context.bus.subscribe_into(&filter::heartbeats(&context.pool), &heard);
    loop {
        let Heard { subject, payload, .. } = heard.next().await;
        match subject.parse::<Subject>() {
            Ok(Subject::Leave(_, worker)) => {
                if let Ok(leave) = Leave::decode(&payload) {
                    context.tell(PoolInput::Leave(worker, leave));
                }
            }
            Ok(Subject::Heartbeat(_, worker)) => {
                if let Ok(heartbeat) = Heartbeat::decode(&payload) {
                    context.tell(PoolInput::Heartbeat(worker, Box::new(heartbeat)));
                }
            }
            _ => {}
        }
    }
}
