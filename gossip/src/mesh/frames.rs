//! What a neighbour is told, in frames: as much as its credit allows, the newest of everything.

use super::link::Link;
use super::peers::{At, Ix, Made};
use super::{HAVE_DELAY, INTERVAL_BYTES, Mesh, Output, Time, Timer, life};
use crate::message::{From, Handle, Message};
use crate::{Answer, OriginId, Span, Version, wire};
use bytes::Bytes;

/// A frame is closed when it is longer.
const FRAME_BYTES: usize = 64 * 1024;

/// The longest payload that is passed on as it came; longer ones are made anew, in parts.
pub(super) const FORWARD_BYTES_MAX: usize = FRAME_BYTES;

/// Encoded intervals that are kept of one origin.
const MADE_MAX: usize = 4;

impl Mesh {
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
}

impl Made {
    /// Whether it is what follows a position, up to what is held.
    fn answers(&self, from: From, held: At) -> bool {
        let goes_on = from.epoch == held.epoch && from.version == self.span.since;
        let begins = self.span.since == Version::ZERO && (from.version == Version::ZERO || from.epoch < held.epoch);
        self.span.until == held.version && (goes_on || begins)
    }
}
