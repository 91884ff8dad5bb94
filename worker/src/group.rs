//! The scheduling group of the search: lowering it, and checking what share the search would really get.
//!
//! Priority works only inside one scheduling group: an idle-class thread in a group of default weight takes half of a
//! processor from the program beside it. So the group is lowered where the host lets us, and [`SearchGroup::check`] tells
//! at the start and every minute what came of it. [`share`] evaluates, [`hierarchy`] reads, [`lower`] writes.

pub mod hierarchy;
pub mod lower;
pub mod memory;
pub mod share;

use hierarchy::Found;
use lower::Lowered;
use share::{Offer, Placement, Weight, evaluate};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use memory::MemoryLimit;
pub use share::GroupReport;

/// Which group the search is to be in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The gentlest that can be had.
    #[default]
    Auto,
    /// That of the process, as it is.
    None,
    /// A group that the administrator made: its folder.
    Path(PathBuf),
}

/// Why a thread is not in the group.
#[derive(Debug, thiserror::Error)]
#[error("thread {tid} cannot be moved into the group {folder}: {source}; it stays where it was")]
pub struct AddError {
    /// Kernel id of the thread.
    pub tid: i32,
    /// The group.
    pub folder: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The group of the search threads. Dropped, what was made is removed and what was lowered is raised again.
#[derive(Debug)]
pub struct SearchGroup {
    place: Found,
    lowered: Option<Lowered>,
    used: String,
    thread: Weight,
}

impl SearchGroup {
    /// Makes or takes the group, for threads of the class `thread`. What cannot be done is told by the report.
    pub fn open(choice: &Choice, thread: Weight) -> Self {
        let name = format!("{}{}", lower::PREFIX, std::process::id());
        Self::open_as(choice, thread, &name)
    }

    /// As [`SearchGroup::open`], for a group of another name.
    pub(crate) fn open_as(choice: &Choice, thread: Weight, name: &str) -> Self {
        let place = hierarchy::look("cpu");
        let mut group = Self { place, lowered: None, used: "nothing was lowered".to_owned(), thread };
        let Found::Here(hierarchy) = &group.place else { return group };
        match choice {
            Choice::None => group.used = "the host's file says to lower nothing".to_owned(),
            Choice::Path(folder) if folder.starts_with(&hierarchy.mount) && folder.is_dir() => {
                group.used = format!("search threads are in {}, as the host's file says", folder.display());
                group.lowered = Some(Lowered::Given { folder: folder.clone(), offer: hierarchy.offer });
            }
            Choice::Path(folder) => {
                group.used = format!("{} is no group below {}", folder.display(), hierarchy.mount.display());
            }
            Choice::Auto => {
                let stale = [&hierarchy.own, &hierarchy.mount].map(|folder| lower::remove_stale(folder));
                if stale.iter().any(|n| *n > 0) {
                    tracing::info!(
                        groups = stale.iter().sum::<usize>(),
                        "groups of ended workers were removed"
                    );
                }
                let placement = group.placement();
                (group.lowered, group.used) = lower::lower(hierarchy, name, &placement);
            }
        }
        group
    }

    /// Moves a search thread into it. Only search threads belong there.
    pub fn add(&self, tid: i32) -> Result<(), AddError> {
        let Some(lowered) = &self.lowered else { return Ok(()) };
        let folder = || lowered.folder().to_owned();
        lowered.add(tid).map_err(|source| AddError { tid, folder: folder(), source })
    }

    /// Where search threads go, if anywhere.
    pub fn folder(&self) -> Option<&Path> {
        self.lowered.as_ref().map(Lowered::folder)
    }

    /// Lowers the group once more if somebody raised it, and tells what share the search would get.
    pub fn check(&self) -> GroupReport {
        if let Some(error) = self.lowered.as_ref().and_then(|lowered| lowered.again().err()) {
            tracing::warn!(%error, "the search's group cannot be lowered again");
        }
        evaluate(&self.placement(), &self.used)
    }

    fn placement(&self) -> Placement {
        let session = session();
        let thread = self.thread;
        match &self.place {
            Found::Here(hierarchy) => {
                let group = self.folder().unwrap_or(&hierarchy.own);
                Placement { offer: hierarchy.offer, levels: hierarchy.levels(group), session, thread }
            }
            Found::Hidden => {
                Placement { offer: Offer::None, levels: vec![hierarchy::hidden(Offer::V2)], session, thread }
            }
            Found::Nowhere => Placement { offer: Offer::None, levels: Vec::new(), session, thread },
        }
    }
}

/// What the search would get if nothing were lowered, and nothing is.
pub fn check() -> GroupReport {
    SearchGroup::open(&Choice::None, Weight::Idle).check()
}

/// The nice value of the session's automatic group, where the kernel makes such groups.
fn session() -> Option<i8> {
    let enabled = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").ok()?;
    if enabled.trim() != "1" {
        return None;
    }
    parse_session(&fs::read_to_string("/proc/self/autogroup").ok()?)
}

/// As the kernel writes it: `/autogroup-38 nice 0`.
fn parse_session(text: &str) -> Option<i8> {
    text.split_once(" nice ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests;
