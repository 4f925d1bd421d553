//! The mesh over libp2p: dials, listens, and moves opaque frames between neighbours. This file and those beneath it are
//! the only ones that name libp2p. Whom to dial and what to send, the mesh protocol decides; it speaks to this driver by
//! [`Command`] and hears of it by [`Event`].
//!
//! ```text
//!  Command ──▶ driver ── owns the libp2p swarm: connections, handshakes, limits, pings
//!  Event  ◀──┤
//!            └─ link, one task per neighbour ─┬─ writes on the substream this side opened
//!                                             └─ reads from the one the other side opened
//! ```
//!
//! TCP, Noise, Yamux. The Noise prologue is made of the [`Secret`]: who has another one cannot complete the handshake.
//! A frame is four bytes of length, little-endian, and that many bytes.
//!
//! Who waits for whom: a link that cannot deliver an event stops reading, Yamux's window closes, and the neighbour stops
//! getting [`Event::Sent`]. The driver itself never waits for the consumer, so pings go on meanwhile, and a consumer may
//! wait for room in the command channel without a deadlock.
//!
//! Two connections to one neighbour, when both dial at once, are settled by the names: the smaller peer picks the
//! connection and opens its substream there, the other one follows. What is left over is closed.

mod admission;
mod behaviour;
mod complaints;
mod dial;
mod driver;
mod link;
mod listen;
mod mux;
mod neighbour;
mod outbox;
mod sync;
#[cfg(test)]
mod tests;
mod transport;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use libp2p_identity::Keypair;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use dial::DialError;
pub use link::DownReason;

use crate::secret::Secret;
use crate::{PeerId, PeerIdError};

/// Largest frame. A longer one is never sent, and costs who sends it the connection before memory is taken for it.
pub use crate::wire::FRAME_BYTES_MAX;

/// Events under way to the consumer. Each may hold a frame, so this is 16 MiB at worst.
const EVENTS_MAX: usize = 32;

/// Commands under way to the driver, which takes them at once.
const COMMANDS_MAX: usize = 64;

/// How this peer takes part.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are; ed25519.
    pub keypair: Keypair,
    /// Where to listen. Port 0 means any free one.
    pub listen: Vec<SocketAddr>,
    /// What the peers of a closed mesh share; without one the mesh is open.
    pub secret: Option<Secret>,
    /// Established neighbours at most, whoever dialled. One more is denied.
    pub links_max: usize,
    /// What we say we are, to whoever asks by libp2p's identify.
    pub agent: String,
    /// How often each neighbour is asked for a sign of life.
    ///
    /// With both sides asking, an interval costs 124 bytes of TCP payload each way, some 230 with the headers: at the default
    /// of 5 s an idle link takes about 50 B/s each way.
    pub ping_interval: Duration,
    /// For how long a neighbour may be silent, neither sending anything nor answering a ping, before it is given up.
    /// A connection of no use may be there for twice that. The default is two pings: one may be late.
    pub silence_max: Duration,
    /// Memory of this process, resident bytes, above which no new connection is made or taken; a warning says so once a
    /// minute. The default is four times what a large cluster may use: it is there for what nobody thought of.
    pub memory_bytes_max: usize,
}

impl Config {
    /// The defaults: 64 neighbours, a ping every 5 s, 10 s of silence, 4 GiB; listens nowhere.
    #[must_use]
    pub fn new(keypair: Keypair) -> Config {
        Config {
            keypair,
            listen: Vec::new(),
            secret: None,
            links_max: 64,
            agent: concat!("scope/", env!("CARGO_PKG_VERSION")).to_owned(),
            ping_interval: Duration::from_secs(5),
            silence_max: Duration::from_secs(10),
            memory_bytes_max: usize::try_from(4_u64 << 30).unwrap_or(usize::MAX),
        }
    }
}

