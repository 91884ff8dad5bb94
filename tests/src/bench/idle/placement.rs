//! Where a miner is put beside the application.

use crate::process::Launch;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
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
}

impl Placement {
    /// What starts `program` there; arguments can be added.
    pub fn launch(&self, name: &str, program: PathBuf, logs: &Path) -> Launch {
        let mut line: Vec<OsString> = Vec::new();
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
