//! A loaded component as an [`Algorithm`].

use crate::{
    Failure, LoadError, Sandbox,
    error::tame,
    findings::{self, Asked},
    guest::{Guest, Instance},
    interface::{self, ComponentPre, Lengths},
    limits::{
        MAX_FINDING_LEN, MAX_FINDINGS, MAX_ID_LEN, MAX_IDLE_VERIFIERS, MAX_INPUT_LEN,
        VERIFICATIONS_PER_INSTANCE,
    },
    slice::{Slice, positions_with, thread_time},
};
use algorithm_api::{Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target};
use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};
use wasmtime::component::ResourceAny;

/// A component that was compiled and has said what it is.
#[derive(Clone)]
pub struct ComponentAlgorithm(Arc<Loaded>);

struct Loaded {
    sandbox: Sandbox,
    pre: ComponentPre<Guest>,
    descriptor: Descriptor,
    verifiers: Mutex<Vec<Verifier>>,
}

/// An instance that verifies, and how often it may yet.
struct Verifier {
    instance: Instance,
    left: u32,
}

impl fmt::Debug for ComponentAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentAlgorithm").field("descriptor", &self.0.descriptor).finish_non_exhaustive()
    }
}

impl ComponentAlgorithm {
    pub(crate) fn new(sandbox: Sandbox, pre: ComponentPre<Guest>) -> Result<Self, LoadError> {
        let mut instance = Instance::start(&sandbox, &pre)?;
        let said =
            instance.call(|store, component| component.dcmf_algorithm_algorithm().call_describe(store))?;
        let most_memory = sandbox.limits().memory_bytes as u64;
        let descriptor = read_descriptor(said, most_memory).map_err(LoadError::Descriptor)?;
        Ok(Self(Arc::new(Loaded { sandbox, pre, descriptor, verifiers: Mutex::default() })))
    }

    fn verifier(&self) -> Result<Verifier, Failure> {
        let idle = self.0.verifiers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let start = || {
            let instance = Instance::start(&self.0.sandbox, &self.0.pre)?;
            Ok(Verifier { instance, left: VERIFICATIONS_PER_INSTANCE })
        };
        idle.map_or_else(start, Ok)
    }

    /// Keeps an instance that has not failed.
    fn keep(&self, verifier: Verifier) {
        let mut idle = self.0.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        if verifier.left > 0 && idle.len() < MAX_IDLE_VERIFIERS {
            idle.push(verifier);
        }
    }
}

fn failed(failure: &Failure) -> InvalidInput {
    InvalidInput::Failed { reason: failure.to_string() }
}

impl Algorithm for ComponentAlgorithm {
    fn descriptor(&self) -> &Descriptor {
        &self.0.descriptor
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        self.0.descriptor.check_input(input)?;
        let prepare = || {
            let mut instance = Instance::start(&self.0.sandbox, &self.0.pre)?;
            let answer = instance
                .call(|store, component| component.dcmf_algorithm_algorithm().call_prepare(store, input))?;
            Ok((instance, answer))
        };
        let (instance, answer) = prepare().map_err(|failure| failed(&failure))?;
        let prepared =
            answer.map_err(|reason| InvalidInput::Refused { what: "input", reason: tame(&reason) })?;
        Ok(Box::new(ComponentSearch {
            loaded: Arc::clone(&self.0),
            running: Ok((instance, prepared)),
            slice: Slice::default(),
        }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        self.0.descriptor.check_input(input)?;
        self.0.descriptor.check_finding(finding)?;
        let mut verifier = self.verifier().map_err(|failure| failed(&failure))?;
        let answer = verifier
            .instance
            .call(|store, component| component.dcmf_algorithm_algorithm().call_verify(store, input, finding))
            .map_err(|failure| failed(&failure))?;
        verifier.left -= 1;
        self.keep(verifier);
        answer
            .map(interface::to_le_bytes)
            .map_err(|reason| InvalidInput::Refused { what: "finding", reason: tame(&reason) })
    }
}

/// A prepared input, in an instance of its own.
struct ComponentSearch {
    loaded: Arc<Loaded>,
    running: Result<(Instance, ResourceAny), Failure>,
    slice: Slice,
}

impl Search for ComponentSearch {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let mut ahead = *range;
        let wanted = ahead.take(budget, self.loaded.descriptor.positions);
        range.end = ahead.end;
        while range.next < wanted.end {
            match self.scan(range.next, wanted.end, target, sink) {
                Ok(next) => range.next = next,
                Err(failure) => {
                    self.running = Err(failure);
                    break;
                }
            }
        }
        range.next - wanted.start
    }

    fn failure(&self) -> Option<String> {
        self.running.as_ref().err().map(ToString::to_string)
    }
}

impl ComponentSearch {
    /// Lets the guest scan from `next` on, and says how far it came.
    fn scan(
        &mut self,
        next: u64,
        end: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> Result<u64, Failure> {
        let (instance, prepared) = self.running.as_mut().map_err(|failure| failure.clone())?;
        let budget = (end - next).min(self.slice.positions()).min(positions_with(MAX_FINDINGS, target));
        let asked = Asked { next, end: next + budget, target: *target, most: MAX_FINDINGS };
        let (range, word) =
            (interface::Range { next, end: asked.end }, interface::from_le_bytes(target.to_le_bytes()));
        let began = thread_time();
        let said = instance.call(|store, component| {
            let search = component.dcmf_algorithm_algorithm().search();
            search.call_scan(store, *prepared, range, budget, word, asked.most)
        })?;
        let took = thread_time().saturating_sub(began);
        findings::check(&asked, &said, &self.loaded.descriptor)?;
        self.slice.measure(said.next - next, took);
        for finding in &said.findings {
            sink(Finding { bytes: &finding.bytes, hash: interface::to_le_bytes(finding.hash) });
        }
        Ok(said.next)
    }
}

/// Believes a guest's words about itself if they are within bounds.
fn read_descriptor(said: interface::Descriptor, most_memory: u64) -> Result<Descriptor, String> {
    let interface::Descriptor { id, version, input, finding, positions, memory_bytes_per_thread } = said;
    if id.is_empty() || id.len() > MAX_ID_LEN || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        let id = tame(&id);
        return Err(format!("the id {id:?} is not of 1 to {MAX_ID_LEN} letters, digits and -"));
    }
    if positions == 0 {
        return Err("it has no positions".to_owned());
    }
    if memory_bytes_per_thread > most_memory {
        return Err(format!("it wants {memory_bytes_per_thread} bytes of memory, allowed are {most_memory}"));
    }
    Ok(Descriptor {
        id: id.into(),
        version,
        input_len: lengths("input", input, MAX_INPUT_LEN)?,
        finding_len: lengths("finding", finding, MAX_FINDING_LEN)?,
        positions,
        memory_bytes_per_thread,
    })
}

fn lengths(what: &str, said: Lengths, most: u32) -> Result<RangeInclusive<usize>, String> {
    let Lengths { shortest, longest } = said;
    if shortest > longest || longest > most {
        return Err(format!("{what} lengths of {shortest} to {longest} bytes, allowed are up to {most}"));
    }
    Ok(shortest as usize..=longest as usize)
}
