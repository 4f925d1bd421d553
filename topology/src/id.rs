//! Names of things: peers, containers, images, processes. Cheap to clone, ordered, and bounded in length.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest accepted peer, container or image id, in bytes. A sha256 with its prefix takes 71.
pub const ID_BYTES_MAX: usize = 160;

/// An id that cannot be taken: it is empty, too long, or would not survive in a node's id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id: 1 to {ID_BYTES_MAX} bytes of printable ASCII without `;`")]
pub struct BadId(String);

fn check(text: &str) -> Result<Arc<str>, BadId> {
    let fits = (1..=ID_BYTES_MAX).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_graphic() && b != b';') {
        Ok(text.into())
    } else {
        Err(BadId(text.chars().take(ID_BYTES_MAX).collect()))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes an id as its maker wrote it.
            ///
            /// # Errors
            /// [`BadId`] if it is empty, longer than [`ID_BYTES_MAX`] or not printable ASCII without `;`.
            pub fn new(text: &str) -> Result<Self, BadId> {
                check(text).map(Self)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// One running `scope`, by the text of its libp2p peer id. To this crate it is opaque.
    PeerId
}
id! {
    /// A container, by its runtime's id: 64 hex digits for Docker, containerd and podman.
    ContainerId
}
id! {
    /// An image, by its id without the `sha256:` prefix.
    ImageId
}

impl ContainerId {
    /// The first twelve digits, as people write it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// The id's first eight bytes as a number: how gauge columns name a container. Containers of one host never share it
    /// in practice (2⁻⁶⁴); an id that is not hexadecimal gets a hash.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        let digits = self.0.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        digits.unwrap_or_else(|| fnv1a(self.0.as_bytes()))
    }
}

/// FNV-1a, 64 bit: the same on every peer, unlike a seeded hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A process for its whole life: a pid alone is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Pid in the host's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pid, self.start)
    }
}

/// A network namespace, by the inode of its `/proc/PID/ns/net`: unique on its host while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Netns(pub u64);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds from `self` to `now`; zero if the clock was set back in between.
    #[must_use]
    pub fn seconds_until(self, now: Self) -> u64 {
        now.0.saturating_sub(self.0) / 1000
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        write!(f, "{}", time.unwrap_or(jiff::Timestamp::MAX))
    }
}

/// Parses RFC 3339; a time before 1970 is the epoch (Docker writes year 1 for "never").
impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: jiff::Timestamp = text.parse()?;
        Ok(Self(u64::try_from(time.as_millisecond()).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printable_bounded_and_without_the_delimiter() {
        let long = "a".repeat(ID_BYTES_MAX + 1);
        let cases = [("4f5e", true), ("", false), ("a;b", false), ("a b", false), ("ä", false), (&long, false)];
        for (text, want) in cases {
            assert_eq!(ContainerId::new(text).is_ok(), want, "{text:?}");
        }
    }

    #[test]
    fn a_containers_prefix_is_its_first_sixteen_digits() {
        let id = ContainerId::new(&"0123456789abcdef".repeat(4)).expect("hex");
        assert_eq!((id.short(), id.prefix()), ("0123456789ab", 0x0123_4567_89ab_cdef));
        let odd = ContainerId::new("not-hexadecimal-at-all").expect("printable");
        assert_ne!(odd.prefix(), ContainerId::new("neither-is-this-one-xx").expect("printable").prefix());
    }

    #[test]
    fn a_timestamp_reads_what_it_prints() {
        let cases = [("2026-11-22T09:30:00Z", 1_795_339_800_000), ("0001-01-01T00:00:00Z", 0)];
        for (text, ms) in cases {
            assert_eq!(text.parse::<Timestamp>().ok(), Some(Timestamp(ms)), "{text}");
        }
        assert_eq!(Timestamp(1_795_339_800_123).to_string(), "2026-11-22T09:30:00.123Z");
    }
}
