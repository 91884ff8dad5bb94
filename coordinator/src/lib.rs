//! The coordinator: the shell around its core
