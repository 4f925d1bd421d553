//! The entries of one run of one peer, and the order in which they were written.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use crdts::{CvRDT, LWWReg};
use foldhash::{HashMap, HashMapExt};

use crate::limits::{Footprint, Limits};
use crate::state_hash::EntryHash;
use crate::{Change, Interval, Key, OriginId, Span, StateHash, Version};

/// What a change takes in a message besides its key and value: version, lengths.
const CHANGE_OVERHEAD_BYTES: usize = 16;

/// Stale writes that the log of even the smallest origin may have.
const LOG_SLACK: usize = 64;

/// A last-writer-wins register per key, marked by version; the epoch is the same for all of them.
/// `None` is a tombstone.
///
/// Invariant: it is the state its peer had at `version`, not merely what arrived of it, so the same
/// version means the same live entries everywhere.
#[derive(Debug, Clone)]
pub struct Origin {
    id: OriginId,
    /// Never iterated over, so its random order reaches nobody. With SipHash a write takes half as long again; who could slow
    /// down its look-ups by the choice of keys is the origin, whose keys are bounded in number, and no one else.
    entries: HashMap<Key, LWWReg<Option<Bytes>, Version>>,
    /// The writes by rising version. One whose key was written again or collected since is stale,
    /// and skipped; there are never many more stale ones than entries.
    log: Vec<Logged>,
    tombstones: BTreeSet<Version>,
    footprint: Footprint,
    version: Version,
    gc_version: Version,
}

/// A write that was made.
#[derive(Debug, Clone)]
struct Logged {
    version: Version,
    key: Key,
    /// Of the entry, while it is the one that lives; none of a removal.
    hash: Option<EntryHash>,
}

