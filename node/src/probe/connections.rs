//! The connections probe: which relations the processes of this host have, over TCP and UDP, v4 and v6, in every network
//! namespace. Several sources tell of them, each of which may be missing; the [`tracker`] makes flows of what they tell.
//!
//! ```text
//! namespaces ─netns─▶ sockets ─inodes─▶ owners ─classify─▶ snapshots ──┐
//! eBPF, else destroyed sockets ────────────────────────▶ what ended ───┼─tracker─▶ listeners, flows, figures
//! conntrack ───────────────────────▶ translation, UDP without sockets ─┘
//! ```

pub mod classify;
pub mod conntrack;
pub mod ebpf;
pub mod inodes;
mod kernel_ends;
pub mod netns;
mod notified_ends;
mod snapshot;
pub mod sock_diag;
mod tracker;
mod translated;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Source, SourceState};
use topology::gauges::Gauges;
use topology::{Netns, ProcessId};

use super::pace::{self, Moment, Nudge, Round, Schedule};
use super::{Name, ProcessTable, Update, Updates};
use inodes::Owners;
use kernel_ends::KernelEnds;
use netns::{Freshness, Namespaces, Scan, Scanner, Scans};
use notified_ends::NotifiedEnds;
use snapshot::{Classifiers, LISTENERS_MAX};
use tracker::{EndsBy, NamespaceNow, Tracker};
use translated::Translated;

/// Interval between two scans: the longest a new connection waits for its edge.
const BEAT: Duration = Duration::from_secs(1);

/// Share of one CPU it may take.
const BUDGET: f64 = 0.015;

/// How often figures of flows are told.
const GAUGES_BEAT: Duration = Duration::from_secs(5);

/// Least time between two tellings of figures for each flow there is, whatever flows come and go: they are all told at once,
/// and a hundred flows a second are two kilobytes.
const GAUGES_GAP: Duration = Duration::from_millis(10);
/// The same for however many, if some are new.
const GAUGES_GAP_MAX: Duration = Duration::from_secs(2);

/// Longest wait for the first processes: before they are known it could not be told whose a connection is.
const PROCESSES_WAIT: Duration = Duration::from_secs(3);

/// How long a source that lost something says so.
const LOSS_SHOWN: Duration = Duration::from_secs(30);

/// Which sources are used besides the socket tables.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    /// A program in the kernel that tells what ends.
    pub ebpf: bool,
    /// Connection tracking.
    pub conntrack: bool,
}

impl Default for Sources {
    fn default() -> Self {
        Self { ebpf: true, conntrack: true }
    }
}

/// What the probe is wired to.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Where it tells.
    pub updates: Updates,
    /// The processes whose namespaces are scanned.
    pub processes: watch::Receiver<Arc<ProcessTable>>,
    /// Starts a scan before its time.
    pub nudge: Nudge,
    /// Asks for the processes before their time: one that has just connected may be new.
    pub nudge_processes: Nudge,
    /// Gets the addresses that flows lead to, but for those of this host: nobody else knows names of them.
    pub remotes: watch::Sender<Arc<BTreeSet<IpAddr>>>,
}

/// Starts the probe of the host with that `/proc`.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(proc_root: &Path, sources: Sources, channels: Channels, stop: CancellationToken) -> JoinHandle<()> {
    let schedule =
        Schedule { name: Name::Connections, speaks_for: &[Name::Ebpf, Name::Conntrack], base: BEAT, budget: BUDGET };
    let (updates, nudge, of_probe) = (channels.updates.clone(), channels.nudge.clone(), stop.clone());
    let proc_root = proc_root.to_owned();
    pace::spawn(schedule, updates, nudge, stop, move || {
        let mut probe = Probe::new(&proc_root, sources, channels.clone(), &of_probe);
        move |now| probe.round(now)
    })
}

/// What the probe remembers between two rounds.
struct Probe {
    channels: Channels,
    scanner: Scanner,
    owners: Owners,
    classifiers: Classifiers,
    kernel: KernelEnds,
    notified: NotifiedEnds,
    translated: Translated,
    tracker: Tracker,
    table: Arc<ProcessTable>,
    table_version: u64,
    /// The processes of the table, by where they are.
    namespaces: Namespaces,
    generation: u64,
    started_at: Option<Instant>,
    gauges_at: Option<Instant>,
    /// Whether flows were told of since: those that are new have no figures yet.
    owes_gauges: bool,
    /// Whether connections came or went since.
    has_moved: bool,
    remotes: BTreeSet<IpAddr>,
}

impl Probe {
    fn new(proc_root: &Path, sources: Sources, channels: Channels, stop: &CancellationToken) -> Self {
        Self {
            scanner: Scanner::new(proc_root),
            owners: Owners::new(proc_root),
            classifiers: Classifiers::default(),
            kernel: KernelEnds::new(proc_root, sources.ebpf),
            notified: NotifiedEnds::new(proc_root),
            translated: Translated::new(proc_root, sources.conntrack, stop),
            tracker: Tracker::default(),
            table: Arc::default(),
            table_version: 0,
            namespaces: Namespaces::new(),
            generation: 0,
            started_at: None,
            gauges_at: None,
            owes_gauges: false,
            has_moved: false,
            remotes: BTreeSet::new(),
            channels,
        }
    }

