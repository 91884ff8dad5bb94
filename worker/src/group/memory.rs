//! The hard limit of memory that the host's file names.

use super::{
    hierarchy::{self, Found},
    share::Offer,
};
use std::{fs, io, path::PathBuf};

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

fn remove_stale(parent: &std::path::Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            // Another worker may have removed it first.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
