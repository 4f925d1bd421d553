//! What neighbours say, and what is asked of them: trees, questions and answers.

use super::apply::Pushed;
use super::link::{Link, Named};
use super::peers::{At, Ix, ME, Pull};
use super::{
    DIGEST_EVERY, FAULTS_STEP, MUTE_AFTER, Mesh, Offence, PULL_RTTS, PULL_TIMEOUT, PULLS_MAX, Time, Timer,
    USELESS_STEP, WAIT, life, neighbours,
};
use crate::message::{From, Handle, Message};
use crate::{Epoch, OriginId, PeerId, Version, wire};
use bytes::Bytes;

/// How long a payload is kept for other children.
const MADE_FOR: Time = Time::from_secs(1);

/// Messages a second without use, such as what is known already, that a busy mesh may explain.
const USELESS_MAX: u32 = 20_000;

/// Statements to a neighbour that wait, at most: some for each origin there may be.
const CONTROL_MAX: usize = 16 * 1024;

impl Mesh {
    pub(super) fn received(&mut self, now: Time, from: PeerId, frame: &Bytes) {
        let Some(ix) = self.peers.find(from) else { return };
        let Some(link) = self.links.get_mut(&ix) else { return };
        link.bytes_in += frame.len() as u64;
        if link.greeted.is_some() {
            self.heard_from(now, ix); // it can be whatever it says
        }
        self.counters.frames_received += 1;
        for message in wire::decode(frame.clone()) {
            let taken = match message {
                Ok(message) => self.take(now, ix, message),
                Err(error) => {
                    tracing::debug!(peer = %from, %error, "unreadable frame");
                    Err(Offence::Malformed)
                }
            };
            if let Err(offence) = taken {
                return self.offend(now, ix, offence);
            }
            if !self.links.contains_key(&ix) {
                return;
            }
        }
        let is_flood = |link: &Link| link.useless > USELESS_MAX || link.control.len() > CONTROL_MAX;
        if self.links.get(&ix).is_some_and(is_flood) {
            self.offend(now, ix, Offence::Flood);
        }
    }

    fn take(&mut self, now: Time, via: Ix, message: Message) -> Result<(), Offence> {
        let greeted = self.links.get(&via).is_some_and(|link| link.greeted.is_some());
        if greeted == matches!(message, Message::Hello { .. }) {
            return Err(Offence::OutOfTurn);
        }
        match message {
            Message::Hello { origin, keep } => self.greeted(now, via, origin, keep),
            Message::Keep(keep) => {
                self.link(via).keep_theirs = keep;
                Ok(())
            }
            Message::Name { handle, origin, version, silent_ms } => {
                self.named(now, via, handle, At { epoch: origin.epoch, version }, origin.peer, silent_ms)
            }
            Message::Have { handle, version } => self.with(via, handle, |mesh, ix, epoch| {
                mesh.announced(now, via, ix, At { epoch, version });
                Ok(())
            }),
            Message::Want { handle, from } => self.with(via, handle, |mesh, ix, _| {
                mesh.asked(via, ix, from, false);
                Ok(())
            }),
            Message::Graft { handle, from } => self.with(via, handle, |mesh, ix, _| {
                mesh.grafted(now, via, ix, from);
                Ok(())
            }),
            Message::Prune { handle } => self.with(via, handle, |mesh, ix, _| {
                mesh.link(via).of_mut(ix).is_child = false;
                Ok(())
            }),
            Message::Push { handle, head, span, payload } => self
                .with(via, handle, |mesh, ix, epoch| mesh.pushed(now, via, ix, epoch, Pushed { head, span, payload })),
            Message::Beat { handle, beat } => {
                self.with(via, handle, |mesh, ix, epoch| mesh.heard_beat(now, via, ix, epoch, beat))
            }
            Message::AskBeat { handle, chain, count } => self.with(via, handle, |mesh, ix, _| {
                mesh.asked_for_beat(now, via, ix, (chain, count));
                Ok(())
            }),
            Message::Lost { handle, chain, count } => self.with(via, handle, |mesh, ix, _| {
                mesh.heard_of_loss(now, via, ix, (chain, count));
                Ok(())
            }),
            Message::Digest(theirs) => {
                self.compare(now, via, theirs);
                Ok(())
            }
        }
    }

