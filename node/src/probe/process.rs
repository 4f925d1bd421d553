//! The process probe: a scan of `/proc` every beat. One small file is read of each process; what changes rarely is read
//! when a process is new or was seen to exec, and otherwise in slices, a few processes a beat.
//!
//! Says processes, and the containers that cgroup names show without any runtime; measures both.

mod containers;
mod coverage;
mod details;
mod known;
mod procfs;
mod scan;
mod stat;
mod title;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::gauges::Gauges;

pub use scan::{Config, Scan, Scanned};
pub use stat::Stat;
pub use title::{COMMAND_LINE_BYTES_MAX, NAME_BYTES_MAX};

use crate::probe::cgroup::Unmeasured;
use crate::probe::pace::{self, Nudge, Round, Schedule};
use crate::probe::{InitPids, Name, ProcessTable, Update, Updates};

/// Processes kept of one host; those with higher pids are left out, and the status says so.
pub const PROCESSES_MAX: usize = 20_000;

/// Interval between two scans, and of the gauges.
pub const BEAT: Duration = Duration::from_secs(2);

/// Share of one CPU it may take: some twenty times what 110 processes cost, so that thousands are still scanned every beat.
const BUDGET: f64 = 0.005;

/// What the probe shares with the others.
#[derive(Debug)]
pub struct Channels {
    /// To the hub.
    pub updates: Updates,
    /// Processes of the last scan, for probes that know pids only. Sent when it has changed.
    pub table: watch::Sender<Arc<ProcessTable>>,
    /// Containers it cannot measure, for the probe of their runtime.
    pub unmeasured: watch::Sender<Unmeasured>,
    /// First processes of containers, as their runtime says. A change starts a scan.
    pub init_pids: watch::Receiver<InitPids>,
}

/// Starts the probe. `nudge` starts a scan before its time.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(proc_root: PathBuf, channels: Channels, nudge: Nudge, stop: CancellationToken) -> JoinHandle<()> {
    let Channels { updates, table, unmeasured, init_pids } = channels;
    tokio::spawn(nudge_on_change(init_pids.clone(), nudge.clone(), stop.clone()));
    let schedule = Schedule { name: Name::Process, speaks_for: &[], base: BEAT, budget: BUDGET };
    pace::spawn(schedule, updates, nudge, stop, move || {
        let mut scan = Scan::new(Config::new(proc_root.clone()));
        let (init_pids, table, unmeasured) = (init_pids.clone(), table.clone(), unmeasured.clone());
        move |now| {
            let inits = init_pids.borrow().clone();
            let scanned = scan.round(now, &inits);
            if let Some(rows) = &scanned.table {
                table.send_replace(Arc::clone(rows));
            }
            if let Some(missing) = &scanned.unmeasured {
                unmeasured.send_replace(Arc::clone(missing));
            }
            round(scanned)
        }
    })
}

/// What is told of a scan.
fn round(scanned: Scanned) -> Round {
    let facts = scanned.facts.map(|facts| Update::Facts(Name::Process, facts));
    let gauges = scanned.gauges.into_iter().flat_map(|(processes, containers)| {
        let blocks = [Gauges::Processes(processes), Gauges::Containers(containers)];
        blocks.map(|block| Update::Gauges(Name::Process, block))
    });
    Round { updates: facts.into_iter().chain(gauges).collect(), status: scanned.status, elsewhere: Duration::ZERO }
}

async fn nudge_on_change(mut init_pids: watch::Receiver<InitPids>, nudge: Nudge, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(init_pids.changed()).await {
        nudge.nudge();
    }
}

/// CPU time as a share of all CPUs over a time, in hundredths of a percent, 10,000 at most.
fn rate(used: Duration, elapsed: Duration, cpus: u32) -> u32 {
    let available = elapsed.as_nanos().saturating_mul(u128::from(cpus.max(1)));
    let share = used.as_nanos().saturating_mul(10_000).checked_div(available).unwrap_or(0);
    u32::try_from(share).unwrap_or(u32::MAX).min(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_share_of_all_cpus() {
        let s = Duration::from_secs;
        let cases = [
            // used, elapsed, CPUs, hundredths of a percent
            (s(1), s(2), 1, 5000),
            (s(1), s(2), 4, 1250),
            (s(3), s(2), 1, 10_000),
            (s(1), s(0), 1, 0),
            (s(1), s(1), 0, 10_000),
            (Duration::MAX, Duration::MAX, u32::MAX, 0),
        ];
        for (used, elapsed, cpus, want) in cases {
            assert_eq!(rate(used, elapsed, cpus), want, "{used:?} of {elapsed:?} on {cpus}");
        }
    }
}
