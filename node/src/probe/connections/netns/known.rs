//! What is remembered of a namespace from scan to scan, so that only what may have changed is read again.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use topology::Netns;
use topology::fact::Protocol;

use super::beat::scatter;
use super::counters::Counters;
use super::networks::Addresses;
use super::{EPHEMERAL_DEFAULT, Freshness, ephemeral, proc_net};
use crate::probe::connections::sock_diag::{DumpError, Extent, Reader, Socket, Wanted};

/// Scans after which connections are dumped whatever the counters say: a repair, should they lie.
pub(super) const REDUMP_SCANS: u32 = 60;
/// Scans after which UDP sockets are dumped though their number is the same: one may have gone and another come.
pub(super) const UDP_REDUMP_SCANS: u32 = 10;
/// Most open connections whose figures are looked up one by one, for 1 to 1.2 µs each; of more, one dump is cheaper. It walks
/// the whole machine's table, 0.9 ms for 262,144 buckets, and takes 0.8 µs a connection: even at about 3,000. A machine with
/// less memory has a smaller table, hence fewer.
pub const LOOK_UPS_MAX: usize = 2_000;

/// The sockets of a namespace as they were last read.
pub(super) struct Known {
    pub(super) listeners: Arc<[Socket]>,
    pub(super) connections: Connections,
    pub(super) datagrams: Datagrams,
    pub(super) addresses: Addresses,
}

impl Known {
    /// Nothing yet of `netns`.
    pub(super) fn new(netns: Netns) -> Self {
        Self {
            listeners: Arc::default(),
            connections: Connections::default(),
            datagrams: Datagrams {
                in_use: None,
                age: 0,
                head_start: scatter(netns) % UDP_REDUMP_SCANS,
                extent: Extent::Whole,
                sockets: Arc::default(),
            },
            addresses: Addresses::default(),
        }
    }
}

/// What a scan is told of the namespace it is in.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) proc_root: &'a Path,
    /// Counters, as they are just before anything else is read.
    pub(super) counters: Option<Counters>,
    /// UDP sockets in use.
    pub(super) datagrams: Option<u64>,
    /// The beat of figures it is in.
    pub(super) beat: u64,
    /// Most sockets to read.
    pub(super) limit: usize,
    /// Whether connections that were closed are wanted too.
    pub(super) remains: bool,
    /// Whether another source would have told of a connection worth a dump, and did not.
    pub(super) is_calm: bool,
}

/// The TCP connections of a namespace at the last dump.
pub(super) struct Connections {
    /// As they were just before the dump.
    counters: Option<Counters>,
    /// Whether equal counters mean equal connections.
    is_settled: bool,
    /// Whether a connection was open that nobody had accepted.
    has_unaccepted: bool,
    /// Scans since the dump.
    age: u32,
    /// Beat in which the figures were last read.
    beat: Option<u64>,
    pub(super) extent: Extent,
    pub(super) sockets: Arc<[Socket]>,
    pub(super) ephemeral: RangeInclusive<u16>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            counters: None,
            is_settled: false,
            has_unaccepted: false,
            age: 0,
            beat: None,
            extent: Extent::Whole,
            sockets: Arc::default(),
            ephemeral: EPHEMERAL_DEFAULT,
        }
    }
}

impl Connections {
    /// Reads what may have changed. `dumped` counts dumps.
    pub(super) fn update(
        &mut self,
        reader: &mut Reader,
        here: Here<'_>,
        listeners: &[Socket],
        dumped: &mut usize,
    ) -> Result<Freshness, DumpError> {
        let is_figures_due = self.beat != Some(here.beat);
        self.beat = Some(here.beat);
        // Connections came and went of which another source tells all there is to know: what is open can wait for the beat.
        // Not if one had yet to be accepted: whose it is, is not known.
        if here.is_calm && !is_figures_due && !self.has_unaccepted {
            self.age += 1;
            return Ok(Freshness::Unchanged);
        }
        if self.holds(here.counters) {
            self.age += 1;
            let open = self.sockets.iter().filter(|socket| socket.state.is_open()).count();
            if open == 0 || !is_figures_due {
                return Ok(Freshness::Unchanged);
            }
            if open <= LOOK_UPS_MAX {
                let mut refreshed = self.sockets.to_vec();
                if reader.refresh(&mut refreshed).is_ok() {
                    return Ok(replace(&mut self.sockets, refreshed));
                }
            }
        }
        let mut sockets = Vec::new();
        let mut extent = Extent::Whole;
        // If the counters know of no socket but the listeners, a dump would find none.
        if !here.counters.is_some_and(|counters| counters.agree(listeners, &[])) {
            let wanted = Wanted::Connections { figures: true, remains: here.remains };
            extent = reader.dump(wanted, here.limit, &mut sockets)?;
            *dumped += 1;
        }
        self.has_unaccepted = has_unaccepted(&sockets);
        let counters_held = self.counters == here.counters;
        self.is_settled = extent == Extent::Whole && is_settled(here.counters, counters_held, listeners, &sockets);
        self.counters = here.counters;
        self.age = 0;
        self.extent = extent;
        self.ephemeral = ephemeral(here.proc_root);
        Ok(replace(&mut self.sockets, sockets))
    }

