//! The name of a peer: its ed25519 public key.

use std::fmt;
use std::str::FromStr;

use libp2p_identity::{PublicKey, ed25519};

/// A libp2p peer id of an ed25519 key begins with these bytes, then comes the key itself: identity
/// multihash (0x00) of 36 bytes, protobuf field 1 = key type ed25519, field 2 = 32 bytes.
/// <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>
const ED25519_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// An ed25519 peer id is 52 characters. Decoding base58 takes quadratic time, hence a bound.
const TEXT_CHARS_MAX: usize = 64;

/// One running `scope`, by its public key, so whatever a peer signed can be checked from its name
/// alone. Reads and prints as libp2p's base58 text.
///
/// Holds the 32 bytes of the key, not libp2p's own 80-byte type: it is in every digest and index.
/// That they are a point of the curve is not checked here; a signature of such a peer never verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Why something is not the name of a peer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// Not base58, or not a peer id.
    #[error("{0:?} is not a peer id")]
    Malformed(String),
    /// A libp2p peer, but not named by an ed25519 key.
    #[error("peer id {0} is not of an ed25519 key")]
    NotEd25519(libp2p_identity::PeerId),
}

impl PeerId {
    /// The peer whose ed25519 public key this is.
    #[must_use]
    pub const fn from_bytes(public_key: [u8; 32]) -> PeerId {
        PeerId(public_key)
    }

    /// The ed25519 public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this peer signed `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519::PublicKey::try_from_bytes(&self.0).is_ok_and(|key| key.verify(message, signature))
    }
}

impl From<ed25519::PublicKey> for PeerId {
    fn from(key: ed25519::PublicKey) -> PeerId {
        PeerId(key.to_bytes())
    }
}

impl From<PeerId> for libp2p_identity::PeerId {
    fn from(peer: PeerId) -> libp2p_identity::PeerId {
        let mut bytes = ED25519_PREFIX.to_vec();
        bytes.extend_from_slice(&peer.0);
        libp2p_identity::PeerId::from_bytes(&bytes).expect("the prefix makes any 32 bytes a peer id")
    }
}

impl TryFrom<libp2p_identity::PeerId> for PeerId {
    type Error = PeerIdError;

    fn try_from(peer: libp2p_identity::PeerId) -> Result<PeerId, PeerIdError> {
        let bytes = peer.to_bytes();
        bytes
            .strip_prefix(&ED25519_PREFIX)
            .and_then(|key| key.try_into().ok())
            .map(PeerId)
            .ok_or(PeerIdError::NotEd25519(peer))
    }
}

impl TryFrom<PublicKey> for PeerId {
    type Error = PeerIdError;

    fn try_from(key: PublicKey) -> Result<PeerId, PeerIdError> {
        key.to_peer_id().try_into()
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<PeerId, PeerIdError> {
        if text.len() > TEXT_CHARS_MAX {
            let start = text.chars().take(TEXT_CHARS_MAX).collect();
            return Err(PeerIdError::Malformed(start));
        }
        let peer: libp2p_identity::PeerId = text.parse().map_err(|_| PeerIdError::Malformed(text.to_owned()))?;
        peer.try_into()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        libp2p_identity::PeerId::from(*self).fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    #[test]
    fn a_peer_id_reads_and_prints_as_libp2ps_own() {
        let key = Keypair::generate_ed25519();
        let theirs = key.public().to_peer_id();
        let ours = PeerId::try_from(key.public()).unwrap();
        assert_eq!(ours.to_string(), theirs.to_base58());
        assert_eq!(theirs.to_base58().parse(), Ok(ours));
        assert_eq!(libp2p_identity::PeerId::from(ours), theirs);
    }

    #[test]
    fn any_32_bytes_survive_the_trip_through_text() {
        for byte in [0, 1, 0x7f, 0xff] {
            let peer = PeerId::from_bytes([byte; 32]);
            assert_eq!(peer.to_string().parse(), Ok(peer));
            assert!(!peer.verifies(b"said", &[0; 64]), "nobody holds the key of {peer}");
        }
    }

    #[test]
    fn what_is_no_ed25519_peer_is_refused() {
        let long = "1".repeat(100_000);
        for text in ["", "not base58: 0OIl", "12D3KooW", &long] {
            assert!(matches!(text.parse::<PeerId>(), Err(PeerIdError::Malformed(_))), "{text:.20}");
        }
        // The hash of an RSA key, as in the libp2p specification's examples.
        let rsa = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert!(matches!(rsa.parse::<PeerId>(), Err(PeerIdError::NotEd25519(_))));
    }

    #[test]
    fn a_peer_verifies_only_what_it_signed() {
        let key = Keypair::generate_ed25519();
        let peer = PeerId::try_from(key.public()).unwrap();
        let signature = key.sign(b"said").unwrap();
        assert!(peer.verifies(b"said", &signature));
        assert!(!peer.verifies(b"not said", &signature));
        assert!(!peer.verifies(b"said", b"short"));
    }
}
