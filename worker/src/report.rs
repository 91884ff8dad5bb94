//! Notices for people: one line each, at the level that it deserves.

use tracing::{debug, error, info, warn};
use worker_core::Notice;

/// Writes a notice to the log.
pub fn log(notice: &Notice) {
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
        Notice::ConfigRewound { key, from, to } => {
            warn!(%key, from, to, "the bucket of what is in force was made anew or restored; it is followed");
        }
        Notice::OrderRewound { order } => {
            warn!(order, "its stream was made anew or restored; what it holds is followed");
        }
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
        Notice::ShareFound { job, block: false } => debug!(%job, "share"),
        Notice::ShareFound { job, block: true } => info!(%job, "block candidate"),
        Notice::ShareStored { lane } => debug!(?lane, "stored"),
        Notice::SharesDropped { reason, count } => warn!(%reason, count, "shares are given up"),
        Notice::PublishFailed { attempt, reason } => debug!(attempt, "a share is sent again later: {reason}"),
        Notice::ThreadFailed { thread, reason } => error!(thread, "a search thread is out of use: {reason}"),
        Notice::Undecodable { subject, reason } => warn!(%subject, "a message cannot be read: {reason}"),
        Notice::SearchHeld(true) => warn!("the bus takes no shares; the search holds until it does"),
        Notice::SearchHeld(false) => info!("the bus takes shares again; the search goes on"),
    }
}