    /// The link of a neighbour that has just sent something.
    pub(super) fn link(&mut self, via: Ix) -> &mut Link {
        self.links.get_mut(&via).expect("it is checked before each message")
    }

    /// Does something about the origin that a handle stands for, unless there is no room for that origin.
    fn with(
        &mut self,
        via: Ix,
        handle: Handle,
        act: impl FnOnce(&mut Mesh, Ix, Epoch) -> Result<(), Offence>,
    ) -> Result<(), Offence> {
        match self.link(via).meant(handle) {
            Some(Named::Row(ix, epoch)) => act(self, ix, epoch),
            Some(Named::Refused) => Ok(()),
            None => Err(Offence::OutOfTurn),
        }
    }

    fn greeted(&mut self, now: Time, via: Ix, origin: OriginId, keep: bool) -> Result<(), Offence> {
        if origin.peer != self.peers[via].id {
            return Err(Offence::OutOfTurn);
        }
        let link = self.link(via);
        link.greeted = Some(origin.epoch);
        link.keep_theirs = keep;
        // Who is here is alive, whatever was said of it.
        self.prove(now, via, now);
        self.heard_from(now, via);
        self.peers[via].dial.has_answered();
        Ok(())
    }

    fn named(
        &mut self,
        now: Time,
        via: Ix,
        handle: Handle,
        at: At,
        peer: PeerId,
        silent_ms: u32,
    ) -> Result<(), Offence> {
        let is_new = self.peers.find(peer).is_none();
        let silent = Time::from_millis(silent_ms.into()).min(now);
        let is_dead = is_new && silent >= self.config.forget_after;
        let row = if is_dead { None } else { self.row(peer, now - silent) };
        let named = row.map_or(Named::Refused, |ix| Named::Row(ix, at.epoch));
        let handles_max = self.config.limits.origins_max;
        if !self.link(via).name(handle, named, handles_max) {
            return Err(Offence::OutOfTurn);
        }
        if let Some(ix) = row {
            let alive = now - silent;
            self.peers[ix].claimed = self.peers[ix].claimed.max(alive);
            self.heard_of(now, via, ix, at);
        }
        Ok(())
    }

    /// A neighbour has come to hold this of an origin.
    fn announced(&mut self, now: Time, via: Ix, ix: Ix, at: At) {
        if at > self.peers[ix].at {
            self.peers[ix].claimed = now;
        }
        self.heard_of(now, via, ix, at);
    }

    /// A neighbour holds this of an origin.
    fn heard_of(&mut self, now: Time, via: Ix, ix: Ix, at: At) {
        let link = self.link(via);
        let is_child = link.of(ix).is_child;
        link.of_mut(ix).at = link.of(ix).at.max(at);
        let peer = &mut self.peers[ix];
        if peer.pull.is_some_and(|pull| pull.via == via) && at <= peer.at {
            // The answer to a question: it has no more than we.
            self.answered(now, ix);
        }
        let peer = &mut self.peers[ix];
        if ix == ME {
            if at > peer.at && peer.waits_until.is_none_or(|until| until <= now) {
                // Not by us in this run. Its signature will tell whether by our key.
                peer.waits_until = Some(now + PULL_TIMEOUT);
                self.want(now, via, ix);
            }
            return;
        }
        // That a forgotten one wrote more is to be proven first.
        if let Some(grave) = peer.grave
            && at <= grave
        {
            // Nothing that it wrote since; perhaps it has lived on in silence.
            if at == grave && peer.waits_until.is_none_or(|until| until <= now) {
                peer.waits_until = Some(now + PULL_TIMEOUT);
                self.ask_for_beat(now, via, ix);
            }
            return;
        }
        let peer = &self.peers[ix];
        if at > peer.at {
            self.consider(now, via, ix);
        } else if at == peer.at && at.version > Version::ZERO && (via == ix || (peer.parent.is_none() && !is_child)) {
            // Nobody has it earlier than who writes it.
            if peer.parent != Some(via) {
                self.graft(now, via, ix);
            }
        } else {
            self.link(via).useless += 1;
        }
    }

