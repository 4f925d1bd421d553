//! The mesh as this peer sees it, for people: plain data that whoever runs the mesh hands in through a watch, and what
//! `/api/peers` makes of it. Nothing here is read back.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use topology::{PeerId, Timestamp};

/// The mesh at one moment. To be made anew whenever something in it differs, but no more often than once a second: bytes and
/// ages always do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peers {
    /// When this was so, by our clock: ages are as of then.
    #[serde(rename = "time", serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// This peer's side of it.
    pub mesh: Mesh,
    /// Names and addresses that lead to peers, and what came of them.
    pub discovery: Vec<Name>,
    /// All peers known, this one included; in any order.
    pub peers: Vec<Peer>,
}

/// This peer's side of the mesh. The default is of a peer that is on none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mesh {
    /// Whether whoever reaches it may join: there is no secret.
    pub open: bool,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Number of this run of the peer.
    pub epoch: u64,
    /// How often its facts changed in this run.
    pub version: u64,
    /// What a person should see and do something about, a sentence each: another machine uses this peer's key, its name cannot
    /// be registered, a stranger knocks with another secret.
    pub problems: Vec<String>,
}

/// A name or address from the command line or DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// As it was given.
    pub name: String,
    /// What came of the last look-up, in words.
    pub state: String,
    /// Where it leads.
    pub addresses: Vec<SocketAddr>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Who it is.
    pub id: PeerId,
    /// Name of its host; empty until it is known.
    pub host: String,
    /// Where it says it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// What it runs, such as `scope/0.1.0`; empty until it is known.
    pub agent: String,
    /// Whether it is heard of.
    pub life: Life,
    /// How long ago it was last heard of, by whatever way; zero for this peer.
    #[serde(rename = "lastHeardMs", serialize_with = "whole_ms")]
    pub last_heard: Duration,
    /// Versions of its facts that are known to exist and not here yet.
    pub lag: u64,
    /// The connection to it, if there is one: in a large mesh most peers are reached by way of others.
    pub link: Option<Link>,
    /// Number of its run.
    pub epoch: u64,
    /// Version of its facts that is held here.
    pub version: u64,
    /// Whether it is the one that answers.
    pub is_self: bool,
}

/// Whether a peer is heard of; see [`topology::Life`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It is.
    #[default]
    Live,
    /// It has missed some beats.
    Suspect,
    /// It has been silent for long.
    Gone,
}

/// A connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The other end.
    pub address: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// Round-trip time; `None` until it was measured.
    #[serde(rename = "rttMs", serialize_with = "ms")]
    pub rtt: Option<Duration>,
    /// Bytes received on it.
    pub bytes_in: u64,
    /// Bytes sent on it.
    pub bytes_out: u64,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The other side.
    Incoming,
    /// We.
    Outgoing,
}

/// How many peers there are of each life, this one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lives {
    pub(crate) live: usize,
    pub(crate) suspect: usize,
    pub(crate) gone: usize,
}

impl Peers {
    pub(crate) fn lives(&self) -> Lives {
        let mut lives = Lives::default();
        for peer in &self.peers {
            match peer.life {
                Life::Live => lives.live += 1,
                Life::Suspect => lives.suspect += 1,
                Life::Gone => lives.gone += 1,
            }
        }
        lives
    }

    /// When a peer was last heard of, by our clock; `None` if the mesh does not know it.
    pub(crate) fn heard_at(&self, id: &PeerId) -> Option<Timestamp> {
        let peer = self.peers.iter().find(|peer| peer.id == *id)?;
        Some(Timestamp(self.at.0.saturating_sub(to_ms(peer.last_heard))))
    }

    /// The answer of `/api/peers`: this peer first, then live ones first, by name.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.peers.sort_by(|a, b| {
            let order = |peer: &Peer| (Reverse(peer.is_self), peer.life);
            order(a).cmp(&order(b)).then_with(|| (&a.host, &a.id).cmp(&(&b.host, &b.id)))
        });
        serde_json::to_vec(&sorted).expect("plain data with keys that are strings")
    }
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn to_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn whole_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(to_ms(*time))
}

/// Milliseconds to a microsecond: a round trip within a rack is a fraction of one.
fn ms<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let rounded = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    time.map(rounded).serialize(serializer)
}
