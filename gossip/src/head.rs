//! What an origin gives its word for: the state it had at a version, and that it is alive.
//!
//! What an origin wrote reaches most peers through others. They can delay it, but not change it: a
//! [`Head`] names the state at a version by its hash, signed by the origin, and a replica takes
//! nothing that leads to another state ([`Replica::apply_signed`](crate::Replica::apply_signed)).
//! Between two versions a [`Beat`] says that the origin is alive, for 8 bytes and a hash instead of
//! a signature.

mod beat;

use std::fmt;

use libp2p_identity::{Keypair, OtherVariantError, ed25519};

use crate::{Epoch, OriginId, PeerId, StateHash, Version};

pub use beat::{BEATS_PER_CHAIN, Beat, BeatChain, BeatCheck, Forged, Heard};

/// Length of an ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Keeps these signatures apart from others by the same key.
const DOMAIN: &[u8; 13] = b"scope head 1\0";

const SIGNED_BYTES: usize = DOMAIN.len() + 16 + 32 + 8 + 8 + 32;

/// The public label of a cluster, made from its secret: what a peer says in one cluster is not its
/// word in another.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Cluster(pub [u8; 16]);

impl Cluster {
    /// Of those who have no secret.
    pub const OPEN: Cluster = Cluster([0; 16]);
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An origin's word for its state at a version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// At which version.
    pub version: Version,
    /// Which state.
    pub state: StateHash,
    /// Of the origin's peer, over both, its name and the cluster.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Head {
    /// The word of `origin`, whose key `signatures` has.
    #[must_use]
    pub fn sign(
        signatures: &dyn Signatures,
        cluster: Cluster,
        origin: OriginId,
        version: Version,
        state: StateHash,
    ) -> Head {
        let signature = signatures.sign(&signed_bytes(cluster, origin, version, &state));
        Head { version, state, signature }
    }

    /// Whether it is the word of `origin` in this cluster.
    #[must_use]
    pub fn verify(&self, signatures: &dyn Signatures, cluster: Cluster, origin: OriginId) -> bool {
        let Head { version, state, signature } = self;
        signatures.verify(origin.peer, &signed_bytes(cluster, origin, *version, state), signature)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("version", &self.version).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Each field has its place, so no two statements are the same bytes. Numbers are little-endian.
fn signed_bytes(cluster: Cluster, origin: OriginId, version: Version, state: &StateHash) -> [u8; SIGNED_BYTES] {
    let OriginId { peer, epoch: Epoch(epoch) } = origin;
    let parts: [&[u8]; 6] =
        [DOMAIN, &cluster.0, peer.as_bytes(), &epoch.to_le_bytes(), &version.0.to_le_bytes(), state.as_bytes()];
    let mut signed = [0; SIGNED_BYTES];
    let mut rest = signed.as_mut_slice();
    for part in parts {
        let (start, end) = rest.split_at_mut(part.len());
        start.copy_from_slice(part);
        rest = end;
    }
    debug_assert!(rest.is_empty());
    signed
}

/// Signs as the local peer and checks what others signed. A simulation of a thousand peers has a
/// cheaper one than [`Ed25519`].
pub trait Signatures: fmt::Debug + Send + Sync {
    /// The local peer's signature.
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES];

    /// Whether `peer` signed the message.
    fn verify(&self, peer: PeerId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool;
}

/// The real ones: a peer's name is its public key.
#[derive(Debug, Clone)]
pub struct Ed25519(ed25519::Keypair);

impl TryFrom<&Keypair> for Ed25519 {
    type Error = OtherVariantError;

    /// That of [`Identity::keypair`](crate::Identity::keypair) never fails.
    fn try_from(keypair: &Keypair) -> Result<Ed25519, OtherVariantError> {
        keypair.clone().try_into_ed25519().map(Ed25519)
    }
}

impl Signatures for Ed25519 {
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).try_into().expect("ed25519 signatures have one length")
    }

    fn verify(&self, peer: PeerId, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        peer.verifies(message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster = Cluster([7; 16]);
    const STATE: StateHash = StateHash::from_bytes([3; 32]);

    #[test]
    fn a_head_is_the_word_of_one_origin_for_one_state_in_one_cluster() {
        let (signatures, other) = (key(), key());
        let origin = origin_of(&signatures);
        let head = Head::sign(&signatures, CLUSTER, origin, Version(5), STATE);
        assert!(head.verify(&signatures, CLUSTER, origin));
        assert!(head.verify(&other, CLUSTER, origin), "anybody can check it");

        let mut bent = head;
        bent.signature[40] ^= 1;
        let cases = [
            ("another cluster", head, Cluster([8; 16]), origin),
            ("an open cluster", head, Cluster::OPEN, origin),
            ("another epoch", head, CLUSTER, OriginId { epoch: Epoch(2), ..origin }),
            ("another peer", head, CLUSTER, origin_of(&other)),
            ("another version", Head { version: Version(6), ..head }, CLUSTER, origin),
            ("another state", Head { state: StateHash::from_bytes([4; 32]), ..head }, CLUSTER, origin),
            ("another signature", bent, CLUSTER, origin),
            ("no signature", Head { signature: [0; 64], ..head }, CLUSTER, origin),
            ("another's signature", Head::sign(&other, CLUSTER, origin, Version(5), STATE), CLUSTER, origin),
        ];
        for (case, head, cluster, origin) in cases {
            assert!(!head.verify(&signatures, cluster, origin), "{case}");
        }
    }

    /// Peers of different releases must agree on it.
    #[test]
    fn what_is_signed_keeps_its_layout() {
        let origin = OriginId { peer: PeerId::from_bytes([2; 32]), epoch: Epoch(0x0102) };
        let mut want = b"scope head 1\0".to_vec();
        want.extend([7; 16]);
        want.extend([2; 32]);
        want.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        want.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([3; 32]);
        assert_eq!(signed_bytes(CLUSTER, origin, Version(5), &STATE).as_slice(), want);
    }

    fn key() -> Ed25519 {
        Ed25519::try_from(&Keypair::generate_ed25519()).unwrap()
    }

    fn origin_of(key: &Ed25519) -> OriginId {
        OriginId { peer: key.0.public().into(), epoch: Epoch(1) }
    }
}
