//! Hears of TCP connections that are no more: the kernel tells of each socket it destroys, with its last figures. The way to
//! learn of short connections where there is no eBPF, and only there: every destroyed socket of the machine costs a message.
//!
//! ```text
//! kernel ─multicast─▶ Listener ─(thread)─▶ bounded queue ─drain, once a round─▶ Destroyed
//!                         nsid ──────────────────────────────Names──▶ netns
//! ```
//! One socket hears of all network namespaces (`NETLINK_LISTEN_ALL_NSID`), and keeps none of them alive. It hears of those
//! that have an id in the namespace it was opened in, and its messages name them by that id; a namespace gets one with its
//! first veth, or from us. See [`nsid`].
//!
//! A socket is destroyed when it closes for good or turns into a mere `TIME_WAIT`. By then it belongs to no process: who had
//! it is known only of a connection that was seen open.

mod listener;
mod nsid;
mod thread;

use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use topology::Netns;

use super::Figures;

pub use listener::{Ended, Listener};
pub use thread::{Feed, spawn};

/// A TCP connection that ended. It had been established: attempts that failed are left out, and so are listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// Network namespace it was in.
    pub netns: Netns,
    /// Own address, as of [`Socket`](super::Socket).
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// All that it carried.
    pub figures: Figures,
}

/// What was heard since the last time it was asked for.
#[derive(Debug)]
pub struct Batch {
    /// Connections that ended, in the order they did.
    pub destroyed: Vec<Destroyed>,
    /// Connections that ended in a namespace we have no name for, or whose name has just gone to another.
    pub unplaced: usize,
    /// Connections there was no room for in our queue.
    pub dropped: u64,
    /// Times the kernel had no room for messages, each of which lost some (`ENOBUFS`).
    pub overruns: u64,
    /// CPU time it cost, the kernel's for delivering left out.
    pub cpu_time: Duration,
    /// How it does now.
    pub health: Health,
}

/// How the listener does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Hears of all namespaces.
    Everywhere,
    /// Hears of our own namespace alone: the others need `CAP_NET_BROADCAST`.
    OwnNamespace,
    /// Hears nothing, and tries again after a while.
    Failed(ListenError),
}

/// Why nothing can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// The kernel tells of no destroyed sockets: too old, no `tcp_diag` module, or not allowed.
    #[error("the kernel does not tell of ended connections: {0}")]
    Refused(Errno),
    /// The socket failed later.
    #[error("cannot hear of ended connections: {0}")]
    Netlink(Errno),
    /// There is no thread to listen.
    #[error("no thread to hear of ended connections: {0}")]
    Thread(Errno),
    /// The thread panicked, and is about to start anew.
    #[error("hearing of ended connections failed inside, see the log")]
    Panicked,
}

#[cfg(test)]
mod tests;
