//! Bytes, summed over all hosts, between two points in time.

use std::ops::{AddAssign, Sub};

use super::network::FRAME_OVERHEAD_BYTES;
use super::world::World;
use crate::mesh::{Counters, Time};

/// What the meshes of a host counted, over all its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) payload: u64,
    pub(super) heads: u64,
    pub(super) control: u64,
    pub(super) beats: u64,
    pub(super) payload_received: u64,
    pub(super) duplicates: u64,
}

impl From<&Counters> for Tally {
    fn from(counters: &Counters) -> Tally {
        let sent = &counters.sent;
        Tally {
            payload: sent.payload as u64,
            heads: sent.head as u64,
            control: sent.control as u64,
            beats: sent.beat as u64,
            payload_received: counters.payload_received,
            duplicates: counters.duplicates,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.payload += other.payload;
        self.heads += other.heads;
        self.control += other.control;
        self.beats += other.beats;
        self.payload_received += other.payload_received;
        self.duplicates += other.duplicates;
    }
}

impl Sub for Tally {
    type Output = Tally;

    fn sub(self, other: Tally) -> Tally {
        Tally {
            payload: self.payload - other.payload,
            heads: self.heads - other.heads,
            control: self.control - other.control,
            beats: self.beats - other.beats,
            payload_received: self.payload_received - other.payload_received,
            duplicates: self.duplicates - other.duplicates,
        }
    }
}

/// The meters at a point in time.
#[derive(Debug)]
pub(super) struct Reading {
    at: Time,
    tally: Tally,
    /// Of each host, sent and received.
    bytes: Vec<u64>,
    sent_bytes: u64,
    frames: u64,
}

/// What went through between two readings.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) tally: Tally,
    pub(super) sent_bytes: u64,
    pub(super) frames: u64,
    /// Bytes a second of each host, sent and received, in rising order.
    pub(super) rates: Vec<f64>,
    pub(super) seconds: f64,
}

impl Usage {
    /// Sent bytes that are not payload, by what they are for.
    pub(super) fn classes(&self) -> [(&'static str, f64); 4] {
        [
            ("of it heads", self.tally.heads as f64),
            ("of it control", self.tally.control as f64),
            ("of it beats", self.tally.beats as f64),
            ("of it frame overhead", self.frames as f64 * FRAME_OVERHEAD_BYTES as f64),
        ]
    }
}

impl World {
    pub(super) fn read_meters(&self) -> Reading {
        let mut tally = Tally::default();
        for host in &self.hosts {
            tally += host.past;
            if let Some(mesh) = &host.mesh {
                tally += Tally::from(mesh.counters());
            }
        }
        let traffic = self.hosts.iter().map(|host| host.traffic);
        Reading {
            at: self.now,
            tally,
            bytes: traffic.clone().map(|traffic| traffic.sent_bytes + traffic.received_bytes).collect(),
            sent_bytes: traffic.clone().map(|traffic| traffic.sent_bytes).sum(),
            frames: traffic.map(|traffic| traffic.frames).sum(),
        }
    }

    pub(super) fn used_since(&self, before: &Reading) -> Usage {
        let now = self.read_meters();
        let seconds = (now.at - before.at).as_secs_f64();
        let bytes = now.bytes.iter().zip(&before.bytes);
        let mut rates: Vec<f64> = bytes.map(|(now, before)| (now - before) as f64 / seconds).collect();
        rates.sort_by(f64::total_cmp);
        Usage {
            tally: now.tally - before.tally,
            sent_bytes: now.sent_bytes - before.sent_bytes,
            frames: now.frames - before.frames,
            rates,
            seconds,
        }
    }
}
