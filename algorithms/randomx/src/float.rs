//! The floating-point control register of a thread: RandomX changes how it rounds, and the library leaves it so.
#![allow(unsafe_code)]

use std::arch::asm;

/// Puts the register back when dropped. It is not sent to another thread.
pub(crate) struct FloatState {
    #[cfg(target_arch = "x86_64")]
    mxcsr: u32,
    #[cfg(target_arch = "aarch64")]
    fpcr: u64,
    _thread: std::marker::PhantomData<*const ()>,
}

impl FloatState {
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn keep() -> Self {
        let mut mxcsr = 0_u32;
        // SAFETY: stores four bytes to a place that has them.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) };
        Self { mxcsr, _thread: std::marker::PhantomData }
    }

    #[cfg(target_arch = "aarch64")]
    pub(crate) fn keep() -> Self {
        let fpcr: u64;
        // SAFETY: reads a register of this thread.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        Self { fpcr, _thread: std::marker::PhantomData }
    }
}

impl Drop for FloatState {
    #[cfg(target_arch = "x86_64")]
    fn drop(&mut self) {
        // SAFETY: loads what was stored at the beginning, by which the state is again what compiled code expects.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const self.mxcsr, options(nostack, preserves_flags, readonly));
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn drop(&mut self) {
        // SAFETY: as on x86-64.
        unsafe { asm!("msr fpcr, {}", in(reg) self.fpcr, options(nomem, nostack, preserves_flags)) };
    }
}