    fn holds(&self, now: Option<Counters>) -> bool {
        self.is_settled && self.age < REDUMP_SCANS && self.counters == now
    }
}

/// Whether counters that stay as they are will mean that connections do. Not if one has yet to be accepted: it gets its
/// inode without a count. And as the kernel counts a connection at about the time it enters the table, but not at once
/// with it, a dump in between can miss one that was counted: so the dump must agree with the counters, or be the second
/// under the same ones.
pub(super) fn is_settled(
    now: Option<Counters>,
    counters_held: bool,
    listeners: &[Socket],
    connections: &[Socket],
) -> bool {
    let Some(counters) = now else { return false };
    !has_unaccepted(connections) && (counters_held || counters.agree(listeners, connections))
}

fn has_unaccepted(connections: &[Socket]) -> bool {
    connections.iter().any(|socket| socket.inode == 0 && socket.state.is_open())
}

/// The UDP sockets of a namespace at the last dump.
pub(super) struct Datagrams {
    /// How many were in use just before.
    in_use: Option<u64>,
    /// Scans since.
    age: u32,
    /// Age at the first dump: so that not all namespaces are due in the same scan.
    head_start: u32,
    pub(super) extent: Extent,
    pub(super) sockets: Arc<[Socket]>,
}

impl Datagrams {
    /// Dumps them if they may have changed.
    pub(super) fn update(&mut self, reader: &mut Reader, here: Here<'_>) -> Freshness {
        if self.in_use.is_some() && self.in_use == here.datagrams && self.age < UDP_REDUMP_SCANS {
            self.age += 1;
            return Freshness::Unchanged;
        }
        self.in_use = here.datagrams;
        self.age = std::mem::take(&mut self.head_start);
        let (extent, sockets) = match here.datagrams {
            Some(0) => (Extent::Whole, Vec::new()),
            _ => dump_datagrams(reader, here),
        };
        self.extent = extent;
        replace(&mut self.sockets, sockets)
    }
}

/// From `/proc` where the kernel has no `udp_diag`; none if that fails too, as it can't where TCP was told.
fn dump_datagrams(reader: &mut Reader, here: Here<'_>) -> (Extent, Vec<Socket>) {
    let mut sockets = Vec::new();
    match reader.dump(Wanted::Datagrams, here.limit, &mut sockets) {
        Ok(extent) => (extent, sockets),
        Err(_) => {
            let net = here.proc_root.join("thread-self/net");
            proc_net::read(&net, Protocol::Udp, here.limit).unwrap_or((Extent::Whole, sockets))
        }
    }
}

/// Replaces `known` unless it is the same, and tells how far it is.
pub(super) fn replace(known: &mut Arc<[Socket]>, now: Vec<Socket>) -> Freshness {
    let freshness = compare(known, &now);
    if freshness != Freshness::Unchanged {
        *known = now.into();
    }
    freshness
}

fn compare(before: &[Socket], now: &[Socket]) -> Freshness {
    let without_figures = |socket: &Socket| Socket { figures: None, ..*socket };
    let is_same = |(before, now): (&Socket, &Socket)| without_figures(before) == without_figures(now);
    if before == now {
        Freshness::Unchanged
    } else if before.len() == now.len() && before.iter().zip(now).all(is_same) {
        Freshness::Figures
    } else {
        Freshness::Sockets
    }
}
