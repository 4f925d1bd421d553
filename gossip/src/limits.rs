//! How much a replica takes from others. A peer that says more is refused; what is held stays.

use crate::{Change, PeerId};

/// The longest value. The largest fact, the block of gauges of a host with some thousand processes,
/// is below 100 KB.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// What an entry costs besides its key and value: two allocations, a slot in the map and up to two
/// in the log. An estimate, so that many tiny entries count for what they take.
const ENTRY_OVERHEAD_BYTES: usize = 200;

/// Bounds of a [`Replica`](crate::Replica).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Peers of which anything is held, the local one included.
    pub origins_max: usize,
    /// Live entries of one origin.
    pub entries_per_origin_max: usize,
    /// Tombstones of one origin. Beyond it the oldest are collected: no error, but those who are
    /// further behind get a snapshot.
    pub tombstones_per_origin_max: usize,
    /// Estimated memory of one origin's live entries.
    pub bytes_per_origin_max: usize,
    /// Estimated memory of all live entries.
    pub bytes_max: usize,
}

/// Four times the thousand hosts, each with ten times the facts, that the design is measured with.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            origins_max: 4096,
            entries_per_origin_max: 64 * 1024,
            tombstones_per_origin_max: 16 * 1024,
            bytes_per_origin_max: 32 * 1024 * 1024,
            bytes_max: 1024 * 1024 * 1024,
        }
    }
}

/// The bound that would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// One peer too many.
    #[error("no room for {peer}: {max} origins are held")]
    Origins {
        /// Of whom nothing is held.
        peer: PeerId,
        /// The bound.
        max: usize,
    },
    /// An origin with too many live entries.
    #[error("{peer} would have {entries} entries, at most {max} are taken")]
    Entries {
        /// Whose.
        peer: PeerId,
        /// How many it would have.
        entries: usize,
        /// The bound.
        max: usize,
    },
    /// An origin that is too large.
    #[error("{peer} would take {bytes} bytes, at most {max} are taken")]
    OriginBytes {
        /// Whose.
        peer: PeerId,
        /// How many it would take.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// All origins together are too large.
    #[error("with {peer} the replica would take {bytes} bytes, at most {max} are taken")]
    ReplicaBytes {
        /// Whose change came last.
        peer: PeerId,
        /// How many it would take.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// What live entries take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// How many entries.
    pub entries: usize,
    /// Estimated memory.
    pub bytes: usize,
}

impl Footprint {
    /// Of one entry.
    pub(crate) fn of(key_bytes: usize, value_bytes: usize) -> Footprint {
        Footprint { entries: 1, bytes: key_bytes + value_bytes + ENTRY_OVERHEAD_BYTES }
    }

    /// Of a change as if it met no older entry; nothing for a removal.
    pub(crate) fn of_change(change: &Change) -> Footprint {
        match &change.value {
            Some(value) => Footprint::of(change.key.as_bytes().len(), value.len()),
            None => Footprint::default(),
        }
    }

    pub(crate) fn add(&mut self, other: Footprint) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }

    pub(crate) fn remove(&mut self, other: Footprint) {
        self.entries -= other.entries;
        self.bytes -= other.bytes;
    }
}

impl Limits {
    /// Whether `peer` may have `origin`, when all others take `elsewhere_bytes`.
    pub(crate) fn check(&self, peer: PeerId, origin: Footprint, elsewhere_bytes: usize) -> Result<(), LimitError> {
        let Footprint { entries, bytes } = origin;
        let total_bytes = elsewhere_bytes.saturating_add(bytes);
        if entries > self.entries_per_origin_max {
            Err(LimitError::Entries { peer, entries, max: self.entries_per_origin_max })
        } else if bytes > self.bytes_per_origin_max {
            Err(LimitError::OriginBytes { peer, bytes, max: self.bytes_per_origin_max })
        } else if total_bytes > self.bytes_max {
            Err(LimitError::ReplicaBytes { peer, bytes: total_bytes, max: self.bytes_max })
        } else {
            Ok(())
        }
    }
}