    /// A neighbour holds more than we do.
    pub(super) fn consider(&mut self, now: Time, via: Ix, ix: Ix) {
        if via == ix {
            // Nobody has it earlier than who writes it.
            self.drop_pull(ix);
        }
        let peer = &mut self.peers[ix];
        if peer.pull.is_some() || peer.refused_until > now {
            return;
        }
        match peer.parent {
            Some(parent) if parent != via && via != ix => {
                if peer.waits_until.is_none() {
                    peer.waits_until = Some(now + WAIT);
                    peer.announced_by = Some(via);
                    self.arm_peer(now + WAIT, ix);
                }
            }
            _ => self.graft(now, via, ix),
        }
    }

    /// Makes a neighbour the parent, and asks it for what it holds more.
    pub(super) fn graft(&mut self, now: Time, via: Ix, ix: Ix) {
        let from = self.position(ix);
        let at = self.peers[ix].at;
        let Some(link) = self.links.get_mut(&via) else { return };
        let has_more = link.of(ix).at > at;
        if has_more && link.pulls >= PULLS_MAX {
            self.backlog.insert(ix);
            return;
        }
        link.of_mut(ix).is_child = false;
        let old = self.peers[ix].parent.replace(via);
        self.peers[ix].misses = 0;
        if let Some(old) = old.filter(|old| *old != via) {
            self.say(now, old, ix, |handle| Message::Prune { handle });
        }
        if has_more {
            self.pulls(now, via, ix);
        }
        self.say(now, via, ix, |handle| Message::Graft { handle, from });
    }

    /// Asks a neighbour for what it holds more, this once.
    pub(super) fn want(&mut self, now: Time, via: Ix, ix: Ix) {
        let from = if ix == ME { From::of(&crate::Position::nothing(self.origin.peer)) } else { self.position(ix) };
        if ix != ME {
            if self.links.get(&via).is_none_or(|link| link.pulls >= PULLS_MAX) {
                self.backlog.insert(ix);
                return;
            }
            self.pulls(now, via, ix);
        }
        self.say(now, via, ix, |handle| Message::Want { handle, from });
    }

    fn pulls(&mut self, now: Time, via: Ix, ix: Ix) {
        self.drop_pull(ix);
        if let Some(link) = self.links.get_mut(&via) {
            link.pulls += 1;
        }
        let (useful, rtt) = self.links.get(&via).map_or((0, None), |link| (link.useful, link.rtt));
        let until = now + PULL_TIMEOUT + PULL_RTTS * rtt.unwrap_or_default();
        let peer = &mut self.peers[ix];
        peer.waits_until = None;
        peer.pull = Some(Pull { via, asked: now, until, useful });
        self.backlog.remove(&ix);
        self.arm_peer(until, ix);
    }

    pub(super) fn drop_pull(&mut self, ix: Ix) -> Option<Pull> {
        let pull = self.peers[ix].pull.take()?;
        if let Some(link) = self.links.get_mut(&pull.via) {
            link.pulls = link.pulls.saturating_sub(1);
        }
        Some(pull)
    }

    /// A question is answered: there is room for the next one.
    pub(super) fn answered(&mut self, now: Time, ix: Ix) {
        if let Some(pull) = self.drop_pull(ix) {
            if let Some(link) = self.links.get_mut(&pull.via) {
                link.answered = link.answered.max(pull.asked);
            }
            self.work_backlog(now);
        }
    }

    fn work_backlog(&mut self, now: Time) {
        let waiting: Vec<Ix> = self.backlog.iter().copied().take(2 * PULLS_MAX).collect();
        for ix in waiting {
            if self.links.values().all(|link| link.pulls >= PULLS_MAX) {
                return;
            }
            self.backlog.remove(&ix);
            self.catch_up(now, ix);
        }
    }

    /// Says something about an origin to a neighbour, in the order in which it is said.
    pub(super) fn say(&mut self, now: Time, to: Ix, ix: Ix, message: impl FnOnce(Handle) -> Message) {
        let Some(link) = self.links.get_mut(&to) else { return };
        let peer = &self.peers[ix];
        if link.of(ix).told != Some(peer.at.epoch) {
            let origin = OriginId { peer: peer.id, epoch: peer.at.epoch };
            link.of_mut(ix).told = Some(peer.at.epoch);
            let silent_ms = life::silent_ms(now, ix, peer);
            link.control.push(Message::Name { handle: Handle(ix.0), origin, version: peer.at.version, silent_ms });
        }
        link.control.push(message(Handle(ix.0)));
        self.ready.insert(to);
    }

