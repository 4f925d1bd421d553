//! What conntrack has said so far, by the addresses that sockets see.
//!
//! ```text
//! client's socket: local → remote  =  original tuple         where it goes: reply.source, as whom: reply.destination
//! server's socket: local → remote  =  reply tuple            who it is: original.source, whom it meant: original.destination
//! ```
//!
//! One entry may translate both ends (a published port reached from its own network: DNAT and masquerade). No IO and no
//! clock.

mod flows;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use topology::fact::Protocol;

use super::{Change, Entry, Tuple};
use crate::probe::connections::sock_diag::Extent;
use flows::Flows;

/// Most entries held, those that linger included: 27 MB of them. Beyond, what is missed least is forgotten: what lingers
/// (the first that went), then the oldest that is closed, then the oldest UDP flow, then the oldest of all. Its translation
/// can no longer be looked up.
pub const ENTRIES_MAX: usize = 65_536;

/// How long a translation can be looked up after its entry has gone. Whoever asks does so in rounds, of up to 20 s under
/// load, and what another source tells of has ended by then; a connection that was reset is gone after 10 s.
pub const LINGER: Duration = Duration::from_secs(30);

/// Where the other end of a connection is, and under which address this end is known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The client: as the server sees it ([`Table::outgoing`]), or who it really is ([`Table::incoming`]).
    pub source: SocketAddr,
    /// The server: where it really is ([`Table::outgoing`]), or what the client calls it ([`Table::incoming`]).
    pub destination: SocketAddr,
}

/// The state that changes add up to. Bounded: see [`ENTRIES_MAX`]. Holds what [is of interest](Entry::is_of_interest).
#[derive(Debug, Default)]
pub struct Table {
    flows: Flows,
    forgotten: u64,
    /// Counts the dumps.
    generation: u32,
}

impl Table {
    /// Takes in one change. Changes of one entry are to come in their order.
    pub fn apply(&mut self, change: Change, now: Instant) {
        self.flows.expire(now);
        match change {
            Change::Seen(entry) => self.see(entry, now),
            Change::Gone(entry) => self.let_go(&entry, now),
        }
    }

    /// Takes in a dump. If it is whole, what is not in it has ended.
    pub fn resync(&mut self, entries: &[Entry], extent: Extent, now: Instant) {
        self.flows.expire(now);
        self.generation = self.generation.wrapping_add(1);
        for entry in entries {
            self.see(*entry, now);
        }
        if extent == Extent::Whole {
            for number in self.flows.not_of(self.generation) {
                self.flows.let_go(number, now);
            }
        }
    }

    /// For the client's end of a connection, a socket that is `local` and whose other end appears to be `remote`: where it
    /// really goes, and under which source it arrives there. `None` if nothing is translated.
    #[must_use]
    pub fn outgoing(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        let entry = self.flows.by_original(Tuple { protocol, source: local, destination: remote })?;
        Some(Translation { source: entry.reply.destination, destination: entry.reply.source })
    }

    /// For the server's end of a connection, a socket that is `local` and whose other end appears to be `remote`: who is
    /// really behind that, and to which address it had connected. `None` if nothing is translated.
    #[must_use]
    pub fn incoming(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        let entry = self.flows.by_reply(Tuple { protocol, source: local, destination: remote })?;
        Some(Translation { source: entry.original.source, destination: entry.original.destination })
    }

    /// Entries that are there now, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.flows.live()
    }

    /// How many are there now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries that were there were forgotten for newer ones, since the start.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn see(&mut self, entry: Entry, now: Instant) {
        match self.flows.number_of(&entry) {
            Some(number) if self.flows.get(number).reply == entry.reply => {
                return self.flows.update(number, entry, self.generation);
            }
            Some(other) => self.flows.let_go(other, now), // its end was lost, and another had the same addresses
            None => {}
        }
        if !entry.is_of_interest() {
            return;
        }
        if self.flows.held() >= ENTRIES_MAX {
            self.forgotten += u64::from(self.flows.forget_one());
        }
        self.flows.insert(entry, self.generation);
    }

    fn let_go(&mut self, entry: &Entry, now: Instant) {
        // One with another reply is another entry: it is the end of what was there before.
        let known = self.flows.number_of(entry).filter(|number| self.flows.get(*number).reply == entry.reply);
        if let Some(number) = known {
            self.flows.let_go(number, now);
        }
    }
}

#[cfg(test)]
mod tests;
