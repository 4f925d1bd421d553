//! Who should be whose neighbour: those beside each other on a few rings.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::peers::{Ix, ME};
use crate::PeerId;

/// Up to so many living peers everybody is everybody's neighbour.
pub(super) const FULL_MESH_MAX: usize = 6;

/// On the most rings a peer has twice as many neighbours: 8, enough for paths of 5 hops among a thousand.
const RINGS_MAX: usize = 4;

/// Where a peer is on each ring.
pub(super) type Places = [u64; RINGS_MAX];

/// Keeps these hashes apart from others of the same bytes.
const DOMAIN: &[u8] = b"scope rings 1\0";

/// Living peers in as many orders as there are rings.
#[derive(Debug)]
pub(super) struct Rings {
    rings: [BTreeMap<(u64, PeerId), Ix>; RINGS_MAX],
}

/// One hash, cut in four.
pub(super) fn places(peer: PeerId) -> Places {
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(peer.as_bytes()).finalize();
    let mut places = Places::default();
    for (place, bytes) in places.iter_mut().zip(hash.chunks_exact(8)) {
        *place = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    places
}

impl Rings {
    /// Rings with the local peer alone.
    pub(super) fn new(local: PeerId) -> Rings {
        let mut rings = Rings { rings: Default::default() };
        rings.insert(local, &places(local), ME);
        rings
    }

    /// Whether it was not there.
    pub(super) fn insert(&mut self, peer: PeerId, places: &Places, ix: Ix) -> bool {
        let mut is_new = false;
        for (ring, place) in self.rings.iter_mut().zip(places) {
            is_new |= ring.insert((*place, peer), ix).is_none();
        }
        is_new
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, peer: PeerId, places: &Places) -> bool {
        let mut was_there = false;
        for (ring, place) in self.rings.iter_mut().zip(places) {
            was_there |= ring.remove(&(*place, peer)).is_some();
        }
        was_there
    }

    /// How many peers there are, the local one included.
    pub(super) fn len(&self) -> usize {
        self.rings[0].len()
    }

    /// The neighbours that the local peer should have.
    pub(super) fn neighbours(&self, local: PeerId, places: &Places) -> BTreeSet<Ix> {
        let mut wanted = BTreeSet::new();
        match self.len() {
            ..=FULL_MESH_MAX => wanted.extend(self.rings[0].values()),
            peers => {
                for (ring, place) in self.rings.iter().zip(places).take(rings_for(peers)) {
                    let here = (*place, local);
                    let before = ring.range(..here).next_back().or_else(|| ring.iter().next_back());
                    let after = ring.range(here..).find(|(at, _)| **at != here).or_else(|| ring.iter().next());
                    wanted.extend(before.into_iter().chain(after).map(|(_, ix)| *ix));
                }
            }
        }
        wanted.remove(&ME);
        wanted
    }
}

/// Two neighbours a ring. Two rings are connected and short for a few, four keep a thousand within five hops.
fn rings_for(peers: usize) -> usize {
    match peers {
        0..=24 => 2,
        25..=200 => 3,
        _ => RINGS_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        PeerId::from_bytes(bytes)
    }

    /// Each peer's neighbours as it sees them.
    fn graph(peers: u16) -> Vec<BTreeSet<u16>> {
        let own = |local: u16| {
            let mut rings = Rings::new(peer(local));
            for other in (0..peers).filter(|other| *other != local) {
                rings.insert(peer(other), &places(peer(other)), Ix(u32::from(other) + 1));
            }
            let ixs = rings.neighbours(peer(local), &places(peer(local)));
            ixs.into_iter().map(|ix| u16::try_from(ix.0 - 1).unwrap()).collect()
        };
        (0..peers).map(own).collect()
    }

    /// Hops from the first peer to the farthest.
    fn eccentricity(graph: &[BTreeSet<u16>]) -> Option<usize> {
        let mut seen = BTreeSet::from([0u16]);
        let mut front = seen.clone();
        for hops in 0..graph.len() {
            if seen.len() == graph.len() {
                return Some(hops);
            }
            front =
                front.iter().flat_map(|at| &graph[usize::from(*at)]).copied().filter(|at| !seen.contains(at)).collect();
            seen.extend(&front);
        }
        None
    }

    #[test]
    fn neighbours_are_mutual_few_and_close() {
        // peers, most neighbours, most hops
        let cases = [(1, 0, 0), (2, 1, 1), (6, 5, 1), (7, 4, 3), (24, 4, 6), (100, 6, 6), (1000, 8, 6)];
        for (peers, degree_max, hops_max) in cases {
            let graph = graph(peers);
            for (local, neighbours) in graph.iter().enumerate() {
                let local = u16::try_from(local).unwrap();
                assert!(neighbours.len() <= degree_max, "{peers} peers: {} neighbours", neighbours.len());
                assert!(neighbours.iter().all(|other| graph[usize::from(*other)].contains(&local)), "{peers} peers");
            }
            let hops = eccentricity(&graph).expect("connected");
            assert!(hops <= hops_max, "{peers} peers: {hops} hops");
        }
    }
}
