//! The wires between hosts: how long a frame takes, and how connections break.
//!
//! A link is one TCP connection: frames arrive in order or not at all. All links of a host share its
//! line, so many frames sent at once follow one another. Loss is not modelled as lost frames, which TCP
//! repairs, but as what people see of it: a connection that falls silent and breaks later.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::mesh::Time;

/// What a frame takes on the wire besides its own bytes: a length prefix (4), a Yamux header (12), and the
/// length and tag of a Noise message (18). The headers of TCP and IP are not counted.
pub const FRAME_OVERHEAD_BYTES: usize = 34;

/// What Yamux and the kernel take of a connection before its sender has to wait: a frame counts as sent long before a
/// narrow line has carried it.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// From the last sign of a neighbour behind a dead path to the end of the link, by ping.
pub const DETECT_AFTER: Duration = Duration::from_secs(10);

/// From a dial into the void to giving up.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Links that a host takes; the driver refuses more.
pub const LINKS_MAX: usize = 64;

/// What the world between the hosts is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The shortest and the longest way from one host to another; each pair has its own.
    pub latency: (Duration, Duration),
    /// What a host can send and receive.
    pub bits_per_second: u64,
    /// What a host needs for one frame, besides receiving it.
    pub processing: Duration,
}

impl Model {
    /// One switch: 0.3 to 0.7 ms, 1 Gbit/s.
    #[must_use]
    pub fn lan() -> Model {
        let latency = (Duration::from_micros(300), Duration::from_micros(700));
        Model { latency, bits_per_second: 1_000_000_000, processing: Duration::from_micros(200) }
    }

    /// Several sites: 10 to 50 ms.
    #[must_use]
    pub fn wan() -> Model {
        Model { latency: (Duration::from_millis(10), Duration::from_millis(50)), ..Model::lan() }
    }

    /// One way between two hosts, the same whenever they connect.
    pub(super) fn latency_between(&self, seed: u64, a: u32, b: u32) -> Duration {
        let (low, high) = self.latency;
        let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        let fraction = scramble(seed ^ scramble(pair)) >> 32;
        let spread_ns = u64::try_from((high - low).as_nanos()).expect("a latency is below centuries");
        low + Duration::from_nanos((spread_ns * fraction) >> 32)
    }
}

/// SplitMix64's finaliser: bits that depend on all bits of `x`.
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How long so many bytes take.
pub(super) fn transmission(bytes: usize, bits_per_second: u64) -> Duration {
    Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / bits_per_second)
}

/// One of the two ends of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkEnd {
    pub(super) link: u32,
    /// 0 or 1.
    pub(super) end: u8,
}

impl LinkEnd {
    pub(super) fn other(self) -> LinkEnd {
        LinkEnd { link: self.link, end: 1 - self.end }
    }
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [End; 2],
    pub(super) latency: Duration,
    /// Since when nothing gets through, though neither side knows.
    pub(super) silent_since: Option<Time>,
}

/// What one side has of a link.
#[derive(Debug)]
pub(super) struct End {
    pub(super) host: u32,
    /// Whether this side holds the link; the other may have closed it already.
    pub(super) open: bool,
    /// When this side closed it; what had not departed by then never does.
    pub(super) closed_at: Option<Time>,
    /// Until when the frames already sent keep the link busy.
    pub(super) busy_until: Time,
    /// Given to this side to send, and not yet gone.
    pub(super) unsent_bytes: usize,
}

impl Link {
    pub(super) fn between(a: u32, b: u32, latency: Duration) -> Link {
        let end = |host| End { host, open: true, closed_at: None, busy_until: Time::ZERO, unsent_bytes: 0 };
        Link { ends: [end(a), end(b)], latency, silent_since: None }
    }

    pub(super) fn end(&mut self, end: u8) -> &mut End {
        &mut self.ends[usize::from(end)]
    }

    pub(super) fn host(&self, end: u8) -> u32 {
        self.ends[usize::from(end)].host
    }

    /// Whether a frame that left `end` then reaches the other side at `now`.
    pub(super) fn delivers(&self, to: u8, departed: Time, now: Time) -> bool {
        let receiver = &self.ends[usize::from(to)];
        let sender = &self.ends[usize::from(1 - to)];
        receiver.open
            && self.silent_since.is_none_or(|since| now < since)
            && sender.closed_at.is_none_or(|closed| departed <= closed)
    }
}

/// Where a host listens.
pub(super) fn address(host: u32) -> SocketAddr {
    let [_, b, c, d] = host.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), 4030)
}

/// Which host listens there, if there are so many.
pub(super) fn host_at(address: SocketAddr, hosts: usize) -> Option<u32> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [net, b, c, d] = ip.octets();
    let host = u32::from_be_bytes([0, b, c, d]);
    (net == 10 && address.port() == 4030 && (host as usize) < hosts).then_some(host)
}
