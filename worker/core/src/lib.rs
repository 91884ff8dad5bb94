//! The decisions of a worker: pure, without clock, randomness or I/O
