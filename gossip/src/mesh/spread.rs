//! Who is told what, and what is made of what others tell: links, trees, questions and answers.

use bytes::Bytes;

use super::link::{Link, Named};
use super::neighbours;
use super::peers::{At, Collected, Ix, ME, Made, Pull};
use super::{
    DIGEST_EVERY, FAULTS_STEP, HAVE_DELAY, INTERVAL_BYTES, MUTE_AFTER, Mesh, Offence, Output, PULL_RTTS, PULL_TIMEOUT,
    PULLS_MAX, Time, Timer, USELESS_STEP, WAIT, Why, life,
};
use crate::head::Head;
use crate::message::{From, Handle, Message};
use crate::{Answer, Applied, ApplyError, Epoch, Interval, OriginId, Parts, PeerId, Span, Version, wire};

/// A frame is closed when it is longer.
const FRAME_BYTES: usize = 64 * 1024;

/// The longest payload that is passed on as it came; longer ones are made anew, in parts.
const FORWARD_BYTES_MAX: usize = FRAME_BYTES;

/// How long a payload is kept for other children.
const MADE_FOR: Time = Time::from_secs(1);

/// Encoded intervals that are kept of one origin.
const MADE_MAX: usize = 4;

/// Versions in a row that a parent may be late with.
const MISSES_MAX: u8 = 2;

/// Messages a second without use, such as what is known already, that a busy mesh may explain.
const USELESS_MAX: u32 = 20_000;

/// Statements to a neighbour that wait, at most: some for each origin there may be.
const CONTROL_MAX: usize = 16 * 1024;

/// When to try again to hold what was too much.
const REFUSED_FOR: Time = Time::from_secs(10);

impl Mesh {
    // Links.

    pub(super) fn up(&mut self, now: Time, peer: PeerId, address: std::net::SocketAddr, dialed: bool) {
        let Some(ix) = self.row(peer, now) else {
            self.outputs.push_back(Output::Disconnect { peer, why: Why::Unwanted });
            return;
        };
        if ix == ME || self.peers[ix].dial.banned_until > now {
            let why = if ix == ME { Why::Unwanted } else { Why::Misbehaved(Offence::OutOfTurn) };
            self.outputs.push_back(Output::Disconnect { peer, why });
            return;
        }
        self.links_to(now, ix, address, dialed);
        self.down(now, ix);
        if self.links.is_empty() {
            // Who has forgotten this peer takes only what is newer than what it had. How long it was alone is no matter:
            // the clock of a machine that slept has slept too.
            self.new_chain(now);
        }
        let mut link = Link::new(address, dialed, now);
        link.control.push(Message::Hello { origin: self.origin, keep: true });
        // To name what one holds is to say one's digest.
        for ix in self.peers.all() {
            link.queue_have(ix, now);
        }
        self.links.insert(ix, link);
        self.ready.insert(ix);
        self.neighbours_changed(now);
    }

    /// The row of a peer, if there is room; of a new one, with when it was heard of.
    fn row(&mut self, peer: PeerId, heard: Time) -> Option<Ix> {
        if let Some(ix) = self.peers.find(peer) {
            return Some(ix);
        }
        let links = &self.links;
        let (ix, is_reused) = self.peers.add(peer, heard, |ix| links.contains_key(&ix))?;
        if is_reused {
            self.forget_row(ix);
        }
        Some(ix)
    }

    /// Another peer has this row now.
    fn forget_row(&mut self, ix: Ix) {
        self.backlog.remove(&ix);
        self.hints.retain(|_, hint| !hint.is_of(ix));
        self.links.values_mut().for_each(|link| link.forget(ix));
        for peer in self.peers.iter_mut() {
            peer.announced_by = peer.announced_by.filter(|link| *link != ix);
        }
    }

    /// Forgets a link, and finds other ways for what came over it.
    pub(super) fn down(&mut self, now: Time, gone: Ix) {
        let Some(link) = self.links.remove(&gone) else { return };
        self.ready.remove(&gone);
        let concerned: Vec<Ix> =
            self.peers.named().filter(|(_, peer)| peer.depends_on(gone)).map(|(ix, _)| ix).collect();
        for ix in concerned {
            let peer = &mut self.peers[ix];
            peer.announced_by = peer.announced_by.filter(|link| *link != gone);
            peer.pull = peer.pull.filter(|pull| pull.via != gone);
            if peer.parent == Some(gone) {
                peer.parent = None;
                self.find_parent(now, ix);
            } else {
                self.catch_up(now, ix);
            }
        }
        if link.greeted.is_some() && (link.keep_ours || link.keep_theirs) {
            self.lost_link(now, gone);
        }
        self.neighbours_changed(now);
    }

