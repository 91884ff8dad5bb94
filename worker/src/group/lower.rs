//! Lowering a group: the writes.

use super::{
    hierarchy::Hierarchy,
    share::{Offer, Placement, evaluate},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Groups that this program makes begin so and end with its process id.
pub const PREFIX: &str = "dcmf-search-";
/// Most groups of one process.
const MAX_GROUPS: usize = 64;
/// Most groups that are looked at when those of dead processes are removed.
const MAX_ENTRIES: usize = 4_096;

/// What was lowered, and how it is raised again.
#[derive(Debug)]
pub enum Lowered {
    /// A group of our own that holds search threads only; removed at the end.
    Made {
        /// Its folder.
        folder: PathBuf,
        /// Where its threads go at the end.
        home: PathBuf,
        /// Version.
        offer: Offer,
    },
    /// The group in which this process is and nothing else; raised again at the end.
    Own {
        /// Its folder.
        folder: PathBuf,
        /// `cpu.weight` as it was.
        before: String,
    },
    /// A group that the administrator made.
    Given {
        /// Its folder.
        folder: PathBuf,
        /// Version.
        offer: Offer,
    },
}

fn thread_file(offer: Offer) -> &'static str {
    if offer == Offer::V1 { "tasks" } else { "cgroup.threads" }
}

impl Lowered {
    /// The group in which search threads are.
    pub fn folder(&self) -> &Path {
        let (Self::Made { folder, .. } | Self::Own { folder, .. } | Self::Given { folder, .. }) = self;
        folder
    }

    /// Moves a thread of this process into it.
    pub fn add(&self, tid: i32) -> io::Result<()> {
        match self {
            Self::Made { folder, offer, .. } | Self::Given { folder, offer } => {
                fs::write(folder.join(thread_file(*offer)), tid.to_string())
            }
            Self::Own { .. } => Ok(()),
        }
    }

    /// Lowers it once more: systemd writes the weights of its units again when it reloads.
    pub fn again(&self) -> io::Result<()> {
        match self {
            Self::Made { folder, .. } => least(folder),
            Self::Own { folder, .. } if is_idle(folder) => Ok(()),
            Self::Own { folder, .. } => fs::write(folder.join("cpu.weight"), "1"),
            Self::Given { .. } => Ok(()),
        }
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        match self {
            Self::Made { folder, home, offer } => remove(folder, home, *offer),
            // Where it cannot be raised, it is gone with its processes.
            Self::Own { folder, before } => drop(fs::write(folder.join("cpu.weight"), before.trim())),
            Self::Given { .. } => {}
        }
    }
}

fn is_idle(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cpu.idle")).is_ok_and(|idle| idle.trim() == "1")
}

/// The least that the kernel offers: idle, else the least weight.
fn least(folder: &Path) -> io::Result<()> {
    let writes = [("cpu.idle", "1"), ("cpu.shares", "2"), ("cpu.weight", "1")];
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for (file, value) in writes {
        let file = folder.join(file);
        if file.exists() {
            outcome = fs::write(file, value);
            if outcome.is_ok() {
                break;
            }
        }
    }
    outcome
}

fn remove(folder: &Path, home: &Path, offer: Offer) {
    let threads = fs::read_to_string(folder.join(thread_file(offer))).unwrap_or_default();
    for tid in threads.lines() {
        // A thread that has ended meanwhile cannot be moved and need not be.
        let _ = fs::write(home.join(thread_file(offer)), tid);
    }
    if let Err(error) = fs::remove_dir(folder) {
        tracing::warn!(%error, "the group {} stays; the next start removes it", folder.display());
    }
}

/// Removes the groups of processes that are gone. Gives how many.
pub fn remove_stale(parent: &Path) -> usize {
    let Ok(entries) = fs::read_dir(parent) else { return 0 };
    let stale = entries.take(MAX_ENTRIES).flatten().filter(|entry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    stale.filter(|entry| fs::remove_dir(entry.path()).is_ok()).count()
}

/// A new group, with a number after its name when there is one of that name: a process may hold several workers.
fn create(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let mut outcome = Err(io::ErrorKind::AlreadyExists.into());
    for n in 0..MAX_GROUPS {
        let folder = if n == 0 { parent.join(name) } else { parent.join(format!("{name}-{n}")) };
        outcome = fs::create_dir(&folder).map(|()| folder);
        if outcome.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            break;
        }
    }
    outcome
}

