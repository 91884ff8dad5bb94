//! Members' records and jobs. A job goes before all records that wait: nobody should search what is stale because very
//! many workers join. A difficulty is on the bus in time all the same, since it holds from two jobs ahead.

use super::{
    Context,
    origin::Origin,
    persist::{self, Failed},
    requests::Waiting,
};
use crate::recovery::Positions;
use bus_schemas::{
    Blob, JobId, Message, TimestampMs, WorkerId, block::TemplateRecord, job::Job, member::Member,
    subject::Subject,
};
use bytes::Bytes;
use coordinator_core::{PoolInput, Trouble};
use nats_adapter::streams;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// Most records that wait to be deleted; what is over the next owner deletes.
const MAX_UNFORGOTTEN: usize = 4_096;
/// Most templates that are kept in memory; older ones are read from their stream.
const MAX_TEMPLATES: usize = 8;

/// A member's record to store, and the join that waits for it.
pub(crate) type MemberWrite = (Box<Member>, Option<u64>);
/// What is written in a job's place.
#[derive(Debug)]
pub(crate) enum JobWrite {
    /// A job to store and send, and what makes blocks of it.
    Publish(Arc<Job>, Blob),
    /// The job before is in force no more: a message without content.
    Withdraw,
}

/// What waits to be stored.
pub(crate) struct Queues {
    pub(crate) members: mpsc::Receiver<MemberWrite>,
    /// Members whose records are to be deleted.
    pub(crate) forgets: mpsc::Receiver<WorkerId>,
    pub(crate) jobs: mpsc::Receiver<JobWrite>,
}

/// The latest templates, for the block lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct Templates(Arc<Mutex<VecDeque<(JobId, Blob)>>>);

impl Templates {
    fn keep(&self, job: JobId, assembly: Blob) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((job, assembly));
        while kept.len() > MAX_TEMPLATES {
            kept.pop_front();
        }
    }

    pub(crate) fn find(&self, job: &JobId) -> Option<Blob> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(id, _)| id == job).map(|(_, assembly)| assembly.clone())
    }
}

/// Stores until the pool is given up or another owner wrote.
pub(crate) async fn run(
    context: Context,
    queues: Queues,
    positions: Positions,
    joins: Waiting,
    templates: Templates,
) -> Trouble {
    let Positions { members, job, .. } = positions;
    let mut writer = Writer { context, queues, joins, members, unforgotten: VecDeque::new(), job, templates };
    loop {
        let queues = &mut writer.queues;
        let result = tokio::select! {
            biased;
            Some(write) = queues.jobs.recv() => writer.job_write(write).await,
            // A worker may come back after it was forgotten: its new record comes after that.
            Some(worker) = queues.forgets.recv() => {
                writer.forget(&worker).await;
                Ok(())
            }
            Some((member, token)) = queues.members.recv() => writer.member(*member, token).await,
            else => return Trouble::of("nobody gives orders to store any more"),
        };
        if let Err(error) = result {
            tracing::warn!(pool = %writer.context.pool, %error, "an order was not stored");
            return error.into();
        }
    }
}

struct Writer {
    context: Context,
    queues: Queues,
    joins: Waiting,
    members: BTreeMap<String, u64>,
    /// Records that are to be deleted up to a revision, and could not be yet.
    unforgotten: VecDeque<(String, u64)>,
    job: u64,
    templates: Templates,
}

impl Writer {
    async fn member(&mut self, member: Member, token: Option<u64>) -> Result<(), Failed> {
        let key = format!("{}.{}", member.pool, member.worker);
        let value: Bytes = member.encode()?.into();
        let mut pause = persist::pause();
        let revision = loop {
            let after = self.members.get(&key).copied().unwrap_or(0);
            match persist::update(&self.context, &key, value.clone(), after).await {
                Err(error @ Failed::NoRoom(_)) => {
                    self.context.tell(PoolInput::MembersFull).await;
                    pause.wait("those who are gone for longest make room", &error).await;
                    self.meanwhile().await?;
                }
                updated => break updated?,
            }
        };
        self.members.insert(key, revision);
        if let Some(token) = token {
            self.joins.accept(token, member);
        }
        Ok(())
    }

    /// Does what must not wait for a record that finds no room.
    async fn meanwhile(&mut self) -> Result<(), Failed> {
        while let Ok(worker) = self.queues.forgets.try_recv() {
            self.forget(&worker).await;
        }
        while let Ok(write) = self.queues.jobs.try_recv() {
            self.job_write(write).await?;
        }
        Ok(())
    }

    /// Deletes the record of a member as far as it is known here. What cannot be deleted now is tried again with the next one, and
    /// by the next owner.
    async fn forget(&mut self, worker: &WorkerId) {
        let key = format!("{}.{worker}", self.context.pool);
        if let Some(revision) = self.members.remove(&key) {
            self.unforgotten.push_back((key, revision));
        }
        let kv = self.context.bus.kv(streams::MEMBERS);
        while let Some((key, revision)) = self.unforgotten.front() {
            if let Err(error) = kv.purge_to(key, *revision).await {
                tracing::warn!(%error, key, "the record of a member that is long gone is not deleted yet");
                break;
            }
            self.unforgotten.pop_front();
        }
        if self.unforgotten.len() > MAX_UNFORGOTTEN {
            self.unforgotten.pop_front();
        }
    }

    async fn job_write(&mut self, write: JobWrite) -> Result<(), Failed> {
        match write {
            JobWrite::Publish(job, assembly) => self.job(&job, assembly).await,
            JobWrite::Withdraw => self.withdraw().await,
        }
    }

    /// Takes the job out of force: the subject's last message is empty.
    async fn withdraw(&mut self) -> Result<(), Failed> {
        let context = &self.context;
        let subject = Subject::Job(context.pool.clone()).to_string();
        let id = format!("withdrawn-{}-{}", context.epoch, self.job);
        self.job = persist::append(context, streams::JOB, &subject, &id, Bytes::new(), self.job).await?;
        Ok(())
    }

    /// A job that can never be stored is no reason to give the pool up: the one before goes on.
    async fn job(&mut self, job: &Job, assembly: Blob) -> Result<(), Failed> {
        let told = match self.publish(job, assembly).await {
            Ok(stored_at) => PoolInput::JobPublished(job.id.clone(), stored_at),
            Err(error) => match error.stuck() {
                Some(stuck) => PoolInput::JobUnstorable(job.id.clone(), stuck),
                None => return Err(error),
            },
        };
        self.context.tell(told).await;
        Ok(())
    }

    /// Stores and sends; when the stream stored it.
    async fn publish(&mut self, job: &Job, assembly: Blob) -> Result<TimestampMs, Failed> {
        let (context, pool, id) = (&self.context, &self.context.pool, job.id.as_str());
        self.templates.keep(job.id.clone(), assembly.clone());
        let Origin { source, assembly } = Origin::from_bytes(&assembly.0)?;
        let template = TemplateRecord { job: job.id.clone(), assembly, source: Some(source) };
        let subject = Subject::Template(pool.clone(), job.id.clone()).to_string();
        persist::store(context, streams::TEMPLATE, &subject, id, template.encode()?.into()).await?;
        let subject = Subject::Job(pool.clone()).to_string();
        self.job =
            persist::append(context, streams::JOB, &subject, id, job.encode()?.into(), self.job).await?;
        persist::stored_at(&context.bus, streams::JOB, &subject, self.job).await
    }
}
