//! Who is alive: beats, silence, and forgetting.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::ChaCha8Rng;

use super::link::Link;
use super::peers::{Ix, ME, Peer};
use super::{BEAT_DELAY, BEAT_DELAY_LOST, Mesh, Offence, Output, Time, Timer};
use crate::head::{BEATS_PER_CHAIN, Beat, BeatChain, BeatCheck, Heard};
use crate::message::Message;
use crate::roster::{ROSTER_KEY, Roster};
use crate::{Epoch, Interval, OriginId};

/// A beat of each of a thousand peers in [`BEAT_MAX`] is 4 KB/s in and out; among few it is news that counts.
pub(super) const BEAT_MIN: Duration = Duration::from_secs(2);
pub(super) const BEAT_MAX: Duration = Duration::from_secs(5);
const BEAT_PER_PEER: Duration = Duration::from_millis(30);

/// What the way of a beat may take more than that of the one before: some hops that gather for company.
const SLACK: Duration = Duration::from_millis(1500);

/// After so much of the slack the neighbours are asked.
const ASK_AFTER: Duration = Duration::from_millis(1000);

/// How long a peer that is said to be lost has to be heard of again: a few hops that do not wait for company.
const LOST_FOR: Duration = Duration::from_millis(1000);

/// How often this peer says that it is not lost, however often others say that it is.
const ANSWER_EVERY: Duration = Duration::from_millis(200);

/// Origins whose beats may come forged over one link: that many may have lost their key to another machine.
const FORGED_MAX: usize = 3;

/// How often it is seen who has fallen silent.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Silence after which nobody expects a peer back at once.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// How a peer seems from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Heard of lately.
    Live,
    /// Overdue: it may have died, or be cut off.
    Suspect,
    /// Silent for long.
    Gone,
}

/// A chain of beats with a secret of its own.
pub(super) fn new_chain(rng: &mut ChaCha8Rng, origin: OriginId, number: u32) -> BeatChain {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    BeatChain::new(&seed, origin, number)
}

/// For how long nothing was heard of a peer, for the wire.
pub(super) fn silent_ms(now: Time, ix: Ix, peer: &Peer) -> u32 {
    if ix == ME { 0 } else { u32::try_from(now.saturating_sub(peer.heard).as_millis()).unwrap_or(u32::MAX) }
}

/// Who is about to be forgotten is not spoken of: those who have forgotten it already would hear of it again.
pub(super) fn is_nearly_forgotten(now: Time, ix: Ix, peer: &Peer, forget_after: Duration) -> bool {
    ix != ME && now.saturating_sub(peer.heard) > forget_after / 2
}

impl Mesh {
    /// The more peers, the slower the beat.
    pub(super) fn beat_every(&self) -> Duration {
        let peers = u32::try_from(self.rings.len()).unwrap_or(u32::MAX);
        BEAT_PER_PEER.saturating_mul(peers).clamp(BEAT_MIN, BEAT_MAX)
    }

    pub(super) fn beat_due(&mut self, now: Time, at: Time) {
        if self.next_beat != at {
            return;
        }
        let announced = self.peers[ME].beat_every;
        let wanted = self.beat_every();
        let count = self.peers[ME].beat.map_or(1, |beat| beat.count + 1);
        if count > BEATS_PER_CHAIN || wanted > announced * 9 / 8 || wanted * 9 / 8 < announced {
            self.new_chain(now);
        } else {
            self.beat(now, BEAT_DELAY);
        }
        self.next_beat = now + self.peers[ME].beat_every;
        self.arm(self.next_beat, Timer::Beat);
    }

    /// A sign of life, if this chain has one left.
    fn beat(&mut self, now: Time, delay: Duration) {
        let count = self.peers[ME].beat.map_or(1, |beat| beat.count + 1);
        if let Some(beat) = self.chain.beat(count) {
            self.peers[ME].beat = Some(beat);
            self.beaten = now;
            self.spread_beat(now, ME, delay);
        }
    }

    /// Goes on with another chain of beats, which is a new version.
    pub(super) fn new_chain(&mut self, now: Time) {
        let number = self.chain.number() + 1;
        self.chain = new_chain(&mut self.rng, self.origin, number);
        self.peers[ME].beat = None;
        self.say_roster(now);
    }

