//! What the kernel's connection tracking knows and sockets do not: address translation in both directions, and flows that
//! no connected socket stands for (UDP, SCTP).
//!
//! ```text
//! dump ────reader──┐
//!                  ├─parse─▶ changes ─▶ table ─▶ where does it really go, who is it really from, what else is open
//! events ─listener─┘
//! ```
//!
//! Conntrack is per network namespace, and sees only namespaces in which some firewall rule asks for it. The host's is
//! [followed](spawn) by events. What a namespace of a container translates by rules of its own (a service mesh's sidecar,
//! Docker's embedded DNS server) is not: connections made through that are shown as their sockets have them.
//!
//! Events alone are not enough: some are lost when they come faster than we read (the kernel says so, not which), and an
//! entry made before anybody listened has none at all where `net.netfilter.nf_conntrack_events` is 2, the default. So a
//! dump repairs the table at the start, after a loss, and once in a while.

mod filter;
mod follower;
mod listener;
mod parse;
mod reader;
mod table;

use std::net::SocketAddr;

use topology::fact::Protocol;

pub use filter::Filter;
pub use follower::{Follower, Health, spawn};
pub use listener::{Listener, Options, Received};
pub use parse::{Progress, parse};
pub use reader::{ATTEMPTS_MAX, Error, Reader, has_ipvs};
pub use table::{ENTRIES_MAX, LINGER, Table, Translation};

/// The addresses of packets in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Who sends them.
    pub source: SocketAddr,
    /// Whom they are sent to.
    pub destination: SocketAddr,
}

impl Tuple {
    /// The other direction.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }
}

/// What conntrack knows of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Packets from the side that spoke first, as that side sends them.
    pub original: Tuple,
    /// The answers, as the other side sends them: from where the connection really ends, to whom it appears to be from.
    pub reply: Tuple,
    /// Conntrack zone. Addresses are unique within one only.
    pub zone: u16,
    /// There were answers (`IPS_SEEN_REPLY`). A refusal is one.
    pub replied: bool,
    /// More than an attempt (`IPS_ASSURED`): a TCP handshake that was completed, UDP that went on for two seconds.
    pub assured: bool,
    /// A TCP connection that has ended, in state `TIME_WAIT` or `CLOSE`.
    pub closed: bool,
    /// Bytes of the packets each way, the original direction first, IP headers included. Only where the kernel counts them
    /// (`net.netfilter.nf_conntrack_acct`); never in an event but the last.
    pub bytes: Option<[u64; 2]>,
}

impl Entry {
    /// Whether one of the ends sees another address than the other end has.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.reply != self.original.mirrored()
    }

    /// Whether it is one to hold: any of UDP and SCTP, and of TCP what is translated. Other sources tell of TCP itself.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.original.protocol != Protocol::Tcp || self.is_translated()
    }
}

/// One thing that a dump or an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, new or not.
    Seen(Entry),
    /// The kernel has dropped it: it timed out, or was deleted.
    Gone(Entry),
}
