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

mod ledger;
mod ownership;
mod space;
#[cfg(test)]
mod tests;
pub(super) mod translation;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::fact::{Direction, Evidence, Fact, FlowKey, Listener, Namespace, Network, Owner, Protocol};
use topology::gauges::FlowGauges;
use topology::{Key, Netns, ProcessId};

use super::sock_diag::Figures;
use crate::probe::ProcessTable;
use crate::probe::pace::Moment;
use ledger::{Ledger, Relation, relation};
use ownership::{Ownership, is_alive, stand_in};
use space::{Held, SocketKey, Space};
use translation::{FarEnd, Likely, Translations};

pub(super) use ledger::{FLOWS_MAX, Sums};

/// Longest wait for a process to turn up in the process table after its connection ended: longer than the beat of the
/// process probe.
const PENDING_MAX: Duration = Duration::from_millis(2500);

/// Most relations whose connections ended that wait for their process or namespace; beyond that they are taken as they are.
const PENDINGS_MAX: usize = 16_384;

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
    pub(super) figures: Figures,
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
}

/// A namespace in a round.
#[derive(Clone, Debug)]
pub(super) struct NamespaceNow {
    pub(super) netns: Netns,
    /// Its addresses.
    pub(super) networks: Arc<[Network]>,
    /// Its sockets; `None` if they are as they were.
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
    pub(super) namespaces: Vec<NamespaceNow>,
    pub(super) ends_by: EndsBy,
    pub(super) ended: Vec<Ended>,
    pub(super) destroyed: Vec<Destroyed>,
    /// All flows of conntrack that no connected socket stands for; `None` if they are as they were.
    pub(super) unsocketed: Option<Vec<Tracked>>,
    pub(super) translations: &'a dyn Translations,
}

/// A connection that ended, waiting for its process to be known.
#[derive(Debug)]
struct Pending {
    ended: Ended,
    since: Instant,
    processes_version: u64,
}

/// The flows of this host, followed from round to round.
#[derive(Default)]
pub(super) struct Tracker {
    spaces: BTreeMap<Netns, Space>,
    /// Ends of flows that have no connected socket, by namespace.
    unsocketed: BTreeMap<(Netns, Direction, SocketKey), FlowKey>,
    ledger: Ledger,
    ownership: Ownership,
    pending: Vec<Pending>,
    /// Flows of processes by what they are about, as they were when they were first asked for in this round.
    attributed: Option<Arc<HashMap<Relation, FlowKey>>>,
    is_dirty: bool,
    is_cut: bool,
}

impl Tracker {
    /// Takes a round.
    pub(super) fn take(&mut self, mut round: Round<'_>) {
        self.is_cut = false;
        self.attributed = None;
        self.take_namespaces(&mut round);
        let destroyed = self.take_destroyed(&mut round);
        for namespace in std::mem::take(&mut round.namespaces) {
            if let Some(snapshot) = &namespace.snapshot {
                self.take_snapshot(namespace.netns, snapshot, &destroyed, &round);
            }
        }
        self.take_unsocketed(&mut round);
        self.take_ended(&mut round);
        self.give_to_heirs(&round);
        self.ledger.settle(round.now);
    }

