//! Signatures that cost little: a thousand peers check some hundred thousand a virtual second.

use sha2::{Digest as _, Sha256};

use crate::PeerId;
use crate::head::Signatures;

/// One peer's signatures, in a world whose secret is nobody's but the simulator's.
///
/// A signature is a hash keyed by the world's secret and the signer's name. Any peer of the world could
/// compute it, but the code under test does not know how: to it, it is as good as a real one.
#[derive(Debug)]
pub(super) struct WorldKey {
    secret: [u8; 32],
    peer: PeerId,
}

impl WorldKey {
    pub(super) fn new(secret: [u8; 32], peer: PeerId) -> WorldKey {
        WorldKey { secret, peer }
    }

    fn signature(&self, peer: PeerId, message: &[u8]) -> [u8; 64] {
        let hash = Sha256::new().chain_update(self.secret).chain_update(peer.as_bytes()).chain_update(message);
        let hash: [u8; 32] = hash.finalize().into();
        let mut signature = [0; 64]; // as long as a real one
        signature[..32].copy_from_slice(&hash);
        signature[32..].copy_from_slice(&hash);
        signature
    }
}

impl Signatures for WorldKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signature(self.peer, message)
    }

    fn verify(&self, peer: PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        self.signature(peer, message) == *signature
    }
}
