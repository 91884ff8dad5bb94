//! The thread by which running guests are looked at.

use crate::limits::TICK;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};
use wasmtime::Engine;

/// Advances the engine's epoch every [`TICK`] while a guest runs, and rests otherwise. Dropped, the thread ends within a tick.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    ended: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let state = Arc::clone(&shared);
        let ticking = move || {
            while !state.ended.load(Ordering::Acquire) {
                if state.running.load(Ordering::Acquire) == 0 {
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        };
        let spawned = thread::Builder::new().name("wasm-epoch".to_owned()).spawn(ticking)?;
        Ok(Self { shared, thread: spawned.thread().clone() })
    }

    /// A guest runs as long as what is returned lives.
    pub(crate) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
