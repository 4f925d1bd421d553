//! Asks the kernel for sockets: dumps of many, look-ups of single ones.

use std::time::Duration;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::message::parse_answers;
use super::request::look_up;
use super::{DumpError, Socket, Wanted, parse};

/// Whether a list is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Every socket.
    #[default]
    Whole,
    /// Cut off at the limit.
    Truncated,
}

/// The kernel fills datagrams of a dump up to 32 KiB if the reader offers as much, and never more.
pub(super) const DATAGRAM_BYTES_MAX: usize = 32 * 1024;
/// Attempts at a dump that was incomplete.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Longest wait for a datagram. The kernel makes it while we read, so this is never reached by a healthy one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Look-ups asked for at a time. The answers, a datagram each, have to fit a socket's receive buffer: 208 KiB where nobody
/// changed `rmem_default`, of which one takes about 1.3.
const BATCH: usize = 64;

/// Asks the kernel for sockets. Holds buffers, not a netlink socket: that would keep its network namespace alive, and
/// every container's after it died.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    requests: Vec<u8>,
    sequence: u32,
}

impl Reader {
    /// Appends to `sockets` those of the namespace the calling thread is in, at most `limit`.
    ///
    /// # Errors
    /// [`DumpError`]; `sockets` is then as it was.
    pub fn dump(&mut self, wanted: Wanted, limit: usize, sockets: &mut Vec<Socket>) -> Result<Extent, DumpError> {
        let before = sockets.len();
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(wanted, before.saturating_add(limit), sockets) {
                Ok(Some(extent)) => return Ok(extent),
                Ok(None) | Err(DumpError::Netlink(Errno::NOBUFS)) => sockets.truncate(before),
                Err(error) => {
                    sockets.truncate(before);
                    return Err(error);
                }
            }
        }
        Err(DumpError::Incomplete)
    }

    /// One attempt on a socket of its own: a dump cannot be broken off but by closing. `None` if something is missing.
    fn attempt(
        &mut self,
        wanted: Wanted,
        len_max: usize,
        sockets: &mut Vec<Socket>,
    ) -> Result<Option<Extent>, DumpError> {
        let netlink = open()?;
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut incomplete = false;
        for request in wanted.requests(sequence) {
            send(&netlink, &request)?;
            loop {
                let progress = parse(self.receive(&netlink)?, sequence, wanted.protocol(), sockets)?;
                incomplete |= progress.incomplete;
                if sockets.len() > len_max {
                    sockets.truncate(len_max);
                    return Ok(Some(Extent::Truncated));
                }
                if progress.done {
                    break;
                }
            }
        }
        Ok((!incomplete).then_some(Extent::Whole))
    }

    /// Brings the figures of those of `connections` up to date that are open, each by a look-up of its own: cheaper than a
    /// dump if they are few. Returns how many there were. One that is gone, or bound to an interface, keeps what it has.
    ///
    /// # Errors
    /// [`DumpError`]; some of the figures may then be new.
    pub fn refresh(&mut self, connections: &mut [Socket]) -> Result<usize, DumpError> {
        let netlink = open()?;
        let mut refreshed = 0;
        let mut open: Vec<&mut Socket> = connections.iter_mut().filter(|socket| socket.is_open()).collect();
        for batch in open.chunks_mut(BATCH) {
            refreshed += self.refresh_batch(&netlink, batch)?;
        }
        Ok(refreshed)
    }

    fn refresh_batch(&mut self, netlink: &netlink_sys::Socket, batch: &mut [&mut Socket]) -> Result<usize, DumpError> {
        self.requests.clear();
        let first = self.sequence.wrapping_add(1);
        for connection in &*batch {
            self.sequence = self.sequence.wrapping_add(1);
            look_up(self.sequence, connection, &mut self.requests);
        }
        send(netlink, &self.requests)?;
        let (mut answered, mut refreshed) = (0, 0);
        while answered < batch.len() {
            parse_answers(self.receive(netlink)?, |sequence, found| {
                let asked = batch.get_mut(sequence.wrapping_sub(first) as usize);
                answered += usize::from(asked.is_some());
                let (Some(asked), Some(found)) = (asked, found) else { return };
                // The addresses may have gone to another connection; and where there is none, a listener answers.
                if asked.remote == found.remote && asked.inode == found.inode && found.figures.is_some() {
                    asked.figures = found.figures;
                    refreshed += 1;
                }
            })?;
        }
        Ok(refreshed)
    }

    /// The next datagram from the kernel; what another process sends is none.
    fn receive(&mut self, netlink: &netlink_sys::Socket) -> Result<&[u8], DumpError> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(DATAGRAM_BYTES_MAX);
            match netlink.recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(&self.buffer),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }
}

fn open() -> Result<netlink_sys::Socket, DumpError> {
    let netlink = netlink_sys::Socket::new(NETLINK_SOCK_DIAG).map_err(|error| failed(&error))?;
    set_socket_timeout(&netlink, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(DumpError::Netlink)?;
    Ok(netlink)
}

fn send(netlink: &netlink_sys::Socket, request: &[u8]) -> Result<(), DumpError> {
    let kernel = netlink_sys::SocketAddr::new(0, 0);
    netlink.send_to(request, &kernel, 0).map(|_| ()).map_err(|error| failed(&error))
}

pub(super) fn failed(error: &std::io::Error) -> DumpError {
    DumpError::Netlink(Errno::from_io_error(error).unwrap_or(Errno::IO))
}
