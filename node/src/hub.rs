//! The hub: where everything a probe says becomes a fact of this origin, everything the mesh brings a fact of another, and
//! every fact part of the cluster. One task owns the mesh's state and the cluster's writer; what it publishes, readers take
//! without waiting.
//!
//! ```text
//! probes ─Update─▶ ledger ─changes─▶ ┌──────┐ ─own interval──▶ ┌────────┐
//!                                    │ Mesh │                  │ Writer │ ─▶ Cluster
//! swarm ───Event────────Input──────▶ └──────┘ ─others'───────▶ └────────┘
//!   ▲                                   │
//!   └──────────Command────Output────────┘
//! ```
//!
//! Frames are read and facts are merged here, so the task that serves the network does nothing but that.

mod ledger;
mod publish;
mod report;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gossip::mesh::{Input, Life, Mesh, Output, Time};
use gossip::{Epoch, IdentityError, Interval, Version};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topology::cluster::Writer;
use topology::fact::Fact;
use topology::graph::Change;
use topology::{Cluster, Key, PeerId, Timestamp, codec};
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::net::{self, Links};
use crate::probe::Update;
use crate::probe::pace::Moment;
use ledger::Ledger;
pub(crate) use report::About;

/// Updates that wait for the hub at most; a probe that has more to say waits.
const UPDATES_MAX: usize = 64;

/// Updates, or events of the network, taken at once: a burst is one publication.
const BATCH_MAX: usize = 32;

/// How often people are told how the mesh does.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The mesh's time at the start: long enough after zero for it to note that somebody was last heard of before.
pub(crate) const BEGINNING: Time = Duration::from_secs(24 * 3600);

/// How often in one run a peer may find its key in use elsewhere and go on as a newer run. Two machines with one state
/// directory would do so for ever.
const RAISES_MAX: u32 = 3;

/// A value that an origin may say is one that its readers take.
const _: () = assert!(gossip::VALUE_BYTES_MAX == codec::VALUE_BYTES_MAX);

/// Makes a run of this peer with an epoch above the given one.
pub(crate) type Raise = Box<dyn FnMut(Epoch) -> Result<Epoch, IdentityError> + Send>;

/// Owner of the mesh's state and of the merged picture.
pub(crate) struct Hub {
    started: Instant,
    mesh: Mesh,
    links: Links,
    raise: Raise,
    raises: u32,
    /// Peers as the cluster names them.
    names: BTreeMap<gossip::PeerId, PeerId>,
    ledger: Ledger,
    metrics: Metrics,
    writer: Writer,
    /// Whether the cluster differs from what was published.
    differs: bool,
    about: About,
    reported: Time,
    cluster: watch::Sender<Cluster>,
    peers: watch::Sender<Arc<ui::Peers>>,
    updates: mpsc::Receiver<Update>,
}

/// Ways into and out of a hub.
pub(crate) struct Ends {
    /// For probes.
    pub(crate) updates: mpsc::Sender<Update>,
    /// For whoever shows the cluster.
    pub(crate) cluster: watch::Receiver<Cluster>,
    /// For whoever shows the mesh.
    pub(crate) peers: watch::Receiver<Arc<ui::Peers>>,
}

enum Woken {
    Updates(usize),
    Network,
    Timer,
}

impl Hub {
    /// The hub of a peer whose mesh this is, started at `started`.
    pub(crate) fn new(
        mesh: Mesh,
        started: Instant,
        links: Links,
        about: About,
        metrics: Metrics,
        raise: Raise,
    ) -> (Self, Ends) {
        let (updates, received) = mpsc::channel(UPDATES_MAX);
        let (cluster, published) = watch::channel(Cluster::default());
        let (peers, reports) = watch::channel(Arc::default());
        let hub = Self {
            started,
            mesh,
            links,
            raise,
            raises: 0,
            names: BTreeMap::new(),
            ledger: Ledger::default(),
            metrics,
            writer: Writer::default(),
            differs: false,
            about,
            reported: Time::ZERO,
            cluster,
            peers,
            updates: received,
        };
        (hub, Ends { updates, cluster: published, peers: reports })
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.perform().await;
        self.report();
        let mut updates = Vec::with_capacity(BATCH_MAX);
        let mut has_probes = true;
        while let Some(woken) = stop.run_until_cancelled(self.wait(&mut updates, has_probes)).await {
            match woken {
                Woken::Updates(0) => has_probes = false, // What is known stays to be seen.
                Woken::Updates(_) => {
                    for update in updates.drain(..) {
                        self.metrics.observe(&update);
                        self.ledger.take(update);
                    }
                    self.publish();
                }
                Woken::Network => self.take_events(),
                Woken::Timer => self.mesh.handle(self.now(), Input::Tick),
            }
            self.perform().await;
            if std::mem::take(&mut self.differs) {
                self.cluster.send_replace(self.writer.cluster());
            }
            if self.now() >= self.reported + REPORT_EVERY {
                self.report();
            }
        }
    }

