//! Relations: what the hosts of both ends tell of one relation, joined into one. A relation both ends tell of is confirmed.
//!
//! Clients' reports come first, each is a relation. A server's report is joined to those it may be the other half of: the same
//! protocol, the same *door* (namespace and port on the server's host), and a client that comes from the address the server
//! saw. A client the server's host knows only as a host of ours is any on it whose connections may look so: those masqueraded
//! as that address, and those of which it is not known that they are not. Where nobody there explains it, it stays a relation
//! of its own, one-sided.
//!
//! The server's end may know better who serves than the client's could tell (a process where the client's report led to a
//! container or a host): then it is believed. Where one report is the other half of several relations it confirms them all,
//! but its figures are of none of them alone. Of very many on both ends not every pair is told: see [`matches`].

mod ident;
mod matches;
mod report;

use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use crate::claims::Party;
use crate::fact::Protocol;
use crate::id::PeerId;
use ident::{Bond, End};
pub(crate) use report::Source;
use report::{Heard, Report, Reports};

/// One relation between two parties, as all hosts tell it together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Who connects, as well as either end knows.
    pub client: Party,
    /// Who is connected to, as well as either end knows.
    pub server: Party,
    /// Protocol of the connections.
    pub protocol: Protocol,
    /// The serving port as the client's host names it. If only the server tells: the one that was named to its host.
    pub port: u16,
    /// The server's address as the client's host sees it. If only the server tells: the client's as that one sees it.
    pub remote: IpAddr,
    /// Flows of the client's end that are this relation's alone.
    pub told_by_client: Vec<Told>,
    /// Flows of the server's end that are this relation's alone.
    pub told_by_server: Vec<Told>,
    /// Flows of the client's end that are of several relations, this one among them: their figures are sums.
    pub together_by_client: Vec<Told>,
    /// The same of the server's end.
    pub together_by_server: Vec<Told>,
}

impl Relation {
    /// Whether both ends tell of it.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        let is_told = |alone: &[Told], together: &[Told]| !(alone.is_empty() && together.is_empty());
        is_told(&self.told_by_client, &self.together_by_client)
            && is_told(&self.told_by_server, &self.together_by_server)
    }
}

/// Names a flow, and its gauges, at its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Told {
    /// Who tells.
    pub peer: PeerId,
    /// The flow's serial there.
    pub serial: u32,
}

/// All relations: clients' reports in the order of hosts and flows, and after them what servers alone tell. Costs the edges and
/// flows of all hosts.
pub(crate) fn relations<'a>(sources: impl Iterator<Item = Source<'a>>) -> Vec<Relation> {
    let mut reports = Reports::of(sources.collect());
    reports.join();
    let mut ledger = Ledger::default();
    ledger.by_bond.reserve(reports.told.len());
    ledger.relations.reserve(reports.told.len());
    let mut heard_of = vec![Vec::new(); reports.told.len()];
    for (number, heard) in reports.heard.iter().enumerate() {
        for told in heard.candidates.iter() {
            heard_of[*told].push(number);
        }
    }
    let mut is_explained = vec![false; reports.heard.len()];
    for (report, mut numbers) in reports.told.iter().zip(heard_of) {
        // Several clients that look alike, and several servers: whose of whom is not known.
        if reports.leads_to_several(report, &numbers) {
            numbers.retain(|number| reports.is_of_one_client(&reports.heard[*number]));
        }
        numbers.iter().for_each(|number| is_explained[*number] = true);
        let heard: Vec<&Heard<'_>> = numbers.into_iter().map(|number| &reports.heard[number]).collect();
        ledger.enter_told(&reports, report, &heard);
    }
    for (heard, _) in reports.heard.iter().zip(is_explained).filter(|(_, is_explained)| !is_explained) {
        ledger.enter_heard(&reports, heard);
    }
    ledger.in_order()
}

#[derive(Default)]
struct Ledger {
    by_bond: HashMap<Bond, usize>,
    relations: Vec<Relation>,
}

impl Ledger {
    fn entry(&mut self, bond: Bond, report: &Report<'_>, server: &Party) -> &mut Relation {
        let next = self.relations.len();
        let index = *self.by_bond.entry(bond).or_insert(next);
        if index == next {
            self.relations.push(Relation {
                client: report.edge.client.clone(),
                server: server.clone(),
                protocol: bond.protocol,
                port: bond.port,
                remote: report.edge.remote.to_canonical(),
                told_by_client: Vec::new(),
                told_by_server: Vec::new(),
                together_by_client: Vec::new(),
                together_by_server: Vec::new(),
            });
        }
        &mut self.relations[index]
    }

    /// Enters a client's report with the servers' reports that may be its other half.
    fn enter_told(&mut self, reports: &Reports<'_>, report: &Report<'_>, heard: &[&Heard<'_>]) {
        let mut servers: Vec<(End, &Party)> = Vec::new();
        let mut known = HashSet::default();
        for server in heard.iter().map(|heard| report.server_as(heard)) {
            if known.insert(server.0.ident) {
                servers.push(server);
            }
        }
        if servers.is_empty() {
            servers.push((report.server, &report.edge.server));
        }
        for (end, party) in &servers {
            let bond = Bond { server: end.ident, ..report.bond() };
            let relation = self.entry(bond, report, party);
            let is_alone = servers.len() == 1;
            let told = if is_alone { &mut relation.told_by_client } else { &mut relation.together_by_client };
            told.push(reports.told(report.host, report.flow));
        }
        for heard in heard {
            let (end, party) = report.server_as(heard);
            let relation = self.entry(Bond { server: end.ident, ..report.bond() }, report, party);
            let told = if heard.is_of_one { &mut relation.told_by_server } else { &mut relation.together_by_server };
            told.push(reports.told(heard.host, heard.flow));
        }
    }

    /// Enters a server's report that nobody else explains. Who came by loopback is told elsewhere if at all.
    fn enter_heard(&mut self, reports: &Reports<'_>, heard: &Heard<'_>) {
        if let Some(report) = &heard.report {
            let relation = self.entry(report.bond(), report, &report.edge.server);
            relation.told_by_server.push(reports.told(heard.host, heard.flow));
        }
    }

    /// All relations, who tells of each in order and once: by several addresses of one server, as of both families, come
    /// reports of one relation.
    fn in_order(mut self) -> Vec<Relation> {
        for relation in &mut self.relations {
            let Relation { told_by_client, told_by_server, together_by_client, together_by_server, .. } = relation;
            for told in [told_by_client, told_by_server, together_by_client, together_by_server] {
                told.sort_unstable();
                told.dedup();
            }
        }
        self.relations
    }
}
