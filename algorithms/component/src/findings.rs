//! What is believed of a guest's report: only what can be so.
//!
//! Whether a hash is right is not looked at, since whoever gets the finding verifies it anyway. The rest is cheap, and keeps a guest
//! from flooding its host or from claiming work that it was not given.

use crate::{
    Failure,
    interface::{self, Scanned},
};
use algorithm_api::{Descriptor, Target};

/// What a guest was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// First position.
    pub(crate) next: u64,
    /// One past the last one; not empty.
    pub(crate) end: u64,
    /// What a finding has to meet.
    pub(crate) target: Target,
    /// Findings after which it stops.
    pub(crate) most: u32,
}

/// Refuses a report that cannot be the answer to what was asked.
pub(crate) fn check(asked: &Asked, said: &Scanned, descriptor: &Descriptor) -> Result<(), Failure> {
    let garbage = |what: String| Err(Failure::Garbage(what));
    let Asked { next, end, .. } = *asked;
    if said.next <= next || said.next > end {
        return garbage(format!("asked for {next}..{end}, it is at {}", said.next));
    }
    if said.findings.len() > asked.most as usize {
        return garbage(format!("{} findings, allowed are {}", said.findings.len(), asked.most));
    }
    let mut from = next;
    for finding in &said.findings {
        let position = finding.position;
        if position < from || position >= said.next {
            return garbage(format!("a finding at {position}, expected in {from}..{}", said.next));
        }
        if let Err(error) = descriptor.check_finding(&finding.bytes) {
            return garbage(error.to_string());
        }
        if !asked.target.is_met_by(&interface::to_le_bytes(finding.hash)) {
            return garbage(format!("the finding at {position} does not meet the target"));
        }
        from = position + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use interface::Finding;
    use std::borrow::Cow;

    const DESCRIPTOR: Descriptor = Descriptor {
        id: Cow::Borrowed("toy"),
        version: 1,
        input_len: 1..=1,
        finding_len: 1..=2,
        positions: 100,
        memory_bytes_per_thread: 0,
    };

    fn finding(position: u64, len: usize, top: u64) -> Finding {
        Finding { position, bytes: vec![7; len], hash: (0, 0, 0, top) }
    }

    #[test]
    fn a_report_is_believed_only_if_it_can_answer_what_was_asked() {
        let mut target = [0xff; 32];
        target[24..].copy_from_slice(&9_u64.to_le_bytes());
        let asked = Asked { next: 10, end: 20, target: Target::from_le_bytes(target), most: 2 };
        let said = |next, findings: &[Finding]| {
            check(&asked, &Scanned { next, findings: findings.to_vec() }, &DESCRIPTOR).is_ok()
        };
        assert!(said(20, &[]));
        assert!(said(11, &[finding(10, 1, 9)]));
        assert!(said(20, &[finding(10, 1, 0), finding(19, 2, 9)]));

        assert!(!said(10, &[]), "no progress");
        assert!(!said(9, &[]), "backwards");
        assert!(!said(21, &[]), "too far");
        assert!(!said(20, &[finding(9, 1, 0)]), "before the range");
        assert!(!said(15, &[finding(15, 1, 0)]), "not scanned");
        assert!(!said(20, &[finding(12, 1, 0), finding(12, 1, 0)]), "twice");
        assert!(!said(20, &[finding(13, 1, 0), finding(12, 1, 0)]), "not in order");
        assert!(!said(20, &[finding(12, 0, 0)]), "too short");
        assert!(!said(20, &[finding(12, 3, 0)]), "too long");
        assert!(!said(20, &[finding(12, 1, 10)]), "above the target");
        assert!(!said(20, &[finding(12, 1, 0), finding(13, 1, 0), finding(14, 1, 0)]), "too many");
        assert!(!said(u64::MAX, &[finding(u64::MAX, 1, 0)]), "beyond everything");
    }
}
