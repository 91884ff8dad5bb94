//! Pairs of windows with and without a miner, for every wanted case, and among them pairs without one in either window:
//! what they come to is chance.

use super::{
    figures::{Case, Measured, NOISE, Notes, Scene, of_all},
    interleaving::{self, Tally, due},
    mining::Mining,
    modes::{self, Miner, Mode},
    placement::Placement,
    stage::{Application, Lengths, Stage},
    windows::{Pair, other_first, seed},
};
use crate::{bench::Figure, coordinator::Failure, folder::RunFolder};

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In this order.
    pub cases: Vec<PlannedCase>,
    /// Pairs of each case that count.
    pub pairs: usize,
    /// Pairs without a miner that count, of each application under each load.
    pub noise: usize,
    /// Of each window.
    pub lengths: Lengths,
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct PlannedCase {
    /// The main application.
    pub application: Application,
    /// Share of the machine that it uses, from 0 to 1.
    pub load: f64,
    /// What is mined.
    pub algorithm: &'static str,
    /// How.
    pub mode: &'static Mode,
}

impl PlannedCase {
    fn case(&self) -> Case {
        Case {
            application: self.application.name(),
            load: self.load,
            algorithm: self.algorithm,
            mode: self.mode.name,
        }
    }
}

/// The noise of a scene, of which each of its cases brings its share.
#[derive(Debug)]
struct SceneNoise {
    scene: Scene,
    /// How many cases it has.
    cases: usize,
    /// How many of them were begun.
    begun: usize,
    tally: Tally,
}

impl SceneNoise {
    /// One for each scene of the plan, in its order.
    fn of(plan: &Plan) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for scene in plan.cases.iter().map(|planned| planned.case().scene()) {
            match all.iter_mut().find(|noise| noise.scene == scene) {
                Some(noise) => noise.cases += 1,
                None => all.push(Self { scene, cases: 1, begun: 0, tally: Tally::default() }),
            }
        }
        all
    }

    /// How many more of `all` the next case is to bring, with what those before it did not.
    fn share(&mut self, all: usize) -> usize {
        self.begun += 1;
        due(all, self.begun, self.cases).saturating_sub(self.tally.kept.len())
    }
}

/// An application that runs, and the rates that were found for loads.
type Running = (Stage, Vec<(f64, f64)>);

/// Measures all cases. What cannot be measured is noted and left out.
pub async fn measure(plan: &Plan, mining: &mut Mining, notes: &mut Notes) -> Vec<Figure> {
    let (mut measured, mut stages) = (Vec::new(), Vec::new());
    let mut noises = SceneNoise::of(plan);
    for planned in &plan.cases {
        let case = planned.case();
        let Some(noise) = noises.iter_mut().find(|noise| noise.scene == case.scene()) else { continue };
        let share = noise.share(plan.noise);
        match one(plan, planned, (&mut noise.tally, share), &mut stages, mining, notes).await {
            Ok(tally) => {
                notes.dropped(&case, tally.dropped());
                measured.push(Measured { case, goals: planned.mode.goals, pairs: tally.kept });
            }
            Err(error) => {
                notes.missing(&case, &*error);
                // Its connections may be half used.
                stages.retain(|(stage, _)| stage.application() != planned.application);
            }
        }
    }
    let mut quiet = Vec::new();
    for SceneNoise { scene, tally, .. } in noises {
        notes.dropped(&scene.without_miner(NOISE[0]), tally.dropped());
        quiet.push((scene, tally.kept));
    }
    of_all(&measured, &quiet, notes)
}

/// The stage of an application, started if it does not run.
async fn stage(stages: &mut Vec<Running>, application: Application) -> Result<&mut Running, Failure> {
    let at = match stages.iter().position(|(stage, _)| stage.application() == application) {
        Some(at) => at,
        None => {
            stages.push((Stage::start(application).await?, Vec::new()));
            stages.len() - 1
        }
    };
    stages.get_mut(at).ok_or_else(|| "the stage is gone".into())
}

/// Measures one case, and among its pairs as many of its scene's noise as are its share.
async fn one(
    plan: &Plan,
    planned: &PlannedCase,
    (noise, share): (&mut Tally, usize),
    stages: &mut Vec<Running>,
    mining: &mut Mining,
    notes: &Notes,
) -> Result<Tally, Failure> {
    let (stage, rates) = stage(stages, planned.application).await?;
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
        modes::Kind::Worker(..) => Placement::of_service(),
        modes::Kind::Naive(_) => {
            (Placement { own_session: planned.mode.own_session, ..Placement::default() }, None)
        }
    };
    let mut miner = Miner::start(planned.mode, planned.algorithm, &placement, mining, &logs).await?;
    let mut tally = Tally::default();
    let goals = (tally.goal(plan.pairs), noise.goal(share));
    while let Some(kind) = interleaving::next((&tally, goals.0), (noise, goals.1)) {
        let (of_kind, case) = match kind {
            interleaving::Kind::Mining => (&mut tally, planned.case()),
            interleaving::Kind::Noise => (&mut *noise, planned.case().scene().without_miner(NOISE[0])),
        };
        let pair = pair(kind, of_kind, (rate, plan.lengths), stage, &mut miner).await?;
        notes.pair(&case, of_kind.tries, &pair);
        of_kind.take(pair);
    }
    Ok(tally)
}

/// Measures the next pair of a tally. Whatever its kind, the miner was started before and is paused wherever it does not mine.
async fn pair(
    kind: interleaving::Kind,
    tally: &Tally,
    (rate, lengths): (f64, Lengths),
    stage: &mut Stage,
    miner: &mut Miner,
) -> Result<Pair, Failure> {
    let mut windows = [None, None];
    // One that does not count comes again in the same order: those that count alternate.
    let other_first = other_first(tally.kept.len());
    for is_other in [other_first, !other_first] {
        let with = if is_other && kind == interleaving::Kind::Mining {
            miner.resume().await?;
            Some(&mut *miner)
        } else {
            None
        };
        let window = stage.window(seed(tally.tries), rate, lengths, with).await?;
        miner.pause().await?;
        windows[usize::from(is_other)] = Some(window);
    }
    miner.process().check_alive()?;
    let [Some(baseline), Some(other)] = windows else { return Err("a window is missing".into()) };
    Ok(Pair { baseline, other, other_first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::idle::{Choice, windows::tests::UNDISTURBED};
    use std::time::Duration;

    #[test]
    fn each_application_under_each_load_has_noise_of_which_every_case_brings_its_share() {
        let lengths = Lengths { warm_up: Duration::ZERO, window: Duration::ZERO };
        let plan = Plan { cases: Choice::default().cases().unwrap(), pairs: 12, noise: 24, lengths };
        let mut noises = SceneNoise::of(&plan);
        assert_eq!(noises.iter().map(|noise| noise.cases).collect::<Vec<_>>(), [6, 6, 6, 1, 6, 6, 6]);
        let noise = &mut noises[0];
        let mut shares = Vec::new();
        for case in 0..6 {
            let share = noise.share(plan.noise);
            shares.push(share);
            // The third fails.
            (0..share).filter(|_| case != 2).for_each(|_| noise.tally.take(UNDISTURBED));
        }
        assert_eq!(shares, [4, 4, 4, 8, 4, 4]);
    }
}
