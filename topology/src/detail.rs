//! Details: all there is to say of one node. Its summary with samples, what it consists of, and each of its connections.
//! A node that the options leave out of its view has details all the same: links lead to it.

mod children;
mod connections;
mod edge;
mod edges;
pub(crate) mod figures;

use std::sync::Arc;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::id::Timestamp;
use crate::metadata;
use crate::metric::Samples;
use crate::node::{Node, NodeId, Subject};
use crate::summary::{self, Summary};
use crate::view::{Kind, Options, View};

pub use edge::{EdgeDetail, End, Link, Vertex};
pub use edges::{EdgeFigures, Edges};
pub use figures::{Figures, Traffic};

/// All there is to say of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// The node as in its view, with its samples.
    #[serde(flatten)]
    pub summary: Summary,
    /// What can be done to it: nothing yet.
    pub controls: [(); 0],
    /// What it consists of, by view.
    pub children: Vec<Children>,
    /// Its connections, inbound and outbound.
    pub connections: Vec<Connections>,
}

/// Nodes of one view that are part of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Children {
    /// Names the group.
    pub id: &'static str,
    /// What people read.
    pub label: &'static str,
    /// The nodes, by label.
    pub nodes: Vec<Summary>,
    /// The view they are in.
    pub topology_id: &'static str,
    /// Rows of theirs that are worth a column.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// Id of a metadata or metric row.
    pub id: &'static str,
    /// What people read.
    pub label: &'static str,
    /// Whether the table is sorted by it at first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_sort: bool,
    /// How its values are read.
    pub data_type: &'static str,
}

/// A node's connections in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// `incoming-connections` or `outgoing-connections`.
    pub id: &'static str,
    /// The view whose nodes are at the other end.
    pub topology_id: &'static str,
    /// `Inbound` or `Outbound`.
    pub label: &'static str,
    /// What the rows' metadata are.
    pub columns: Vec<Column>,
    /// One row for each other end and port; at most 1,000.
    pub connections: Vec<Connection>,
    /// Rows left out: those with the fewest connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Connections with one other end on one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Names the row.
    pub id: String,
    /// The node at the other end.
    #[serde(serialize_with = "summary::text")]
    pub node_id: NodeId,
    /// Its label.
    pub label: String,
    /// Second line of it.
    pub label_minor: String,
    /// Values by column.
    pub metadata: Vec<Cell>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Column.
    pub id: &'static str,
    /// Value as text.
    pub value: String,
}

pub(super) const fn column(
    id: &'static str,
    label: &'static str,
    default_sort: bool,
    data_type: &'static str,
) -> Column {
    Column { id, label, default_sort, data_type }
}

impl Detail {
    /// The details of a node at `now`; `None` if there is no such thing in the cluster. Draws a view for it.
    #[must_use]
    pub fn of(cluster: &Cluster, kind: Kind, id: &NodeId, now: Timestamp) -> Option<Self> {
        Self::of_view(&View::of(cluster, kind, Options::default()), cluster, id, now)
    }

    /// The same, from a view of the cluster that leaves nothing out: one with [`Options::default`].
    #[must_use]
    pub fn of_view(drawn: &View, cluster: &Cluster, id: &NodeId, now: Timestamp) -> Option<Self> {
        let kind = drawn.kind();
        let node = drawn.node(id).cloned().or_else(|| unconnected(cluster, id))?;
        let mut summary = Summary::with(&node, cluster, now, Samples::All);
        if let Subject::Container { peer, container, .. } = &node.subject {
            let image = container.image_id.as_ref().and_then(|id| cluster.host(peer)?.graph.images.get(id));
            summary.tables.extend(image.and_then(|image| metadata::image_table(image)));
        }
        if let Subject::Host { peer, .. } = &node.subject {
            summary.tables.extend(cluster.host(peer).and_then(metadata::sources_table));
        }
        Some(Self {
            summary,
            controls: [],
            children: children::of(cluster, kind, &node.id, now),
            connections: connections::of(cluster, kind, id, drawn),
        })
    }
}

/// A pseudo node nothing connects to: in no view, but links may still lead to it.
fn unconnected(cluster: &Cluster, id: &NodeId) -> Option<Arc<Node>> {
    let NodeId::Uncontained(peer) = id else { return None };
    let entry = cluster.host(peer)?;
    let subject = Subject::Pseudo { host: Some(entry.graph.host.clone()) };
    Some(Arc::new(Node { id: id.clone(), subject, adjacency: Vec::new(), life: entry.life }))
}
