//! What happens next: events in the order of virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::network::LinkEnd;
use super::world::Run;
use crate::PeerId;
use crate::mesh::Time;

/// Something that happens at a point in time.
#[derive(Debug)]
pub(super) enum Event {
    /// A frame has reached the host at this end, whole.
    Arrive { at: LinkEnd, departed: Time, frame: Bytes },
    /// The host at this end has come to look at a frame.
    Process { at: LinkEnd, frame: Bytes },
    /// A frame that the host at this end sent has left it.
    Left { from: LinkEnd, bytes: u32 },
    /// The host at this end notices that the link is no more.
    Down { at: LinkEnd },
    /// An answer to a ping has come.
    Pong { at: LinkEnd },
    /// An attempt to connect has come to its end.
    Dialled { by: Run, peer: Option<PeerId>, addresses: Vec<SocketAddr>, outcome: Dialled },
    /// A timeout of a mesh may have passed.
    Timer { of: Run },
    /// A host looks its names up again.
    Lookup { by: Run },
    /// The workload's turn, if it is still this one.
    Publish { host: u32, workload: u32 },
}

/// How an attempt to connect ends, as far as the network knows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dialled {
    /// A host was found at this address.
    Reached { host: u32, address: SocketAddr },
    /// Nobody answers.
    Failed,
}

/// Events to come. Those of the same time happen in the order in which they were added, so a run
/// depends on nothing but its seed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BinaryHeap<Entry>,
    added: u64,
}

#[derive(Debug)]
struct Entry {
    time: Time,
    number: u64,
    event: Event,
}

impl Queue {
    pub(super) fn add(&mut self, time: Time, event: Event) {
        self.added += 1;
        self.events.push(Entry { time, number: self.added, event });
    }

    /// When the next event happens.
    pub(super) fn next_time(&self) -> Option<Time> {
        self.events.peek().map(|entry| entry.time)
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Option<(Time, Event)> {
        self.events.pop().map(|entry| (entry.time, entry.event))
    }

    /// How many events there have been and will be.
    pub(super) fn added(&self) -> u64 {
        self.added
    }
}

/// The heap's greatest is the earliest.
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
