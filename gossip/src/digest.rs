//! What a peer holds, in a few bytes per origin, and what two peers can tell each other.

use std::collections::BTreeSet;

use crdts::{CmRDT, Dot, VClock};
use sha2::{Digest as _, Sha256};

use crate::{Epoch, OriginId, PeerId, Version};

/// Keeps these hashes apart from others of the same bytes.
const DOMAIN: &[u8] = b"scope digest 1\0";

/// The version held of each origin, as a vector clock whose actors are the runs of peers. There is
/// one run of each peer: the newest that was heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    clock: VClock<OriginId>,
}

/// From where an asker wants to hear of an origin. It holds the origin's state at `version`, or,
/// while parts of an interval come in, everything up to `version` of a later state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which peer, and which of its runs the asker knows; epoch 0 if none.
    pub origin: OriginId,
    /// Up to where it holds all it needs.
    pub version: Version,
    /// The version after which it must be told of every removal. `version`, except in the middle of
    /// a snapshot, which has no entries that were removed before it was taken.
    pub removals_after: Version,
}

/// What two digests say about their holders.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Where we are behind: what to ask for.
    pub behind: Vec<Position>,
    /// Where they are behind: what they would ask for.
    pub ahead: Vec<Position>,
}

/// Why this is no digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Two runs of one peer.
    #[error("{0} is in the digest twice")]
    Twice(PeerId),
    /// More origins than the bound.
    #[error("digest of more than {max} origins")]
    TooMany {
        /// The bound.
        max: usize,
    },
}

impl Position {
    /// Of an asker who holds the state at `version`.
    #[must_use]
    pub fn at(origin: OriginId, version: Version) -> Position {
        Position { origin, version, removals_after: version }
    }

    /// Of an asker who holds nothing of `peer`.
    #[must_use]
    pub fn nothing(peer: PeerId) -> Position {
        Position::at(OriginId { peer, epoch: Epoch(0) }, Version::ZERO)
    }
}

impl Digest {
    /// A digest of what was received. Version 0 is the same as no mention.
    ///
    /// # Errors
    /// [`DigestError`] when a peer occurs twice, or there are more than `origins_max`; the rest of
    /// `held` is not looked at.
    pub fn new(held: impl IntoIterator<Item = (OriginId, Version)>, origins_max: usize) -> Result<Digest, DigestError> {
        let mut digest = Digest::default();
        let mut peers = BTreeSet::new();
        for (origin, version) in held {
            if peers.len() == origins_max {
                return Err(DigestError::TooMany { max: origins_max });
            }
            if !peers.insert(origin.peer) {
                return Err(DigestError::Twice(origin.peer));
            }
            digest.clock.apply(Dot::new(origin, version.0));
        }
        Ok(digest)
    }

    /// Of a replica, which holds one run of each peer.
    pub(crate) fn of(held: impl Iterator<Item = (OriginId, Version)>) -> Digest {
        let dots = held.map(|(origin, version)| (origin, version.0)).collect();
        Digest { clock: VClock { dots } }
    }

