//! The flows, with what they add up to. A flow keeps its number for as long as it is known, and is kept for a while after
//! the last trace of its connections, so that an edge fades rather than flickers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use topology::Netns;
use topology::fact::{Direction, Evidence, Flow, FlowKey, Owner, Protocol};
use topology::gauges::FlowGauges;

use super::translation::FarEnd;
use crate::probe::connections::sock_diag::Figures;
use crate::probe::pace::Moment;

/// Most flows kept of a host; new ones beyond that are left out, and the status says so.
pub(in crate::probe::connections) const FLOWS_MAX: usize = 20_000;

/// How long a flow counts as open after the last trace of a connection: a client that connects every ten seconds is one
/// that is connected.
pub(in crate::probe::connections) const FADES_AFTER: Duration = Duration::from_secs(12);

/// How long a flow outlives the last trace of its connections, fading.
pub(in crate::probe::connections) const LINGER: Duration = Duration::from_secs(45);

/// How often rates are made: as often as the figures of quiet connections are read.
pub(in crate::probe::connections) const RATE_BEAT: Duration = Duration::from_secs(5);

/// What connections add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe::connections) struct Sums {
    pub(in crate::probe::connections) count: u64,
    pub(in crate::probe::connections) sent: u64,
    pub(in crate::probe::connections) received: u64,
    pub(in crate::probe::connections) retransmits: u64,
}

impl Sums {
    /// Of one connection.
    pub(super) fn one(figures: Figures) -> Self {
        let Figures { sent, received, retransmits, .. } = figures;
        Self { count: 1, sent, received, retransmits: retransmits.into() }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
            retransmits: self.retransmits.saturating_add(other.retransmits),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            sent: self.sent.saturating_sub(other.sent),
            received: self.received.saturating_sub(other.received),
            retransmits: self.retransmits.saturating_sub(other.retransmits),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            count: self.count.max(other.count),
            sent: self.sent.max(other.sent),
            received: self.received.max(other.received),
            retransmits: self.retransmits.max(other.retransmits),
        }
    }
}

#[derive(Debug)]
struct Followed {
    flow: Flow,
    open: Sums,
    ended: Sums,
    /// The most that both together ever were: between two sources' looks a connection can be in neither or in both.
    total: Sums,
    rtt_micros: u32,
    seen: Instant,
    /// Total at the last rate beat; `None` before the first.
    at_beat: Option<Sums>,
    sent_rate: u64,
    received_rate: u64,
}

impl Followed {
    fn is_active(&self, now: Instant) -> bool {
        self.open.count > 0 || now.saturating_duration_since(self.seen) < FADES_AFTER
    }

    fn add_up(&mut self) {
        self.total = self.total.max(self.open.plus(self.ended));
    }

    fn beat(&mut self, elapsed: Duration) {
        if let Some(before) = self.at_beat {
            self.sent_rate = rate(self.total.sent.saturating_sub(before.sent), elapsed);
            self.received_rate = rate(self.total.received.saturating_sub(before.received), elapsed);
        }
        self.at_beat = Some(self.total);
    }
}

/// What a flow is about, whoever holds it.
pub(super) type Relation = (Netns, Direction, Protocol, IpAddr, u16);

pub(super) fn relation(netns: Netns, key: &FlowKey) -> Relation {
    (netns, key.direction, key.protocol, key.remote, key.port)
}

/// The flows of this host.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    flows: HashMap<FlowKey, Followed>,
    last_serial: u32,
    beat_at: Option<Instant>,
    /// Whether facts may be others than at the last call of `flows`.
    is_dirty: bool,
    told: Option<FlowGauges>,
}

