//! What is remembered of a namespace from scan to scan, so that only what may have changed is read again.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use topology::Netns;
use topology::fact::Protocol;

use super::counters::Counters;
use super::networks::Addresses;
use super::{EPHEMERAL_DEFAULT, Freshness, Scan, Source, ephemeral, proc_net};
use crate::probe::connections::sock_diag::{DumpError, Extent, Reader, Socket, Wanted};

/// Beats after which connections are dumped whatever the counters say, five minutes: a repair, should they lie. They are not
/// known to, and of a host with many namespaces the dumps would be the largest cost.
pub(super) const REDUMP_BEATS: u64 = 60;
/// Beats after which UDP sockets are dumped though their number is the same: one may have gone and another come.
pub(super) const UDP_REDUMP_BEATS: u64 = 2;
/// Most open connections whose figures are looked up one by one, for 1 to 1.2 µs each; of more, one dump is cheaper. It walks
/// the whole machine's table, 0.9 ms for 262,144 buckets, and takes 0.8 µs a connection: even at about 3,000. A machine with
/// less memory has a smaller table, hence fewer.
pub const LOOK_UPS_MAX: usize = 2_000;

/// The sockets of a namespace as they were last read.
#[derive(Default)]
pub(super) struct Known {
    pub(super) listeners: Arc<[Socket]>,
    /// Whether those are all.
    pub(super) listed: Extent,
    pub(super) connections: Connections,
    pub(super) datagrams: Datagrams,
    pub(super) addresses: Addresses,
}

impl Known {
    /// Whether nothing has to be read in this beat, if nothing came.
    pub(super) fn can_wait(&self, beat: u64, now: Instant) -> bool {
        self.connections.beat == Some(beat) && !self.connections.has_unaccepted && !self.addresses.are_awaited(now)
    }

    /// Whether some of the sockets were too many to be read.
    pub(super) fn is_truncated(&self) -> bool {
        [self.listed, self.connections.extent, self.datagrams.extent].contains(&Extent::Truncated)
    }

    /// What is known, as a scan of `netns`.
    pub(super) fn scan(&self, netns: Netns, freshness: Freshness) -> Scan {
        Scan {
            netns,
            listeners: Arc::clone(&self.listeners),
            connections: Arc::clone(&self.connections.sockets),
            datagrams: Arc::clone(&self.datagrams.sockets),
            freshness,
            networks: self.addresses.networks(),
            ephemeral: self.connections.ephemeral.clone(),
            source: Source::SockDiag,
            looked_at: self.connections.looked_at,
            read_at: self.connections.read_at,
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
    /// When it is.
    pub(super) now: Instant,
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
    /// Beat of the dump.
    pub(super) dumped: u64,
    /// Beat in which the figures were last read.
    beat: Option<u64>,
    /// When they were read: a scan in which something else differs has those of an earlier one.
    read_at: Option<Instant>,
    /// When it was last known that these are the connections there are.
    looked_at: Option<Instant>,
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
            dumped: 0,
            beat: None,
            read_at: None,
            looked_at: None,
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
            return Ok(Freshness::Unchanged);
        }
        if self.holds(&here) {
            self.looked_at = Some(here.now);
            let open = self.sockets.iter().filter(|socket| socket.is_open()).count();
            if open == 0 || !is_figures_due {
                return Ok(Freshness::Unchanged);
            }
            if open <= LOOK_UPS_MAX {
                let mut refreshed = self.sockets.to_vec();
                if reader.refresh(&mut refreshed).is_ok() {
                    self.read_at = Some(here.now);
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
            if !here.remains {
                sockets.retain(Socket::is_open);
            }
        }
        self.has_unaccepted = has_unaccepted(&sockets);
        let counters_held = self.counters == here.counters;
        self.is_settled = extent == Extent::Whole && is_settled(here.counters, counters_held, listeners, &sockets);
        self.counters = here.counters;
        self.dumped = here.beat;
        (self.looked_at, self.read_at) = (Some(here.now), Some(here.now));
        self.extent = extent;
        self.ephemeral = ephemeral(here.proc_root);
        Ok(replace(&mut self.sockets, sockets))
    }

    fn holds(&self, here: &Here<'_>) -> bool {
        self.is_settled && here.beat - self.dumped < REDUMP_BEATS && self.counters == here.counters
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
    connections.iter().any(|socket| socket.inode == 0 && socket.state.is_established())
}

/// The UDP sockets of a namespace at the last dump.
#[derive(Default)]
pub(super) struct Datagrams {
    /// How many were in use just before.
    in_use: Option<u64>,
    /// Beat of it.
    dumped: u64,
    pub(super) extent: Extent,
    pub(super) sockets: Arc<[Socket]>,
}

impl Datagrams {
    /// Dumps them if they may have changed.
    pub(super) fn update(&mut self, reader: &mut Reader, here: Here<'_>) -> Freshness {
        let is_known = self.in_use.is_some() && self.in_use == here.datagrams;
        if is_known && here.beat - self.dumped < UDP_REDUMP_BEATS {
            return Freshness::Unchanged;
        }
        self.in_use = here.datagrams;
        self.dumped = here.beat;
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
