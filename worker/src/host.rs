//! What the host is and offers.

use bus_schemas::{AlgorithmId, member::Capability};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Longest name of a processor that is told, in bytes.
const MAX_PROCESSOR_LEN: usize = 128;

/// Looks at the host. What it does not tell is empty: it is for display only.
pub fn capability(max_threads: u16, algorithms: Vec<AlgorithmId>) -> Capability {
    let wanted = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(wanted)
        .inspect_err(|error| tracing::warn!(%error, "the host does not tell its memory and processor"))
        .ok();
    let processor = system.as_ref().and_then(|s| s.cpus().first()).map_or("", |cpu| cpu.brand());
    Capability {
        threads: max_threads,
        memory_mib: system.as_ref().map_or(0, |s| s.total_memory() / (1024 * 1024)),
        processor: processor.chars().take(MAX_PROCESSOR_LEN / 4).collect(),
        algorithms,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
