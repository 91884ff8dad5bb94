//! What share of the machine a miner gets while the application wants all of it, in every way it can be deployed.

use super::{
    figures::{Notes, figure},
    mining::Mining,
    modes::{MODES, Miner},
    placement::Placement,
    processor_time::processors,
    stage::saturate,
};
use crate::{bench::Figure, coordinator::Failure, folder::RunFolder};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The miner's share at most.
const GOAL: f64 = 0.01;
/// How long the miner may take to answer to the load before the share is measured.
const SETTLE: Duration = Duration::from_millis(500);
/// How the groups of the benchmark are called.
const GROUP: &str = "dcmf-bench-";
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

const DEPLOYMENTS: [Deployment; 10] = [
    deployment("same-group", Place::SameGroup),
    deployment("own-session", Place::OwnSession),
    deployment("cgroup-v1-idle", Place::ControlGroup { version: 1, idle: true }),
    deployment("cgroup-v1-default", Place::ControlGroup { version: 1, idle: false }),
    deployment("cgroup-v2-idle", Place::ControlGroup { version: 2, idle: true }),
    deployment("cgroup-v2-default", Place::ControlGroup { version: 2, idle: false }),
    deployment("container", Place::Container),
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
    };
    let wanted = if deployment.worker { "worker" } else { "nice19" };
    let mode = MODES.iter().find(|mode| mode.name == wanted).ok_or("the table of modes has no such mode")?;
    let placement = Placement {
        own_session: matches!(deployment.place, Place::OwnSession | Place::Container),
        container: deployment.place == Place::Container,
        group: group.as_ref().map(|group| group.0.clone()),
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

/// A control group. Dropped, it is removed; who is in it must have ended.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn create(version: u8, idle: bool) -> Result<Self, Failure> {
        let root = root(version)?;
        let path = root.join(format!("{GROUP}{}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("{} cannot be made: {e}", path.display()))?;
        let group = Self(path);
        if idle {
            let file = group.0.join("cpu.idle");
            fs::write(&file, "1").map_err(|e| format!("{} cannot be set: {e}", file.display()))?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a group with those that the miner made inside.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(path) {
        tracing::warn!(path = %path.display(), %error, "a control group is left behind");
    }
}

/// Where groups that divide processors can be made: the group that this process is in.
fn root(version: u8) -> Result<PathBuf, Failure> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let found = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        match version {
            1 => (name == "cgroup" && options.split(',').any(|option| option == "cpu")).then_some(point),
            _ => (name == "cgroup2").then_some(point),
        }
    });
    let point = found.ok_or(format!("no hierarchy of version {version} divides processors here"))?;
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = if version == 1 {
            controllers.split(',').any(|controller| controller == "cpu")
        } else {
            number == "0"
        };
        fits.then_some(path)
    });
    let root = Path::new(point).join(path.unwrap_or("/").trim_start_matches('/'));
    if version != 1 {
        let file = root.join("cgroup.subtree_control");
        let given = fs::read_to_string(&file).unwrap_or_default();
        if !given.split_whitespace().any(|controller| controller == "cpu") {
            return Err(format!("{} does not give the controller cpu to groups", file.display()).into());
        }
    }
    Ok(root)
}
