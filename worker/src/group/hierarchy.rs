//! Reading where a process stands: `/proc/<pid>/cgroup`, the mounts, and the files of each group.

use super::share::{Level, Offer, Weight};
use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

/// The name space of control groups in which the host itself started.
const INITIAL_NAME_SPACE: &str = "cgroup:[4026531835]";
/// Deepest path that is walked.
const MAX_DEPTH: usize = 64;

/// A control group hierarchy that this process can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Version.
    pub offer: Offer,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The process's own group, a folder at or below `mount`.
    pub own: PathBuf,
    /// The mount shows the whole hierarchy; otherwise there are levels above that cannot be seen.
    pub whole: bool,
}

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In a hierarchy that can be walked.
    Here(Hierarchy),
    /// In groups that this process cannot see, as in many containers.
    Hidden,
    /// In no group of that controller.
    Nowhere,
}

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// `/proc/self/cgroup`.
    pub cgroup: &'a str,
    /// `/proc/self/mountinfo`.
    pub mountinfo: &'a str,
    /// Paths begin at the real root: this is no name space of a container.
    pub real_root: bool,
}

/// Looks where this process stands in the hierarchy of `controller`.
pub fn look(controller: &str) -> Found {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cgroup, mountinfo) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let space = fs::read_link("/proc/self/ns/cgroup").unwrap_or_default();
    let told =
        Told { cgroup: &cgroup, mountinfo: &mountinfo, real_root: space == Path::new(INITIAL_NAME_SPACE) };
    find(controller, told)
}

/// The place in the hierarchy of `controller`.
pub fn find(controller: &str, told: Told<'_>) -> Found {
    let Some((offer, path)) = path(controller, told.cgroup) else { return Found::Nowhere };
    match hierarchy(controller, offer, path, told) {
        Some(hierarchy) => Found::Here(hierarchy),
        None if path == "/" && told.real_root => Found::Nowhere,
        None => Found::Hidden,
    }
}

fn path<'a>(controller: &str, cgroup: &'a str) -> Option<(Offer, &'a str)> {
    let v1 = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    match v1 {
        Some(path) => Some((Offer::V1, path)),
        None => Some((Offer::V2, cgroup.lines().find_map(|line| line.strip_prefix("0::"))?)),
    }
}

/// The best of the mounts that show the process's own group: the one of the whole hierarchy, else the one that shows most of
/// it. Another program may have mounted a part of the hierarchy elsewhere, before or after the one that serves us.
fn hierarchy(controller: &str, offer: Offer, path: &str, told: Told<'_>) -> Option<Hierarchy> {
    let is_ours = |mount: &Mount| match offer {
        Offer::V1 => mount.kind == "cgroup" && mount.options.split(',').any(|o| o == controller),
        _ => mount.kind == "cgroup2",
    };
    let mounts = told.mountinfo.lines().filter_map(Mount::parse).filter(is_ours);
    let shown = mounts.filter_map(|mount| {
        let below = Path::new(path).strip_prefix(&mount.root).ok()?.to_owned();
        // A path with "..": the process stands outside of what the mount shows.
        below.components().all(|c| matches!(c, Component::Normal(_))).then_some((mount, below))
    });
    // Of several alike the first.
    let (mount, below) = shown.min_by_key(|(mount, _)| mount.root.components().count())?;
    // Joining an empty path would add a slash.
    let own = if below == Path::new("") { mount.folder.clone() } else { mount.folder.join(below) };
    let whole = mount.root == Path::new("/") && told.real_root;
    Some(Hierarchy { offer, mount: mount.folder, own, whole })
}

struct Mount<'a> {
    root: PathBuf,
    folder: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// A line as proc_pid_mountinfo(5) describes it.
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, folder) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let (kind, _source, options) = (back.next()?, back.next()?, back.next()?);
        Some(Self { root: unescaped(root), folder: unescaped(folder), kind, options })
    }
}

/// Undoes what the kernel does to a path in mountinfo: a space, tab, newline and backslash stand there in three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let octal = |digits: &[u8]| {
        let value = digits.iter().try_fold(0_u32, |sum, digit| match digit {
            b'0'..=b'7' => Some(sum * 8 + u32::from(digit - b'0')),
            _ => None,
        });
        value.and_then(|value| u8::try_from(value).ok())
    };
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| after.get(..3).and_then(octal)).flatten();
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