impl Ledger {
    /// Notes a trace of a flow; returns whether there was room for it.
    pub(super) fn see(&mut self, key: FlowKey, netns: Netns, far: &FarEnd, evidence: Evidence, now: Moment) -> bool {
        let is_full = self.flows.len() >= FLOWS_MAX;
        let is_first_beat = self.beat_at.is_none();
        let followed = match self.flows.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if is_full => return false,
            std::collections::hash_map::Entry::Vacant(new) => {
                self.last_serial = self.last_serial.wrapping_add(1);
                self.is_dirty = true;
                // What a connection carried before we came is no traffic of now; of one that is new all of it is.
                let at_beat = (!is_first_beat).then(Sums::default);
                new.insert(Followed {
                    flow: Flow::new(key, self.last_serial, netns, now.at),
                    open: Sums::default(),
                    ended: Sums::default(),
                    total: Sums::default(),
                    rtt_micros: 0,
                    seen: now.clock,
                    at_beat,
                    sent_rate: 0,
                    received_rate: 0,
                })
            }
        };
        followed.seen = now.clock;
        let flow = &mut followed.flow;
        let described = (far.via.or(flow.via), far.masquerade.or(flow.masquerade), flow.evidence | evidence);
        if described != (flow.via, flow.masquerade, flow.evidence) {
            (flow.via, flow.masquerade, flow.evidence) = described;
            self.is_dirty = true;
        }
        true
    }

    /// Counts an open connection.
    pub(super) fn open(&mut self, key: &FlowKey, figures: Figures) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.plus(Sums::one(figures));
        followed.note_rtt(figures.rtt_micros);
    }

    /// Takes back what [`Ledger::open`] counted.
    pub(super) fn close(&mut self, key: &FlowKey, figures: Figures) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.less(Sums::one(figures));
    }

    /// Takes other figures of an open connection.
    pub(super) fn revise(&mut self, key: &FlowKey, old: Figures, new: Figures, now: Instant) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.less(Sums::one(old)).plus(Sums::one(new));
        followed.note_rtt(new.rtt_micros);
        followed.seen = now;
    }

    /// Counts connections that ended.
    pub(super) fn end(&mut self, key: &FlowKey, sums: Sums, rtt_micros: u32) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.ended = followed.ended.plus(sums);
        followed.note_rtt(rtt_micros);
    }

    /// Forgets a flow that nothing but a socket told of which is another flow's now.
    pub(super) fn drop_if_void(&mut self, key: &FlowKey) {
        if self.flows.get(key).is_some_and(|it| it.open.count == 0 && it.ended.count == 0) {
            self.flows.remove(key);
            self.is_dirty = true;
        }
    }

    /// Forgets a namespace's flow that sockets told of too briefly for their process to be found: what told of their end knew
    /// it, and has counted them.
    pub(super) fn drop_if_briefly_seen(&mut self, key: &FlowKey) {
        if matches!(key.owner, Owner::Netns(_)) {
            self.drop_if_void(key);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &FlowKey> {
        self.flows.keys()
    }

    /// Flows of processes by what they are about.
    pub(super) fn attributed(&self) -> HashMap<Relation, FlowKey> {
        let of_processes = self.flows.iter().filter(|(key, _)| matches!(key.owner, Owner::Process(_)));
        of_processes.map(|(key, followed)| (relation(followed.flow.netns, key), *key)).collect()
    }

    /// Gives each flow the owner that `owner` says, or forgets it; returns which flow went where.
    pub(super) fn reassign(&mut self, owner: impl Fn(&Flow) -> Option<Owner>) -> BTreeMap<FlowKey, Option<FlowKey>> {
        let moved: BTreeMap<FlowKey, Option<FlowKey>> = self
            .flows
            .iter()
            .map(|(key, followed)| (*key, owner(&followed.flow).map(|owner| FlowKey { owner, ..*key })))
            .filter(|(old, new)| Some(*old) != *new)
            .collect();
        for (old, new) in &moved {
            let Some(followed) = self.flows.remove(old) else { continue };
            self.is_dirty = true;
            let Some(new) = new else { continue };
            match self.flows.get_mut(new) {
                Some(heir) => heir.absorb(&followed),
                None => {
                    let flow = Flow { key: *new, ..followed.flow };
                    self.flows.insert(*new, Followed { flow, ..followed });
                }
            }
        }
        moved
    }

    /// Ends a round: rates are made if it is time, and flows that left no trace for long are forgotten.
    pub(super) fn settle(&mut self, now: Moment) {
        for followed in self.flows.values_mut() {
            followed.add_up();
            if followed.open.count > 0 {
                followed.seen = now.clock;
            }
            let is_active = followed.is_active(now.clock);
            self.is_dirty |= followed.flow.open != is_active;
            followed.flow.open = is_active;
        }
        let before = self.flows.len();
        self.flows.retain(|_, it| it.open.count > 0 || now.clock.saturating_duration_since(it.seen) < LINGER);
        self.is_dirty |= before != self.flows.len();
        let since = self.beat_at.map(|at| now.clock.saturating_duration_since(at));
        if since.is_none_or(|since| since >= RATE_BEAT) {
            for followed in self.flows.values_mut() {
                followed.beat(since.unwrap_or_default());
            }
            self.beat_at = Some(now.clock);
        }
    }

    /// Whether [`Ledger::flows`] differs from what it was at the last call of this.
    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values().map(|followed| &followed.flow)
    }

    /// Figures of all flows, if they are others than at the last call.
    pub(super) fn gauges_if_changed(&mut self, now: Moment) -> Option<FlowGauges> {
        let mut flows: Vec<&Followed> = self.flows.values().collect();
        flows.sort_unstable_by_key(|followed| followed.flow.serial);
        let mut gauges = FlowGauges::default();
        for followed in flows {
            gauges.serials.push(followed.flow.serial);
            gauges.open.push(clamped(followed.open.count));
            gauges.opened.push(clamped(followed.total.count));
            gauges.sent.push(significant(followed.sent_rate));
            gauges.received.push(significant(followed.received_rate));
            gauges.rtt.push(clamped(significant(followed.rtt_micros.into())));
            gauges.retransmits.push(clamped(followed.total.retransmits));
            gauges.idle.push(clamped(now.clock.saturating_duration_since(followed.seen).as_secs()));
        }
        (self.told.as_ref() != Some(&gauges)).then(|| {
            self.told = Some(gauges.clone());
            FlowGauges { at: now.at, ..gauges }
        })
    }
}

impl Followed {
    fn note_rtt(&mut self, micros: u32) {
        if micros > 0 {
            self.rtt_micros = micros;
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.open = self.open.plus(other.open);
        self.ended = self.ended.plus(other.ended);
        self.seen = self.seen.max(other.seen);
        self.flow.first_seen = self.flow.first_seen.min(other.flow.first_seen);
        self.flow.evidence |= other.flow.evidence;
        self.flow.via = self.flow.via.or(other.flow.via);
        self.flow.masquerade = self.flow.masquerade.or(other.flow.masquerade);
        self.at_beat = self.at_beat.zip(other.at_beat).map(|(own, others)| own.plus(others));
        self.total = self.total.plus(other.total);
    }
}

fn clamped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Per second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}

/// To two significant digits: what moves by less is no news, and no new bytes on the wire.
fn significant(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

#[cfg(test)]
impl Ledger {
    /// What was told last.
    pub(super) fn told_for_tests(&self) -> Option<FlowGauges> {
        self.told.clone()
    }
}
