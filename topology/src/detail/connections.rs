//! The connections of a node: one row for each other end and port, and for what is outside the cluster one for each address.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::figures::{Figures, Tally, Tellers};
use super::{Cell, Column, Connection, Connections, column};
use crate::cluster::Cluster;
use crate::fact::Protocol;
use crate::node::NodeId;
use crate::resolve::Relation;
use crate::summary;
use crate::view::part;
use crate::view::{Kind, View};

/// Rows of a table: more than anyone reads. Of more, those with the most connections are given.
pub(super) const ROWS_MAX: usize = 1000;

/// What a row may have. Port and count are always there; of the others those that some row has. What may be long comes after
/// the rates: a panel has room for the first few.
const COLUMNS: [Column; 14] = [
    column("port", "Port", false, "number"),
    column("count", "Count", true, "number"),
    column("protocol", "Protocol", false, ""),
    column("opened", "Opened", false, "number"),
    column("sent", "Sent/s", false, "filesize"),
    column("received", "Received/s", false, "filesize"),
    column("rtt", "RTT (ms)", false, "number"),
    column("retransmits", "Retransmits", false, "number"),
    column("remote", "Remote", false, ""),
    column("name", "DNS name", false, ""),
    column("confirmed", "Told by", false, ""),
    column("first_seen", "First seen", false, "datetime"),
    column("last_seen", "Last seen", false, "datetime"),
    column("seen_by", "How seen", false, ""),
];

/// What makes connections one row: the other end, port and protocol, and the address of who is outside the cluster.
type Key = (NodeId, u16, Protocol, Option<IpAddr>);

/// A row on its way.
#[derive(Default)]
struct Row {
    tally: Tally,
    /// What the address is called.
    name: Option<String>,
}

/// Rows of one direction.
#[derive(Default)]
struct Rows(BTreeMap<Key, Row>);

/// A node's connections, as all hosts tell them together.
pub(super) fn of(cluster: &Cluster, kind: Kind, id: &NodeId, drawn: &View) -> Vec<Connections> {
    let relations = cluster.relations();
    let tellers = Tellers::new(cluster, &relations);
    let (mut inbound, mut outbound) = (Rows::default(), Rows::default());
    for relation in relations.iter() {
        let ends = (part::client_id(kind, &relation.client), part::server_id(kind, &relation.server));
        let (Some(client), Some(server)) = ends else { continue };
        let by_address = client.is_outside() || server.is_outside();
        if server == *id {
            inbound.take(client.clone(), by_address, relation, &tellers);
        }
        if client == *id {
            outbound.take(server, by_address, relation, &tellers);
        }
    }
    [
        inbound.table("incoming-connections", "Inbound", id, drawn, Figures::mirrored),
        outbound.table("outgoing-connections", "Outbound", id, drawn, |figures| figures),
    ]
    .into_iter()
    .filter(|table| !table.connections.is_empty())
    .collect()
}

impl Rows {
    fn take(&mut self, other: NodeId, by_address: bool, relation: &Relation, tellers: &Tellers<'_>) {
        let address = by_address.then_some(relation.remote);
        let row = self.0.entry((other, relation.port, relation.protocol, address)).or_default();
        row.tally.take(relation, tellers);
        if by_address && row.name.is_none() {
            row.name = tellers.name(relation);
        }
    }

    /// The rows as a table of the node `own`; `turned` gives figures as it has them.
    fn table(
        self,
        id: &'static str,
        label: &'static str,
        own: &NodeId,
        drawn: &View,
        turned: impl Fn(Figures) -> Figures,
    ) -> Connections {
        let mut rows: Vec<(Key, Row)> = self.0.into_iter().collect();
        let more = rows.len().saturating_sub(ROWS_MAX);
        if more > 0 {
            rows.sort_by_cached_key(|(_, row)| Reverse(row.tally.figures().weight()));
            rows.truncate(ROWS_MAX);
        }
        let with_protocol = rows.iter().any(|((_, _, protocol, _), _)| *protocol != Protocol::Tcp);
        let connection = |(key, row): (Key, Row)| {
            let metadata = cells(&key, &row, with_protocol, &turned);
            connection(drawn, own, key, metadata)
        };
        let connections: Vec<Connection> = rows.into_iter().map(connection).collect();
        Connections { id, topology_id: drawn.kind().id(), label, columns: columns(&connections), connections, more }
    }
}

fn columns(rows: &[Connection]) -> Vec<Column> {
    let has = |id| rows.iter().any(|row| row.metadata.iter().any(|cell| cell.id == id));
    COLUMNS.into_iter().filter(|column| matches!(column.id, "port" | "count") || has(column.id)).collect()
}

fn cells(key: &Key, row: &Row, with_protocol: bool, turned: impl Fn(Figures) -> Figures) -> Vec<Cell> {
    let (_, port, protocol, address) = key;
    let traffic = row.tally.traffic();
    let figures = turned(traffic.figures);
    let ends = if traffic.confirmed { "both ends" } else { "one end" };
    let values = [
        ("port", Some(port.to_string())),
        ("count", figures.open.map(|open| open.to_string())),
        ("protocol", with_protocol.then(|| protocol.as_str().to_owned())),
        ("opened", figures.opened.map(|opened| opened.to_string())),
        ("sent", figures.sent.map(|bytes| bytes.to_string())),
        ("received", figures.received.map(|bytes| bytes.to_string())),
        ("rtt", figures.rtt_micros.map(|micros| (f64::from(micros) / 1000.0).to_string())),
        ("retransmits", figures.retransmits.map(|count| count.to_string())),
        ("remote", address.map(|address| address.to_string())),
        ("name", row.name.clone()),
        ("confirmed", Some(ends.to_owned())),
        ("first_seen", traffic.first_seen.map(|at| at.to_string())),
        ("last_seen", traffic.last_seen.map(|at| at.to_string())),
        ("seen_by", Some(traffic.seen_by.join(", ")).filter(|sources| !sources.is_empty())),
    ];
    values.into_iter().filter_map(|(id, value)| Some(Cell { id, value: value? })).collect()
}

fn connection(drawn: &View, own: &NodeId, (other, port, protocol, address): Key, metadata: Vec<Cell>) -> Connection {
    let (label, label_minor) =
        drawn.node(&other).map_or_else(|| (other.to_string(), String::new()), |node| summary::label(node));
    let mut id = format!("{own}-{other}-{port}");
    if let Some(address) = address {
        id = format!("{id}-{address}");
    }
    if protocol != Protocol::Tcp {
        id = format!("{id}-{}", protocol.as_str());
    }
    Connection { id, node_id: other, label, label_minor, metadata }
}
