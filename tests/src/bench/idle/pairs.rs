//! Pairs of windows with and without a miner, for every wanted case.

use super::{
    figures::{Case, Notes, of_pairs},
    mining::Mining,
    modes::{Kind, Miner, Mode},
    placement::Placement,
    stage::{Application, Lengths, Stage},
    windows::{Pair, mines_first, seed},
};
use crate::{bench::Figure, coordinator::Failure, folder::RunFolder};

/// At most so many times as many pairs are measured as are wanted, because of those that do not count.
const MOST_TRIES: usize = 2;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In this order.
    pub cases: Vec<PlannedCase>,
    /// Pairs of each case that count.
    pub pairs: usize,
    /// Of each window.
    pub lengths: Lengths,
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct PlannedCase {
    /// The main application.
    pub application: Application,
    /// Share of the machine that it uses.
    pub load: f64,
    /// What is mined.
    pub algorithm: &'static str,
    /// How.
    pub mode: &'static Mode,
}

/// Measures all cases. What cannot be measured is noted and left out.
pub async fn measure(plan: &Plan, mining: &mut Mining, notes: &mut Notes) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut stages: Vec<(Stage, Vec<(f64, f64)>)> = Vec::new();
    for planned in &plan.cases {
        let case = Case {
            application: planned.application.name(),
            load: planned.load,
            algorithm: planned.algorithm,
            mode: planned.mode.name,
        };
        let place = stages.iter().position(|(stage, _)| stage.application() == planned.application);
        let place = match place {
            Some(place) => place,
            None => match Stage::start(planned.application).await {
                Ok(stage) => {
                    stages.push((stage, Vec::new()));
                    stages.len() - 1
                }
                Err(error) => {
                    notes.missing(&case, &*error);
                    continue;
                }
            },
        };
        let Some((stage, rates)) = stages.get_mut(place) else { continue };
        match one(plan, planned, &case, stage, rates, mining, notes).await {
            Ok(pairs) => figures.extend(of_pairs(&case, planned.mode.goals, &pairs, notes)),
            Err(error) => {
                notes.missing(&case, &*error);
                // Its connections may be half used.
                stages.remove(place);
            }
        }
    }
    figures
}

async fn one(
    plan: &Plan,
    planned: &PlannedCase,
    case: &Case,
    stage: &mut Stage,
    rates: &mut Vec<(f64, f64)>,
    mining: &mut Mining,
    notes: &mut Notes,
) -> Result<Vec<Pair>, Failure> {
    let known = rates.iter().find(|(load, _)| *load == planned.load).map(|(_, rate)| *rate);
    let rate = match known {
        Some(rate) => rate,
        None => {
            let rate = stage.rate(planned.load, plan.lengths).await?;
            rates.push((planned.load, rate));
            rate
        }
    };
    let logs = RunFolder::temporary()?;
    let (placement, _group) = match planned.mode.kind {
        Kind::Worker(..) => Placement::of_service(),
        Kind::Naive(_) => (Placement { own_session: planned.mode.own_session, ..Placement::default() }, None),
    };
    let mut miner = Miner::start(planned.mode, planned.algorithm, &placement, mining, &logs).await?;
    let (mut kept, mut tries) = (Vec::new(), 0);
    while kept.len() < plan.pairs && tries < plan.pairs * MOST_TRIES {
        let mut windows = [None, None];
        let order = if mines_first(tries) { [true, false] } else { [false, true] };
        for mines in order {
            let with = if mines {
                miner.resume().await?;
                Some(&mut miner)
            } else {
                None
            };
            let window = stage.window(seed(tries), rate, plan.lengths, with).await?;
            miner.pause().await?;
            windows[usize::from(mines)] = Some(window);
        }
        miner.process().check_alive()?;
        let [Some(baseline), Some(mining)] = windows else { continue };
        let pair = Pair { baseline, mining };
        notes.pair(case, tries, &pair);
        tries += 1;
        if pair.undisturbed() {
            kept.push(pair);
        }
    }
    notes.dropped(case, tries - kept.len());
    Ok(kept)
}
