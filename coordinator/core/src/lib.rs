//! The decisions of a coordinator: pure, without clock, randomness or I/O