    async fn wait(&mut self, updates: &mut Vec<Update>, has_probes: bool) -> Woken {
        let due = self.mesh.poll_timeout().map(|at| self.started + at.saturating_sub(BEGINNING));
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = self.updates.recv_many(updates, BATCH_MAX), if has_probes => Woken::Updates(count),
            () = self.links.readable() => Woken::Network,
            () = timer => Woken::Timer,
        }
    }

    fn now(&self) -> Time {
        BEGINNING + self.started.elapsed()
    }

    fn take_events(&mut self) {
        for _ in 0..BATCH_MAX {
            let Some(input) = self.links.next() else { return };
            self.mesh.handle(self.now(), input);
        }
    }

    /// Carries out what the mesh wants done.
    async fn perform(&mut self) {
        while let Some(output) = self.mesh.poll_output() {
            match output {
                Output::Changed { interval, held, differences } => {
                    self.changed(&interval, held, differences.as_deref());
                }
                Output::Life { peer, life } => self.lives(peer, life),
                Output::Forgotten { peer } => {
                    let name = self.name(peer);
                    info!(peer = %name, "forgotten");
                    self.names.remove(&peer);
                    self.writer.forget(&name);
                    self.differs = true;
                }
                Output::Superseded { epoch } => self.superseded(epoch),
                Output::Dial { .. } | Output::Send { .. } | Output::Disconnect { .. } => {
                    if let Some(command) = net::command(output) {
                        self.links.send(command).await;
                    }
                }
            }
        }
    }

    /// Takes what another peer wrote.
    fn changed(&mut self, interval: &Interval, held: Version, differences: Option<&[gossip::Change]>) {
        let peer = self.name(interval.origin().peer);
        let changes = differences.unwrap_or_else(|| interval.changes_after(held));
        self.apply(&peer, changes.iter().filter_map(decode).collect());
    }

    fn apply(&mut self, peer: &PeerId, changes: Vec<Change>) {
        // A peer that speaks of itself alone (`--no-probe`) is no host on the map.
        if changes.is_empty() {
            return;
        }
        let has_gauges =
            changes.iter().any(|change| matches!(change, Change::Put(fact) if matches!(**fact, Fact::Gauges(_))));
        self.writer.apply(peer, changes);
        if has_gauges {
            self.writer.observe_clock(peer, wall_clock());
        }
        self.differs = true;
    }

    /// Notes whether a peer is heard of.
    fn lives(&mut self, peer: gossip::PeerId, life: Life) {
        let silent = self.mesh.silence(self.now(), peer).as_millis();
        let since = Timestamp(wall_clock().0.saturating_sub(u64::try_from(silent).unwrap_or(u64::MAX)));
        let life = match life {
            Life::Live => topology::Life::Live,
            Life::Suspect => topology::Life::Suspect { since },
            Life::Gone => topology::Life::Gone { since },
        };
        let name = self.name(peer);
        debug!(peer = %name, ?life, "heard of, or not");
        self.writer.set_life(&name, life);
        self.differs = true;
        self.reported = Time::ZERO; // people are told at once
    }

    /// Another run speaks with our key: goes on as a newer one, so that the others listen to us and not to it.
    fn superseded(&mut self, epoch: Epoch) {
        if epoch < self.mesh.origin().epoch || self.raises >= RAISES_MAX {
            return;
        }
        self.raises += 1;
        match (self.raise)(epoch) {
            Ok(raised) => {
                warn!(%epoch, %raised, "the mesh knows a later run of this peer: going on as a newer one");
                self.mesh.restart(self.now(), raised);
            }
            Err(refused) => error!(%refused, "cannot go on as a newer run: others ignore this peer"),
        }
        if self.raises == RAISES_MAX {
            let problem = "another machine runs with this peer's key: give one of them another --state-dir";
            error!("{problem}");
            self.about.problems.push(problem.to_owned());
        }
    }

    fn name(&mut self, peer: gossip::PeerId) -> PeerId {
        let name = || PeerId::new(&peer.to_string()).expect("a peer id is base58");
        self.names.entry(peer).or_insert_with(name).clone()
    }

    fn report(&mut self) {
        let now = self.now();
        self.reported = now;
        let peers = self.mesh.peers(now);
        self.links.tell_discovery(&peers);
        self.metrics.observe_mesh(&peers, self.mesh.counters());
        let names: Vec<PeerId> = peers.iter().map(|peer| self.name(peer.origin.peer)).collect();
        let cluster = self.cluster.borrow().clone();
        self.about.stranger = self.links.problem();
        let report = self.about.report(wall_clock(), (&peers, &names), &cluster, &self.links.discovery());
        self.peers.send_replace(Arc::new(report));
        if let Some(addresses) = self.links.moved() {
            self.mesh.set_addresses(now, addresses);
        }
    }
}

