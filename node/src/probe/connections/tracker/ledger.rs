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

    /// Of `count` of them, if all are alike.
    pub(super) fn share(self, count: u64) -> Self {
        let of = |sum: u64| {
            u64::try_from(u128::from(sum) * u128::from(count) / u128::from(self.count.max(1))).unwrap_or(sum)
        };
        Self { count, sent: of(self.sent), received: of(self.received), retransmits: of(self.retransmits) }
    }

    fn min(self, other: Self) -> Self {
        Self {
            count: self.count.min(other.count),
            sent: self.sent.min(other.sent),
            received: self.received.min(other.received),
            retransmits: self.retransmits.min(other.retransmits),
        }
    }
}

/// A flow and what its connections add up to. One that ends is told of twice, in either order: it is gone from the sockets, and
/// another source tells its end. In between it is *leaving* or *early*, so that the total counts it once at any time, and never
/// falls.
#[derive(Debug)]
struct Followed {
    flow: Flow,
    /// In the sockets, as of the last look.
    open: Sums,
    /// Gone from the sockets, their end not told: since the last beat, and before it.
    leaving: [Sums; 2],
    /// Their end was told, and they were perhaps among the open ones at the last look.
    early: Sums,
    ended: Sums,
    rtt_micros: u32,
    seen: Instant,
    /// When figures were last read.
    read_at: Instant,
    /// Total at the last beat that had figures to make rates of, and when those were read.
    at_beat: Sums,
    beat_at: Instant,
    sent_rate: u64,
    received_rate: u64,
}

impl Followed {
    fn new(flow: Flow, now: Instant, beat_at: Instant) -> Self {
        Self {
            flow,
            open: Sums::default(),
            leaving: Default::default(),
            early: Sums::default(),
            ended: Sums::default(),
            rtt_micros: 0,
            seen: now,
            read_at: now,
            at_beat: Sums::default(),
            beat_at,
            sent_rate: 0,
            received_rate: 0,
        }
    }

    fn total(&self) -> Sums {
        self.open.plus(self.leaving[0]).plus(self.leaving[1]).plus(self.ended).less(self.early)
    }

    /// Whether one is open as far as is known. One too few is counted while a connection that no look saw has ended beside an
    /// open one, which the next look mends: long before the flow fades for it.
    fn is_open(&self) -> bool {
        self.open.count > self.early.count
    }

    fn is_active(&self, now: Instant) -> bool {
        self.is_open() || now.saturating_duration_since(self.seen) < FADES_AFTER
    }

    /// Whether nothing was ever told of it but sockets that are another flow's now.
    fn is_void(&self) -> bool {
        self.open.count == 0 && self.ended.count == 0
    }

    /// A socket is gone whose end is told by another source.
    fn leave(&mut self, one: Sums) {
        self.open = self.open.less(one);
        let told = self.early.min(one);
        self.early = self.early.less(told);
        self.leaving[1] = self.leaving[1].plus(one.less(told));
    }

    fn end(&mut self, sums: Sums) {
        let mut left = sums;
        for leaving in &mut self.leaving {
            let known = leaving.min(left);
            *leaving = leaving.less(known);
            left = left.less(known);
        }
        self.early = self.early.plus(self.open.less(self.early).min(left));
        self.ended = self.ended.plus(sums);
    }

    /// Makes rates of what was carried between the last two readings. Without a reading for two beats nothing was.
    fn beat(&mut self, now: Instant) {
        // What nobody has told the end of by now has ended all the same.
        let [old, new] = self.leaving;
        self.ended = self.ended.plus(old);
        self.leaving = [new, Sums::default()];
        let elapsed = self.read_at.saturating_duration_since(self.beat_at);
        if !elapsed.is_zero() {
            let total = self.total();
            self.sent_rate = rate(total.sent.saturating_sub(self.at_beat.sent), elapsed);
            self.received_rate = rate(total.received.saturating_sub(self.at_beat.received), elapsed);
            (self.at_beat, self.beat_at) = (total, self.read_at);
        } else if self.open.count == 0 || now.saturating_duration_since(self.read_at) >= 2 * RATE_BEAT {
            (self.sent_rate, self.received_rate) = (0, 0);
            (self.at_beat, self.beat_at, self.read_at) = (self.total(), now, now);
        }
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
    /// Notes a trace of a flow, as of `now`; returns whether there was room for it.
    pub(super) fn see(&mut self, key: FlowKey, netns: Netns, far: &FarEnd, evidence: Evidence, now: Moment) -> bool {
        let is_full = self.flows.len() >= FLOWS_MAX;
        // What is new carried all it has since the last beat.
        let beat_at = self.beat_at.unwrap_or(now.clock);
        let followed = match self.flows.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(_) if is_full => return false,
            std::collections::hash_map::Entry::Vacant(new) => {
                self.last_serial = self.last_serial.wrapping_add(1);
                self.is_dirty = true;
                new.insert(Followed::new(Flow::new(key, self.last_serial, netns, now.at), now.clock, beat_at))
            }
        };
        followed.seen = followed.seen.max(now.clock);
        let flow = &mut followed.flow;
        let described = (far.via.or(flow.via), far.masquerade.or(flow.masquerade), flow.evidence | evidence);
        if described != (flow.via, flow.masquerade, flow.evidence) {
            (flow.via, flow.masquerade, flow.evidence) = described;
            self.is_dirty = true;
        }
        true
    }

