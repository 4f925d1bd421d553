//! The flows, with what they add up to. A flow keeps its number for as long as it is known, and is kept for a while after
//! the last trace of its connections, so that an edge fades rather than flickers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use topology::Netns;
use topology::fact::{Direction, Evidence, Flow, FlowKey, Owner, Protocol};
use topology::gauges::FlowGauges;

use super::followed::{Claim, Counted, Followed, Part, RATE_BEAT};
use super::sums::Sums;
use super::translation::FarEnd;
use crate::probe::pace::Moment;

/// Most flows kept of a host; new ones beyond that are left out, and the status says so.
pub(in crate::probe::connections) const FLOWS_MAX: usize = 20_000;

/// How long a flow outlives the last trace of its connections, fading.
pub(in crate::probe::connections) const LINGER: Duration = Duration::from_secs(45);

/// What a flow is about, whoever holds it.
pub(super) type Relation = (Netns, Direction, Protocol, IpAddr, u16);

/// What a flow is about by the name its client used: what several servers behind one address have in common, and a
/// connection has before its translation is known and after.
type Name = Relation;

/// Flows by name.
pub(super) type ByName = HashMap<Name, Vec<FlowKey>>;

/// Connections that ended, as a source tells.
pub(super) struct Told {
    pub(super) sums: Sums,
    /// 0 if none was measured.
    pub(super) rtt_micros: u32,
    /// Whether they may be another flow's.
    pub(super) is_guess: bool,
}

pub(super) fn relation(netns: Netns, key: &FlowKey) -> Relation {
    (netns, key.direction, key.protocol, key.remote, key.port)
}

fn name(flow: &Flow) -> Name {
    let FlowKey { direction, protocol, remote, port, .. } = flow.key;
    match (direction, flow.via) {
        (Direction::Outgoing, Some(named)) => (flow.netns, direction, protocol, named.ip(), named.port()),
        _ => (flow.netns, direction, protocol, remote, port),
    }
}

