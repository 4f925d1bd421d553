//! Conntrack's events of the network namespace the calling thread is in when it opens the socket.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::{Change, Error, Filter, filter, parse};

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Events of what else happens are left out by the kernel; `None` leaves out nothing.
    pub filter: Option<Filter>,
    /// Room for events that wait to be read, in bytes: the kernel takes up to twice as much memory, and only while they
    /// wait.
    pub buffer_bytes: usize,
}

impl Options {
    /// The room by default: 13,000 events, at 1,285 bytes each as the kernel counts them. As many as 10,000 short
    /// connections/s that are translated make in 0.4 s, which is twenty times as long as the [follower](super::spawn) looks
    /// away.
    pub const BUFFER_BYTES: usize = 8 << 20;

    /// To listen for what passes the filter.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self { filter: Some(filter), buffer_bytes: Self::BUFFER_BYTES }
    }
}

/// What was read in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Number of datagrams. An event is one.
    pub datagrams: usize,
    /// Events were lost before the newest of these: there was no room for them.
    pub lost: bool,
    /// There may be more to read.
    pub more: bool,
}

/// A socket that conntrack's events arrive at. It keeps its network namespace alive.
pub struct Listener {
    netlink: netlink_sys::Socket,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE` and `_DESTROY`.
const GROUPS: [u32; 3] = [1, 2, 3];
/// An event is 400 bytes at most with all that conntrack knows, labels and helpers included.
const EVENT_BYTES_MAX: usize = 8 * 1024;
/// Most datagrams read in one go: the caller has other things to look at.
const DATAGRAMS_MAX: usize = 4096;

impl Listener {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::Denied`] without `CAP_NET_ADMIN`, else [`Error::Netlink`].
    pub fn open(options: Options) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::netlink(&error);
        let mut netlink = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        // Without a port of its own it would count as the kernel, and the kernel leaves out whom an event is from.
        netlink.bind_auto().map_err(failed)?;
        netlink.set_non_blocking(true).map_err(failed)?;
        let refused = |errno| if errno == Errno::PERM { Error::Denied } else { Error::Netlink(errno) };
        set_socket_recv_buffer_size_force(&netlink, options.buffer_bytes).map_err(refused)?;
        let listener = Self { netlink, buffer: Vec::with_capacity(EVENT_BYTES_MAX) };
        if let Some(filter) = options.filter {
            listener.filter(filter)?;
        }
        for group in GROUPS {
            listener.netlink.add_membership(group).map_err(failed)?;
        }
        Ok(listener)
    }

    /// Changes what passes, from the next event on.
    ///
    /// # Errors
    /// [`Error::Netlink`]; the filter is then as it was.
    pub fn filter(&self, filter: Filter) -> Result<(), Error> {
        filter::attach(&self.netlink, filter).map_err(Error::Netlink)
    }

    /// Appends to `changes` what has happened since, up to 4,096 events. Does not wait.
    ///
    /// # Errors
    /// [`Error::Netlink`] and [`Error::Malformed`]: close it and open another.
    pub fn receive(&mut self, changes: &mut Vec<Change>) -> Result<Received, Error> {
        let mut received = Received::default();
        while received.datagrams < DATAGRAMS_MAX {
            self.buffer.clear();
            self.buffer.reserve(EVENT_BYTES_MAX);
            match self.netlink.recv_from(&mut self.buffer, 0) {
                // What another process sends is no event.
                Ok((_, sender)) if sender.port_number() != 0 => {}
                Ok(_) => {
                    let progress = parse(&self.buffer, None, changes)?;
                    received.lost |= progress.incomplete;
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(received),
                    Some(Errno::INTR) => continue,
                    Some(Errno::NOBUFS) => received.lost = true,
                    _ => return Err(Error::netlink(&error)),
                },
            }
            received.datagrams += 1;
        }
        Ok(Received { more: true, ..received })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}
