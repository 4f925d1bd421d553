//! An interval too large for one message, collected part by part.

use crate::limits::Footprint;
use crate::{Change, Interval, OriginId, Position, Span, Version};

/// The parts of an interval received so far. Nothing of them is applied before they are whole, so a
/// replica only ever holds states its origins had. Ask for the next part from [`Parts::position`].
///
/// The parts may come from several peers, each with a newer or older state of the origin: whole is
/// what reaches the newest state any part was taken from. Each must answer the latest position: a
/// part says from which version it goes on, but not which removals it leaves out.
#[derive(Debug)]
pub struct Parts {
    origin: OriginId,
    span: Span,
    /// The oldest state any part was taken from.
    oldest_state: Version,
    changes: Vec<Change>,
    bytes: usize,
    bytes_max: usize,
}

/// Why a part was not added. What is collected stays.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The part is of another origin.
    #[error("part of {got} among those of {want}")]
    WrongOrigin {
        /// Of which.
        got: OriginId,
        /// Of which it should be.
        want: OriginId,
    },
    /// It goes on from elsewhere than where the parts end, so it may lack removals they need.
    #[error("parts of {origin} reach version {have}, this one starts after {since}")]
    NotNext {
        /// Of which origin.
        origin: OriginId,
        /// Up to where there are parts.
        have: Version,
        /// Where the part starts.
        since: Version,
    },
    /// More than the bound.
    #[error("parts of {origin} take more than {max} bytes")]
    TooLarge {
        /// Of which origin.
        origin: OriginId,
        /// The bound.
        max: usize,
    },
}

impl Parts {
    /// Of this origin, added to its state at `since`, of at most `bytes_max` estimated memory. What
    /// an origin may take at most is a fit bound: beyond it a snapshot is the shorter way.
    #[must_use]
    pub fn new(origin: OriginId, since: Version, bytes_max: usize) -> Parts {
        let span = Span { since, until: since, complete_at: since };
        let oldest_state = Version(u64::MAX);
        Parts { origin, span, oldest_state, changes: Vec::new(), bytes: 0, bytes_max }
    }

    /// From where to ask for the next part.
    #[must_use]
    pub fn position(&self) -> Position {
        let Span { since, until, .. } = self.span;
        let mut position = Position::at(self.origin, until);
        if since == Version::ZERO && until > since {
            // A part lists no key that was already removed when its state was taken, so only later
            // removals can concern one of them.
            position.removals_after = self.oldest_state.max(until);
        }
        position
    }

    /// Adds a part. One that brings nothing new is no error. A snapshot starts over: its sender no
    /// longer keeps the removals that what is collected would need to go on.
    ///
    /// # Errors
    /// [`PartsError`]; a caller who gets one of these starts again.
    pub fn push(&mut self, part: Interval) -> Result<(), PartsError> {
        let (origin, span) = (part.origin(), part.span());
        if origin != self.origin {
            return Err(PartsError::WrongOrigin { got: origin, want: self.origin });
        }
        if part.is_snapshot() && self.span.until > Version::ZERO {
            let mut again = Parts::new(origin, Version::ZERO, self.bytes_max);
            again.append(part)?;
            *self = again;
            return Ok(());
        }
        let have = self.span.until;
        if span.until <= have {
            return Ok(());
        }
        if span.since != have {
            return Err(PartsError::NotNext { origin, have, since: span.since });
        }
        self.append(part)
    }

    /// Adds a part that starts where the others end.
    fn append(&mut self, part: Interval) -> Result<(), PartsError> {
        let span = part.span();
        let bytes = self.bytes + part.changes().iter().map(change_bytes).sum::<usize>();
        if bytes > self.bytes_max {
            return Err(PartsError::TooLarge { origin: self.origin, max: self.bytes_max });
        }
        self.bytes = bytes;
        self.span.until = span.until;
        self.span.complete_at = self.span.complete_at.max(span.complete_at);
        self.oldest_state = self.oldest_state.min(span.complete_at);
        self.changes.extend(part.into_changes());
        Ok(())
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.span.until > self.span.since && self.span.is_whole()
    }

    /// The whole interval, or the parts as they are if something is missing.
    ///
    /// # Errors
    /// The parts, when not [`Parts::is_whole`].
    pub fn into_interval(self) -> Result<Interval, Parts> {
        if !self.is_whole() {
            return Err(self);
        }
        let span = Span::whole(self.span.since, self.span.until);
        Ok(Interval::new_unchecked(self.origin, span, self.changes))
    }
}