    /// A link broke, and nobody had said it would: tells all that the peer may have died, and that this one has not.
    pub(super) fn lost_link(&mut self, now: Time, ix: Ix) {
        if self.links.is_empty() {
            return;
        }
        self.beat(now, BEAT_DELAY_LOST);
        self.peers[ix].link_lost = Some(now);
        let last = self.last_beat(ix);
        self.lose(now, ix, last);
    }

    /// A beat may have been on its way when its peer died, and have been taken for a sign of life: says once more that it is
    /// lost. If it lives, it says so once more too.
    fn settle_loss(&mut self, now: Time, ix: Ix) {
        self.peers[ix].link_lost = None;
        if !self.links.contains_key(&ix) && self.peers[ix].lost.is_none() {
            let last = self.last_beat(ix);
            self.lose(now, ix, last);
        }
    }

    fn last_beat(&self, ix: Ix) -> (u32, u32) {
        self.peers[ix].check.map_or((0, 0), |check| (check.last().chain, check.last().count))
    }

    /// A neighbour of a peer, or a neighbour's neighbour, says that it is lost after this beat.
    pub(super) fn heard_of_loss(&mut self, now: Time, via: Ix, ix: Ix, after: (u32, u32)) {
        if ix == ME {
            let due = self.beaten + ANSWER_EVERY;
            if due <= now {
                self.beat(now, BEAT_DELAY_LOST);
            } else if due < self.next_beat {
                self.next_beat = due;
                self.arm(due, Timer::Beat);
            }
            return;
        }
        if self.last_beat(ix) > after {
            return self.asked_for_beat(now, via, ix, after);
        }
        if !self.links.contains_key(&ix) {
            self.lose(now, ix, after);
        }
    }

    fn lose(&mut self, now: Time, ix: Ix, after: (u32, u32)) {
        // Nobody can be sure of a later beat than the last one here: without this a liar could say so again and again.
        let after = after.min(self.last_beat(ix));
        let peer = &self.peers[ix];
        let is_known = peer.lost.is_some_and(|(since, before)| before >= after || since + LOST_FOR > now);
        if is_known || after < self.last_beat(ix) || peer.grave.is_some() || !peer.is_proven {
            return;
        }
        self.peers[ix].lost = Some((now, after));
        let (chain, count) = after;
        let neighbours: Vec<Ix> = self.links.keys().copied().filter(|to| *to != ix).collect();
        for to in neighbours {
            self.say(now, to, ix, |handle| Message::Lost { handle, chain, count });
        }
    }

    fn spread_beat(&mut self, now: Time, ix: Ix, delay: Duration) {
        let children = self.links.iter().filter(|(_, link)| link.of(ix).is_child);
        let children: Vec<Ix> = children.map(|(to, _)| *to).collect();
        for to in children {
            self.beat_to(now, to, ix, delay);
        }
    }

    pub(super) fn beat_to(&mut self, now: Time, to: Ix, ix: Ix, delay: Duration) {
        let due = now + delay;
        if let Some(link) = self.links.get_mut(&to)
            && link.queue_beat(ix, due)
        {
            self.arm(due, Timer::Link(to));
        }
    }

    pub(super) fn pass_beat(&mut self, now: Time, link: &mut Link, ix: Ix, frame: &mut Vec<u8>) {
        link.of_mut(ix).in_beats = false;
        if let Some(beat) = self.peers[ix].beat {
            let handle = self.handle_of(now, link, ix, frame);
            self.put(&Message::Beat { handle, beat }, frame);
        }
    }

