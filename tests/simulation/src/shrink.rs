//! Finds few steps of a failing seed that fail as well.

use crate::run::{Report, run};
use std::collections::BTreeSet;

/// Most simulations that are spent on one seed.
const MOST_RUNS: usize = 160;

/// Drops steps while it still fails. Gives the smallest failing report that was found.
pub fn shrink(failing: Report) -> Report {
    let mut best = failing;
    let mut runs = 0;
    let mut chunk = best.steps.len().div_ceil(2);
    while chunk > 0 && runs < MOST_RUNS {
        let mut from = 0;
        let mut dropped = false;
        while from < best.steps.len() && runs < MOST_RUNS {
            let without = best.steps.iter().enumerate().filter(|(n, _)| !(from..from + chunk).contains(n));
            let only: BTreeSet<usize> = without.map(|(_, (place, _))| *place).collect();
            let mut options = best.options.clone();
            options.only = Some(only);
            runs += 1;
            let report = run(&options);
            if report.failure.is_some() {
                (best, dropped) = (report, true);
            } else {
                from += chunk;
            }
        }
        if chunk == 1 && !dropped {
            break;
        }
        chunk = if chunk == 1 { 1 } else { chunk / 2 };
    }
    best
}