/// Makes the group `name` below `parent` and lowers it.
fn make(parent: &Path, name: &str, hierarchy: &Hierarchy) -> io::Result<Lowered> {
    let folder = create(parent, name)?;
    // From here on it is removed when something fails.
    let made = Lowered::Made { folder, home: hierarchy.own.clone(), offer: hierarchy.offer };
    if hierarchy.offer == Offer::V2 {
        fs::write(made.folder().join("cgroup.type"), "threaded")?;
    }
    least(made.folder())?;
    Ok(made)
}

/// Lowers what can be lowered so that `placement` becomes gentle. The text says what was done.
pub fn lower(hierarchy: &Hierarchy, name: &str, placement: &Placement) -> (Option<Lowered>, String) {
    let in_root = hierarchy.own == hierarchy.mount;
    let outcome = match hierarchy.offer {
        Offer::V1 => lower_v1(hierarchy, name, placement),
        Offer::V2 if in_root && hierarchy.whole => lower_in_root_of_v2(hierarchy, name),
        _ => lower_own(hierarchy),
    };
    match outcome {
        Ok((lowered, done)) => (Some(lowered), done),
        Err(why) => (None, format!("nothing could be lowered: {why}")),
    }
}

type Outcome = Result<(Lowered, String), String>;

/// Below the own group; where that does not help because a level above is met, at the top, unless there is a limit that
/// would be left.
fn lower_v1(hierarchy: &Hierarchy, name: &str, placement: &Placement) -> Outcome {
    let gentle = |lowered: &Lowered| {
        let levels = hierarchy.levels(lowered.folder());
        evaluate(&Placement { levels, ..placement.clone() }, "").gentle
    };
    let below = make(&hierarchy.own, name, hierarchy);
    let helps = below.as_ref().is_ok_and(gentle);
    if !helps
        && hierarchy.own != hierarchy.mount
        && !hierarchy.limited(&hierarchy.own)
        && let Ok(top) = make(&hierarchy.mount, name, hierarchy)
    {
        return Ok((top, "search threads are in a lowered group at the top".to_owned()));
    }
    let said = |error: io::Error| format!("{}: {error}", hierarchy.own.display());
    Ok((below.map_err(said)?, "search threads are in a lowered group below the worker's own".to_owned()))
}

/// The root alone may hold processes and threaded groups beside each other.
fn lower_in_root_of_v2(hierarchy: &Hierarchy, name: &str) -> Outcome {
    let said = |error: io::Error| format!("{}: {error}", hierarchy.mount.display());
    let enabled = hierarchy.mount.join("cgroup.subtree_control");
    if !fs::read_to_string(&enabled).map_err(said)?.split_whitespace().any(|c| c == "cpu") {
        fs::write(&enabled, "+cpu").map_err(said)?;
    }
    let made = make(&hierarchy.mount, name, hierarchy).map_err(said)?;
    Ok((made, "search threads are in a lowered group at the top".to_owned()))
}

/// Threads cannot leave their process's group in version 2, and a threaded group inside of it does not help against
/// what is beside it. The least weight instead of idle: the worker's other threads live from it as well.
fn lower_own(hierarchy: &Hierarchy) -> Outcome {
    let own = &hierarchy.own;
    let said = |error: io::Error| format!("{}: {error}", own.display());
    if is_idle(own) {
        let folder = own.clone();
        return Ok((
            Lowered::Given { folder, offer: Offer::V2 },
            "the worker's own group is idle".to_owned(),
        ));
    }
    let processes = fs::read_to_string(own.join("cgroup.procs")).map_err(said)?;
    let pid = std::process::id().to_string();
    if processes.lines().any(|line| line != pid) {
        return Err(format!("the group {} holds other processes too", own.display()));
    }
    let before = fs::read_to_string(own.join("cpu.weight")).map_err(said)?;
    fs::write(own.join("cpu.weight"), "1").map_err(said)?;
    let lowered = Lowered::Own { folder: own.clone(), before };
    Ok((lowered, "the worker's own group has the least weight".to_owned()))
}
