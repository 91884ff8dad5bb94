//! Control groups that the benchmark makes for miners.

use crate::coordinator::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// How they are called.
const PREFIX: &str = "dcmf-bench-";

/// A control group. Dropped, it is removed; who is in it must have ended.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// Makes one beside this process, in the hierarchy of this version.
    pub fn create(version: u8, idle: bool) -> Result<Self, Failure> {
        let root = root(version)?;
        let path = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("{} cannot be made: {e}", path.display()))?;
        let group = Self(path);
        if idle {
            let file = group.0.join("cpu.idle");
            fs::write(&file, "1").map_err(|e| format!("{} cannot be set: {e}", file.display()))?;
        }
        Ok(group)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.0
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