    /// If some neighbour holds more of an origin, asks one; any that has the fewest questions already.
    pub(super) fn catch_up(&mut self, now: Time, ix: Ix) {
        let peer = &self.peers[ix];
        if ix == ME || peer.pull.is_some() || peer.refused_until > now {
            return;
        }
        let at = peer.grave.unwrap_or(peer.at);
        let has_more = self.links.iter().filter(|(_, link)| link.of(ix).at > at);
        let best = has_more.min_by_key(|(via, link)| (link.faults / FAULTS_STEP, link.pulls, **via));
        let Some(via) = best.map(|(via, _)| *via) else { return };
        match peer.parent {
            Some(parent) if parent != via && self.links.contains_key(&parent) => self.want(now, via, ix),
            _ => self.graft(now, via, ix),
        }
    }

    /// Grafts a neighbour that holds what we hold, for an origin that has no parent. Prefers the origin itself; children
    /// are out of the question, they have it from us.
    pub(super) fn find_parent(&mut self, now: Time, ix: Ix) {
        use rand::seq::IteratorRandom as _;
        let peer = &self.peers[ix];
        if ix == ME || peer.parent.is_some() || peer.grave.is_some() {
            return;
        }
        let fits = |link: &Link| {
            let of = link.of(ix);
            of.at >= peer.at && of.at.version > Version::ZERO && (!of.is_child || of.at > peer.at)
        };
        let via = if self.links.get(&ix).is_some_and(fits) {
            Some(ix)
        } else {
            let fitting = self.links.iter().filter(|(_, link)| fits(link));
            let fewest = fitting.clone().map(|(_, link)| link.faults / FAULTS_STEP).min();
            let fitting = fitting.filter(|(_, link)| Some(link.faults / FAULTS_STEP) == fewest);
            fitting.map(|(via, _)| *via).choose(&mut self.rng)
        };
        if let Some(via) = via {
            self.graft(now, via, ix);
        }
    }

    /// Those who live and have no parent get one.
    pub(super) fn look_after_parents(&mut self, now: Time) {
        let orphans = self.peers.others().filter(|(_, peer)| peer.parent.is_none() && peer.at.version > Version::ZERO);
        let orphans: Vec<Ix> = orphans.map(|(ix, _)| ix).collect();
        for ix in orphans {
            self.find_parent(now, ix);
        }
        for peer in self.peers.iter_mut() {
            peer.made.retain(|made| made.at + MADE_FOR > now);
        }
        self.work_backlog(now);
    }

    /// A neighbour asks for what follows a position.
    fn asked(&mut self, via: Ix, ix: Ix, from: From, as_child: bool) {
        let link = self.link(via);
        let of = link.of_mut(ix);
        of.is_cut = false;
        of.wants = Some(from);
        if as_child {
            of.is_child = true;
            of.at = At { epoch: from.epoch, version: from.version };
        }
        link.queue_push(ix);
        self.ready.insert(via);
    }

    fn grafted(&mut self, now: Time, via: Ix, ix: Ix, from: From) {
        let theirs = At { epoch: from.epoch, version: from.version };
        let mine = self.peers[ix].at;
        let of = *self.link(via).of_mut(ix);
        // What a child was sent since then is on its way.
        let is_on_its_way = of.is_child && !of.is_cut && of.at >= theirs;
        if theirs < mine && !is_on_its_way {
            self.asked(via, ix, from, true);
        } else {
            let link = self.link(via);
            let of = link.of_mut(ix);
            of.is_child = true;
            of.is_cut = false;
            of.at = of.at.max(theirs);
            link.queue_push(ix);
            self.ready.insert(via);
        }
        if self.peers[ix].beat.is_some() {
            self.beat_to(now, via, ix, super::BEAT_DELAY_LOST);
        }
        // Two who each wait for the other hear nothing.
        if self.peers[ix].parent == Some(via) {
            self.peers[ix].parent = None;
            self.find_parent(now, ix);
        }
    }

