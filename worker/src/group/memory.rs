//! Memory and control groups: the hard limit that the host's file names, and what the limits of the groups leave.

use super::{
    hierarchy::{self, Found, Hierarchy},
    share::Offer,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Name of the group of version 1 that limits the memory of this process.
const PREFIX: &str = "dcmf-worker-";

/// What came of `max_memory_mib`; dropped, the group that was made for it is removed.
#[derive(Debug)]
pub struct MemoryLimit {
    /// The kernel keeps the limit.
    pub limited: bool,
    /// How, or why not; for people.
    pub detail: String,
    made: Option<(PathBuf, PathBuf)>,
}

impl MemoryLimit {
    /// Limits the memory of this process to `mib`, where a control group lets it.
    pub fn set(mib: u64) -> Self {
        match limit(mib) {
            Ok((detail, made)) => Self { limited: true, detail, made },
            Err(why) => {
                let hint = "set MemoryMax in the systemd unit instead";
                Self { limited: false, detail: format!("memory is not limited: {why}; {hint}"), made: None }
            }
        }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let Some((folder, home)) = &self.made else { return };
        // A group that cannot be left stays; the next start removes it.
        let _ = fs::write(home.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(folder);
    }
}

/// Deepest path of groups that is walked.
const MAX_DEPTH: usize = 64;
/// Limits from so many bytes on are none: version 1 writes the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

/// What the control groups of this process leave, in bytes; `None` where none has a limit that can be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Of memory in ordinary pages.
    pub memory: Option<u64>,
    /// Of reserved huge pages of 2 MiB.
    pub reserved: Option<u64>,
}

/// Looks at the own group and every one above it: the tightest holds, be it the unit's `MemoryMax=` or a slice's.
pub fn left() -> Left {
    let of = |controller: &str, left: fn(&Hierarchy) -> Option<u64>| match hierarchy::look(controller) {
        Found::Here(hierarchy) => left(&hierarchy),
        Found::Hidden | Found::Nowhere => None,
    };
    Left { memory: of("memory", memory_left), reserved: of("hugetlb", reserved_left) }
}

/// The least that a group on the way up leaves, as `left` tells it.
fn tightest(hierarchy: &Hierarchy, left: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let groups = hierarchy.own.ancestors().take(MAX_DEPTH);
    groups.take_while(|folder| folder.starts_with(&hierarchy.mount)).filter_map(left).min()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// The lowest of the limits in these files that is one.
fn limit_in(folder: &Path, files: &[&str]) -> Option<u64> {
    files.iter().filter_map(|file| number(folder, file)).filter(|limit| *limit < NO_LIMIT).min()
}

/// Beyond `memory.high` the kernel slows a group down until it gives memory back, so it counts as a limit.
fn memory_left(hierarchy: &Hierarchy) -> Option<u64> {
    let (limits, used, cached): (&[&str], _, _) = match hierarchy.offer {
        Offer::V1 => (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file "),
        _ => (&["memory.max", "memory.high"], "memory.current", "inactive_file "),
    };
    tightest(hierarchy, |folder| {
        let limit = limit_in(folder, limits)?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse::<u64>().ok());
        // What files hold and nobody has touched for long is given up before anything is refused.
        let held = number(folder, used)?.saturating_sub(cached.unwrap_or(0));
        Some(limit.saturating_sub(held))
    })
}

fn reserved_left(hierarchy: &Hierarchy) -> Option<u64> {
    let of = |folder: &Path, limit: &str, used: &str| {
        Some(limit_in(folder, &[limit])?.saturating_sub(number(folder, used)?))
    };
    tightest(hierarchy, |folder| {
        let each = match hierarchy.offer {
            Offer::V1 => [
                of(folder, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.usage_in_bytes"),
                of(folder, "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.usage_in_bytes"),
            ],
            _ => [
                of(folder, "hugetlb.2MB.max", "hugetlb.2MB.current"),
                of(folder, "hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.current"),
            ],
        };
        each.into_iter().flatten().min()
    })
}

type Made = Option<(PathBuf, PathBuf)>;

fn limit(mib: u64) -> Result<(String, Made), String> {
    let bytes = mib.saturating_mul(1024 * 1024).to_string();
    let Found::Here(hierarchy) = hierarchy::look("memory") else {
        return Err("this host shows no memory controller".to_owned());
    };
    let own = hierarchy.own.clone();
    let said = |error: io::Error| format!("{}: {error}", own.display());
    let pid = std::process::id().to_string();
    if hierarchy.offer == Offer::V2 {
        let processes = fs::read_to_string(own.join("cgroup.procs")).map_err(said)?;
        if processes.lines().any(|line| line != pid) {
            return Err(format!("the group {} holds other processes too", own.display()));
        }
        fs::write(own.join("memory.max"), &bytes).map_err(said)?;
        return Ok((format!("memory is limited to {mib} MiB in {}", own.display()), None));
    }
    remove_stale(&own);
    let folder = own.join(format!("{PREFIX}{pid}"));
    fs::create_dir(&folder).map_err(said)?;
    let entered = fs::write(folder.join("memory.limit_in_bytes"), &bytes)
        .and_then(|()| fs::write(folder.join("cgroup.procs"), &pid));
    if let Err(error) = entered {
        // Nothing is in it.
        let _ = fs::remove_dir(&folder);
        return Err(said(error));
    }
    Ok((format!("memory is limited to {mib} MiB in {}", folder.display()), Some((folder, own))))
}

fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another worker may have removed it first.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups as folders with files, as the kernel shows them; the own group is `a/b`.
    fn tree(offer: Offer, files: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let folder = tempfile::tempdir().unwrap();
        let (mount, own) = (folder.path().join("mount"), folder.path().join("mount/a/b"));
        fs::create_dir_all(&own).unwrap();
        for (path, text) in files {
            fs::write(folder.path().join(path), text).unwrap();
        }
        (folder, Hierarchy { offer, mount, own, whole: true })
    }

    #[test]
    fn the_tightest_limit_of_the_own_group_and_those_above_it_holds() {
        let used = [("mount/a/memory.current", "600\n"), ("mount/a/b/memory.current", "100\n")];
        for (limits, left) in [
            (&[][..], None),
            (&[("mount/a/memory.max", "max\n"), ("mount/a/b/memory.max", "max\n")], None),
            (&[("mount/a/b/memory.max", "1000\n")], Some(900)),
            (&[("mount/a/memory.max", "1000\n"), ("mount/a/b/memory.max", "1000\n")], Some(400)),
            (&[("mount/a/b/memory.max", "1000\n"), ("mount/a/b/memory.high", "300\n")], Some(200)),
            (&[("mount/a/memory.max", "500\n"), ("mount/a/b/memory.max", "max\n")], Some(0)),
            (
                &[("mount/a/memory.max", "700\n"), ("mount/a/memory.stat", "anon 9\ninactive_file 50\n")],
                Some(150),
            ),
            // Above the mount nothing is read.
            (&[("memory.max", "1\n"), ("memory.current", "1\n")], None),
            (&[("mount/a/b/memory.max", "1x\n")], None),
        ] {
            let files: Vec<_> = used.iter().chain(limits).copied().collect();
            let (_folder, hierarchy) = tree(Offer::V2, &files);
            assert_eq!(memory_left(&hierarchy), left, "{limits:?}");
        }
    }

    #[test]
    fn version_1_says_no_limit_with_a_large_number() {
        let none = "9223372036854771712\n";
        let (_folder, hierarchy) = tree(
            Offer::V1,
            &[
                ("mount/a/memory.limit_in_bytes", none),
                ("mount/a/memory.usage_in_bytes", "5\n"),
                ("mount/a/b/memory.limit_in_bytes", "1000\n"),
                ("mount/a/b/memory.usage_in_bytes", "300\n"),
                ("mount/a/b/memory.stat", "inactive_file 1\ntotal_inactive_file 100\n"),
            ],
        );
        assert_eq!(memory_left(&hierarchy), Some(800));
    }

    #[test]
    fn a_limit_of_reserved_huge_pages_is_seen_whether_of_use_or_of_reservation() {
        let (_folder, hierarchy) = tree(
            Offer::V2,
            &[
                ("mount/a/hugetlb.2MB.max", "4194304\n"),
                ("mount/a/hugetlb.2MB.current", "2097152\n"),
                ("mount/a/b/hugetlb.2MB.max", "max\n"),
                ("mount/a/b/hugetlb.2MB.current", "0\n"),
            ],
        );
        assert_eq!(reserved_left(&hierarchy), Some(2_097_152));
        fs::write(hierarchy.own.join("hugetlb.2MB.rsvd.max"), "0\n").unwrap();
        fs::write(hierarchy.own.join("hugetlb.2MB.rsvd.current"), "0\n").unwrap();
        assert_eq!(reserved_left(&hierarchy), Some(0));
    }

    #[test]
    fn a_limit_that_is_set_while_the_process_runs_is_seen_at_the_next_look() {
        // Where this process is limited already, what is left can only become less.
        let limit = MemoryLimit::set(1 << 20);
        if !limit.limited {
            println!("NOT RUN: {}", limit.detail);
            return;
        }
        assert!(left().memory.is_some_and(|left| left <= 1 << 40), "{:?} in {}", left(), limit.detail);
    }
}
