//! Members that are gone: how long their records stay, and who goes first when there is no room.

use super::{Changes, MAX_MEMBERS, Members, Terms};
use crate::time::Now;
use bus_schemas::{
    WorkerId,
    command::{CommandError, ErrorCode},
};

/// The record of a member that left or was lost is deleted after this time, milliseconds: two weeks. What it sent lies in streams
/// for up to one week and is judged by it.
pub const FORGET_AFTER_MS: u64 = 14 * 86_400_000;
/// Most members that one round of looks forgets, so that the bucket's server has other work as well.
pub const MAX_FORGOTTEN_AT_ONCE: usize = 64;

impl Members {
    /// Forgets who was gone for [`FORGET_AFTER_MS`].
    pub(super) fn forget_long_gone(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        for _ in 0..MAX_FORGOTTEN_AT_ONCE {
            let Some((since, entry)) = self.roster.longest_away() else { return };
            // The former holder of a slot is known until a job was published under which others may have it.
            if since.age_ms(now.mono) < FORGET_AFTER_MS || entry.gone_under >= terms.job_sequence {
                return;
            }
            let worker = entry.member.worker.clone();
            self.forget(worker, changes);
        }
    }

    /// The bucket of members is full: forgets those who are gone for longest, however long that is.
    pub(crate) fn make_room(&mut self, terms: Terms<'_>) -> Changes {
        let mut changes = Changes::default();
        while changes.forget.len() < MAX_FORGOTTEN_AT_ONCE
            && let Some((_, entry)) = self.roster.longest_away()
            && entry.gone_under < terms.job_sequence
        {
            let worker = entry.member.worker.clone();
            self.forget(worker, &mut changes);
        }
        changes
    }

    /// Makes room for another member. A record by which a next owner knows that a slot is not free yet stays in the bucket.
    pub(super) fn forget_longest_away(
        &mut self,
        changes: &mut Changes,
        terms: Terms<'_>,
    ) -> Result<(), CommandError> {
        let Some((_, entry)) = self.roster.longest_away() else {
            let text = format!("the pool has {MAX_MEMBERS} members present");
            return Err(CommandError::new(ErrorCode::PoolFull, text));
        };
        let (worker, is_free) = (entry.member.worker.clone(), entry.gone_under < terms.job_sequence);
        self.forget(worker, changes);
        if !is_free {
            changes.forget.pop();
        }
        Ok(())
    }

    fn forget(&mut self, worker: WorkerId, changes: &mut Changes) {
        if let Some(entry) = self.roster.remove(&worker) {
            self.forgotten_generation = self.forgotten_generation.max(entry.member.generation);
        }
        changes.forget.push(worker);
    }
}
