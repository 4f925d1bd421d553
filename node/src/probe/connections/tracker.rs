//! The tracker: what all sources saw, as flows. Pure: it is told of sockets, of connections that ended, of address
//! translation and of processes, with the time, and says what there is to publish. Recorded events give recorded flows.
//!
//! ```text
//!  sockets of a namespace ─▶ spaces ──┐ open now
//!  eBPF, destroyed sockets ───────────┼─▶ owner ─▶ translation ─▶ ledger ─▶ facts, gauges
//!  conntrack ─────────────────────────┘ ended
//! ```
//!
//! What is open is told by sockets alone, and what ended by one source alone, the best there is: eBPF, else notifications
//! of destroyed sockets, else sockets that are gone. So nothing is counted twice; the others are evidence that there is
//! such a flow. A flow's totals are those of its ended connections and those of the open ones together, which a
//! connection that moves from one to the other leaves as they are.

mod ended;
mod followed;
mod ledger;
mod ownership;
mod sockets;
mod space;
mod strangers;
mod sums;
#[cfg(test)]
mod tests;
pub(super) mod translation;
mod unsocketed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use topology::fact::{Direction, Evidence, Fact, FlowKey, Listener, Namespace, Network, Owner, Protocol};
use topology::gauges::FlowGauges;
use topology::{Key, Netns, ProcessId};

use super::sock_diag::Figures;
use crate::probe::ProcessTable;
use crate::probe::pace::Moment;
use ended::Pending;
use followed::Counted;
use ledger::{ByName, Ledger, Relation, relation};
use ownership::{Ownership, is_alive};
use space::{SocketKey, Space};
use strangers::Strangers;
use translation::{FarEnd, Translation, Translations};

pub(super) use ledger::FLOWS_MAX;
pub(super) use sums::Sums;

/// One end of a connection in a namespace's socket tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The process that holds it, if one is known.
    pub(super) owner: Option<ProcessId>,
    /// Not open: all that is left of a connection.
    pub(super) lingers: bool,
    /// `None` if the source does not tell.
    pub(super) figures: Option<Figures>,
}

/// The socket tables of one namespace, as of now.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) listeners: Vec<Listener>,
    pub(super) sockets: Vec<Socket>,
    /// Addresses of unconnected UDP sockets, with their holders.
    pub(super) unconnected: Vec<(SocketAddr, Option<ProcessId>)>,
    /// Which source read them.
    pub(super) source: Evidence,
    /// When the figures of the connections were read, if that was not now.
    pub(super) read_at: Option<Instant>,
}

/// A namespace in a round.
#[derive(Clone, Debug)]
pub(super) struct NamespaceNow {
    pub(super) netns: Netns,
    /// Its addresses, if they could be read.
    pub(super) networks: Option<Arc<[Network]>>,
    /// When its TCP connections were last looked at: some of those that were open then may have ended since.
    pub(super) looked_at: Instant,
    /// Its sockets as of then; `None` if they are as they were.
    pub(super) snapshot: Option<Snapshot>,
}

/// A process as the kernel saw it when a connection of it ended: it may be gone since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) id: ProcessId,
    /// Its parent, its parent's parent, …
    pub(super) ancestors: Vec<ProcessId>,
}

/// Connections of one relation that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) netns: Netns,
    pub(super) task: Option<Task>,
    pub(super) protocol: Protocol,
    pub(super) direction: Direction,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    /// Of the serving side.
    pub(super) port: u16,
    /// How many, with their totals.
    pub(super) sums: Sums,
    /// 0 if none was measured.
    pub(super) rtt_micros: u32,
}

/// A socket that was destroyed: the end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Destroyed {
    pub(super) netns: Netns,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) figures: Figures,
}

/// A flow that conntrack has: as its two ends see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tracked {
    pub(super) protocol: Protocol,
    /// Who opened it.
    pub(super) client: SocketAddr,
    /// What that one named.
    pub(super) named: SocketAddr,
    /// Who serves it.
    pub(super) server: SocketAddr,
    /// Who comes, as the server sees it.
    pub(super) visitor: SocketAddr,
    /// Whether the server answered.
    pub(super) has_reply: bool,
}

/// Which source tells what ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EndsBy {
    /// eBPF.
    Kernel,
    /// Notifications of destroyed sockets.
    Notification,
    /// Nothing but that a socket is not there any more.
    #[default]
    Absence,
}

/// What one round of the probe saw.
pub(super) struct Round<'a> {
    pub(super) now: Moment,
    /// The host's own namespace.
    pub(super) host: Option<Netns>,
    pub(super) processes: &'a ProcessTable,
    /// Grows when `processes` is another one.
    pub(super) processes_version: u64,
    /// Every namespace that exists.
    pub(super) alive: &'a BTreeSet<Netns>,
    /// Those that could be looked at.
    pub(super) namespaces: Vec<NamespaceNow>,
    pub(super) ends_by: EndsBy,
    /// The same for namespaces but the host's.
    pub(super) ends_elsewhere_by: EndsBy,
    pub(super) ended: Vec<Ended>,
    pub(super) destroyed: Vec<Destroyed>,
    /// All flows of conntrack that no connected socket stands for; `None` if they are as they were.
    pub(super) unsocketed: Option<Vec<Tracked>>,
    pub(super) translations: &'a dyn Translations,
}