/// The flows of this host.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    flows: HashMap<FlowKey, Followed>,
    last_serial: u32,
    beat_at: Option<Instant>,
    /// Whether facts may be others than at the last call of `flows`.
    is_dirty: bool,
    /// Whether connections came or went since the last call of `take_moved`.
    has_moved: bool,
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
    pub(super) fn open(&mut self, one: &Counted, is_new: bool, read_at: Instant) {
        let Some(followed) = self.flows.get_mut(&one.flow) else { return };
        self.has_moved = true;
        followed.open = followed.open.plus(one.part());
        if !is_new {
            followed.at_beat = followed.at_beat.plus(one.carried());
        }
        followed.note_rtt(one.figures.rtt_micros);
        followed.read_at = followed.read_at.max(read_at);
    }

    /// Takes back what [`Ledger::open`] counted: it is another flow's. Returns what of it was told to have ended. A flow of
    /// which nothing else was ever told is forgotten.
    pub(super) fn take_back(&mut self, one: &Counted) -> Part {
        let Some(followed) = self.flows.get_mut(&one.flow) else { return Part::default() };
        followed.shut(one);
        followed.at_beat = followed.at_beat.less(one.carried());
        let told = followed.take_surplus();
        self.drop_if_void(&one.flow);
        told
    }

    /// Takes what [`Ledger::take_back`] returned for the flow that has the connection now.
    pub(super) fn take_told(&mut self, key: &FlowKey, told: Part) {
        if let Some(followed) = self.flows.get_mut(key) {
            followed.take_told(told);
        }
    }

    /// Takes an open connection as it is `now`, which is the same flow's. The figures were read at `read_at`.
    pub(super) fn revise(&mut self, before: &Counted, now: &Counted, read_at: Instant) {
        let Some(followed) = self.flows.get_mut(&now.flow) else { return };
        followed.open = followed.open.less(before.part()).plus(now.part());
        followed.note_rtt(now.figures.rtt_micros);
        followed.read_at = followed.read_at.max(read_at);
    }

    /// A connection is not open any more, and nothing else will tell of it.
    pub(super) fn close(&mut self, one: &Counted) {
        let Some(followed) = self.flows.get_mut(&one.flow) else { return };
        self.has_moved = true;
        followed.shut(one);
        followed.ended = followed.ended.plus(Sums::one(one.figures));
    }

    /// A connection is not open any more; another source tells of its end, or has: as that of this flow, or of one of `early`
    /// that has the same name, if either is a guess.
    pub(super) fn leave(&mut self, one: &Counted, early: &ByName) {
        let Some(followed) = self.flows.get_mut(&one.flow) else { return };
        self.has_moved = true;
        followed.shut(one);
        let mut rest = followed.take_early(Sums::one(one.figures), Claim::Own);
        let claim = if one.is_guess { Claim::Any } else { Claim::Guessed };
        let name = name(&followed.flow);
        for other in early.get(&name).into_iter().flatten().filter(|other| **other != one.flow) {
            if rest.count == 0 {
                break;
            }
            rest = self.flows.get_mut(other).map_or(rest, |other| other.take_early(rest, claim));
        }
        if let Some(followed) = self.flows.get_mut(&one.flow) {
            // Bytes beyond those of the end that was told are that end's too.
            if rest.count > 0 {
                followed.leave(Part { sums: rest, guessed: one.is_guess.into() });
            }
        }
        if one.is_guess {
            self.drop_if_empty(&one.flow);
        }
    }

    /// Counts connections that ended. They are among those that are gone from the sockets, or else among the open ones still,
    /// unless no look ever saw them: those of this flow, or of `others` that have the same name, where either is a guess. What
    /// is guessed to have ended here is then what ended there.
    pub(super) fn end(&mut self, key: &FlowKey, told: &Told, others: &ByName, now: Instant) {
        let Some(followed) = self.flows.get_mut(key) else { return };
        self.has_moved = true;
        followed.ended = followed.ended.plus(told.sums);
        let mut left = followed.take_leaving(told.sums, Claim::Own);
        followed.note_rtt(told.rtt_micros);
        // What the open ones carried is as of the last look.
        if followed.open.sums.count == 0 {
            followed.read_at = now;
        }
        let claim = if told.is_guess { Claim::Any } else { Claim::Guessed };
        let name = name(&followed.flow);
        let others = || others.get(&name).into_iter().flatten().filter(|other| *other != key);
        let mut mistaken = Sums::default();
        for other in others() {
            let before = left.count;
            left = self.flows.get_mut(other).map_or(left, |other| other.take_leaving(left, claim));
            if told.is_guess {
                mistaken = mistaken.plus(self.ended_there(other, told.sums.share(before - left.count), now));
            }
        }
        if let Some(followed) = self.flows.get_mut(key) {
            followed.ended = followed.ended.less(mistaken);
            left = followed.expect_gone(left, Claim::Own);
        }
        if told.is_guess {
            self.drop_if_empty(key);
        }
        for other in others() {
            if left.count > 0 {
                left = self.flows.get_mut(other).map_or(left, |other| other.expect_gone(left, claim));
            }
            self.drop_if_empty(other);
        }
    }

    /// Counts what was guessed to have ended elsewhere, and ended here; returns it.
    fn ended_there(&mut self, key: &FlowKey, sums: Sums, now: Instant) -> Sums {
        if let Some(followed) = self.flows.get_mut(key).filter(|_| sums.count > 0) {
            followed.ended = followed.ended.plus(sums);
            followed.seen = followed.seen.max(now);
        }
        sums
    }

    /// The sockets of these namespaces were looked at: what is open now has not ended.
    pub(super) fn looked_at(&mut self, namespaces: &BTreeSet<Netns>) {
        for followed in self.flows.values_mut().filter(|it| namespaces.contains(&it.flow.netns)) {
            followed.early = Part::default();
        }
    }

    /// Forgets a flow that nothing but a socket told of which is another flow's now.
    fn drop_if_void(&mut self, key: &FlowKey) {
        if self.flows.get(key).is_some_and(Followed::is_void) {
            self.flows.remove(key);
            self.is_dirty = true;
        }
    }

    /// The same of one whose connections were all another's.
    fn drop_if_empty(&mut self, key: &FlowKey) {
        if self.flows.get(key).is_some_and(|followed| !followed.has_some()) {
            self.drop_if_void(key);
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

    pub(super) fn len(&self) -> usize {
        self.flows.len()
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

    /// Flows with connections whose end may be told as another flow's.
    pub(super) fn with_some(&self) -> ByName {
        self.by_name(Followed::has_some)
    }

    /// Flows of which ends were told that no look has shown yet.
    pub(super) fn with_early(&self) -> ByName {
        self.by_name(|followed| followed.early.sums.count > 0)
    }

    /// Namespaces of such flows.
    pub(super) fn doubtful(&self) -> BTreeSet<Netns> {
        self.flows.values().filter(|followed| followed.early.sums.count > 0).map(|it| it.flow.netns).collect()
    }

    fn by_name(&self, is_meant: impl Fn(&Followed) -> bool) -> ByName {
        let mut flows = ByName::new();
        for (key, followed) in self.flows.iter().filter(|(_, followed)| is_meant(followed)) {
            flows.entry(name(&followed.flow)).or_default().push(*key);
        }
        // The same are asked first at any time.
        flows.values_mut().for_each(|keys| keys.sort_unstable());
        flows
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
            let Some(mut followed) = self.flows.remove(old) else { continue };
            self.is_dirty = true;
            let Some(new) = new else { continue };
            followed.doubt();
            match self.flows.get_mut(new) {
                Some(heir) => heir.absorb(&followed),
                None => {
                    followed.flow.key = *new;
                    self.flows.insert(*new, followed);
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
        self.flows.retain(|_, it| it.open.sums.count > 0 || now.clock.saturating_duration_since(it.seen) < LINGER);
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

    /// Whether connections came or went since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
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
            gauges.open.push(clamped(followed.open.sums.count));
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

fn clamped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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
