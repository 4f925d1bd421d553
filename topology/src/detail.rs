//! Details: all there is to say of one node. Its summary with samples, what it consists of, and each of its connections.
//! A node that the options leave out of its view has details all the same: links lead to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::fact::Direction;
use crate::id::Timestamp;
use crate::metadata;
use crate::metric::Samples;
use crate::node::{Node, NodeId, Subject};
use crate::resolve::Edge;
use crate::summary::{self, Summary};
use crate::view::options::image_name;
use crate::view::part;
use crate::view::{Kind, Options, View};

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
    /// One row for each other end and port.
    pub connections: Vec<Connection>,
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

const fn column(id: &'static str, label: &'static str, default_sort: bool, data_type: &'static str) -> Column {
    Column { id, label, default_sort, data_type }
}

const PORT: Column = column("port", "Port", false, "number");
const COUNT: Column = column("count", "Count", true, "number");
const REMOTE: Column = column("remote", "Remote", false, "");

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
        Some(Self {
            summary,
            controls: [],
            children: children(cluster, kind, &node, now),
            connections: connections(cluster, kind, id, drawn),
        })
    }
}

/// A pseudo node nothing connects to: in no view, but links may still lead to it.
fn unconnected(cluster: &Cluster, id: &NodeId) -> Option<Arc<Node>> {
    let NodeId::Uncontained(peer) = id else { return None };
    let host = cluster.host(peer)?.graph.host.clone();
    Some(Arc::new(Node { id: id.clone(), subject: Subject::Pseudo { host: Some(host) }, adjacency: Vec::new() }))
}

fn children(cluster: &Cluster, kind: Kind, node: &Node, now: Timestamp) -> Vec<Children> {
    if matches!(node.id, NodeId::Process(..) | NodeId::InternetIn | NodeId::InternetOut) {
        return Vec::new();
    }
    let mut processes = Vec::new();
    let mut containers = Vec::new();
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for (peer, entry) in cluster.hosts() {
        let graph = &entry.graph;
        for process in graph.processes.values() {
            let container = graph.container_of(process).cloned();
            if part::is_process_of(kind, peer, process, container.as_deref(), &node.id) {
                let id = NodeId::Process(peer.clone(), process.id.pid);
                let (peer, host, process) = (peer.clone(), graph.host.clone(), process.clone());
                processes.push((id, Subject::Process { peer, host, process, container }));
            }
        }
        for container in graph.containers.values() {
            if !matches!(node.id, NodeId::Container(_)) && part::is_container_of(kind, peer, container, &node.id) {
                *images.entry(image_name(&container.image)).or_default() += 1;
                let (peer, host, container) = (peer.clone(), graph.host.clone(), container.clone());
                containers
                    .push((NodeId::Container(container.id.clone()), Subject::Container { peer, host, container }));
            }
        }
    }
    if !matches!(node.id, NodeId::Host(_)) {
        images.clear();
    }
    let image = |(name, members): (&str, usize)| (NodeId::ImageName(name.into()), Subject::Group { members });
    let images = images.into_iter().map(image).collect();
    let summaries = |nodes: Vec<(NodeId, Subject)>| {
        let summary = |(id, subject)| Summary::of(&Node { id, subject, adjacency: Vec::new() }, cluster, now);
        let mut summaries: Vec<Summary> = nodes.into_iter().map(summary).collect();
        summaries.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
        summaries
    };
    let groups = [
        Children {
            id: "containers",
            label: "Containers",
            nodes: summaries(containers),
            topology_id: "containers",
            columns: vec![
                column("docker_cpu_total_usage", "CPU", true, NUMBER),
                column("docker_memory_usage", "Memory", false, NUMBER),
            ],
        },
        Children {
            id: "processes",
            label: "Processes",
            nodes: summaries(processes),
            topology_id: "processes",
            columns: vec![
                column("pid", "PID", false, NUMBER),
                column("process_cpu_usage_percent", "CPU", true, NUMBER),
                column("process_memory_usage_bytes", "Memory", false, NUMBER),
            ],
        },
        Children {
            id: "container_images",
            label: "Container images",
            nodes: summaries(images),
            topology_id: "containers-by-image",
            columns: Vec::new(),
        },
    ];
    groups.into_iter().filter(|group| !group.nodes.is_empty()).collect()
}

const NUMBER: &str = "number";

/// Rows by other end, port and, for the Internet, address; counts as each side has them.
type Counts = BTreeMap<(NodeId, u16, Option<IpAddr>), [u32; 2]>;

fn connections(cluster: &Cluster, kind: Kind, id: &NodeId, drawn: &View) -> Vec<Connections> {
    let mut inbound = Counts::new();
    let mut outbound = Counts::new();
    for (_, entry) in cluster.hosts() {
        for edge in entry.edges.iter() {
            let ends = (part::client_id(kind, &edge.client), part::server_id(kind, &edge.server));
            let (Some(client), Some(server)) = ends else { continue };
            let open = entry.gauges.open_connections(edge.serial).unwrap_or(0);
            if server == *id {
                count(&mut inbound, client.clone(), edge, open, is_internet(id) || is_internet(&client));
            }
            if client == *id {
                count(&mut outbound, server.clone(), edge, open, is_internet(id) || is_internet(&server));
            }
        }
    }
    let table = |id, label, counts: Counts| Connections {
        id,
        topology_id: kind.id(),
        label,
        columns: columns(&counts),
        connections: counts.into_iter().map(|(key, open)| connection(drawn, id, key, open)).collect(),
    };
    [table("incoming-connections", "Inbound", inbound), table("outgoing-connections", "Outbound", outbound)]
        .into_iter()
        .filter(|table| !table.connections.is_empty())
        .collect()
}

fn is_internet(id: &NodeId) -> bool {
    matches!(id, NodeId::InternetIn | NodeId::InternetOut)
}

fn count(counts: &mut Counts, other: NodeId, edge: &Edge, open: u32, by_address: bool) {
    let side = match edge.seen_from {
        Direction::Outgoing => 0,
        Direction::Incoming => 1,
    };
    let counts = counts.entry((other, edge.port, by_address.then_some(edge.remote))).or_default();
    counts[side] = counts[side].saturating_add(open);
}

fn columns(counts: &Counts) -> Vec<Column> {
    let with_address = counts.keys().any(|(_, _, address)| address.is_some());
    if with_address { vec![REMOTE, PORT, COUNT] } else { vec![PORT, COUNT] }
}

/// Both sides count the same connections: the larger figure is the one that missed less.
fn connection(drawn: &View, direction: &str, key: (NodeId, u16, Option<IpAddr>), open: [u32; 2]) -> Connection {
    let (other, port, address) = key;
    let (label, label_minor) =
        drawn.node(&other).map_or_else(|| (other.to_string(), String::new()), |node| summary::label(node));
    let cell = |id, value: String| Cell { id, value };
    let address_cell = address.map(|address| cell(REMOTE.id, address.to_string()));
    let id = match address {
        Some(address) => format!("{direction}-{other}-{port}-{address}"),
        None => format!("{direction}-{other}-{port}"),
    };
    let cells = [cell(PORT.id, port.to_string()), cell(COUNT.id, open[0].max(open[1]).to_string())];
    Connection { id, node_id: other, label, label_minor, metadata: address_cell.into_iter().chain(cells).collect() }
}
