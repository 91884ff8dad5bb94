//! In which order pairs are measured: those with a miner and those that show the noise, among one another. Pure.

use super::windows::Pair;

/// At most so many times as many pairs are measured as are wanted, because of those that do not count.
const MOST_TRIES: usize = 2;

/// What a pair is measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a miner does: one of the windows has it.
    Mining,
    /// What chance does: neither has.
    Noise,
}

/// Pairs of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Those that count.
    pub kept: Vec<Pair>,
    /// How many were measured.
    pub tries: usize,
}

impl Tally {
    /// Takes a pair that was measured.
    pub fn take(&mut self, pair: Pair) {
        self.tries += 1;
        if pair.undisturbed() {
            self.kept.push(pair);
        }
    }

    /// How many do not count.
    pub fn dropped(&self) -> usize {
        self.tries - self.kept.len()
    }

    /// From here on `wanted` more are wanted.
    pub fn goal(&self, wanted: usize) -> Goal {
        Goal { kept: self.kept.len(), tries: self.tries, wanted }
    }
}

/// How many pairs more are wanted than there were at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    kept: usize,
    tries: usize,
    wanted: usize,
}

impl Goal {
    /// How far it is when the next pair is half done, as a share of all. `None` when there is no next one.
    fn next(&self, tally: &Tally) -> Option<f64> {
        let kept = tally.kept.len().saturating_sub(self.kept);
        let open = kept < self.wanted && tally.tries.saturating_sub(self.tries) < self.wanted * MOST_TRIES;
        open.then(|| (kept as f64 + 0.5) / self.wanted as f64)
    }
}

/// Which kind is next, so that both are spread evenly over the whole. `None` at the end.
pub fn next(mining: (&Tally, Goal), noise: (&Tally, Goal)) -> Option<Kind> {
    match (mining.1.next(mining.0), noise.1.next(noise.0)) {
        (None, None) => None,
        (Some(mining), Some(noise)) if noise < mining => Some(Kind::Noise),
        (Some(_), _) => Some(Kind::Mining),
        (None, Some(_)) => Some(Kind::Noise),
    }
}

/// How many of `all` are to be there after `done` of `parts` parts, each of which brings its share.
pub fn due(all: usize, done: usize, parts: usize) -> usize {
    (all * done).div_ceil(parts.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::idle::windows::tests::{STOLEN, UNDISTURBED};

    /// The order for so many wanted ones, `m` for mining and `n` for noise, while `count` says of each whether it counts.
    fn order(mining: usize, noise: usize, count: impl Fn(Kind, usize) -> bool) -> String {
        let (mut miner, mut quiet) = (Tally::default(), Tally::default());
        // What another case left behind.
        quiet.take(UNDISTURBED);
        quiet.take(STOLEN);
        let goals = (miner.goal(mining), quiet.goal(noise));
        let mut order = String::new();
        while let Some(kind) = next((&miner, goals.0), (&quiet, goals.1)) {
            let (tally, letter) = match kind {
                Kind::Mining => (&mut miner, 'm'),
                Kind::Noise => (&mut quiet, 'n'),
            };
            tally.take(if count(kind, tally.tries) { UNDISTURBED } else { STOLEN });
            order.push(letter);
        }
        order
    }

    #[test]
    fn noise_is_spread_evenly_among_what_is_measured() {
        assert_eq!(order(12, 2, |_, _| true), "mmmnmmmmmmnmmm");
        assert_eq!(order(3, 3, |_, _| true), "mnmnmn");
        assert_eq!(order(2, 4, |_, _| true), "nmnnmn");
        assert_eq!(order(2, 0, |_, _| true), "mm");
        assert_eq!(order(0, 1, |_, _| true), "n");
    }

    #[test]
    fn what_does_not_count_is_measured_again_at_most_once_for_each_that_is_wanted() {
        assert_eq!(order(2, 2, |kind, tries| kind == Kind::Noise || tries > 0), "mmnmn");
        assert_eq!(order(2, 2, |kind, _| kind == Kind::Mining), "mnnnnm");
        assert_eq!(order(1, 1, |_, _| false), "mmnn");
    }

    #[test]
    fn each_case_brings_its_share_of_the_noise() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(|done| due(12, done, 6)), [2, 4, 6, 8, 10, 12]);
        assert_eq!([1, 2, 3, 4].map(|done| due(2, done, 4)), [1, 1, 2, 2]);
        assert_eq!((due(24, 1, 1), due(0, 1, 1)), (24, 0));
    }
}
