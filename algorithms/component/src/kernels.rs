//! Native algorithms that guests may call, in batches short enough to be interrupted between them.

use crate::{
    guest::Guest,
    interface::{self, Finding, Range, Scanned, Word256},
    slice::{Slice, positions_with, thread_time},
};
use algorithm_api::{Algorithm, Search, Target};
use wasmtime::{
    StoreContextMut,
    component::{Linker, LinkerInstance},
};

/// Each kernel: its name in `wit/algorithm.wit`, and the algorithm and version that it is.
const KERNELS: [(&str, &str, u32); 3] =
    [("sha256d-scan", "sha256d", 1), ("scrypt-scan", "scrypt-1024-1-1", 1), ("blake3-scan", "blake3", 1)];
/// Length of a position in a finding of a kernel, in bytes.
const POSITION_LEN: usize = 4;
/// Most findings of one batch, whatever the guest asks for.
const MAX_FINDINGS: u32 = crate::limits::MAX_FINDINGS;

/// A kernel that is offered.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Its name as an import.
    pub(crate) name: &'static str,
    algorithm: &'static dyn Algorithm,
}

/// The kernels among `permitted`.
pub(crate) fn among(permitted: &[&'static dyn Algorithm]) -> Vec<Kernel> {
    let is = |algorithm: &dyn Algorithm, id: &str, version: u32| {
        let descriptor = algorithm.descriptor();
        descriptor.id == id
            && descriptor.version == version
            && descriptor.finding_len == (POSITION_LEN..=POSITION_LEN)
    };
    let kernel = |(name, id, version)| {
        let algorithm = permitted.iter().copied().find(|algorithm| is(*algorithm, id, version))?;
        Some(Kernel { name, algorithm })
    };
    KERNELS.into_iter().filter_map(kernel).collect()
}

/// What one instance's kernels have prepared: for each the input of the last call, which the next one most likely has too.
#[derive(Default)]
pub(crate) struct Prepared(Vec<(&'static str, Input)>);

struct Input {
    bytes: Vec<u8>,
    search: Box<dyn Search>,
    slice: Slice,
}

impl Prepared {
    fn input(&mut self, kernel: Kernel, bytes: Vec<u8>) -> Result<&mut Input, String> {
        let place = self.0.iter().position(|(name, _)| *name == kernel.name);
        let slice = match place.map(|place| self.0.swap_remove(place)) {
            Some(kept) if kept.1.bytes == bytes => {
                self.0.push(kept);
                return self.0.last_mut().map(|(_, input)| input).ok_or_else(String::new);
            }
            Some((_, input)) => input.slice,
            None => Slice::default(),
        };
        let search = kernel.algorithm.prepare(&bytes).map_err(|error| error.to_string())?;
        self.0.push((kernel.name, Input { bytes, search, slice }));
        self.0.last_mut().map(|(_, input)| input).ok_or_else(String::new)
    }
}

type Arguments = (Vec<u8>, Range, u64, Word256, u32);

/// Makes the kernels known to a linker.
pub(crate) fn link(linker: &mut Linker<Guest>, kernels: &[Kernel]) -> wasmtime::Result<()> {
    let mut instance: LinkerInstance<'_, Guest> = linker.instance(interface::KERNELS)?;
    for kernel in kernels.iter().copied() {
        instance.func_wrap(
            kernel.name,
            move |mut store: StoreContextMut<'_, Guest>, (input, range, budget, target, most): Arguments| {
                let prepared = &mut store.data_mut().prepared;
                let target = Target::from_le_bytes(interface::to_le_bytes(target));
                let scanned =
                    prepared.input(kernel, input).map(|input| scan(input, range, budget, &target, most));
                Ok((scanned,))
            },
        )?;
    }
    Ok(())
}

/// Scans a batch: as many positions as take about a slice, and no more than `most` findings.
fn scan(input: &mut Input, range: Range, budget: u64, target: &Target, most: u32) -> Scanned {
    let most = most.clamp(1, MAX_FINDINGS);
    let mut range = algorithm_api::Range { next: range.next, end: range.end };
    let budget = budget.min(input.slice.positions()).min(positions_with(most, target));
    let mut findings = Vec::new();
    let mut next = None;
    let mut sink = |finding: algorithm_api::Finding<'_>| {
        let Ok(bytes) = <[u8; POSITION_LEN]>::try_from(finding.bytes) else { return };
        let position = u64::from(u32::from_le_bytes(bytes));
        if findings.len() < most as usize {
            let hash = interface::from_le_bytes(finding.hash);
            findings.push(Finding { position, bytes: bytes.into(), hash });
        } else if next.is_none() {
            // The guest comes again for it.
            next = Some(position);
        }
    };
    let began = thread_time();
    let done = input.search.search(&mut range, budget, target, &mut sink);
    input.slice.measure(done, thread_time().saturating_sub(began));
    Scanned { next: next.unwrap_or(range.next), findings }
}