    fn round(&mut self, now: Moment) -> Round {
        self.take_processes();
        let mut updates = Vec::new();
        let started_at = *self.started_at.get_or_insert(now.clock);
        if self.table.rows.is_empty() && now.clock.saturating_duration_since(started_at) < PROCESSES_WAIT {
            // Nothing could be told whose it is; the table nudges when it comes.
            let status = Source { state: SourceState::Off, mode: String::new(), reason: "starts".to_owned() };
            return Round { updates, status, elsewhere: Duration::ZERO };
        }
        // The kernel's word first: what it tells of afterwards is still open in the scan.
        let ended = self.kernel.take(now.clock, &self.channels.nudge, &mut updates);
        self.scanner.attend(self.kernel.attention().and(self.tracker.doubtful()));
        self.scanner.want_remains(!self.kernel.is_active() && !self.notified.is_active());
        let scans = self.scanner.scan(&self.namespaces, now.clock);
        let walked = self.owners.update_with(&scans.namespaces, &self.namespaces, || self.kernel.holders());
        let is_needed = !self.kernel.is_active();
        let (destroyed, heard) =
            self.notified.take(now.clock, is_needed, &self.namespaces, &scans, &self.classifiers, &mut updates);
        let elsewhere = scans.cpu_time + heard;
        let told_by = |is_notified: bool| match (self.kernel.is_active(), is_notified) {
            (true, _) => EndsBy::Kernel,
            (false, true) => EndsBy::Notification,
            (false, false) => EndsBy::Absence,
        };
        let (ends_by, ends_elsewhere_by) =
            (told_by(self.notified.is_active()), told_by(self.notified.is_active_everywhere()));
        let own = scans.namespaces.iter().map(|scan| scan.netns);
        let alive: BTreeSet<Netns> = self.namespaces.keys().copied().chain(own).collect();
        let (namespaces, is_cut) = self.snapshots(&scans, walked.is_told || walked.processes > 0, now.clock);
        self.translated.attend(now.clock, &mut updates);
        let needs_likely = !ended.is_empty() || !destroyed.is_empty() || self.tracker.waits_for_processes();
        self.translated.with(now.clock, needs_likely, |translations, unsocketed| {
            self.tracker.take(tracker::Round {
                now,
                host: scans.own,
                processes: &self.table,
                processes_version: self.table_version,
                alive: &alive,
                namespaces,
                ends_by,
                ends_elsewhere_by,
                ended,
                destroyed,
                unsocketed,
                translations,
            });
        });
        if self.tracker.waits_for_processes() || self.owners.met_newcomer() {
            self.channels.nudge_processes.nudge();
        }
        updates.extend(self.tell(scans.own, now));
        let has_orphans = self.has_orphans(&scans);
        let status = self.status(now.clock, &scans, is_cut || self.tracker.is_cut(), has_orphans);
        Round { updates, status, elsewhere }
    }

    fn take_processes(&mut self) {
        let table = self.channels.processes.borrow().clone();
        if !Arc::ptr_eq(&table, &self.table) {
            let namespaces = namespaces(&table);
            // The kernel gives the number of a namespace that ended to the next one, often at once.
            for netns in replaced(&self.table, &self.namespaces, &table, &namespaces) {
                self.scanner.forget(netns);
                self.tracker.forget(netns);
            }
            self.namespaces = namespaces;
            self.owners.take_processes(&self.namespaces);
            self.table = table;
            self.table_version += 1;
        }
    }

    /// The namespaces with those sockets that are others than before, or may belong to others.
    fn snapshots(&mut self, scans: &Scans, may_have_owners: bool, now: Instant) -> (Vec<NamespaceNow>, bool) {
        self.classifiers.retain(&scans.namespaces);
        let generation = self.translated.generation();
        let is_due = may_have_owners || generation != std::mem::replace(&mut self.generation, generation);
        let mut room = LISTENERS_MAX;
        let mut is_cut = false;
        let mut as_now = |scan: &Scan| {
            let differs =
                is_due || scan.freshness != Freshness::Unchanged || self.tracker.young().contains(&scan.netns);
            let snapshot = differs.then(|| self.classifiers.snapshot(scan, &self.owners, room));
            let listeners = self.classifiers.listeners(scan.netns);
            is_cut |= listeners > room;
            room = room.saturating_sub(listeners);
            // What is read from /proc has none.
            let networks = (scan.source == netns::Source::SockDiag).then(|| Arc::clone(&scan.networks));
            let looked_at = scan.looked_at.unwrap_or(now);
            NamespaceNow { netns: scan.netns, networks, looked_at, snapshot }
        };
        let namespaces = scans.namespaces.iter().map(&mut as_now).collect();
        (namespaces, is_cut)
    }

