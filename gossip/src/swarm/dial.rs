//! Why a dial came to nothing, told from libp2p's errors by what a person or the mesh would do about it.

use std::error::Error;
use std::io::{self, ErrorKind};

use libp2p::multiaddr::Multiaddr;
use libp2p::{TransportError, memory_connection_limits, swarm};

use super::transport::Failure;
use crate::PeerId;

/// Why there is no link after a dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialError {
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// There was no address to dial.
    #[error("it has no address")]
    NoAddress,
    /// No way there.
    #[error("no route to it")]
    Unreachable,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The other side closed the connection before there was a link: it may be full, have banned us, or be no `scope`.
    #[error("closed by the other side before there was a link: it may be full, refuse this peer, or be no scope")]
    Dropped,
    /// What listens there does not speak the protocol of `scope`.
    #[error("what listens there is no scope, or of another version")]
    NotScope,
    /// The handshake failed in a way that means another secret, or one on one side only.
    #[error("its secret is not ours, or only one side has one: start both with the same --secret")]
    Secret,
    /// Our own limits or bans.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Another peer than the one asked for.
    #[error("{found} answers there")]
    WrongPeer {
        /// Who.
        found: PeerId,
    },
    /// There is a link to that peer already.
    #[error("already linked to {found}")]
    AlreadyUp {
        /// Which.
        found: PeerId,
    },
    /// The address is our own.
    #[error("it is this peer itself")]
    Itself,
}

/// Why we do not connect, or let others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Denied {
    /// [`Config::links_max`](super::Config::links_max).
    #[error("there are {0} neighbours already")]
    LinksMax(usize),
    /// [`Config::memory_bytes_max`](super::Config::memory_bytes_max).
    #[error("this process takes {resident_bytes} bytes of memory, and above {bytes_max} connects to nobody new")]
    Memory {
        /// What it takes.
        resident_bytes: usize,
        /// What it may.
        bytes_max: usize,
    },
    /// A ban, a limit of connections, or a key that is not ed25519.
    #[error("{0}")]
    Limit(String),
}

impl DialError {
    /// Of several addresses one is told of: the one that came furthest.
    pub(super) fn from_swarm(error: swarm::DialError) -> DialError {
        match error {
            // It leaves out the addresses we listen on, and there were some: the driver sees to that.
            swarm::DialError::LocalPeerId { .. } | swarm::DialError::NoAddresses => DialError::Itself,
            swarm::DialError::WrongPeerId { obtained, .. } => wrong_peer(obtained),
            swarm::DialError::Denied { cause } => DialError::Denied(Denied::from_cause(&cause)),
            swarm::DialError::Transport(errors) => furthest(&errors),
            error => DialError::Other(error.to_string()),
        }
    }

    fn from_transport(error: &TransportError<io::Error>) -> DialError {
        match Failure::find(error) {
            Some(Failure::Timeout) => DialError::Timeout,
            Some(Failure::Negotiation(_)) => DialError::NotScope,
            Some(Failure::NoiseClosed) => DialError::Dropped,
            Some(Failure::Noise(_)) => DialError::Secret,
            Some(Failure::Tcp(error)) => DialError::from_tcp(error),
            None => DialError::Other(error.to_string()),
        }
    }

    fn from_tcp(error: &io::Error) -> DialError {
        match error.kind() {
            ErrorKind::ConnectionRefused => DialError::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => DialError::Unreachable,
            ErrorKind::TimedOut => DialError::Timeout,
            kind if is_closed(kind) => DialError::Dropped,
            _ => DialError::Other(error.to_string()),
        }
    }
}

impl Denied {
    pub(super) fn from_cause(cause: &swarm::ConnectionDenied) -> Denied {
        if let Some(denied) = cause.downcast_ref::<Denied>() {
            return denied.clone();
        }
        if let Some(exceeded) = cause.downcast_ref::<memory_connection_limits::MemoryUsageLimitExceeded>() {
            return Denied::Memory {
                resident_bytes: exceeded.process_physical_memory_bytes(),
                bytes_max: exceeded.max_allowed_bytes(),
            };
        }
        Denied::Limit(cause.source().map_or_else(|| cause.to_string(), ToString::to_string))
    }
}

fn wrong_peer(found: libp2p::PeerId) -> DialError {
    PeerId::try_from(found).map_or_else(
        |error| DialError::Denied(Denied::Limit(error.to_string())),
        |found| DialError::WrongPeer { found },
    )
}

fn furthest(errors: &[(Multiaddr, TransportError<io::Error>)]) -> DialError {
    let errors = errors.iter().map(|(_, error)| DialError::from_transport(error));
    errors.max().unwrap_or(DialError::NoAddress)
}

/// Whether a stranger's handshake failed in Noise, for which a different secret is the only likely reason: what it
/// sent was understood up to there. The error itself says only that the stranger went away.
pub(super) fn is_handshake_failure(error: &TransportError<io::Error>) -> bool {
    matches!(Failure::find(error), Some(Failure::Noise(_) | Failure::NoiseClosed))
}

/// Whether an error means that the other side is gone.
pub(super) fn is_closed(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof, WriteZero};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof | WriteZero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failure: Failure) -> TransportError<io::Error> {
        TransportError::Other(io::Error::other(failure))
    }

    #[test]
    fn errors_are_told_apart() {
        let tcp = |kind: ErrorKind| failed(Failure::Tcp(kind.into()));
        let cases = [
            (tcp(ErrorKind::ConnectionRefused), DialError::Refused),
            (tcp(ErrorKind::HostUnreachable), DialError::Unreachable),
            (tcp(ErrorKind::NetworkUnreachable), DialError::Unreachable),
            (tcp(ErrorKind::TimedOut), DialError::Timeout),
            (tcp(ErrorKind::ConnectionReset), DialError::Dropped),
            (tcp(ErrorKind::PermissionDenied), DialError::Other("permission denied".to_owned())),
            (failed(Failure::Timeout), DialError::Timeout),
            (failed(Failure::Negotiation("no".to_owned())), DialError::NotScope),
            (failed(Failure::NoiseClosed), DialError::Dropped),
            (failed(Failure::Noise("no".to_owned())), DialError::Secret),
        ];
        for (error, want) in cases {
            assert_eq!(DialError::from_transport(&error), want, "{error:?}");
        }
    }

    #[test]
    fn of_several_addresses_the_one_that_came_furthest_is_told_of() {
        let at = |failure| (Multiaddr::empty(), failed(failure));
        let refused = at(Failure::Tcp(ErrorKind::ConnectionRefused.into()));
        let secret = at(Failure::Noise("no".to_owned()));
        assert_eq!(furthest(&[secret, refused]), DialError::Secret);
    }
}
