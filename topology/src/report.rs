//! The report: all facts of the cluster as one JSON document in the shape of Weave Scope's, for scripts and bug reports.
//!
//! `Endpoint` differs: Weave Scope had a node for each end of each connection; ours has one for each listener and each flow,
//! because that is what is known. `Namespace`, `RemoteName` and `Services` are ours alone.

use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, HostEntry};
use crate::detail::figures::{self, Figures};
use crate::fact::{Direction, Flow, Owner};
use crate::id::{PeerId, Timestamp};
use crate::key::Key;
use crate::life::Life;
use crate::metadata;
use crate::metric::{self, Samples};
use crate::node::{Node, NodeId, Subject};

/// A topology's fixed description.
struct Shape {
    shape: &'static str,
    label: &'static str,
    plural: &'static str,
}

const ENDPOINT: Shape = Shape { shape: "", label: "", plural: "" };
const PROCESS: Shape = Shape { shape: "square", label: "process", plural: "processes" };
const CONTAINER: Shape = Shape { shape: "hexagon", label: "container", plural: "containers" };
const IMAGE: Shape = Shape { shape: "hexagon", label: "image", plural: "images" };
const NAMESPACE: Shape = Shape { shape: "", label: "network namespace", plural: "network namespaces" };
const REMOTE_NAME: Shape = Shape { shape: "", label: "remote name", plural: "remote names" };
const HOST: Shape = Shape { shape: "circle", label: "host", plural: "hosts" };

/// The whole cluster as of `now`.
#[must_use]
pub fn report(cluster: &Cluster, now: Timestamp) -> Value {
    let mut endpoints = Map::new();
    let mut processes = Map::new();
    let mut containers = Map::new();
    let mut images = Map::new();
    let mut hosts = Map::new();
    let mut namespaces = Map::new();
    let mut names = Map::new();
    for (peer, entry) in cluster.hosts() {
        take_host(&mut hosts, peer, entry, cluster, now);
        take_processes(&mut processes, peer, entry, cluster, now);
        take_containers(&mut containers, peer, entry, cluster, now);
        take_images(&mut images, peer, entry, now);
        take_endpoints(&mut endpoints, peer, entry, now);
        take_namespaces(&mut namespaces, peer, entry, now);
        take_names(&mut names, peer, entry, now);
    }
    json!({
        "TS": now.to_string(),
        "ID": cluster.version().to_string(),
        "Endpoint": topology(&ENDPOINT, endpoints),
        "Process": topology(&PROCESS, processes),
        "Container": topology(&CONTAINER, containers),
        "ContainerImage": topology(&IMAGE, images),
        "Host": topology(&HOST, hosts),
        "Namespace": topology(&NAMESPACE, namespaces),
        "RemoteName": topology(&REMOTE_NAME, names),
        "Services": services(cluster),
        "Plugins": [],
    })
}

fn topology(of: &Shape, nodes: Map<String, Value>) -> Value {
    let nodes = Value::Object(nodes);
    json!({ "shape": of.shape, "label": of.label, "label_plural": of.plural, "nodes": nodes })
}

/// A node of a topology; rows without a value are left out.
struct Entry<'a> {
    id: String,
    topology: &'a str,
    latest: Vec<(String, String)>,
    parents: Value,
    metrics: Value,
    /// That of its host.
    life: Life,
}

impl Entry<'_> {
    fn put(self, nodes: &mut Map<String, Value>, now: Timestamp) {
        let value = |value: String| json!({ "timestamp": now.to_string(), "value": value });
        let latest = self.latest.into_iter().filter(|(_, text)| !text.is_empty());
        let latest: Map<String, Value> = latest.map(|(name, text)| (name, value(text))).collect();
        let mut node = json!({
            "id": self.id,
            "topology": self.topology,
            "latest": latest,
            "parents": self.parents,
            "metrics": self.metrics,
        });
        if let Some(stale) = self.life.stale() {
            node["stale"] = json!(stale);
        }
        nodes.insert(self.id, node);
    }
}

fn rows(node: &Node, cluster: &Cluster, now: Timestamp) -> Vec<(String, String)> {
    metadata::rows(node, cluster, now).into_iter().map(|row| (row.id.to_owned(), row.value)).collect()
}