impl Hierarchy {
    /// The levels from the top down to `group`; what cannot be seen counts as default weight.
    pub fn levels(&self, group: &Path) -> Vec<Level> {
        let Ok(below) = group.strip_prefix(&self.mount) else { return Vec::new() };
        let mut folder = self.mount.clone();
        let mut levels = if self.whole { Vec::new() } else { vec![hidden(self.offer)] };
        for part in below.components().take(MAX_DEPTH) {
            let parent = folder.clone();
            folder.push(part);
            // Without the controller a group of version 2 is none to the scheduler.
            if self.offer == Offer::V2 && !["cpu.weight", "cpu.idle"].iter().any(|f| folder.join(f).exists())
            {
                continue;
            }
            let path = folder.strip_prefix(&self.mount).unwrap_or(&folder);
            levels.push(Level {
                path: format!("/{}", path.display()),
                weight: self.weight(&folder),
                alone: alone(&parent, &folder),
            });
        }
        levels
    }

    fn weight(&self, group: &Path) -> Weight {
        let read = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        if read("cpu.idle") == Some(1) {
            return Weight::Idle;
        }
        match self.offer {
            Offer::V1 => Weight::Shares(read("cpu.shares").unwrap_or(1_024)),
            _ => Weight::Weight(read("cpu.weight").unwrap_or(100)),
        }
    }

    /// Some group on the way to `group` has a limit of processor time, which nobody may leave.
    pub fn limited(&self, group: &Path) -> bool {
        group.ancestors().take_while(|folder| *folder != self.mount).take(MAX_DEPTH).any(|folder| {
            let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            match self.offer {
                Offer::V1 => read("cpu.cfs_quota_us").trim().parse::<i64>().is_ok_and(|quota| quota > 0),
                _ => read("cpu.max").split(' ').next().is_some_and(|max| !max.is_empty() && max != "max"),
            }
        })
    }
}

/// What stands above that which a container shows.
pub fn hidden(offer: Offer) -> Level {
    let weight = if offer == Offer::V1 { Weight::Shares(1_024) } else { Weight::Weight(100) };
    Level {
        path: "that holds this container, which cannot be seen from inside,".to_owned(),
        weight,
        alone: false,
    }
}

/// No other group and no task is beside `folder`.
fn alone(parent: &Path, folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(parent) else { return false };
    let others = entries.flatten().any(|entry| {
        entry.path() != folder
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && populated(&entry.path())
    });
    let tasks = ["tasks", "cgroup.threads", "cgroup.procs"]
        .into_iter()
        .find_map(|file| fs::read_to_string(parent.join(file)).ok());
    !others && tasks.is_some_and(|tasks| tasks.trim().is_empty())
}

