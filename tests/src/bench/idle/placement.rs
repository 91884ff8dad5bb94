//! Where a miner is put beside the application.

use crate::process::Launch;
use std::path::{Path, PathBuf};

/// Becomes the program named after the file, as a member of that group from its first instruction on.
const JOIN: &str = "echo $$ >\"$0\" && exec \"$@\"";

/// Where a miner is put; by default into the application's session and control group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// A session of its own, as a service has.
    pub own_session: bool,
    /// A control group.
    pub group: Option<PathBuf>,
}

impl Placement {
    /// What starts `program` there; arguments can be added.
    pub fn launch(&self, name: &str, program: PathBuf, logs: &Path) -> Launch {
        let launch = match &self.group {
            None => Launch::new(name, program, logs),
            Some(group) => Launch::new(name, "/bin/sh", logs)
                .args(["-c", JOIN])
                .args([group.join("cgroup.procs").as_os_str(), program.as_os_str()]),
        };
        if self.own_session { launch.own_session() } else { launch }
    }
}
