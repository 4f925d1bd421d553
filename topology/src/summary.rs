//! Summaries: a node as people and API clients see it in a view. Weave Scope's `NodeSummary`.

use serde::{Serialize, Serializer};

use crate::cluster::Cluster;
use crate::fact::{Container, Host, Process};
use crate::id::{PeerId, Timestamp};
use crate::life::Stale;
use crate::metadata::{self, MetadataRow, Table};
use crate::metric::{self, MetricRow, Samples};
use crate::node::{Node, NodeId, Subject};
use crate::services::Service;
use crate::view::options::image_name;

/// A node with its labels and rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The node's name in its view.
    #[serde(serialize_with = "text")]
    pub id: NodeId,
    /// First line of its label.
    pub label: String,
    /// Second line.
    pub label_minor: String,
    /// What orders and colours like nodes alike.
    pub rank: String,
    /// Shape it is drawn in.
    pub shape: &'static str,
    /// Overlay of the shape; none of ours has one.
    pub tag: &'static str,
    /// Picture within the shape, of a known service that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Whether it stands for several things.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stack: bool,
    /// Whether it is not one thing of the cluster.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pseudo: bool,
    /// Of what no live host speaks of; left out of the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// Facts.
    pub metadata: Vec<MetadataRow>,
    /// What it is part of.
    pub parents: Vec<Parent>,
    /// Current values.
    pub metrics: Vec<MetricRow>,
    /// Names and values.
    pub tables: Vec<Table>,
    /// Nodes it connects to.
    #[serde(serialize_with = "texts")]
    pub adjacency: Vec<NodeId>,
}

/// Something a node is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// Its name in its view.
    #[serde(serialize_with = "text")]
    pub id: NodeId,
    /// Its label.
    pub label: String,
    /// The view it is in.
    pub topology_id: &'static str,
}

pub(crate) fn text<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn texts<S: Serializer>(ids: &[NodeId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(ToString::to_string))
}

/// The two lines under a node, and its rank.
struct Labels {
    label: String,
    minor: String,
    rank: String,
}

impl Summary {
    /// The node as it is at `now`: uptimes are as of then, metrics are the newest. Of a stale node uptimes are as of when its host
    /// was last heard of, and metrics have no value.
    #[must_use]
    pub fn of(node: &Node, cluster: &Cluster, now: Timestamp) -> Self {
        Self::with(node, cluster, now, Samples::Newest)
    }

    pub(crate) fn with(node: &Node, cluster: &Cluster, now: Timestamp, samples: Samples) -> Self {
        let Labels { label, minor, rank } = labels(node);
        Self {
            id: node.id.clone(),
            label,
            label_minor: minor,
            rank,
            shape: shape(&node.id),
            tag: "",
            icon: icon(node),
            stack: matches!(node.subject, Subject::Group { .. }) || matches!(node.id, NodeId::Uncontained(_)),
            pseudo: node.id.is_pseudo(),
            stale: node.life.stale(),
            metadata: metadata::rows(node, cluster, now),
            parents: parents(&node.subject),
            metrics: metric::rows(node, cluster, samples),
            tables: metadata::tables(node),
            adjacency: node.adjacency.clone(),
        }
    }

    /// The newest metrics of a node alone.
    #[must_use]
    pub fn metrics_of(node: &Node, cluster: &Cluster) -> Vec<MetricRow> {
        metric::rows(node, cluster, Samples::Newest)
    }
}

fn shape(id: &NodeId) -> &'static str {
    match id {
        NodeId::Host(_) => "circle",
        NodeId::Process(..) | NodeId::ProcessName(_) | NodeId::Uncontained(_) => "square",
        NodeId::Container(_) | NodeId::Image(_) | NodeId::ImageName(_) | NodeId::Hostname(_) => "hexagon",
        NodeId::InternetIn | NodeId::InternetOut | NodeId::Service(_) | NodeId::Unknown(..) => "cloud",
    }
}

fn icon(node: &Node) -> Option<String> {
    match (&node.id, &node.subject) {
        (NodeId::Unknown(..), _) => Some("unknown".to_owned()),
        (_, Subject::Service { service }) => service.icon.as_deref().map(str::to_owned),
        _ => None,
    }
}

/// A node's two label lines alone.
pub(crate) fn label(node: &Node) -> (String, String) {
    let Labels { label, minor, .. } = labels(node);
    (label, minor)
}

