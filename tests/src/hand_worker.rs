//! A worker that is played by hand: it has a place in a pool and sends what a test wants it to send.

use crate::{
    coordinator::{COORDINATOR_DEADLINE, Failure},
    wait,
};
use bus_schemas::{
    AlgorithmId, PoolId, SessionId, TimestampMs, WorkerId,
    job::Job,
    member::{Capability, JoinReply, JoinRequest, Member},
    share::Share,
    subject::Subject,
};
use nats_adapter::{Bus, Expect, PendingAck, PublishError, Stored};

/// A worker with a place in a pool.
#[derive(Debug, Clone)]
pub struct HandWorker {
    bus: Bus,
    /// Its place.
    pub member: Member,
}

/// What a worker of one thread offers that runs sha256d.
pub fn join_request(session: &str) -> Result<JoinRequest, Failure> {
    Ok(JoinRequest {
        session: SessionId::new(session)?,
        capability: Capability {
            threads: 1,
            memory_mib: 0,
            processor: String::new(),
            algorithms: vec![AlgorithmId::sha256d()],
            agent_version: String::new(),
        },
        expected_rate: None,
    })
}

impl HandWorker {
    /// Joins, as often as it takes until an owner answers.
    pub async fn join(bus: &Bus, pool: &PoolId, name: &str, session: &str) -> Result<Self, Failure> {
        let worker = WorkerId::new(name)?;
        let request = join_request(session)?;
        let subject = Subject::Join(pool.clone(), worker).to_string();
        let reply = wait::until(COORDINATOR_DEADLINE, "a place in the pool", async || {
            bus.request::<JoinRequest, JoinReply>(&subject, &request).await.ok()
        })
        .await?;
        match reply {
            JoinReply::Accepted(member) => Ok(Self { bus: bus.clone(), member: *member }),
            JoinReply::Refused { message, .. } => Err(message.into()),
        }
    }

    /// Where its shares go.
    pub fn subject(&self) -> String {
        Subject::Share(self.member.pool.clone(), self.member.worker.clone()).to_string()
    }

    /// A share in its own subspace.
    pub fn share(&self, job: &Job, nonce: u32) -> Result<Share, Failure> {
        Ok(Share {
            job: job.id.clone(),
            session: self.member.session.clone(),
            slot: self.member.slot,
            generation: self.member.slot_generation,
            bits: self.member.bits_for_job(job.sequence).ok_or("no difficulty for the job")?,
            finding: job.work.finding(0, job.work.version(), nonce),
            found_at_ms: TimestampMs(0),
        })
    }

    /// Sends a share as a worker does.
    pub async fn send(&self, share: &Share) -> Result<Stored, PublishError> {
        self.begin(share).await?.stored().await
    }

    /// Sends a share without waiting for the acknowledgement.
    pub async fn begin(&self, share: &Share) -> Result<PendingAck, PublishError> {
        self.bus.publish_pipelined(self.subject(), share, Some(&share.message_id()), Expect::None).await
    }
}
