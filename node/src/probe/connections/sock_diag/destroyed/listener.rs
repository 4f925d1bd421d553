//! The socket that hears of destroyed sockets, and what its messages say.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::Parseable;
use netlink_packet_sock_diag::inet::InetResponseHeader;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::{Health, ListenError};
use crate::probe::connections::sock_diag::message::{Attributes, BadMessage, Messages};
use crate::probe::connections::sock_diag::request::SOCK_DIAG_BY_FAMILY;
use crate::probe::connections::sock_diag::{Figures, SOCKET_BYTES, address};

/// `enum sknetlink_groups`, `linux/sock_diag.h`.
const INET_TCP_DESTROY: u32 = 1;
const INET6_TCP_DESTROY: u32 = 3;
/// Room for messages that wait for us, of which one takes 1.3 KiB by the kernel's count: enough for 20,000 a second at the
/// thread's pace, with a reserve. Only what waits takes memory.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Room for a message: 380 bytes today. A longer one is cut off behind what we read of it.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Room for control messages: the id of the namespace takes 24 bytes, no other was asked for.
const CONTROL_BYTES: usize = 64;
/// netlink(7).
const SOL_NETLINK: i32 = 270;
const NETLINK_LISTEN_ALL_NSID: i32 = 8;

/// A connection that ended, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Id of its namespace in the listener's; `None` is the listener's own.
    pub nsid: Option<i32>,
    /// Own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// All that it carried.
    pub figures: Figures,
}

/// Hears of TCP sockets as they are destroyed.
pub struct Listener {
    netlink: netlink_sys::Socket,
    health: Health,
    message: Box<[u8; MESSAGE_BYTES]>,
}

impl Listener {
    /// Subscribes, in the namespace the calling thread is in.
    ///
    /// # Errors
    /// [`ListenError::Refused`].
    pub fn open() -> Result<Self, ListenError> {
        let refused = |error: io::Error| ListenError::Refused(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let mut netlink = netlink_sys::Socket::new(NETLINK_SOCK_DIAG).map_err(refused)?;
        netlink.set_non_blocking(true).map_err(refused)?;
        // Beyond `rmem_max` with CAP_NET_ADMIN alone. With less room more is lost, and counted.
        let _ = set_socket_recv_buffer_size_force(&netlink, RECEIVE_BYTES)
            .or_else(|_| set_socket_recv_buffer_size(&netlink, RECEIVE_BYTES));
        let health = match netlink.set_listen_all_namespaces(true) {
            Ok(()) => Health::Everywhere,
            Err(_) => Health::OwnNamespace,
        };
        // Without a port of its own it would be taken for the sender, the kernel, and left out.
        netlink.bind_auto().map_err(refused)?;
        netlink.add_membership(INET_TCP_DESTROY).map_err(refused)?;
        netlink.add_membership(INET6_TCP_DESTROY).map_err(refused)?;
        Ok(Self { netlink, health, message: Box::new([0; MESSAGE_BYTES]) })
    }

    /// How far it hears.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Appends what has arrived to `ended`, at most `limit`; does not wait for more. Returns how often messages were lost.
    ///
    /// # Errors
    /// [`ListenError::Netlink`]: it is of no use any more.
    pub fn hear(&mut self, limit: usize, ended: &mut Vec<Ended>) -> Result<u64, ListenError> {
        let mut overruns = 0;
        while ended.len() < limit {
            match self.receive() {
                Ok(Some((nsid, length))) => ended.extend(parse(&self.message[..length], nsid)),
                Ok(None) => break,
                Err(Errno::NOBUFS) => overruns += 1,
                Err(errno) => return Err(ListenError::Netlink(errno)),
            }
        }
        Ok(overruns)
    }

    /// The next message of the kernel: the id of its namespace, and its length.
    fn receive(&mut self) -> Result<Option<(Option<i32>, usize)>, Errno> {
        loop {
            let mut control = [0; CONTROL_BYTES];
            let mut parts = [IoSliceMut::new(&mut self.message[..])];
            let descriptor = self.netlink.as_raw_fd();
            match recvmsg::<NetlinkAddr>(descriptor, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(received) if received.address.is_none_or(|sender| sender.pid() == 0) => {
                    let nsid = received.cmsgs().ok().and_then(|mut controls| controls.find_map(|it| nsid(&it)));
                    return Ok(Some((nsid, received.bytes)));
                }
                Ok(_) | Err(nix::Error::EINTR) => {} // another process's, or a signal
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(errno) => return Err(Errno::from_raw_os_error(errno as i32)),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

fn nsid(control: &ControlMessageOwned) -> Option<i32> {
    let ControlMessageOwned::Unknown(unknown) = control else { return None };
    let header = unknown.cmsg_header;
    let is_nsid = (header.cmsg_level, header.cmsg_type) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID);
    is_nsid.then(|| unknown.data_bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)))?
}

/// The connections a datagram tells of, up to the first message that does not fit.
pub(super) fn parse(datagram: &[u8], nsid: Option<i32>) -> Vec<Ended> {
    let mut ended = Vec::new();
    let mut messages = Messages::new(datagram);
    while let Some(Ok(message)) = messages.next() {
        if message.message_type() == SOCK_DIAG_BY_FAMILY {
            ended.extend(connection(message.payload(), nsid).ok().flatten());
        }
    }
    ended
}

/// `None` if it was no connection: a listener or an attempt, neither of which ever had an answer to measure.
fn connection(payload: &[u8], nsid: Option<i32>) -> Result<Option<Ended>, BadMessage> {
    let header = InetResponseHeader::parse(payload).map_err(|_| BadMessage)?;
    let id = header.socket_id;
    let Some(figures) = Attributes::read(&payload[SOCKET_BYTES..])?.figures else { return Ok(None) };
    let was_established = figures.rtt_micros > 0 || figures.sent > 0 || figures.received > 0;
    Ok((id.destination_port != 0 && was_established).then(|| Ended {
        nsid,
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        figures,
    }))
}