impl Round<'_> {
    fn ends_by(&self, netns: Netns) -> EndsBy {
        if self.host == Some(netns) { self.ends_by } else { self.ends_elsewhere_by }
    }
}

/// The flows of this host, followed from round to round.
#[derive(Default)]
pub(super) struct Tracker {
    spaces: BTreeMap<Netns, Space>,
    /// Ends of flows that have no connected socket, by namespace.
    unsocketed: BTreeMap<(Netns, Direction, SocketKey), Counted>,
    ledger: Ledger,
    ownership: Ownership,
    pending: Vec<Pending>,
    /// Flows of processes by what they are about, as they were when they were first asked for in this round.
    attributed: Option<Arc<HashMap<Relation, FlowKey>>>,
    /// Flows of which ends were told before a look shows it, likewise.
    early: Option<Arc<ByName>>,
    /// Namespaces with connections that are so new that their translation may not be known yet.
    young: BTreeSet<Netns>,
    /// Of the processes in the last round.
    processes_version: Option<u64>,
    strangers: Strangers,
    /// Whose turn it is, where connections are shared out among servers.
    turn: usize,
    is_dirty: bool,
    is_cut: bool,
}

impl Tracker {
    /// Takes a round.
    pub(super) fn take(&mut self, mut round: Round<'_>) {
        self.is_cut = false;
        (self.attributed, self.early) = (None, None);
        self.young.clear();
        self.take_namespaces(&mut round);
        // Connections end with their process: who stands for it now is to have both what was open and what is told of their end.
        if self.processes_version.replace(round.processes_version) != Some(round.processes_version) {
            self.give_to_heirs(&round);
        }
        let destroyed = self.take_destroyed(&mut round);
        let namespaces = std::mem::take(&mut round.namespaces);
        for namespace in &namespaces {
            if let Some(snapshot) = &namespace.snapshot {
                self.take_snapshot(namespace, snapshot, &destroyed, &round);
            }
        }
        // First what is gone, then what ended: so that it is known which that was.
        self.take_ended(&mut round);
        self.take_unsocketed(&mut round);
        // What ended was told before the sockets were looked at: none of it is among them.
        self.take_looks(&namespaces);
        self.give_to_heirs(&round);
        self.ledger.settle(round.now);
    }

    /// Forgets a namespace with all its flows: another one has its number.
    pub(super) fn forget(&mut self, netns: Netns) {
        self.close_space(netns);
        self.pending.retain(|pending| !pending.is_of(netns));
        self.ledger.reassign(|flow| (flow.netns != netns).then_some(flow.key.owner));
    }

    /// Closes all that a namespace held: a process may have connections in another one as well.
    fn close_space(&mut self, netns: Netns) {
        let Some(space) = self.spaces.remove(&netns) else { return };
        self.is_dirty = true;
        space.held.values().filter(|held| held.is_open).for_each(|held| self.ledger.close(&held.counted));
        let ledger = &mut self.ledger;
        self.unsocketed.retain(|(of, ..), one| {
            if *of == netns {
                ledger.close(one);
            }
            *of != netns
        });
    }

    /// How many flows there are.
    pub(super) fn len(&self) -> usize {
        self.ledger.len()
    }

