//! The libp2p driver over real TCP on the loopback: links, refusals, bounds, and ends.

mod bounds;
mod harness;
mod links;
mod refusals;