fn metrics(node: &Node, cluster: &Cluster) -> Value {
    let metric = |row: metric::MetricRow| {
        let value = json!({ "samples": row.samples, "min": row.min, "max": row.max });
        (row.id.to_owned(), value)
    };
    Value::Object(metric::rows(node, cluster, Samples::All).into_iter().map(metric).collect())
}

fn node(id: NodeId, subject: Subject, life: Life) -> Node {
    Node { id, subject, adjacency: Vec::new(), life }
}

fn host_id(peer: &PeerId) -> String {
    NodeId::Host(peer.clone()).to_string()
}

fn take_host(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, cluster: &Cluster, now: Timestamp) {
    let subject = Subject::Host { peer: peer.clone(), host: entry.graph.host.clone() };
    let node = node(NodeId::Host(peer.clone()), subject, entry.life);
    let (latest, metrics) = (rows(&node, cluster, now), metrics(&node, cluster));
    Entry { id: host_id(peer), topology: "host", latest, parents: json!({}), metrics, life: entry.life }
        .put(nodes, now);
}

fn take_processes(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, cluster: &Cluster, now: Timestamp) {
    let graph = &entry.graph;
    for process in graph.processes.values() {
        let subject = Subject::Process {
            peer: peer.clone(),
            host: graph.host.clone(),
            process: process.clone(),
            container: None,
        };
        let node = node(NodeId::Process(peer.clone(), process.id.pid), subject, entry.life);
        let mut latest = rows(&node, cluster, now);
        latest.push(("name".into(), process.name.clone()));
        let container = process.container.iter().map(|id| NodeId::Container(id.clone()).to_string());
        let parents = json!({ "host": [host_id(peer)], "container": container.collect::<Vec<_>>() });
        let metrics = metrics(&node, cluster);
        Entry { id: node.id.to_string(), topology: "process", latest, parents, metrics, life: entry.life }
            .put(nodes, now);
    }
}

fn take_containers(
    nodes: &mut Map<String, Value>,
    peer: &PeerId,
    entry: &HostEntry,
    cluster: &Cluster,
    now: Timestamp,
) {
    let graph = &entry.graph;
    for container in graph.containers.values() {
        let subject = Subject::Container { peer: peer.clone(), host: graph.host.clone(), container: container.clone() };
        let node = node(NodeId::Container(container.id.clone()), subject, entry.life);
        let mut latest = rows(&node, cluster, now);
        latest.push(("docker_container_name".into(), container.name.clone()));
        latest.push(("docker_container_hostname".into(), container.hostname.clone()));
        latest.push(("docker_container_state".into(), metadata::state(container.state).into()));
        latest.push(("docker_container_network_mode".into(), container.network_mode.clone()));
        let labels = container.labels.iter().map(|(name, value)| (format!("docker_label_{name}"), value.clone()));
        latest.extend(labels);
        let image = container.image_id.iter().map(|id| NodeId::Image(id.clone()).to_string());
        let parents = json!({ "host": [host_id(peer)], "container_image": image.collect::<Vec<_>>() });
        let metrics = metrics(&node, cluster);
        Entry { id: node.id.to_string(), topology: "container", latest, parents, metrics, life: entry.life }
            .put(nodes, now);
    }
}

fn take_images(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, now: Timestamp) {
    for image in entry.graph.images.values() {
        let labels = image.labels.iter().map(|(name, value)| (format!("docker_image_label_{name}"), value.clone()));
        let latest = [
            ("docker_image_id".to_owned(), image.id.to_string()),
            ("docker_image_name".to_owned(), metadata::join(&image.tags)),
            ("docker_image_size".to_owned(), image.size_bytes.to_string()),
        ];
        let id = NodeId::Image(image.id.clone()).to_string();
        let (latest, parents) = (latest.into_iter().chain(labels).collect(), json!({ "host": [host_id(peer)] }));
        Entry { id, topology: "container_image", latest, parents, metrics: json!({}), life: entry.life }
            .put(nodes, now);
    }
}