fn labels(node: &Node) -> Labels {
    match &node.subject {
        Subject::Host { peer, host } => of_host(peer, host),
        Subject::Process { host, process, container, .. } => of_process(host, process, container.as_deref()),
        Subject::Container { host, container, .. } => of_container(host, container),
        Subject::Group { members } => of_group(&node.id, *members),
        Subject::Service { service } => of_service(&node.id, service),
        Subject::Pseudo { host } => of_pseudo(&node.id, host.as_deref()),
    }
}

fn of_host(peer: &PeerId, host: &Host) -> Labels {
    if host.name.is_empty() {
        return Labels { label: peer.to_string(), minor: String::new(), rank: String::new() };
    }
    let (label, minor) = host.name.split_once('.').unwrap_or((&host.name, ""));
    Labels { label: label.into(), minor: minor.into(), rank: minor.into() }
}

fn of_process(host: &Host, process: &Process, container: Option<&Container>) -> Labels {
    let pid = process.id.pid;
    let name = if process.name.is_empty() { pid.to_string() } else { process.name.clone() };
    let minor = match container {
        Some(container) => format!("{} ({}:{pid})", host.name, container_label(container)),
        None => format!("{} ({pid})", host.name),
    };
    Labels { label: name.clone(), minor, rank: name }
}

fn of_container(host: &Host, container: &Container) -> Labels {
    let image = image_name(&container.image);
    let rank = if image.is_empty() { host.name.clone() } else { image.into() };
    Labels { label: container_label(container).into(), minor: host.name.clone(), rank }
}

/// What people call a container: its orchestrator's name for it before its runtime's.
pub(crate) fn container_label(container: &Container) -> &str {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    let marathon = container.env.get("MARATHON_APP_ID").and_then(Option::as_deref);
    [
        label("com.amazonaws.ecs.container-name"),
        label("io.kubernetes.container.name"),
        marathon,
        Some(container.name.as_str()),
        Some(container.hostname.as_str()),
    ]
    .into_iter()
    .flatten()
    .find(|name| !name.is_empty())
    .unwrap_or_else(|| container.id.short())
}

fn of_group(id: &NodeId, members: usize) -> Labels {
    let (name, thing) = match id {
        NodeId::ProcessName(name) => (name, "process"),
        NodeId::ImageName(name) | NodeId::Hostname(name) => (name, "container"),
        _ => return Labels { label: id.to_string(), minor: String::new(), rank: String::new() },
    };
    let plural = match (members, thing) {
        (1, _) => "",
        (_, "process") => "es",
        _ => "s",
    };
    Labels { label: name.to_string(), minor: format!("{members} {thing}{plural}"), rank: name.to_string() }
}

fn of_pseudo(id: &NodeId, host: Option<&Host>) -> Labels {
    let (label, minor) = match id {
        NodeId::InternetIn => ("The Internet", "Inbound connections".to_owned()),
        NodeId::InternetOut => ("The Internet", "Outbound connections".to_owned()),
        NodeId::Unknown(network, prefix) => ("Unknown hosts", format!("{network}/{prefix}")),
        _ => ("Uncontained", host.map(|host| host.name.clone()).unwrap_or_default()),
    };
    Labels { label: label.into(), minor, rank: id.to_string() }
}

fn of_service(id: &NodeId, service: &Service) -> Labels {
    let minor = service.group.as_deref().unwrap_or_default().to_owned();
    Labels { label: service.name.to_string(), minor, rank: id.to_string() }
}

fn parents(subject: &Subject) -> Vec<Parent> {
    match subject {
        Subject::Process { peer, host, container, .. } => {
            let container = container.iter().flat_map(|container| {
                let own = Parent {
                    id: NodeId::Container(container.id.clone()),
                    label: container_label(container).into(),
                    topology_id: "containers",
                };
                [Some(own), image_parent(container)].into_iter().flatten()
            });
            container.chain([host_parent(peer, host)]).collect()
        }
        Subject::Container { peer, host, container } => {
            image_parent(container).into_iter().chain([host_parent(peer, host)]).collect()
        }
        Subject::Host { .. } | Subject::Group { .. } | Subject::Service { .. } | Subject::Pseudo { .. } => Vec::new(),
    }
}

fn image_parent(container: &Container) -> Option<Parent> {
    let name = image_name(&container.image);
    (!name.is_empty()).then(|| Parent {
        id: NodeId::ImageName(name.into()),
        label: name.into(),
        topology_id: "containers-by-image",
    })
}

fn host_parent(peer: &PeerId, host: &Host) -> Parent {
    let label = if host.name.is_empty() { peer.to_string() } else { host.name.clone() };
    Parent { id: NodeId::Host(peer.clone()), label, topology_id: "hosts" }
}
