//! Ends of connections as the kernel notifies of destroyed sockets: asked for only where eBPF does not tell.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LOSS_SHOWN;
use super::netns::{Namespaces, Scans};
use super::snapshot::Classifiers;
use super::sock_diag::destroyed::{self, Feed, Health};
use super::tracker::Destroyed;
use crate::probe::{Name, Update};

/// Connections that ended, as the kernel notifies.
#[derive(Debug)]
pub(super) struct NotifiedEnds {
    proc_root: PathBuf,
    feed: Option<Feed>,
    health: Option<Health>,
    losses: u64,
    lost_at: Option<Instant>,
}

impl NotifiedEnds {
    pub(super) fn new(proc_root: &Path) -> Self {
        Self { proc_root: proc_root.to_owned(), feed: None, health: None, losses: 0, lost_at: None }
    }

    /// Whether it tells what ends.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.health, Some(Health::Everywhere | Health::OwnNamespace))
    }

    /// Whether it does in all namespaces, not only in the host's.
    pub(super) fn is_active_everywhere(&self) -> bool {
        matches!(self.health, Some(Health::Everywhere))
    }

    /// What it lacks at `now`, if it is needed.
    pub(super) fn problem(&self, now: Instant) -> Option<String> {
        let has_lost = self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < LOSS_SHOWN);
        match self.health? {
            Health::Everywhere => has_lost.then(|| {
                "more connections ended than the kernel could tell of, or in namespaces that are new: counts are too low"
                    .to_owned()
            }),
            Health::OwnNamespace => Some(
                "short connections of containers are missing: hearing of them takes CAP_NET_BROADCAST; run as root"
                    .to_owned(),
            ),
            Health::Failed(error) => Some(format!("{error}; it is tried again")),
        }
    }

    /// What ended since the last call, and the CPU time it took; nothing where it `is_needed` no more.
    pub(super) fn take(
        &mut self,
        now: Instant,
        is_needed: bool,
        namespaces: &Namespaces,
        scans: &Scans,
        classifiers: &Classifiers,
        updates: &mut Vec<Update>,
    ) -> (Vec<Destroyed>, Duration) {
        if !is_needed {
            self.feed = None;
            self.health = None;
            return (Vec::new(), Duration::ZERO);
        }
        let feed = self.feed.get_or_insert_with(|| destroyed::spawn(&self.proc_root));
        let batch = feed.drain(namespaces);
        self.health = Some(batch.health);
        let losses = self.losses + batch.dropped + batch.overruns + batch.unplaced as u64;
        if self.losses != losses {
            self.losses = losses;
            self.lost_at = Some(now);
            updates.push(Update::Lost(Name::Connections, self.losses));
        }
        let directed = |it: destroyed::Destroyed| {
            let scan = scans.namespaces.iter().find(|scan| scan.netns == it.netns)?;
            let direction = classifiers.direction(scan, it.local, it.remote);
            Some(Destroyed { netns: it.netns, direction, local: it.local, remote: it.remote, figures: it.figures })
        };
        (batch.destroyed.into_iter().filter_map(directed).collect(), batch.cpu_time)
    }
}