/// What a collected change takes; a removal has a key too.
fn change_bytes(change: &Change) -> usize {
    let value_bytes = change.value.as_ref().map_or(0, bytes::Bytes::len);
    Footprint::of(change.key.as_bytes().len(), value_bytes).bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Key, PeerId};

    const A: PeerId = PeerId::from_bytes([1; 32]);
    const B: PeerId = PeerId::from_bytes([2; 32]);

    /// `since`, `until` and `complete_at` of a part.
    type Received = (u64, u64, u64);

    #[test]
    fn parts_are_whole_when_they_reach_every_state_they_were_taken_from() {
        // the parts as (since, until, complete_at); whole; where to go on
        let cases: [(&[Received], bool, (u64, u64)); 7] = [
            (&[], false, (4, 4)),
            (&[(4, 6, 9)], false, (6, 6)),
            (&[(4, 6, 9), (6, 9, 9)], true, (9, 9)),
            (&[(4, 6, 9), (6, 9, 12)], false, (9, 9)), // the sender moved on
            (&[(4, 6, 9), (6, 7, 7)], false, (7, 7)),  // another sender, further behind
            (&[(4, 6, 9), (6, 7, 7), (7, 9, 9)], true, (9, 9)),
            (&[(4, 6, 9), (4, 5, 9)], false, (6, 6)), // brings nothing
        ];
        for (received, whole, position) in cases {
            let parts = collect(4, received);
            assert_eq!(parts.is_whole(), whole, "{received:?}");
            assert_eq!(place(parts.position()), position, "{received:?}");
            let want = whole.then(|| part(A, 4, position.0, position.0));
            assert_eq!(parts.into_interval().ok(), want, "{received:?}");
        }
    }

    #[test]
    fn within_a_snapshot_only_removals_after_its_oldest_state_are_asked_for() {
        let cases: [(&[Received], (u64, u64)); 4] = [
            (&[], (0, 0)),
            (&[(0, 3, 9)], (3, 9)),
            (&[(0, 3, 9), (3, 5, 12)], (5, 9)),
            (&[(0, 3, 9), (3, 5, 7)], (5, 7)),
        ];
        for (received, position) in cases {
            assert_eq!(place(collect(0, received).position()), position, "{received:?}");
        }
    }

    #[test]
    fn a_snapshot_starts_over() {
        /// What was collected after which version, the snapshot, where to go on.
        type Case = ((u64, &'static [Received]), Received, (u64, u64));

        let cases: [Case; 4] = [
            ((0, &[(0, 10, 14)]), (0, 16, 16), (16, 16)), // what 15 removed is not in it
            ((0, &[(0, 6, 9)]), (0, 3, 12), (3, 12)),     // cut shorter than what was collected
            ((4, &[(4, 6, 9)]), (0, 12, 12), (12, 12)),
            ((4, &[]), (0, 9, 12), (9, 12)),
        ];
        for ((since, received), snapshot, position) in cases {
            let mut parts = collect(since, received);
            let snapshot = snapshot_of_last_key(snapshot);
            parts.push(snapshot.clone()).unwrap();
            assert_eq!(place(parts.position()), position, "{snapshot:?}");
            let want = snapshot.span().is_whole().then_some(snapshot);
            assert_eq!(parts.into_interval().ok(), want);
        }
    }

    #[test]
    fn a_part_that_does_not_fit_changes_nothing() {
        let at = |peer| OriginId { peer, epoch: Epoch(1) };
        let cases = [
            (part(B, 6, 7, 9), PartsError::WrongOrigin { got: at(B), want: at(A) }),
            (part(A, 7, 8, 9), PartsError::NotNext { origin: at(A), have: Version(6), since: Version(7) }),
            (part(A, 5, 9, 9), PartsError::NotNext { origin: at(A), have: Version(6), since: Version(5) }),
            (part(A, 0, 900, 900), PartsError::TooLarge { origin: at(A), max: BYTES_MAX }), // a snapshot
            (part(A, 6, 900, 900), PartsError::TooLarge { origin: at(A), max: BYTES_MAX }),
        ];
        for (bad, want) in cases {
            let mut parts = collect(4, &[(4, 6, 9)]);
            assert_eq!(parts.push(bad), Err(want));
            parts.push(part(A, 6, 9, 9)).unwrap();
            let whole = parts.into_interval().unwrap();
            assert_eq!(whole, part(A, 4, 9, 9));
        }
    }

    const BYTES_MAX: usize = 10_000;

    fn collect(since: u64, received: &[Received]) -> Parts {
        let origin = OriginId { peer: A, epoch: Epoch(1) };
        let mut parts = Parts::new(origin, Version(since), BYTES_MAX);
        for &(since, until, complete_at) in received {
            parts.push(part(A, since, until, complete_at)).unwrap();
        }
        parts
    }

    /// A part with one change per version.
    fn part(peer: PeerId, since: u64, until: u64, complete_at: u64) -> Interval {
        let changes = (since + 1..=until).map(|version| Change {
            version: Version(version),
            key: Key::new(&version.to_le_bytes()).unwrap(),
            value: Some("value".into()),
        });
        let [since, until, complete_at] = [since, until, complete_at].map(Version);
        let span = Span { since, until, complete_at };
        Interval::new(OriginId { peer, epoch: Epoch(1) }, span, changes.collect()).unwrap()
    }

    /// A part in which all keys but the last one are removed already.
    fn snapshot_of_last_key((since, until, complete_at): Received) -> Interval {
        let full = part(A, since, until, complete_at);
        let last = full.changes().last().cloned().into_iter().collect();
        Interval::new(full.origin(), full.span(), last).unwrap()
    }

    fn place(position: Position) -> (u64, u64) {
        (position.version.0, position.removals_after.0)
    }
}
