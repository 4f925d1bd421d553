//! Figures of connections: what the flows at both ends say, as one.
//!
//! Both ends count the same connections and bytes: the larger figure is of the one that missed less. But a server's flow is of
//! all who came from an address, clients that are gone among them: where the client's host has counted each connection that
//! ended, its word is taken for how many there were. A round trip is the client's, as it is the one who waits; segments sent again
//! add up, since each end sends its own.

mod pools;

use std::cmp::Reverse;

use foldhash::HashMap;
use serde::{Serialize, Serializer};

use crate::cluster::{Cluster, HostEntry};
use crate::fact::{Direction, Evidence, Flow, Protocol, Status};
use crate::id::{PeerId, Timestamp};
use crate::life::{Life, Stale};
use crate::resolve::{Relation, Told};
use pools::{Pools, Sides};

/// Figures of connections, from the client's side. What no live host says is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Connections open now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<u32>,
    /// Connections seen since the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<u32>,
    /// Bytes per second from client to server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes per second from server to client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Smoothed round trip time in microseconds; of several relations, the longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_micros: Option<u32>,
    /// Segments sent again since the first connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
}

/// Both values by `join`, or the one that is known.
fn known<V>(a: Option<V>, b: Option<V>, join: impl FnOnce(V, V) -> V) -> Option<V> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    }
}

impl Figures {
    /// What a host says now of one of its flows, from the owner's side; nothing of a host that is not heard of.
    pub(crate) fn of_flow(entry: &HostEntry, flow: &Flow) -> Self {
        if !entry.life.is_live() {
            return Self::default();
        }
        let Some(told) = entry.gauges.flow(flow.serial) else {
            return Self { open: (!flow.open).then_some(0), ..Self::default() };
        };
        let is_measured = is_measured(flow);
        let bytes = |count: u64| (is_measured || count > 0).then_some(count);
        Self {
            open: Some(told.open),
            opened: (told.opened > 0).then_some(told.opened),
            sent: bytes(told.sent),
            received: bytes(told.received),
            rtt_micros: told.rtt,
            retransmits: (is_measured || told.retransmits > 0).then_some(told.retransmits),
        }
    }

    /// Those of different connections.
    fn plus(self, other: Self) -> Self {
        Self {
            open: known(self.open, other.open, u32::saturating_add),
            opened: known(self.opened, other.opened, u32::saturating_add),
            sent: known(self.sent, other.sent, u64::saturating_add),
            received: known(self.received, other.received, u64::saturating_add),
            rtt_micros: self.rtt_micros.max(other.rtt_micros),
            retransmits: known(self.retransmits, other.retransmits, u32::saturating_add),
        }
    }

    /// Those of the same connections, as client and server have them. The client may have missed some, or has `all`.
    fn joined(client: Self, all: bool, server: Self) -> Self {
        Self {
            open: client.open.max(server.open),
            opened: client.opened.filter(|_| all).or(client.opened.max(server.opened)),
            sent: client.sent.max(server.sent),
            received: client.received.max(server.received),
            rtt_micros: client.rtt_micros.or(server.rtt_micros),
            retransmits: known(client.retransmits, server.retransmits, u32::saturating_add),
        }
    }

    /// What orders connections: those with the most first.
    pub(super) fn weight(&self) -> impl Ord + use<> {
        (self.open, self.opened, self.sent.max(self.received))
    }

    /// The same with the server's bytes first.
    pub(super) fn mirrored(self) -> Self {
        Self { sent: self.received, received: self.sent, ..self }
    }
}

/// One flow, with the host that tells of it.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) entry: &'a HostEntry,
    pub(super) flow: &'a Flow,
    /// Of how many relations it tells: a server's flow is of all clients that come from one address.
    relations: u32,
}

impl Account<'_> {
    /// What the flow's host says now, turned to the client's side.
    fn figures(&self) -> Figures {
        let told = Figures::of_flow(self.entry, self.flow);
        match self.flow.key.direction {
            Direction::Outgoing => told,
            Direction::Incoming => told.mirrored(),
        }
    }

    /// Whether the flow's host has counted each of its connections since it is there, and is heard of.
    fn is_complete(&self) -> bool {
        let Self { entry, flow, .. } = self;
        let has_lost = || entry.gauges.host().next_back().and_then(|block| block.lost(Status::EBPF)).unwrap_or(0) > 0;
        let is_counted = flow.key.protocol == Protocol::Tcp && entry.graph.status.counts_every_end();
        is_counted && entry.life.is_live() && !has_lost()
    }
}

/// Sockets that were read or traced carry their bytes; of others a 0 means that nobody counted.
fn is_measured(flow: &Flow) -> bool {
    let by = |source| flow.evidence.contains(source);
    flow.key.protocol == Protocol::Tcp && (by(Evidence::SOCK_DIAG) || by(Evidence::EBPF))
}

/// When a connection of a flow was first seen, by our clock.
pub(crate) fn first_seen(entry: &HostEntry, flow: &Flow) -> Option<Timestamp> {
    (flow.first_seen.0 > 0).then(|| entry.clock.ours(flow.first_seen))
}

/// When a trace of a connection of a flow was last seen, by our clock: with the newest figures while one is open.
pub(crate) fn last_seen(entry: &HostEntry, flow: &Flow) -> Option<Timestamp> {
    let told = entry.gauges.flow(flow.serial)?;
    let at = Timestamp(told.at.0.saturating_sub(1000 * u64::from(told.idle)));
    Some(entry.clock.ours(at))
}

