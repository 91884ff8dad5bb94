//! What share of the machine a miner gets while the application wants all of it, in every way it can be deployed.

use super::{
    control_group::Group,
    figures::{Notes, figure},
    mining::Mining,
    modes::{MODES, Miner},
    placement::{Placement, check_unit},
    processor_time::processors,
    stage::saturate,
};
use crate::{bench::Figure, coordinator::Failure, folder::RunFolder};
use serde_json::json;
use std::time::{Duration, Instant};

/// The miner's share at most.
const GOAL: f64 = 0.01;
/// How long the miner may take to answer to the load before the share is measured.
const SETTLE: Duration = Duration::from_millis(500);
/// What is mined.
const ALGORITHM: &str = "sha256d";

/// A way to deploy a miner.
#[derive(Debug, Clone, Copy)]
struct Deployment {
    name: &'static str,
    place: Place,
    /// The worker, or the naive one at nice 19 for comparison.
    worker: bool,
}

/// Where the miner is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The application's session and control group.
    SameGroup,
    /// A session of its own.
    OwnSession,
    /// A container in a control group of its own of default weight, of the version that divides processors here.
    Container,
    /// A unit of systemd in the slice of `worker/systemd`.
    SystemdUnit,
    /// A control group of its own.
    ControlGroup {
        /// The hierarchy's version.
        version: u8,
        /// Whether it is an idle one.
        idle: bool,
    },
}

const fn deployment(name: &'static str, place: Place) -> Deployment {
    Deployment { name, place, worker: true }
}

const fn naive(name: &'static str, place: Place) -> Deployment {
    Deployment { name, place, worker: false }
}

const DEPLOYMENTS: [Deployment; 11] = [
    deployment("same-group", Place::SameGroup),
    deployment("own-session", Place::OwnSession),
    deployment("cgroup-v1-idle", Place::ControlGroup { version: 1, idle: true }),
    deployment("cgroup-v1-default", Place::ControlGroup { version: 1, idle: false }),
    deployment("cgroup-v2-idle", Place::ControlGroup { version: 2, idle: true }),
    deployment("cgroup-v2-default", Place::ControlGroup { version: 2, idle: false }),
    deployment("container", Place::Container),
    deployment("systemd-unit", Place::SystemdUnit),
    naive("nice19-same-group", Place::SameGroup),
    naive("nice19-own-session", Place::OwnSession),
    naive("nice19-cgroup-v1-default", Place::ControlGroup { version: 1, idle: false }),
];

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Samples of each deployment.
    pub samples: usize,
    /// Of each sample.
    pub length: Duration,
}

/// Measures every deployment. What cannot be tried here is noted and left out.
pub async fn measure(plan: Plan, mining: &mut Mining, notes: &mut Notes) -> Vec<Figure> {
    let mut figures = Vec::new();
    for deployment in &DEPLOYMENTS {
        match one(plan, deployment, mining).await {
            Ok(samples) => {
                let goal = deployment.worker.then_some(GOAL);
                let case = [("deployment", json!(deployment.name))];
                figures.extend(figure("saturated_share", "ratio", &case, &samples, 0.5, (goal, "lower")));
            }
            Err(error) => notes.missing(&format!("saturated_share of {}", deployment.name), &*error),
        }
    }
    figures
}

async fn one(plan: Plan, deployment: &Deployment, mining: &mut Mining) -> Result<Vec<f64>, Failure> {
    let group = match deployment.place {
        Place::ControlGroup { version, idle } => Some(Group::create(version, idle)?),
        Place::Container => Some(Group::create(1, false).or_else(|_| Group::create(2, false))?),
        Place::SameGroup | Place::OwnSession => None,
        Place::SystemdUnit => {
            check_unit()?;
            None
        }
    };
    let wanted = if deployment.worker { "worker" } else { "nice19" };
    let mode = MODES.iter().find(|mode| mode.name == wanted).ok_or("the table of modes has no such mode")?;
    let placement = Placement {
        own_session: matches!(deployment.place, Place::OwnSession | Place::Container),
        container: deployment.place == Place::Container,
        group: group.as_ref().map(|group| group.path().to_owned()),
        unit: deployment.place == Place::SystemdUnit,
    };
    let folder = RunFolder::temporary()?;
    let mut miner = Miner::start(mode, ALGORITHM, &placement, mining, &folder).await?;
    let mut samples = Vec::new();
    for _ in 0..plan.samples {
        miner.resume().await?;
        let spinners = saturate(&folder).await?;
        tokio::time::sleep(SETTLE).await;
        let (begun, before) = (Instant::now(), miner.time()?);
        tokio::time::sleep(plan.length).await;
        let (time, machine) = (miner.time()?.since(&before), begun.elapsed() * processors() as u32);
        samples.push(time.as_secs_f64() / machine.as_secs_f64());
        drop(spinners);
        miner.process().check_alive()?;
        miner.pause().await?;
    }
    Ok(samples)
}
