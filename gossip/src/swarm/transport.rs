//! How a connection is made: TCP, then Noise, then Yamux, and where on that way it failed.

use std::error::Error;
use std::io;
use std::time::Duration;

use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeoutError;
use libp2p::core::upgrade::Version;
use libp2p::swarm::derive_prelude::Either;
use libp2p::{TransportError, noise, tcp};
use libp2p_identity::Keypair;

use super::dial::is_closed;
use super::mux::Yamux;
use crate::secret::{OPEN_PROLOGUE, Secret};

/// From the first packet to the end of the handshakes. TCP tries again after 1, 3 and 7 s: a new dial after 5 s makes its
/// own attempts sooner, so a partition that heals is noticed within three seconds.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Connections over TCP whose other end has proved who it is, and that it has our secret.
pub(super) fn transport(
    keypair: &Keypair,
    secret: Option<&Secret>,
) -> Result<Boxed<(libp2p::PeerId, StreamMuxerBox)>, noise::Error> {
    let prologue = secret.map_or_else(|| OPEN_PROLOGUE.to_vec(), |it| it.noise_prologue().to_vec());
    let noise = noise::Config::new(keypair)?.with_prologue(prologue);
    Ok(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux)
        .timeout(HANDSHAKE_MAX)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .map_err(Failure::from)
        .boxed())
}

/// Where it failed. libp2p hands it on inside an `io::Error`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Tcp(io::Error),
    /// The other side does not know the protocol that was next.
    #[error("{0}")]
    Negotiation(String),
    /// In the handshake, where the secret and the key of the other side are proved, it went away.
    #[error("closed in the handshake")]
    NoiseClosed,
    /// What the other side said in the handshake was wrong.
    #[error("{0}")]
    Noise(String),
    #[error("no answer within {HANDSHAKE_MAX:?}")]
    Timeout,
}

impl Failure {
    /// The failure in one of libp2p's errors.
    pub(super) fn find(error: &TransportError<io::Error>) -> Option<&Failure> {
        match error {
            TransportError::Other(error) => error.get_ref()?.downcast_ref(),
            TransportError::MultiaddrNotSupported(_) => None,
        }
    }

    /// From libp2p's error of an upgrade, whose type it keeps to itself: its source is what went wrong.
    fn of_upgrade(error: &dyn Error) -> Failure {
        match error.source().and_then(|cause| cause.downcast_ref()) {
            Some(noise::Error::Io(error)) if is_closed(error.kind()) => Failure::NoiseClosed,
            // Noise says what it could not decrypt; with nothing said it was the negotiation before, which is not waited
            // for before Noise begins.
            Some(noise::Error::Io(error)) if error.get_ref().is_none() => Failure::Negotiation(error.to_string()),
            Some(error) => Failure::Noise(error.to_string()),
            None => Failure::Negotiation(error.to_string()),
        }
    }
}

/// Errors of the three stages as libp2p nests them.
type Nested<Noise, Yamux> = TransportTimeoutError<Either<Either<io::Error, Noise>, Yamux>>;

impl<Noise: Error, Yamux: Error> From<Nested<Noise, Yamux>> for Failure {
    fn from(error: Nested<Noise, Yamux>) -> Failure {
        match error {
            TransportTimeoutError::Timeout => Failure::Timeout,
            TransportTimeoutError::TimerError(error)
            | TransportTimeoutError::Other(Either::Left(Either::Left(error))) => Failure::Tcp(error),
            TransportTimeoutError::Other(Either::Left(Either::Right(error))) => Failure::of_upgrade(&error),
            TransportTimeoutError::Other(Either::Right(error)) => Failure::of_upgrade(&error),
        }
    }
}
