//! The table of all peers that were ever heard of and not yet buried for good.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use bytes::Bytes;

use super::life::{self, Life};
use super::neighbours::Dialling;
use super::{Time, rings};
use crate::head::{Beat, BeatCheck, Head};
use crate::roster::Roster;
use crate::{Epoch, Parts, PeerId, Span, Version};

/// Row of a peer. It is its handle too, on every link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ix(pub(super) u32);

/// Row of this peer itself.
pub(super) const ME: Ix = Ix(0);

/// What is held of an origin. A newer run is ahead of any version of an older one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) epoch: Epoch,
    pub(super) version: Version,
}

/// An encoded interval up to the version that is held.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) span: Span,
    pub(super) payload: Bytes,
    pub(super) at: Time,
}

/// An open question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pull {
    pub(super) via: Ix,
    pub(super) asked: Time,
    pub(super) until: Time,
    /// How much use the neighbour had been before.
    pub(super) useful: u64,
}

/// Parts of an interval, and who sent them if it was one neighbour.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) parts: Parts,
    pub(super) by: Option<Ix>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) at: At,
    /// The origin's word for `at`.
    pub(super) head: Option<Head>,
    pub(super) made: Vec<Made>,
    pub(super) parts: Option<Box<Collected>>,
    /// The last interval did not lead to the state that was signed.
    pub(super) was_misled: bool,
    /// Nor did the one before: begin at nothing.
    pub(super) needs_snapshot: bool,
    /// When to try again what there was no room for.
    pub(super) refused_until: Time,

    /// Whether the peer itself has proven that it is: by a state it signed, or a link.
    pub(super) is_proven: bool,
    pub(super) parent: Option<Ix>,
    /// Versions in a row that the parent was late with.
    pub(super) misses: u8,
    pub(super) pull: Option<Pull>,
    pub(super) waits_until: Option<Time>,
    pub(super) announced_by: Option<Ix>,

    pub(super) life: Life,
    pub(super) heard: Time,
    /// When a neighbour says it was heard of, whose version we do not hold yet.
    pub(super) claimed: Time,
    /// Whether the neighbours were asked, in this silence, if they have heard of it.
    pub(super) asked: bool,
    /// Since when a neighbour of it says that it is lost, and after which beat: chain and count.
    pub(super) lost: Option<(Time, (u32, u32))>,
    /// When our own link to it broke, until that is settled.
    pub(super) link_lost: Option<Time>,
    pub(super) beat: Option<Beat>,
    pub(super) check: Option<BeatCheck>,
    /// In which run `check` and `beat` are.
    pub(super) beat_of: Epoch,
    pub(super) beat_every: Duration,
    pub(super) roster: Option<Box<Roster>>,
    /// What was held when it was forgotten.
    pub(super) grave: Option<At>,

    pub(super) places: rings::Places,
    pub(super) dial: Dialling,
    /// The earliest timer that is set.
    pub(super) armed: Time,
    pub(super) collect_next: Version,
}

impl Peer {
    fn new(id: PeerId, now: Time) -> Peer {
        Peer {
            id,
            at: At::default(),
            head: None,
            made: Vec::new(),
            parts: None,
            was_misled: false,
            needs_snapshot: false,
            refused_until: Time::ZERO,
            is_proven: false,
            parent: None,
            misses: 0,
            pull: None,
            waits_until: None,
            announced_by: None,
            life: Life::Live,
            heard: now,
            claimed: Time::ZERO,
            asked: false,
            lost: None,
            link_lost: None,
            beat: None,
            check: None,
            beat_of: Epoch(0),
            beat_every: life::BEAT_MAX,
            roster: None,
            grave: None,
            places: rings::places(id),
            dial: Dialling::default(),
            armed: Time::MAX,
            collect_next: Version::ZERO,
        }
    }
}

#[derive(Debug)]
pub(super) struct Peers {
    rows: Vec<Peer>,
    /// Never iterated over.
    index: HashMap<PeerId, Ix>,
    rows_max: usize,
}

impl Peers {
    /// The local peer alone, in row [`ME`].
    pub(super) fn new(local: PeerId, rows_max: usize, now: Time) -> Peers {
        Peers { rows: vec![Peer::new(local, now)], index: HashMap::from([(local, ME)]), rows_max }
    }

    pub(super) fn find(&self, id: PeerId) -> Option<Ix> {
        self.index.get(&id).copied()
    }

    /// A row for a peer that has none, and whether it took the place of another, which was forgotten, or of which nothing
    /// but its name is known; `None` if the table is full of others.
    pub(super) fn add(&mut self, id: PeerId, heard: Time, is_linked: impl Fn(Ix) -> bool) -> Option<(Ix, bool)> {
        if self.rows.len() < self.rows_max {
            let ix = Ix(u32::try_from(self.rows.len()).ok()?);
            self.rows.push(Peer::new(id, heard));
            self.index.insert(id, ix);
            return Some((ix, false));
        }
        let is_free = |ix: &Ix| (self[*ix].grave.is_some() || !self[*ix].is_proven) && !is_linked(*ix) && *ix != ME;
        let oldest = self.all().filter(is_free).min_by_key(|ix| (self[*ix].is_proven, self[*ix].heard))?;
        let forgotten = self[oldest].id;
        self.index.remove(&forgotten);
        self.index.insert(id, oldest);
        self[oldest] = Peer::new(id, heard);
        Some((oldest, true))
    }

    /// All rows.
    pub(super) fn all(&self) -> impl Iterator<Item = Ix> + use<> {
        (0..u32::try_from(self.rows.len()).unwrap_or(u32::MAX)).map(Ix)
    }

    /// All rows but our own, those of the forgotten, and those of which nothing but a name is known.
    pub(super) fn others(&self) -> impl Iterator<Item = (Ix, &Peer)> {
        self.all().zip(&self.rows).skip(1).filter(|(_, peer)| peer.grave.is_none() && peer.is_proven)
    }

    /// All rows but our own.
    pub(super) fn named(&self) -> impl Iterator<Item = (Ix, &Peer)> {
        self.all().zip(&self.rows).skip(1)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.rows.iter_mut()
    }
}

impl Index<Ix> for Peers {
    type Output = Peer;

    fn index(&self, ix: Ix) -> &Peer {
        &self.rows[ix.0 as usize]
    }
}

impl IndexMut<Ix> for Peers {
    fn index_mut(&mut self, ix: Ix) -> &mut Peer {
        &mut self.rows[ix.0 as usize]
    }
}
