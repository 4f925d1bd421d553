//! The sockets of a namespace: which flow each is of, and what became of those that are gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use topology::Netns;
use topology::fact::{Direction, Evidence, FlowKey, Owner};

use super::followed::{Counted, Part};
use super::ledger::{ByName, Relation, Told, relation};
use super::space::{Held, SocketKey, Space};
use super::sums::Sums;
use super::translation::{FarEnd, Likely, Translations};
use super::{EndsBy, NamespaceNow, Round, Snapshot, Socket, Tracker, far_end, flow_key, orphans_key, translation};
use crate::probe::pace::Moment;

impl Tracker {
    /// Takes the sockets of a namespace: what is gone from them, what is open, what is left over.
    pub(super) fn take_snapshot(
        &mut self,
        namespace: &NamespaceNow,
        snapshot: &Snapshot,
        destroyed: &HashSet<(Netns, SocketKey)>,
        round: &Round<'_>,
    ) {
        let netns = namespace.netns;
        let Some(mut space) = self.spaces.remove(&netns) else { return };
        let attributed = self.attributed.get_or_insert_with(|| Arc::new(self.ledger.attributed())).clone();
        let ends_by = round.ends_by(netns);
        let early = self.early.get_or_insert_with(|| Arc::new(self.ledger.with_early())).clone();
        for (socket, held) in space.take_closed(&snapshot.sockets) {
            let held = self.as_translated(netns, socket, held, snapshot.source, round);
            if ends_by == EndsBy::Absence {
                self.ledger.close(&held.counted);
                continue;
            }
            self.ledger.leave(&held.counted, &early);
            if attributed.contains_key(&relation(netns, &held.counted.flow)) {
                self.ledger.drop_if_briefly_seen(&held.counted.flow);
            }
        }
        for socket in snapshot.sockets.iter().filter(|it| !destroyed.contains(&(netns, it.key()))) {
            if !socket.lingers {
                self.take_open(namespace, &mut space, socket, snapshot, &attributed, round);
            } else if ends_by == EndsBy::Absence && !space.held.contains_key(&socket.key()) {
                self.take_lingering(netns, &mut space, socket, &attributed, round);
            }
        }
        self.spaces.insert(netns, space);
    }

    /// A connection that is gone, as the flow it was of: what is heard of its translation may have come since the last look.
    fn as_translated(
        &mut self,
        netns: Netns,
        (protocol, local, remote): SocketKey,
        held: Held,
        source: Evidence,
        round: &Round<'_>,
    ) -> Held {
        let FlowKey { owner, direction, .. } = held.counted.flow;
        let found = match direction {
            _ if !held.may_be_translated_yet(round.now.clock) => None,
            Direction::Outgoing => round.translations.outgoing(protocol, local, remote),
            Direction::Incoming => round.translations.incoming(protocol, local, remote),
        };
        let Some(translation) = found else { return held };
        let far = FarEnd::of(direction, local, remote, Some(translation));
        let flow = flow_key(owner, direction, protocol, &far);
        if flow == held.counted.flow || !self.ledger.see(flow, netns, &far, source, round.now) {
            return held;
        }
        let told = self.ledger.take_back(&held.counted);
        let counted = Counted { flow, ..held.counted };
        self.ledger.open(&counted, false, round.now.clock);
        self.ledger.take_told(&flow, told);
        Held { counted, ..held }
    }

    /// Takes an open connection: a new one, or a known one's figures.
    fn take_open(
        &mut self,
        namespace: &NamespaceNow,
        space: &mut Space,
        socket: &Socket,
        snapshot: &Snapshot,
        attributed: &HashMap<Relation, FlowKey>,
        round: &Round<'_>,
    ) {
        let netns = namespace.netns;
        let owner = socket.owner.map_or(Owner::Netns(netns), Owner::Process);
        let generation = round.translations.generation();
        let held = space.held.get(&socket.key()).copied().filter(|held| held.is_open);
        let now = round.now.clock;
        let read_at = snapshot.read_at.unwrap_or(now);
        if let Some(held) = held
            && !held.is_to_be_translated(generation, now)
            && (socket.owner.is_none() || held.counted.flow.owner == owner && !held.counted.is_guess)
        {
            let counted = Counted { figures: socket.figures.unwrap_or(held.counted.figures), ..held.counted };
            self.ledger.revise(&held.counted, &counted, read_at);
            space.held.insert(socket.key(), Held { counted, ..held });
            return;
        }
        // Translation is for life: one that is forgotten is what it was.
        let translation = translation(socket, round.translations).or(held.and_then(|held| held.translation));
        let far = FarEnd::of(socket.direction, socket.local, socket.remote, translation);
        let key = match socket.owner {
            Some(_) => flow_key(owner, socket.direction, socket.protocol, &far),
            None => orphans_key(netns, socket.direction, socket.protocol, socket.local, &far, space, attributed),
        };
        let same = held.filter(|held| held.counted.flow == key);
        let mut told = Part::default();
        if let Some(other) = held.filter(|_| same.is_none()) {
            told = self.ledger.take_back(&other.counted);
        }
        let seen = Moment { clock: namespace.looked_at, ..round.now };
        if !self.ledger.see(key, netns, &far, snapshot.source, seen) {
            self.is_cut = true;
            space.held.remove(&socket.key());
            return;
        }
        let since = held.map_or(now, |held| held.since);
        let figures = socket.figures.or(held.map(|held| held.counted.figures)).unwrap_or_default();
        let counted = Counted { flow: key, figures, is_guess: socket.owner.is_none() };
        let mut new = Held { counted, is_open: true, translation, generation, since };
        if new.may_be_translated_yet(now) {
            new.counted.is_guess |= may_be_translated(socket, round.translations);
            self.young.insert(netns);
        }
        match same {
            Some(same) => self.ledger.revise(&same.counted, &new.counted, read_at),
            None => {
                let is_new = held.is_none() && space.looked_at.is_some();
                self.ledger.open(&new.counted, is_new, read_at);
                self.ledger.take_told(&key, told);
            }
        }
        space.held.insert(socket.key(), new);
    }

    /// Takes what is left of a connection that nobody saw open. It has lost its process: if one that lives has a flow of the
    /// same relation the connection was, most probably, its.
    fn take_lingering(
        &mut self,
        netns: Netns,
        space: &mut Space,
        socket: &Socket,
        attributed: &HashMap<Relation, FlowKey>,
        round: &Round<'_>,
    ) {
        let far = far_end(socket, round.translations);
        let key = orphans_key(netns, socket.direction, socket.protocol, socket.local, &far, space, attributed);
        self.is_cut |= !self.ledger.see(key, netns, &far, Evidence::TIME_WAIT, round.now);
        let figures = socket.figures.unwrap_or_default();
        let told = Told { sums: Sums::one(figures), rtt_micros: 0, is_guess: false };
        self.ledger.end(&key, &told, &ByName::new(), round.now.clock);
        let (generation, since) = (round.translations.generation(), round.now.clock);
        let counted = Counted { flow: key, figures, is_guess: false };
        let held = Held { counted, is_open: false, translation: None, generation, since };
        space.held.insert(socket.key(), held);
    }
}

/// Whether this connection may turn out to be translated: others like it are, or it is too early to say.
fn may_be_translated(socket: &Socket, translations: &dyn Translations) -> bool {
    let Socket { protocol, direction, local, remote, .. } = *socket;
    let likely = match direction {
        Direction::Outgoing => translations.likely_outgoing(protocol, local.ip(), remote),
        Direction::Incoming => translations.likely_incoming(protocol, local, remote.ip()),
    };
    !matches!(likely, Likely::Untranslated)
}
