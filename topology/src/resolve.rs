//! Resolution: flows into edges. A client's flow names an address and a port; who is behind them is found on the client's own
//! host first (loopback by network namespace, containers by their addresses, published ports), then among the hosts of the
//! cluster; what nobody has is a known service, by its names or its network, an unknown address of a network that hosts are in,
//! or else the Internet. A server's flow names who came: its edge repeats the client's where the client is known too, and is
//! all there is where it is not. [`Relation`]s are the two in one.
//!
//! Address translation is undone where it happened: a flow says where its own host sends it and who its own host says came.
//! Where that host could not tell, what other hosts publish and what came to them fills in.
//!
//! Missing beats false: where two parties could be meant (an address two hosts have, a namespace two containers share),
//! no edge is made. Of two hosts with an address the one that is heard of is meant: a peer that lost its key comes back as
//! another, and its old self stays on the map for a while.
//!
//! What cannot be told:
//! - Behind a translation outside our hosts (a router, a cloud's gateway) client and server name addresses that nobody of ours
//!   has: the relation is one edge to the Internet and one from it. Only an address that a host itself says it is seen by, or
//!   has, is that host.
//! - A balancer's address (IPVS, VRRP) is that of the host that has it: no socket there tells where it sends connections, and
//!   what it sends on is no flow of its own. The client's edge goes to that host. Where the balancer keeps the client's
//!   address, the server's own report is a second edge, from the client to the real server; both are told from one side.
//!   Where the client's own host balances (a Service of Kubernetes or Swarm), the flow names the real server, and all is well.
//! - An address that some host's translation sends on, but that no interface has, may lead to another server for each client:
//!   it is neither a server nor the Internet.
//! - An address in a network of containers or namespaces that none of them has is of one that starts or has gone: no edge, or
//!   each restart would draw one to somebody unknown. In a network that only hosts are in it is a machine without a peer, or
//!   one whose facts are on their way: its edge moves when somebody says to have the address. A private address in no network
//!   of ours is in its block, and never the Internet.
//! - Where several clients look alike to several servers behind one port, whose of whom is not known: the edges lead to the
//!   servers' host.

mod asked;
mod index;
mod relation;

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;

pub(crate) use asked::{Asked, Askers};
pub(crate) use index::Index;
pub use relation::{Relation, Told};
pub(crate) use relation::{Source, relations};

use crate::address;
use crate::claims::{Claims, Party, Place, Visitor};
use crate::fact::{Direction, Flow, Protocol};
use crate::graph::HostGraph;
use crate::id::{ContainerId, Netns, PeerId, ProcessId};
use crate::services::Services;
use index::Holder;

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
    /// Namespace and port on the server's host where connections end: not what the client names if that was published. As
    /// far as they are known, else without a namespace and as the client names it.
    pub door: (Option<Netns>, u16),
    /// Who serves in `server`, where they are several that this host's client is connected to.
    pub servers: Box<[Party]>,
}

impl Edge {
    fn of(flow: &Flow, client: Party, server: Party, door: (Option<Netns>, u16)) -> Self {
        let key = flow.key;
        Self {
            client,
            server,
            protocol: key.protocol,
            port: key.port,
            remote: key.remote,
            seen_from: key.direction,
            serial: flow.serial,
            door,
            servers: Box::default(),
        }
    }

    /// Whether this is what `flow` tells.
    fn is_of(&self, flow: &Flow) -> bool {
        let key = flow.key;
        self.serial == flow.serial
            && (self.seen_from, self.protocol, self.remote, self.port)
                == (key.direction, key.protocol, key.remote, key.port)
    }
}

/// What all hosts together say of an address.
pub(crate) struct Surroundings<'a, F> {
    pub(crate) index: &'a Index,
    pub(crate) services: &'a Services,
    pub(crate) claims_of: F,
}

/// The edges that one host's flows tell of, in their order, and what was asked of others for them.
pub(crate) fn resolve<F: Fn(&PeerId) -> Option<Arc<Claims>>>(
    graph: &HostGraph,
    own: &Claims,
    around: &Surroundings<'_, F>,
) -> (Vec<Edge>, Asked) {
    let mut resolver = Resolver { graph, own, around, clients: OnceCell::new(), asked: Asked::default() };
    let edges = graph.flows.values().filter_map(|flow| match flow.key.direction {
        Direction::Outgoing => resolver.outgoing(flow),
        Direction::Incoming => resolver.incoming(flow),
    });
    let mut all = Vec::with_capacity(graph.flows.len());
    all.extend(edges);
    (all, resolver.asked)
}

