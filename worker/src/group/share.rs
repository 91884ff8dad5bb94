//! What share of a processor the search gets beside a busy program: pure, from a described hierarchy.
//!
//! The kernel shares a processor between the members of one group by their weights, and then within each of them. Two
//! programs meet at the level where their paths part, so a weight helps only against what is beside that very level:
//! the least gentle level decides.

use std::fmt::{self, Write};

/// Weight of a default group and of a default thread.
const DEFAULT_WEIGHT: u64 = 1_024;
/// The most that the kernel takes for `cpu.shares` and `cpu.weight`.
const MOST_SHARES: u64 = 262_144;
const MOST_WEIGHT: u64 = 10_000;
/// Weight of an idle group and of a thread of the idle class.
const IDLE_WEIGHT: u64 = 3;
/// Weight of a thread or session of nice 0 to 19; each step is a quarter less (`sched_prio_to_weight` of the kernel).
const NICE_WEIGHTS: [u64; 20] =
    [1_024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15];
/// The search is gentle up to this share, thousandths.
pub const GENTLE_PERMILLE: u16 = 10;

/// How a member of a group is weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Idle: runs when nothing else of its group wants to.
    Idle,
    /// `cpu.shares` of version 1, where 1024 is the default.
    Shares(u64),
    /// `cpu.weight` of version 2, where 100 is the default.
    Weight(u64),
    /// The nice value of a thread or a session.
    Nice(i8),
}

impl Weight {
    fn value(self) -> u64 {
        match self {
            Self::Idle => IDLE_WEIGHT,
            Self::Shares(shares) => shares.clamp(2, MOST_SHARES),
            Self::Weight(weight) => (weight.clamp(1, MOST_WEIGHT) * DEFAULT_WEIGHT + 50) / 100,
            Self::Nice(nice) => {
                let nice = usize::try_from(nice).unwrap_or(0);
                NICE_WEIGHTS.get(nice).copied().unwrap_or(DEFAULT_WEIGHT)
            }
        }
    }

    /// Share of a processor beside one busy member of default weight, thousandths, rounded up.
    fn share_permille(self) -> u16 {
        let weight = self.value();
        let share = weight.saturating_mul(1_000).div_ceil(weight.saturating_add(DEFAULT_WEIGHT));
        u16::try_from(share).unwrap_or(1_000)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Shares(shares) => write!(f, "shares {shares}"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Nice(nice) => write!(f, "nice {nice}"),
        }
    }
}

/// What offers groups of processor time on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Control groups of version 1.
    V1,
    /// Control groups of version 2.
    V2,
    /// No control groups for the processor.
    None,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
            Self::None => "no cgroup for processor time",
        })
    }
}

/// A group on the path to the search, from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Its path below the root.
    pub path: String,
    /// How it is weighed against what is beside it.
    pub weight: Weight,
    /// Nothing is beside it, so its weight does not matter.
    pub alone: bool,
}

/// Where the search runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// What the host offers.
    pub offer: Offer,
    /// The groups from the top down to that of the search; empty in the root.
    pub levels: Vec<Level>,
    /// Nice value of the session's automatic group, where those are in use. It holds only in the root.
    pub session: Option<i8>,
    /// The class of the search threads themselves.
    pub thread: Weight,
}

/// What came of looking at a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// The search leaves a busy program all but a hundredth of a processor.
    pub gentle: bool,
    /// The search has a group of its own that is idle: what is in it interrupts nothing, however it wakes.
    pub idle: bool,
    /// The share that the search gets beside one busy program of default weight, thousandths.
    pub share_permille: u16,
    /// What the host offers, what was used, what could be done; for people.
    pub detail: String,
}

/// Looks at a placement; `used` says what was done.
pub fn evaluate(placement: &Placement, used: &str) -> GroupReport {
    let mut worst = (placement.thread.share_permille(), None);
    let mut meet = |weight: Weight, name: String| {
        let share = weight.share_permille();
        if share > worst.0 {
            worst = (share, Some((name, weight)));
        }
    };
    for level in placement.levels.iter().filter(|level| !level.alone) {
        meet(level.weight, format!("group {}", level.path));
    }
    if let (true, Some(nice)) = (placement.levels.is_empty(), placement.session) {
        meet(Weight::Nice(nice), "automatic group of the session".to_owned());
    }
    let (share_permille, decides) = worst;
    let gentle = share_permille <= GENTLE_PERMILLE;
    let mut detail = format!("{}; {used}", placement.offer);
    let percent = format!("{}.{} %", share_permille / 10, share_permille % 10);
    let decider = match decides {
        Some((name, weight)) => format!("the {name} with {weight}"),
        None => format!("the threads' own class, {}", placement.thread),
    };
    // Writing to a string cannot fail.
    let _ = write!(detail, "; a busy program leaves the search {percent}, decided by {decider}");
    if !gentle {
        let _ = write!(detail, "; {}", advice(placement));
    }
    let idle = placement.levels.last().is_some_and(|level| level.weight == Weight::Idle);
    GroupReport { gentle, idle, share_permille, detail }
}