    pub(super) fn heard_beat(&mut self, now: Time, via: Ix, ix: Ix, epoch: Epoch, beat: Beat) -> Result<(), Offence> {
        let peer = &mut self.peers[ix];
        if ix == ME || epoch != peer.beat_of {
            return Ok(());
        }
        let origin = OriginId { peer: peer.id, epoch };
        let Some(check) = &mut peer.check else { return Ok(()) };
        match check.check(origin, &beat) {
            // Not by the key it should be: of another machine with the same key, or made up by somebody on the way.
            Err(_) => {
                self.counters.forged_beats += 1;
                let Some(link) = self.links.get_mut(&via) else { return Ok(()) };
                link.useless += super::USELESS_STEP;
                link.faults += super::FAULTS_STEP;
                link.forged.insert(ix);
                if link.forged.len() > FORGED_MAX {
                    return Err(Offence::Forged);
                }
                if self.peers[ix].parent == Some(via) {
                    self.peers[ix].parent = None;
                    self.say(now, via, ix, |handle| Message::Prune { handle });
                    self.find_parent(now, ix);
                }
                Ok(())
            }
            Ok(Heard::UnknownChain) => Ok(()),
            Ok(Heard::Known) => {
                self.useless_beat(now, via, ix);
                Ok(())
            }
            Ok(Heard::Newer) if peer.grave.is_some() => {
                let alive = peer.claimed;
                self.prove(now, ix, alive);
                self.graft(now, via, ix);
                Ok(())
            }
            Ok(Heard::Newer) => {
                peer.beat = Some(beat);
                let parent_failed = peer.asked && peer.parent != Some(via);
                let delay = if peer.lost.is_some() || peer.asked { BEAT_DELAY_LOST } else { BEAT_DELAY };
                // Who answers has said before how long ago it heard of it.
                let alive = if parent_failed { peer.claimed } else { now };
                self.heard_at(now, ix, alive);
                self.spread_beat(now, ix, delay);
                if parent_failed {
                    self.graft(now, via, ix);
                }
                Ok(())
            }
        }
    }

    fn useless_beat(&mut self, now: Time, via: Ix, ix: Ix) {
        if let Some(link) = self.links.get_mut(&via) {
            link.useless += 1;
        }
        if self.peers[ix].parent != Some(via) {
            self.say(now, via, ix, |handle| Message::Prune { handle });
        }
    }

    pub(super) fn asked_for_beat(&mut self, now: Time, via: Ix, ix: Ix, theirs: (u32, u32)) {
        if self.peers[ix].beat.is_some_and(|beat| (beat.chain, beat.count) > theirs) {
            if let Some(link) = self.links.get_mut(&via) {
                // To be named again, with how long ago it was heard of.
                link.of_mut(ix).told = None;
            }
            self.beat_to(now, via, ix, Duration::ZERO);
            self.ready.insert(via);
        }
    }

    /// A sign of life at this moment.
    pub(super) fn heard_from(&mut self, now: Time, ix: Ix) {
        self.heard_at(now, ix, now);
    }

    /// A sign of life that may have been long on its way.
    pub(super) fn heard_at(&mut self, now: Time, ix: Ix, at: Time) {
        let peer = &mut self.peers[ix];
        if at > peer.heard {
            peer.heard = at;
            peer.asked = false;
            peer.lost = None;
        }
        self.see(now, ix, self.life_of(now, ix));
    }

    /// A peer is new here, or again.
    pub(super) fn met(&mut self, now: Time, ix: Ix) {
        let life = self.life_of(now, ix);
        self.peers[ix].life = life;
        let peer = &self.peers[ix];
        self.outputs.push_back(Output::Life { peer: peer.id, life });
        if life == Life::Live {
            self.rings.insert(peer.id, &peer.places, ix);
            self.neighbours_changed(now);
        }
    }

    fn see(&mut self, now: Time, ix: Ix, life: Life) {
        if std::mem::replace(&mut self.peers[ix].life, life) == life {
            return;
        }
        let peer = &self.peers[ix];
        self.outputs.push_back(Output::Life { peer: peer.id, life });
        let differs = match life {
            Life::Live => self.rings.insert(peer.id, &peer.places, ix),
            Life::Suspect | Life::Gone => self.rings.remove(peer.id, &peer.places),
        };
        if differs {
            self.neighbours_changed(now);
        }
    }

    fn life_of(&self, now: Time, ix: Ix) -> Life {
        let peer = &self.peers[ix];
        let is_lost = peer.lost.is_some_and(|(since, _)| since + LOST_FOR <= now);
        match now.saturating_sub(peer.heard) {
            silence if silence <= GONE_AFTER && is_lost => Life::Suspect,
            silence if silence <= peer.beat_every + SLACK => Life::Live,
            silence if silence <= GONE_AFTER => Life::Suspect,
            _ => Life::Gone,
        }
    }

