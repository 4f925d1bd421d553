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
use gossip::{Applied, Interval, Limits, LocalOrigin, OriginId, PublishError, Replica};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topology::cluster::Writer;
use topology::graph::Change;
use topology::{Cluster, Key, PeerId, codec};
use tracing::{error, warn};

use crate::metrics::Metrics;
use crate::probe::Update;
use ledger::Ledger;

/// Updates that wait for the hub at most; a probe that has more to say waits.
const UPDATES_MAX: usize = 64;

/// Updates taken at once: a burst is one publication.
const BATCH_MAX: usize = 32;

/// A value that an origin may say is one that its readers take.
const _: () = assert!(gossip::VALUE_BYTES_MAX == codec::VALUE_BYTES_MAX);

/// Owner of the replica and of the merged picture.
pub(crate) struct Hub {
    peer: PeerId,
    local: LocalOrigin,
    replica: Replica,
    ledger: Ledger,
    metrics: Metrics,
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
    /// The hub of one run of a peer, whose id as text is `peer`. Its facts stay within `limits`.
    pub(crate) fn new(origin: OriginId, peer: PeerId, limits: Limits, metrics: Metrics) -> (Self, Ends) {
        let (updates, received) = mpsc::channel(UPDATES_MAX);
        let (cluster, published) = watch::channel(Cluster::default());
        let hub = Self {
            peer,
            local: LocalOrigin::new(origin, limits),
            replica: Replica::new(origin.peer, limits),
            ledger: Ledger::default(),
            metrics,
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
                self.metrics.observe(&update);
                self.ledger.take(update);
            }
            self.publish();
        }
    }

    /// Publishes what changed; where there is no room for all of it, as much of the front of it as there is.
    fn publish(&mut self) {
        let mut changes: Vec<(Key, gossip::Key, Option<Bytes>)> =
            self.ledger.changes().into_iter().filter_map(encode).collect();
        let mut differs = self.say(&changes);
        while let Err(refused) = differs {
            warn!(%refused, "facts are left out");
            let half = changes.split_off(changes.len() / 2);
            self.ledger.withhold(half.into_iter().map(|(key, ..)| key));
            differs = if changes.is_empty() { Ok(false) } else { self.say(&changes) };
        }
        if differs.is_ok_and(|differs| differs) {
            self.cluster.send_replace(self.writer.cluster());
        }
    }

    /// Publishes these changes, all of them or none; whether any made a difference.
    fn say(&mut self, changes: &[(Key, gossip::Key, Option<Bytes>)]) -> Result<bool, PublishError> {
        let changes = changes.iter().map(|(_, key, value)| (key.clone(), value.clone()));
        let Some(interval) = self.local.publish(changes)? else { return Ok(false) };
        self.record(&interval);
        Ok(true)
    }

    fn record(&mut self, interval: &Interval) {
        let changed = match self.replica.record(interval) {
            Ok(Applied::Changed(changes)) => changes,
            Ok(Applied::Replaced) => {
                self.writer.forget(&self.peer);
                interval.changes()
            }
            Ok(Applied::Known) => &[],
            Err(refused) => {
                error!(%refused, "our own interval does not join on");
                &[]
            }
        };
        let changes: Vec<Change> = changed.iter().filter_map(decode).collect();
        self.writer.apply(&self.peer, changes);
    }
}

fn encode(change: Change) -> Option<(Key, gossip::Key, Option<Bytes>)> {
    let (key, value) = match change {
        Change::Put(fact) => (fact.key(), Some(Bytes::from(codec::encode(&fact)))),
        Change::Remove(key) => (key, None),
    };
    match gossip::Key::new(key.to_string().as_bytes()) {
        Ok(of_origin) => Some((key, of_origin, value)),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gossip::{Epoch, PeerId as Origin};
    use topology::ProcessId;
    use topology::fact::{Fact, Host, Process, Source, SourceState};

    use super::*;
    use crate::probe::Name;

    fn hub(limits: Limits) -> (Hub, watch::Receiver<Cluster>) {
        let origin = OriginId { peer: Origin::from_bytes([7; 32]), epoch: Epoch(1) };
        let (hub, ends) = Hub::new(origin, PeerId::new("peer-a").expect("an id"), limits, Metrics::default());
        (hub, ends.cluster)
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
        let limits = Limits { entries_per_origin_max: 10, ..Limits::default() };
        let (mut hub, cluster) = hub(limits);
        let ok = Source { state: SourceState::Ok, mode: String::new(), reason: String::new() };
        hub.ledger.take(Update::Status(Name::Host, ok));
        let steps = [
            // what a probe says, most processes that fit, whether something is left out
            (processes(0..5), 5, false),
            (host(), 5, false),
            (processes(0..40), 8, true),
            (processes(0..3), 3, false),
        ];
        for (step, (update, most, is_cut)) in steps.into_iter().enumerate() {
            hub.ledger.take(update);
            hub.publish();
            hub.publish();
            let (name, processes, complains) = shown(&cluster);
            assert!(processes <= most && (is_cut || processes == most), "step {step}: {processes} processes");
            assert_eq!((complains, name.as_str()), (is_cut, if step == 0 { "" } else { "a" }), "step {step}");
        }
    }

    #[test]
    fn processes_that_come_and_go_leave_nothing_behind() {
        let limits = Limits { tombstones_per_origin_max: 64, ..Limits::default() };
        let (mut hub, cluster) = hub(limits);
        for generation in 0..200 {
            hub.ledger.take(processes(generation * 10..generation * 10 + 10));
            hub.publish();
        }
        let origin = hub.replica.origin(hub.local.id().peer).expect("our own");
        assert_eq!(shown(&cluster).1, 10);
        assert!(origin.tombstones() <= 64, "{} tombstones", origin.tombstones());
    }
}
