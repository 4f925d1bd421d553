//! A chain of hashes, revealed backwards: who knows the next element knew the chain's secret.

use sha2::{Digest as _, Sha256};

use crate::OriginId;

/// Beats of one chain. At one in three seconds a chain lasts for three and a half hours; to check a
/// beat when all before it were missed takes this many hashes, a quarter of a millisecond.
pub const BEATS_PER_CHAIN: u32 = 4096;

/// Elements between two that are kept: a beat costs at most this many hashes, a chain half a
/// kilobyte.
const CHECKPOINT_EVERY: u32 = 64;

/// Prefixes of what is hashed. With the origin's name and the chain's number they fill one block of
/// SHA-256, which is hashed once per chain.
const ELEMENT_DOMAIN: &[u8; 20] = b"scope beat chain 1\0\0";
const SECRET_DOMAIN: &[u8; 20] = b"scope beat seed 1\0\0\0";

/// An element of a chain. 64 bits: finding the one before a known one takes 2⁶⁴ hashes within the
/// hours a chain lasts, to have a dead host pass for a living one.
type Element = [u8; 8];

/// An origin's word for being alive: the element of its chain in this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Number of the chain: each next one of a run has a higher number.
    pub chain: u32,
    /// Place in the chain, from 1 to [`BEATS_PER_CHAIN`]. Later beats have higher ones.
    pub count: u32,
    /// The element, which nobody but the origin knows before it says so.
    pub proof: [u8; 8],
}

/// The origin's side: all beats of one chain.
///
/// The last element is drawn from a seed, each other one is the hash of the one after it. The first
/// one, the **anchor**, is published under the origin's signature; after that each element proves
/// itself, for it leads to the anchor.
///
/// ```text
///  anchor ◀──hash── 1 ◀──hash── 2 ◀── ⋯ ◀──hash── 4096 ◀── seed
///  said first       said as the first beat        said last
/// ```
#[derive(Clone)]
pub struct BeatChain {
    number: u32,
    step: Step,
    anchor: Element,
    /// The elements `CHECKPOINT_EVERY`, `2 * CHECKPOINT_EVERY`, … up to the last one.
    checkpoints: Vec<Element>,
}

impl BeatChain {
    /// The chain of this number. The seed is the run's secret; one is enough for all its chains.
    #[must_use]
    pub fn new(seed: &[u8; 32], origin: OriginId, number: u32) -> BeatChain {
        let step = Step::new(ELEMENT_DOMAIN, origin, number);
        let mut element = Step::new(SECRET_DOMAIN, origin, number).hash(seed);
        let mut checkpoints = Vec::new();
        for count in (1..=BEATS_PER_CHAIN).rev() {
            if count % CHECKPOINT_EVERY == 0 {
                checkpoints.push(element);
            }
            element = step.hash(&element);
        }
        checkpoints.reverse();
        BeatChain { number, step, anchor: element, checkpoints }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What to publish before the first beat.
    #[must_use]
    pub fn anchor(&self) -> [u8; 8] {
        self.anchor
    }

    /// The beat in this place; none before 1 and beyond [`BEATS_PER_CHAIN`].
    #[must_use]
    pub fn beat(&self, count: u32) -> Option<Beat> {
        let checkpoint = count.checked_sub(1)? / CHECKPOINT_EVERY;
        let element = *self.checkpoints.get(checkpoint as usize)?;
        let steps = (checkpoint + 1) * CHECKPOINT_EVERY - count;
        Some(Beat { chain: self.number, count, proof: self.step.back(element, steps) })
    }
}

/// The others' side: the last beat of an origin that is known to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatCheck {
    last: Beat,
}

/// What a beat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The origin was alive after the last beat.
    Newer,
    /// Nothing new.
    Known,
    /// Of a chain whose anchor we have not got yet: it cannot be told whose it is.
    UnknownChain,
}

/// A beat that is not its origin's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("beat {count} of chain {chain} is not its origin's")]
pub struct Forged {
    /// Of which chain it says it is.
    pub chain: u32,
    /// In which place.
    pub count: u32,
}

impl BeatCheck {
    /// Of a chain with this number and anchor, by the origin's own word.
    #[must_use]
    pub fn new(chain: u32, anchor: [u8; 8]) -> BeatCheck {
        BeatCheck { last: Beat { chain, count: 0, proof: anchor } }
    }

    /// The last beat, with which others can be told. Its count is 0, and it is none yet, before the
    /// first one.
    #[must_use]
    pub fn last(&self) -> Beat {
        self.last
    }

