//! Claims: which addresses and ports of a host lead to which party. One host's claims come from its facts alone; resolution
//! asks the claims of this host first and then those of the others.
//!
//! An address leads to a network namespace, and a port of a namespace is a [`Door`]: who is behind it is told by the
//! connections that were accepted there, then by the listener, then by whose namespace it is.

mod differences;
mod party;
mod published;
mod take;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashSet};

use crate::address::{self, Net};
use crate::fact::{Flow, Owner, Process, Protocol};
use crate::graph::HostGraph;
use crate::id::{Netns, PeerId, ProcessId};

pub(crate) use differences::Differences;
pub use party::Party;
use published::{Published, Translation};

/// Whether an address may be that of a client.
pub(crate) type Visitor<'a> = dyn Fn(IpAddr) -> bool + 'a;

/// A place connections go to: a port of a network namespace.
pub(crate) type Door = (Netns, Protocol, u16);

/// Most parties that one flow is drawn to: more than serve behind one port of a host.
const SERVERS_MAX: usize = 64;

/// Where a connection ends, and who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) party: Party,
    /// The namespace, if it is known.
    pub(crate) netns: Option<Netns>,
    /// The port there: another one than the client names if that was published.
    pub(crate) port: u16,
}

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

/// Where an address of a container or of a namespace leads. Nowhere if several namespaces have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Home {
    /// The container that alone is there.
    party: Option<Party>,
    netns: Option<Netns>,
}

/// Connections that were accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    remote: IpAddr,
    /// What the client named, if address translation led it here.
    via: Option<SocketAddr>,
    /// Who holds them.
    party: Party,
}

/// How far others believe that an address is this host's: anybody may give a namespace any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// The host's own, or a runtime's word.
    Told,
    /// Only a namespace's, but a container's, or an address anybody may use.
    Inside,
    /// Only a namespace's that is nobody's: believed if it is in a network some host has.
    Doubtful,
}

/// What one host claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    netns: Option<Netns>,
    /// The host's own addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// The host's own networks, the runtime's bridges among them.
    pub(crate) networks: BTreeSet<Net>,
    /// These and those of its namespaces, but such as are too wide to be anybody's: an address in one of them is not the
    /// Internet's.
    pub(crate) local: BTreeSet<Net>,
    /// Those of them that containers or namespaces live in, or would: there an address that nobody has is of one that starts or
    /// has gone.
    pub(crate) inhabited: BTreeSet<Net>,
    /// Addresses of containers and of namespaces.
    homes: HashMap<IpAddr, Home>,
    /// Addresses of which neither the host nor a runtime told, but only a namespace that has them, and how far to believe it.
    inside: HashMap<IpAddr, Rank>,
    /// Addresses that namespaces have of which no runtime of this host told, though somebody else here has them too: a
    /// Docker in a container numbers its containers as the one outside does.
    contested: HashSet<IpAddr>,
    /// Namespaces of containers whose addresses a runtime told.
    told: HashSet<Netns>,
    /// Addresses that no interface has, as which the far end sees connections of this host.
    pub(crate) masks: BTreeSet<IpAddr>,
    /// Addresses that no interface has, by which connections came that this host's address translation sent here.
    pub(crate) fronts: BTreeSet<IpAddr>,
    offers: HashMap<Door, Vec<Offer>>,
    /// Accepted connections, by door.
    accepted: HashMap<Door, Vec<Accepted>>,
    /// Doors where connections were accepted, by their ports and by those that clients named.
    came_by: HashMap<(Protocol, u16), BTreeSet<Door>>,
    published: HashMap<(Protocol, u16), Vec<Published>>,
    /// What is published as far as those tell who came: not Docker's word, but there without it.
    translated: HashMap<(Protocol, u16), Vec<Translation>>,
    /// Doors to which a docker-proxy passes on what comes to it.
    pub(crate) proxied: HashSet<Door>,
    /// Whose each network namespace is, where it is one container's.
    tenants: HashMap<Netns, Party>,
}

impl Claims {
    /// Who holds the local end of a flow.
    pub(crate) fn owner(&self, graph: &HostGraph, flow: &Flow) -> Option<Party> {
        match flow.key.owner {
            Owner::Process(id) => process(graph, id),
            Owner::Netns(netns) => self.tenants.get(&netns).cloned(),
        }
    }

    /// Whether a party of this host is plumbing of Docker's: a connection to it is one to its container.
    pub(crate) fn is_docker_proxy(&self, party: &Party) -> bool {
        matches!(party, Party::Process { process, .. } if party::is_docker_proxy(process, self.netns))
    }

