//! Claims: which addresses and ports of a host lead to which party. One host's claims come from its facts alone; resolution
//! asks the claims of this host first and then those of the others.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use crate::address::{self, Net};
use crate::fact::{Container, Direction, Flow, Listener, Owner, Process, Protocol};
use crate::graph::HostGraph;
use crate::id::{Netns, PeerId, ProcessId};

/// Program that Docker runs for each published port. It is plumbing: a connection to it is one to its container.
const DOCKER_PROXY: &str = "docker-proxy";

/// Who is at one end of an edge, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A process, and the container it runs in.
    Process {
        /// Its host.
        peer: PeerId,
        /// The process.
        process: Arc<Process>,
        /// Its container, if it runs in one.
        container: Option<Arc<Container>>,
    },
    /// Some process of a container.
    Container {
        /// Its host.
        peer: PeerId,
        /// The container.
        container: Arc<Container>,
    },
    /// Something on a host: itself, or a container behind its masquerade.
    Host(PeerId),
    /// An address no host of ours has.
    Internet,
}

impl Party {
    pub(crate) fn is_docker_proxy(&self) -> bool {
        matches!(self, Self::Process { process, .. } if process.name == DOCKER_PROXY)
    }
}

/// Whether an address may be that of a client.
pub(crate) type Visitor<'a> = dyn Fn(IpAddr) -> bool + 'a;

/// A place connections go to: a port of a network namespace.
pub(crate) type Door = (Netns, Protocol, u16);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    address: IpAddr,
    v6_only: bool,
    party: Party,
}

impl Offer {
    /// How well the offer fits an address: exact before wildcard, `None` not at all.
    fn fit(&self, to: IpAddr) -> Option<u8> {
        let covers = match self.address {
            IpAddr::V4(_) => to.is_ipv4(),
            IpAddr::V6(_) => to.is_ipv6() || !self.v6_only,
        };
        match self.address {
            exact if exact == to => Some(0),
            wildcard if wildcard.is_unspecified() && covers => Some(1),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    address: IpAddr,
    container: IpAddr,
    container_port: u16,
}

/// What one host claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    netns: Option<Netns>,
    /// The host's own addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Its networks, the runtime's bridges among them.
    pub(crate) networks: BTreeSet<Net>,
    /// Containers by address; an address two containers have belongs to neither.
    containers: HashMap<IpAddr, (Party, Option<Netns>)>,
    offers: HashMap<Door, Vec<Offer>>,
    /// Accepted connections, by door: the remote address and who holds them.
    accepted: HashMap<Door, Vec<(IpAddr, Party)>>,
    published: HashMap<(Protocol, u16), Vec<Published>>,
    /// Whose each network namespace is, where it is one container's.
    tenants: HashMap<Netns, Party>,
}

impl Claims {
    pub(crate) fn of(graph: &HostGraph) -> Self {
        let mut claims = Self { netns: graph.host.netns, ..Self::default() };
        for network in &graph.host.networks {
            claims.addresses.insert(network.address);
            claims.networks.insert(address::network(network.address, network.prefix));
        }
        claims.take_tenants(graph);
        claims.take_containers(graph);
        for listener in graph.listeners.values() {
            claims.take_listener(graph, listener);
        }
        for flow in graph.flows.values().filter(|flow| flow.key.direction == Direction::Incoming) {
            claims.take_accepted(graph, flow);
        }
        claims
    }

    /// A namespace is one container's if all processes in it that run in a container run in that one. The container that
    /// lent its namespace to others (a pod's sandbox, `--network container:…`) shares it, so it is nobody's.
    fn take_tenants(&mut self, graph: &HostGraph) {
        let mut shared = HashSet::default();
        for process in graph.processes.values() {
            let (Some(netns), Some(container)) = (process.netns, graph.container_of(process)) else { continue };
            if Some(netns) == self.netns || shared.contains(&netns) {
                continue;
            }
            let party = Party::Container { peer: graph.peer.clone(), container: container.clone() };
            let tenant = self.tenants.entry(netns).or_insert_with(|| party.clone());
            if *tenant != party {
                shared.insert(netns);
                self.tenants.remove(&netns);
            }
        }
        if let Some(netns) = self.netns {
            self.tenants.insert(netns, Party::Host(graph.peer.clone()));
        }
    }

