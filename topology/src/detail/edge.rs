//! All there is to say of one edge of a view: its ends, what all its connections come to, and each relation they are of.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::connections::ROWS_MAX;
use super::figures::{Tally, Tellers, Traffic};
use super::is_zero;
use crate::claims::Party;
use crate::cluster::Cluster;
use crate::fact::Direction;
use crate::graph::HostGraph;
use crate::id::PeerId;
use crate::node::NodeId;
use crate::resolve::Relation;
use crate::summary;
use crate::view::part;
use crate::view::{Kind, View};

/// All there is to say of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeDetail {
    /// The view it is in.
    pub topology: &'static str,
    /// The node that connects.
    pub source: Vertex,
    /// The node that is connected to.
    pub target: Vertex,
    /// All its connections together.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What they are, by the labels of their ends; at most 1,000.
    pub relations: Vec<Link>,
    /// Relations left out: those with the fewest connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

/// A node at an end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vertex {
    /// Its name in its view.
    #[serde(serialize_with = "summary::text")]
    pub id: NodeId,
    /// First line of its label.
    pub label: String,
    /// Second line.
    pub label_minor: String,
}

/// Connections between one client and one server on one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// `tcp`, `udp`, …
    pub protocol: &'static str,
    /// The serving port, as the client names it.
    pub port: u16,
    /// Who connects.
    pub client: End,
    /// Who is connected to.
    pub server: End,
    /// The server's address as the client's host has it; if only the server tells, the client's as the server has it.
    pub address: IpAddr,
    /// The address and port the client named, if address translation led it elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<SocketAddr>,
    /// The client's address as the server sees it, if the client's host translates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<IpAddr>,
    /// What the address is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many connections, how much goes over them, and who saw them.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Hosts that tell of it, the client's first.
    pub told_by: Vec<String>,
}

/// Who is at an end of a relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct End {
    /// What people read.
    pub label: String,
    /// Name of its host, if it is on one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its node.
    #[serde(serialize_with = "summary::text")]
    pub node: NodeId,
    /// The view that node is in.
    pub topology: &'static str,
}

impl EdgeDetail {
    /// The details of an edge that is drawn in a view of the cluster; `None` if there is none.
    #[must_use]
    pub fn of_view(drawn: &View, cluster: &Cluster, source: &NodeId, target: &NodeId) -> Option<Self> {
        let kind = drawn.kind();
        let (from, to) = (vertex(drawn, source)?, vertex(drawn, target)?);
        let all = cluster.relations();
        let tellers = Tellers::new(cluster, &all);
        let is_of_edge = |relation: &Relation| {
            part::client_id(kind, &relation.client).as_ref() == Some(source)
                && part::server_id(kind, &relation.server).as_ref() == Some(target)
        };
        let relations: Vec<&Relation> = all.iter().filter(|relation| is_of_edge(relation)).collect();
        if relations.is_empty() {
            return None;
        }
        let mut total = Tally::default();
        relations.iter().for_each(|relation| total.take(relation, &tellers));
        let more = relations.len().saturating_sub(ROWS_MAX);
        let relations = links(relations, cluster, kind, &tellers);
        Some(Self { topology: kind.id(), source: from, target: to, traffic: total.traffic(), relations, more })
    }
}

fn vertex(drawn: &View, id: &NodeId) -> Option<Vertex> {
    let (label, label_minor) = summary::label(drawn.node(id)?);
    Some(Vertex { id: id.clone(), label, label_minor })
}

/// The relations with the most connections, in the order of their ends.
fn links(relations: Vec<&Relation>, cluster: &Cluster, kind: Kind, tellers: &Tellers<'_>) -> Vec<Link> {
    let tally = |relation| {
        let mut tally = Tally::default();
        tally.take(relation, tellers);
        (relation, tally)
    };
    let mut tallied: Vec<(&Relation, Tally)> = relations.into_iter().map(tally).collect();
    if tallied.len() > ROWS_MAX {
        tallied.sort_by_cached_key(|(_, tally)| Reverse(tally.figures().weight()));
        tallied.truncate(ROWS_MAX);
    }
    let link = |(relation, tally): (&Relation, Tally)| Link::of(relation, tally.traffic(), cluster, kind, tellers);
    let mut links: Vec<Link> = tallied.into_iter().map(link).collect();
    links.sort_by(|a, b| a.order().cmp(&b.order()));
    links
}

impl Link {
    fn of(relation: &Relation, traffic: Traffic, cluster: &Cluster, kind: Kind, tellers: &Tellers<'_>) -> Self {
        let accounts = tellers.in_order(relation);
        let flows = || accounts.iter().map(|account| account.flow);
        let mut hosts: Vec<&HostGraph> = Vec::new();
        for graph in accounts.iter().map(|account| &*account.entry.graph) {
            if hosts.iter().all(|met| met.peer != graph.peer) {
                hosts.push(graph);
            }
        }
        Self {
            protocol: relation.protocol.as_str(),
            port: relation.port,
            client: End::of(&relation.client, NodeId::InternetIn, cluster, kind),
            server: End::of(&relation.server, NodeId::InternetOut, cluster, kind),
            address: relation.remote,
            via: flows().find_map(|flow| flow.via),
            masquerade: flows()
                .filter(|flow| flow.key.direction == Direction::Outgoing)
                .find_map(|flow| flow.masquerade),
            name: tellers.name(relation),
            traffic,
            told_by: hosts.into_iter().map(|graph| graph.name().to_owned()).collect(),
        }
    }

    fn order(&self) -> impl Ord + '_ {
        (&self.client, &self.server, self.protocol, self.port, self.address)
    }
}

impl End {
    fn of(party: &Party, internet: NodeId, cluster: &Cluster, kind: Kind) -> Self {
        let name = |peer: &PeerId| cluster.host(peer).map_or(peer.as_str(), |entry| entry.graph.name()).to_owned();
        let (label, peer, node, kind) = match party {
            Party::Process { peer, process, .. } => {
                let pid = process.id.pid;
                let name = &process.name;
                let label = if name.is_empty() { pid.to_string() } else { format!("{name} ({pid})") };
                (label, Some(peer), NodeId::Process(peer.clone(), pid), Kind::Processes)
            }
            Party::Container { peer, container } => {
                let label = summary::container_label(container).to_owned();
                (label, Some(peer), NodeId::Container(container.id.clone()), Kind::Containers)
            }
            Party::Host(peer) => (name(peer), Some(peer), NodeId::Host(peer.clone()), Kind::Hosts),
            Party::Service(service) => (service.name.to_string(), None, NodeId::Service(service.name.clone()), kind),
            Party::Unknown { network, prefix } => {
                (format!("{network}/{prefix}"), None, NodeId::Unknown(*network, *prefix), kind)
            }
            Party::Internet => ("The Internet".to_owned(), None, internet, kind),
        };
        Self { label, host: peer.map(name), node, topology: kind.id() }
    }
}
