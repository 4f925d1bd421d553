//! The owner of one live view: the only one who follows the cluster for it. Changes of nodes and edges go out at once, the
//! first without delay and what follows it closely in one message; metrics go out with the beat.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use topology::summary::Summary;
use topology::{Cluster, Node, NodeId, PeerId, View};
use tracing::debug;

use super::{Ask, Feed, Key, Owners, message};
use crate::api::now;
use crate::metrics::{Made, Metrics};
use crate::render::blocking;
use crate::views::lock;

/// Messages kept for the slowest follower; one more and it starts over. With the time a socket may take for one write, this
/// bounds what a stalled browser makes us hold.
pub(super) const BACKLOG_MAX: usize = 16;

/// After a message, further changes are gathered for this long: a container that starts is a dozen facts in a few
/// milliseconds, and a page draws no faster than once in 16.
const QUIET: Duration = Duration::from_millis(20);

pub(super) struct Owner {
    key: Key,
    cluster: watch::Receiver<Cluster>,
    inbox: mpsc::Receiver<Ask>,
    owners: Arc<Owners>,
    metrics: Arc<Metrics>,
    diffs: broadcast::Sender<Utf8Bytes>,
    beat: Interval,
    view: View,
    /// The cluster the view shows.
    shown: Cluster,
    /// The cluster whose metrics were looked at last.
    beaten: Cluster,
    /// Fingerprints of the metrics that followers have, of nodes that have any.
    sent: HashMap<NodeId, u64>,
    /// The message for new followers, until the view or the beat goes on.
    reset: Option<Utf8Bytes>,
    /// When changes may go out again.
    quiet_until: Option<Instant>,
}

impl Owner {
    pub(super) fn new(
        key: Key,
        mut cluster: watch::Receiver<Cluster>,
        inbox: mpsc::Receiver<Ask>,
        owners: Arc<Owners>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shown = cluster.borrow_and_update().clone();
        let mut beat = interval_at(Instant::now() + key.beat, key.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            view: View::new(key.kind, key.options),
            key,
            cluster,
            inbox,
            owners,
            metrics,
            diffs: broadcast::Sender::new(BACKLOG_MAX),
            beat,
            beaten: shown.clone(),
            shown,
            sent: HashMap::new(),
            reset: None,
            quiet_until: None,
        }
    }

    /// Serves followers until the last one left or the cluster ends.
    pub(super) async fn run(mut self) {
        blocking(|| self.draw());
        loop {
            let quiet_until = self.quiet_until;
            tokio::select! {
                biased;
                ask = self.inbox.recv() => match ask {
                    Some(ask) => self.welcome(ask),
                    None => break,
                },
                () = self.diffs.closed() => if self.retire() { break },
                // Before the changes: however many there are, metrics go out too.
                _ = self.beat.tick() => self.follow(Made::Beat),
                changed = self.cluster.changed(), if quiet_until.is_none() => match changed {
                    Ok(()) => self.follow(Made::Structure),
                    Err(_) => break, // the peer is ending
                },
                () = sleep_until(quiet_until.unwrap_or_else(Instant::now)), if quiet_until.is_some() => self.quiet_until = None,
            }
        }
        debug!(view = self.key.kind.id(), "nobody follows any more");
    }

    fn draw(&mut self) {
        self.metrics.view_updated(self.key.kind);
        self.view.update(&self.shown);
        let metrics = |node: &Arc<Node>| Some((node.id.clone(), fingerprint(node, &self.shown)?));
        self.sent = self.view.nodes().filter_map(metrics).collect();
    }

    /// Gives a follower the view as it was sent so far, and its place in what is sent from now on.
    fn welcome(&mut self, ask: Ask) {
        let reset = match self.reset.take() {
            Some(reset) => reset,
            None => blocking(|| self.draw_reset()),
        };
        self.reset = Some(reset.clone());
        // If the follower has left meanwhile, its receiver goes with it.
        drop(ask.send(Feed { reset, diffs: self.diffs.subscribe() }));
    }

    fn draw_reset(&mut self) -> Utf8Bytes {
        self.metrics.message(Made::Reset);
        // Its metrics may be newer than what earlier followers have. The next beat tells all of them how it is then: it may
        // be as they think it is, and not as the new one does.
        for (node, _) in self.moved(&self.shown) {
            self.sent.remove(&node.id);
        }
        message::reset(&self.view, &self.shown, now()).into()
    }

    /// Leaves, unless somebody asked in the meantime.
    fn retire(&mut self) -> bool {
        let mut owners = lock(&self.owners);
        let alone = self.inbox.is_empty() && self.diffs.receiver_count() == 0;
        if alone {
            owners.remove(&self.key);
        }
        alone
    }

    /// Brings the view up to the newest cluster and sends what differs; with the beat, metrics too.
    fn follow(&mut self, made: Made) {
        blocking(|| self.draw_diff(made));
    }

    fn draw_diff(&mut self, made: Made) {
        let cluster = self.cluster.borrow_and_update().clone();
        if cluster.version() != self.shown.version() {
            self.metrics.view_updated(self.key.kind);
        }
        let mut diff = self.view.update(&cluster);
        for node in diff.added.iter().chain(&diff.updated) {
            self.note(node, &cluster);
        }
        for id in &diff.removed {
            self.sent.remove(id);
        }
        if made == Made::Beat {
            self.reset = None; // ages in it go on
            for (node, metrics) in self.moved(&cluster) {
                self.sent.insert(node.id.clone(), metrics);
                diff.updated.push(node);
            }
            self.beaten = cluster.clone();
        }
        self.shown = cluster;
        if !diff.is_empty() {
            self.metrics.message(made);
            self.reset = None;
            self.quiet_until = Some(Instant::now() + QUIET);
            // With no follower left there is nobody to miss it.
            drop(self.diffs.send(message::diff(&diff, &self.shown, now()).into()));
        }
    }

    /// Notes that followers get a node's metrics as they are.
    fn note(&mut self, node: &Node, cluster: &Cluster) {
        if let Some(metrics) = fingerprint(node, cluster) {
            self.sent.insert(node.id.clone(), metrics);
        }
    }

    /// Nodes whose metrics are not what followers have, with their fingerprints. Looks only at those of hosts whose gauges
    /// are new since the last beat.
    fn moved(&self, cluster: &Cluster) -> Vec<(Arc<Node>, u64)> {
        let is_new = |peer: &PeerId, gauges| self.beaten.host(peer).is_none_or(|old| !Arc::ptr_eq(&old.gauges, gauges));
        let hosts = cluster.hosts().filter(|(peer, entry)| is_new(peer, &entry.gauges)).map(|(peer, _)| peer);
        let hosts: HashSet<&PeerId> = hosts.collect();
        if hosts.is_empty() {
            return Vec::new();
        }
        let nodes = self.view.nodes().filter(|node| node.subject.peer().is_some_and(|peer| hosts.contains(peer)));
        let moved = |node: &Arc<Node>| {
            let metrics = fingerprint(node, cluster)?;
            (self.sent.get(&node.id) != Some(&metrics)).then(|| (node.clone(), metrics))
        };
        nodes.filter_map(moved).collect()
    }
}

/// Stands for what people see of a node's metrics: values, not when they were read. `None` if it can have none.
fn fingerprint(node: &Node, cluster: &Cluster) -> Option<u64> {
    node.subject.peer()?;
    let mut hasher = DefaultHasher::new();
    for row in Summary::metrics_of(node, cluster) {
        (row.id, row.value.to_bits(), row.max.to_bits(), row.value_empty).hash(&mut hasher);
    }
    Some(hasher.finish())
}