    fn take_containers(&mut self, graph: &HostGraph) {
        let mut shared = HashSet::default();
        for container in graph.containers.values().filter(|it| it.state.is_running() && !it.is_in_host_network()) {
            let party = Party::Container { peer: graph.peer.clone(), container: container.clone() };
            let netns = container.init_pid.and_then(|pid| graph.process(pid)).and_then(|process| process.netns);
            for address in container.networks.values().flatten() {
                if self.containers.insert(*address, (party.clone(), netns)).is_some() {
                    shared.insert(*address);
                }
            }
            self.take_published(container);
        }
        for address in shared {
            self.containers.remove(&address);
        }
    }

    fn take_published(&mut self, container: &Container) {
        let Some(address) = container.networks.values().flatten().next() else { return };
        for port in &container.ports {
            let Some(published) = port.published else { continue };
            self.published.entry((port.protocol, published.port())).or_default().push(Published {
                address: published.ip(),
                container: *address,
                container_port: port.container_port,
            });
        }
    }

    fn take_listener(&mut self, graph: &HostGraph, listener: &Listener) {
        let key = listener.key;
        let party = match listener.owners.iter().find_map(|id| process(graph, *id)) {
            Some(party) => party,
            None => match self.tenants.get(&key.netns) {
                Some(party) => party.clone(),
                None => return,
            },
        };
        let offer = Offer { address: key.address, v6_only: listener.v6_only, party };
        self.offers.entry((key.netns, key.protocol, key.port)).or_default().push(offer);
    }

    fn take_accepted(&mut self, graph: &HostGraph, flow: &Flow) {
        if let Some(party) = self.owner(graph, flow) {
            let door = (flow.netns, flow.key.protocol, flow.key.port);
            self.accepted.entry(door).or_default().push((flow.key.remote, party));
        }
    }

    /// Who holds the local end of a flow.
    pub(crate) fn owner(&self, graph: &HostGraph, flow: &Flow) -> Option<Party> {
        match flow.key.owner {
            Owner::Process(id) => process(graph, id),
            Owner::Netns(netns) => self.tenants.get(&netns).cloned(),
        }
    }

    /// The container that alone has `address` on this host. Where other containers share its namespace it could be any of
    /// them, so it is none.
    pub(crate) fn container(&self, address: IpAddr) -> Option<&Party> {
        let (party, netns) = self.containers.get(&address)?;
        netns.is_none_or(|netns| self.tenants.get(&netns) == Some(party)).then_some(party)
    }

    /// Addresses of this host and of its containers, each once.
    pub(crate) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let of_containers = self.containers.keys().filter(|address| !self.addresses.contains(*address));
        self.addresses.iter().chain(of_containers).copied()
    }

