//! What origins wrote, as neighbours send it: checked, collected, applied.

use super::frames::FORWARD_BYTES_MAX;
use super::peers::{At, Collected, Ix, ME, Made};
use super::{FAULTS_STEP, Mesh, Offence, Output, Time, USELESS_STEP};
use crate::head::Head;
use crate::message::Message;
use crate::{Applied, ApplyError, Epoch, Interval, OriginId, Parts, Span, Version, wire};
use bytes::Bytes;

/// Versions in a row that a parent may be late with.
const MISSES_MAX: u8 = 2;

/// When to try again to hold what was too much.
const REFUSED_FOR: Time = Time::from_secs(10);

pub(super) struct Pushed {
    pub(super) head: Head,
    pub(super) span: Span,
    pub(super) payload: Bytes,
}

struct Whole {
    interval: Interval,
    head: Head,
    forward: Option<Made>,
    /// Who sent it, if it was one neighbour.
    by: Option<Ix>,
}

impl Mesh {
    pub(super) fn pushed(&mut self, now: Time, via: Ix, ix: Ix, epoch: Epoch, pushed: Pushed) -> Result<(), Offence> {
        let Pushed { head, span, payload } = pushed;
        self.counters.payload_received += payload.len() as u64;
        let peer = &self.peers[ix];
        let origin = OriginId { peer: peer.id, epoch };
        let reached = At { epoch, version: span.until };
        if head.version != span.complete_at {
            return Err(Offence::Malformed);
        }
        let is_known = reached <= peer.at || peer.grave.is_some_and(|grave| reached <= grave);
        if is_known && ix != ME {
            self.counters.duplicates += 1;
            self.useless_push(now, via, ix, reached);
            return Ok(());
        }
        let is_verified = ix != ME && epoch == peer.at.epoch && peer.head.as_ref() == Some(&head);
        if !is_verified && !head.verify(&*self.signatures, self.config.cluster, origin) {
            return Err(Offence::Forged);
        }
        if ix == ME {
            if reached > self.peers[ME].at {
                self.outputs.push_back(Output::Superseded { epoch });
            }
            return Ok(());
        }
        let changes = wire::decode_payload(&payload).map_err(|_| Offence::Malformed)?;
        let interval = Interval::new(origin, span, changes).map_err(|_| Offence::Malformed)?;
        let forward = (span.is_whole() && payload.len() <= FORWARD_BYTES_MAX).then(|| Made { span, payload, at: now });
        match self.collect_parts(now, via, ix, interval) {
            Some((whole, by)) => self.apply(now, via, ix, Whole { interval: whole, head, forward, by }),
            None => Ok(()),
        }
    }

    fn useless_push(&mut self, now: Time, via: Ix, ix: Ix, reached: At) {
        let link = self.link(via);
        link.useless += 1;
        link.of_mut(ix).at = link.of(ix).at.max(reached);
        let peer = &self.peers[ix];
        let is_answer = peer.pull.is_some_and(|pull| pull.via == via);
        if is_answer {
            self.answered(now, ix);
        } else if peer.parent != Some(via) {
            self.say(now, via, ix, |handle| Message::Prune { handle });
        }
    }

    /// The interval if it is whole, alone or with the parts before it, and who sent all of it; else asks for the next
    /// part.
    fn collect_parts(&mut self, now: Time, via: Ix, ix: Ix, interval: Interval) -> Option<(Interval, Option<Ix>)> {
        let (origin, span) = (interval.origin(), interval.span());
        let bytes_max = self.config.limits.bytes_per_origin_max;
        let is_answer = self.peers[ix].pull.is_some_and(|pull| pull.via == via);
        if !span.is_whole() && !is_answer {
            // Parts are collected when they were asked for.
            self.link(via).useless += 1;
            self.catch_up(now, ix);
            return None;
        }
        let peer = &mut self.peers[ix];
        let goes_on = |collected: &Collected| {
            let position = collected.parts.position();
            position.origin == origin && position.version == span.since
        };
        if span.is_whole() && !peer.parts.as_ref().is_some_and(|collected| goes_on(collected)) {
            return Some((interval, Some(via)));
        }
        let collected = peer.parts.take().filter(|collected| goes_on(collected));
        let mut collected = collected
            .unwrap_or_else(|| Box::new(Collected { parts: Parts::new(origin, span.since, bytes_max), by: Some(via) }));
        collected.by = collected.by.filter(|by| *by == via);
        if let Err(refused) = collected.parts.push(interval) {
            tracing::debug!(%refused, "begins again");
        } else if collected.parts.is_whole() {
            let by = collected.by;
            return collected.parts.into_interval().ok().map(|whole| (whole, by));
        } else {
            peer.parts = Some(collected);
            self.link(via).was_useful();
        }
        self.want(now, via, ix);
        None
    }

    fn apply(&mut self, now: Time, via: Ix, ix: Ix, whole: Whole) -> Result<(), Offence> {
        self.apply_to(now, via, ix, whole, false)
    }

