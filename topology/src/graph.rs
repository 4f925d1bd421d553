//! All facts of one host but its gauges, each behind an `Arc`: a new version of the graph shares what did not change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::fact::{
    Container, Fact, Flow, FlowKey, Host, Image, Listener, ListenerKey, Namespace, Process, RemoteName, Status,
};
use crate::id::{ContainerId, ImageId, Netns, PeerId, ProcessId};
use crate::key::Key;
use crate::services::Rule;

/// What happened to one key of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value now.
    Put(Box<Fact>),
    /// It is gone.
    Remove(Key),
}

/// The facts of one host.
#[derive(Clone, Debug)]
pub struct HostGraph {
    /// Who says so.
    pub peer: PeerId,
    /// The machine; until it is known, a nameless one.
    pub host: Arc<Host>,
    /// Containers.
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// Images.
    pub images: BTreeMap<ImageId, Arc<Image>>,
    /// Processes, by pid and start.
    pub processes: BTreeMap<ProcessId, Arc<Process>>,
    /// Listening sockets.
    pub listeners: BTreeMap<ListenerKey, Arc<Listener>>,
    /// Flows.
    pub flows: BTreeMap<FlowKey, Arc<Flow>>,
    /// Network namespaces but the host's own.
    pub namespaces: BTreeMap<Netns, Arc<Namespace>>,
    /// Names of addresses its flows lead to.
    pub names: BTreeMap<IpAddr, Arc<RemoteName>>,
    /// What its operator calls services outside the cluster.
    pub services: Arc<Vec<Rule>>,
    /// State of the sources.
    pub status: Arc<Status>,
}

/// Whether a map's entry became another one.
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, Arc<V>>, key: K, value: V) -> bool {
    if map.get(&key).is_some_and(|old| **old == value) {
        return false;
    }
    map.insert(key, Arc::new(value));
    true
}

fn set<V: PartialEq>(slot: &mut Arc<V>, value: V) -> bool {
    let differs = **slot != value;
    if differs {
        *slot = Arc::new(value);
    }
    differs
}

impl Change {
    /// A fact that is new or has another value.
    #[must_use]
    pub fn put(fact: Fact) -> Self {
        Self::Put(Box::new(fact))
    }
}

impl HostGraph {
    /// The graph of a host of which nothing is known.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            host: Arc::default(),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            processes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            flows: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            names: BTreeMap::new(),
            services: Arc::default(),
            status: Arc::default(),
        }
    }

    /// Takes a fact; returns whether anything differs that claims, edges or views are made of. Gauges are none of the graph's
    /// business.
    pub(crate) fn put(&mut self, fact: Fact) -> bool {
        match fact {
            Fact::Host(host) => set(&mut self.host, host),
            Fact::Status(status) => {
                set(&mut self.status, status);
                false
            }
            Fact::Container(it) => put(&mut self.containers, it.id.clone(), it),
            Fact::Image(it) => {
                put(&mut self.images, it.id.clone(), it);
                false
            }
            Fact::Process(it) => put(&mut self.processes, it.id, it),
            Fact::Listener(it) => put(&mut self.listeners, it.key, it),
            Fact::Flow(it) => put(&mut self.flows, it.key, it),
            Fact::Namespace(it) => put(&mut self.namespaces, it.netns, it),
            Fact::RemoteName(it) => put(&mut self.names, it.address, it.bounded()),
            Fact::Services(rules) => set(&mut self.services, rules),
            Fact::Gauges(_) => false,
        }
    }

    /// Takes a fact back; returns the same.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        match key {
            Key::Host => set(&mut self.host, Host::default()),
            Key::Status => {
                self.status = Arc::default();
                false
            }
            Key::Container(id) => self.containers.remove(id).is_some(),
            Key::Image(id) => {
                self.images.remove(id);
                false
            }
            Key::Process(id) => self.processes.remove(id).is_some(),
            Key::Listener(key) => self.listeners.remove(key).is_some(),
            Key::Flow(key) => self.flows.remove(key).is_some(),
            Key::Namespace(netns) => self.namespaces.remove(netns).is_some(),
            Key::RemoteName(address) => self.names.remove(address).is_some(),
            Key::Services => set(&mut self.services, Vec::new()),
            Key::Gauges(_) => false,
        }
    }

    /// The process that has `pid` now: the youngest, if facts of its predecessor are still around.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        let [from, to] = [0, u64::MAX].map(|start| ProcessId { pid, start });
        self.processes.range(from..=to).next_back().map(|(_, process)| process)
    }

    /// The container a process runs in, if both are known.
    #[must_use]
    pub fn container_of(&self, process: &Process) -> Option<&Arc<Container>> {
        process.container.as_ref().and_then(|id| self.containers.get(id))
    }

    /// What people call the host: its name, or its peer's id until the name is known.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.host.name.is_empty() { self.peer.as_str() } else { &self.host.name }
    }
}
