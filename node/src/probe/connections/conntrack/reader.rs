//! Dumps of the conntrack table of the network namespace the calling thread is in.
//!
//! The kernel's table is one for the whole machine, as that of sockets is: a dump walks all of it and picks out the
//! namespace's, v4 and v6 at once.

use std::path::Path;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::parse::{ENTRY_GET, FAMILY_HEADER_BYTES};
use super::{Change, Entry, parse};
use crate::probe::connections::sock_diag::Extent;

/// Why a dump failed, or listening did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no conntrack: the module is not loaded. A request might load it, so none was made.
    #[error("the kernel does not track connections: no nf_conntrack module is loaded")]
    Absent,
    /// Listing and listening take `CAP_NET_ADMIN` in the user namespace that owns the network namespace.
    #[error("may not ask conntrack: run as root, or with CAP_NET_ADMIN")]
    Denied,
    /// The kernel answered with another error.
    #[error("conntrack refused: {0}")]
    Refused(Errno),
    /// A netlink socket could not be opened, set up, written or read.
    #[error("conntrack's netlink socket failed: {0}")]
    Netlink(Errno),
    /// Not the netlink we know.
    #[error("malformed conntrack message at byte {at} of {length}")]
    Malformed {
        /// Where in the datagram.
        at: usize,
        /// Size of the datagram in bytes.
        length: usize,
    },
    /// Messages were lost, or the table changed under the dump, in each of [`ATTEMPTS_MAX`] attempts.
    #[error("the list of tracked connections was incomplete {ATTEMPTS_MAX} times in a row")]
    Incomplete,
}

impl Error {
    /// What an error in an answer means.
    pub(super) fn refused(errno: Errno) -> Self {
        if errno == Errno::PERM { Self::Denied } else { Self::Refused(errno) }
    }

    /// What an error of a system call on the netlink socket means.
    pub(super) fn netlink(error: &std::io::Error) -> Self {
        match Errno::from_io_error(error).unwrap_or(Errno::IO) {
            Errno::PERM => Self::Denied,
            errno => Self::Netlink(errno),
        }
    }
}

/// The kernel fills datagrams of a dump up to 32 KiB if the reader offers as much, and never more.
const DATAGRAM_BYTES_MAX: usize = 32 * 1024;
/// Attempts at a dump that was incomplete.
pub const ATTEMPTS_MAX: u32 = 3;
/// Longest wait for a datagram of a dump. The kernel makes it while we read, so this is never reached by a healthy one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Size of the netlink header and `struct nfgenmsg`.
const REQUEST_BYTES: usize = 16 + FAMILY_HEADER_BYTES;

/// Asks the kernel for the entries of its table. Holds buffers, not a netlink socket: that would keep its network
/// namespace alive.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    changes: Vec<Change>,
    sequence: u32,
}

impl Reader {
    /// Appends to `entries` those that are [of interest](Entry::is_of_interest) in the namespace the calling thread is in, at most `limit`. An entry
    /// that moves while it is read may come twice.
    ///
    /// # Errors
    /// [`Error`]; `entries` is then as it was.
    pub fn dump(&mut self, limit: usize, entries: &mut Vec<Entry>) -> Result<Extent, Error> {
        let before = entries.len();
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(before.saturating_add(limit), entries) {
                Ok(Some(extent)) => return Ok(extent),
                Ok(None) | Err(Error::Netlink(Errno::NOBUFS)) => entries.truncate(before),
                Err(error) => {
                    entries.truncate(before);
                    return Err(error);
                }
            }
        }
        Err(Error::Incomplete)
    }

    /// One dump on a socket of its own: one cannot be broken off but by closing. `None` if something is missing.
    fn attempt(&mut self, len_max: usize, entries: &mut Vec<Entry>) -> Result<Option<Extent>, Error> {
        let netlink = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(|error| Error::netlink(&error))?;
        set_socket_timeout(&netlink, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(Error::Netlink)?;
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let kernel = netlink_sys::SocketAddr::new(0, 0);
        netlink.send_to(&request(sequence), &kernel, 0).map_err(|error| Error::netlink(&error))?;
        let mut incomplete = false;
        loop {
            self.receive(&netlink)?;
            self.changes.clear();
            let progress = parse(&self.buffer, Some(sequence), &mut self.changes)?;
            incomplete |= progress.incomplete;
            entries.extend(self.changes.iter().filter_map(|change| match change {
                Change::Seen(entry) if entry.is_of_interest() => Some(*entry),
                _ => None,
            }));
            if entries.len() > len_max {
                entries.truncate(len_max);
                return Ok(Some(Extent::Truncated));
            }
            if progress.done {
                return Ok((!incomplete).then_some(Extent::Whole));
            }
        }
    }

    /// Fills the buffer with the next datagram from the kernel; what another process sends is none.
    fn receive(&mut self, netlink: &netlink_sys::Socket) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(DATAGRAM_BYTES_MAX);
            match netlink.recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::netlink(&error)),
            }
        }
    }
}

/// `struct nlmsghdr`, then `struct nfgenmsg` with `AF_UNSPEC`: both families.
fn request(sequence: u32) -> [u8; REQUEST_BYTES] {
    let flags = netlink_packet_core::NLM_F_REQUEST | netlink_packet_core::NLM_F_DUMP;
    let mut bytes = [0; REQUEST_BYTES];
    bytes[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&ENTRY_GET.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// Whether IPVS has the connections it translates tracked in the network namespace the calling thread is in. They have not
/// the status of translated ones.
#[must_use]
pub fn has_ipvs(proc_root: &Path) -> bool {
    setting(proc_root, "ipv4/vs/conntrack") == Some(1)
}

/// A number under `/proc/sys/net`, of the namespace the calling thread is in.
pub(super) fn setting(proc_root: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(proc_root.join("sys/net").join(name)).ok()?;
    text.trim().parse().ok()
}
