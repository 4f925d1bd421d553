//! The HTTP side of a peer: the JSON API, the WebSockets that keep browsers up to date, metrics, and the embedded page.
//! It knows no rendering rule: it asks [`topology`] and passes on.
//!
//! ```text
//!                  ┌─ views ── GET /api/topology/{t}      kept and brought up to date, one for each choice of options
//! Cluster (watch) ─┤
//!                  └─ live ─── GET /api/topology/{t}/ws   one owner task for each choice of options and beat
//!                               └─ broadcast ─▶ socket, socket, …
//! ```
//!
//! The cluster comes in as a [`tokio::sync::watch`]: a reader clones a handful of `Arc`s and never waits for its writer.
//! A view that is being watched belongs to one task. It alone follows the cluster, writes each diff as JSON once, and hands
//! the same bytes to every socket. New sockets ask that task for a snapshot and a place in the stream, both at one moment, so
//! nothing is missed and nothing comes twice.
//!
//! What the mesh is doing comes in the same way, as plain data ([`peers`]).
//!
//! Everything a client can make us hold has a bound: connections, sockets, live views, kept views, renders at a time, unsent
//! messages, and the time each of them may take. The constants say which, next to what they bound.
#![forbid(unsafe_code)]

mod api;
mod assets;
mod error;
mod etag;
mod live;
mod metrics;
mod origin;
pub mod peers;
mod render;
mod router;
mod server;
mod topologies;
mod views;
mod write_deadline;

use std::sync::Arc;

use tokio::sync::watch;
use topology::Cluster;

pub use peers::Peers;
pub use prometheus_client::registry::Registry;
pub use server::serve;

/// What a peer says of itself at `/api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its peer id, as text.
    pub id: String,
    /// Name of its host.
    pub hostname: String,
    /// Version of `scope` it runs.
    pub version: &'static str,
}

/// What is served: a peer and the cluster it sees.
#[derive(Debug)]
pub struct App {
    about: About,
    cluster: watch::Receiver<Cluster>,
    peers: watch::Receiver<Arc<Peers>>,
    registry: Registry,
}

impl App {
    /// Serves `cluster` and `peers` as they change. `registry` holds the metrics of the rest of the peer; `/metrics` shows them together
    /// with those of this crate.
    #[must_use]
    pub fn new(
        about: About,
        cluster: watch::Receiver<Cluster>,
        peers: watch::Receiver<Arc<Peers>>,
        registry: Registry,
    ) -> Self {
        Self { about, cluster, peers, registry }
    }
}
