//! Links come and go, and rows of the table with them.

use super::link::Link;
use super::peers::{Ix, ME};
use super::{Mesh, Offence, Output, Time, Why};
use crate::PeerId;
use crate::message::Message;

impl Mesh {
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
    pub(super) fn row(&mut self, peer: PeerId, heard: Time) -> Option<Ix> {
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
}

impl super::peers::Peer {
    fn depends_on(&self, link: Ix) -> bool {
        self.parent == Some(link) || self.pull.is_some_and(|pull| pull.via == link) || self.announced_by == Some(link)
    }
}