    /// Whether there were more flows than are kept, in the last round.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether connections wait for their process to turn up.
    pub(super) fn waits_for_processes(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Remote addresses of all flows.
    pub(super) fn remotes(&self) -> BTreeSet<IpAddr> {
        self.ledger.keys().map(|key| key.remote).collect()
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
        let alive: BTreeSet<Netns> = round.namespaces.iter().map(|namespace| namespace.netns).collect();
        let before = self.spaces.len();
        self.spaces.retain(|netns, _| alive.contains(netns));
        self.unsocketed.retain(|(netns, ..), _| alive.contains(netns));
        self.is_dirty |= before != self.spaces.len();
        for namespace in &mut round.namespaces {
            let space = self.spaces.entry(namespace.netns).or_default();
            self.is_dirty |= space.set_networks(&namespace.networks);
            if let Some(snapshot) = &mut namespace.snapshot {
                self.is_dirty |= space.set_listeners(snapshot);
            }
        }
        self.ledger.reassign(|flow| alive.contains(&flow.netns).then_some(flow.key.owner));
    }

    /// Takes connections the kernel said the end of. Gives their names: a snapshot may still show them.
    fn take_destroyed(&mut self, round: &mut Round<'_>) -> HashSet<(Netns, SocketKey)> {
        let mut names = HashSet::new();
        for it in std::mem::take(&mut round.destroyed) {
            let Some(space) = self.spaces.get_mut(&it.netns) else { continue };
            let key = (Protocol::Tcp, it.local, it.remote);
            names.insert((it.netns, key));
            let sums = Sums::one(it.figures);
            match space.held.remove(&key).filter(|held| held.is_open) {
                Some(held) => {
                    self.ledger.close(&held.flow, held.figures);
                    self.ledger.end(&held.flow, sums, it.figures.rtt_micros);
                }
                None => round.ended.push(Ended {
                    netns: it.netns,
                    task: None,
                    protocol: Protocol::Tcp,
                    direction: it.direction,
                    local: it.local.ip(),
                    remote: it.remote.ip(),
                    port: if it.direction == Direction::Incoming { it.local.port() } else { it.remote.port() },
                    sums,
                    rtt_micros: it.figures.rtt_micros,
                }),
            }
        }
        names
    }

    fn take_snapshot(
        &mut self,
        netns: Netns,
        snapshot: &Snapshot,
        destroyed: &HashSet<(Netns, SocketKey)>,
        round: &Round<'_>,
    ) {
        let Some(mut space) = self.spaces.remove(&netns) else { return };
        let attributed = self.attributed.get_or_insert_with(|| Arc::new(self.ledger.attributed())).clone();
        for (_, held) in space.take_closed(&snapshot.sockets) {
            self.ledger.close(&held.flow, held.figures);
            if round.ends_by == EndsBy::Absence {
                self.ledger.end(&held.flow, Sums::one(held.figures), 0);
            } else if attributed.contains_key(&relation(netns, &held.flow)) {
                self.ledger.drop_if_briefly_seen(&held.flow);
            }
        }
        for socket in snapshot.sockets.iter().filter(|it| !destroyed.contains(&(netns, it.key()))) {
            if !socket.lingers {
                self.take_open(netns, &mut space, socket, snapshot.source, &attributed, round);
            } else if round.ends_by == EndsBy::Absence && !space.held.contains_key(&socket.key()) {
                self.take_lingering(netns, &mut space, socket, &attributed, round);
            }
        }
        self.spaces.insert(netns, space);
    }

    /// Takes an open connection: a new one, or a known one's figures.
    fn take_open(
        &mut self,
        netns: Netns,
        space: &mut Space,
        socket: &Socket,
        evidence: Evidence,
        attributed: &HashMap<Relation, FlowKey>,
        round: &Round<'_>,
    ) {
        let owner = socket.owner.map_or(Owner::Netns(netns), Owner::Process);
        let generation = round.translations.generation();
        let held = space.held.get(&socket.key()).copied().filter(|held| held.is_open);
        if let Some(held) = held
            && held.generation == generation
            && (held.flow.owner == owner || socket.owner.is_none())
        {
            self.ledger.revise(&held.flow, held.figures, socket.figures, round.now.clock);
            space.held.insert(socket.key(), Held { figures: socket.figures, ..held });
            return;
        }
        let far = far_end(socket, round.translations);
        let key = match socket.owner {
            Some(_) => flow_key(owner, socket.direction, socket.protocol, &far),
            None => orphans_key(netns, socket.direction, socket.protocol, socket.local, &far, space, attributed),
        };
        if let Some(held) = held {
            self.ledger.close(&held.flow, held.figures);
            if held.flow != key {
                self.ledger.drop_if_void(&held.flow);
            }
        }
        self.is_cut |= !self.ledger.see(key, netns, &far, evidence, round.now);
        self.ledger.open(&key, socket.figures);
        space.held.insert(socket.key(), Held { flow: key, figures: socket.figures, is_open: true, generation });
    }

    /// Takes what is left of a connection that nobody saw open. It has lost its process: if one that lives has a flow of the
    /// same relation the connection was, most probably, its.
    fn take_lingering(
        &mut self,
        netns: Netns,
        space: &mut Space,
        socket: &Socket,
        attributed: &HashMap<Relation, FlowKey>,
        round: &Round<'_>,
    ) {
        let far = far_end(socket, round.translations);
        let key = orphans_key(netns, socket.direction, socket.protocol, socket.local, &far, space, attributed);
        self.is_cut |= !self.ledger.see(key, netns, &far, Evidence::TIME_WAIT, round.now);
        self.ledger.end(&key, Sums::one(socket.figures), 0);
        let generation = round.translations.generation();
        space.held.insert(socket.key(), Held { flow: key, figures: socket.figures, is_open: false, generation });
    }

    /// Takes what ended, as far as it is known whose it was, and keeps the rest for a while.
    fn take_ended(&mut self, round: &mut Round<'_>) {
        let (since, processes_version) = (round.now.clock, round.processes_version);
        let new = std::mem::take(&mut round.ended).into_iter();
        self.pending.extend(new.map(|ended| Pending { ended, since, processes_version }));
        if self.pending.is_empty() {
            return;
        }
        let attributed = self.ledger.attributed();
        let too_many = self.pending.len().saturating_sub(PENDINGS_MAX);
        for (number, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let is_known = self.spaces.contains_key(&pending.ended.netns);
            let is_late = number < too_many || round.now.clock.saturating_duration_since(pending.since) >= PENDING_MAX;
            let is_told = match &pending.ended.task {
                Some(task) => {
                    is_alive(task.id, round.processes) || round.processes_version != pending.processes_version
                }
                None => true,
            };
            match (is_known, is_told, is_late) {
                (true, true, _) | (true, false, true) => self.take_one_ended(&pending.ended, &attributed, round),
                (false, _, true) => {} // of another host on this kernel, or of one that came and went
                (_, _, false) => self.pending.push(pending),
            }
        }
    }

    fn take_one_ended(&mut self, ended: &Ended, attributed: &HashMap<Relation, FlowKey>, round: &Round<'_>) {
        let Some(space) = self.spaces.get(&ended.netns) else { return };
        let Some(far) = likely_far_end(ended, round.translations) else { return };
        let owner = ended.task.as_ref().and_then(|task| {
            let own = is_alive(task.id, round.processes).then_some(task.id);
            own.or_else(|| stand_in(&task.ancestors, ended.netns, round.host, round.processes))
        });
        let local = SocketAddr::new(ended.local, ended.port);
        let key = match owner {
            Some(id) => flow_key(Owner::Process(id), ended.direction, ended.protocol, &far),
            None => orphans_key(ended.netns, ended.direction, ended.protocol, local, &far, space, attributed),
        };
        let evidence = if round.ends_by == EndsBy::Kernel { Evidence::EBPF } else { Evidence::DESTROYED };
        self.is_cut |= !self.ledger.see(key, ended.netns, &far, evidence, round.now);
        self.ledger.end(&key, ended.sums, ended.rtt_micros);
        self.ledger.drop_if_briefly_seen(&FlowKey { owner: Owner::Netns(ended.netns), ..key });
    }

    /// Takes conntrack's flows at those of their ends that are here, and ends those that are not there any more.
    fn take_unsocketed(&mut self, round: &mut Round<'_>) {
        let Some(tracked) = round.unsocketed.take() else { return };
        let mut before = std::mem::take(&mut self.unsocketed);
        for flow in &tracked {
            for (netns, socket) in self.ends(flow) {
                let Some(space) = self.spaces.get(&netns) else { continue };
                if space.held.contains_key(&socket.key()) {
                    continue;
                }
                let far = far_end(&socket, round.translations);
                let owner = socket.owner.map_or(Owner::Netns(netns), Owner::Process);
                let key = flow_key(owner, socket.direction, socket.protocol, &far);
                let name = (netns, socket.direction, socket.key());
                let known = before.remove(&name);
                if known.is_some_and(|old| old != key) {
                    known.iter().for_each(|old| self.ledger.close(old, Figures::default()));
                }
                self.is_cut |= !self.ledger.see(key, netns, &far, Evidence::CONNTRACK, round.now);
                if known != Some(key) {
                    self.ledger.open(&key, Figures::default());
                }
                self.unsocketed.insert(name, key);
            }
        }
        for key in before.values() {
            self.ledger.close(key, Figures::default());
            self.ledger.end(key, Sums::one(Figures::default()), 0);
        }
    }

    /// The ends of a tracked flow that are in namespaces of this host, as sockets.
    fn ends(&self, flow: &Tracked) -> Vec<(Netns, Socket)> {
        let end = |direction, local: SocketAddr, remote| {
            let netns = self.home(local.ip())?;
            let space = self.spaces.get(&netns)?;
            let listening = || space.listening(flow.protocol, local);
            let owner = match direction {
                Direction::Incoming => listening().or_else(|| space.unconnected(local)),
                Direction::Outgoing => space.unconnected(local).or_else(listening),
            };
            let (lingers, figures) = (false, Figures::default());
            Some((netns, Socket { protocol: flow.protocol, direction, local, remote, owner, lingers, figures }))
        };
        let server = end(Direction::Incoming, flow.server, flow.visitor);
        // What nobody answers and nobody here takes was only tried.
        if !flow.has_reply && server.as_ref().is_none_or(|(_, socket)| socket.owner.is_none()) {
            return Vec::new();
        }
        end(Direction::Outgoing, flow.client, flow.named).into_iter().chain(server).collect()
    }

    /// The namespace that alone has an address.
    fn home(&self, address: IpAddr) -> Option<Netns> {
        let mut homes = self.spaces.iter().filter(|(_, space)| space.has(address));
        match (homes.next(), homes.next()) {
            (Some((netns, _)), None) => Some(*netns),
            _ => None,
        }
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
            let held = self.spaces.values_mut().flat_map(|space| space.held.values_mut()).map(|held| &mut held.flow);
            for key in held.chain(self.unsocketed.values_mut()) {
                if let Some(Some(new)) = moved.get(key) {
                    *key = *new;
                }
            }
        }
        self.ownership.remember(self.ledger.keys(), round.processes);
    }
}