/// Changes with the hashes of their entries, which are made once.
pub(crate) struct Writes<'a> {
    changes: &'a [Change],
    hashes: Vec<Option<EntryHash>>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(changes: &'a [Change]) -> Writes<'a> {
        Writes { changes, hashes: changes.iter().map(EntryHash::of).collect() }
    }

    /// Of a run of which an older state is held: what is in it already has its hash there.
    fn after(before: Option<&Origin>, changes: &'a [Change]) -> Writes<'a> {
        let Some(before) = before else { return Writes::new(changes) };
        let hash = |change| before.entry_hash(change).or_else(|| EntryHash::of(change));
        Writes { changes, hashes: changes.iter().map(hash).collect() }
    }

    fn iter(&self) -> impl Iterator<Item = (&'a Change, Option<EntryHash>)> {
        self.changes.iter().zip(self.hashes.iter().copied())
    }
}

impl Origin {
    fn empty(id: OriginId) -> Origin {
        Origin {
            id,
            entries: HashMap::default(),
            log: Vec::new(),
            tombstones: BTreeSet::new(),
            footprint: Footprint::default(),
            version: Version::ZERO,
            gc_version: Version::ZERO,
        }
    }

    /// The state a whole snapshot describes. `before` is an older state of the same run, which the snapshot agrees with.
    pub(crate) fn from_snapshot(snapshot: &Interval, before: Option<&Origin>) -> Origin {
        let mut origin = Origin::empty(snapshot.origin());
        let until = snapshot.span().until;
        origin.entries.reserve(snapshot.changes().len());
        origin.log.reserve(snapshot.changes().len());
        origin.write(&Writes::after(before, snapshot.changes()), until);
        origin.collect(until);
        origin.gc_version = until; // the sender's tombstones are not in a snapshot
        origin
    }

    /// Whose entries these are.
    #[must_use]
    pub fn id(&self) -> OriginId {
        self.id
    }

    /// The version of the state.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The version up to which tombstones may be missing. Who is at or above it can be told what
    /// changed since; who is below needs a snapshot.
    #[must_use]
    pub fn gc_version(&self) -> Version {
        self.gc_version
    }

    /// The number and estimated memory of the live entries.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// How many tombstones are kept.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.entries.get(key)?.val.as_ref()
    }

    /// The live entries, oldest write first.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Version, &Bytes)> {
        self.since(Version::ZERO).filter_map(|(version, key, value)| Some((key, version, value.as_ref()?)))
    }

    /// The fingerprint of this state.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        StateHash::of(self.id, self.version, self.log.iter().filter_map(|logged| logged.hash))
    }

    /// The fingerprint of the state that [`Origin::write`] of the same leads to.
    pub(crate) fn state_hash_after(&self, writes: &Writes<'_>, until: Version) -> StateHash {
        let keys = writes.changes.iter().map(|change| &change.key);
        let mut overwritten: Vec<Version> = keys.filter_map(|key| Some(self.entries.get(key)?.marker)).collect();
        overwritten.sort_unstable();
        overwritten.dedup();
        let mut overwritten = overwritten.into_iter().peekable();
        let kept = self.log.iter().filter(|logged| overwritten.next_if_eq(&logged.version).is_none());

        let newest: HashMap<&Key, Version> =
            writes.changes.iter().map(|change| (&change.key, change.version)).collect();
        let written = writes.iter().filter(|(change, _)| newest[&change.key] == change.version);

        let hashes = kept.filter_map(|logged| logged.hash).chain(written.filter_map(|(_, hash)| hash));
        StateHash::of(self.id, until, hashes)
    }

    /// The hash of the entry that this change made, while it lives.
    fn entry_hash(&self, change: &Change) -> Option<EntryHash> {
        let held = self.entries.get(&change.key).filter(|held| held.marker == change.version && held.val.is_some())?;
        let index = log_position(&self.log, held.marker).checked_sub(1)?;
        self.log[index].hash
    }

    /// What a snapshot of the same peer would change: other values, and removals of what is not in it. Who follows the values
    /// need not take those in again that stay as they are.
    #[must_use]
    pub fn differences(&self, snapshot: &Interval) -> Vec<Change> {
        let mut newest = HashMap::with_capacity(snapshot.changes().len());
        newest.extend(snapshot.changes().iter().map(|change| (&change.key, change.version)));
        let mut kept = 0;
        let mut changes = Vec::new();
        for change in snapshot.changes().iter().filter(|change| newest[&change.key] == change.version) {
            let held = self.get(change.key.as_bytes());
            kept += usize::from(held.is_some());
            if held != change.value.as_ref() {
                changes.push(change.clone());
            }
        }
        if kept < self.footprint.entries {
            let version = snapshot.span().until;
            let gone = self.iter().filter(|(key, ..)| !newest.contains_key(key));
            changes.extend(gone.map(|(key, ..)| Change { version, key: key.clone(), value: None }));
        }
        changes
    }

    /// What was written after `since`, tombstones included, oldest first.
    fn since(&self, since: Version) -> impl Iterator<Item = (Version, &Key, &Option<Bytes>)> {
        self.log[log_position(&self.log, since)..].iter().filter_map(|Logged { version, key, .. }| {
            let register = self.entries.get(key)?;
            (register.marker == *version).then_some((*version, key, &register.val))
        })
    }

    /// The changes after `since`, oldest first, as many as fit in `budget_bytes`, but one at least.
    /// From version 0 it is a snapshot, so tombstones are left out.
    ///
    /// The caller has checked that `since < version` and that no tombstone that matters is gone.
    pub(crate) fn interval(&self, since: Version, budget_bytes: usize) -> Interval {
        let mut span = Span::whole(since, self.version);
        let mut changes: Vec<Change> = Vec::new();
        let mut bytes = 0usize;
        for (version, key, value) in self.since(since) {
            if since == Version::ZERO && value.is_none() {
                continue;
            }
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            bytes = bytes.saturating_add(key.as_bytes().len() + value_bytes + CHANGE_OVERHEAD_BYTES);
            if let Some(last) = changes.last().filter(|_| bytes > budget_bytes) {
                span.until = last.version;
                break;
            }
            changes.push(Change { version, key: key.clone(), value: value.clone() });
        }
        Interval::new_unchecked(self.id, span, changes)
    }

    /// The first change that gives another value to a version we hold.
    pub(crate) fn contradiction<'a>(&self, changes: &'a [Change]) -> Option<&'a Change> {
        changes.iter().find(|change| {
            self.entries.get(&change.key).is_some_and(|held| {
                let said = LWWReg { val: change.value.clone(), marker: change.version };
                held.validate_merge(&said).is_err()
            })
        })
    }

    /// Makes writes that are all newer than this state, which then is the one at `until`.
    pub(crate) fn write(&mut self, writes: &Writes<'_>, until: Version) {
        for (change, hash) in writes.iter() {
            self.write_one(change, hash);
        }
        self.version = until;
        self.trim_log();
    }

    fn write_one(&mut self, change: &Change, hash: Option<EntryHash>) {
        let Change { version, key, value } = change;
        // The log shares the allocation of the key that is held, not that of the message's.
        let key = match self.entries.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                let held = entry.get_mut();
                match &held.val {
                    Some(old) => {
                        let old = Footprint::of(key.as_bytes().len(), old.len());
                        self.footprint.remove(old);
                        let index = log_position(&self.log, held.marker) - 1;
                        self.log[index].hash = None;
                    }
                    None => {
                        self.tombstones.remove(&held.marker);
                    }
                }
                held.update(value.clone(), *version);
                entry.key().clone()
            }
            Entry::Vacant(entry) => {
                let key = entry.key().clone();
                entry.insert(LWWReg { val: value.clone(), marker: *version });
                key
            }
        };
        self.log.push(Logged { version: *version, key, hash });
        match value {
            Some(_) => self.footprint.add(Footprint::of_change(change)),
            None => {
                self.tombstones.insert(*version);
            }
        }
    }

    /// Drops the stale writes from the log once they outnumber the others, so that each write pays
    /// for the dropping of one.
    fn trim_log(&mut self) {
        if self.log.len() > 2 * self.entries.len() + LOG_SLACK {
            let entries = &self.entries;
            self.log.retain(|logged| {
                logged.hash.is_some() || entries.get(&logged.key).is_some_and(|held| held.marker == logged.version)
            });
        }
    }

    /// At most what the live entries take once `changes` are written, without looking them up.
    pub(crate) fn footprint_at_most(&self, changes: &[Change]) -> Footprint {
        let mut after = self.footprint;
        for change in changes {
            after.add(Footprint::of_change(change));
        }
        after
    }

    /// Exactly what the live entries take once `changes` are written.
    pub(crate) fn footprint_after(&self, changes: &[Change]) -> Footprint {
        let mut after = self.footprint;
        let mut written = HashMap::default();
        for change in changes {
            let new = Footprint::of_change(change);
            let old = written.insert(&change.key, new).unwrap_or_else(|| self.footprint_of(&change.key));
            after.remove(old);
            after.add(new);
        }
        after
    }

    fn footprint_of(&self, key: &Key) -> Footprint {
        self.get(key.as_bytes())
            .map_or_else(Footprint::default, |value| Footprint::of(key.as_bytes().len(), value.len()))
    }

    /// Drops the tombstones up to and including `up_to`.
    pub(crate) fn collect(&mut self, up_to: Version) {
        while let Some(version) = self.tombstones.first().copied().filter(|&first| first <= up_to) {
            self.tombstones.remove(&version);
            let index = log_position(&self.log, version) - 1;
            self.entries.remove(&self.log[index].key);
            self.gc_version = version;
        }
        self.trim_log();
    }

    /// Drops the oldest tombstones beyond the bound.
    pub(crate) fn collect_beyond(&mut self, limits: &Limits) {
        let excess = self.tombstones.len().saturating_sub(limits.tombstones_per_origin_max);
        if let Some(&up_to) = excess.checked_sub(1).and_then(|last| self.tombstones.iter().nth(last)) {
            self.collect(up_to);
        }
    }
}

