//! What facts mean: from what hosts say of themselves to the graphs that people look at. Pure: no IO, no clock, no task.
//! Time is an argument.
//!
//! ```text
//!  Change ─▶ Writer ──▶ HostGraph ─▶ Claims ──┐
//!            (one host)  facts        "who is behind this address and port"
//!                                             ▼
//!                        flows ────────▶ resolve ─▶ Edge(client, server) ─┐
//!                                                                         ▼
//!            Cluster = HostEntry per peer: graph, gauges, edges ◀─────────┘
//!               │
//!               ▼
//!            View: part per host ─ join ─▶ Node ─▶ Diff
//!                                            └─▶ Summary, Detail (what people read, made when asked for)
//! ```
//!
//! A host's [`fact`]s come as changes of keys. The [`cluster::Writer`] puts them into that host's [`graph`], in which what did
//! not change is shared with the version before. From a graph follow its *claims*: which addresses, ports and namespaces of
//! that host lead to which [`Party`]. [`resolve`] asks them who is at the far end of each flow, the own host's claims first, and
//! remembers what it asked of others. When a host changes, its claims tell what others may have to ask again; only those hosts
//! are resolved anew that had asked just that.
//!
//! A [`View`] follows the cluster in the same manner. The *part* of a host is what that host has to say: nodes it knows, edges
//! it tells of. The *join* of all parts is kept as a graph of numbered vertices, and a changed part touches the vertices it
//! names and those that an edge or a node came to or went from. What is drawn anew is the touched; a node that comes out as it
//! was is no change. Drawing from scratch is the same code with every host changed, and that both give one picture is a
//! property over random histories (`tests/it/incremental.rs`).
//!
//! Metric values are [`gauges`], beside the graph: a new value changes no node. Rows, labels and metrics of a node are made in
//! [`summary`] and [`detail`] from the facts it shares.
//!
//! A host that is not heard of keeps its place: its entry has another [`Life`], its part says so in each share, and a node is
//! stale when all hosts that know of it are. Times in facts are of the host's [`Clock`] and are translated where they are shown.
//!
//! Where two parties could be meant there is no edge: a missing edge is looked for, a false one is believed.
#![forbid(unsafe_code)]

mod address;
mod claims;
mod clock;
pub mod cluster;
pub mod codec;
pub mod detail;
pub mod fact;
pub mod gauges;
pub mod graph;
mod id;
mod key;
mod life;
mod metadata;
mod metric;
mod node;
pub mod report;
pub mod resolve;
pub mod services;
pub mod summary;
pub mod synthetic;
pub mod view;

pub use claims::Party;
pub use clock::Clock;
pub use cluster::Cluster;
pub use id::{BadId, ContainerId, ID_BYTES_MAX, ImageId, Netns, PeerId, ProcessId, Timestamp};
pub use key::{BadKey, Key};
pub use life::{Life, Stale};
pub use metadata::{MetadataRow, Table, TableRow};
pub use metric::{MetricRow, MetricSample};
pub use node::{Node, NodeId, Subject};
pub use view::{Kind, Options, View};