    /// The container that alone has `address` on this host. Where other containers share its namespace it could be any of
    /// them, so it is none.
    pub(crate) fn container(&self, address: IpAddr) -> Option<&Party> {
        self.homes.get(&address)?.party.as_ref()
    }

    /// Addresses of this host, of its containers and of its namespaces by which others may know them, each once.
    pub(crate) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let inside = self.homes.keys().filter(|address| !self.addresses.contains(*address));
        self.addresses.iter().chain(inside).copied().filter(|address| !address::is_link_scoped(*address))
    }

    /// How far to believe that an address is this host's; none if it is not, or not by which others may know it.
    pub(crate) fn rank(&self, address: IpAddr) -> Option<Rank> {
        let is_known = self.has(address) && !address::is_link_scoped(address);
        is_known.then(|| self.inside.get(&address).copied().unwrap_or(Rank::Told))
    }

    /// Whether this is an address something on this host has.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.homes.contains_key(&address)
    }

    /// Whether the owner of `address` that is known here is the one meant in a namespace of this host.
    pub(crate) fn knows_for(&self, netns: Netns, address: IpAddr) -> bool {
        !self.contested.contains(&address) || self.is_host_netns(netns) || self.told.contains(&netns)
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
        let mut holders = accepted.filter(|it| from(it.remote)).map(|it| &it.party);
        if let Some(first) = holders.next()
            && holders.all(|holder| holder == first)
        {
            return Some(first.clone());
        }
        let offers = self.offers.get(&door).into_iter().flatten();
        let best = offers.filter_map(|offer| Some((offer.fit(to)?, &offer.party))).min_by_key(|(fit, _)| *fit);
        best.map(|(_, party)| party.clone())
    }

    /// Who is behind `to:port`, where `to` is an address of this host or of one of its namespaces.
    pub(crate) fn behind(&self, protocol: Protocol, to: IpAddr, port: u16, from: &Visitor<'_>) -> Option<Place> {
        if self.homes.contains_key(&to) {
            return self.behind_home(protocol, to, port, from);
        }
        if let Some(published) = self.publication(protocol, to, port) {
            // Through the proxy or a masquerade the container sees the bridge's address: whose connection it is cannot be told,
            // but if one process holds them all it is that one's.
            return self.behind_home(protocol, published.container, published.container_port, &|_| true);
        }
        if let Some(translation) = self.translation(protocol, to, port, from) {
            let Translation { netns, port, .. } = *translation;
            let serving = self.serving((netns, protocol, port), to, from);
            let party = serving.or_else(|| translation.tenant.clone())?;
            return Some(Place { party, netns: Some(netns), port });
        }
        let netns = self.netns?;
        let party = self.serving((netns, protocol, port), to, from).filter(|party| !self.is_docker_proxy(party))?;
        Some(Place { party, netns: Some(netns), port })
    }

    fn behind_home(&self, protocol: Protocol, to: IpAddr, port: u16, from: &Visitor<'_>) -> Option<Place> {
        let Home { party, netns } = self.homes.get(&to)?;
        let serving = netns.and_then(|netns| self.serving((netns, protocol, port), to, from));
        let party = serving.or_else(|| party.clone())?;
        Some(Place { party, netns: *netns, port })
    }

    fn publication(&self, protocol: Protocol, to: IpAddr, port: u16) -> Option<&Published> {
        let published = self.published.get(&(protocol, port))?;
        // A container address is not published again: that would go round in circles.
        published.iter().filter(|it| self.homes.contains_key(&it.container)).find(|it| it.fits(to))
    }

    /// Where those went that came by `to:port`, preferably from one of `from`; none if they went to different places, as
    /// through a balancer.
    fn translation(&self, protocol: Protocol, to: IpAddr, port: u16, from: &Visitor<'_>) -> Option<&Translation> {
        let all = self.translated.get(&(protocol, port))?;
        let all = || all.iter().filter(|it| it.address == to);
        let is_known = all().any(|it| from(it.remote));
        let mut some = all().filter(|it| !is_known || from(it.remote));
        let first = some.next()?;
        some.all(|it| (it.netns, it.port) == (first.netns, first.port)).then_some(first)
    }

    /// Who holds what came from the client of a flow, where `place` is as well as it can be told who serves and is no process:
    /// the ends of connections through a balanced port, or processes of a container. At most [`SERVERS_MAX`].
    pub(crate) fn servers(&self, place: Option<&Place>, flow: &Flow, from: &Visitor<'_>) -> Box<[Party]> {
        let (protocol, to, port) = (flow.key.protocol, flow.key.remote.to_canonical(), flow.key.port);
        let names = |named: u16| named == port || flow.via.is_some_and(|via| via.port() == named);
        let is_named = |it: &Accepted| it.via.is_none_or(|via| via.ip().to_canonical() == to);
        // Who came to a port untranslated came to the host itself.
        let named = |door: &Door, it: &Accepted| match it.via {
            Some(via) => via.port() == port,
            None => door.2 == port && self.is_host_netns(door.0),
        };
        let at = |port| self.came_by.get(&(protocol, port)).into_iter().flatten().copied().collect::<Vec<Door>>();
        match place {
            _ if to.is_loopback() => Box::default(),
            Some(Place { party: Party::Process { .. }, .. }) => Box::default(),
            Some(Place { netns: Some(netns), port: inside, .. }) => {
                self.holders(vec![(*netns, protocol, *inside)], from, |_, it| {
                    it.via.is_none_or(|via| names(via.port()))
                })
            }
            Some(Place { party, port, .. }) => {
                self.holders(at(*port), from, |_, it| it.party.container() == party.container())
            }
            None => self.holders(at(port), from, |door, it| named(door, it) && is_named(it)),
        }
    }

    fn holders(
        &self,
        doors: Vec<Door>,
        from: &Visitor<'_>,
        is_meant: impl Fn(&Door, &Accepted) -> bool,
    ) -> Box<[Party]> {
        let mut holders: Vec<Party> = Vec::new();
        for door in doors {
            let accepted = self.accepted.get(&door).into_iter().flatten();
            for it in accepted.filter(|it| !it.remote.is_loopback() && from(it.remote) && is_meant(&door, it)) {
                if holders.len() >= SERVERS_MAX {
                    return holders.into();
                }
                if !holders.contains(&it.party) && !self.is_docker_proxy(&it.party) {
                    holders.push(it.party.clone());
                }
            }
        }
        holders.into()
    }

    /// Whether who serves behind an address is looked for by port alone: its namespace is not known.
    pub(crate) fn is_by_port(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.homes.get(&address).is_some_and(|home| home.netns.is_none())
    }

    /// Whether this is the host's own namespace.
    pub(crate) fn is_host_netns(&self, netns: Netns) -> bool {
        self.netns == Some(netns)
    }

    /// Where connections to an address of this host, or of one of its namespaces, end; published ports not followed.
    pub(crate) fn door(&self, to: IpAddr, protocol: Protocol, port: u16) -> Option<Door> {
        let netns = self.homes.get(&to).map_or(self.netns, |home| home.netns);
        netns.map(|netns| (netns, protocol, port))
    }

    /// Whether another end on this host would see `remote` as the address of this flow's client.
    pub(crate) fn is_from(&self, flow: &Flow, client: &Party, remote: IpAddr) -> bool {
        if flow.masquerade.is_some_and(|seen| seen.to_canonical() == remote) {
            return true;
        }
        if self.is_host_netns(flow.netns) {
            return remote.is_loopback() || self.addresses.contains(&remote);
        }
        let of_client = |home: &Home| match home.netns {
            Some(netns) => netns == flow.netns,
            None => home.party.as_ref().and_then(Party::container).is_some_and(|it| client.container() == Some(it)),
        };
        self.homes.get(&remote).is_some_and(of_client)
    }

    /// Whether an end on another host could see `remote` as the address of this flow's client: any address of this host, if
    /// it is not known that it is masqueraded as a certain one.
    pub(crate) fn may_be_from(&self, flow: &Flow, client: &Party, remote: IpAddr) -> bool {
        let is_ours = || self.addresses.contains(&remote) || self.masks.contains(&remote);
        self.is_from(flow, client, remote) || (flow.masquerade.is_none() && is_ours())
    }

    /// What others must ask again after these claims became `new`.
    pub(crate) fn differences(&self, new: &Self) -> Differences {
        Differences::between(self, new)
    }
}

/// A process of a host by its id, if its facts are known.
fn process(graph: &HostGraph, id: ProcessId) -> Option<Party> {
    graph.processes.get(&id).map(|process| of_process(graph, process))
}

fn of_process(graph: &HostGraph, process: &std::sync::Arc<Process>) -> Party {
    let container = graph.container_of(process).cloned();
    Party::Process { peer: graph.peer.clone(), process: process.clone(), container }
}

fn of_container(peer: &PeerId, container: &std::sync::Arc<crate::fact::Container>) -> Party {
    Party::Container { peer: peer.clone(), container: container.clone() }
}
