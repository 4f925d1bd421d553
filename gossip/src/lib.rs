//! Replicated single-writer maps of bytes: how every peer comes to hold what every other one says.
//!
//! Each run of a peer is an **origin**: a map from keys to values that only this peer writes. Every
//! write takes the next **version**, removals too (they leave a **tombstone**). A **replica** holds
//! one origin per peer, and since each has a single writer, two replicas never have to settle a
//! conflict: of two states of an origin the later one has everything the other has.
//!
//! ```text
//!  probe                              other peers
//!    │ keys and values                     │ interval (4, 7]
//!    ▼                                     ▼
//!  LocalOrigin ── interval (0, 3] ──▶  Replica  ── what changed ──▶ whoever reads the values
//!   assigns 1:a 2:b 3:c               peer → Origin
//!                                          │ digest {A: 3, B: 7}
//!                                          ▼
//!                                     other peers: "I hold B: 9, you lack (7, 9]"
//! ```
//!
//! An **interval** `(since, until]` has, of each key written after `since`, the newest write up to
//! `until`. Who holds the state at `since`, or a later one, holds the state at `until` once it has
//! written these changes; who is before `since` has a gap, and asks from where it is. So the order
//! in which intervals come, and whether they come twice, does not matter, and a lost one is made up
//! for by the next exchange of **digests**, the versions two peers hold. An interval from version 0,
//! a **snapshot**, needs nothing and replaces all.
//!
//! ```text
//!  join of two states of a peer:  the higher epoch wins whole (a restart replaces, it adds no twin);
//!                                 in one epoch, the higher version of each key wins
//! ```
//!
//! Tombstones are not kept for ever. Where some are gone up to `gc_version`, whoever is below that
//! is sent a snapshot, in which what was removed is simply not there.
//!
//! An interval that was cut to fit a message is not applied before its other [`Parts`] are there.
//! It lacks the keys that are written again after the cut, so it would lead to a state the origin
//! never had, and if the sender and the origin then died, to peers that hold the same version of
//! different states for good. As it is, a replica holds only what its origins published, each
//! publication whole; the same version means the same state on every host, so a state can be cached
//! by its version, compared by its [`StateHash`] and, with the mesh, signed by its origin.
//!
//! Who tells whom, and when, is the [`mesh`]: its documentation explains the protocol. It does no input or output and reads
//! no clock, so [`sim`] runs a thousand of them in one process. Three modules touch the outside: [`Identity`] keeps this
//! peer's key and epoch on the disk, and with the feature `net` there are `swarm`, which drives a mesh over libp2p, and
//! `discovery`, which finds where other peers are. Nothing in here knows what values mean.
//!
//! The digests, and the rule that who leaves out a change leaves out all later ones, are those of
//! Scuttlebutt (van Renesse et al., 2008, <https://www.cs.cornell.edu/home/rvr/papers/flowgossip.pdf>);
//! when an interval may be joined is the causal delta-merging condition of Almeida, Shoker and
//! Baquero (<https://arxiv.org/abs/1603.01529>).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

// Names, counters and bounds.
mod key;
mod limits;
mod peer;
mod version;

// What is said.
mod interval;
mod local;

// What is held.
mod origin;
mod replica;
mod state_hash;

// How two peers come to hold the same.
mod digest;
mod parts;

// What two neighbours say to each other, and how it is written.
pub mod head;
pub mod message;
pub mod roster;

pub mod wire;

// Who is told what, and when.
pub mod mesh;
pub mod sim;

// Who this peer is, and who may come in.
mod identity;
pub mod secret;

// Where the others are, and the way to them.
#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
pub mod swarm;

pub use digest::{Difference, Digest, DigestError, Position};
pub use identity::{Identity, IdentityError};
pub use interval::{Change, Interval, IntervalError, Span};
pub use key::{KEY_BYTES_MAX, Key, KeyTooLong};
pub use limits::{Footprint, LimitError, Limits, VALUE_BYTES_MAX};
pub use local::{LocalOrigin, PublishError};
pub use origin::Origin;
pub use parts::{Parts, PartsError};
pub use peer::{PeerId, PeerIdError};
pub use replica::{Answer, Applied, ApplyError, Replica};
pub use state_hash::StateHash;
pub use version::{Epoch, OriginId, Version};