/// The flows that relations are told by.
pub(super) struct Tellers<'a>(HashMap<&'a PeerId, HashMap<u32, Account<'a>>>);

impl<'a> Tellers<'a> {
    pub(super) fn new(cluster: &'a Cluster, relations: &[Relation]) -> Self {
        let by_serial = |entry: &'a HostEntry| {
            let account = |flow: &'a Flow| (flow.serial, Account { entry, flow, relations: 0 });
            entry.graph.flows.values().map(|flow| account(flow)).collect()
        };
        let mut tellers = Self(cluster.hosts().map(|(_, entry)| (&entry.graph.peer, by_serial(entry))).collect());
        for told in relations.iter().flat_map(tolds) {
            let of_host = tellers.0.get_mut(&told.peer);
            if let Some(account) = of_host.and_then(|flows| flows.get_mut(&told.serial)) {
                account.relations += 1;
            }
        }
        tellers
    }

    /// Those that tell of a relation, the client's first.
    pub(super) fn in_order(&self, relation: &Relation) -> Vec<Account<'a>> {
        let mut accounts: Vec<Account<'a>> = self.of(relation).collect();
        accounts.sort_by_key(|account| Reverse(account.flow.key.direction));
        accounts
    }

    /// The same in no order.
    fn of(&self, relation: &Relation) -> impl Iterator<Item = Account<'a>> {
        tolds(relation).filter_map(|told| self.0.get(&told.peer)?.get(&told.serial).copied())
    }

    /// What the far address is called by those who talk to it: the name that was asked for before that of a reverse look-up.
    pub(super) fn name(&self, relation: &Relation) -> Option<String> {
        let names =
            self.in_order(relation).into_iter().filter_map(|account| account.entry.graph.names.get(&relation.remote));
        let mut names = names.filter_map(|it| it.names.first().or(it.reverse.as_ref()));
        names.next().cloned()
    }
}

fn tolds(relation: &Relation) -> impl Iterator<Item = &Told> {
    let Relation { told_by_client, told_by_server, together_by_client, together_by_server, .. } = relation;
    [told_by_client, told_by_server, together_by_client, together_by_server].into_iter().flatten()
}

/// What is said of one relation, or of several together.
#[derive(Default)]
pub(super) struct Tally {
    /// Of relations whose flows are theirs alone.
    figures: Figures,
    /// Of the others.
    pools: Pools,
    /// How many of its relations each flow was met in that tells of several.
    met: HashMap<*const Flow, u32>,
    is_confirmed: bool,
    is_open: bool,
    /// Of the hosts that tell, the one that is worth most.
    life: Option<Life>,
    first_seen: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    seen_by: Evidence,
}

impl Tally {
    pub(super) fn take(&mut self, relation: &Relation, tellers: &Tellers<'_>) {
        self.is_confirmed |= relation.is_confirmed();
        let (mut sides, mut shared) = (Sides::default(), Vec::new());
        for account in tellers.of(relation) {
            let (entry, flow) = (account.entry, account.flow);
            self.is_open |= flow.open && entry.life.is_live();
            self.life =
                Some(self.life.map_or(entry.life, |life| std::cmp::max_by_key(life, entry.life, |it| it.worth())));
            self.seen_by |= flow.evidence;
            self.first_seen = known(self.first_seen, first_seen(entry, flow), Ord::min);
            self.last_seen = self.last_seen.max(last_seen(entry, flow));
            if account.relations > 1 {
                shared.push(std::ptr::from_ref(flow));
            }
            if self.is_whole(&account) {
                sides.take(&account);
            }
        }
        if shared.is_empty() {
            self.figures = self.figures.plus(sides.joined());
        } else {
            self.pools.take(sides, &shared);
        }
    }

    /// Whether all that a flow tells of was taken: its figures are of all its relations together.
    fn is_whole(&mut self, account: &Account<'_>) -> bool {
        if account.relations <= 1 {
            return true;
        }
        let met = self.met.entry(std::ptr::from_ref(account.flow)).or_default();
        *met += 1;
        *met == account.relations
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures.plus(self.pools.figures())
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    pub(super) fn is_fading(&self) -> bool {
        !self.is_open
    }

    pub(super) fn stale(&self) -> Option<Stale> {
        self.life.and_then(Life::stale)
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            figures: self.figures(),
            confirmed: self.is_confirmed,
            fading: self.is_fading(),
            stale: self.stale(),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            seen_by: self.seen_by.names().collect(),
        }
    }
}

/// What is said of connections: how many, how much, since when, and who saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Their figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether both ends tell of them; of several relations, whether both do of one.
    pub confirmed: bool,
    /// Whether no host that is heard of has one open, and the last one ended a while ago.
    pub fading: bool,
    /// Where all hosts that tell of them are silent; left out of the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// When the first was seen, by our clock.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub first_seen: Option<Timestamp>,
    /// When the last trace of one was seen, by our clock.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339")]
    pub last_seen: Option<Timestamp>,
    /// Sources that saw them.
    pub seen_by: Vec<&'static str>,
}

#[expect(clippy::ref_option, reason = "serde passes references")]
fn rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|at| at.to_string()).serialize(serializer)
}