fn advice(placement: &Placement) -> &'static str {
    match placement.offer {
        Offer::V1 => {
            "let the worker write to the cpu controller, or start it in a group with cpu.idle 1 or cpu.shares 2"
        }
        Offer::V2 => {
            "start the worker as a systemd unit in a slice of its own with CPUWeight=idle (worker/systemd), or in a \
             group with cpu.idle 1 that holds nothing else"
        }
        Offer::None if placement.session.is_some() => {
            "write 19 to /proc/<pid>/autogroup for a small share, or boot with noautogroup, or mount the cpu controller"
        }
        Offer::None => "the search threads need the idle class",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(path: &str, weight: Weight) -> Level {
        Level { path: path.to_owned(), weight, alone: false }
    }

    fn alone(path: &str, weight: Weight) -> Level {
        Level { alone: true, ..level(path, weight) }
    }

    #[test]
    fn the_least_gentle_level_at_which_others_are_met_decides() {
        use Weight::{Idle, Nice, Shares, Weight as W};
        for (offer, levels, session, thread, permille, gentle) in [
            (Offer::None, vec![], None, Idle, 3, true),
            (Offer::None, vec![], None, Nice(0), 500, false),
            (Offer::None, vec![], None, Nice(19), 15, false),
            // An idle-class thread in a session of default weight takes half of the machine.
            (Offer::None, vec![], Some(0), Idle, 500, false),
            (Offer::None, vec![], Some(19), Idle, 15, false),
            (Offer::None, vec![], Some(-20), Idle, 500, false),
            // In a group of its own the session does not matter.
            (Offer::V1, vec![level("/s", Idle)], Some(0), Idle, 3, true),
            (Offer::V1, vec![level("/s", Shares(2))], Some(0), Nice(19), 15, false),
            (Offer::V1, vec![level("/s", Shares(2))], Some(0), Idle, 3, true),
            (Offer::V1, vec![level("/a", Shares(1_024)), level("/a/s", Idle)], None, Idle, 500, false),
            (Offer::V2, vec![level("/w", W(1))], None, Idle, 10, true),
            (Offer::V2, vec![level("/w", W(100))], None, Idle, 500, false),
            (
                Offer::V2,
                vec![level("/system.slice", W(100)), level("/system.slice/w", Idle)],
                None,
                Idle,
                500,
                false,
            ),
            (Offer::V2, vec![level("/dcmf.slice", Idle), level("/dcmf.slice/w", Idle)], None, Idle, 3, true),
            (Offer::V2, vec![alone("/box", W(100)), level("/box/w", Idle)], None, Idle, 3, true),
            (Offer::V2, vec![level("/w", W(10_000))], None, Idle, 991, false),
            (Offer::V1, vec![level("/w", Shares(u64::MAX))], None, Idle, 997, false),
        ] {
            let placement = Placement { offer, levels, session, thread };
            let report = evaluate(&placement, "nothing was done");
            assert_eq!((report.share_permille, report.gentle), (permille, gentle), "{placement:?}");
            let last = placement.levels.last();
            assert_eq!(report.idle, last.is_some_and(|level| level.weight == Idle), "{placement:?}");
        }
    }

    #[test]
    fn the_detail_says_what_is_there_what_was_done_what_decides_and_what_to_do() {
        let levels =
            vec![level("/system.slice", Weight::Weight(100)), level("/system.slice/w", Weight::Idle)];
        let placement = Placement { offer: Offer::V2, levels, session: None, thread: Weight::Idle };
        let report = evaluate(&placement, "the own group was made idle");
        for part in [
            "cgroup v2",
            "the own group was made idle",
            "50.0 %",
            "/system.slice with weight 100",
            "CPUWeight=idle",
        ] {
            assert!(report.detail.contains(part), "{part}: {}", report.detail);
        }
        let gentle = evaluate(&Placement { levels: vec![], ..placement }, "nothing was needed");
        assert!(gentle.gentle && !gentle.detail.contains("systemd"), "{}", gentle.detail);
    }
}