fn flow_key(owner: Owner, direction: Direction, protocol: Protocol, far: &FarEnd) -> FlowKey {
    FlowKey { owner, direction, protocol, remote: far.remote, port: far.port }
}

fn far_end(socket: &Socket, translations: &dyn Translations) -> FarEnd {
    let Socket { protocol, direction, local, remote, .. } = *socket;
    let translation = match direction {
        Direction::Outgoing => translations.outgoing(protocol, local, remote),
        Direction::Incoming => translations.incoming(protocol, local, remote),
    };
    FarEnd::of(direction, local, remote, translation)
}

/// The far end of connections whose client's port is not known; `None` if it was sometimes this and sometimes that, as where
/// many clients come under one address: each of those is told of by its own end.
fn likely_far_end(ended: &Ended, translations: &dyn Translations) -> Option<FarEnd> {
    let Ended { protocol, direction, local, remote, port, .. } = *ended;
    let (likely, local, remote) = match direction {
        Direction::Outgoing => {
            let remote = SocketAddr::new(remote, port);
            (translations.likely_outgoing(protocol, local, remote), SocketAddr::new(local, 0), remote)
        }
        Direction::Incoming => {
            let local = SocketAddr::new(local, port);
            (translations.likely_incoming(protocol, local, remote), local, SocketAddr::new(remote, 0))
        }
    };
    let translation = match (likely, direction) {
        (Likely::As(translation), _) => Some(translation),
        (Likely::Several, Direction::Incoming) => return None,
        // Where it went is one of several servers: what it named is all that is sure.
        (Likely::Several, Direction::Outgoing) | (Likely::Untranslated, _) => None,
    };
    Some(FarEnd::of(direction, local, remote, translation))
}

/// The flow of a connection whose process is not known: that of a process which has such a flow, or which listens there, or
/// else that of the namespace.
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
    if let Some(known) = attributed.get(&relation(netns, &of_netns)) {
        return *known;
    }
    let listening = (direction == Direction::Incoming).then(|| space.listening(protocol, local)).flatten();
    FlowKey { owner: listening.map_or(of_netns.owner, Owner::Process), ..of_netns }
}
