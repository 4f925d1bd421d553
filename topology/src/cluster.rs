//! The cluster: what all hosts say, merged. One [`Writer`] takes changes of origins; readers get a [`Cluster`], a handful of
//! `Arc`s that nothing changes any more. A change to one host rebuilds that host's entry, and the edges of those hosts whose
//! resolution had asked about what changed: never all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::claims::Claims;
use crate::fact::Fact;
use crate::gauges::History;
use crate::graph::{Change, HostGraph};
use crate::id::PeerId;
use crate::resolve::{self, Asked, Edge, Index};

/// What one host says and what follows from it.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// Its facts.
    pub graph: Arc<HostGraph>,
    /// Its newest metric values.
    pub gauges: Arc<History>,
    /// Edges its flows tell of.
    pub edges: Arc<Vec<Edge>>,
    /// Grows whenever facts or edges differ; not with gauges.
    pub version: u64,
    claims: Arc<Claims>,
    asked: Arc<Asked>,
}

/// The merged picture at one moment. Cloning it copies no facts.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    hosts: BTreeMap<PeerId, Arc<HostEntry>>,
    version: u64,
}

impl Cluster {
    /// Entries by peer.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = (&PeerId, &HostEntry)> {
        self.hosts.iter().map(|(peer, entry)| (peer, &**entry))
    }

    /// One host's entry.
    #[must_use]
    pub fn host(&self, peer: &PeerId) -> Option<&HostEntry> {
        self.hosts.get(peer).map(|entry| &**entry)
    }

    /// Grows with every change, gauges included.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Takes changes and publishes clusters. Single owner; readers never wait for it.
///
/// Facts are taken at once, edges are resolved when the cluster is asked for: a thousand changes in between cost each host
/// one resolution.
#[derive(Debug, Default)]
pub struct Writer {
    cluster: Cluster,
    index: Index,
    /// Hosts whose edges may be others now.
    unresolved: BTreeSet<PeerId>,
    last_version: u64,
}

impl Writer {
    /// The picture now. Costs the flows of those hosts that changed or that talk to what changed.
    #[must_use]
    pub fn cluster(&mut self) -> Cluster {
        for peer in std::mem::take(&mut self.unresolved) {
            self.resolve(&peer);
        }
        self.cluster.clone()
    }

    /// Takes what one origin changed. Costs that host's facts.
    pub fn apply(&mut self, peer: &PeerId, changes: impl IntoIterator<Item = Change>) {
        let mut entry = self.entry(peer);
        let mut differs = entry.version == 0;
        for change in changes {
            match change {
                Change::Put(fact) => match *fact {
                    Fact::Gauges(gauges) => Arc::make_mut(&mut entry.gauges).push(gauges),
                    fact => differs |= Arc::make_mut(&mut entry.graph).put(fact),
                },
                Change::Remove(key) => differs |= Arc::make_mut(&mut entry.graph).remove(&key),
            }
        }
        self.cluster.version += 1;
        if differs {
            let new = Arc::new(Claims::of(&entry.graph));
            let old = std::mem::replace(&mut entry.claims, new.clone());
            entry.version = self.next_version();
            self.unresolved.insert(peer.clone());
            self.claim(peer, &old, &new);
        }
        self.cluster.hosts.insert(peer.clone(), Arc::new(entry));
    }

    /// Forgets a host, as if it had never been.
    pub fn forget(&mut self, peer: &PeerId) {
        let Some(entry) = self.cluster.hosts.remove(peer) else { return };
        self.cluster.version += 1;
        self.unresolved.remove(peer);
        self.claim(peer, &entry.claims, &Claims::default());
    }

    fn next_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    fn entry(&self, peer: &PeerId) -> HostEntry {
        self.cluster.hosts.get(peer).map_or_else(
            || HostEntry {
                graph: Arc::new(HostGraph::new(peer.clone())),
                gauges: Arc::default(),
                edges: Arc::default(),
                version: 0,
                claims: Arc::default(),
                asked: Arc::default(),
            },
            |entry| (**entry).clone(),
        )
    }

    /// Puts a host's claims in the place of its old ones, and notes whose edges may be others for it.
    fn claim(&mut self, peer: &PeerId, old: &Claims, new: &Claims) {
        let differences = old.differences(new);
        if differences.is_empty() {
            return;
        }
        let networks_came = self.index.add(peer, new);
        let networks_went = self.index.remove(peer, old);
        let everyone = networks_came || networks_went;
        let depends = |entry: &HostEntry| everyone || entry.asked.touches(&differences, old, new);
        let others = self.cluster.hosts.iter().filter(|(other, entry)| *other != peer && depends(entry));
        self.unresolved.extend(others.map(|(other, _)| other.clone()));
    }

    /// Makes a host's edges anew; its version grows if they differ.
    fn resolve(&mut self, peer: &PeerId) {
        let Some(entry) = self.cluster.hosts.get(peer) else { return };
        let claims_of = |peer: &PeerId| self.cluster.hosts.get(peer).map(|entry| entry.claims.clone());
        let (edges, asked) = resolve::resolve(&entry.graph, &entry.claims, &self.index, claims_of);
        let mut entry = HostEntry { asked: Arc::new(asked), ..(**entry).clone() };
        if *entry.edges != edges {
            entry.version = self.next_version();
            entry.edges = Arc::new(edges);
        }
        self.cluster.hosts.insert(peer.clone(), Arc::new(entry));
    }
}
