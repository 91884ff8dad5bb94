//! What may be taken of the host's memory without pressing other programs, asked anew each time: limits change while a
//! program runs.

use crate::group::memory::{self, Left};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Memory that is left to the host's other programs when a context is begun in the fast mode: so many bytes and a sixteenth
/// of what there is.
const LEFT_FREE: u64 = 512 << 20;
/// Size of a reserved huge page as algorithms use them, in bytes.
const HUGE_PAGE: u64 = 2 << 20;

/// Bytes that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// In ordinary pages: the least of what the host and the control groups of the process leave.
    pub(super) ordinary: u64,
    /// What the control groups alone leave.
    pub(super) group: u64,
    /// In reserved huge pages that nobody has or was promised. They count as used in what the host has.
    pub(super) reserved: u64,
    /// Of all kinds: what our own file leaves.
    pub(super) own: u64,
}

impl Room {
    /// As the host stands now; `limit` is what our own file allows the whole process, in bytes.
    pub(super) fn now(limit: Option<u64>) -> Self {
        let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let free = System::new_with_specifics(wanted)
            .map_or(0, |system| spare(system.available_memory(), system.total_memory()));
        let Left { memory, reserved } = memory::left();
        let group = memory.unwrap_or(u64::MAX);
        Self {
            ordinary: free.min(group),
            group,
            reserved: unpromised().min(reserved.unwrap_or(u64::MAX)),
            own: limit.map_or(u64::MAX, |limit| limit.saturating_sub(resident())),
        }
    }

    /// Whether areas of so many bytes find a place. Each lies in reserved huge pages as a whole or not at all.
    pub(super) fn fits(self, areas: &[u64]) -> bool {
        let (mut reserved, mut ordinary) = (self.reserved, 0_u64);
        for area in areas {
            let pages = area.next_multiple_of(HUGE_PAGE);
            match reserved.checked_sub(pages) {
                Some(left) => reserved = left,
                None => ordinary = ordinary.saturating_add(*area),
            }
        }
        let all = areas.iter().fold(0_u64, |sum, area| sum.saturating_add(*area));
        ordinary <= self.ordinary && all <= self.own
    }
}

/// What may be taken of memory without pressing other programs, in bytes.
fn spare(available: u64, total: u64) -> u64 {
    available.saturating_sub(LEFT_FREE).saturating_sub(total / 16)
}

/// Bytes in reserved huge pages that are free and promised to nobody.
fn unpromised() -> u64 {
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", HUGE_PAGE >> 10);
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).ok()?.trim().parse::<u64>().ok();
    let (free, promised) = (read("free_hugepages").unwrap_or(0), read("resv_hugepages").unwrap_or(0));
    free.saturating_sub(promised).saturating_mul(HUGE_PAGE)
}

/// Memory of this process in bytes, reserved huge pages too; nothing where the system does not tell.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let reserved = status.lines().find_map(|line| line.strip_prefix("HugetlbPages:"));
    let reserved = reserved.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    pages.saturating_mul(page.unwrap_or(4096)).saturating_add(reserved.unwrap_or(0).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn other_programs_keep_half_a_gibibyte_and_a_sixteenth_of_the_memory() {
        assert_eq!(spare(4 * GIB, 16 * GIB), 2 * GIB + GIB / 2);
        assert_eq!(spare(GIB, 16 * GIB), 0);
    }

    #[test]
    fn the_workers_own_limit_leaves_only_what_it_has_not_taken() {
        assert_eq!(Room::now(Some(0)).own, 0);
        assert!(Room::now(Some(1 << 40)).own <= 1 << 40);
        assert_eq!(Room::now(None).own, u64::MAX);
    }

    #[test]
    fn reserved_huge_pages_are_room_although_the_host_counts_them_as_used() {
        let (cache, dataset) = (256 << 20, 2_080 << 20);
        let wanted = [dataset, cache];
        let room = |ordinary_mib: u64, pages: u64, own_mib: u64| Room {
            ordinary: ordinary_mib << 20,
            group: u64::MAX,
            reserved: pages * HUGE_PAGE,
            own: own_mib << 20,
        };
        for (ordinary, pages, own, fits) in [
            (2_336, 0, 4_096, true),
            (2_335, 0, 4_096, false),
            // All in reserved pages, though the host has nothing else to spare.
            (0, 1_168, 4_096, true),
            (0, 1_167, 4_096, false),
            // The data set in reserved pages, the cache beside them.
            (256, 1_040, 4_096, true),
            (255, 1_040, 4_096, false),
            // Too few for the data set: they serve the cache.
            (2_080, 1_039, 4_096, true),
            (2_079, 1_039, 4_096, false),
            // Our own file counts pages of every kind.
            (0, 1_168, 2_335, false),
        ] {
            assert_eq!(room(ordinary, pages, own).fits(&wanted), fits, "{ordinary} {pages} {own}");
        }
    }
}
