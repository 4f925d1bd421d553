//! Who has published and holds what: the measure of the mesh, and the judge of it.
//!
//! It sees each publication and each change at every host, so it knows how long news took, who lacks what, and
//! whether anything was held that nobody ever said.

use std::time::Duration;

use crate::mesh::Time;
use crate::{Epoch, Interval, OriginId, PeerId, StateHash, Version};

/// Descriptions of broken invariants that are kept; the rest is counted.
const BROKEN_KEPT: usize = 10;

/// One run and one version of it, in 8 bytes: a thousand hosts hold a million of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    epoch: u32,
    version: u32,
}

impl Held {
    pub(super) fn new(epoch: Epoch, version: Version) -> Held {
        let narrow = |number: u64| u32::try_from(number).expect("no simulation writes as much");
        Held { epoch: narrow(epoch.0), version: narrow(version.0) }
    }

    pub(super) fn version(self) -> Version {
        Version(self.version.into())
    }
}

/// What one host said at once.
#[derive(Debug)]
struct Publication {
    until: Held,
    at: Time,
    hash: StateHash,
    /// Whether its spreading is measured.
    measured: bool,
    /// When the last host so far took it.
    last: Time,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    hosts: usize,
    /// By origin, oldest first.
    publications: Vec<Vec<Publication>>,
    /// At `at * hosts + of`.
    held: Vec<Held>,
    /// From when on a host counts as one that news should reach.
    member_since: Vec<Option<Time>>,
    /// Whose publications are measured, and at which hosts.
    watched: Vec<bool>,
    measuring: bool,
    /// Microseconds from a publication to each of the others.
    delays_us: Vec<u32>,
    /// Sum of each measured payload times the hosts it should reach.
    due_bytes: u64,
    payload_bytes: u64,
    publications_measured: u64,
    goal: Option<Goal>,
    broken: Vec<String>,
    broken_count: usize,
}

/// What all shall hold.
#[derive(Debug)]
struct Goal {
    of: Vec<Held>,
    by: Vec<bool>,
    missing: usize,
    set_at: Time,
    reached_at: Option<Time>,
}

/// What was measured since the last time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spread {
    /// From a publication to each of the other hosts, in rising order.
    pub(super) delays_us: Vec<u32>,
    /// From a publication to the last of the other hosts, in rising order.
    pub(super) full_us: Vec<u32>,
    /// What would have been received if every host got each payload once.
    pub(super) due_bytes: u64,
}

impl Ledger {
    pub(super) fn new(hosts: usize) -> Ledger {
        Ledger {
            hosts,
            publications: (0..hosts).map(|_| Vec::new()).collect(),
            held: vec![Held::default(); hosts * hosts],
            member_since: vec![None; hosts],
            watched: vec![true; hosts],
            measuring: false,
            delays_us: Vec::new(),
            due_bytes: 0,
            payload_bytes: 0,
            publications_measured: 0,
            goal: None,
            broken: Vec::new(),
            broken_count: 0,
        }
    }

    /// A host has begun a run with nothing but what it will say itself.
    pub(super) fn started(&mut self, host: u32, member_since: Time) {
        let row = host as usize * self.hosts;
        self.held[row..row + self.hosts].fill(Held::default());
        self.publications[host as usize].clear();
        self.member_since[host as usize] = Some(member_since);
    }

    /// A host is no more.
    pub(super) fn stopped(&mut self, host: u32) {
        self.member_since[host as usize] = None;
    }

    /// Leaves what concerns this host out of the measures of spreading.
    pub(super) fn leave_out(&mut self, host: u32) {
        self.watched[host as usize] = false;
    }

    /// A host has published.
    pub(super) fn published(
        &mut self,
        host: u32,
        interval: &Interval,
        hash: StateHash,
        payload_bytes: usize,
        now: Time,
    ) {
        let index = host as usize;
        let until = Held::new(interval.origin().epoch, interval.span().until);
        let measured = self.measuring && self.watched[index];
        self.publications[index].push(Publication { until, at: now, hash, measured, last: now });
        self.held[index * self.hosts + index] = until;
        if self.measuring {
            let others = self.member_since.iter().flatten().filter(|since| **since <= now).count() as u64 - 1;
            self.due_bytes += payload_bytes as u64 * others;
            self.payload_bytes += payload_bytes as u64;
            self.publications_measured += 1;
        }
    }

