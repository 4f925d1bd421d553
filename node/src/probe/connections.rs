//! The connections probe: which relations the processes of this host have. TCP over v4 and v6, in every network namespace,
//! read from the kernel's socket tables.
//!
//! ```text
//! namespaces ─netns─▶ sockets ─inodes─▶ owners
//!                        └─classify─▶ directions ─flows─▶ listeners and flows
//! ```
//!
//! What a round does not see is a connection that was opened and closed between two of them, unless one of its ends
//! lingers in `TIME_WAIT`: that tells of the relation, though no longer of the process.

pub mod classify;
mod flows;
pub mod inodes;
pub mod netns;
pub mod sock_diag;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Source, SourceState};
use topology::gauges::Gauges;
use topology::{Netns, ProcessId};

use super::pace::{self, Moment, Nudge, Round, Schedule};
use super::{Name, ProcessTable, Update, Updates};
use classify::Classifier;
use flows::{Flows, Seen};
use inodes::Owners;
use netns::{Namespaces, Scanner, Scans};

/// Interval between two scans: the longest a new connection waits for its edge.
const BEAT: Duration = Duration::from_secs(1);

/// Share of one CPU it may take.
const BUDGET: f64 = 0.005;

/// Starts the probe. `table` names the processes whose namespaces are scanned; `nudge` starts a scan before its time.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(
    proc_root: &Path,
    updates: Updates,
    table: watch::Receiver<Arc<ProcessTable>>,
    nudge: Nudge,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let schedule = Schedule { name: Name::Connections, base: BEAT, budget: BUDGET };
    let mut probe = Probe::new(proc_root);
    pace::spawn(schedule, updates, nudge, stop, move |now| {
        let table = table.borrow().clone();
        probe.round(now, &table)
    })
}

/// What the probe remembers between two rounds.
struct Probe {
    scanner: Scanner,
    owners: Owners,
    classifiers: HashMap<Netns, Classifier>,
    flows: Flows,
}

impl Probe {
    fn new(proc_root: &Path) -> Self {
        Self {
            scanner: Scanner::new(proc_root),
            owners: Owners::new(proc_root),
            classifiers: HashMap::new(),
            flows: Flows::default(),
        }
    }

    fn round(&mut self, now: Moment, table: &ProcessTable) -> Round {
        let namespaces = namespaces(table);
        let scans = self.scanner.scan(&namespaces);
        self.owners.update(&scans.namespaces, &namespaces);
        self.classifiers.retain(|netns, _| scans.namespaces.iter().any(|scan| scan.netns == *netns));
        let mut seen = Seen::default();
        for scan in &scans.namespaces {
            let classifier = self.classifiers.entry(scan.netns).or_default();
            let connections = classifier.classify(&scan.listeners, &scan.connections, &scan.ephemeral);
            seen.take_listeners(scan.netns, &scan.listeners, &self.owners);
            seen.take_connections(scan.netns, &connections, &self.owners);
        }
        let is_cut = seen.is_cut;
        let alive = |id: ProcessId| table.rows.get(&id.pid).is_some_and(|row| row.id == id);
        let left_out = self.flows.follow(seen, alive, now);
        let facts = self.flows.facts_if_changed().map(|facts| Update::Facts(Name::Connections, facts));
        let gauges =
            self.flows.gauges_if_changed(now).map(|block| Update::Gauges(Name::Connections, Gauges::Flows(block)));
        let has_orphans = self.has_orphans(&scans);
        Round {
            updates: facts.into_iter().chain(gauges).collect(),
            status: status(&scans, is_cut || left_out > 0, has_orphans),
            elsewhere: scans.cpu_time,
        }
    }

    /// Whether there are sockets that some process holds, but none we may look into.
    fn has_orphans(&self, scans: &Scans) -> bool {
        let mut sockets = scans.namespaces.iter().flat_map(|scan| scan.listeners.iter().chain(scan.connections.iter()));
        sockets.any(|socket| socket.inode != 0 && self.owners.of(socket.inode).is_empty())
    }
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

/// No reason says how many: a number that changes from scan to scan would be a new fact each time (I3).
fn status(scans: &Scans, is_cut: bool, has_orphans: bool) -> Source {
    let mut reasons: Vec<String> = scans.problems.iter().map(|(problem, _)| problem.to_string()).collect();
    if is_cut {
        let (flows, listeners) = (flows::FLOWS_MAX, flows::LISTENERS_MAX);
        reasons.push(format!("too many connections: only {flows} relations and {listeners} listeners are kept"));
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
