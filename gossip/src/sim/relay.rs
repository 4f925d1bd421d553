//! Hosts that do not keep to the protocol: they run the real one, and change what leaves them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::world::World;
use crate::message::{Handle, Message};
use crate::{PeerId, Version, wire};

/// What a bad host does to the messages of others that it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Announces, and never sends.
    Drop,
    /// Flips a bit in each payload.
    Corrupt,
    /// Says that an origin is further than it is, with a signature that is none.
    Forge,
    /// Sends what it sent of an origin first, again and again.
    Replay,
    /// Announces versions that there are not.
    Invent,
}

impl Misdeed {
    /// Whether an honest neighbour must notice.
    pub(super) fn is_provable(self) -> bool {
        matches!(self, Misdeed::Corrupt | Misdeed::Forge)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Relay {
    misdeed: Misdeed,
    /// What was sent of each origin first, for replays.
    first: BTreeMap<Handle, Message>,
    own: Option<Handle>,
}

impl Relay {
    pub(super) fn new(misdeed: Misdeed) -> Relay {
        Relay { misdeed, first: BTreeMap::new(), own: None }
    }

    /// What leaves the host instead of a frame.
    pub(super) fn pass_on(&mut self, own: PeerId, frame: Bytes) -> Option<Bytes> {
        let mut changed = Vec::with_capacity(frame.len());
        for message in wire::decode(frame) {
            let message = message.expect("the own mesh writes what can be read");
            if let Message::Name { handle, origin, .. } = &message
                && origin.peer == own
            {
                self.own = Some(*handle);
            }
            for message in self.change(message) {
                wire::encode(&message, &mut changed);
            }
        }
        (!changed.is_empty()).then(|| changed.into())
    }

    fn change(&mut self, message: Message) -> Vec<Message> {
        match (self.misdeed, message) {
            (_, Message::Push { handle, head, span, payload }) if Some(handle) == self.own => {
                vec![Message::Push { handle, head, span, payload }]
            }
            (Misdeed::Drop, Message::Push { .. } | Message::Beat { .. }) => Vec::new(),
            (Misdeed::Corrupt, Message::Push { handle, head, span, payload }) => {
                let mut payload = payload.to_vec();
                if let Some(last) = payload.last_mut() {
                    *last ^= 1;
                }
                vec![Message::Push { handle, head, span, payload: payload.into() }]
            }
            (Misdeed::Forge, Message::Push { handle, mut head, mut span, payload }) => {
                span.until = Version(span.until.0 + 1);
                span.complete_at = Version(span.complete_at.0 + 1);
                head.version = span.complete_at;
                vec![Message::Push { handle, head, span, payload }]
            }
            (Misdeed::Replay, Message::Push { handle, head, span, payload }) => {
                let message = Message::Push { handle, head, span, payload };
                let first = self.first.entry(handle).or_insert_with(|| message.clone()).clone();
                vec![first, message]
            }
            (Misdeed::Invent, Message::Have { handle, version }) if Some(handle) != self.own => {
                vec![Message::Have { handle, version: Version(version.0 + 1000) }]
            }
            (_, message) => vec![message],
        }
    }
}

impl World {
    /// From now on a host misbehaves.
    pub(super) fn corrupt(&mut self, host: u32, misdeed: Misdeed) {
        self.host(host).relay = Some(Relay::new(misdeed));
    }

    /// Whether a host holds anything of another.
    pub(super) fn holds(&self, at: u32, of: u32) -> bool {
        let peer = self.hosts[of as usize].peer;
        self.hosts[at as usize].mesh.as_ref().is_some_and(|mesh| mesh.replica().origin(peer).is_some())
    }

    /// How many links stand.
    pub(super) fn standing_links(&self) -> usize {
        let stands = |link: &&super::network::Link| link.silent_since.is_none() && link.ends.iter().all(|end| end.open);
        self.links.iter().filter(stands).count()
    }
}
