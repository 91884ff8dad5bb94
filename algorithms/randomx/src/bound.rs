//! The algorithm over one prepared seed: machines, and hashing with two inputs in the pipeline.

use crate::{
    DESCRIPTOR, NONCE_LEN, SEED_LEN,
    blob::Blob,
    library::{Abilities, Backing, Machine, SCRATCHPAD_LEN},
};
use algorithm_api::{
    Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target,
    context::{Area, Pages},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Machines without work that are kept for the next search, at most. Each has a scratchpad.
const MAX_SPARE_MACHINES: usize = 256;

/// The algorithm for inputs that begin with one seed.
#[derive(Debug)]
pub(crate) struct Bound {
    seed: [u8; SEED_LEN],
    machines: Arc<Machines>,
}

#[derive(Debug)]
struct Machines {
    abilities: Abilities,
    backing: Backing,
    spare: Mutex<Vec<Machine>>,
}

impl Machines {
    fn spare(&self) -> MutexGuard<'_, Vec<Machine>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Result<Machine, InvalidInput> {
        let spare = self.spare().pop();
        let no_memory = InvalidInput::Malformed { what: "input", reason: "no memory for a scratchpad" };
        spare.map_or_else(|| Machine::new(self.abilities, self.backing.clone()).map_err(|_| no_memory), Ok)
    }

    fn put(&self, machine: Machine) {
        let mut spare = self.spare();
        if spare.len() < MAX_SPARE_MACHINES {
            spare.push(machine);
        }
    }
}

impl Bound {
    /// Over a filled cache or data set of this seed.
    pub(crate) fn new(seed: [u8; SEED_LEN], abilities: Abilities, backing: Backing) -> Self {
        Self { seed, machines: Arc::new(Machines { abilities, backing, spare: Mutex::default() }) }
    }

    /// The scratchpads that nobody uses at the moment; those in use are like them.
    pub(crate) fn area(&self) -> Option<Area> {
        let spare = self.machines.spare();
        let reserved = spare.iter().all(Machine::is_reserved);
        let pages = if reserved { Pages::Huge } else { Pages::Small };
        let bytes = (spare.len() * SCRATCHPAD_LEN) as u64;
        (!spare.is_empty()).then_some(Area { name: "scratchpads at rest", bytes, pages })
    }

    fn read(&self, input: &[u8]) -> Result<Blob, InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        let (seed, blob) = Blob::read(input)?;
        let reason = "it begins with another seed than the context's";
        (seed == self.seed).then_some(blob).ok_or(InvalidInput::Malformed { what: "input", reason })
    }
}

impl Algorithm for Bound {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        let blob = self.read(input)?;
        let machine = Some(self.machines.take()?);
        Ok(Box::new(Pipeline { blob, machine, home: Arc::clone(&self.machines), begun: None }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        let mut blob = self.read(input)?;
        DESCRIPTOR.check_finding(finding)?;
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(finding);
        let mut machine = self.machines.take()?;
        machine.first(blob.with(nonce));
        let hash = machine.last();
        self.machines.put(machine);
        Ok(hash)
    }
}

/// Hashes one position while the scratchpad is prepared for the next.
struct Pipeline {
    blob: Blob,
    /// Present until the drop.
    machine: Option<Machine>,
    home: Arc<Machines>,
    /// The position for which the scratchpad is prepared.
    begun: Option<u64>,
}

impl Search for Pipeline {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let scanned = range.take(budget, DESCRIPTOR.positions);
        let done = scanned.end - scanned.start;
        let Some(machine) = &mut self.machine else { return done };
        for position in scanned {
            let nonce = (position as u32).to_le_bytes();
            if self.begun != Some(position) {
                machine.first(self.blob.with(nonce));
            }
            // Also behind the last position of this call: the next call most likely goes on there, and the
            // scratchpad has to be read once more in any case.
            let next = position + 1;
            let hash = machine.next(self.blob.with((next as u32).to_le_bytes()));
            self.begun = Some(next);
            if target.is_met_by(&hash) {
                sink(Finding { bytes: &nonce, hash });
            }
        }
        done
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(machine) = self.machine.take() {
            self.home.put(machine);
        }
    }
}