/// Version 2 says whether a group holds a process at any depth; version 1 does not, so its groups count.
fn populated(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events"))
        .map_or(true, |events| !events.lines().any(|line| line == "populated 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "30 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const CONTAINER: &str =
        "700 690 0:29 /docker/ab /sys/fs/cgroup/cpu ro,nosuid master:11 - cgroup cgroup rw,cpu\n";

    #[test]
    fn the_own_group_is_found_on_every_kind_of_host() {
        let real_root = true;
        for (cgroup, mountinfo, wanted) in [
            ("5:cpu,cpuacct:/a/b\n0::/x\n", V1, Some((Offer::V1, "/sys/fs/cgroup/cpu,cpuacct/a/b", true))),
            ("1:cpu:/\n0::/\n", V1, Some((Offer::V1, "/sys/fs/cgroup/cpu,cpuacct", true))),
            (
                "0::/system.slice/w.service\n",
                V2,
                Some((Offer::V2, "/sys/fs/cgroup/system.slice/w.service", true)),
            ),
            ("4:cpu:/docker/ab/c\n", CONTAINER, Some((Offer::V1, "/sys/fs/cgroup/cpu/c", false))),
            ("4:cpu:/docker/ab\n", CONTAINER, Some((Offer::V1, "/sys/fs/cgroup/cpu", false))),
            ("4:cpu:/other\n", CONTAINER, None),
            ("4:cpu:/docker/abc\n", CONTAINER, None),
            ("0::/../x\n", V2, None),
            ("0::/x\n", "", None),
        ] {
            let wanted = wanted.map_or(Found::Hidden, |(offer, own, whole)| {
                let groups =
                    mountinfo.lines().filter_map(Mount::parse).filter(|m| m.kind.starts_with("cgroup"));
                let mount = groups.map(|m| m.folder).find(|m| Path::new(own).starts_with(m)).unwrap();
                Found::Here(Hierarchy { offer, mount, own: own.into(), whole })
            });
            assert_eq!(find("cpu", Told { cgroup, mountinfo, real_root }), wanted, "{cgroup}");
        }
        for (cgroup, mountinfo) in [("", V2), ("a:b\n::\n0:", "x - y\n - \n"), ("0::/\n", "")] {
            assert_eq!(find("cpu", Told { cgroup, mountinfo, real_root }), Found::Nowhere, "{cgroup}");
        }
        let inside = find("cpu", Told { cgroup: "0::/\n", mountinfo: V2, real_root: false });
        assert!(matches!(inside, Found::Here(Hierarchy { whole: false, .. })), "{inside:?}");
        assert_eq!(find("cpu", Told { cgroup: "0::/\n", mountinfo: "", real_root: false }), Found::Hidden);
    }

    /// Groups as folders with files, as the kernel shows them.
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mount = folder.path().to_owned();
        let hierarchy = Hierarchy { offer: Offer::V2, own: mount.clone(), mount, whole: true };
        (folder, hierarchy)
    }

    #[test]
    fn another_mount_of_the_controller_before_the_right_one_and_escapes_hide_nothing() {
        let part = "90 23 0:29 /docker/ab12 /var/lib/box/ab12/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n";
        let before = format!("{part}{V1}");
        let after = format!("{V1}{part}");
        let only_parts = "90 23 0:29 /a/b/c /mnt/c rw - cgroup cgroup rw,cpu\n\
            91 23 0:29 /a /mnt/a rw - cgroup cgroup rw,cpu\n92 23 0:29 /a/b /mnt/b rw - cgroup cgroup rw,cpu\n";
        let escaped = "700 690 0:29 /machine.slice/systemd-nspawn@web\\134x2d1.service /sys/fs/cgroup/cpu rw,nosuid \
            master:11 - cgroup cgroup rw,cpu,cpuacct\n";
        let strange = "30 23 0:26 /a\\040b\\011c\\012d\\134e /mnt/x\\040y\\134z\\9 rw - cgroup2 cgroup2 rw\n";
        for (cgroup, mountinfo, own, whole) in [
            (
                "5:cpu,cpuacct:/system.slice/w.service\n",
                &*before,
                "/sys/fs/cgroup/cpu,cpuacct/system.slice/w.service",
                true,
            ),
            (
                "5:cpu,cpuacct:/system.slice/w.service\n",
                &after,
                "/sys/fs/cgroup/cpu,cpuacct/system.slice/w.service",
                true,
            ),
            ("5:cpu,cpuacct:/docker/ab12/w\n", &before, "/sys/fs/cgroup/cpu,cpuacct/docker/ab12/w", true),
            ("5:cpu,cpuacct:/docker/ab12/w\n", part, "/var/lib/box/ab12/cgroup/cpu/w", false),
            ("5:cpu:/a/b/c/d\n", only_parts, "/mnt/a/b/c/d", false),
            (
                "5:cpu,cpuacct:/machine.slice/systemd-nspawn@web\\x2d1.service/w\n",
                escaped,
                "/sys/fs/cgroup/cpu/w",
                false,
            ),
            ("0::/a b\tc\nd\\e/w\n", strange, "", false),
            (
                "0::/a b\tc\n",
                "30 23 0:26 /a\\040b\\011c /mnt/x\\040y\\134z\\9 rw - cgroup2 cgroup2 rw\n",
                "/mnt/x y\\z\\9",
                false,
            ),
        ] {
            let found = find("cpu", Told { cgroup, mountinfo, real_root: true });
            match &found {
                Found::Here(here) => assert_eq!((here.own.as_path(), here.whole), (Path::new(own), whole)),
                _ => assert_eq!(own, "", "{cgroup:?}"),
            }
        }
    }

    #[test]
    fn the_levels_are_read_from_the_top_with_what_is_beside_them() {
        let (folder, hierarchy) = tree(&[
            ("cgroup.procs", ""),
            ("top/cpu.weight", "100\n"),
            ("top/cgroup.procs", ""),
            ("top/w/cpu.idle", "1\n"),
            ("top/other/cgroup.events", "populated 1\nfrozen 0\n"),
            ("empty/cgroup.events", "populated 0\nfrozen 0\n"),
        ]);
        let levels = hierarchy.levels(&folder.path().join("top/w"));
        let wanted = [
            Level { path: "/top".into(), weight: Weight::Weight(100), alone: true },
            Level { path: "/top/w".into(), weight: Weight::Idle, alone: false },
        ];
        assert_eq!(levels, wanted);
        assert_eq!(hierarchy.levels(folder.path()), []);
        assert_eq!(
            hierarchy.levels(&folder.path().join("empty")),
            [],
            "without the controller it is no group"
        );
        let container = Hierarchy { whole: false, ..hierarchy.clone() };
        assert_eq!(container.levels(folder.path()), [hidden(Offer::V2)]);
        assert_eq!(hierarchy.levels(Path::new("/elsewhere")), []);
    }

    #[test]
    fn a_limit_anywhere_on_the_way_is_seen() {
        let (folder, hierarchy) =
            tree(&[("a/cpu.max", "50000 100000\n"), ("a/b/cpu.max", "max 100000\n"), ("c/x", "")]);
        assert!(hierarchy.limited(&folder.path().join("a/b")));
        assert!(!hierarchy.limited(&folder.path().join("c")));
    }
}
