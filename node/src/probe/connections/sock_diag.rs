//! Sockets of the network namespace the calling thread is in, from the kernel's sock_diag(7) interface. [`parse`] reads the
//! bytes of a dump, [`Reader`] asks for one, [`destroyed`] hears of sockets that are no more.
//!
//! TCP is asked for with `TCPDIAG_GETSOCK`, the interface's first request: unlike `SOCK_DIAG_BY_FAMILY` it answers for
//! IPv4 and IPv6 at once. The table of connections is one for the whole machine, and every dump walks all of it, other
//! namespaces' sockets and empty buckets included: about 1.1 ms for 262,144 buckets without a single match. One walk for
//! both families is half the price of two. Listeners have a small table of their own, 20 µs. A single connection can be
//! looked up by its addresses, without a walk: 1 µs.

pub mod destroyed;
mod message;
mod reader;
mod request;

use std::net::{IpAddr, SocketAddr};

use netlink_packet_sock_diag::constants::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN,
    TCP_TIME_WAIT,
};
use rustix::io::Errno;
use topology::fact::Protocol;

pub use message::{Progress, parse};
pub use reader::{Extent, Reader};
pub use request::Wanted;

/// One end of a connection, or a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Own address. A v4-mapped v6 address is the v4 address it stands for; the scope of a link-local one is left out.
    pub local: SocketAddr,
    /// The other end's address; unspecified and port 0 for a listener.
    pub remote: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What the connection is doing.
    pub state: State,
    /// Inode by which `/proc/PID/fd` names it; 0 if no process holds it (`TIME_WAIT`, closed by its process) or none has
    /// accepted it yet.
    pub inode: u64,
    /// User it belongs to.
    pub uid: u32,
    /// What it has carried, as of the last reading. None of UDP, of what is only a `TIME_WAIT`, and where the source does
    /// not tell.
    pub figures: Option<Figures>,
}

/// What a TCP connection has carried so far, and how well: `struct tcp_info` of Linux 4.1 and newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes the other end acknowledged. Counts its SYN and FIN too, one each: up to two more than the program sent.
    pub sent: u64,
    /// Bytes received in order. Counts the other end's FIN too.
    pub received: u64,
    /// Smoothed round trip time, RFC 6298; 0 before the first measurement.
    pub rtt_micros: u32,
    /// Segments sent again.
    pub retransmits: u32,
}

/// State of a socket: of TCP by RFC 9293 §3.3.2, of UDP either `Established` or `Bound`. The handshake is left out: what is
/// not established yet is no connection, and an attempt at an address that never answers would draw an edge to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Open; of UDP, connected to one other end.
    Established,
    /// Closed here, the other end has not acknowledged it.
    FinWait1,
    /// Closed here, the other end has not closed.
    FinWait2,
    /// Closed by both; here first. Held for a minute: all that is left of a short connection.
    TimeWait,
    /// Closed by the other end.
    CloseWait,
    /// Closed by the other end, then here.
    LastAck,
    /// Closed by both at once.
    Closing,
    /// Waits for connections.
    Listen {
        /// On a v6 address, takes no v4 connections (`IPV6_V6ONLY`, ipv6(7)). False where the source does not tell.
        v6_only: bool,
    },
    /// UDP that is connected to nobody: a server's, or that of a client that names the other end with each datagram. Its
    /// port tells which, most of the time: the kernel gives clients theirs from the ephemeral range.
    Bound {
        /// As of `Listen`.
        v6_only: bool,
    },
}

impl State {
    /// The state by the kernel's number for it, `None` for those that are no connection (yet).
    pub(super) fn from_kernel(protocol: Protocol, number: u8) -> Option<Self> {
        if protocol == Protocol::Udp {
            return match number {
                TCP_ESTABLISHED => Some(Self::Established),
                TCP_CLOSE => Some(Self::Bound { v6_only: false }),
                _ => None,
            };
        }
        Some(match number {
            TCP_ESTABLISHED => Self::Established,
            TCP_FIN_WAIT1 => Self::FinWait1,
            TCP_FIN_WAIT2 => Self::FinWait2,
            TCP_TIME_WAIT => Self::TimeWait,
            TCP_CLOSE_WAIT => Self::CloseWait,
            TCP_LAST_ACK => Self::LastAck,
            TCP_CLOSING => Self::Closing,
            TCP_LISTEN => Self::Listen { v6_only: false },
            _ => return None,
        })
    }

    /// Whether this end is not closed: what the kernel counts as `CurrEstab`.
    #[must_use]
    pub fn is_established(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}

impl Socket {
    /// Whether data may still flow, or waits to be acknowledged: until then the kernel keeps the connection, and says nothing
    /// of its end. A connection that waits for the other end to close is open while a process reads from it; one that nobody
    /// has any more is kept as `TIME_WAIT` is.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Established | State::CloseWait | State::FinWait1 | State::Closing | State::LastAck => true,
            State::FinWait2 => self.inode != 0,
            State::TimeWait | State::Listen { .. } | State::Bound { .. } => false,
        }
    }
}

/// The address as other sockets and people name it: v4 instead of v4-mapped v6.
pub(super) fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Why a dump failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The kernel does not answer such requests: no `inet_diag` module, or a security policy.
    #[error("the kernel refused to list sockets: {0}")]
    Refused(Errno),
    /// A netlink socket could not be opened, written or read.
    #[error("netlink socket failed: {0}")]
    Netlink(Errno),
    /// Not the netlink we know.
    #[error("malformed netlink message at byte {at} of {length}")]
    Malformed {
        /// Where in the datagram.
        at: usize,
        /// Size of the datagram in bytes.
        length: usize,
    },
    /// Messages were lost, or the sockets changed under the dump, in each of `ATTEMPTS_MAX` attempts.
    #[error("the list of sockets was incomplete {} times in a row", reader::ATTEMPTS_MAX)]
    Incomplete,
}

/// Size of `struct inet_diag_msg`, before its attributes.
const SOCKET_BYTES: usize = 72;

#[cfg(test)]
mod tests;