/// What the driver is to do. None of them is answered but by events.
#[derive(Debug)]
pub enum Command {
    /// Connect. With a peer, any of the addresses will do, and they are tried a moment after each other; without one they
    /// may be of different peers, and each counts as a dial of its own.
    ///
    /// Ends in [`Event::Up`] with `dialed` or in [`Event::DialFailed`]. At most 256 may be under way: more are
    /// dropped without an event, so whoever dials needs a timer of its own.
    Dial {
        /// Who must answer, if that is known.
        peer: Option<PeerId>,
        /// Where; at most 16 are tried.
        addresses: Vec<SocketAddr>,
    },
    /// Send a frame to a neighbour. Without a link to it the frame is dropped: [`Event::Down`] says so. At most 1 MiB may
    /// wait to be written, see [`DownReason::Overrun`].
    Send {
        /// Whom to.
        to: PeerId,
        /// At most [`FRAME_BYTES_MAX`].
        frame: Bytes,
    },
    /// Close all connections to a peer.
    Disconnect {
        /// Whose.
        peer: PeerId,
        /// For how long to refuse it from now on, and not to dial it.
        ban: Option<Duration>,
    },
}

/// What the driver has to say. For one peer `Up` comes first and `Down` last, then perhaps `Up` again.
#[derive(Debug)]
pub enum Event {
    /// There is a link: frames can go both ways.
    Up {
        /// With whom.
        peer: PeerId,
        /// Where it is connected from or to. If it dialled, the port is not one it listens on.
        address: SocketAddr,
        /// Whether we dialled.
        dialed: bool,
    },
    /// The link is gone, and what was on its way is lost.
    Down {
        /// With whom.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// A frame came.
    Received {
        /// Who sent it.
        from: PeerId,
        /// At most [`FRAME_BYTES_MAX`].
        frame: Bytes,
    },
    /// Frames have been written. That many bytes of frames, without their lengths, no longer wait here; they may still
    /// wait in Yamux's window of at least 256 KiB, so this is room for more, not a receipt.
    Sent {
        /// To whom.
        to: PeerId,
        /// Of one frame, or of several small ones.
        bytes: usize,
    },
    /// Round trip of a ping. Left out when the consumer is behind.
    Rtt {
        /// With whom.
        peer: PeerId,
        /// Time from asking to the answer.
        rtt: Duration,
    },
    /// A [`Command::Dial`] came to nothing.
    DialFailed {
        /// Who should have answered.
        peer: Option<PeerId>,
        /// Where it was sought: of a dial without a peer one address.
        addresses: Vec<SocketAddr>,
        /// Why.
        reason: DialError,
    },
    /// Somebody could not complete the handshake with us three times, most likely for having another secret. At most once
    /// per address and minute.
    HandshakeFailed {
        /// Where from.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
}

/// A running driver.
#[derive(Debug)]
pub struct Swarm {
    /// Who we are.
    pub peer: PeerId,
    /// The addresses of [`Config::listen`] that are listened on, with the real port where it was 0.
    pub listens: Vec<SocketAddr>,
    /// The same by network interface, as interfaces come and go: what others could dial. At most 64.
    pub addresses: watch::Receiver<Vec<SocketAddr>>,
    /// Tells the driver what to do. Once all senders are dropped it ends.
    pub commands: mpsc::Sender<Command>,
    /// What happened. Must be read: links wait for it.
    pub events: mpsc::Receiver<Event>,
    /// Ends when the driver has, neighbours told.
    pub task: JoinHandle<()>,
}

/// Why the driver does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key is of another kind than ours.
    #[error(transparent)]
    Key(#[from] PeerIdError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (--mesh-addr): {reason}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The handshake cannot be set up.
    #[error("cannot set up the Noise handshake: {0}")]
    Noise(String),
}

/// Listens on all addresses and starts the driver, which ends, closing all connections, when `shutdown` is cancelled or the
/// command senders are dropped. Where one of several addresses is of an IP version this host does not have, it goes without,
/// with a warning.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Swarm, StartError> {
    let peer = PeerId::try_from(config.keypair.public())?;
    let mut swarm = behaviour::swarm(&config)?;
    let listeners = listen::listen(&mut swarm, &config.listen)?;
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (events_out, events) = mpsc::channel(EVENTS_MAX);
    let mut driver = driver::Driver::new(swarm, listeners, &config, peer);
    let listens = driver.until_listening().await;
    let addresses = driver.addresses();
    let task = tokio::spawn(driver.run(commands_in, events_out, shutdown));
    Ok(Swarm { peer, listens, addresses, commands, events, task })
}