    /// Whether this is an address something on this host has.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.containers.contains_key(&address)
    }

    /// Whether `address` means the same here as on `other`. It does not if it is in a network that both hosts have with one and
    /// the same own address, as every Docker host has its bridge: those are two networks that look alike.
    pub(crate) fn agrees_on(&self, address: IpAddr, other: &Self) -> bool {
        let mut around = self.networks.iter().filter(|net| address::contains(**net, address));
        !around.any(|net| self.addresses.intersection(&other.addresses).any(|own| address::contains(*net, *own)))
    }

    /// Who serves `to:port` in a network namespace of this host, for a client that comes from one of `from`: whoever holds the
    /// connections it accepted from there, else the listener. Where several hold such connections, which of them is meant
    /// cannot be told, but they all serve what the listener stands for.
    pub(crate) fn serving(&self, door: Door, to: IpAddr, from: &Visitor<'_>) -> Option<Party> {
        let accepted = self.accepted.get(&door).into_iter().flatten();
        let mut holders = accepted.filter(|(remote, _)| from(*remote)).map(|(_, party)| party);
        if let Some(first) = holders.next()
            && holders.all(|holder| holder == first)
        {
            return Some(first.clone());
        }
        let offers = self.offers.get(&door).into_iter().flatten();
        let best = offers.filter_map(|offer| Some((offer.fit(to)?, &offer.party))).min_by_key(|(fit, _)| *fit);
        best.map(|(_, party)| party.clone())
    }

    /// Who is behind `to:port`, where `to` is an address of this host or of one of its containers.
    pub(crate) fn behind(&self, protocol: Protocol, to: IpAddr, port: u16, from: &Visitor<'_>) -> Option<Party> {
        if self.containers.contains_key(&to) {
            return self.behind_container(protocol, to, port, from);
        }
        if let Some(published) = self.publication(protocol, to, port) {
            // Through the proxy or a masquerade the container sees the bridge's address: whose connection it is cannot be told,
            // but if one process holds them all it is that one's.
            return self.behind_container(protocol, published.container, published.container_port, &|_| true);
        }
        let serving = self.netns.and_then(|netns| self.serving((netns, protocol, port), to, from));
        serving.filter(|party| !party.is_docker_proxy())
    }

    fn behind_container(&self, protocol: Protocol, to: IpAddr, port: u16, from: &Visitor<'_>) -> Option<Party> {
        let (_, netns) = self.containers.get(&to)?;
        let serving = netns.and_then(|netns| self.serving((netns, protocol, port), to, from));
        serving.or_else(|| self.container(to).cloned())
    }

    fn publication(&self, protocol: Protocol, to: IpAddr, port: u16) -> Option<&Published> {
        let published = self.published.get(&(protocol, port))?;
        let fits =
            |it: &&Published| it.address == to || (it.address.is_unspecified() && it.address.is_ipv4() == to.is_ipv4());
        // A container address is not published again: that would go round in circles.
        published.iter().filter(|it| self.containers.contains_key(&it.container)).find(fits)
    }

    /// Whether this host publishes the port, and so a docker-proxy may hold connections to it.
    pub(crate) fn is_host_netns(&self, netns: Netns) -> bool {
        self.netns == Some(netns)
    }

    /// Where connections to an address of this host, or of one of its containers, end; published ports not followed.
    pub(crate) fn door(&self, to: IpAddr, protocol: Protocol, port: u16) -> Option<Door> {
        let netns = self.containers.get(&to).map_or(self.netns, |(_, netns)| *netns);
        netns.map(|netns| (netns, protocol, port))
    }

    /// What others must ask again after these claims became `new`.
    pub(crate) fn differences(&self, new: &Self) -> Differences {
        let mut differences = Differences {
            host: self.netns != new.netns || self.networks != new.networks || self.addresses != new.addresses,
            ..Differences::default()
        };
        let Differences { addresses, doors, published, .. } = &mut differences;
        addresses.extend(self.addresses.symmetric_difference(&new.addresses));
        differing(&self.containers, &new.containers, |address| addresses.insert(address));
        differing(&self.offers, &new.offers, |door| doors.insert(door));
        differing(&self.accepted, &new.accepted, |door| doors.insert(door));
        differing(&self.published, &new.published, |outside| published.insert(outside));
        for claims in [self, new] {
            let leads_elsewhere = |it: &Published, protocol| {
                let door = claims.door(it.container, protocol, it.container_port);
                addresses.contains(&it.container) || door.is_some_and(|door| doors.contains(&door))
            };
            let leads = |((protocol, _), all): &(&(Protocol, u16), &Vec<Published>)| {
                all.iter().any(|it| leads_elsewhere(it, *protocol))
            };
            published.extend(claims.published.iter().filter(leads).map(|(outside, _)| *outside));
        }
        differences
    }
}

/// What differs between two versions of a host's claims.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// Whether the host itself is another one: what all its addresses mean may differ.
    pub(crate) host: bool,
    /// Addresses that came, went or changed hands.
    pub(crate) addresses: HashSet<IpAddr>,
    /// Places with other parties behind them.
    pub(crate) doors: HashSet<Door>,
    /// Published ports that lead elsewhere.
    pub(crate) published: HashSet<(Protocol, u16)>,
}

impl Differences {
    pub(crate) fn is_empty(&self) -> bool {
        !self.host && self.addresses.is_empty() && self.doors.is_empty() && self.published.is_empty()
    }
}

fn differing<K: Copy + Eq + std::hash::Hash, V: PartialEq, R>(
    a: &HashMap<K, V>,
    b: &HashMap<K, V>,
    mut found: impl FnMut(K) -> R,
) {
    for (key, _) in a.iter().filter(|(key, value)| b.get(*key) != Some(*value)) {
        found(*key);
    }
    for (key, _) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
        found(*key);
    }
}

fn process(graph: &HostGraph, id: ProcessId) -> Option<Party> {
    let process = graph.processes.get(&id)?;
    let container = graph.container_of(process).cloned();
    Some(Party::Process { peer: graph.peer.clone(), process: process.clone(), container })
}