    pub(super) fn sent(&mut self, now: Time, to: PeerId, bytes: usize) {
        if let Some((ix, link)) = self.peers.find(to).and_then(|ix| Some((ix, self.links.get_mut(&ix)?))) {
            link.left(now, bytes);
            self.ready.insert(ix);
        }
    }

    pub(super) fn link_due(&mut self, now: Time, at: Time, ix: Ix) {
        if self.links.get(&ix).is_some_and(|link| link.due == Some(at) && at <= now) {
            self.ready.insert(ix);
        }
    }

    // What is held is new: tell the others.

    /// Tells all neighbours of the version that is held of an origin.
    pub(super) fn spread(&mut self, now: Time, ix: Ix) {
        let at = self.peers[ix].at;
        for (&to, link) in &mut self.links {
            let of = link.of(ix);
            if of.at >= at {
                continue;
            }
            if of.is_child && !of.is_cut {
                link.queue_push(ix);
                self.ready.insert(to);
            } else if link.queue_have(ix, now + HAVE_DELAY) {
                self.timers.push(std::cmp::Reverse((now + HAVE_DELAY, Timer::Link(to))));
            }
        }
    }

    /// Sends what is due and fits in the credit.
    pub(super) fn flush(&mut self, now: Time) {
        while let Some(ix) = self.ready.pop_first() {
            while let Some(frame) = self.next_frame(now, ix) {
                let to = self.peers[ix].id;
                let link = self.links.get_mut(&ix).expect("it has just made a frame");
                link.hand_over(now, frame.len());
                self.counters.frames_sent += 1;
                self.outputs.push_back(Output::Send { to, frame: frame.into() });
            }
        }
    }

    fn next_frame(&mut self, now: Time, ix: Ix) -> Option<Vec<u8>> {
        let mut link = self.links.remove(&ix)?;
        let has_credit = link.has_credit();
        let frame = (has_credit && link.is_urgent(now)).then(|| self.fill(now, &mut link));
        self.links.insert(ix, link);
        frame.filter(|frame| !frame.is_empty())
    }

    fn fill(&mut self, now: Time, link: &mut Link) -> Vec<u8> {
        let mut frame = Vec::new();
        let control = std::mem::take(&mut link.control);
        let mut rest = control.into_iter();
        for message in rest.by_ref() {
            self.put(&message, &mut frame);
            if frame.len() >= FRAME_BYTES {
                break;
            }
        }
        link.control = rest.collect();
        while frame.len() < FRAME_BYTES
            && let Some(ix) = link.haves.pop_front()
        {
            self.announce(now, link, ix, &mut frame);
        }
        while frame.len() < FRAME_BYTES
            && let Some(ix) = link.beats.pop_front()
        {
            self.pass_beat(now, link, ix, &mut frame);
        }
        while frame.len() < FRAME_BYTES
            && let Some(ix) = link.pushes.pop_front()
        {
            self.push(now, link, ix, &mut frame);
        }
        if link.haves.is_empty() && link.beats.is_empty() {
            link.due = None;
        }
        frame
    }

    pub(super) fn put(&mut self, message: &Message, frame: &mut Vec<u8>) {
        wire::encode(message, frame);
        self.counters.sent += wire::Classes::of(message);
    }

    /// Our handle for an origin, after telling the neighbour what it stands for.
    pub(super) fn handle_of(&mut self, now: Time, link: &mut Link, ix: Ix, frame: &mut Vec<u8>) -> Handle {
        let handle = Handle(ix.0);
        let peer = &self.peers[ix];
        if link.of(ix).told != Some(peer.at.epoch) {
            let origin = OriginId { peer: peer.id, epoch: peer.at.epoch };
            let silent_ms = life::silent_ms(now, ix, peer);
            link.of_mut(ix).told = Some(peer.at.epoch);
            let version = peer.at.version;
            self.put(&Message::Name { handle, origin, version, silent_ms }, frame);
        }
        handle
    }

    fn announce(&mut self, now: Time, link: &mut Link, ix: Ix, frame: &mut Vec<u8>) {
        let of = link.of_mut(ix);
        of.in_haves = false;
        let must_tell = std::mem::take(&mut of.must_tell);
        let (of, peer) = (*of, &self.peers[ix]);
        let version = peer.at.version;
        let is_news = (of.at < peer.at || must_tell) && version > Version::ZERO && peer.grave.is_none();
        if !is_news || life::is_nearly_forgotten(now, ix, peer, self.config.forget_after) {
            return;
        }
        let is_told = of.told == Some(peer.at.epoch);
        let handle = self.handle_of(now, link, ix, frame);
        if is_told {
            self.put(&Message::Have { handle, version }, frame);
        }
    }

