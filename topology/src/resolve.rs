//! Resolution: flows into edges. A client's flow names an address and a port; who is behind them is found on the client's own
//! host first (loopback by network namespace, containers by their addresses, published ports), then among the hosts of the
//! cluster, and what nobody has is the Internet. A server's flow names who came: its edge repeats the client's where the
//! client is known too, and is all there is where it is not.
//!
//! Missing beats false: where two parties could be meant (an address two hosts have, a namespace two containers share),
//! no edge is made. Of two hosts with an address the one that is heard of is meant: a peer that lost its key comes back as
//! another, and its old self stays on the map for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use crate::address::{self, Net};
use crate::claims::{Claims, Differences, Party};
use crate::fact::{Direction, Flow, Protocol};
use crate::graph::HostGraph;
use crate::id::{ContainerId, PeerId};

/// One relation between two parties, as one flow tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who connects.
    pub client: Party,
    /// Who is connected to.
    pub server: Party,
    /// Protocol of the connections.
    pub protocol: Protocol,
    /// The serving port.
    pub port: u16,
    /// The far address as the flow's owner sees it.
    pub remote: IpAddr,
    /// Which side's flow this is: outgoing if the client's.
    pub seen_from: Direction,
    /// The flow's serial at its origin: names its gauges.
    pub serial: u32,
}

/// Which host has an address: kept by the cluster's writer, one entry an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    holders: HashMap<IpAddr, Vec<PeerId>>,
    networks: BTreeMap<Net, usize>,
    /// Hosts that are not heard of.
    silent: HashSet<PeerId>,
}

impl Index {
    /// Puts a host's claims in the place of its old ones; returns whether a network came or went.
    pub(crate) fn update(&mut self, peer: &PeerId, old: &Claims, new: &Claims) -> bool {
        for address in new.all_addresses().filter(|address| !old.has(*address)) {
            self.holders.entry(address).or_default().push(peer.clone());
        }
        for address in old.all_addresses().filter(|address| !new.has(*address)) {
            let Some(holders) = self.holders.get_mut(&address) else { continue };
            holders.retain(|holder| holder != peer);
            if holders.is_empty() {
                self.holders.remove(&address);
            }
        }
        let mut differs = false;
        for net in new.networks.difference(&old.networks) {
            let count = self.networks.entry(*net).or_default();
            *count += 1;
            differs |= *count == 1;
        }
        for net in old.networks.difference(&new.networks) {
            let Some(count) = self.networks.get_mut(net) else { continue };
            *count -= 1;
            if *count == 0 {
                self.networks.remove(net);
                differs = true;
            }
        }
        differs
    }

    /// Notes whether a host is heard of; returns whether that is news.
    pub(crate) fn set_silent(&mut self, peer: &PeerId, is_silent: bool) -> bool {
        if is_silent { self.silent.insert(peer.clone()) } else { self.silent.remove(peer) }
    }

    /// Addresses of these claims that another host has too.
    pub(crate) fn contested(&self, claims: &Claims) -> Vec<IpAddr> {
        let holders = |address: &IpAddr| self.holders.get(address).map_or(0, Vec::len);
        claims.all_addresses().filter(|address| holders(address) > 1).collect()
    }

    /// The only host that has an address, or the only one of them that is heard of.
    fn holder(&self, address: IpAddr) -> Option<&PeerId> {
        let holders = self.holders.get(&address)?;
        let mut live = holders.iter().filter(|peer| !self.silent.contains(*peer));
        match (live.next(), live.next(), holders.as_slice()) {
            (Some(only), None, _) | (None, None, [only]) => Some(only),
            _ => None,
        }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address::is_link_scoped(address) || self.networks.keys().any(|net| address::contains(*net, address))
    }
}

/// What the resolution of one host's flows asked about other hosts: when an answer changes, it must be done again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    addresses: HashSet<IpAddr>,
    sockets: HashSet<(IpAddr, Protocol, u16)>,
}

impl Asked {
    /// Whether one of these addresses was asked for.
    pub(crate) fn has_any(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| self.addresses.contains(address))
    }

    /// Whether an answer was used that may be another one after a host's claims went from `old` to `new`.
    pub(crate) fn touches(&self, differences: &Differences, old: &Claims, new: &Claims) -> bool {
        if differences.addresses.iter().any(|address| self.addresses.contains(address)) {
            return true;
        }
        // Most hosts never asked about most others: that takes as many look-ups as the other has addresses.
        let of_host = || [old, new].into_iter().flat_map(Claims::all_addresses);
        if !of_host().any(|address| self.addresses.contains(&address)) {
            return false;
        }
        let leads_elsewhere = |(address, protocol, port): &(IpAddr, Protocol, u16)| {
            let claims = [old, new].into_iter().filter(|claims| claims.has(*address));
            let mut doors = claims.clone().filter_map(|claims| claims.door(*address, *protocol, *port));
            let is_published = differences.published.contains(&(*protocol, *port)) && claims.clone().next().is_some();
            is_published || doors.any(|door| differences.doors.contains(&door))
        };
        differences.host || self.sockets.iter().any(leads_elsewhere)
    }
}

/// Which hosts asked about an address: so a change finds those it may concern without asking every host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Askers(HashMap<IpAddr, BTreeSet<PeerId>>);

impl Askers {
    /// Puts what a host asked in the place of what it asked before.
    pub(crate) fn update(&mut self, peer: &PeerId, old: &Asked, new: &Asked) {
        for address in new.addresses.difference(&old.addresses) {
            self.0.entry(*address).or_default().insert(peer.clone());
        }
        for address in old.addresses.difference(&new.addresses) {
            let Some(askers) = self.0.get_mut(address) else { continue };
            askers.remove(peer);
            if askers.is_empty() {
                self.0.remove(address);
            }
        }
    }