struct Resolver<'a, F> {
    graph: &'a HostGraph,
    own: &'a Claims,
    around: &'a Surroundings<'a, F>,
    /// Who connects to a target, `None` if they are several. Made when somebody asks: few do.
    clients: OnceCell<HashMap<Target, Option<Client>>>,
    asked: Asked,
}

/// What a flow names.
type Target = (Protocol, IpAddr, u16);

fn target(flow: &Flow) -> Target {
    (flow.key.protocol, flow.key.remote.to_canonical(), flow.key.port)
}

/// A container, or a process in none; of neither it is not known which.
type Client = (Option<ContainerId>, Option<ProcessId>);

fn runs_in(client: &Party) -> Client {
    match (client.container(), client) {
        (Some(container), _) => (Some(container.id.clone()), None),
        (None, Party::Process { process, .. }) => (None, Some(process.id)),
        (None, _) => (None, None),
    }
}

fn clients(graph: &HostGraph, own: &Claims) -> HashMap<Target, Option<Client>> {
    let mut clients = HashMap::default();
    for flow in graph.flows.values().filter(|flow| flow.key.direction == Direction::Outgoing) {
        let Some(client) = own.owner(graph, flow).map(|client| runs_in(&client)) else { continue };
        let known = clients.entry(target(flow)).or_insert_with(|| Some(client.clone()));
        if known.as_ref() != Some(&client) {
            *known = None;
        }
    }
    clients
}

impl<'a, F: Fn(&PeerId) -> Option<Arc<Claims>>> Resolver<'a, F> {
    fn outgoing(&mut self, flow: &Flow) -> Option<Edge> {
        let client = self.own.owner(self.graph, flow)?;
        if self.own.is_docker_proxy(&client) {
            return None; // The client's own connection, to the published port, is the edge.
        }
        let (place, servers) = self.server(flow, &client)?;
        Some(Edge { servers, ..Edge::of(flow, client, place.party, (place.netns, place.port)) })
    }

    /// Who serves, and who all do if they are several.
    fn server(&mut self, flow: &Flow, client: &Party) -> Option<(Place, Box<[Party]>)> {
        let (to, protocol, port) = (flow.key.remote.to_canonical(), flow.key.protocol, flow.key.port);
        let own = self.own;
        if to.is_loopback() && !own.is_host_netns(flow.netns) {
            let party = own.serving((flow.netns, protocol, port), to, &|remote| remote.is_loopback())?;
            return Some((Place { party, netns: Some(flow.netns), port }, Box::default()));
        }
        if to.is_loopback() || own.has(to) {
            let from = |remote| own.is_from(flow, client, remote);
            let place = own.knows_for(flow.netns, to).then(|| own.behind(protocol, to, port, &from))??;
            // What was published is masqueraded on its way back in.
            let is_turned = own.addresses.contains(&to);
            let from = |remote| from(remote) || (is_turned && own.may_be_from(flow, client, remote));
            let servers = self.servers_of(own, Some(&place), flow, client, &from);
            return Some((place, servers));
        }
        let party = match self.holder_of_socket(to, protocol, port) {
            Holder::One(peer) => {
                let claims = self.claims_that_agree(peer, flow.netns, to)?;
                // What the server's host has itself is no address of a client of ours, though both may have the like.
                let from = |remote| !claims.has(remote) && own.may_be_from(flow, client, remote);
                let place = claims.behind(protocol, to, port, &from);
                let servers = self.servers_of(&claims, place.as_ref(), flow, client, &from);
                let on_host = || Place { party: Party::Host(peer.clone()), netns: None, port };
                return Some((place.unwrap_or_else(on_host), servers));
            }
            Holder::Several => return None,
            Holder::Nobody => self.outside(to, true)?,
        };
        Some((Place { party, netns: None, port }, Box::default()))
    }

