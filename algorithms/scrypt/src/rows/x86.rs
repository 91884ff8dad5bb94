//! Rows in the vector registers of x86-64 processors.
//!
//! The types are used nowhere but in the kernels of [`crate::path`], which run on processors that have the
//! instructions.

mod avx2;
mod avx512;
mod sse2;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use sse2::Sse2;
