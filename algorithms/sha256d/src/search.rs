//! From a path's candidates to findings: exact for every target, in order, nothing twice.

use algorithm_api::{Finding, Range, Search, Target};

use crate::{
    DESCRIPTOR,
    path::{CheckedPath, Prepared},
};

/// A prepared header.
pub(crate) struct HeaderSearch {
    pub(crate) prepared: Prepared,
    /// That in use, one of the following two.
    pub(crate) path: CheckedPath,
    pub(crate) wide: CheckedPath,
    pub(crate) narrow: CheckedPath,
}

impl Search for HeaderSearch {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let scanned = range.take(budget, DESCRIPTOR.positions);
        let lanes = u64::from(self.path.lanes());
        let top = top_word(target);
        let mut next = scanned.start;
        while let Some(stop) =
            self.path.find(&mut self.prepared, next as u32, scanned.end.saturating_sub(next), top)
        {
            let batch = next + stop.before;
            // The last batch may reach past the end: those lanes are not looked at.
            for position in batch..scanned.end.min(batch + lanes) {
                if stop.candidates >> (position - batch) & 1 == 1 {
                    let nonce = position as u32;
                    let hash = self.prepared.header.hash(nonce);
                    if target.is_met_by(&hash) {
                        sink(Finding { bytes: &nonce.to_le_bytes(), hash });
                    }
                }
            }
            next = batch + lanes;
        }
        scanned.end - scanned.start
    }

    fn avoid_wide_vectors(&mut self, avoid: bool) {
        self.path = if avoid { self.narrow } else { self.wide };
    }
}

/// A hash whose top 32 bits are above these of the target does not meet it.
fn top_word(target: &Target) -> u32 {
    let [.., a, b, c, d] = target.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