    /// What differs from what was told.
    fn tell(&mut self, host: Option<Netns>, now: Moment) -> Vec<Update> {
        let facts = self.tracker.facts_if_changed(host);
        let age = self.gauges_at.map(|at| now.clock.saturating_duration_since(at));
        self.owes_gauges |= facts.is_some();
        self.has_moved |= self.tracker.take_moved();
        let gap = GAUGES_GAP.saturating_mul(u32::try_from(self.tracker.len()).unwrap_or(u32::MAX));
        let pause = match (self.owes_gauges, self.has_moved) {
            (true, _) => gap.min(GAUGES_GAP_MAX),
            (false, true) => gap.min(GAUGES_BEAT),
            (false, false) => GAUGES_BEAT,
        };
        let mut updates = Vec::new();
        if age.is_none_or(|age| age >= pause) {
            (self.gauges_at, self.owes_gauges, self.has_moved) = (Some(now.clock), false, false);
            let block = self.tracker.gauges_if_changed(now);
            updates.extend(block.map(|block| Update::Gauges(Name::Connections, Gauges::Flows(block))));
        }
        if let Some(facts) = facts {
            let remotes = self.tracker.remotes();
            if remotes != self.remotes {
                self.remotes.clone_from(&remotes);
                self.channels.remotes.send_replace(Arc::new(remotes));
            }
            updates.insert(0, Update::Facts(Name::Connections, facts));
        }
        updates
    }

    /// Whether there are sockets that some process holds, but none we may look into.
    fn has_orphans(&self, scans: &Scans) -> bool {
        let mut sockets = scans.namespaces.iter().flat_map(|scan| scan.listeners.iter().chain(scan.connections.iter()));
        sockets.any(|socket| socket.inode != 0 && self.owners.of(socket.inode).is_empty())
    }

    /// No reason says how many: a number that changes from scan to scan would be a new fact each time (I3).
    fn status(&self, now: Instant, scans: &Scans, is_cut: bool, has_orphans: bool) -> Source {
        let mut reasons: Vec<String> = scans.problems.iter().map(|(problem, _)| problem.to_string()).collect();
        reasons.extend(self.notified.problem(now));
        if is_cut {
            let flows = tracker::FLOWS_MAX;
            reasons
                .push(format!("too many connections: only {flows} relations and {LISTENERS_MAX} listeners are kept"));
        }
        // Root sees all owners but those of the kernel's own sockets.
        if has_orphans && !rustix::process::geteuid().is_root() {
            reasons.push("not root: connections of other users' processes are missing; run as root".to_owned());
        }
        let state = match (scans.namespaces.is_empty(), reasons.is_empty()) {
            (true, _) => SourceState::Off,
            (false, false) => SourceState::Degraded,
            (false, true) => SourceState::Ok,
        };
        let mode = scans.namespaces.iter().map(|scan| scan.source).min().map_or("", netns::Source::as_str);
        Source { state, mode: mode.to_owned(), reason: reasons.join("; ") }
    }
}

/// Namespaces whose number was another one's before: all of their processes are new, and of another container. In a namespace
/// that is kept by name processes of no container come and go.
fn replaced(table_before: &ProcessTable, before: &Namespaces, table: &ProcessTable, now: &Namespaces) -> Vec<Netns> {
    let container = |table: &ProcessTable, processes: &[ProcessId]| {
        let mut rows = processes.iter().filter_map(|process| table.rows.get(&process.pid));
        rows.find_map(|row| row.container.clone())
    };
    let is_another = |(netns, processes): &(&Netns, &Vec<ProcessId>)| {
        before.get(netns).is_some_and(|before| {
            !processes.iter().any(|process| before.contains(process))
                && container(table_before, before) != container(table, processes)
        })
    };
    now.iter().filter(is_another).map(|(netns, _)| *netns).collect()
}

/// Processes by network namespace.
fn namespaces(table: &ProcessTable) -> Namespaces {
    let mut namespaces: Namespaces = BTreeMap::new();
    for row in table.rows.values() {
        if let Some(netns) = row.netns {
            namespaces.entry(netns).or_default().push(row.id);
        }
    }
    namespaces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ProcessRow;

    #[test]
    fn a_namespace_whose_processes_are_all_new_and_another_containers_is_another_one() {
        let table = |rows: &[(u32, u64, &str)]| {
            let row = |&(pid, netns, container): &(u32, u64, &str)| {
                let container = topology::ContainerId::new(container).ok();
                let id = ProcessId { pid, start: 1 };
                (pid, ProcessRow { id, name: "x".into(), parent: 1, netns: Some(Netns(netns)), container })
            };
            ProcessTable { rows: rows.iter().map(row).collect() }
        };
        let before = table(&[(1, 1, ""), (2, 1, ""), (3, 2, "job1"), (4, 3, ""), (5, 4, "pod"), (6, 5, "job2")]);
        let now =
            table(&[(2, 1, ""), (7, 1, ""), (8, 2, "job3"), (9, 3, ""), (5, 4, "pod"), (10, 4, "x"), (11, 6, "y")]);
        assert_eq!(replaced(&before, &namespaces(&before), &now, &namespaces(&now)), [Netns(2)]);
    }
}
