//! The writer: what this peer says of its own host.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::{Footprint, VALUE_BYTES_MAX};
use crate::{Change, Interval, Key, LimitError, Limits, OriginId, Span, Version};

/// The local peer's newest entries. Turns what changed into intervals; keeps no history, the
/// [`Replica`](crate::Replica) that records the intervals does.
#[derive(Debug)]
pub struct LocalOrigin {
    id: OriginId,
    limits: Limits,
    entries: BTreeMap<Key, Bytes>,
    footprint: Footprint,
    version: Version,
}

/// Why nothing was published.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The origin would exceed a bound, and no peer would take it.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A value longer than [`VALUE_BYTES_MAX`].
    #[error("{key} has a value of {bytes} bytes, at most {VALUE_BYTES_MAX} are taken")]
    ValueTooLong {
        /// Of which key.
        key: Key,
        /// How long it is.
        bytes: usize,
    },
}

impl LocalOrigin {
    /// A run that has said nothing yet. The epoch must be new, see [`Identity`](crate::Identity).
    #[must_use]
    pub fn new(id: OriginId, limits: Limits) -> LocalOrigin {
        LocalOrigin { id, limits, entries: BTreeMap::new(), footprint: Footprint::default(), version: Version::ZERO }
    }

    /// Who this is, and in which run.
    #[must_use]
    pub fn id(&self) -> OriginId {
        self.id
    }

    /// The version of the last write.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What is said now, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Bytes)> {
        self.entries.iter()
    }

    /// Writes values (`Some`) and removals (`None`), the last one for a key given twice. What is so
    /// already is not written again: `None` if that is everything. Each write takes a version, in
    /// the order of the keys; others see all of them at once or none.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is written then.
    pub fn publish(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Bytes>)>,
    ) -> Result<Option<Interval>, PublishError> {
        let mut writes: BTreeMap<Key, Option<Bytes>> = changes.into_iter().collect();
        writes.retain(|key, value| self.entries.get(key) != value.as_ref());
        if writes.is_empty() {
            return Ok(None);
        }
        self.footprint = self.footprint_after(&writes)?;
        let since = self.version;
        let changes = writes.into_iter().map(|(key, value)| self.write(key, value)).collect();
        let span = Span::whole(since, self.version);
        Ok(Some(Interval::new_unchecked(self.id, span, changes)))
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) -> Change {
        self.version = self.version.next();
        match &value {
            Some(value) => self.entries.insert(key.clone(), value.clone()),
            None => self.entries.remove(&key),
        };
        Change { version: self.version, key, value }
    }

    fn footprint_after(&self, writes: &BTreeMap<Key, Option<Bytes>>) -> Result<Footprint, PublishError> {
        let mut after = self.footprint;
        for (key, value) in writes {
            let key_bytes = key.as_bytes().len();
            if let Some(old) = self.entries.get(key) {
                after.remove(Footprint::of(key_bytes, old.len()));
            }
            if let Some(value) = value {
                if value.len() > VALUE_BYTES_MAX {
                    let bytes = value.len();
                    return Err(PublishError::ValueTooLong { key: key.clone(), bytes });
                }
                after.add(Footprint::of(key_bytes, value.len()));
            }
        }
        self.limits.check(self.id.peer, after, 0)?;
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PeerId};

    type Write = (&'static str, Option<&'static str>);

    #[test]
    fn only_what_differs_takes_a_version() {
        // starting from a=1 (version 1), b=2 (version 2)
        let cases: [(&[Write], &str); 8] = [
            (&[], "nothing"),
            (&[("a", Some("1"))], "nothing"),
            (&[("c", None)], "nothing"),
            (&[("a", Some("9")), ("a", Some("1"))], "nothing"), // the last one counts
            (&[("a", Some("9"))], "(2, 3] 3:a=9"),
            (&[("a", None)], "(2, 3] 3:a"),
            (&[("c", Some("3")), ("a", Some("1")), ("b", None)], "(2, 4] 3:b 4:c=3"),
            (&[("c", Some(""))], "(2, 3] 3:c="),
        ];
        for (changes, want) in cases {
            let mut local = local();
            let before = local.version();
            let got = local.publish(changes.iter().map(|&(key, value)| change(key, value))).unwrap();
            assert_eq!(text(got.as_ref()), want, "{changes:?}");
            let written = got.map_or(0, |interval| interval.changes().len() as u64);
            assert_eq!(local.version(), Version(before.0 + written), "{changes:?}");
        }
    }

    #[test]
    fn what_no_peer_would_take_is_not_published() {
        let peer = id().peer;
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let too_long = PublishError::ValueTooLong { key: key_of("a"), bytes: long.len() };
        let full = PublishError::Limit(LimitError::Entries { peer, entries: 4, max: 3 });
        for (value, want) in [(long.as_str(), too_long), ("3", full)] {
            let mut local = local();
            let changes = ["a", "c", "d"].map(|key| change(key, Some(value)));
            assert_eq!(local.publish(changes), Err(want));
            assert_eq!(local.version(), Version(2));
            assert_eq!(text(local.publish([change("a", None)]).unwrap().as_ref()), "(2, 3] 3:a");
        }
    }

    fn id() -> OriginId {
        OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) }
    }

    /// Holds a=1 and b=2, and has room for one more entry.
    fn local() -> LocalOrigin {
        let limits = Limits { entries_per_origin_max: 3, ..Limits::default() };
        let mut local = LocalOrigin::new(id(), limits);
        local.publish([change("a", Some("1")), change("b", Some("2"))]).unwrap();
        local
    }

    fn key_of(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn change(key: &str, value: Option<&str>) -> (Key, Option<Bytes>) {
        (key_of(key), value.map(|value| value.to_owned().into()))
    }

    fn text(interval: Option<&Interval>) -> String {
        let Some(interval) = interval else {
            return "nothing".to_owned();
        };
        let Span { since, until, .. } = interval.span();
        let mut text = format!("({since}, {until}]");
        for Change { version, key, value } in interval.changes() {
            text += &format!(" {version}:{key}");
            if let Some(value) = value {
                text += &format!("={}", value.escape_ascii());
            }
        }
        text
    }
}
