//! The worker: the shell around its core
