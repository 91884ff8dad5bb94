//! The engine, what guests may import, and loading.

use crate::{
    ComponentAlgorithm, Limits, LoadError, SandboxError,
    error::tame,
    guest::Guest,
    interface::{self, ComponentPre},
    kernels::{self, Kernel},
    limits::MAX_STACK,
    ticker::Ticker,
};
use algorithm_api::Algorithm;
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};
use wasmtime::{
    Config, Engine, Module,
    component::{Component, Linker, types::ComponentItem},
};

/// The module `(module (func))`.
const TRIVIAL: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

/// SHA-256 of a component's bytes: what a certificate of it names.
pub fn digest(component: &[u8]) -> [u8; 32] {
    Sha256::digest(component).into()
}

/// Where components run: one engine and one thread that interrupts, for the whole process.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    ticker: Ticker,
    linker: Linker<Guest>,
    kernels: Vec<Kernel>,
    limits: Limits,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels: Vec<_> = self.0.kernels.iter().map(|kernel| kernel.name).collect();
        f.debug_struct("Sandbox")
            .field("limits", &self.0.limits)
            .field("kernels", &kernels)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// A sandbox whose components may call the kernels that are among `permitted`. To be made by a thread that is not in the idle
    /// class, since the thread that interrupts inherits its class. Where a permit is withdrawn, make another, load anew and drop this.
    pub fn new(limits: Limits, permitted: &[&'static dyn Algorithm]) -> Result<Self, SandboxError> {
        let engine = |error: wasmtime::Error| SandboxError::Engine(tame(&error.root_cause().to_string()));
        let kernels = kernels::among(permitted);
        let wasm = Engine::new(&config()).map_err(engine)?;
        // Where memory may not become executable, it is the host that is at fault and not the first component.
        Module::new(&wasm, TRIVIAL).map_err(engine)?;
        let mut linker = Linker::new(&wasm);
        kernels::link(&mut linker, &kernels).map_err(engine)?;
        let ticker = Ticker::start(wasm.clone())?;
        Ok(Self(Arc::new(Inner { engine: wasm, ticker, linker, kernels, limits })))
    }

    /// Compiles a component on the calling thread and asks it what it is. A part of a second for a small one.
    pub fn load(&self, bytes: &[u8]) -> Result<ComponentAlgorithm, LoadError> {
        let most = self.0.limits.component_len;
        if bytes.len() > most {
            return Err(LoadError::TooBig { len: bytes.len(), most });
        }
        let reason = |error: wasmtime::Error| tame(&error.root_cause().to_string());
        let component =
            Component::new(&self.0.engine, bytes).map_err(|error| LoadError::NotAComponent(reason(error)))?;
        self.check_imports(&component)?;
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld(tame(&format!("{error:#}")));
        let pre = self.0.linker.instantiate_pre(&component).map_err(wrong_world)?;
        ComponentAlgorithm::new(self.clone(), ComponentPre::new(pre).map_err(wrong_world)?)
    }

    /// Names the first import that is not offered. What is offered with another type is found when it is linked.
    fn check_imports(&self, component: &Component) -> Result<(), LoadError> {
        let engine = &self.0.engine;
        let offered = |name: &str| self.0.kernels.iter().any(|kernel| kernel.name == name);
        for (name, import) in component.component_type().imports(engine) {
            let refused = match import.ty {
                ComponentItem::ComponentInstance(_) if name == interface::TYPES => None,
                ComponentItem::ComponentInstance(kernels) if name == interface::KERNELS => kernels
                    .exports(engine)
                    .find(|(name, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)) && !offered(name))
                    .map(|(function, _)| format!("{name} {function}")),
                _ => Some(name.to_owned()),
            };
            if let Some(refused) = refused {
                return Err(LoadError::NotOffered(tame(&refused)));
            }
        }
        Ok(())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }
}

/// The same result on every processor, and nothing that is not needed.
fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(MAX_STACK)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None);
    config
}
