//! What two neighbours say to each other. How it is written is in [`wire`](crate::wire), what it is for in
//! [`mesh`](crate::mesh).

use bytes::Bytes;

use crate::head::{Beat, Head};
use crate::{OriginId, Position, Span, Version};

/// The sender's number for an origin on one link, given by [`Message::Name`]: a peer's name takes 32 bytes, this
/// mostly one or two. Each direction of a link has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

/// One statement to a neighbour. A frame carries any number of them, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who speaks, and in which run. The first message in each direction of a link, and only there.
    Hello {
        /// The sender.
        origin: OriginId,
        /// Whether the sender wants this link to stay; see [`Message::Keep`].
        keep: bool,
    },
    /// Whether the sender wants this link to stay. One that neither side wants is closed.
    Keep(bool),
    /// Gives an origin a number, and says what of it is held. Said again when its peer is in a new run.
    Name {
        /// The number from now on.
        handle: Handle,
        /// Which origin.
        origin: OriginId,
        /// Which version the sender holds.
        version: Version,
        /// For how long the sender has not heard of it, in milliseconds: what is dead is not news.
        silent_ms: u32,
    },
    /// The sender holds this version now (Plumtree's *ihave*).
    Have {
        /// Of which origin.
        handle: Handle,
        /// Which version.
        version: Version,
    },
    /// Send me what follows this position, once.
    Want {
        /// Of which origin.
        handle: Handle,
        /// From where.
        from: From,
    },
    /// Send me what follows this position, and from now on everything new (Plumtree's *graft*).
    Graft {
        /// Of which origin.
        handle: Handle,
        /// From where.
        from: From,
    },
    /// Send me nothing more of this origin, I have it from elsewhere (Plumtree's *prune*).
    Prune {
        /// Of which origin.
        handle: Handle,
    },
    /// What an origin wrote, as it came from the origin or made anew for who is further behind.
    Push {
        /// Of which origin.
        handle: Handle,
        /// The origin's word for its state at `span.complete_at`, which is the head's version: on the wire they are one.
        head: Head,
        /// Between which versions.
        span: Span,
        /// The changes, see [`wire`](crate::wire).
        payload: Bytes,
    },
    /// An origin is alive.
    Beat {
        /// Which.
        handle: Handle,
        /// Its word for it.
        beat: Beat,
    },
    /// Tell me if you have heard a later beat of it than I, whose last one had this count.
    AskBeat {
        /// Of which origin.
        handle: Handle,
        /// Number of the chain, see [`Beat`].
        chain: u32,
        /// Place in the chain.
        count: u32,
    },
    /// The sender had a link to this peer, and it broke after this beat. Passed on by all who know no later one; the
    /// peer, if it lives, says so.
    Lost {
        /// Which peer.
        handle: Handle,
        /// Number of the chain, see [`Beat`].
        chain: u32,
        /// Place in the chain.
        count: u32,
    },
    /// A hash of all versions the sender holds ([`Digest::hash`](crate::Digest::hash)). If the receiver holds others, it
    /// says so by [`Message::Have`].
    Digest([u8; 16]),
}

/// A [`Position`], of the origin that the message's handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct From {
    /// In which run of the peer; 0 if the sender knows none.
    pub epoch: crate::Epoch,
    /// See [`Position::version`].
    pub version: Version,
    /// See [`Position::removals_after`].
    pub removals_after: Version,
}

impl From {
    /// The position without the peer's name.
    #[must_use]
    pub fn of(position: &Position) -> From {
        From { epoch: position.origin.epoch, version: position.version, removals_after: position.removals_after }
    }

    /// The position of whoever asks for this peer.
    #[must_use]
    pub fn position(self, peer: crate::PeerId) -> Position {
        let From { epoch, version, removals_after } = self;
        Position { origin: OriginId { peer, epoch }, version, removals_after }
    }
}