    fn compare(&mut self, now: Time, via: Ix, theirs: [u8; 16]) {
        let link = self.link(via);
        if link.compared + DIGEST_EVERY / 6 > now {
            link.useless += USELESS_STEP;
            return;
        }
        link.compared = now;
        if self.replica.digest().hash() == theirs {
            return;
        }
        let held: Vec<Ix> = self.peers.all().filter(|ix| self.peers[*ix].at.version > Version::ZERO).collect();
        let link = self.link(via);
        for ix in held {
            // What they are thought to hold may be wrong.
            link.of_mut(ix).must_tell = true;
            link.queue_have(ix, now);
        }
        self.ready.insert(via);
    }

    // What takes too long.

    pub(super) fn arm_peer(&mut self, at: Time, ix: Ix) {
        let peer = &mut self.peers[ix];
        if at < peer.armed {
            peer.armed = at;
            self.arm(at, Timer::Peer(ix));
        }
    }

    pub(super) fn peer_due(&mut self, now: Time, at: Time, ix: Ix) {
        if self.peers[ix].armed != at {
            return;
        }
        self.peers[ix].armed = Time::MAX;
        if let Some(pull) = self.peers[ix].pull.filter(|pull| pull.until <= now) {
            self.unanswered(now, ix, pull);
        }
        if self.peers[ix].waits_until.is_some_and(|until| until <= now) {
            self.parent_is_late(now, ix);
        }
        let peer = &self.peers[ix];
        if peer.refused_until != Time::ZERO && peer.refused_until <= now {
            self.peers[ix].refused_until = Time::ZERO;
            self.catch_up(now, ix);
        }
        let peer = &self.peers[ix];
        let refused = Some(peer.refused_until).filter(|until| *until > now);
        let next = [peer.pull.map(|pull| pull.until), peer.waits_until, refused].into_iter().flatten().min();
        if let Some(next) = next {
            self.arm_peer(next, ix);
        }
    }

    fn unanswered(&mut self, now: Time, ix: Ix, pull: Pull) {
        let is_slow =
            |link: &Link| link.useful > pull.useful && link.answered <= pull.asked && now < pull.asked + MUTE_AFTER;
        if self.links.get(&pull.via).is_some_and(is_slow) {
            // It delivers, and has passed over no question: its line is slow. To ask elsewhere would bring the same twice.
            let asked = pull.asked;
            self.pulls(now, pull.via, ix);
            if let Some(pull) = &mut self.peers[ix].pull {
                pull.asked = asked;
            }
            return;
        }
        self.drop_pull(ix);
        let peer = &mut self.peers[ix];
        if peer.parent == Some(pull.via) {
            peer.parent = None;
        }
        let at = peer.at;
        if let Some(link) = self.links.get_mut(&pull.via) {
            // It says so, and does not send it: ask another.
            link.of_mut(ix).at = link.of(ix).at.min(at);
            link.faults += 1;
            if *link.mute_since.get_or_insert(now) + MUTE_AFTER <= now {
                self.offend(now, pull.via, Offence::Mute);
            }
        }
        self.catch_up(now, ix);
        self.work_backlog(now);
    }

    fn parent_is_late(&mut self, now: Time, ix: Ix) {
        self.peers[ix].waits_until = None;
        self.catch_up(now, ix);
    }

    /// The peer has proven that it is, or that it was alive after it was forgotten.
    pub(super) fn prove(&mut self, now: Time, ix: Ix, alive: Time) {
        let peer = &mut self.peers[ix];
        let was_forgotten = peer.grave.take().is_some();
        let was_proven = std::mem::replace(&mut peer.is_proven, true);
        if was_forgotten {
            peer.waits_until = None;
            peer.heard = alive;
        }
        if was_forgotten || !was_proven {
            self.met(now, ix);
        }
    }

    pub(super) fn links_to(&mut self, now: Time, ix: Ix, address: std::net::SocketAddr, dialed: bool) {
        self.peers[ix].dial.reached(now, dialed.then_some(address));
        if let Some(hint) = self.hints.get_mut(&address) {
            *hint = neighbours::Hint::of(now, ix);
        }
    }
}
