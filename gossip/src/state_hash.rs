//! A fingerprint of one origin's state, to see that two peers hold the same.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Key, OriginId, Version};

/// Keeps these hashes apart from others of the same bytes.
const DOMAIN: &[u8] = b"scope origin state 1\0";

/// SHA-256 of an origin's name, version and live entries in the order of their versions.
///
/// Tombstones are left out: peers collect them at different times and still hold the same state.
/// That the hash is the origin's own word is for its signature to say; the mesh adds that.
///
/// Costs a pass over all entries. Sums of entry hashes can be kept up to date for less, but whoever
/// may choose the entries finds another set with the same sum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash([u8; 32]);

impl StateHash {
    /// Of these live entries, oldest write first.
    pub(crate) fn of<'a>(
        origin: OriginId,
        version: Version,
        entries: impl Iterator<Item = (&'a Key, Version, &'a Bytes)>,
    ) -> StateHash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(origin.peer.as_bytes());
        hash.update(origin.epoch.0.to_le_bytes());
        hash.update(version.0.to_le_bytes());
        for (key, version, value) in entries {
            hash.update(version.0.to_le_bytes());
            update_sized(&mut hash, key.as_bytes());
            update_sized(&mut hash, value);
        }
        StateHash(hash.finalize().into())
    }

    /// The 32 bytes, as they are signed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// With the length in front: no two lists of entries are the same string of bytes.
fn update_sized(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
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
