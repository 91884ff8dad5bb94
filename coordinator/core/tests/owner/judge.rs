//! What judges say of a finding of a header.

use bus_schemas::{
    Hash32, Target,
    job::{Job, WorkUnit},
    share::Finding,
    work::sha256d,
};
use coordinator_core::Verdict;

pub fn judge(job: &Job, slot: u16, finding: &Finding, target: Target) -> Verdict {
    let (WorkUnit::Header(work), Finding::Header(f)) = (&job.work, finding) else { panic!("a header") };
    let hash = sha256d(&work.header(job.extranonce(slot, f.roll), f.version, f.time, f.nonce));
    if !target.is_met_by(&hash) {
        return Verdict::Low;
    }
    Verdict::Meets { block_hash: Hash32(hash), block: job.network_target.is_met_by(&hash) }
}