fn take_endpoints(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, now: Timestamp) {
    for listener in entry.graph.listeners.values() {
        let pids = metadata::join(listener.owners.iter().map(|owner| owner.pid));
        let latest = [
            ("pid".to_owned(), pids),
            ("host_node_id".to_owned(), host_id(peer)),
            ("protocol".to_owned(), listener.key.protocol.as_str().to_owned()),
            ("address".to_owned(), listener.key.address.to_string()),
            ("port".to_owned(), listener.key.port.to_string()),
        ];
        let id = format!("{peer};{}", Key::Listener(listener.key));
        put_endpoint(nodes, id, latest.into(), entry.life, now);
    }
    for flow in entry.graph.flows.values() {
        let id = format!("{peer};{}", Key::Flow(flow.key));
        put_endpoint(nodes, id, flow_rows(peer, entry, flow), entry.life, now);
    }
}

/// What is said of a flow, from its owner's side.
fn flow_rows(peer: &PeerId, entry: &HostEntry, flow: &Flow) -> Vec<(String, String)> {
    fn text<V: ToString>(value: Option<V>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let pid = match flow.key.owner {
        Owner::Process(id) => Some(id.pid),
        Owner::Netns(_) => None,
    };
    let direction = match flow.key.direction {
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
    };
    let told = Figures::of_flow(entry, flow);
    let rows = [
        ("pid", text(pid)),
        ("host_node_id", host_id(peer)),
        ("direction", direction.to_owned()),
        ("protocol", flow.key.protocol.as_str().to_owned()),
        ("remote", flow.key.remote.to_string()),
        ("port", flow.key.port.to_string()),
        ("via", text(flow.via)),
        ("masquerade", text(flow.masquerade)),
        ("network_namespace", flow.netns.0.to_string()),
        ("conn_count", text(told.open)),
        ("conn_opened", text(told.opened)),
        ("bytes_sent_per_second", text(told.sent)),
        ("bytes_received_per_second", text(told.received)),
        ("rtt_micros", text(told.rtt_micros)),
        ("retransmits", text(told.retransmits)),
        ("first_seen", text(figures::first_seen(entry, flow))),
        ("last_seen", text(figures::last_seen(entry, flow))),
        ("seen_by", metadata::join(flow.evidence.names())),
    ];
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A host's network namespaces but its own.
fn take_namespaces(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, now: Timestamp) {
    for namespace in entry.graph.namespaces.values() {
        let networks = namespace.networks.iter().map(|net| format!("{}/{}", net.address, net.prefix));
        let latest = vec![
            ("network_namespace".to_owned(), namespace.netns.0.to_string()),
            ("host_node_id".to_owned(), host_id(peer)),
            ("local_networks".to_owned(), metadata::join(networks)),
        ];
        let id = format!("{peer};{}", Key::Namespace(namespace.netns));
        Entry { id, topology: "namespace", latest, parents: json!({}), metrics: json!({}), life: entry.life }
            .put(nodes, now);
    }
}

/// What a host calls the addresses its flows lead to.
fn take_names(nodes: &mut Map<String, Value>, peer: &PeerId, entry: &HostEntry, now: Timestamp) {
    for name in entry.graph.names.values() {
        let latest = vec![
            ("address".to_owned(), name.address.to_string()),
            ("host_node_id".to_owned(), host_id(peer)),
            ("names".to_owned(), metadata::join(&name.names)),
            ("reverse".to_owned(), name.reverse.clone().unwrap_or_default()),
        ];
        let id = format!("{peer};{}", Key::RemoteName(name.address));
        Entry { id, topology: "remote_name", latest, parents: json!({}), metrics: json!({}), life: entry.life }
            .put(nodes, now);
    }
}

/// What operators call services outside the cluster, by host; those who call none left out.
fn services(cluster: &Cluster) -> Value {
    let rules = cluster.hosts().filter(|(_, entry)| !entry.graph.services.is_empty());
    Value::Object(rules.map(|(peer, entry)| (host_id(peer), json!(*entry.graph.services))).collect())
}

fn put_endpoint(nodes: &mut Map<String, Value>, id: String, latest: Vec<(String, String)>, life: Life, now: Timestamp) {
    Entry { id, topology: "endpoint", latest, parents: json!({}), metrics: json!({}), life }.put(nodes, now);
}
