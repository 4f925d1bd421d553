//! The cluster: what all hosts say, merged. One [`Writer`] takes changes of origins; readers get a [`Cluster`], a handful of
//! `Arc`s that nothing changes any more. A change to one host rebuilds that host's entry, and the edges of those hosts whose
//! resolution had asked about what changed: never all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::claims::Claims;
use crate::clock::Clock;
use crate::fact::Fact;
use crate::gauges::History;
use crate::graph::{Change, HostGraph};
use crate::id::{PeerId, Timestamp};
use crate::life::Life;
use crate::resolve::{self, Asked, Askers, Edge, Index, Relation, Source, Surroundings};
use crate::services::{self, Problem, Refused, Rule, Services, Verdicts};

/// What one host says and what follows from it.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// Its facts.
    pub graph: Arc<HostGraph>,
    /// Its newest metric values.
    pub gauges: Arc<History>,
    /// Edges its flows tell of.
    pub edges: Arc<Vec<Edge>>,
    /// Whether it is heard of.
    pub life: Life,
    /// Its clock.
    pub clock: Clock,
    /// Grows whenever facts, edges or life differ; not with gauges.
    pub version: u64,
    claims: Arc<Claims>,
    asked: Arc<Asked>,
}

impl HostEntry {
    /// Of a host of which nothing is known.
    fn new(peer: &PeerId, life: Life) -> Self {
        Self {
            graph: Arc::new(HostGraph::new(peer.clone())),
            gauges: Arc::default(),
            edges: Arc::default(),
            life,
            clock: Clock::default(),
            version: 0,
            claims: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Takes changes; returns whether anything differs that claims, edges or views are made of.
    fn take(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        let mut differs = false;
        for change in changes {
            match change {
                Change::Put(fact) => match *fact {
                    Fact::Gauges(gauges) => Arc::make_mut(&mut self.gauges).push(gauges),
                    fact => differs |= Arc::make_mut(&mut self.graph).put(fact),
                },
                Change::Remove(key) => differs |= Arc::make_mut(&mut self.graph).remove(&key),
            }
        }
        differs
    }
}

/// The merged picture at one moment. Cloning it copies no facts.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    hosts: BTreeMap<PeerId, Arc<HostEntry>>,
    version: u64,
    /// By host; of most there is none.
    refused: Arc<BTreeMap<PeerId, Refused>>,
    /// Made by whoever asks first, and shared by all versions that differ in nothing it is made of.
    relations: Arc<OnceLock<Arc<Vec<Relation>>>>,
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

    /// What all hosts tell of relations, both ends' reports joined: clients' in the order of hosts and flows, and after them
    /// what only servers tell. Made when first asked for after facts, edges or hosts differ: that costs the flows of all hosts.
    #[must_use]
    pub fn relations(&self) -> Arc<Vec<Relation>> {
        let make = || {
            resolve::relations(self.hosts.values().map(|entry| {
                let HostEntry { graph, claims, edges, .. } = &**entry;
                Source { graph, claims, edges }
            }))
        };
        self.relations.get_or_init(|| Arc::new(make())).clone()
    }

    /// Rules of known services of a host that are not used, if there are some.
    #[must_use]
    pub fn refused_services(&self, peer: &PeerId) -> Option<&Refused> {
        self.refused.get(peer)
    }

    /// Grows with every change, gauges included.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Takes changes and publishes clusters. Single owner; readers never wait for it.
///
/// Facts are taken at once, claims are made and edges resolved when the cluster is asked for: a thousand changes in between
/// cost each host one resolution.
#[derive(Debug, Default)]
pub struct Writer {
    cluster: Cluster,
    index: Index,
    askers: Askers,
    /// What operators call services, by host; those of them that are used, and what follows from them for all.
    rules: BTreeMap<PeerId, Arc<Vec<Rule>>>,
    rules_in_use: Vec<Rule>,
    services: Services,
    /// What is wrong with `rules_in_use`, by their numbers.
    problems: Vec<Problem>,
    /// Whether the rules are others now.
    is_unruled: bool,
    /// Hosts whose claims may be others now.
    unclaimed: BTreeSet<PeerId>,
    /// Hosts whose edges may be others now.
    unresolved: BTreeSet<PeerId>,
    /// What is known of hosts that are not live, also before their first facts.
    lives: BTreeMap<PeerId, Life>,
    last_version: u64,
}

impl Writer {
    /// The picture now. Costs the flows of those hosts that changed or that talk to what changed.
    #[must_use]
    pub fn cluster(&mut self) -> Cluster {
        for peer in std::mem::take(&mut self.unclaimed) {
            self.claim_anew(&peer);
            self.take_rules(&peer);
        }
        if std::mem::take(&mut self.is_unruled) {
            self.rule_anew();
        }
        for peer in std::mem::take(&mut self.unresolved) {
            self.resolve(&peer);
        }
        self.cluster.clone()
    }

    /// Takes what one origin changed. Costs the changes, and once after each [`Writer::cluster`] a copy of that host's maps.
    pub fn apply(&mut self, peer: &PeerId, changes: impl IntoIterator<Item = Change>) {
        let is_new = !self.cluster.hosts.contains_key(peer);
        let differs = self.entry(peer).take(changes);
        self.changed(peer, is_new || differs);
    }

    /// Notes whether a host is heard of. What it said stays; views mark it. Costs that host's part of each view, and the edges
    /// of those that talk to an address another host has too.
    ///
    /// A host may be told of before its facts come, and is remembered until it lives again or is forgotten: the caller bounds
    /// how many there are.
    pub fn set_life(&mut self, peer: &PeerId, life: Life) {
        if life.is_live() {
            self.lives.remove(peer);
        } else {
            self.lives.insert(peer.clone(), life);
        }
        let is_news = self.index.set_silent(peer, !life.is_live());
        let Some(entry) = self.cluster.hosts.get(peer).filter(|entry| entry.life != life) else { return };
        if is_news {
            let contested = self.index.contested(&entry.claims);
            let others = self.cluster.hosts.iter().filter(|(_, other)| other.asked.has_any(&contested));
            self.unresolved.extend(others.map(|(other, _)| other.clone()));
        }
        let Some(entry) = self.cluster.hosts.get_mut(peer).map(Arc::make_mut) else { return };
        entry.life = life;
        self.cluster.version += 1;
        self.last_version += 1;
        entry.version = self.last_version;
    }

    /// Notes that the newest gauges of a host came at `now`, by our clock: how far its clock is from ours is told from that. To
    /// be called when gauges were applied; where nobody does, clocks are taken to agree.
    pub fn observe_clock(&mut self, peer: &PeerId, now: Timestamp) {
        let Some(entry) = self.cluster.hosts.get_mut(peer) else { return };
        let Some(read) = entry.gauges.host().next_back().map(|block| block.at) else { return };
        let mut clock = entry.clock;
        clock.observe(read, now);
        if clock != entry.clock {
            self.cluster.version += u64::from(clock.ahead_ms() != entry.clock.ahead_ms());
            Arc::make_mut(entry).clock = clock;
        }
    }

    /// Forgets a host, as if it had never been.
    pub fn forget(&mut self, peer: &PeerId) {
        self.lives.remove(peer);
        self.index.set_silent(peer, false);
        let Some(entry) = self.cluster.hosts.remove(peer) else { return };
        self.cluster.version += 1;
        self.cluster.relations = Arc::default();
        self.unclaimed.remove(peer);
        self.unresolved.remove(peer);
        self.askers.update(peer, &entry.asked, &Asked::default());
        self.claim(peer, &entry.claims, &Claims::default());
        self.take_rules(peer);
    }

    /// Notes that a host's entry was changed, and whether anything differs in it but gauges.
    fn changed(&mut self, peer: &PeerId, differs: bool) {
        self.cluster.version += 1;
        let Some(entry) = self.cluster.hosts.get_mut(peer).filter(|_| differs) else { return };
        self.last_version += 1;
        Arc::make_mut(entry).version = self.last_version;
        self.cluster.relations = Arc::default();
        self.unclaimed.insert(peer.clone());
    }

    /// The entry of a host to be changed: a copy if a published cluster has it too.
    fn entry(&mut self, peer: &PeerId) -> &mut HostEntry {
        let life = self.lives.get(peer).copied().unwrap_or_default();
        let entry = self.cluster.hosts.entry(peer.clone()).or_insert_with(|| Arc::new(HostEntry::new(peer, life)));
        Arc::make_mut(entry)
    }

    /// Makes a host's claims of its facts.
    fn claim_anew(&mut self, peer: &PeerId) {
        let Some(entry) = self.cluster.hosts.get_mut(peer) else { return };
        let new = Arc::new(Claims::of(&entry.graph));
        let old = std::mem::replace(&mut Arc::make_mut(entry).claims, new.clone());
        self.unresolved.insert(peer.clone());
        self.claim(peer, &old, &new);
    }

    /// Takes a host's rules of known services, if it has any.
    fn take_rules(&mut self, peer: &PeerId) {
        let new = self.cluster.hosts.get(peer).map(|entry| &entry.graph.services).filter(|rules| !rules.is_empty());
        if self.rules.get(peer) == new {
            return;
        }
        self.is_unruled = true;
        match new.cloned() {
            Some(rules) => self.rules.insert(peer.clone(), rules),
            None => self.rules.remove(peer),
        };
    }

    /// Makes the known services of all rules. Whose edges they concern could be anyone's.
    fn rule_anew(&mut self) {
        let hosts: Vec<&[Rule]> = self.rules.values().map(|rules| rules.as_slice()).collect();
        let rules = services::shared_out(&hosts);
        // Most hosts come with rules that others have.
        if !rules.iter().copied().eq(&self.rules_in_use) {
            (self.services, self.problems) = Services::with(rules.iter().copied());
            self.rules_in_use = rules.iter().map(|rule| (*rule).clone()).collect();
            self.unresolved.extend(self.cluster.hosts.keys().cloned());
        }
        let verdicts = Verdicts::new(&rules, &self.problems);
        let refused = self.rules.iter().filter_map(|(peer, own)| Some((peer.clone(), verdicts.refused(own)?)));
        self.cluster.refused = Arc::new(refused.collect());
    }

    /// Puts a host's claims in the place of its old ones, and notes whose edges may be others for it.
    fn claim(&mut self, peer: &PeerId, old: &Claims, new: &Claims) {
        let differences = old.differences(new);
        if differences.is_empty() {
            return;
        }
        if self.index.update(peer, old, new) {
            // Which networks there are says which addresses are the Internet's: that concerns everyone.
            self.unresolved.extend(self.cluster.hosts.keys().cloned());
            return;
        }
        for asker in self.askers.of(&differences, old, new) {
            let entry = self.cluster.hosts.get(asker).filter(|_| asker != peer);
            if entry.is_some_and(|entry| entry.asked.touches(&differences, old, new)) {
                self.unresolved.insert(asker.clone());
            }
        }
    }

    /// Makes a host's edges anew; its version grows if they differ.
    fn resolve(&mut self, peer: &PeerId) {
        let Some(entry) = self.cluster.hosts.get(peer) else { return };
        let claims_of = |peer: &PeerId| self.cluster.hosts.get(peer).map(|entry| entry.claims.clone());
        let around = Surroundings { index: &self.index, services: &self.services, claims_of };
        let (edges, asked) = resolve::resolve(&entry.graph, &entry.claims, &around);
        self.askers.update(peer, &entry.asked, &asked);
        let Some(entry) = self.cluster.hosts.get_mut(peer).map(Arc::make_mut) else { return };
        entry.asked = Arc::new(asked);
        if *entry.edges != edges {
            self.last_version += 1;
            entry.version = self.last_version;
            entry.edges = Arc::new(edges);
            self.cluster.relations = Arc::default();
        }
    }
}
