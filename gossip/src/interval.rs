//! What an origin wrote between two versions: the unit that travels.

use bytes::Bytes;

use crate::limits::VALUE_BYTES_MAX;
use crate::{Key, OriginId, Version};

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When, in the order of its origin.
    pub version: Version,
    /// What was written.
    pub key: Key,
    /// Its value from then on; `None` when it was removed. It is kept as it is, so it should own its
    /// bytes: a slice of a received frame keeps the whole frame.
    pub value: Option<Bytes>,
}

/// The versions an interval speaks for: `(since, until]`, taken from a state at `complete_at`.
///
/// An interval cut short by a budget ends before the state it was taken from. It lacks keys that
/// were written in its span and again after it, so on its own it leads to a state the origin never
/// had; only with what follows, up to `complete_at`, is it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The version to which the changes are added. 0 is the empty state.
    pub since: Version,
    /// The version of the last change that is in.
    pub until: Version,
    /// The version of the state the changes were taken from: `until` if nothing is left out.
    pub complete_at: Version,
}

/// What one origin wrote after `since`, up to and including `until`: of each key the newest write.
///
/// From version 0 it is a **snapshot**: it needs nothing, replaces what was held, and removals in
/// it only matter if they follow a write of the same key in it.
///
/// Invariants, checked by [`Interval::new`]: `since < until <= complete_at`; changes have strictly
/// rising versions within `(since, until]`; no value is longer than [`VALUE_BYTES_MAX`]. A key that
/// occurs twice is no error, the later write counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    origin: OriginId,
    span: Span,
    changes: Vec<Change>,
}

/// Why this is no interval.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// The ends are not in order.
    #[error("no interval after {since} until {until} of a state at {complete_at}")]
    Span {
        /// See [`Span`].
        since: Version,
        /// See [`Span`].
        until: Version,
        /// See [`Span`].
        complete_at: Version,
    },
    /// A change out of order or outside of the span.
    #[error("version {0} is out of order or outside of the interval")]
    Order(Version),
    /// A value longer than [`VALUE_BYTES_MAX`].
    #[error("{key} has a value of {bytes} bytes, at most {VALUE_BYTES_MAX} are taken")]
    ValueTooLong {
        /// Of which key.
        key: Key,
        /// How long it is.
        bytes: usize,
    },
}

impl Span {
    /// A span with nothing left out.
    #[must_use]
    pub fn whole(since: Version, until: Version) -> Span {
        Span { since, until, complete_at: until }
    }

    /// Whether changes of this span lead to a state the origin had.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.until >= self.complete_at
    }
}

impl Interval {
    /// An interval of these changes, in the order of their versions.
    ///
    /// # Errors
    /// [`IntervalError`] if an invariant of the type does not hold.
    pub fn new(origin: OriginId, span: Span, changes: Vec<Change>) -> Result<Interval, IntervalError> {
        let Span { since, until, complete_at } = span;
        if since >= until || until > complete_at {
            return Err(IntervalError::Span { since, until, complete_at });
        }
        let mut last = since;
        for Change { version, key, value } in &changes {
            if *version <= last || *version > until {
                return Err(IntervalError::Order(*version));
            }
            last = *version;
            match value {
                Some(value) if value.len() > VALUE_BYTES_MAX => {
                    return Err(IntervalError::ValueTooLong { key: key.clone(), bytes: value.len() });
                }
                _ => {}
            }
        }
        Ok(Interval { origin, span, changes })
    }

    /// An interval whose invariants the caller keeps.
    pub(crate) fn new_unchecked(origin: OriginId, span: Span, changes: Vec<Change>) -> Interval {
        debug_assert!(changes.is_sorted_by(|a, b| a.version < b.version));
        Interval { origin, span, changes }
    }

    /// Who wrote it.
    #[must_use]
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// For which versions it speaks.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The changes, oldest first.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether it starts at nothing, and so replaces what was held.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.span.since == Version::ZERO
    }

    /// The changes after `version`.
    #[must_use]
    pub fn changes_after(&self, version: Version) -> &[Change] {
        &self.changes[self.split_at(version)..]
    }

    /// The changes up to and including `version`.
    #[must_use]
    pub fn changes_until(&self, version: Version) -> &[Change] {
        &self.changes[..self.split_at(version)]
    }

    /// The changes as the caller's own.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn split_at(&self, version: Version) -> usize {
        self.changes.partition_point(|change| change.version <= version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PeerId};

    const LONG: usize = VALUE_BYTES_MAX + 1;

    /// `since`, `until` and `complete_at`, then the changes: version and length of the value.
    type Received = ((u64, u64, u64), &'static [(u64, usize)]);

    #[test]
    fn an_interval_is_taken_only_in_order_and_within_bounds() {
        let order = |version| Err(IntervalError::Order(Version(version)));
        let cases: [(Received, Result<(), IntervalError>); 11] = [
            (((4, 6, 6), &[(5, 0), (6, 0)]), Ok(())),
            (((0, 6, 9), &[(6, VALUE_BYTES_MAX)]), Ok(())), // a snapshot, cut short
            (((4, 6, 6), &[]), Ok(())),
            (((4, 4, 4), &[]), span_error(4, 4, 4)),
            (((5, 4, 9), &[]), span_error(5, 4, 9)),
            (((4, 6, 5), &[]), span_error(4, 6, 5)),
            (((4, 6, 6), &[(4, 0)]), order(4)),
            (((4, 6, 6), &[(7, 0)]), order(7)),
            (((4, 6, 6), &[(6, 0), (5, 0)]), order(5)),
            (((4, 6, 6), &[(5, 0), (5, 0)]), order(5)),
            (((4, 6, 6), &[(5, LONG)]), Err(IntervalError::ValueTooLong { key: key(), bytes: LONG })),
        ];
        for (((since, until, complete_at), changes), want) in cases {
            let span = Span { since: Version(since), until: Version(until), complete_at: Version(complete_at) };
            let changes = changes.iter().map(|&(version, bytes)| Change {
                version: Version(version),
                key: key(),
                value: Some(vec![0; bytes].into()),
            });
            let origin = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };
            let got = Interval::new(origin, span, changes.collect()).map(|_| ());
            assert_eq!(got, want, "{span:?}");
        }
    }

    fn key() -> Key {
        Key::new(b"key").unwrap()
    }

    fn span_error(since: u64, until: u64, complete_at: u64) -> Result<(), IntervalError> {
        let [since, until, complete_at] = [since, until, complete_at].map(Version);
        Err(IntervalError::Span { since, until, complete_at })
    }
}