    /// The version held of each origin, in the order of the peers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (OriginId, Version)> {
        self.clock.dots.iter().map(|(&origin, &version)| (origin, Version(version)))
    }

    /// The digest in 16 bytes, to see that it is the same: the start of the SHA-256 of all
    /// names, epochs and versions in the order of the peers.
    #[must_use]
    pub fn hash(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        for (OriginId { peer, epoch }, version) in self.iter() {
            hash.update(peer.as_bytes());
            hash.update(epoch.0.to_le_bytes());
            hash.update(version.0.to_le_bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        std::array::from_fn(|byte| hash[byte])
    }

    /// What is held of `peer`.
    #[must_use]
    pub fn position(&self, peer: PeerId) -> Position {
        let runs = OriginId { peer, epoch: Epoch(0) }..=OriginId { peer, epoch: Epoch(u64::MAX) };
        match self.clock.dots.range(runs).next_back() {
            Some((&origin, &version)) => Position::at(origin, Version(version)),
            None => Position::nothing(peer),
        }
    }

    /// Who of the holders of the two digests lacks what. A newer run of a peer is ahead of any
    /// version of an older one.
    #[must_use]
    pub fn difference(&self, theirs: &Digest) -> Difference {
        Difference { behind: lacks(self, theirs), ahead: lacks(theirs, self) }
    }
}

/// The positions of `mine` where `theirs` can tell more.
fn lacks(mine: &Digest, theirs: &Digest) -> Vec<Position> {
    let more = theirs.clock.clone_without(&mine.clock);
    more.dots
        .keys()
        .map(|origin| (origin.epoch, mine.position(origin.peer)))
        .filter(|(epoch, position)| position.origin.epoch <= *epoch)
        .map(|(_, position)| position)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId::from_bytes([1; 32]);
    const B: PeerId = PeerId::from_bytes([2; 32]);

    #[test]
    fn a_difference_names_what_either_side_lacks() {
        let none: &[(PeerId, u64, u64)] = &[];
        // (peer, epoch, version) held by us; by them; where we are behind; where they are
        let cases = [
            (none, none, none, none),
            (&[(A, 1, 5)], &[(A, 1, 5)], none, none),
            (&[(A, 1, 5)], &[(A, 1, 7)], &[(A, 1, 5)], none),
            (&[(A, 1, 7)], &[(A, 1, 5)], none, &[(A, 1, 5)]),
            (none, &[(A, 1, 5)], &[(A, 0, 0)], none),
            (&[(A, 1, 5)], none, none, &[(A, 0, 0)]),
            (&[(A, 1, 90)], &[(A, 2, 3)], &[(A, 1, 90)], none), // a restart
            (&[(A, 1, 5), (B, 3, 1)], &[(A, 1, 6), (B, 2, 8)], &[(A, 1, 5)], &[(B, 2, 8)]),
        ];
        for (ours, theirs, behind, ahead) in cases {
            let want = Difference { behind: positions(behind), ahead: positions(ahead) };
            assert_eq!(digest(ours).difference(&digest(theirs)), want, "{ours:?} and {theirs:?}");
        }
    }

    #[test]
    fn a_received_digest_is_bounded_and_names_each_peer_once() {
        let cases: [(&[_], _); 5] = [
            (&[], Ok(0)),
            (&[held(A, 1, 5), held(B, 1, 0)], Ok(1)), // nothing of B is no mention of B
            (&[held(A, 1, 5), held(B, 9, 9)], Ok(2)),
            (&[held(A, 1, 5), held(A, 2, 5)], Err(DigestError::Twice(A))),
            (&[held(A, 1, 5), held(B, 1, 5), held(A, 2, 5)], Err(DigestError::TooMany { max: 2 })),
        ];
        for (received, want) in cases {
            let got = Digest::new(received.iter().copied(), 2).map(|digest| digest.iter().len());
            assert_eq!(got, want, "{received:?}");
        }
    }

    #[test]
    fn only_the_same_digests_have_the_same_hash() {
        let digests = [
            digest(&[]),
            digest(&[(A, 1, 5)]),
            digest(&[(B, 1, 5)]),
            digest(&[(A, 5, 1)]),
            digest(&[(A, 1, 5), (B, 1, 5)]),
            digest(&[(A, 1, 6), (B, 1, 5)]),
        ];
        for (i, one) in digests.iter().enumerate() {
            for (j, other) in digests.iter().enumerate() {
                assert_eq!(one.hash() == other.hash(), i == j, "{one:?} and {other:?}");
            }
        }
        let received = Digest::new([held(B, 1, 5), held(A, 1, 5)], 2).unwrap();
        assert_eq!(received.hash(), digests[4].hash(), "in whatever order it came");
    }

    fn held(peer: PeerId, epoch: u64, version: u64) -> (OriginId, Version) {
        (OriginId { peer, epoch: Epoch(epoch) }, Version(version))
    }

    fn digest(entries: &[(PeerId, u64, u64)]) -> Digest {
        Digest::of(entries.iter().map(|&(peer, epoch, version)| held(peer, epoch, version)))
    }

    fn positions(entries: &[(PeerId, u64, u64)]) -> Vec<Position> {
        let held = entries.iter().map(|&(peer, epoch, version)| held(peer, epoch, version));
        held.map(|(origin, version)| Position::at(origin, version)).collect()
    }
}
