//! The children of a node: what it consists of, as nodes of other views.

use std::collections::BTreeMap;

use super::{Children, Column, column};
use crate::cluster::{Cluster, HostEntry};
use crate::id::{PeerId, Timestamp};
use crate::life::Life;
use crate::node::{Node, NodeId, Subject};
use crate::summary::Summary;
use crate::view::Kind;
use crate::view::options::image_name;
use crate::view::part;

const NUMBER: &str = "number";

const OF_CONTAINERS: [Column; 2] =
    [column("docker_cpu_total_usage", "CPU", true, NUMBER), column("docker_memory_usage", "Memory", false, NUMBER)];

const OF_PROCESSES: [Column; 3] = [
    column("pid", "PID", false, NUMBER),
    column("process_cpu_usage_percent", "CPU", true, NUMBER),
    column("process_memory_usage_bytes", "Memory", false, NUMBER),
];

/// What belongs to a node.
#[derive(Default)]
struct Members {
    containers: Vec<Node>,
    processes: Vec<Node>,
    /// Containers by the name of their image, and the life of their host.
    images: BTreeMap<String, (usize, Life)>,
}

/// The children of a node, by the view they are in; views without any left out.
pub(super) fn of(cluster: &Cluster, kind: Kind, id: &NodeId, now: Timestamp) -> Vec<Children> {
    if id.is_outside() || matches!(id, NodeId::Process(..)) {
        return Vec::new();
    }
    let mut members = Members::default();
    for (peer, entry) in cluster.hosts() {
        members.take_processes(kind, id, peer, entry);
        if !matches!(id, NodeId::Container(_)) {
            members.take_containers(kind, id, peer, entry);
        }
    }
    let image =
        |(name, (members, life)): (String, _)| node(NodeId::ImageName(name.into()), Subject::Group { members }, life);
    let images = members.images.into_iter().map(image).collect();
    let group = |id, label, topology_id, columns: &[Column], nodes: Vec<Node>| Children {
        id,
        label,
        nodes: summaries(&nodes, cluster, now),
        topology_id,
        columns: columns.to_vec(),
    };
    let groups = [
        group("containers", "Containers", Kind::Containers.id(), &OF_CONTAINERS, members.containers),
        group("processes", "Processes", Kind::Processes.id(), &OF_PROCESSES, members.processes),
        group("container_images", "Container images", Kind::ContainersByImage.id(), &[], images),
    ];
    groups.into_iter().filter(|group| !group.nodes.is_empty()).collect()
}

impl Members {
    fn take_processes(&mut self, kind: Kind, id: &NodeId, peer: &PeerId, entry: &HostEntry) {
        let graph = &entry.graph;
        for process in graph.processes.values() {
            let container = graph.container_of(process).cloned();
            if part::is_process_of(kind, peer, process, container.as_deref(), id) {
                let id = NodeId::Process(peer.clone(), process.id.pid);
                let (peer, host, process) = (peer.clone(), graph.host.clone(), process.clone());
                let subject = Subject::Process { peer, host, process, container };
                self.processes.push(node(id, subject, entry.life));
            }
        }
    }

    /// Takes a host's containers, and where the node is the host itself their images.
    fn take_containers(&mut self, kind: Kind, id: &NodeId, peer: &PeerId, entry: &HostEntry) {
        let graph = &entry.graph;
        for container in graph.containers.values().filter(|container| part::is_container_of(kind, peer, container, id))
        {
            let image = image_name(&container.image);
            if matches!(id, NodeId::Host(_)) && !image.is_empty() {
                self.images.entry(image.to_owned()).or_insert((0, entry.life)).0 += 1;
            }
            let (peer, host, container) = (peer.clone(), graph.host.clone(), container.clone());
            let id = NodeId::Container(container.id.clone());
            self.containers.push(node(id, Subject::Container { peer, host, container }, entry.life));
        }
    }
}

fn node(id: NodeId, subject: Subject, life: Life) -> Node {
    Node { id, subject, adjacency: Vec::new(), life }
}

/// Nodes as people see them, by label.
fn summaries(nodes: &[Node], cluster: &Cluster, now: Timestamp) -> Vec<Summary> {
    let mut summaries: Vec<Summary> = nodes.iter().map(|node| Summary::of(node, cluster, now)).collect();
    summaries.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
    summaries
}
