//! The data set: which items it holds, and how they are computed by many threads.

mod filling;
mod generator;
mod lanes;
mod superscalar;

pub(crate) use filling::{CHUNKS, Filled, Filling, Source};
pub(crate) use lanes::Lanes;
pub(crate) use superscalar::{Item, Programs};
