//! The connections of a node: one row for each other end and port, and for the Internet one for each address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Cell, Column, Connection, Connections, column};
use crate::cluster::Cluster;
use crate::fact::Direction;
use crate::node::NodeId;
use crate::resolve::Edge;
use crate::summary;
use crate::view::part;
use crate::view::{Kind, View};

const PORT: Column = column("port", "Port", false, "number");
const COUNT: Column = column("count", "Count", true, "number");
const REMOTE: Column = column("remote", "Remote", false, "");

/// Connections open now as each side has them; `None` if no live host says.
type Open = [Option<u32>; 2];

/// Rows by other end, port and, for the Internet, address.
type Counts = BTreeMap<(NodeId, u16, Option<IpAddr>), Open>;

/// A node's connections, each as the edges of all hosts tell it.
pub(super) fn of(cluster: &Cluster, kind: Kind, id: &NodeId, drawn: &View) -> Vec<Connections> {
    let mut inbound = Counts::new();
    let mut outbound = Counts::new();
    for (_, entry) in cluster.hosts() {
        for edge in entry.edges.iter() {
            let ends = (part::client_id(kind, &edge.client), part::server_id(kind, &edge.server));
            let (Some(client), Some(server)) = ends else { continue };
            let open = entry.life.is_live().then(|| entry.gauges.flow(edge.serial).map_or(0, |figures| figures.open));
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

fn count(counts: &mut Counts, other: NodeId, edge: &Edge, open: Option<u32>, by_address: bool) {
    let side = match edge.seen_from {
        Direction::Outgoing => 0,
        Direction::Incoming => 1,
    };
    let counts = counts.entry((other, edge.port, by_address.then_some(edge.remote))).or_default();
    if let Some(open) = open {
        counts[side] = Some(counts[side].unwrap_or(0).saturating_add(open));
    }
}

fn columns(counts: &Counts) -> Vec<Column> {
    let with_address = counts.keys().any(|(_, _, address)| address.is_some());
    if with_address { vec![REMOTE, PORT, COUNT] } else { vec![PORT, COUNT] }
}

/// Both sides count the same connections: the larger figure is the one that missed less. Where neither is live there is none.
fn connection(drawn: &View, direction: &str, key: (NodeId, u16, Option<IpAddr>), open: Open) -> Connection {
    let (other, port, address) = key;
    let (label, label_minor) =
        drawn.node(&other).map_or_else(|| (other.to_string(), String::new()), |node| summary::label(node));
    let cell = |id, value: String| Cell { id, value };
    let address_cell = address.map(|address| cell(REMOTE.id, address.to_string()));
    let id = match address {
        Some(address) => format!("{direction}-{other}-{port}-{address}"),
        None => format!("{direction}-{other}-{port}"),
    };
    let port_cell = cell(PORT.id, port.to_string());
    let count_cell = open[0].max(open[1]).map(|open| cell(COUNT.id, open.to_string()));
    let metadata = address_cell.into_iter().chain([port_cell]).chain(count_cell).collect();
    Connection { id, node_id: other, label, label_minor, metadata }
}