    /// Who asked about any address a host had or has, or that changed hands with it; perhaps more than once.
    pub(crate) fn of<'a>(
        &'a self,
        differences: &'a Differences,
        old: &'a Claims,
        new: &'a Claims,
    ) -> impl Iterator<Item = &'a PeerId> {
        let of_host = new.all_addresses().chain(old.all_addresses().filter(|address| !new.has(*address)));
        let addresses = of_host.chain(differences.addresses.iter().copied());
        addresses.filter_map(|address| self.0.get(&address)).flatten()
    }
}

/// The edges that one host's flows tell of, and what was asked of others for them.
pub(crate) fn resolve(
    graph: &HostGraph,
    own: &Claims,
    index: &Index,
    claims_of: impl Fn(&PeerId) -> Option<Arc<Claims>>,
) -> (Vec<Edge>, Asked) {
    let mut resolver = Resolver { graph, own, index, claims_of, asked: Asked::default() };
    let mut edges = Vec::with_capacity(graph.flows.len());
    for flow in graph.flows.values() {
        match flow.key.direction {
            Direction::Outgoing => resolver.outgoing(flow, &mut edges),
            Direction::Incoming => edges.extend(resolver.incoming(flow)),
        }
    }
    (edges, resolver.asked)
}

struct Resolver<'a, F> {
    graph: &'a HostGraph,
    own: &'a Claims,
    index: &'a Index,
    claims_of: F,
    asked: Asked,
}

fn edge(flow: &Flow, client: Party, server: Party) -> Edge {
    let key = flow.key;
    Edge {
        client,
        server,
        protocol: key.protocol,
        port: key.port,
        remote: key.remote,
        seen_from: key.direction,
        serial: flow.serial,
    }
}

impl<F: Fn(&PeerId) -> Option<Arc<Claims>>> Resolver<'_, F> {
    fn outgoing(&mut self, flow: &Flow, edges: &mut Vec<Edge>) {
        let Some(client) = self.own.owner(self.graph, flow) else { return };
        if client.is_docker_proxy() {
            return; // The client's own connection, to the published port, is the edge.
        }
        edges.extend(self.server(flow, &client).map(|server| edge(flow, client.clone(), server)));
    }

    fn server(&mut self, flow: &Flow, client: &Party) -> Option<Party> {
        let (to, protocol, port) = (flow.key.remote, flow.key.protocol, flow.key.port);
        let own = self.own;
        if to.is_loopback() && !own.is_host_netns(flow.netns) {
            return own.serving((flow.netns, protocol, port), to, &|remote| remote.is_loopback());
        }
        if to.is_loopback() || own.has(to) {
            return own.behind(protocol, to, port, &|remote| self.is_from(flow, client, remote));
        }
        self.asked.addresses.insert(to);
        self.asked.sockets.insert((to, protocol, port));
        if let Some(peer) = self.index.holder(to) {
            let claims = (self.claims_of)(peer).filter(|claims| own.agrees_on(to, claims))?;
            let behind = claims.behind(protocol, to, port, &|remote| self.own.has(remote));
            return Some(behind.unwrap_or_else(|| Party::Host(peer.clone())));
        }
        (!self.index.is_local(to)).then_some(Party::Internet)
    }

    /// Whether a server on this host would see `remote` as the address of this flow's client.
    fn is_from(&self, flow: &Flow, client: &Party, remote: IpAddr) -> bool {
        if self.own.is_host_netns(flow.netns) {
            return remote.is_loopback() || self.own.addresses.contains(&remote);
        }
        self.own.container(remote).is_some_and(|holder| same_container(client, holder))
    }

    fn incoming(&mut self, flow: &Flow) -> Option<Edge> {
        let server = self.own.owner(self.graph, flow)?;
        let from = flow.key.remote;
        if from.is_loopback() {
            return None; // The client is in the same namespace, and has a flow of its own.
        }
        let client = self.visitor(from)?;
        if !server.is_docker_proxy() {
            return Some(edge(flow, client, server));
        }
        // It was accepted on some address of ours: if they lead to different containers, to which is not known.
        let (protocol, port) = (flow.key.protocol, flow.key.port);
        let mut behind = self.own.addresses.iter().filter_map(|to| self.own.behind(protocol, *to, port, &|_| false));
        let first = behind.next()?;
        let behind = behind.all(|other| other == first).then_some(first)?;
        Some(edge(flow, client, behind))
    }

    /// Who comes from an address.
    fn visitor(&mut self, from: IpAddr) -> Option<Party> {
        if let Some(container) = self.own.container(from) {
            return Some(container.clone());
        }
        if self.own.addresses.contains(&from) {
            return Some(Party::Host(self.graph.peer.clone()));
        }
        self.asked.addresses.insert(from);
        if let Some(peer) = self.index.holder(from) {
            let claims = (self.claims_of)(peer).filter(|claims| self.own.agrees_on(from, claims))?;
            return Some(claims.container(from).cloned().unwrap_or_else(|| Party::Host(peer.clone())));
        }
        (!self.index.is_local(from)).then_some(Party::Internet)
    }
}

fn same_container(a: &Party, b: &Party) -> bool {
    fn container(party: &Party) -> Option<&ContainerId> {
        match party {
            Party::Process { container: Some(container), .. } | Party::Container { container, .. } => {
                Some(&container.id)
            }
            Party::Process { container: None, .. } | Party::Host(_) | Party::Internet => None,
        }
    }
    container(a).is_some_and(|id| container(b) == Some(id))
}
