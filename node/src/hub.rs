//! The hub: where everything a probe says becomes a fact of this origin, and every fact part of the cluster. One task owns
//! the replica and the cluster's writer; what it publishes, readers take without waiting.
//!
//! ```text
//! probes ─Update─▶ ledger ─changes─▶ LocalOrigin ─interval─▶ Replica ─changed keys─▶ Writer ─▶ Cluster
//! ```
//!
//! The local peer's facts take the road that those of others will take: as bytes, by way of the replica.

mod ledger;

use bytes::Bytes;
use gossip::{Applied, Interval, Limits, LocalOrigin, OriginId, Replica};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topology::cluster::Writer;
use topology::graph::Change;
use topology::{Cluster, Key, PeerId, codec};
use tracing::{error, warn};

use crate::probe::Update;
use ledger::Ledger;

/// Updates that wait for the hub at most; a probe that has more to say waits.
const UPDATES_MAX: usize = 64;

/// Updates taken at once: a burst is one publication.
const BATCH_MAX: usize = 32;

/// Tombstones kept before they are collected: without a mesh nobody needs them.
const TOMBSTONES_MAX: usize = 4096;

/// Owner of the replica and of the merged picture.
pub(crate) struct Hub {
    peer: PeerId,
    local: LocalOrigin,
    replica: Replica,
    ledger: Ledger,
    writer: Writer,
    cluster: watch::Sender<Cluster>,
    updates: mpsc::Receiver<Update>,
}

/// Ways into and out of a hub.
pub(crate) struct Ends {
    /// For probes.
    pub(crate) updates: mpsc::Sender<Update>,
    /// For whoever shows the cluster.
    pub(crate) cluster: watch::Receiver<Cluster>,
}

impl Hub {
    /// The hub of one run of a peer, whose id as text is `peer`.
    pub(crate) fn new(origin: OriginId, peer: PeerId) -> (Self, Ends) {
        let (updates, received) = mpsc::channel(UPDATES_MAX);
        let (cluster, published) = watch::channel(Cluster::default());
        let hub = Self {
            peer,
            local: LocalOrigin::new(origin, Limits::default()),
            replica: Replica::new(origin.peer, Limits::default()),
            ledger: Ledger::default(),
            writer: Writer::default(),
            cluster,
            updates: received,
        };
        (hub, Ends { updates, cluster: published })
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let received = stop.run_until_cancelled(self.updates.recv_many(&mut batch, BATCH_MAX)).await;
            match received {
                None => return,
                Some(0) => return stop.cancelled().await, // No probe is left; what is known stays to be seen.
                Some(_) => {}
            }
            for update in batch.drain(..) {
                self.ledger.take(update);
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let changes: Vec<_> = self.ledger.changes().into_iter().filter_map(encode).collect();
        let interval = match self.local.publish(changes) {
            Ok(Some(interval)) => interval,
            Ok(None) => return,
            Err(refused) => {
                // What is said stays as it was; the next change is compared with that.
                error!(%refused, "this host has more facts than a peer may say: the map no longer follows it");
                self.ledger.refused(&refused.to_string());
                return;
            }
        };
        self.record(&interval);
        self.collect();
        self.cluster.send_replace(self.writer.cluster());
    }

    fn record(&mut self, interval: &Interval) {
        let changed = match self.replica.record(interval) {
            Ok(Applied::Changed(changes)) => changes,
            Ok(Applied::Replaced) => interval.changes(),
            Ok(Applied::Known) => &[],
            Err(refused) => {
                error!(%refused, "our own interval does not join on");
                &[]
            }
        };
        let changes: Vec<Change> = changed.iter().filter_map(decode).collect();
        self.writer.apply(&self.peer, changes);
    }

    fn collect(&mut self) {
        let origin = self.replica.origin(self.local.id().peer);
        if origin.is_some_and(|origin| origin.tombstones() > TOMBSTONES_MAX) {
            self.replica.collect(self.local.id().peer, self.local.version());
        }
    }
}

fn encode(change: Change) -> Option<(gossip::Key, Option<Bytes>)> {
    let (key, value) = match change {
        Change::Put(fact) => (fact.key(), Some(Bytes::from(codec::encode(&fact)))),
        Change::Remove(key) => (key, None),
    };
    match gossip::Key::new(key.to_string().as_bytes()) {
        Ok(key) => Some((key, value)),
        Err(refused) => {
            warn!(%key, %refused, "fact left out");
            None
        }
    }
}

/// What a change of an origin means. What it does not mean is no harm: peers newer than us have more to say.
fn decode(change: &gossip::Change) -> Option<Change> {
    let text = std::str::from_utf8(change.key.as_bytes()).ok()?;
    let key: Key = text.parse().ok()?;
    let Some(value) = &change.value else { return Some(Change::Remove(key)) };
    match codec::decode(&key, value) {
        Ok(fact) => Some(Change::put(fact)),
        Err(refused) => {
            warn!(key = text, %refused, "fact skipped");
            None
        }
    }
}
