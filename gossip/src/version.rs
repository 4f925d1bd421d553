//! The two counters that order everything an origin says, and the name of one of its runs.

use std::fmt;

use crate::PeerId;

/// Which start of a peer: a persisted counter, so a restart replaces what the last run said instead
/// of adding a twin. The first run is 1; 0 stands for "none known".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// How many writes an origin has made in its epoch. Each changed key takes one of its own, so
/// versions order all writes and an interval can be cut after any of them. 0 is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Before the first write: where the empty state is.
    pub const ZERO: Version = Version(0);

    /// The version of the write after this one.
    #[must_use]
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

/// One run of one peer: the only writer of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId {
    /// Who writes.
    pub peer: PeerId,
    /// In which of its runs.
    pub epoch: Epoch,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.peer, self.epoch)
    }
}
