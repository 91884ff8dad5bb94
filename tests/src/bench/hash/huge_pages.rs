//! Huge pages for the time of a benchmark, where this machine lets us reserve them.

use std::{fs, io};

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
const COMPACT: &str = "/proc/sys/vm/compact_memory";
/// The kernel finds some at each try, after it has moved what stood in the way.
const TRIES: usize = 8;

/// Pages that were not reserved before. Dropped, it gives them back.
#[derive(Debug)]
pub(super) struct HugePages {
    before: u64,
}

impl HugePages {
    /// Sees to it that `wanted` pages of 2 MiB are free. `None` where they are anyway or cannot be had; it is logged.
    pub(super) fn reserve(wanted: u64) -> Option<Self> {
        let free = free();
        if free >= wanted {
            tracing::info!("{free} huge pages are free, {wanted} are wanted");
            return None;
        }
        match try_reserve(wanted - free) {
            Ok(pages) => {
                tracing::info!(
                    "vm.nr_hugepages was {} and is {} while this runs",
                    pages.before,
                    pages.before + wanted - free
                );
                Some(pages)
            }
            Err(error) => {
                tracing::warn!(
                    "no {wanted} huge pages: {error}; everything is measured on the pages that there are"
                );
                None
            }
        }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Err(error) = fs::write(RESERVED, self.before.to_string()) {
            tracing::warn!("vm.nr_hugepages is not put back to {}: {error}", self.before);
        }
    }
}

fn free() -> u64 {
    super::super::field("/proc/meminfo", "HugePages_Free").parse().unwrap_or_default()
}

fn reserved() -> io::Result<u64> {
    fs::read_to_string(RESERVED)?.trim().parse().map_err(io::Error::other)
}

fn try_reserve(more: u64) -> io::Result<HugePages> {
    let pages = HugePages { before: reserved()? };
    let wanted = pages.before + more;
    for _ in 0..TRIES {
        fs::write(RESERVED, wanted.to_string())?;
        if reserved()? >= wanted {
            return Ok(pages);
        }
        fs::write(COMPACT, "1")?;
    }
    Err(io::Error::other(format!("memory is too scattered for vm.nr_hugepages={wanted}")))
}