    /// Who all serve a flow, if they are several. Where they are of several containers, and others of this host may be the
    /// clients of some of them, it is not known whose of whom.
    fn servers_of(
        &self,
        claims: &Claims,
        place: Option<&Place>,
        flow: &Flow,
        client: &Party,
        from: &Visitor<'_>,
    ) -> Box<[Party]> {
        let servers = claims.servers(place, flow, from);
        let is_one_place = place.is_some() || servers.windows(2).all(|two| runs_in(&two[0]) == runs_in(&two[1]));
        if is_one_place {
            return servers;
        }
        let clients = self.clients.get_or_init(|| clients(self.graph, self.own));
        let is_alone = clients.get(&target(flow)).is_none_or(|known| *known == Some(runs_in(client)));
        if is_alone { servers } else { Box::default() }
    }

    fn incoming(&mut self, flow: &Flow) -> Option<Edge> {
        let server = self.own.owner(self.graph, flow)?;
        let from = flow.key.remote.to_canonical();
        if from.is_loopback() {
            return None; // The client is in the same namespace, and has a flow of its own.
        }
        let client = self.visitor(flow.netns, from)?;
        if !self.own.is_docker_proxy(&server) {
            let door = (flow.netns, flow.key.protocol, flow.key.port);
            if client == Party::Host(self.graph.peer.clone()) && self.own.proxied.contains(&door) {
                return None; // Who came to the proxy is told by the proxy, or by a flow of its own.
            }
            return Some(Edge::of(flow, client, server, (Some(flow.netns), flow.key.port)));
        }
        // It was accepted on some address of ours: if they lead to different containers, to which is not known.
        let (protocol, port) = (flow.key.protocol, flow.key.port);
        let mut behind = self.own.addresses.iter().filter_map(|to| self.own.behind(protocol, *to, port, &|_| false));
        let first = behind.next()?;
        let behind = behind.all(|other| other == first).then_some(first)?;
        Some(Edge::of(flow, client, behind.party, (behind.netns, behind.port)))
    }

    /// Who comes from an address to a namespace of this host.
    fn visitor(&mut self, netns: Netns, from: IpAddr) -> Option<Party> {
        if self.own.has(from) {
            if !self.own.knows_for(netns, from) {
                return None;
            }
            let container = self.own.container(from).cloned();
            return Some(container.unwrap_or_else(|| Party::Host(self.graph.peer.clone())));
        }
        if address::is_link_scoped(from) {
            return self.outside(from, false);
        }
        self.asked.ask(from);
        match self.around.index.origin(from) {
            Holder::One(peer) => {
                let claims = self.claims_that_agree(peer, netns, from)?;
                Some(claims.container(from).cloned().unwrap_or_else(|| Party::Host(peer.clone())))
            }
            Holder::Several => None,
            Holder::Nobody => self.outside(from, false),
        }
    }

    /// Whose an address is. What is of a link is nobody's beyond it: many hosts have such an address.
    fn holder_of_socket(&mut self, to: IpAddr, protocol: Protocol, port: u16) -> Holder<'a> {
        if address::is_link_scoped(to) {
            return Holder::Nobody;
        }
        self.asked.ask_socket(to, protocol, port);
        self.around.index.holder(to)
    }

    /// The claims of a host, if `address` means there what it means in a namespace of this host.
    fn claims_that_agree(&mut self, peer: &PeerId, netns: Netns, address: IpAddr) -> Option<Arc<Claims>> {
        let claims = (self.around.claims_of)(peer).filter(|claims| self.own.agrees_on(address, claims))?;
        let inside = self.graph.namespaces.get(&netns);
        for network in inside.iter().flat_map(|namespace| &namespace.networks) {
            if !network.contains(address) {
                continue;
            }
            // A network both have the same address in: two that look alike.
            let own = network.address.to_canonical();
            self.asked.ask(own);
            if claims.has(own) {
                return None;
            }
        }
        Some(claims)
    }

    /// What an address is that no host has. The names this host knows it by are those it connects to: they say nothing of
    /// who comes.
    fn outside(&self, address: IpAddr, is_server: bool) -> Option<Party> {
        let known = self.graph.names.get(&address).filter(|_| is_server);
        let names: Vec<&str> =
            known.iter().flat_map(|it| it.names.iter().chain(&it.reverse)).map(String::as_str).collect();
        if let Some(service) = self.around.services.find(address, &names) {
            return Some(Party::Service(service));
        }
        let index = self.around.index;
        if is_server && index.is_front(address) {
            return None;
        }
        if let Some((network, prefix)) = index.neighbourhood(&self.own.networks, address) {
            return Some(Party::Unknown { network, prefix });
        }
        (!index.is_local(address)).then_some(Party::Internet)
    }
}
