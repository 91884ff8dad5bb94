//! Control groups that the benchmark makes for miners.

use crate::coordinator::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
};
use worker::group::hierarchy::{self, Found, Told};

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
    let own = fs::read_to_string("/proc/self/cgroup")?;
    // On a host with both the controller is version 1's; that of the other is asked for without it.
    let wanted: String = own.lines().filter(|line| line.starts_with("0::") == (version != 1)).fold(
        String::new(),
        |mut lines, line| {
            lines.push_str(line);
            lines.push('\n');
            lines
        },
    );
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let told = Told { cgroup: &wanted, mountinfo: &mountinfo, real_root: true };
    let Found::Here(hierarchy) = hierarchy::find("cpu", told) else {
        return Err(format!("no hierarchy of version {version} divides processors here").into());
    };
    if version != 1 {
        let file = hierarchy.own.join("cgroup.subtree_control");
        let given = fs::read_to_string(&file).unwrap_or_default();
        if !given.split_whitespace().any(|controller| controller == "cpu") {
            return Err(format!("{} does not give the controller cpu to groups", file.display()).into());
        }
    }
    Ok(hierarchy.own)
}
