//! The alternative: replicas that exchange and merge all they hold, as reports without deltas must be.

use std::collections::BTreeMap;

use bytes::Bytes;
use crdts::map::Op as MapOp;
use crdts::mvreg::Op as RegOp;
use crdts::{CmRDT, CvRDT, Dot, MVReg, Map};
use gossip::{Interval, Key, PeerId};

/// Newest write of each key of each peer, in plain ordered maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain(BTreeMap<PeerId, BTreeMap<Key, (u64, Option<Bytes>)>>);

/// The same as a map of the `crdts` crate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crdt(Map<(PeerId, Key), MVReg<Bytes, PeerId>, PeerId>);

impl Plain {
    /// Takes what one origin wrote.
    pub fn write(&mut self, interval: &Interval) {
        let entries = self.0.entry(interval.origin().peer).or_default();
        for change in interval.changes() {
            entries.insert(change.key.clone(), (change.version.0, change.value.clone()));
        }
    }

    /// Takes all that another one holds.
    pub fn merge(&mut self, other: Plain) {
        for (peer, theirs) in other.0 {
            let ours = self.0.entry(peer).or_default();
            for (key, entry) in theirs {
                if ours.get(&key).is_none_or(|held| held.0 < entry.0) {
                    ours.insert(key, entry);
                }
            }
        }
    }
}

impl Crdt {
    /// Takes what one origin wrote; removals are written as empty values.
    pub fn write(&mut self, interval: &Interval) {
        let actor = interval.origin().peer;
        for change in interval.changes() {
            let dot = Dot::new(actor, change.version.0);
            let val = change.value.clone().unwrap_or_default();
            let op = RegOp::Put { clock: dot.into(), val };
            self.0.apply(MapOp::Up { dot, key: (actor, change.key.clone()), op });
        }
    }

    /// Takes all that another one holds.
    pub fn merge(&mut self, other: Crdt) {
        self.0.merge(other.0);
    }
}
