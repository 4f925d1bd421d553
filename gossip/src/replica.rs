//! Everything a peer holds, of itself and of the others, and how it is brought up to date.

use std::collections::BTreeMap;

use crate::digest::{Difference, Digest, Position};
use crate::limits::{LimitError, Limits};
use crate::origin::Writes;
use crate::{Change, Interval, Key, Origin, OriginId, PeerId, StateHash, Version};

/// The newest state of each origin that this peer has heard of.
///
/// It is a join-semilattice: of two states of a peer the one with the higher epoch, then the higher
/// version, is the join; so intervals may come in any order, late, twice or never. Bounded by
/// [`Limits`].
#[derive(Debug, Clone)]
pub struct Replica {
    local: PeerId,
    limits: Limits,
    origins: BTreeMap<PeerId, Origin>,
    bytes: usize,
}

/// What an interval changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied<'a> {
    /// Nothing: it was known, or is of an older run of its peer.
    Known,
    /// These entries, and no others.
    Changed(&'a [Change]),
    /// The whole origin, which is new to us or was replaced by a snapshot.
    Replaced,
}

/// Why an interval was not applied. What was held is held still.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// We lack versions before the interval: ask from the position.
    #[error("{} is at version {}, the interval starts after {since}", .from.origin, .from.version)]
    Gap {
        /// What we hold.
        from: Position,
        /// Where the interval starts.
        since: Version,
    },
    /// A part of an interval: collect it with [`Parts`](crate::Parts).
    #[error("interval of {origin} ends at {until}, of a state at {complete_at}")]
    Incomplete {
        /// Of which origin.
        origin: OriginId,
        /// Where it ends.
        until: Version,
        /// Where it would be whole.
        complete_at: Version,
    },
    /// From elsewhere, but of the local peer, which alone writes its entries. An epoch not below
    /// our own means that our key or state directory is in use twice or was put back from a copy.
    #[error("{0} is the local peer: another speaks in its name")]
    LocalPeer(OriginId),
    /// To be recorded as the local peer's, but of another.
    #[error("{got} is not the local peer {want}")]
    WrongOrigin {
        /// Of which origin.
        got: OriginId,
        /// The local peer.
        want: PeerId,
    },
    /// The origin, or who passed it on, says two things under one version.
    #[error("{origin} says two things about {key} at version {version}")]
    Equivocation {
        /// Of which origin.
        origin: OriginId,
        /// At which version.
        version: Version,
        /// About which key.
        key: Key,
    },
    /// It leads to another state than the origin says it had: who passed it on changed it.
    #[error("what was said of {origin} does not lead to its state at version {version}")]
    StateHash {
        /// Of which origin.
        origin: OriginId,
        /// The state at which version.
        version: Version,
    },
    /// There is no room.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// What to tell who asks from a position.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds what we hold.
    UpToDate,
    /// It holds more than we do.
    Behind,
    /// What it lacks, or the first part of it. A snapshot if it holds another run of the peer, or
    /// removals it has not heard of are no longer kept.
    Interval(Interval),
}

impl Replica {
    /// A replica that holds nothing, of the peer `local`.
    #[must_use]
    pub fn new(local: PeerId, limits: Limits) -> Replica {
        Replica { local, limits, origins: BTreeMap::new(), bytes: 0 }
    }

    /// The peer whose replica this is.
    #[must_use]
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// What is held of a peer.
    #[must_use]
    pub fn origin(&self, peer: PeerId) -> Option<&Origin> {
        self.origins.get(&peer)
    }

    /// All that is held, in the order of the peers.
    pub fn origins(&self) -> impl ExactSizeIterator<Item = &Origin> {
        self.origins.values()
    }