    /// Checks a beat of `origin`, whose chain this is, and remembers it if it is the newest. At most
    /// [`BEATS_PER_CHAIN`] hashes, so a sender of forged ones should not be listened to again.
    ///
    /// # Errors
    /// [`Forged`]: who passed it on made it up, for the origin cannot be wrong.
    pub fn check(&mut self, origin: OriginId, beat: &Beat) -> Result<Heard, Forged> {
        let Beat { chain, count, proof } = *beat;
        let forged = Forged { chain, count };
        if chain > self.last.chain {
            return Ok(Heard::UnknownChain);
        }
        if chain < self.last.chain || count < self.last.count {
            return Ok(Heard::Known);
        }
        if count > BEATS_PER_CHAIN {
            return Err(forged);
        }
        let steps = count - self.last.count;
        if Step::new(ELEMENT_DOMAIN, origin, chain).back(proof, steps) != self.last.proof {
            return Err(forged);
        }
        self.last = *beat;
        Ok(if steps > 0 { Heard::Newer } else { Heard::Known })
    }
}

/// The hash from an element to the one before it, which is another one for each chain.
#[derive(Clone)]
struct Step(Sha256);

impl Step {
    fn new(domain: &[u8; 20], origin: OriginId, number: u32) -> Step {
        let mut block = Sha256::new();
        block.update(domain);
        block.update(origin.peer.as_bytes());
        block.update(origin.epoch.0.to_le_bytes());
        block.update(number.to_le_bytes());
        Step(block)
    }

    fn hash(&self, element: &[u8]) -> Element {
        let hash: [u8; 32] = self.0.clone().chain_update(element).finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        [a, b, c, d, e, f, g, h]
    }

    /// The element so many places before this one.
    fn back(&self, element: Element, steps: u32) -> Element {
        (0..steps).fold(element, |element, _| self.hash(&element))
    }
}

impl std::fmt::Debug for BeatChain {
    /// Without its elements, which are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BeatChain").field("number", &self.number).field("anchor", &self.anchor).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PeerId};

    const LAST: u32 = BEATS_PER_CHAIN;

    #[test]
    fn each_beat_leads_to_the_anchor() {
        let chain = chain(1);
        let mut want = chain.anchor();
        for count in 1..=LAST {
            let Beat { proof, .. } = chain.beat(count).unwrap();
            assert_eq!(chain.step.hash(&proof), want, "beat {count}");
            want = proof;
        }
        assert_eq!([0, LAST + 1, u32::MAX].map(|count| chain.beat(count)), [None; 3]);
    }

    #[test]
    fn beats_are_taken_in_their_order_and_from_their_origin_only() {
        let newer = Ok(Heard::Newer);
        let known = Ok(Heard::Known);
        let forged = |chain, count| Err(Forged { chain, count });
        let beat = |count| chain(1).beat(count).unwrap();
        let other_origin = BeatChain::new(&SEED, OriginId { epoch: Epoch(2), ..origin() }, 1);
        let other_seed = BeatChain::new(&[9; 32], origin(), 1);
        // the beats before it, the beat, what comes of it
        let cases = [
            (vec![], beat(1), newer),
            (vec![beat(1)], beat(2), newer),
            (vec![beat(1)], beat(70), newer), // those between were lost
            (vec![], beat(LAST), newer),
            (vec![beat(5)], beat(5), known),
            (vec![beat(5)], beat(4), known),
            (vec![beat(LAST)], beat(LAST), known),
            (vec![], Beat { count: 0, ..beat(1) }, forged(1, 0)),
            (vec![], Beat { proof: beat(7).proof, ..beat(8) }, forged(1, 8)), // an old element as a new one
            (vec![beat(7)], Beat { proof: beat(7).proof, ..beat(8) }, forged(1, 8)),
            (vec![beat(8)], Beat { proof: [0; 8], ..beat(8) }, forged(1, 8)),
            (vec![], Beat { proof: beat(9).proof, ..beat(8) }, forged(1, 8)),
            (vec![], Beat { count: LAST + 1, ..beat(1) }, forged(1, LAST + 1)),
            (vec![], Beat { count: u32::MAX, ..beat(1) }, forged(1, u32::MAX)),
            (vec![], other_origin.beat(1).unwrap(), forged(1, 1)),
            (vec![], other_seed.beat(1).unwrap(), forged(1, 1)),
            (vec![], chain(2).beat(1).unwrap(), Ok(Heard::UnknownChain)),
            (vec![], chain(0).beat(1).unwrap(), known), // the chain before
        ];
        for (before, beat, want) in cases {
            let mut check = BeatCheck::new(1, chain(1).anchor());
            for earlier in &before {
                assert_eq!(check.check(origin(), earlier), newer);
            }
            let last = check.last();
            assert_eq!(check.check(origin(), &beat), want, "{beat:?} after {before:?}");
            let want_last = if want == newer { beat } else { last };
            assert_eq!(check.last(), want_last, "{beat:?} after {before:?}");
        }
    }

    const SEED: [u8; 32] = [5; 32];

    fn origin() -> OriginId {
        OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) }
    }

    fn chain(number: u32) -> BeatChain {
        BeatChain::new(&SEED, origin(), number)
    }
}
