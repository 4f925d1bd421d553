//! One simulated host: a mesh when it runs, its place in the network, and what it has sent and received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::meter::Tally;
use super::network::LinkEnd;
use super::relay::Relay;
use crate::PeerId;
use crate::mesh::{Mesh, Time};

/// See the module.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) peer: PeerId,
    pub(super) epoch: u64,
    /// `None` while the process does not run.
    pub(super) mesh: Option<Mesh>,
    /// Counts the starts; what was meant for an earlier one is void.
    pub(super) runs: u32,
    /// A dead machine does not even refuse connections.
    pub(super) powered: bool,
    /// What this host's clock shows at the start of time: no two agree.
    pub(super) clock: Time,
    /// Since when the process is stopped, as when a machine sleeps. Its clock stands still, too.
    pub(super) frozen_since: Option<Time>,
    /// Hosts reach only those of the same side.
    pub(super) side: u8,
    /// By the other host.
    pub(super) links: BTreeMap<u32, LinkEnd>,
    /// Until when frames that have come keep it busy.
    pub(super) busy_until: Time,
    /// Until when frames that go keep its uplink busy.
    pub(super) uplink_busy_until: Time,
    /// Until when what comes keeps a narrow line busy.
    pub(super) downlink_busy_until: Time,
    /// Of a host with a narrower line than the others.
    pub(super) bits_per_second: Option<u64>,
    /// The earliest timer event on its way.
    pub(super) timer: Option<Time>,
    /// Where names of the mesh lead, as far as this host is told.
    pub(super) names: Vec<SocketAddr>,
    /// What it does to others' messages, if it is a bad one.
    pub(super) relay: Option<Relay>,
    pub(super) traffic: Traffic,
    /// Of the runs before.
    pub(super) past: Tally,
}

/// Bytes through a host's own wire, overhead of frames included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) frames: u64,
}

impl Host {
    pub(super) fn new(peer: PeerId, clock: Time) -> Host {
        Host {
            peer,
            epoch: 0,
            mesh: None,
            runs: 0,
            powered: true,
            clock,
            frozen_since: None,
            side: 0,
            links: BTreeMap::new(),
            busy_until: Time::ZERO,
            uplink_busy_until: Time::ZERO,
            downlink_busy_until: Time::ZERO,
            bits_per_second: None,
            timer: None,
            names: Vec::new(),
            relay: None,
            traffic: Traffic::default(),
            past: Tally::default(),
        }
    }

    /// Whether it takes part: runs, and is not stopped.
    pub(super) fn is_live(&self) -> bool {
        self.mesh.is_some() && self.frozen_since.is_none()
    }

    /// What its own clock shows.
    pub(super) fn local_time(&self, now: Time) -> Time {
        now + self.clock
    }

    /// When its own clock will show `local`.
    pub(super) fn world_time(&self, local: Time) -> Time {
        local.saturating_sub(self.clock)
    }

    /// Lets its clock stand still from `since` on until now.
    pub(super) fn lose_time(&mut self, lost: Duration) {
        // The clocks start at more than any pause.
        self.clock -= lost;
    }
}