    /// A host has come to hold `interval`, of which it held everything up to `held` before.
    pub(super) fn changed(&mut self, at: u32, of: u32, interval: &Interval, held: Version, now: Time) {
        let slot = at as usize * self.hosts + of as usize;
        let (before, after) = (self.held[slot], Held::new(interval.origin().epoch, interval.span().until));
        if after <= before {
            self.broken(|| format!("host {at} went from {before:?} of host {of} back to {after:?} at {now:?}"));
            return;
        }
        if before.epoch == after.epoch && before.version() != held {
            self.broken(|| format!("host {at} says it held {held} of host {of}, but it was {before:?}"));
        }
        self.held[slot] = after;
        if let Some(goal) = &mut self.goal {
            goal.reached(before, after, at, of, now);
        }
        let published = &mut self.publications[of as usize];
        let end = published.partition_point(|publication| publication.until <= after);
        if end == 0 || published[end - 1].until != after {
            let earlier_run = published.first().is_none_or(|first| first.until.epoch > after.epoch);
            if !earlier_run {
                self.broken(|| format!("host {at} holds {after:?} of host {of}, which that never published"));
            }
            return;
        }
        let since = self.member_since[at as usize].unwrap_or(Time::MAX);
        for publication in published[..end].iter_mut().rev().take_while(|publication| publication.until > before) {
            if publication.measured && self.watched[at as usize] && publication.at >= since {
                publication.last = now;
                let delay_us = (now - publication.at).as_micros();
                self.delays_us.push(u32::try_from(delay_us).unwrap_or(u32::MAX));
            }
        }
    }

    /// A host has forgotten another.
    pub(super) fn forgotten(&mut self, at: u32, of: u32) {
        self.held[at as usize * self.hosts + of as usize] = Held::default();
    }

    /// What a host holds of another.
    pub(super) fn held(&self, at: u32, of: u32) -> Held {
        self.held[at as usize * self.hosts + of as usize]
    }

    /// The fingerprint its origin gave a state, if that was of its present run.
    pub(super) fn hash_of(&self, of: u32, held: Held) -> Option<StateHash> {
        let published = &self.publications[of as usize];
        let found = published.binary_search_by_key(&held, |publication| publication.until).ok()?;
        Some(published[found].hash)
    }

    /// Starts or stops to measure how publications spread.
    pub(super) fn measure(&mut self, on: bool) {
        self.measuring = on;
    }

    /// What was measured; it is forgotten here.
    pub(super) fn take_spread(&mut self) -> Spread {
        let mut delays_us = std::mem::take(&mut self.delays_us);
        delays_us.sort_unstable();
        let mut full_us = Vec::new();
        for publication in self.publications.iter_mut().flatten().filter(|publication| publication.measured) {
            publication.measured = false;
            full_us.push(u32::try_from((publication.last - publication.at).as_micros()).unwrap_or(u32::MAX));
        }
        full_us.sort_unstable();
        Spread { delays_us, full_us, due_bytes: std::mem::take(&mut self.due_bytes) }
    }

    /// From now on: all of `hosts` shall hold what each of them has published so far.
    pub(super) fn set_goal(&mut self, hosts: &[u32], now: Time) {
        let mut of = vec![Held::default(); self.hosts];
        let mut by = vec![false; self.hosts];
        for &host in hosts {
            of[host as usize] = self.held(host, host);
            by[host as usize] = true;
        }
        let lacks = |&at: &u32| {
            (0..self.hosts).filter(|&of_host| self.held[at as usize * self.hosts + of_host] < of[of_host]).count()
        };
        let missing = hosts.iter().map(lacks).sum();
        let reached_at = (missing == 0).then_some(now);
        self.goal = Some(Goal { of, by, missing, set_at: now, reached_at });
    }

    /// How long it took from setting the goal to reaching it.
    pub(super) fn goal_reached_after(&self) -> Option<Duration> {
        let goal = self.goal.as_ref()?;
        Some(goal.reached_at? - goal.set_at)
    }

    /// How many pairs of hosts lack something of the goal.
    pub(super) fn missing(&self) -> usize {
        self.goal.as_ref().map_or(0, |goal| goal.missing)
    }

    /// Notes that something happened that must not.
    pub(super) fn broken(&mut self, what: impl FnOnce() -> String) {
        self.broken_count += 1;
        if self.broken.len() < BROKEN_KEPT {
            self.broken.push(what());
        }
    }

    /// How often an invariant did not hold, and the first few cases.
    pub(super) fn violations(&self) -> (usize, &[String]) {
        (self.broken_count, &self.broken)
    }
}

impl Goal {
    fn reached(&mut self, before: Held, after: Held, at: u32, of: u32, now: Time) {
        let want = self.of[of as usize];
        let is_open = self.reached_at.is_none();
        if is_open && self.by[at as usize] && before < want && after >= want {
            self.missing -= 1;
            if self.missing == 0 {
                self.reached_at = Some(now);
            }
        }
    }
}

/// The host of a peer's name, see [`peer_id`].
pub(super) fn host_of(peer: PeerId) -> u32 {
    let bytes = peer.as_bytes();
    u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]])
}

/// A peer's name: random, and with its host's number at the end.
pub(super) fn peer_id(mut random: [u8; 32], host: u32) -> PeerId {
    random[28..].copy_from_slice(&host.to_le_bytes());
    PeerId::from_bytes(random)
}

/// The name of one run of a host.
pub(super) fn origin_id(peer: PeerId, epoch: u64) -> OriginId {
    OriginId { peer, epoch: Epoch(epoch) }
}
