//! What we ask of sock_diag, as bytes: dumps, and look-ups of single connections.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, INET_DIAG_INFO, IPPROTO_UDP, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED,
    TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN, TCP_TIME_WAIT,
};
use topology::fact::Protocol;

use super::Socket;

/// `linux/inet_diag.h`: TCP sockets of both families.
pub(super) const TCPDIAG_GETSOCK: u16 = 18;
/// `linux/sock_diag.h`: sockets of one family and protocol. All that is told without being asked for is of this type too.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Size of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Size of it and `struct inet_diag_req`.
const TCP_REQUEST_BYTES: usize = HEADER_BYTES + 60;
/// Size of it and `struct inet_diag_req_v2`.
const UDP_REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// Where `struct inet_diag_sockid` begins in a request for TCP, and where its parts are.
const ID_AT: usize = HEADER_BYTES + 4;
const SOURCE_AT: usize = ID_AT + 4;
const DESTINATION_AT: usize = ID_AT + 20;
const COOKIE_AT: usize = ID_AT + 40;

/// Which sockets to list. Several requests, because their prices differ so much (see [`super`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of TCP in state `LISTEN`.
    Listeners,
    /// Of TCP in any other state that [`State`](super::State) knows, without or with their figures.
    Connections {
        /// Whether [`Socket::figures`] are told.
        figures: bool,
        /// Whether what was closed is told of too. Of a host with many short connections that is nearly all there is.
        remains: bool,
    },
    /// Of UDP, connected or not.
    Datagrams,
}

impl Wanted {
    /// Whose sockets they are.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Listeners | Self::Connections { .. } => Protocol::Tcp,
            Self::Datagrams => Protocol::Udp,
        }
    }

    /// The dumps it takes, each numbered `sequence`.
    pub(super) fn requests(self, sequence: u32) -> Vec<Vec<u8>> {
        match self {
            Self::Listeners => vec![dump_tcp(sequence, &[TCP_LISTEN], 0)],
            Self::Connections { figures, remains } => {
                let states = if remains { CONNECTED } else { OPEN };
                vec![dump_tcp(sequence, states, if figures { WITH_INFO } else { 0 })]
            }
            Self::Datagrams => vec![dump_udp(sequence, AF_INET), dump_udp(sequence, AF_INET6)],
        }
    }
}

const CONNECTED: &[u8] =
    &[TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING];

/// Those that [`Socket::is_open`] can be in.
const OPEN: &[u8] = &[TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING];

/// `idiag_ext`: a bit for each attribute, the first for number 1.
const WITH_INFO: u8 = 1 << (INET_DIAG_INFO - 1);

/// Bit set of the kernel's state numbers.
fn set_of(states: &[u8]) -> u32 {
    states.iter().fold(0, |set, state| set | 1 << state)
}

fn header(bytes: &mut [u8], message_type: u16, flags: u16, sequence: u32) {
    let length = u32::try_from(bytes.len()).expect("a request has less than 100 bytes");
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&message_type.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
}

/// `struct inet_diag_req` with no filter but the states.
fn dump_tcp(sequence: u32, states: &[u8], attributes: u8) -> Vec<u8> {
    let mut bytes = vec![0; TCP_REQUEST_BYTES];
    header(&mut bytes, TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, sequence);
    bytes[HEADER_BYTES + 3] = attributes;
    bytes[68..72].copy_from_slice(&set_of(states).to_ne_bytes());
    bytes
}

/// `struct inet_diag_req_v2`, likewise.
fn dump_udp(sequence: u32, family: u8) -> Vec<u8> {
    let mut bytes = vec![0; UDP_REQUEST_BYTES];
    header(&mut bytes, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence);
    bytes[HEADER_BYTES] = family;
    bytes[HEADER_BYTES + 1] = IPPROTO_UDP;
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&set_of(&[TCP_ESTABLISHED, TCP_CLOSE]).to_ne_bytes());
    bytes
}

/// Appends a request for one TCP connection with its figures to `bytes`.
///
/// It names no interface: what is bound to one is not found. Nor a cookie: the answer may be of another socket.
pub(super) fn look_up(sequence: u32, connection: &Socket, bytes: &mut Vec<u8>) {
    let at = bytes.len();
    bytes.resize(at + TCP_REQUEST_BYTES, 0);
    let bytes = &mut bytes[at..];
    header(bytes, TCPDIAG_GETSOCK, NLM_F_REQUEST, sequence);
    bytes[HEADER_BYTES] = if connection.local.is_ipv4() { AF_INET } else { AF_INET6 };
    bytes[HEADER_BYTES + 3] = WITH_INFO;
    bytes[ID_AT..ID_AT + 2].copy_from_slice(&connection.local.port().to_be_bytes());
    bytes[ID_AT + 2..ID_AT + 4].copy_from_slice(&connection.remote.port().to_be_bytes());
    put(&mut bytes[SOURCE_AT..], connection.local);
    put(&mut bytes[DESTINATION_AT..], connection.remote);
    bytes[COOKIE_AT..COOKIE_AT + 8].fill(u8::MAX); // `INET_DIAG_NOCOOKIE`
}

fn put(bytes: &mut [u8], address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes[..16].copy_from_slice(&v6.octets()),
    }
}
