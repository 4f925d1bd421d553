//! The entries of a table, to be found by their number, by either tuple, and by how little they are missed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use hashbrown::HashTable;
use topology::fact::Protocol;

use super::LINGER;
use crate::probe::connections::conntrack::{Entry, Tuple};

/// Names a flow for as long as the table lives: they are counted up, so the smallest is the oldest.
pub(super) type Number = u64;

/// An entry, and what came of it.
#[derive(Debug)]
struct Flow {
    entry: Entry,
    /// The dump after which it was last heard of.
    generation: u32,
    /// It can still be looked up, but is there no longer.
    is_lingering: bool,
}

/// How much a flow that is there would be missed, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its sockets are gone, and the kernel will soon have forgotten it too.
    Closed,
    /// Short as a rule, and conntrack knows of no end: it is there until nothing was sent for a while.
    Udp,
    /// Perhaps a connection for days, of which no event will tell again.
    Connection,
}

impl Rank {
    fn of(entry: &Entry) -> Self {
        match entry.original.protocol {
            _ if entry.closed => Self::Closed,
            Protocol::Udp => Self::Udp,
            _ => Self::Connection,
        }
    }
}

/// All flows. Indices hold numbers, not tuples: 9 bytes an entry instead of 77.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: BTreeMap<Number, Flow>,
    by_original: HashTable<Number>,
    /// Of translated ones only.
    by_reply: HashTable<Number>,
    /// Those that are there.
    by_rank: BTreeSet<(Rank, Number)>,
    /// Those that can still be looked up, and since when they have been gone.
    lingering: VecDeque<(Instant, Number)>,
    next: Number,
    hasher: RandomState,
}

impl Flows {
    /// How many are there, those that linger not counted.
    pub(super) fn len(&self) -> usize {
        self.by_rank.len()
    }

    /// How many are held, those that linger counted.
    pub(super) fn held(&self) -> usize {
        self.flows.len()
    }

    /// Entries that are there, the oldest first.
    pub(super) fn live(&self) -> impl Iterator<Item = &Entry> {
        self.flows.values().filter(|flow| !flow.is_lingering).map(|flow| &flow.entry)
    }

    /// Numbers of those that are there and were last heard of before the dump `generation`.
    pub(super) fn not_of(&self, generation: u32) -> Vec<Number> {
        let is_older = |(_, flow): &(&Number, &Flow)| !flow.is_lingering && flow.generation != generation;
        self.flows.iter().filter(is_older).map(|(number, _)| *number).collect()
    }

    /// The flow that is there with the addresses and in the zone of `entry`.
    pub(super) fn number_of(&self, entry: &Entry) -> Option<Number> {
        let hash = self.hasher.hash_one(entry.original);
        let is_same = |number: &Number| {
            let flow = self.flow(*number);
            !flow.is_lingering && flow.entry.original == entry.original && flow.entry.zone == entry.zone
        };
        self.by_original.find(hash, is_same).copied()
    }

    /// The newest translated entry with this original tuple, one that is there before one that lingers.
    pub(super) fn by_original(&self, tuple: Tuple) -> Option<&Entry> {
        let found = self.by_original.iter_hash(self.hasher.hash_one(tuple)).copied();
        self.best(found, |entry| entry.original == tuple && entry.is_translated())
    }

    /// The same by the reply tuple.
    pub(super) fn by_reply(&self, tuple: Tuple) -> Option<&Entry> {
        let found = self.by_reply.iter_hash(self.hasher.hash_one(tuple)).copied();
        self.best(found, |entry| entry.reply == tuple)
    }

    fn best(&self, numbers: impl Iterator<Item = Number>, is_meant: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let meant = numbers.filter(|number| is_meant(self.get(*number)));
        let best = meant.max_by_key(|number| (!self.flow(*number).is_lingering, *number))?;
        Some(self.get(best))
    }

    /// # Panics
    /// If there is none: for numbers that come from an index.
    pub(super) fn get(&self, number: Number) -> &Entry {
        &self.flow(number).entry
    }

    fn flow(&self, number: Number) -> &Flow {
        self.flows.get(&number).expect("the indices name no flow that was removed")
    }

    fn flow_mut(&mut self, number: Number) -> &mut Flow {
        self.flows.get_mut(&number).expect("the indices name no flow that was removed")
    }

    pub(super) fn insert(&mut self, entry: Entry, generation: u32) {
        let number = self.next;
        self.next += 1;
        self.flows.insert(number, Flow { entry, generation, is_lingering: false });
        self.by_rank.insert((Rank::of(&entry), number));
        let (flows, hasher) = (&self.flows, &self.hasher);
        let of = |number: &Number| &flows[number].entry;
        let hash = hasher.hash_one(entry.original);
        self.by_original.insert_unique(hash, number, |number| hasher.hash_one(of(number).original));
        if entry.is_translated() {
            let hash = hasher.hash_one(entry.reply);
            self.by_reply.insert_unique(hash, number, |number| hasher.hash_one(of(number).reply));
        }
    }

    /// Was heard of again, with the same addresses.
    ///
    /// # Panics
    /// As [`Self::get`].
    pub(super) fn update(&mut self, number: Number, entry: Entry, generation: u32) {
        let flow = self.flow_mut(number);
        let before = Rank::of(&flow.entry);
        flow.entry = Entry { bytes: entry.bytes.or(flow.entry.bytes), ..entry };
        flow.generation = generation;
        let rank = Rank::of(&entry);
        if rank != before {
            self.by_rank.remove(&(before, number));
            self.by_rank.insert((rank, number));
        }
    }

    /// It is there no longer. If it was translated, it can be looked up for a while.
    ///
    /// # Panics
    /// As [`Self::get`].
    pub(super) fn let_go(&mut self, number: Number, now: Instant) {
        let flow = self.flow_mut(number);
        if !flow.entry.is_translated() {
            return self.remove(number);
        }
        flow.is_lingering = true;
        let rank = Rank::of(&flow.entry);
        self.by_rank.remove(&(rank, number));
        self.lingering.push_back((now, number));
    }

    /// Removes a flow for good; from the queue of those that linger the caller has taken it.
    fn remove(&mut self, number: Number) {
        let Some(flow) = self.flows.remove(&number) else { return };
        self.by_rank.remove(&(Rank::of(&flow.entry), number));
        let in_index = |index: &mut HashTable<Number>, tuple: Tuple| {
            if let Ok(found) = index.find_entry(self.hasher.hash_one(tuple), |other| *other == number) {
                found.remove();
            }
        };
        in_index(&mut self.by_original, flow.entry.original);
        in_index(&mut self.by_reply, flow.entry.reply);
    }

    /// Removes the one that is missed least: of those that linger the one that went first, else the oldest of the lowest
    /// rank. Returns whether it was still there.
    pub(super) fn forget_one(&mut self) -> bool {
        let gone = self.lingering.pop_front().map(|(_, number)| number);
        if let Some(number) = gone.or_else(|| self.by_rank.first().map(|(_, number)| *number)) {
            self.remove(number);
        }
        gone.is_none()
    }

    /// Removes what went too long ago to be looked up.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, number)) = self.lingering.pop_front_if(|(at, _)| now.duration_since(*at) >= LINGER) {
            self.remove(number);
        }
    }
}
