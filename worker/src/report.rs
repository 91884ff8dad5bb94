//! Notices for people: one line each, at the level that it deserves; of what comes very often one line an interval.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tracing::{debug, error, info, warn};
use worker_core::{DropReason, Notice};

/// Time between two lines about what may come thousands of times a second where blocks are easy.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// What comes too often to be told one by one: the first is told, then how many there were, once an interval.
#[derive(Debug, Default)]
struct Often {
    told_at: Option<Instant>,
    count: u64,
}

impl Often {
    fn count(&mut self, more: u64) {
        self.count += more;
    }

    /// How many are to be told of now.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= SUMMARY_INTERVAL);
        (due && self.count > 0).then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

/// The log of notices.
#[derive(Debug, Default)]
pub struct Log {
    candidates: Often,
    dropped: BTreeMap<DropReason, Often>,
}

impl Log {
    /// Writes a notice, and what has been counted since the last line about it.
    pub fn write(&mut self, notice: &Notice, now: Instant) {
        match notice {
            Notice::ShareFound { block: true, .. } => self.candidates.count(1),
            Notice::SharesDropped { reason, count } => self.dropped.entry(*reason).or_default().count(*count),
            other => log(other),
        }
        if let Some(count) = self.candidates.due(now) {
            info!(count, "block candidates");
        }
        for (reason, often) in &mut self.dropped {
            if let Some(count) = often.due(now) {
                warn!(%reason, count, "shares are given up");
            }
        }
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::RoleApplied { role, standing, slot, epoch, generation, reason } => {
            info!(?role, ?standing, slot, epoch, generation, %reason, "role");
        }
        Notice::JoinRefused { code, message, retry_ms } => {
            warn!(code = code.as_str(), hint = code.hint(), retry_ms, "the pool refused us: {message}");
        }
        Notice::JoinFailed { reason, retry_ms } => {
            warn!(retry_ms, "no answer to the request to join: {reason}")
        }
        Notice::ConfigApplied { key, revision } => info!(%key, revision, "configuration"),
        Notice::ConfigGone { key } => warn!(%key, "the configuration was deleted"),
        Notice::ReadFailed { reason, retry_ms } => warn!(retry_ms, "configuration cannot be read: {reason}"),
        Notice::JobApplied { job, sequence, height } => debug!(%job, sequence, height, "job"),
        Notice::OrderRefused(refusal) => warn!(reason = refusal.label(), "{refusal}"),
        Notice::SetPointChanged(set_point) => {
            info!(threads = set_point.threads, reason = ?set_point.reason, "set-point");
        }
        Notice::AlgorithmRefused { algorithm, version, denied } => {
            warn!(%algorithm, version, code = denied.code, "not run on this host: {}", denied.reason);
        }
        Notice::CatalogueRefused(denied) => {
            warn!(code = denied.code, "the catalogue of certificates is refused: {}", denied.reason);
        }
        Notice::ShareFound { job, block } => debug!(%job, block, "share"),
        Notice::ShareStored { lane } => debug!(?lane, "stored"),
        Notice::SharesDropped { reason, count } => debug!(%reason, count, "shares are given up"),
        Notice::PublishFailed { attempt, reason } => debug!(attempt, "a share is sent again later: {reason}"),
        Notice::ThreadFailed { thread, reason } => error!(thread, "a search thread is out of use: {reason}"),
        Notice::Undecodable { subject, reason } => warn!(%subject, "a message cannot be read: {reason}"),
        Notice::SearchHeld(true) => warn!("the bus takes no shares; the search holds until it does"),
        Notice::SearchHeld(false) => info!("the bus takes shares again; the search goes on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_comes_often_the_first_is_told_and_then_how_many_there_were() {
        let (mut often, start) = (Often::default(), Instant::now());
        assert_eq!(often.due(start), None);
        often.count(1);
        assert_eq!(often.due(start), Some(1));
        let mut lines = 0;
        for ms in 1..=60_000 {
            often.count(1);
            lines += u32::from(often.due(start + Duration::from_millis(ms)).is_some());
        }
        assert_eq!(lines, 6);
        assert_eq!(often.due(start + Duration::from_secs(71)), None, "all are told");
    }
}
