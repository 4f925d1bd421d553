//! What holds of replicas whatever arrives, in which order and how often.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod convergence;
mod laws;
mod replica;
mod world;