    /// Estimated memory of all live entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The versions held.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.origins().map(|origin| (origin.id(), origin.version())))
    }

    /// Who lacks what, this peer or the one with that digest. This peer never lacks what is its own.
    #[must_use]
    pub fn difference(&self, theirs: &Digest) -> Difference {
        let mut difference = self.digest().difference(theirs);
        difference.behind.retain(|position| position.origin.peer != self.local);
        difference
    }

    /// From where to ask for more of a peer.
    #[must_use]
    pub fn position(&self, peer: PeerId) -> Position {
        self.origin(peer).map_or_else(|| Position::nothing(peer), |origin| Position::at(origin.id(), origin.version()))
    }

    /// Brings what is held of another peer up to the end of `interval`. Says what changed: gossip
    /// repeats itself, so what is known is no error.
    ///
    /// # Errors
    /// [`ApplyError`]; the replica is as before then.
    pub fn apply<'a>(&mut self, interval: &'a Interval) -> Result<Applied<'a>, ApplyError> {
        if interval.origin().peer == self.local {
            return Err(ApplyError::LocalPeer(interval.origin()));
        }
        self.join(interval, None)
    }

    /// Like [`Replica::apply`], but takes only what leads to this state. With one that the origin
    /// signed, see [`Head`](crate::head::Head), those who passed the interval on need not be trusted.
    ///
    /// # Errors
    /// [`ApplyError`]; the replica is as before then.
    pub fn apply_signed<'a>(&mut self, interval: &'a Interval, state: &StateHash) -> Result<Applied<'a>, ApplyError> {
        if interval.origin().peer == self.local {
            return Err(ApplyError::LocalPeer(interval.origin()));
        }
        self.join(interval, Some(state))
    }

    /// Like [`Replica::apply`], for what the local peer has published.
    ///
    /// # Errors
    /// [`ApplyError`]; the replica is as before then.
    pub fn record<'a>(&mut self, interval: &'a Interval) -> Result<Applied<'a>, ApplyError> {
        if interval.origin().peer != self.local {
            return Err(ApplyError::WrongOrigin { got: interval.origin(), want: self.local });
        }
        self.join(interval, None)
    }

    /// `signed`: the state it must lead to, if that is known.
    fn join<'a>(&mut self, interval: &'a Interval, signed: Option<&StateHash>) -> Result<Applied<'a>, ApplyError> {
        let (origin, span) = (interval.origin(), interval.span());
        if !span.is_whole() {
            let (until, complete_at) = (span.until, span.complete_at);
            return Err(ApplyError::Incomplete { origin, until, complete_at });
        }
        match self.origins.get(&origin.peer) {
            Some(held) if held.id().epoch > origin.epoch => Ok(Applied::Known),
            Some(held) if held.id().epoch == origin.epoch => {
                agrees(held, interval)?;
                if span.until <= held.version() {
                    Ok(Applied::Known)
                } else if interval.is_snapshot() {
                    self.replace(interval, signed)
                } else {
                    self.extend(interval, signed)
                }
            }
            _ if interval.is_snapshot() => self.replace(interval, signed),
            _ => Err(ApplyError::Gap { from: self.position(origin.peer), since: span.since }),
        }
    }

    /// Adds newer changes to the same run.
    fn extend<'a>(&mut self, interval: &'a Interval, signed: Option<&StateHash>) -> Result<Applied<'a>, ApplyError> {
        let (peer, span) = (interval.origin().peer, interval.span());
        let from = self.position(peer);
        let Some(held) = self.origins.get_mut(&peer).filter(|_| span.since <= from.version) else {
            return Err(ApplyError::Gap { from, since: span.since });
        };
        let changes = interval.changes_after(from.version);
        let elsewhere_bytes = self.bytes - held.footprint().bytes;
        let counted_bytes = if peer == self.local { 0 } else { elsewhere_bytes }; // others may not silence the local peer
        // The exact figure needs a look-up for each key; only near a bound does it matter.
        if self.limits.check(peer, held.footprint_at_most(changes), counted_bytes).is_err() {
            self.limits.check(peer, held.footprint_after(changes), counted_bytes)?;
        }
        let writes = Writes::new(changes);
        leads_to(signed, interval, || held.state_hash_after(&writes, span.until))?;
        held.write(&writes, span.until);
        held.collect_beyond(&self.limits);
        self.bytes = elsewhere_bytes + held.footprint().bytes;
        Ok(Applied::Changed(changes))
    }

    /// Holds the snapshot instead of what was held of its peer.
    fn replace(&mut self, snapshot: &Interval, signed: Option<&StateHash>) -> Result<Applied<'static>, ApplyError> {
        let peer = snapshot.origin().peer;
        let held = self.origins.get(&peer);
        let max = self.limits.origins_max;
        if held.is_none() && self.origins.len() >= max {
            return Err(LimitError::Origins { peer, max }.into());
        }
        let elsewhere_bytes = self.bytes - held.map_or(0, |held| held.footprint().bytes);
        let origin = Origin::from_snapshot(snapshot, held.filter(|held| held.id() == snapshot.origin()));
        self.limits.check(peer, origin.footprint(), if peer == self.local { 0 } else { elsewhere_bytes })?;
        leads_to(signed, snapshot, || origin.state_hash())?;
        self.bytes = elsewhere_bytes + origin.footprint().bytes;
        self.origins.insert(peer, origin);
        Ok(Applied::Replaced)
    }

    /// What to tell who is at `position`, in one message of about `budget_bytes`
    /// (`usize::MAX`: everything). At least one change is in it, however long.
    #[must_use]
    pub fn answer(&self, position: &Position, budget_bytes: usize) -> Answer {
        let asked = position.origin;
        let Some(held) = self.origin(asked.peer) else {
            return if position.version > Version::ZERO { Answer::Behind } else { Answer::UpToDate };
        };
        let ours = (held.id().epoch, held.version());
        let theirs = (asked.epoch, position.version);
        if theirs >= ours {
            return if theirs == ours { Answer::UpToDate } else { Answer::Behind };
        }
        let can_go_on = asked.epoch == held.id().epoch && position.removals_after >= held.gc_version();
        let since = if can_go_on { position.version } else { Version::ZERO };
        Answer::Interval(held.interval(since, budget_bytes))
    }

    /// Forgets which keys of a peer were removed up to and including `up_to`. The newest version of
    /// a minute ago is a fit one: whoever is further behind gets a snapshot.
    pub fn collect(&mut self, peer: PeerId, up_to: Version) {
        if let Some(origin) = self.origins.get_mut(&peer) {
            origin.collect(up_to);
        }
    }

    /// Forgets a peer; whether anything was held of it. It is back as soon as somebody who has not
    /// forgotten it speaks of it: not to listen then is up to the caller.
    pub fn forget(&mut self, peer: PeerId) -> bool {
        let Some(origin) = self.origins.remove(&peer) else {
            return false;
        };
        self.bytes -= origin.footprint().bytes;
        true
    }
}

/// # Errors
/// [`ApplyError::Equivocation`] if the interval gives another value to a version that is held.
fn agrees(held: &Origin, interval: &Interval) -> Result<(), ApplyError> {
    match held.contradiction(interval.changes_until(held.version())) {
        None => Ok(()),
        Some(change) => Err(ApplyError::Equivocation {
            origin: interval.origin(),
            version: change.version,
            key: change.key.clone(),
        }),
    }
}

/// # Errors
/// [`ApplyError::StateHash`] if the interval leads to another state than the signed one.
fn leads_to(
    signed: Option<&StateHash>,
    interval: &Interval,
    hash: impl FnOnce() -> StateHash,
) -> Result<(), ApplyError> {
    match signed {
        Some(signed) if *signed != hash() => {
            Err(ApplyError::StateHash { origin: interval.origin(), version: interval.span().until })
        }
        _ => Ok(()),
    }
}