    /// Sees who has fallen silent.
    pub(super) fn look_after_life(&mut self, now: Time) {
        let settled = |peer: &Peer| peer.link_lost.is_some_and(|since| since + LOST_FOR <= now);
        let settled: Vec<Ix> = self.peers.others().filter(|(_, peer)| settled(peer)).map(|(ix, _)| ix).collect();
        for ix in settled {
            self.settle_loss(now, ix);
        }
        let silent = |peer: &Peer| peer.lost.is_some() || now.saturating_sub(peer.heard) > peer.beat_every + ASK_AFTER;
        let silent: Vec<Ix> = self.peers.others().filter(|(_, peer)| silent(peer)).map(|(ix, _)| ix).collect();
        for ix in silent {
            if now.saturating_sub(self.peers[ix].heard) > self.config.forget_after && !self.links.contains_key(&ix) {
                self.forget(now, ix);
                continue;
            }
            let is_overdue = now.saturating_sub(self.peers[ix].heard) > self.peers[ix].beat_every + ASK_AFTER;
            if is_overdue && !std::mem::replace(&mut self.peers[ix].asked, true) {
                self.ask_all_for_beat(now, ix);
            }
            self.see(now, ix, self.life_of(now, ix));
        }
    }

    /// Asks all neighbours for a sign of life: the way it should have come may be broken.
    fn ask_all_for_beat(&mut self, now: Time, ix: Ix) {
        let neighbours: Vec<Ix> = self.links.keys().copied().collect();
        for to in neighbours {
            self.ask_for_beat(now, to, ix);
        }
    }

    pub(super) fn ask_for_beat(&mut self, now: Time, to: Ix, ix: Ix) {
        let (chain, count) = self.last_beat(ix);
        self.say(now, to, ix, |handle| Message::AskBeat { handle, chain, count });
    }

    fn forget(&mut self, now: Time, ix: Ix) {
        self.drop_pull(ix);
        let peer = &mut self.peers[ix];
        let id = peer.id;
        peer.grave = Some(peer.at);
        peer.head = None;
        peer.made.clear();
        peer.parts = None;
        peer.roster = None;
        peer.beat = None;
        peer.lost = None;
        peer.parent = None;
        self.rings.remove(id, &self.peers[ix].places);
        self.replica.forget(id);
        self.peers[ix].at = super::peers::At::default();
        for link in self.links.values_mut() {
            // If it comes back, with how long ago it was heard of.
            link.of_mut(ix).told = None;
        }
        self.neighbours_changed(now);
        self.outputs.push_back(Output::Forgotten { peer: id });
    }

    /// Reads what an origin says of its peer, if it is in the interval.
    pub(super) fn take_roster(&mut self, now: Time, ix: Ix, interval: &Interval) {
        let said = interval.changes().iter().rev().find(|change| change.key.as_bytes() == ROSTER_KEY);
        let Some(value) = said.and_then(|change| change.value.as_ref()) else { return };
        match Roster::decode(value) {
            Ok(roster) => {
                let peer = &mut self.peers[ix];
                let chain_of = |roster: &Roster| (roster.chain, roster.anchor);
                let is_other_chain = peer.roster.as_deref().map(chain_of) != Some(chain_of(&roster));
                let is_other_run = peer.beat_of != interval.origin().epoch;
                if is_other_chain || is_other_run {
                    peer.check = Some(BeatCheck::new(roster.chain, roster.anchor));
                    peer.beat = None;
                    peer.beat_of = interval.origin().epoch;
                }
                // Nobody is waited for for ever because it says so.
                peer.beat_every = Duration::from_millis(roster.beat_ms.into()).clamp(BEAT_MIN, 2 * BEAT_MAX);
                peer.roster = Some(Box::new(roster));
                self.neighbours_changed(now);
            }
            Err(error) => {
                tracing::debug!(peer = %self.peers[ix].id, %error, "says nothing of itself that is understood");
            }
        }
    }
}
