//! Members' records and jobs. A job goes before all records that wait: nobody should search what is stale because very
//! many workers join. A difficulty is on the bus in time all the same, since it holds from two jobs ahead.

use super::{
    Context,
    origin::Origin,
    persist::{self, Failed},
    requests::Waiting,
};
use crate::recovery::Positions;
use bus_schemas::{Blob, JobId, Message, block::TemplateRecord, job::Job, member::Member, subject::Subject};
use bytes::Bytes;
use coordinator_core::PoolInput;
use nats_adapter::streams;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

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
    mut queues: Queues,
    positions: Positions,
    joins: Waiting,
    templates: Templates,
) {
    let Positions { members, job, .. } = positions;
    let mut writer = Writer { context, members, job, templates };
    loop {
        let result = tokio::select! {
            biased;
            Some(write) = queues.jobs.recv() => match write {
                JobWrite::Publish(job, assembly) => writer.job(&job, assembly).await,
                JobWrite::Withdraw => writer.withdraw().await,
            },
            Some((member, token)) = queues.members.recv() => writer.member(*member, token, &joins).await,
            else => return,
        };
        if let Err(error) = result {
            tracing::warn!(pool = %writer.context.pool, %error, "an order was not stored");
            return;
        }
    }
}

struct Writer {
    context: Context,
    members: BTreeMap<String, u64>,
    job: u64,
    templates: Templates,
}

impl Writer {
    async fn member(&mut self, member: Member, token: Option<u64>, joins: &Waiting) -> Result<(), Failed> {
        let key = format!("{}.{}", member.pool, member.worker);
        let value = member.encode()?.into();
        let kv = self.context.bus.kv(streams::MEMBERS);
        let after = self.members.get(&key).copied().unwrap_or(0);
        let revision = persist::update(&kv, &key, value, after).await?;
        self.members.insert(key, revision);
        if let Some(token) = token {
            joins.accept(token, member);
        }
        Ok(())
    }

    async fn withdraw(&mut self) -> Result<(), Failed> {
        let Context { bus, pool, epoch, .. } = &self.context;
        let subject = Subject::Job(pool.clone()).to_string();
        let id = format!("withdrawn-{epoch}-{}", self.job);
        self.job = persist::append(bus, streams::JOB, &subject, &id, Bytes::new(), self.job).await?;
        Ok(())
    }

    async fn job(&mut self, job: &Job, assembly: Blob) -> Result<(), Failed> {
        let Context { bus, pool, .. } = &self.context;
        self.templates.keep(job.id.clone(), assembly.clone());
        let Origin { source, assembly } = Origin::from_bytes(&assembly.0)?;
        let template = TemplateRecord { job: job.id.clone(), assembly, source: Some(source) };
        let subject = Subject::Template(pool.clone(), job.id.clone()).to_string();
        persist::store(bus, &subject, job.id.as_str(), template.encode()?.into()).await?;
        let subject = Subject::Job(pool.clone()).to_string();
        self.job =
            persist::append(bus, streams::JOB, &subject, job.id.as_str(), job.encode()?.into(), self.job)
                .await?;
        self.context.tell(PoolInput::JobPublished(job.id.clone())).await;
        Ok(())
    }
}