/// What people's clocks say.
fn wall_clock() -> Timestamp {
    Moment::now().at
}

/// What a change of an origin means. What it does not mean is no harm: peers newer than us have more to say.
fn decode(change: &gossip::Change) -> Option<Change> {
    let text = std::str::from_utf8(change.key.as_bytes()).ok()?;
    let key: Key = text.parse().ok()?;
    let Some(value) = &change.value else { return Some(Change::Remove(key)) };
    match codec::decode(&key, value) {
        Ok(fact) => Some(Change::put(fact)),
        Err(refused) => {
            // Perhaps of a newer release, which says so every few seconds.
            debug!(key = text, %refused, "fact skipped");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gossip::head::Ed25519;
    use gossip::{Epoch, Limits, OriginId, PeerId as Origin};
    use libp2p_identity::Keypair;
    use topology::ProcessId;
    use topology::fact::{Fact, Host, Process, RemoteName, Source, SourceState};

    use super::*;
    use crate::probe::Name;

    fn hub(limits: Limits) -> (Hub, watch::Receiver<Cluster>) {
        let origin = OriginId { peer: Origin::from_bytes([7; 32]), epoch: Epoch(1) };
        let addresses = vec!["192.0.2.7:4030".parse().expect("an address")];
        let config = gossip::mesh::Config {
            cluster: gossip::head::Cluster::OPEN,
            agent: "scope/test".to_owned(),
            addresses,
            limits,
            forget_after: Duration::from_secs(600),
        };
        let key = Keypair::generate_ed25519();
        let signatures = Arc::new(Ed25519::try_from(&key).expect("an ed25519 key"));
        let mesh = Mesh::new(config, origin, signatures, [7; 32], BEGINNING);
        let about = About { open: true, listen: Vec::new(), problems: Vec::new(), stranger: None };
        let (hub, ends) = Hub::new(mesh, Instant::now(), Links::unconnected(), about, Metrics::default(), Box::new(Ok));
        (hub, ends.cluster)
    }

    fn publish(hub: &mut Hub) {
        hub.publish();
        hub.cluster.send_replace(hub.writer.cluster());
    }

    fn facts(facts: impl IntoIterator<Item = Fact>) -> BTreeMap<Key, Fact> {
        facts.into_iter().map(|fact| (fact.key(), fact)).collect()
    }

    fn processes(pids: std::ops::Range<u32>) -> Update {
        let process = |pid| Fact::Process(Process::new(ProcessId { pid, start: 1 }));
        Update::Facts(Name::Process, facts(pids.map(process)))
    }

    fn host() -> Update {
        Update::Facts(Name::Host, facts([Fact::Host(Host { name: "a".into(), ..Host::default() })]))
    }

    /// Host name, number of processes and whether the status complains, as the cluster has them.
    fn shown(cluster: &watch::Receiver<Cluster>) -> (String, usize, bool) {
        let cluster = cluster.borrow();
        let (_, entry) = cluster.hosts().next().expect("the host");
        let graph = &entry.graph;
        (graph.host.name.clone(), graph.processes.len(), graph.status.sources.contains_key("facts"))
    }

    #[test]
    fn what_there_is_no_room_for_is_told_once_there_is() {
        let limits = Limits { entries_per_origin_max: 11, ..Limits::default() };
        let (mut hub, cluster) = hub(limits);
        let ok = Source { state: SourceState::Ok, mode: String::new(), reason: String::new() };
        hub.ledger.take(Update::Status(Name::Host, ok));
        let steps = [
            // what a probe says, processes that fit, whether something is left out
            (processes(0..5), 5, false),
            (host(), 5, false),
            (processes(0..40), 8, true),
            (processes(4..50), 8, true), // four are gone, as many come
            (processes(47..50), 3, false),
        ];
        for (step, (update, want, is_cut)) in steps.into_iter().enumerate() {
            hub.ledger.take(update);
            publish(&mut hub);
            publish(&mut hub);
            let (name, processes, complains) = shown(&cluster);
            assert_eq!(processes, want, "step {step}");
            assert_eq!((complains, name.as_str()), (is_cut, if step == 0 { "" } else { "a" }), "step {step}");
        }
    }

    #[test]
    fn room_goes_to_what_waits_and_first_to_what_is_more_important() {
        let limits = Limits { entries_per_origin_max: 6, ..Limits::default() };
        let (mut hub, cluster) = hub(limits);
        let ok = Source { state: SourceState::Ok, mode: String::new(), reason: String::new() };
        hub.ledger.take(Update::Status(Name::Host, ok));
        let names = |hosts: std::ops::Range<u8>| {
            let name = |host| RemoteName { address: [192, 0, 2, host].into(), names: Vec::new(), reverse: None };
            Update::Facts(Name::Names, facts(hosts.map(name).map(Fact::RemoteName)))
        };
        let steps = [
            // what a probe says; processes and names that are told, besides the status and an entry of the mesh
            (names(0..8), (0, 4)),
            (processes(0..2), (0, 4)),
            (names(3..12), (2, 2)),  // three are gone: processes go first
            (names(20..30), (2, 2)), // all are gone, as many come
            (processes(1..2), (1, 3)),
        ];
        for (step, (update, want)) in steps.into_iter().enumerate() {
            hub.ledger.take(update);
            publish(&mut hub);
            publish(&mut hub);
            let cluster = cluster.borrow();
            let (_, entry) = cluster.hosts().next().expect("the host");
            assert_eq!((entry.graph.processes.len(), entry.graph.names.len()), want, "step {step}");
        }
    }

    #[test]
    fn a_fact_longer_than_anybody_takes_leaves_out_itself_alone() {
        let (mut hub, cluster) = hub(Limits::default());
        let mut long = Process::new(ProcessId { pid: 7, start: 1 });
        for (bytes, want) in [(1, 2), (codec::VALUE_BYTES_MAX, 1), (1, 2)] {
            long.name = "x".repeat(bytes);
            let other = Process::new(ProcessId { pid: 8, start: 1 });
            hub.ledger.take(Update::Facts(Name::Process, facts([Fact::Process(long.clone()), Fact::Process(other)])));
            hub.ledger.take(host());
            publish(&mut hub);
            assert_eq!(shown(&cluster), ("a".to_owned(), want, false), "{bytes} bytes");
        }
    }

    #[test]
    fn a_peer_that_speaks_of_itself_alone_is_no_host() {
        let (mut hub, cluster) = hub(Limits::default());
        let [silent, other] = ["silent", "other"].map(|name| PeerId::new(name).expect("a short name"));
        hub.apply(&silent, Vec::new());
        hub.apply(&other, vec![Change::put(Fact::Host(Host::default()))]);
        publish(&mut hub);
        assert_eq!(cluster.borrow().hosts().map(|(peer, _)| peer.clone()).collect::<Vec<_>>(), [other]);
    }

    #[test]
    fn processes_that_come_and_go_leave_nothing_behind() {
        let limits = Limits { tombstones_per_origin_max: 64, ..Limits::default() };
        let (mut hub, cluster) = hub(limits);
        for generation in 0..200 {
            hub.ledger.take(processes(generation * 10..generation * 10 + 10));
            publish(&mut hub);
        }
        let origin = hub.mesh.replica().origin(hub.mesh.origin().peer).expect("our own");
        assert_eq!(shown(&cluster).1, 10);
        assert!(origin.tombstones() <= 64, "{} tombstones", origin.tombstones());
    }
}
