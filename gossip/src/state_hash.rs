//! A fingerprint of one origin's state, to see that two peers hold the same.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Change, OriginId, Version};

/// Keep these hashes apart from others of the same bytes.
const STATE_DOMAIN: &[u8] = b"scope origin state 1\0";
const ENTRY_DOMAIN: &[u8] = b"scope entry 1\0";

/// With the tag of an `Option` three words. 92 bits against an origin that looks for two entries of
/// one hash, twice as many against others who look for another entry of a given one.
const ENTRY_HASH_BYTES: usize = 23;

/// SHA-256 of an origin's name, version and the hashes of its live entries in the order of their
/// versions.
///
/// Tombstones are left out: peers collect them at different times and still hold the same state.
/// That the hash is the origin's own word is for its signature to say, see
/// [`Head`](crate::head::Head).
///
/// Costs a pass over the hashes of the entries, which are kept with them. Sums of these could be
/// kept up to date for less, but whoever may choose the entries finds another set with the same sum;
/// sums for which nobody does (LtHash) cost more per change than the pass does per entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash([u8; 32]);

/// The start of the SHA-256 of a live entry: version, key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHash([u8; ENTRY_HASH_BYTES]);

impl EntryHash {
    /// Of the entry that this change makes; none of a removal.
    pub(crate) fn of(change: &Change) -> Option<EntryHash> {
        let Change { version, key, value } = change;
        let value = value.as_ref()?;
        let mut hash = Sha256::new();
        hash.update(ENTRY_DOMAIN);
        hash.update(version.0.to_le_bytes());
        // With its length, so that key and value cannot be cut elsewhere.
        hash.update((key.as_bytes().len() as u64).to_le_bytes());
        hash.update(key.as_bytes());
        hash.update(value);
        let hash: [u8; 32] = hash.finalize().into();
        hash.first_chunk().copied().map(EntryHash)
    }
}

impl StateHash {
    /// Of these live entries, oldest write first.
    pub(crate) fn of(origin: OriginId, version: Version, entries: impl Iterator<Item = EntryHash>) -> StateHash {
        let mut hash = Sha256::new();
        hash.update(STATE_DOMAIN);
        hash.update(origin.peer.as_bytes());
        hash.update(origin.epoch.0.to_le_bytes());
        hash.update(version.0.to_le_bytes());
        for EntryHash(entry) in entries {
            hash.update(entry);
        }
        StateHash(hash.finalize().into())
    }

    /// The hash of these bytes, which somebody else made.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> StateHash {
        StateHash(bytes)
    }

    /// The 32 bytes, as they are signed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateHash({self})")
    }
}
