//! Where a miner is put beside the application.

use super::control_group::Group;
use crate::{coordinator::Failure, process::Launch};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Becomes the program named after the file, as a member of that group from its first instruction on.
const JOIN: &str = "echo $$ >\"$0\" && exec \"$@\"";

/// Becomes the program as one in a container sees the host: name spaces of its own, and no control groups to be seen.
const ENCLOSE: &str =
    "umount -R /sys/fs/cgroup && mount -t tmpfs -o ro none /sys/fs/cgroup && exec \"$0\" \"$@\"";

/// Where a miner is put; by default into the application's session and control group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// A session of its own, as a service has.
    pub own_session: bool,
    /// A control group.
    pub group: Option<PathBuf>,
    /// A container: mount, control group, host name and IPC name spaces of its own (unshare of util-linux; wants root).
    pub container: bool,
    /// A unit of systemd, in the slice of `worker/systemd`.
    pub unit: bool,
}

/// Whether systemd runs here and knows the slice.
pub fn check_unit() -> Result<(), Failure> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err("systemd does not run here".into());
    }
    let shown = Command::new("systemctl")
        .args(["show", "--property", "FragmentPath", "--value", "dcmf.slice"])
        .output()?;
    if shown.stdout.trim_ascii().is_empty() {
        return Err("systemd does not know the slice; put worker/systemd into /etc/systemd/system".into());
    }
    Ok(())
}

impl Placement {
    /// As a service of this host is placed: in a unit where systemd runs, in an idle group where control groups of version 2
    /// divide processors, since its threads cannot leave the process's group there; else where the caller is, and it makes a
    /// group itself. The group lives as long as the second part.
    pub fn of_service() -> (Self, Option<Group>) {
        let unit = check_unit().is_ok();
        let group = if unit { None } else { Group::create(2, true).ok() };
        let folder = group.as_ref().map(|group| group.path().to_owned());
        (Self { unit, group: folder, own_session: true, container: false }, group)
    }

    /// What starts `program` there; arguments can be added.
    pub fn launch(&self, name: &str, program: PathBuf, logs: &Path) -> Launch {
        let mut line: Vec<OsString> = Vec::new();
        if self.unit {
            line.extend(["/usr/bin/systemd-run", "--scope", "--quiet", "--collect"].map(OsString::from));
            line.extend(["--slice=dcmf.slice", "--property=CPUWeight=idle", "--"].map(OsString::from));
        }
        if let Some(group) = &self.group {
            line.extend(["/bin/sh", "-c", JOIN].map(OsString::from));
            line.push(group.join("cgroup.procs").into());
        }
        if self.container {
            line.extend(["/usr/bin/unshare", "--mount", "--cgroup", "--uts", "--ipc"].map(OsString::from));
            line.extend(["/bin/sh", "-c", ENCLOSE].map(OsString::from));
        }
        line.push(program.into());
        let arguments = line.split_off(1);
        let launch = Launch::new(name, line.remove(0), logs).args(arguments);
        if self.own_session { launch.own_session() } else { launch }
    }
}
