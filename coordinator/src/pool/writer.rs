//! Members' records and jobs, in the order in which they were decided: a difficulty is on the bus before the job for
//! which it holds.

use super::{
    Context,
    persist::{self, Failed},
    requests::Waiting,
};
use bus_schemas::{Blob, JobId, Message, block::TemplateRecord, job::Job, member::Member, subject::Subject};
use coordinator_core::PoolInput;
use nats_adapter::streams;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// Most templates that are kept in memory; older ones are read from their stream.
const MAX_TEMPLATES: usize = 8;

/// Something to store.
#[derive(Debug)]
pub(crate) enum Write {
    Member(Box<Member>, Option<u64>),
    Job(Arc<Job>, Blob),
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
    mut queue: mpsc::Receiver<Write>,
    members: BTreeMap<String, u64>,
    job: u64,
    joins: Waiting,
    templates: Templates,
) {
    let mut writer = Writer { context, members, job, templates };
    while let Some(write) = queue.recv().await {
        let result = match write {
            Write::Member(member, token) => writer.member(*member, token, &joins).await,
            Write::Job(job, assembly) => writer.job(&job, assembly).await,
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

    async fn job(&mut self, job: &Job, assembly: Blob) -> Result<(), Failed> {
        let Context { bus, pool, .. } = &self.context;
        self.templates.keep(job.id.clone(), assembly.clone());
        let template = TemplateRecord { job: job.id.clone(), assembly };
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