    /// Sends what a neighbour lacks of an origin: once if it wants it, and always if it is a child.
    fn push(&mut self, now: Time, link: &mut Link, ix: Ix, frame: &mut Vec<u8>) {
        let of = link.of_mut(ix);
        of.in_pushes = false;
        let wants = of.wants.take();
        let of = *of;
        if wants.is_none() && (!of.is_child || of.is_cut || of.at >= self.peers[ix].at) {
            return;
        }
        let from = wants.unwrap_or(From { epoch: of.at.epoch, version: of.at.version, removals_after: of.at.version });
        match self.interval_since(now, ix, from) {
            Some((span, payload)) => {
                let handle = self.handle_of(now, link, ix, frame);
                let peer = &self.peers[ix];
                let head = peer.head.expect("what is held was signed");
                let of = link.of_mut(ix);
                of.is_cut = !span.is_whole();
                if span.is_whole() {
                    of.at = peer.at;
                }
                self.put(&Message::Push { handle, head, span, payload }, frame);
            }
            None if wants.is_some() => {
                let handle = self.handle_of(now, link, ix, frame);
                let version = self.peers[ix].at.version;
                self.put(&Message::Have { handle, version }, frame);
            }
            None => {}
        }
    }

    /// What follows a position, encoded, or the first part of it.
    fn interval_since(&mut self, now: Time, ix: Ix, from: From) -> Option<(Span, Bytes)> {
        let peer = &self.peers[ix];
        peer.head?;
        if let Some(made) = peer.made.iter().find(|made| made.answers(from, peer.at)) {
            return Some((made.span, made.payload.clone()));
        }
        let Answer::Interval(interval) = self.replica.answer(&from.position(peer.id), INTERVAL_BYTES) else {
            return None;
        };
        let (span, payload) = (interval.span(), wire::encode_payload(interval.changes()));
        if span.is_whole() && payload.len() <= FORWARD_BYTES_MAX {
            let made = &mut self.peers[ix].made;
            made.truncate(MADE_MAX - 1);
            made.push(Made { span, payload: payload.clone(), at: now });
        }
        Some((span, payload))
    }

    /// Tells a random neighbour what everything that is held hashes to.
    pub(super) fn send_digest(&mut self) {
        use rand::seq::IteratorRandom as _;
        if let Some(to) = self.links.keys().copied().choose(&mut self.rng) {
            let digest = self.replica.digest().hash();
            self.tell(to, Message::Digest(digest));
        }
    }

    // What neighbours say.

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
    fn link(&mut self, via: Ix) -> &mut Link {
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
    fn consider(&mut self, now: Time, via: Ix, ix: Ix) {
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
    fn want(&mut self, now: Time, via: Ix, ix: Ix) {
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
    fn answered(&mut self, now: Time, ix: Ix) {
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

    // What origins wrote.

    fn pushed(&mut self, now: Time, via: Ix, ix: Ix, epoch: Epoch, pushed: Pushed) -> Result<(), Offence> {
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

    fn links_to(&mut self, now: Time, ix: Ix, address: std::net::SocketAddr, dialed: bool) {
        self.peers[ix].dial.reached(now, dialed.then_some(address));
        if let Some(hint) = self.hints.get_mut(&address) {
            *hint = neighbours::Hint::of(now, ix);
        }
    }
}

struct Pushed {
    head: Head,
    span: Span,
    payload: Bytes,
}

struct Whole {
    interval: Interval,
    head: Head,
    forward: Option<Made>,
    /// Who sent it, if it was one neighbour.
    by: Option<Ix>,
}

impl Made {
    /// Whether it is what follows a position, up to what is held.
    fn answers(&self, from: From, held: At) -> bool {
        let goes_on = from.epoch == held.epoch && from.version == self.span.since;
        let begins = self.span.since == Version::ZERO && (from.version == Version::ZERO || from.epoch < held.epoch);
        self.span.until == held.version && (goes_on || begins)
    }
}

impl super::peers::Peer {
    fn depends_on(&self, link: Ix) -> bool {
        self.parent == Some(link) || self.pull.is_some_and(|pull| pull.via == link) || self.announced_by == Some(link)
    }
}
