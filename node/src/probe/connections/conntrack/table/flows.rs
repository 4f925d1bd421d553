//! The entries of a table, to be found by their number, by either tuple, and by age.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use hashbrown::HashTable;

use super::{ENTRIES_MAX, LINGER, Sighting, Stage};
use crate::probe::connections::conntrack::{Entry, Tuple};

/// Names a flow for as long as the table lives: they are counted up, so the smallest is the oldest.
pub(super) type Number = u64;

/// An entry, and what came of it.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) entry: Entry,
    pub(super) first: Instant,
    pub(super) last: Instant,
    /// The dump after which it was last heard of.
    pub(super) generation: u32,
    /// How much of it was.
    pub(super) told: Stage,
    /// It is among those to be told.
    pub(super) is_news: bool,
    /// Its end was told, or was not to be.
    pub(super) is_over: bool,
    /// It can still be looked up, but is there no longer.
    is_lingering: bool,
}

impl Flow {
    pub(super) fn update(&mut self, entry: Entry, generation: u32, now: Instant) {
        self.entry = Entry { bytes: entry.bytes.or(self.entry.bytes), ..entry };
        self.generation = generation;
        self.last = now;
    }

    pub(super) fn sighting(&self) -> Sighting {
        Sighting { entry: self.entry, first: self.first, last: self.last, is_over: self.is_over }
    }
}

/// All flows. Indices hold numbers, not tuples: 9 bytes an entry instead of 77.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: BTreeMap<Number, Flow>,
    by_original: HashTable<Number>,
    /// Of translated ones only.
    by_reply: HashTable<Number>,
    /// Those that can still be looked up, and since when they have been gone.
    lingering: VecDeque<(Instant, Number)>,
    next: Number,
    hasher: RandomState,
}

impl Flows {
    /// How many are there, those that linger not counted.
    pub(super) fn len(&self) -> usize {
        self.flows.len() - self.lingering.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.flows.len() >= ENTRIES_MAX
    }

    /// Those that are there, the oldest first.
    pub(super) fn live(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values().filter(|flow| !flow.is_lingering)
    }

    /// Numbers of those that are there and for which `wanted` holds.
    pub(super) fn numbers_where(&self, wanted: impl Fn(&Flow) -> bool) -> Vec<Number> {
        let is_wanted = |(_, flow): &(&Number, &Flow)| !flow.is_lingering && wanted(flow);
        self.flows.iter().filter(is_wanted).map(|(number, _)| *number).collect()
    }

    /// The flow that is there with the addresses and in the zone of `entry`.
    pub(super) fn number_of(&self, entry: &Entry) -> Option<Number> {
        let hash = self.hasher.hash_one(entry.original);
        let is_same = |number: &Number| {
            let flow = self.get(*number);
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
        let meant = numbers.filter(|number| is_meant(&self.get(*number).entry));
        let best = meant.max_by_key(|number| (!self.get(*number).is_lingering, *number))?;
        Some(&self.get(best).entry)
    }

    /// # Panics
    /// If there is none: for numbers that come from an index.
    pub(super) fn get(&self, number: Number) -> &Flow {
        self.flows.get(&number).expect("the indices name no flow that was removed")
    }

    /// # Panics
    /// As [`Self::get`].
    pub(super) fn get_mut(&mut self, number: Number) -> &mut Flow {
        self.flows.get_mut(&number).expect("the indices name no flow that was removed")
    }

    /// The flow if it is still there, for numbers that were kept.
    pub(super) fn live_mut(&mut self, number: Number) -> Option<&mut Flow> {
        self.flows.get_mut(&number).filter(|flow| !flow.is_lingering)
    }

    pub(super) fn insert(&mut self, entry: Entry, now: Instant) -> Number {
        let number = self.next;
        self.next += 1;
        let is_over = entry.closed; // long ago, for all we know
        let (told, is_news, is_lingering) = (Stage::Untold, false, false);
        let flow = Flow { entry, first: now, last: now, generation: 0, told, is_news, is_over, is_lingering };
        self.flows.insert(number, flow);
        let (flows, hasher) = (&self.flows, &self.hasher);
        let of = |number: &Number| &flows[number].entry;
        let hash = hasher.hash_one(entry.original);
        self.by_original.insert_unique(hash, number, |number| hasher.hash_one(of(number).original));
        if entry.is_translated() {
            let hash = hasher.hash_one(entry.reply);
            self.by_reply.insert_unique(hash, number, |number| hasher.hash_one(of(number).reply));
        }
        number
    }

    /// It is there no longer. If it was translated, it can be looked up for a while.
    pub(super) fn let_go(&mut self, number: Number, now: Instant) {
        let flow = self.get_mut(number);
        if !flow.entry.is_translated() {
            return self.remove(number);
        }
        flow.is_lingering = true;
        self.lingering.push_back((now, number));
    }

    /// Removes a flow for good, one that does not linger.
    pub(super) fn remove(&mut self, number: Number) {
        let Some(flow) = self.flows.remove(&number) else { return };
        let in_index = |index: &mut HashTable<Number>, tuple: Tuple| {
            if let Ok(found) = index.find_entry(self.hasher.hash_one(tuple), |other| *other == number) {
                found.remove();
            }
        };
        in_index(&mut self.by_original, flow.entry.original);
        in_index(&mut self.by_reply, flow.entry.reply);
    }

    /// Removes the one that is missed least: the one that went first, else the oldest. Returns whether it was still there.
    pub(super) fn forget_one(&mut self) -> bool {
        let gone = self.lingering.pop_front().map(|(_, number)| number);
        if let Some(number) = gone.or_else(|| self.flows.first_key_value().map(|(number, _)| *number)) {
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

    /// Removes those that are there and for which `wanted` does not hold.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Flow) -> bool) {
        for number in self.numbers_where(|flow| !wanted(flow)) {
            self.remove(number);
        }
    }
}