/// Where the writes after `version` begin.
fn log_position(log: &[Logged], version: Version) -> usize {
    log.partition_point(|logged| logged.version <= version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PeerId};

    #[test]
    fn the_hash_of_a_snapshots_state_does_not_depend_on_what_was_held() {
        let id = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };
        let change = |version, key: &str, value: Option<&'static str>| Change {
            version: Version(version),
            key: Key::try_from(key).unwrap(),
            value: value.map(Bytes::from),
        };
        let mut held = Origin::empty(id);
        let writes = [change(1, "a", Some("1")), change(2, "b", Some("2")), change(3, "c", Some("3"))];
        held.write(&Writes::new(&writes), Version(3));
        held.write(&Writes::new(&[change(4, "b", None)]), Version(4));
        let snapshots = [
            vec![change(1, "a", Some("1")), change(3, "c", Some("3"))],
            vec![change(3, "c", Some("3")), change(7, "b", Some("2"))],
            vec![change(1, "a", Some("1")), change(8, "c", Some("3")), change(9, "a", Some("1"))],
        ];
        for changes in snapshots {
            let snapshot = Interval::new(id, Span::whole(Version::ZERO, Version(9)), changes).unwrap();
            let hashes = [Some(&held), None].map(|before| Origin::from_snapshot(&snapshot, before).state_hash());
            assert_eq!(hashes[0], hashes[1], "{snapshot:?}");
        }
    }

    #[test]
    fn a_snapshot_changes_what_differs_and_removes_what_is_not_in_it() {
        type Write = (u64, &'static str, Option<&'static str>);
        // held: a=1, b=2
        let cases: [(&[Write], &[Write]); 6] = [
            (&[(1, "a", Some("1")), (2, "b", Some("2"))], &[]),
            (&[(2, "b", Some("2")), (7, "a", Some("1"))], &[]), // written again as it was
            (
                &[(2, "b", Some("2")), (3, "a", Some("9")), (9, "c", Some("3"))],
                &[(3, "a", Some("9")), (9, "c", Some("3"))],
            ),
            (&[(2, "b", Some("2"))], &[(9, "a", None)]),
            (&[(1, "a", Some("1")), (2, "b", Some("2")), (3, "a", None)], &[(3, "a", None)]),
            (&[(2, "b", Some("2")), (3, "a", Some("9")), (4, "a", Some("1"))], &[]), // the later write counts
        ];
        let id = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };
        let changes = |writes: &[Write]| -> Vec<Change> {
            let change = |&(version, key, value): &Write| Change {
                version: Version(version),
                key: Key::try_from(key).unwrap(),
                value: value.map(Bytes::from),
            };
            writes.iter().map(change).collect()
        };
        let snapshot =
            |writes: &[Write]| Interval::new(id, Span::whole(Version::ZERO, Version(9)), changes(writes)).unwrap();
        let held = Origin::from_snapshot(&snapshot(&[(1, "a", Some("1")), (2, "b", Some("2"))]), None);
        for (writes, want) in cases {
            assert_eq!(held.differences(&snapshot(writes)), changes(want), "{writes:?}");
        }
    }

    #[test]
    fn the_log_stays_as_short_as_the_entries_are_few() {
        let peer = PeerId::from_bytes([1; 32]);
        let mut origin = Origin::empty(OriginId { peer, epoch: Epoch(1) });
        for version in (1..=10_000).map(Version) {
            let key = Key::new(&[u8::try_from(version.0 % 10).unwrap()]).unwrap();
            let value = (version.0 % 3 > 0).then(|| Bytes::from("value"));
            let change = Change { version, key, value };
            origin.write(&Writes::new(&[change]), version);
            assert!(origin.log.len() <= 20 + LOG_SLACK, "at {version}");
            assert!(origin.tombstones() <= 10, "at {version}");
        }
        let held: Vec<_> = origin.since(Version(9_000)).map(|(version, ..)| version.0).collect();
        assert_eq!(held, (9_991..=10_000).collect::<Vec<_>>());
    }
}
