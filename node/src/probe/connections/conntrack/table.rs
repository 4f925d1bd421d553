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

use super::{Change, Entry, Interest, Tuple};
use crate::probe::connections::sock_diag::Extent;
use flows::{Flows, Number};

/// Most entries held, 25 MB of them. Beyond, the oldest is forgotten; its translation can no longer be looked up.
pub const ENTRIES_MAX: usize = 65_536;

/// Most flows that have ended and wait to be [taken](Table::take_seen): three seconds of 10,000 short connections/s, at
/// 210 bytes each.
pub const ENDED_MAX: usize = 32_768;

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

/// A flow that was told of by conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// As it was last seen.
    pub entry: Entry,
    /// When it was seen first.
    pub first: Instant,
    /// When something was last heard of it, its end included.
    pub last: Instant,
    /// It has ended.
    pub is_over: bool,
}

/// Counters of what was left out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Entries forgotten for newer ones.
    pub forgotten: u64,
    /// Ends of flows that nobody took in time.
    pub untold: u64,
}

/// The state that changes add up to. Bounded: see [`ENTRIES_MAX`] and [`ENDED_MAX`].
#[derive(Debug)]
pub struct Table {
    interest: Interest,
    flows: Flows,
    /// Flows to be told: new, or answered since. Each at most once, and perhaps some that have gone.
    news: Vec<Number>,
    /// Those that have ended and were not taken yet.
    ended: Vec<Sighting>,
    left_out: LeftOut,
    /// Counts the dumps.
    generation: u32,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(interest: Interest) -> Self {
        Self {
            interest,
            flows: Flows::default(),
            news: Vec::new(),
            ended: Vec::new(),
            left_out: LeftOut::default(),
            generation: 0,
        }
    }

    /// What is of interest.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.interest
    }

    /// Changes what is of interest. What it newly is comes with the next [`Self::resync`]; what it no longer is goes, untold.
    pub fn set_interest(&mut self, interest: Interest) {
        self.interest = interest;
        self.flows.retain(|flow| interest.holds(&flow.entry));
    }

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
            let generation = self.generation;
            for number in self.flows.numbers_where(|flow| flow.generation != generation) {
                self.end(number, now);
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

    /// The flows that started, were first answered, or ended since the last call: UDP and SCTP, and all TCP that was
    /// established if that is of interest. One that did several of these is told once, as it was last.
    pub fn take_seen(&mut self) -> Vec<Sighting> {
        let mut seen = std::mem::take(&mut self.ended);
        for number in std::mem::take(&mut self.news) {
            let Some(flow) = self.flows.live_mut(number).filter(|flow| !flow.is_over) else { continue };
            flow.is_news = false;
            flow.told = stage(self.interest, &flow.entry);
            if flow.told > Stage::Untold {
                seen.push(flow.sighting());
            }
        }
        seen
    }

    /// Entries that are there now, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.flows.live().map(|flow| &flow.entry)
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

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    fn see(&mut self, entry: Entry, now: Instant) {
        let mut known = self.flows.number_of(&entry);
        if let Some(number) = known.filter(|number| self.flows.get(*number).entry.reply != entry.reply) {
            self.end(number, now); // its end was lost, and another had the same addresses
            known = None;
        }
        let number = match known {
            Some(number) => number,
            // One that is of no interest now either was once, under other events, or never will be.
            None if !self.interest.holds(&entry) => return,
            None => self.start(entry, now),
        };
        let stage = stage(self.interest, &entry);
        let flow = self.flows.get_mut(number);
        flow.update(entry, self.generation, now);
        if stage > flow.told && !flow.is_news && !flow.is_over {
            flow.is_news = true;
            self.news.push(number);
        }
        if entry.closed && known.is_some() {
            self.tell_end(number);
        }
        if !self.interest.holds(&entry) {
            self.flows.remove(number);
        }
    }

    fn let_go(&mut self, entry: &Entry, now: Instant) {
        // One with another reply is another entry: it is the end of what was there before.
        let known = self.flows.number_of(entry).filter(|number| self.flows.get(*number).entry.reply == entry.reply);
        match known {
            Some(number) => {
                let generation = self.generation;
                self.flows.get_mut(number).update(*entry, generation, now);
                self.end(number, now);
            }
            // Its start was lost or forgotten. The end of a closed one is another matter: it was told before.
            None if !entry.closed && stage(self.interest, entry) > Stage::Untold => {
                self.push_ended(Sighting { entry: *entry, first: now, last: now, is_over: true });
            }
            None => {}
        }
    }

    fn start(&mut self, entry: Entry, now: Instant) -> Number {
        if self.flows.is_full() {
            self.left_out.forgotten += u64::from(self.flows.forget_one());
        }
        if self.news.len() >= NEWS_MAX {
            self.news.retain(|number| self.flows.live_mut(*number).is_some());
        }
        self.flows.insert(entry, now)
    }

    fn end(&mut self, number: Number, now: Instant) {
        self.flows.get_mut(number).last = now;
        self.tell_end(number);
        self.flows.let_go(number, now);
    }

    fn tell_end(&mut self, number: Number) {
        let flow = self.flows.get_mut(number);
        if std::mem::replace(&mut flow.is_over, true) {
            return;
        }
        let sighting = flow.sighting();
        if stage(self.interest, &sighting.entry) > Stage::Untold {
            self.push_ended(sighting);
        }
    }

    fn push_ended(&mut self, sighting: Sighting) {
        if self.ended.len() < ENDED_MAX {
            self.ended.push(sighting);
        } else {
            self.left_out.untold += 1;
        }
    }
}

/// How much of an entry there is to tell as a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing: another source does, or it is a TCP handshake that may never be completed.
    #[default]
    Untold,
    /// Somebody spoke.
    Unanswered,
    /// And was answered.
    Answered,
}

fn stage(interest: Interest, entry: &Entry) -> Stage {
    let protocol = entry.original.protocol;
    let is_flow = interest.tells_of(protocol) && (protocol != Protocol::Tcp || entry.assured);
    match (is_flow, entry.replied) {
        (false, _) => Stage::Untold,
        (true, false) => Stage::Unanswered,
        (true, true) => Stage::Answered,
    }
}

/// Numbers kept of what is to be told; beyond, those that have gone by now are swept out, and others there are half as
/// many.
const NEWS_MAX: usize = 2 * ENTRIES_MAX;

#[cfg(test)]
mod tests;