    /// An interval did not lead to the state that was signed: asks again, best somebody else. The second time for all of
    /// it: what is held may be what the origin says no longer.
    fn begin_again(&mut self, now: Time, via: Ix, ix: Ix) {
        self.drop_pull(ix);
        let link = self.link(via);
        link.faults += FAULTS_STEP;
        link.useless += USELESS_STEP;
        let peer = &mut self.peers[ix];
        peer.needs_snapshot = std::mem::replace(&mut peer.was_misled, true);
        if peer.parent == Some(via) {
            peer.parent = None;
        }
        self.say(now, via, ix, |handle| Message::Prune { handle });
        self.catch_up(now, ix);
    }

    /// Applies what may be applied. `peer_was_forgotten`: what was held before contradicts it, and has been put aside.
    fn apply_to(&mut self, now: Time, via: Ix, ix: Ix, whole: Whole, peer_was_forgotten: bool) -> Result<(), Offence> {
        let Whole { interval, head, forward, by } = whole;
        let is_only_theirs = interval.is_snapshot() && by == Some(via);
        let held = self.replica.origin(interval.origin().peer).filter(|_| interval.is_snapshot());
        let differences = held.map(|held| held.differences(&interval));
        match self.replica.apply_signed(&interval, &head.state) {
            Ok(Applied::Changed(_) | Applied::Replaced) => {}
            Ok(Applied::Known) => {
                self.answered(now, ix);
                return Ok(());
            }
            Err(ApplyError::Gap { .. }) => {
                self.link(via).useless += USELESS_STEP;
                self.want(now, via, ix);
                return Ok(());
            }
            Err(ApplyError::Limit(refused)) => {
                tracing::warn!(%refused, "not taken");
                self.counters.refused += 1;
                self.peers[ix].refused_until = now + REFUSED_FOR;
                self.arm_peer(now + REFUSED_FOR, ix);
                self.answered(now, ix);
                return Ok(());
            }
            // The origin has said two things under one version: two machines have one key. The sender believes the other
            // one, and can prove it. What is held is put aside for it.
            Err(ApplyError::Equivocation { .. }) if interval.is_snapshot() && !peer_was_forgotten => {
                tracing::debug!(peer = %self.peers[ix].id, "says two things under one version");
                self.replica.forget(self.peers[ix].id);
                return self.apply_to(now, via, ix, Whole { interval, head, forward, by }, true);
            }
            // From a snapshot of one neighbour nobody else can be to blame.
            Err(_) if is_only_theirs => return Err(Offence::Forged),
            Err(refused) => {
                tracing::debug!(%refused, "begins again");
                self.begin_again(now, via, ix);
                return Ok(());
            }
        }
        self.counters.applied += 1;
        let held = self.peers[ix].at.version;
        self.hold(via, ix, &interval, head, forward);
        self.prove(now, ix, self.peers[ix].claimed);
        self.take_roster(now, ix, &interval);
        self.has_new(now, via, ix);
        self.outputs.push_back(Output::Changed { interval, held, differences });
        Ok(())
    }

    /// Keeps what goes with a state that was applied.
    fn hold(&mut self, via: Ix, ix: Ix, interval: &Interval, head: Head, forward: Option<Made>) {
        let at = At { epoch: interval.origin().epoch, version: interval.span().until };
        let peer = &mut self.peers[ix];
        if peer.at.epoch != at.epoch {
            peer.collect_next = Version::ZERO;
        }
        peer.at = at;
        peer.head = Some(head);
        peer.needs_snapshot = false;
        peer.was_misled = false;
        peer.parts = None;
        peer.made.clear();
        peer.made.extend(forward);
        let link = self.link(via);
        link.was_useful();
        let of = link.of_mut(ix);
        of.at = of.at.max(at);
    }

    /// After a new version is held: the parent is judged, the others are told.
    fn has_new(&mut self, now: Time, via: Ix, ix: Ix) {
        let is_answer = self.peers[ix].pull.is_some_and(|pull| pull.via == via);
        self.answered(now, ix);
        // What a neighbour had to be asked for may be old.
        let alive = if is_answer { self.peers[ix].claimed } else { now };
        self.heard_at(now, ix, alive);
        let peer = &mut self.peers[ix];
        peer.waits_until = None;
        let announced_by = peer.announced_by.take();
        match peer.parent {
            Some(parent) if parent == via => {
                peer.misses = 0;
                self.judge(now, ix, announced_by);
            }
            // Fetched, while the parent had it to send.
            Some(parent) if is_answer => {
                peer.misses = peer.misses.saturating_add(1);
                let is_enough = peer.misses >= MISSES_MAX;
                if let Some(link) = self.links.get_mut(&parent) {
                    link.faults += FAULTS_STEP;
                }
                if is_enough {
                    self.graft(now, via, ix);
                }
            }
            Some(_) => {}
            None => self.graft(now, via, ix),
        }
        self.spread(now, ix);
        self.catch_up_later(now, ix);
    }

    /// Somebody may hold more still, of which the parent will send us.
    fn catch_up_later(&mut self, now: Time, ix: Ix) {
        let at = self.peers[ix].at;
        let ahead = self.links.iter().find(|(_, link)| link.of(ix).at > at).map(|(via, _)| *via);
        if let Some(via) = ahead {
            self.consider(now, via, ix);
        }
    }

    /// A neighbour that announced before the parent delivered is the better parent. Announcements wait for company and
    /// pushes do not, so it is ahead by far.
    fn judge(&mut self, now: Time, ix: Ix, announced_by: Option<Ix>) {
        if let Some(better) = announced_by {
            self.graft(now, better, ix);
        }
    }
}
