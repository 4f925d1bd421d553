//! The per-host half of a view: which nodes one host knows, and which edges it tells of.

use std::sync::Arc;

use foldhash::HashMap;

use super::Kind;
use super::options::{Options, image_name};
use crate::claims::Party;
use crate::cluster::HostEntry;
use crate::fact::{Container, Process};
use crate::id::PeerId;
use crate::life::Life;
use crate::node::{NodeId, Subject};

/// One host's share of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// What the node is, if this host knows.
    pub(super) subject: Option<Subject>,
    /// Nodes it connects to, as far as this host knows; sorted.
    pub(super) adjacency: Vec<NodeId>,
    /// That of this host.
    pub(super) life: Life,
}

impl Share {
    /// Members this host adds to a group; 0 of what is none.
    pub(super) fn members(&self) -> usize {
        if let Some(Subject::Group { members }) = self.subject { members } else { 0 }
    }
}

/// What one host has to say in a view.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) shares: HashMap<NodeId, Share>,
    /// Nodes the options left out.
    pub(super) filtered: usize,
}

impl Part {
    pub(super) fn of(kind: Kind, options: Options, entry: &HostEntry) -> Self {
        let mut part = Self::default();
        match kind {
            Kind::Processes | Kind::ProcessesByName => part.take_processes(kind, entry),
            Kind::Containers | Kind::ContainersByImage | Kind::ContainersByHostname => {
                part.take_containers(kind, options, entry);
            }
            Kind::Hosts => part.take_host(entry),
        }
        part.take_edges(kind, entry);
        part.finish(entry.life);
        part
    }

    fn take_processes(&mut self, kind: Kind, entry: &HostEntry) {
        let graph = &entry.graph;
        self.shares.reserve(graph.processes.len());
        for process in graph.processes.values() {
            let subject = || Subject::Process {
                peer: graph.peer.clone(),
                host: graph.host.clone(),
                process: process.clone(),
                container: graph.container_of(process).cloned(),
            };
            self.know(of_process(kind, &graph.peer, process, None), kind, subject);
        }
    }

    fn take_containers(&mut self, kind: Kind, options: Options, entry: &HostEntry) {
        let graph = &entry.graph;
        for container in graph.containers.values() {
            if !options.show(container) {
                self.filtered += 1;
                continue;
            }
            let subject = || Subject::Container {
                peer: graph.peer.clone(),
                host: graph.host.clone(),
                container: container.clone(),
            };
            self.know(of_container(kind, &graph.peer, container), kind, subject);
        }
        if !options.hide_uncontained {
            let pseudo = Subject::Pseudo { host: Some(graph.host.clone()) };
            self.share(NodeId::Uncontained(graph.peer.clone())).subject = Some(pseudo);
        }
    }

    fn take_host(&mut self, entry: &HostEntry) {
        let graph = &entry.graph;
        let subject = Subject::Host { peer: graph.peer.clone(), host: graph.host.clone() };
        self.share(NodeId::Host(graph.peer.clone())).subject = Some(subject);
    }

    /// Edges come by client, as flows are ordered by their owner: each run of them is one look-up.
    fn take_edges(&mut self, kind: Kind, entry: &HostEntry) {
        for run in entry.edges.chunk_by(|a, b| a.client == b.client) {
            let Some(client) = client_id(kind, &run[0].client) else { continue };
            let servers = run.iter().flat_map(|edge| std::iter::once(&edge.server).chain(&edge.servers));
            let servers = servers.filter_map(|server| Some((server_id(kind, server)?, server)));
            let servers: Vec<(NodeId, &Party)> = servers.collect();
            if servers.is_empty() {
                continue;
            }
            for (id, party) in servers.iter().map(|(id, party)| (id, *party)).chain([(&client, &run[0].client)]) {
                self.know_outside(id, party);
            }
            self.share(client).adjacency.extend(servers.into_iter().map(|(id, _)| id));
        }
    }

