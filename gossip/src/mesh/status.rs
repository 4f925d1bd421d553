//! What is to be seen of the protocol from outside.

use std::net::SocketAddr;
use std::time::Duration;

use super::life::Life;
use super::peers::ME;
use super::{Mesh, Offence, Time};
use crate::{OriginId, Version};

pub use crate::wire::Classes;

/// Sums since the start.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Frames that were handed over.
    pub frames_sent: u64,
    /// Frames that came.
    pub frames_received: u64,
    /// Bytes of the frames that were handed over.
    pub sent: Classes,
    /// Bytes of payloads that came, useful or not.
    pub payload_received: u64,
    /// Intervals that were applied.
    pub applied: u64,
    /// Intervals that were known.
    pub duplicates: u64,
    /// Intervals for which there was no room.
    pub refused: u64,
    /// Beats that did not lead to the anchor their origin signed.
    pub forged_beats: u64,
    /// Offences, in the order of [`Offence::ALL`].
    pub offences: [u64; Offence::ALL.len()],
}

impl Counters {
    pub(super) fn count(&mut self, offence: Offence) {
        self.offences[offence as usize] += 1;
    }
}

impl Offence {
    /// All of them, in the order of their declaration.
    pub const ALL: [Offence; 5] =
        [Offence::Malformed, Offence::Forged, Offence::OutOfTurn, Offence::Mute, Offence::Flood];

    /// In a word, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Offence::Malformed => "malformed",
            Offence::Forged => "forged",
            Offence::OutOfTurn => "out_of_turn",
            Offence::Mute => "mute",
            Offence::Flood => "flood",
        }
    }
}

/// What is known of a peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Which, in its newest run that is held.
    pub origin: OriginId,
    /// The version that is held.
    pub version: Version,
    /// Versions that a neighbour holds and this peer does not.
    pub lag: u64,
    /// How it seems.
    pub life: Life,
    /// For how long nothing was heard of it.
    pub silent: Duration,
    /// Program and version, as it says; empty while nothing is held of it.
    pub agent: String,
    /// Where it says it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// The link to it, if it is a neighbour.
    pub link: Option<LinkStatus>,
}

/// What is known of a link.
#[derive(Debug, Clone, Copy)]
pub struct LinkStatus {
    /// The other end.
    pub address: SocketAddr,
    /// Whether we dialled.
    pub dialed: bool,
    /// How long it has been there.
    pub age: Duration,
    /// How long the neighbour takes to answer.
    pub rtt: Option<Duration>,
    /// Bytes of frames that came.
    pub bytes_in: u64,
    /// Bytes of frames that were sent.
    pub bytes_out: u64,
}

impl Mesh {
    /// How a peer seems; of one that is not known, gone.
    #[must_use]
    pub fn life(&self, peer: crate::PeerId) -> Life {
        self.peers.find(peer).map_or(Life::Gone, |ix| self.peers[ix].life)
    }

    /// For how long nothing was heard of a peer; since the start, if it is not known.
    #[must_use]
    pub fn silence(&self, now: Time, peer: crate::PeerId) -> Duration {
        let heard = self.peers.find(peer).map_or(Time::ZERO, |ix| if ix == ME { now } else { self.peers[ix].heard });
        now.saturating_sub(heard)
    }

    /// All peers that are known and not forgotten, this one first.
    #[must_use]
    pub fn peers(&self, now: Time) -> Vec<PeerStatus> {
        let me = (ME, &self.peers[ME]);
        let status = |(ix, peer): (super::Ix, &super::peers::Peer)| {
            let of = self.links.values().map(|link| link.of(ix).at).max().unwrap_or_default();
            let is_ahead = ix != ME && of > peer.at;
            let same_run = of.epoch == peer.at.epoch;
            let lag = if same_run { of.version.0.saturating_sub(peer.at.version.0) } else { of.version.0 };
            PeerStatus {
                origin: OriginId { peer: peer.id, epoch: peer.at.epoch },
                version: peer.at.version,
                lag: if is_ahead { lag } else { 0 },
                life: peer.life,
                silent: if ix == ME { Duration::ZERO } else { now.saturating_sub(peer.heard) },
                agent: peer.roster.as_ref().map(|roster| roster.agent.clone()).unwrap_or_default(),
                addresses: peer.roster.as_ref().map(|roster| roster.addresses.clone()).unwrap_or_default(),
                link: self.links.get(&ix).map(|link| LinkStatus {
                    address: link.address,
                    dialed: link.dialed,
                    age: now.saturating_sub(link.since),
                    rtt: link.rtt,
                    bytes_in: link.bytes_in,
                    bytes_out: link.bytes_out,
                }),
            }
        };
        std::iter::once(me).chain(self.peers.others()).map(status).collect()
    }
}