    /// Counts an open connection. What it carried is traffic of now if it `is_new`; else it came before us, or was another
    /// flow's. The figures were read at `read_at`.
    pub(super) fn open(&mut self, key: &FlowKey, figures: Figures, is_new: bool, read_at: Instant) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.plus(Sums::one(figures));
        if !is_new {
            followed.at_beat = followed.at_beat.plus(Sums { count: 0, ..Sums::one(figures) });
        }
        followed.note_rtt(figures.rtt_micros);
        followed.read_at = followed.read_at.max(read_at);
    }

    /// Takes back what [`Ledger::open`] counted: it is another flow's.
    pub(super) fn take_back(&mut self, key: &FlowKey, figures: Figures) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.less(Sums::one(figures));
        followed.at_beat = followed.at_beat.less(Sums { count: 0, ..Sums::one(figures) });
    }

    /// Takes other figures of an open connection, which were read at `read_at`.
    pub(super) fn revise(&mut self, key: &FlowKey, old: Figures, new: Figures, read_at: Instant) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.less(Sums::one(old)).plus(Sums::one(new));
        followed.note_rtt(new.rtt_micros);
        followed.read_at = followed.read_at.max(read_at);
    }

    /// A connection is not open any more, and nothing else will tell of it.
    pub(super) fn close(&mut self, key: &FlowKey, figures: Figures) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.open = followed.open.less(Sums::one(figures));
        followed.ended = followed.ended.plus(Sums::one(figures));
    }

    /// A connection is not open any more; another source tells of its end, or has.
    pub(super) fn leave(&mut self, key: &FlowKey, figures: Figures) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.leave(Sums::one(figures));
    }

    /// Counts connections that ended. Some of them may be among the open ones still.
    pub(super) fn end(&mut self, key: &FlowKey, sums: Sums, rtt_micros: u32, now: Instant) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        followed.end(sums);
        followed.note_rtt(rtt_micros);
        // What the open ones carried is as of the last look.
        if followed.open.count == 0 {
            followed.read_at = now;
        }
    }

    /// The sockets of a namespace were looked at: what is open now has not ended.
    pub(super) fn looked_at(&mut self, netns: Netns) {
        for followed in self.flows.values_mut().filter(|it| it.early.count > 0 && it.flow.netns == netns) {
            followed.early = Sums::default();
        }
    }

    /// Forgets a flow that nothing but a socket told of which is another flow's now.
    pub(super) fn drop_if_void(&mut self, key: &FlowKey) {
        if self.flows.get(key).is_some_and(Followed::is_void) {
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

    /// Whether there is no room for another flow.
    pub(super) fn is_full(&self) -> bool {
        self.flows.len() >= FLOWS_MAX
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &FlowKey> {
        self.flows.keys()
    }

    /// Flows of processes by what they are about.
    pub(super) fn attributed(&self) -> HashMap<Relation, FlowKey> {
        let mut attributed = HashMap::new();
        for (key, followed) in self.flows.iter().filter(|(key, _)| matches!(key.owner, Owner::Process(_))) {
            // Of several processes with such a flow always the same.
            let first = attributed.entry(relation(followed.flow.netns, key)).or_insert(*key);
            *first = (*first).min(*key);
        }
        attributed
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
            if followed.is_open() {
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
            self.flows.values_mut().for_each(|followed| followed.beat(now.clock));
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
            gauges.opened.push(clamped(followed.total().count));
            gauges.sent.push(significant(followed.sent_rate));
            gauges.received.push(significant(followed.received_rate));
            gauges.rtt.push(clamped(significant(followed.rtt_micros.into())));
            gauges.retransmits.push(clamped(followed.total().retransmits));
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
        self.early = self.early.plus(other.early);
        self.leaving = [0, 1].map(|at| self.leaving[at].plus(other.leaving[at]));
        self.at_beat = self.at_beat.plus(other.at_beat);
        self.read_at = self.read_at.max(other.read_at);
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
