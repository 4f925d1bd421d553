//! A thousand peers in virtual time: the mesh as it is, on wires that are not there.
//!
//! A world has hosts, links and one queue of events, all from one seed: the same seed is the same run, to the last
//! byte. Each host runs a real [`Mesh`](crate::mesh::Mesh), with a clock of its own that agrees with no other. What the wires are like is in
//! [`Model`], what happens in [`Scenario`], what came of it in [`Figure`]s.
//!
//! While it runs, invariants are checked: no host holds what nobody said, or goes back; the same version is the same state
//! everywhere; nobody sends beyond the credit of a link. At the end of each scenario all hosts must hold the same.

mod control;
mod figure;
mod host;
mod keys;
mod ledger;
mod meter;
mod network;
mod queue;
mod relay;
mod scenario;
mod stage;
mod wires;
mod witness;
mod workload;
mod world;

pub use figure::{Figure, baseline, table, worse_than};
pub use network::{BUFFER_BYTES, DETECT_AFTER, DIAL_TIMEOUT, FRAME_OVERHEAD_BYTES, LINKS_MAX, Model};
pub use relay::Misdeed;
pub use scenario::{Outcome, Scenario};
pub use stage::run;
pub use workload::{Facts, Pace};
pub use world::Settings;
