//! One running instance of a component, and all that bounds it.

use crate::{
    Failure, Limits,
    error::tame,
    interface::{Component, ComponentPre},
    kernels::Prepared,
    limits::{MAX_HANDED_OVER, MAX_HANDLES, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES},
    sandbox::Sandbox,
    slice::thread_time,
};
use std::time::Duration;
use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

/// What belongs to one instance on the host's side.
pub(crate) struct Guest {
    limits: Limits,
    memory_bytes: usize,
    table_elements: usize,
    /// What it was refused, since the trap that follows does not say so.
    refused: Option<String>,
    /// Processor time of the calling thread at which the call is interrupted.
    until: Duration,
    /// What its kernels have prepared.
    pub(crate) prepared: Prepared,
}

impl Guest {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
            until: Duration::ZERO,
            prepared: Prepared::default(),
        }
    }

    /// Grows `total` by what one part of it grows, if that stays within `most`.
    fn grow(total: &mut usize, current: usize, desired: usize, most: usize) -> bool {
        let wanted = total.saturating_add(desired.saturating_sub(current));
        let granted = wanted <= most;
        if granted {
            *total = wanted;
        }
        granted
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let most = self.limits.memory_bytes;
        let granted = Self::grow(&mut self.memory_bytes, current, desired, most);
        if !granted {
            self.refused = Some(format!("memory of {desired} bytes, allowed are {most}"));
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = Self::grow(&mut self.table_elements, current, desired, MAX_TABLE_ELEMENTS);
        if !granted {
            self.refused = Some(format!("a table of {desired} elements, allowed are {MAX_TABLE_ELEMENTS}"));
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// An instance. After a failure it is of no use any more.
pub(crate) struct Instance {
    sandbox: Sandbox,
    store: Store<Guest>,
    component: Component,
}

impl Instance {
    /// Starts one, which may run code of the guest already.
    pub(crate) fn start(sandbox: &Sandbox, pre: &ComponentPre<Guest>) -> Result<Self, Failure> {
        let mut store = Store::new(sandbox.engine(), Guest::new(sandbox.limits()));
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(MAX_HANDED_OVER);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|guest| {
            let spent = thread_time() >= guest.data().until;
            Ok(if spent { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
        });
        let started = bounded(sandbox, &mut store, |store| pre.instantiate(store));
        // Nothing was answered yet: without a trap it is the engine that refused to go on.
        let component = started.map_err(|failure| match failure {
            Failure::Garbage(refused) => Failure::LimitHit(refused),
            other => other,
        })?;
        Ok(Self { sandbox: sandbox.clone(), store, component })
    }

    /// Calls the guest.
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Store<Guest>, &Component) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let component = &self.component;
        bounded(&self.sandbox, &mut self.store, |store| call(store, component))
    }
}

/// Lets a guest run for as long as a call may take.
fn bounded<T>(
    sandbox: &Sandbox,
    store: &mut Store<Guest>,
    call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let call_time = sandbox.limits().call_time;
    let guest = store.data_mut();
    guest.until = thread_time() + call_time;
    guest.refused = None;
    store.set_epoch_deadline(1);
    let running = sandbox.ticker().running();
    let answer = call(store);
    drop(running);
    answer.map_err(|error| failure(&error, store.data().refused.as_deref(), call_time))
}

fn failure(error: &wasmtime::Error, refused: Option<&str>, call_time: Duration) -> Failure {
    match (error.downcast_ref::<Trap>(), refused) {
        (Some(Trap::Interrupt), _) => Failure::TimedOut(call_time),
        (_, Some(refused)) => Failure::LimitHit(refused.to_owned()),
        (Some(trap), None) => Failure::Trapped(tame(&trap.to_string())),
        (None, None) => Failure::Garbage(tame(&error.root_cause().to_string())),
    }
}
