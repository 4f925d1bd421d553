//! Facts of hosts, and the views drawn from them.
#![forbid(unsafe_code)]

mod address;
mod claims;
pub mod cluster;
pub mod codec;
pub mod detail;
pub mod fact;
pub mod gauges;
pub mod graph;
mod id;
mod key;
mod metadata;
mod metric;
mod node;
pub mod report;
pub mod resolve;
pub mod summary;
pub mod synthetic;
pub mod view;

pub use claims::Party;
pub use cluster::Cluster;
pub use id::{BadId, ContainerId, ID_BYTES_MAX, ImageId, Netns, PeerId, ProcessId, Timestamp};
pub use key::{BadKey, Key};
pub use metadata::{MetadataRow, Table, TableRow};
pub use metric::{MetricRow, MetricSample};
pub use node::{Node, NodeId, Subject};
pub use view::{Kind, Options, View};