    /// Notes what is outside the cluster: it is in the view because something connects to it.
    fn know_outside(&mut self, id: &NodeId, party: &Party) {
        let subject = match party {
            Party::Internet | Party::Unknown { .. } => Subject::Pseudo { host: None },
            Party::Service(service) => Subject::Service { service: service.clone() },
            Party::Process { .. } | Party::Container { .. } | Party::Host(_) => return,
        };
        self.share(id.clone()).subject = Some(subject);
    }

    fn finish(&mut self, life: Life) {
        for share in self.shares.values_mut() {
            share.life = life;
            share.adjacency.sort_unstable();
            share.adjacency.dedup();
        }
    }

    fn share(&mut self, id: NodeId) -> &mut Share {
        self.shares.entry(id).or_default()
    }

    fn know(&mut self, id: Option<NodeId>, kind: Kind, subject: impl Fn() -> Subject) {
        let Some(id) = id else { return };
        let share = self.share(id);
        share.subject = Some(match (kind, &share.subject) {
            (Kind::Processes | Kind::Containers | Kind::Hosts, _) => subject(),
            (_, Some(Subject::Group { members })) => Subject::Group { members: members + 1 },
            (_, _) => Subject::Group { members: 1 },
        });
    }
}

/// The node a client is in a view.
pub(crate) fn client_id(kind: Kind, party: &Party) -> Option<NodeId> {
    if *party == Party::Internet { Some(NodeId::InternetIn) } else { party_id(kind, party) }
}

/// The node a server is in a view.
pub(crate) fn server_id(kind: Kind, party: &Party) -> Option<NodeId> {
    if *party == Party::Internet { Some(NodeId::InternetOut) } else { party_id(kind, party) }
}

fn party_id(kind: Kind, party: &Party) -> Option<NodeId> {
    match party {
        Party::Process { peer, process, container } => of_process(kind, peer, process, container.as_deref()),
        Party::Container { peer, container } => of_container(kind, peer, container),
        // Whether it was a container behind the host's masquerade cannot be told: true only of the host as a whole.
        Party::Host(peer) => (kind == Kind::Hosts).then(|| NodeId::Host(peer.clone())),
        Party::Service(service) => Some(NodeId::Service(service.name.clone())),
        Party::Unknown { network, prefix } => Some(NodeId::Unknown(*network, *prefix)),
        Party::Internet => None,
    }
}

fn of_process(kind: Kind, peer: &PeerId, process: &Process, container: Option<&Container>) -> Option<NodeId> {
    match kind {
        Kind::Processes => Some(NodeId::Process(peer.clone(), process.id.pid)),
        Kind::ProcessesByName => name(&process.name).map(NodeId::ProcessName),
        Kind::Hosts => Some(NodeId::Host(peer.clone())),
        Kind::Containers | Kind::ContainersByImage | Kind::ContainersByHostname => match container {
            Some(container) => of_container(kind, peer, container),
            None => Some(NodeId::Uncontained(peer.clone())),
        },
    }
}

fn of_container(kind: Kind, peer: &PeerId, container: &Container) -> Option<NodeId> {
    match kind {
        Kind::Containers => Some(NodeId::Container(container.id.clone())),
        Kind::ContainersByImage => name(image_name(&container.image)).map(NodeId::ImageName),
        Kind::ContainersByHostname => name(&container.hostname).map(NodeId::Hostname),
        Kind::Hosts => Some(NodeId::Host(peer.clone())),
        Kind::Processes | Kind::ProcessesByName => None,
    }
}

/// The name of a group; what has none is in no group.
fn name(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// Whether a process is, or is part of, a node.
pub(crate) fn is_process_of(
    kind: Kind,
    peer: &PeerId,
    process: &Process,
    container: Option<&Container>,
    id: &NodeId,
) -> bool {
    of_process(kind, peer, process, container).as_ref() == Some(id)
}

/// Whether a container is, or is part of, a node.
pub(crate) fn is_container_of(kind: Kind, peer: &PeerId, container: &Container, id: &NodeId) -> bool {
    of_container(kind, peer, container).as_ref() == Some(id)
}