    /// Whether there were more flows than are kept.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut || self.ledger.is_full()
    }

    /// Whether connections wait for their process to turn up.
    pub(super) fn waits_for_processes(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Namespaces to be looked at in the next round, whether something differs there or not.
    pub(super) fn young(&self) -> &BTreeSet<Netns> {
        &self.young
    }

    /// Whether connections came or went since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        self.ledger.take_moved()
    }

    /// Namespaces where a connection ended that may be one of those which were open at the last look.
    pub(super) fn doubtful(&self) -> BTreeSet<Netns> {
        self.ledger.doubtful()
    }

    /// Remote addresses of all flows, but for those of this host.
    pub(super) fn remotes(&mut self) -> BTreeSet<IpAddr> {
        let networks = self.spaces.values().flat_map(|space| space.networks.iter());
        self.strangers.among(self.ledger.keys().map(|key| key.remote).collect(), networks)
    }

    /// All facts, if they may be others than at the last call.
    pub(super) fn facts_if_changed(&mut self, host: Option<Netns>) -> Option<BTreeMap<Key, Fact>> {
        if !(self.ledger.take_dirty() | std::mem::take(&mut self.is_dirty)) {
            return None;
        }
        let namespace = |(netns, space): (&Netns, &Space)| {
            let networks = space.networks.to_vec();
            (Some(*netns) != host && !networks.is_empty())
                .then_some(Fact::Namespace(Namespace { netns: *netns, networks }))
        };
        let namespaces = self.spaces.iter().filter_map(namespace);
        let listeners = self.spaces.values().flat_map(|space| space.listeners.values()).cloned().map(Fact::Listener);
        let flows = self.ledger.flows().cloned().map(Fact::Flow);
        Some(namespaces.chain(listeners).chain(flows).map(|fact| (fact.key(), fact)).collect())
    }

    /// Figures of all flows, if they are others than at the last call.
    pub(super) fn gauges_if_changed(&mut self, now: Moment) -> Option<FlowGauges> {
        self.ledger.gauges_if_changed(now)
    }

    /// Takes the namespaces there are, and forgets those that are gone with all their flows.
    fn take_namespaces(&mut self, round: &mut Round<'_>) {
        let alive = round.alive;
        let gone: Vec<Netns> = self.spaces.keys().filter(|netns| !alive.contains(netns)).copied().collect();
        gone.iter().for_each(|netns| self.close_space(*netns));
        for namespace in &mut round.namespaces {
            let space = self.spaces.entry(namespace.netns).or_default();
            // Where they could not be read they are what they were.
            if let Some(networks) = &namespace.networks {
                self.is_dirty |= space.set_networks(networks);
            }
            if let Some(snapshot) = &mut namespace.snapshot {
                self.is_dirty |= space.set_listeners(snapshot);
            }
        }
        self.ledger.reassign(|flow| alive.contains(&flow.netns).then_some(flow.key.owner));
    }

    /// Takes which namespaces were looked at, whether something was found to differ or not.
    fn take_looks(&mut self, namespaces: &[NamespaceNow]) {
        let mut looked = BTreeSet::new();
        for namespace in namespaces {
            let Some(space) = self.spaces.get_mut(&namespace.netns) else { continue };
            if space.looked_at.replace(namespace.looked_at) != Some(namespace.looked_at) {
                looked.insert(namespace.netns);
            }
        }
        self.ledger.looked_at(&looked);
    }

    /// Gives flows of processes that ended to whom stands for them.
    fn give_to_heirs(&mut self, round: &Round<'_>) {
        let ownership = &self.ownership;
        let moved = self.ledger.reassign(|flow| match flow.key.owner {
            Owner::Process(id) if !is_alive(id, round.processes) => {
                Some(ownership.heir(id, flow.netns, round.host, round.processes))
            }
            owner => Some(owner),
        });
        if !moved.is_empty() {
            let held = self.spaces.values_mut().flat_map(|space| space.held.values_mut()).map(|held| &mut held.counted);
            for one in held.chain(self.unsocketed.values_mut()) {
                if let Some(Some(new)) = moved.get(&one.flow) {
                    (one.flow, one.is_guess) = (*new, true);
                }
            }
        }
        self.ownership.remember(self.ledger.keys(), round.processes);
    }
}

fn flow_key(owner: Owner, direction: Direction, protocol: Protocol, far: &FarEnd) -> FlowKey {
    FlowKey { owner, direction, protocol, remote: far.remote, port: far.port }
}

fn translation(socket: &Socket, translations: &dyn Translations) -> Option<Translation> {
    let Socket { protocol, direction, local, remote, .. } = *socket;
    match direction {
        Direction::Outgoing => translations.outgoing(protocol, local, remote),
        Direction::Incoming => translations.incoming(protocol, local, remote),
    }
}

fn far_end(socket: &Socket, translations: &dyn Translations) -> FarEnd {
    FarEnd::of(socket.direction, socket.local, socket.remote, translation(socket, translations))
}

/// The flow of a connection whose process is not known: that of a process which has such a flow, or else as for one that
/// nobody has.
fn orphans_key(
    netns: Netns,
    direction: Direction,
    protocol: Protocol,
    local: SocketAddr,
    far: &FarEnd,
    space: &Space,
    attributed: &HashMap<Relation, FlowKey>,
) -> FlowKey {
    let of_netns = flow_key(Owner::Netns(netns), direction, protocol, far);
    let known = attributed.get(&relation(netns, &of_netns)).copied();
    known.unwrap_or_else(|| listeners_key(netns, direction, protocol, local, far, space))
}

/// The flow of a connection that nobody who is known has: that of the process which listens there, or else of the namespace.
fn listeners_key(
    netns: Netns,
    direction: Direction,
    protocol: Protocol,
    local: SocketAddr,
    far: &FarEnd,
    space: &Space,
) -> FlowKey {
    let of_netns = flow_key(Owner::Netns(netns), direction, protocol, far);
    let listening = (direction == Direction::Incoming).then(|| space.listening(protocol, local)).flatten();
    FlowKey { owner: listening.map_or(of_netns.owner, Owner::Process), ..of_netns }
}
