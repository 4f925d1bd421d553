//! Whether a host is heard of. What a silent host said stays on the map and is marked; it is dropped when the host is forgotten.

use serde::Serialize;

use crate::id::Timestamp;

/// Whether a host is heard of. `since` is when it last was, by our own clock: its clock may be an hour off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It is.
    #[default]
    Live,
    /// It has missed some beats: the host, or a link on the way to it.
    Suspect {
        /// When it was last heard of.
        since: Timestamp,
    },
    /// It has been silent for so long that it is taken for dead, or for cut off.
    Gone {
        /// When it was last heard of.
        since: Timestamp,
    },
}

/// What people are told of something no live host speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// `suspect` or `gone`.
    pub state: &'static str,
    /// When a host that knows of it was last heard of, by our clock.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl Life {
    /// Whether the host is heard of now.
    #[must_use]
    pub fn is_live(self) -> bool {
        self == Self::Live
    }

    /// What people are told of it; `None` of a live host.
    #[must_use]
    pub fn stale(self) -> Option<Stale> {
        match self {
            Self::Live => None,
            Self::Suspect { since } => Some(Stale { state: "suspect", since }),
            Self::Gone { since } => Some(Stale { state: "gone", since }),
        }
    }

    /// Until when the host's word holds: `now`, or when it was last heard of. A machine that may be off has no uptime that grows.
    #[must_use]
    pub fn until(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Live => now,
            Self::Suspect { since } | Self::Gone { since } => since,
        }
    }

    /// Orders by how much a host's word is worth: live ones first, then those heard of last.
    pub(crate) fn worth(self) -> (u8, Timestamp) {
        match self {
            Self::Live => (2, Timestamp(u64::MAX)),
            Self::Suspect { since } => (1, since),
            Self::Gone { since } => (0, since),
        }
    }
}
