//! Reports of both ends, and which may be halves of one relation.

use std::net::IpAddr;
use std::rc::Rc;

use foldhash::HashMap;

use super::Told;
use super::ident::{Bond, End, Ident, Numbers};
use super::matches::Matches;
use crate::claims::{Claims, Party};
use crate::fact::{Direction, Flow, Protocol};
use crate::graph::HostGraph;
use crate::id::Netns;
use crate::resolve::Edge;

/// What is joined of one host.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) graph: &'a HostGraph,
    pub(crate) claims: &'a Claims,
    /// Those of the graph's flows, in their order.
    pub(crate) edges: &'a [Edge],
}

/// A flow that is an edge.
pub(super) struct Report<'a> {
    /// Who tells, as a number of a source.
    pub(super) host: usize,
    pub(super) edge: &'a Edge,
    pub(super) flow: &'a Flow,
    pub(super) client: End,
    pub(super) server: End,
}

impl<'a> Report<'a> {
    /// The port the client named, as far as this end knows.
    pub(super) fn named(&self) -> u16 {
        match (self.edge.seen_from, self.flow.via) {
            (Direction::Incoming, Some(via)) => via.port(),
            _ => self.edge.port,
        }
    }

    /// Whether the client named this port, or its host's address translation did.
    fn names(&self, port: u16) -> bool {
        self.edge.port == port || self.flow.via.is_some_and(|via| via.port() == port)
    }

    pub(super) fn bond(&self) -> Bond {
        let is_outside = self.client.host.is_none() || self.server.host.is_none();
        Bond {
            client: self.client.ident,
            server: self.server.ident,
            protocol: self.edge.protocol,
            port: self.named(),
            remote: is_outside.then_some(self.edge.remote.to_canonical()),
        }
    }

    /// The server of this report of a client, given what the server's end says of itself.
    pub(super) fn server_as(&self, heard: &Heard<'a>) -> (End, &'a Party) {
        match heard.server {
            Some(server) if self.server.has(server.0) => server,
            _ => (self.server, &self.edge.server),
        }
    }
}

/// What a server's end tells.
pub(super) struct Heard<'a> {
    /// Who tells, as a number of a source.
    pub(super) host: usize,
    pub(super) flow: &'a Flow,
    /// The edge; none where it came by loopback.
    pub(super) report: Option<Report<'a>>,
    server: Option<(End, &'a Party)>,
    /// Clients' reports it may be the other half of.
    pub(super) candidates: Rc<[usize]>,
    /// Whether it is the other half of one relation only.
    pub(super) is_of_one: bool,
}

impl<'a> Heard<'a> {
    fn new(host: usize, flow: &'a Flow, report: Option<Report<'a>>, server: Option<(End, &'a Party)>) -> Self {
        Self { host, flow, report, server, candidates: Rc::default(), is_of_one: false }
    }
}

/// Where a client's report is looked for: by the door it leads to, and by what the server's end can know of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) server: usize,
    pub(super) netns: Option<Netns>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) from: Origin,
}

/// What the server's end can know of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Container(usize),
    Host(usize),
    Loopback,
}

/// All reports.
pub(super) struct Reports<'a> {
    sources: Vec<Source<'a>>,
    /// What clients' ends tell.
    pub(super) told: Vec<Report<'a>>,
    /// What servers' ends tell.
    pub(super) heard: Vec<Heard<'a>>,
}

impl<'a> Reports<'a> {
    pub(super) fn of(sources: Vec<Source<'a>>) -> Self {
        let mut numbers = Numbers::default();
        for source in &sources {
            numbers.peer(&source.graph.peer);
        }
        let mut reports = Self { sources: Vec::new(), told: Vec::new(), heard: Vec::new() };
        for (host, source) in sources.iter().enumerate() {
            reports.read(host, source, &mut numbers);
        }
        Self { sources, ..reports }
    }

    fn read(&mut self, host: usize, source: &Source<'a>, numbers: &mut Numbers<'a>) {
        let mut edges = source.edges.iter().peekable();
        // Flows come by owner, and so do edges: most have an end in common with the one before.
        let mut last: Option<(&Party, End)> = None;
        let mut own_end = |party: &'a Party, numbers: &mut Numbers<'a>| match last {
            Some((same, end)) if same == party => end,
            _ => last.insert((party, numbers.end(party))).1,
        };
        for flow in source.graph.flows.values() {
            let Some(edge) = edges.next_if(|edge| edge.is_of(flow)) else {
                let key = flow.key;
                if key.direction == Direction::Incoming && key.remote.to_canonical().is_loopback() {
                    self.heard.push(Heard::new(host, flow, None, None));
                }
                continue;
            };
            let (client, server) = match edge.seen_from {
                Direction::Outgoing => (own_end(&edge.client, numbers), numbers.end(&edge.server)),
                Direction::Incoming => (numbers.end(&edge.client), own_end(&edge.server, numbers)),
            };
            let report = Report { host, edge, flow, client, server };
            match edge.seen_from {
                Direction::Outgoing => self.told.push(report),
                Direction::Incoming => {
                    let server = Some((server, &edge.server));
                    self.heard.push(Heard::new(host, flow, Some(report), server));
                }
            }
        }
    }

