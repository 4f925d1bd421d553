//! What holds of replicas and of what neighbours say, whatever arrives, in which order and how often; and of the drivers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod convergence;
#[cfg(feature = "net")]
mod discovery;
mod laws;
mod mesh;
mod replica;
mod signed;
mod sim;
#[cfg(feature = "net")]
mod swarm;
mod wire;
mod wire_hostile;
mod wire_payload;
mod world;