    /// Finds which clients' reports each server's report may be the other half of.
    pub(super) fn join(&mut self) {
        let mut heard = std::mem::take(&mut self.heard);
        let mut matches = Matches::new(self, self.slots());
        for heard in &mut heard {
            heard.candidates = matches.of(heard);
            heard.is_of_one = self.is_of_one(heard);
        }
        self.heard = heard;
    }

    fn slots(&self) -> HashMap<Slot, Vec<usize>> {
        let mut slots: HashMap<Slot, Vec<usize>> = HashMap::default();
        slots.reserve(self.told.len());
        for (number, Report { edge, flow, client, server, .. }) in self.told.iter().enumerate() {
            let (Some(server), Some(client_host)) = (server.host, client.host) else { continue };
            let (netns, port) = edge.door;
            let slot = |from| Slot { server, netns, protocol: edge.protocol, port, from };
            let mut enter = |slot| slots.entry(slot).or_default().push(number);
            if edge.remote.to_canonical().is_loopback() {
                enter(Slot { netns: Some(flow.netns), port: edge.port, ..slot(Origin::Loopback) });
                continue;
            }
            enter(slot(Origin::Host(client_host)));
            if let Some(container) = client.container {
                enter(slot(Origin::Container(container)));
            }
        }
        slots
    }

    /// Whether a client's report may be the other half of a server's, where slots agree.
    pub(super) fn may_be_one(&self, told: &Report<'a>, heard: &Report<'a>) -> bool {
        let is_place = match (told.edge.door.0, told.server.ident) {
            (Some(_), _) => heard.flow.via.is_none_or(|via| told.names(via.port())),
            (None, Ident::Host(_)) => {
                let is_named = |via: IpAddr| via.to_canonical() == told.edge.remote.to_canonical();
                let is_hosts = || self.sources[heard.host].claims.is_host_netns(heard.flow.netns);
                heard.named() == told.edge.port && heard.flow.via.map_or_else(is_hosts, |via| is_named(via.ip()))
            }
            (None, _) => told.server.container == heard.server.container,
        };
        is_place && (matches!(heard.client.ident, Ident::Container(_)) || self.looks_like(told, heard.edge.remote))
    }

    /// Whether the server's end may see `remote` where this client is, of which it only knows the host.
    fn looks_like(&self, told: &Report<'a>, remote: IpAddr) -> bool {
        let Some(source) = self.sources.get(told.host) else { return false };
        let (claims, client, remote) = (source.claims, &told.edge.client, remote.to_canonical());
        if told.server.host != told.client.host {
            return claims.may_be_from(told.flow, client, remote);
        }
        // On one host only what was published is masqueraded, on its way back in.
        let is_turned = || claims.addresses.contains(&told.edge.remote.to_canonical());
        claims.is_from(told.flow, client, remote) || (is_turned() && claims.may_be_from(told.flow, client, remote))
    }

    /// Whether a client's report names a host alone, and these servers' reports are of more than one place there.
    pub(super) fn leads_to_several(&self, told: &Report<'a>, heard: &[usize]) -> bool {
        let mut servers = heard.iter().map(|number| told.server_as(&self.heard[*number]).0.runs_in());
        let first = servers.next();
        matches!(told.server.ident, Ident::Host(_)) && servers.any(|server| Some(server) != first)
    }

    /// Whether all clients a server's report may be of are one, with what runs in one container as one.
    pub(super) fn is_of_one_client(&self, heard: &Heard<'a>) -> bool {
        let mut clients = heard.candidates.iter().map(|told| self.told[*told].client.runs_in());
        let first = clients.next();
        clients.all(|client| Some(client) == first)
    }

    /// Whether a server's report is the other half of one relation only.
    fn is_of_one(&self, heard: &Heard<'a>) -> bool {
        let mut bonds = heard.candidates.iter().map(|told| {
            let told = &self.told[*told];
            Bond { server: told.server_as(heard).0.ident, ..told.bond() }
        });
        let first = bonds.next();
        bonds.all(|bond| Some(bond) == first)
    }

    /// The name of a flow of a host.
    pub(super) fn told(&self, host: usize, flow: &Flow) -> Told {
        Told { peer: self.sources[host].graph.peer.clone(), serial: flow.serial }
    }
}
