//! Network namespaces: enters each one in use and reads its sockets and addresses.
//!
//! A scan runs on a thread of its own, which ends with it. `setns` moves only the calling thread, so no other thread ever
//! leaves the namespace it belongs to, whatever goes wrong on the way; and a thread that ends needs no way back.
//!
//! The dump of connections is the price of a scan (see [`sock_diag`](super::sock_diag)), and most namespaces of most scans
//! are quiet. So the kernel's [`counters`] are read first: connections are dumped only if those say that something happened
//! since. What connections carry moves no counter, and is read by the clock: see [`beat`] and [`LOOK_UPS_MAX`]. Where another
//! source tells of what comes ([`Attention`]), namespaces of which it tells nothing are not even entered between two beats.

mod beat;
mod counters;
mod enter;
mod known;
mod networks;
mod proc_net;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::io::Errno;
use topology::fact::{Network, Protocol};
use topology::{Netns, ProcessId};

use super::sock_diag::{DumpError, Extent, Reader, Socket, State, Wanted};
use beat::Beats;
use enter::{enter, on_a_thread};
use known::{Here, Known};

pub use beat::FIGURES_BEAT;
pub use enter::inside;
pub use known::LOOK_UPS_MAX;

/// Processes by the network namespace they are in: what to scan, and through whom to get in.
pub type Namespaces = BTreeMap<Netns, Vec<ProcessId>>;

/// Most sockets read of one namespace, of each kind. The rest is not seen, and said so.
pub const NETNS_SOCKETS_MAX: usize = 100_000;
/// Most sockets read of all namespaces together: 112 bytes each.
pub const SOCKETS_MAX: usize = 250_000;
/// Most namespaces scanned. Ten times what a host with the most pods Kubernetes allows for needs.
pub const NAMESPACES_MAX: usize = 1024;
/// Processes tried as the way into a namespace. One can end while we look; that several do, the scan can wait for.
const DOORS_MAX: usize = 4;
/// `ip_local_port_range` as Linux sets it (ip(7)), where it cannot be read.
pub const EPHEMERAL_DEFAULT: RangeInclusive<u16> = 32768..=60999;

/// The network namespace of process `pid`.
///
/// # Errors
/// The process ended, or we may not look at it: other users' processes need `CAP_SYS_PTRACE`.
pub fn of(proc_root: &Path, pid: u32) -> io::Result<Netns> {
    std::fs::metadata(proc_root.join(format!("{pid}/ns/net"))).map(|link| Netns(link.ino()))
}

/// How sockets were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// From `/proc/PID/net/tcp{,6}`: without knowing which v6 listeners refuse v4.
    ProcNet,
    /// From the kernel's socket tables.
    SockDiag,
}

impl Source {
    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcNet => "/proc/net",
            Self::SockDiag => "sock_diag",
        }
    }
}

/// What one scan did not get, or only by a detour.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `setns` was refused.
    #[error("may not enter network namespaces: run as root, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE")]
    EnterDenied,
    /// `setns` failed for another reason.
    #[error("cannot enter a network namespace: {0}")]
    Enter(Errno),
    /// The kernel's socket tables could not be read.
    #[error(transparent)]
    SockDiag(#[from] DumpError),
    /// Neither could `/proc/PID/net`.
    #[error("cannot read /proc/PID/net/tcp: {0}")]
    ProcNet(Errno),
    /// There are more sockets than we take.
    #[error("too many sockets: only {NETNS_SOCKETS_MAX} of a network namespace and {SOCKETS_MAX} in all are read")]
    Truncated,
    /// There are more namespaces than we take.
    #[error("too many network namespaces: only {NAMESPACES_MAX} are read")]
    TooManyNamespaces,
    /// The scanning thread could not be started, or failed.
    #[error("cannot run a thread to scan network namespaces: {0}")]
    Thread(String),
}

/// What differs from the scan before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    /// Nothing.
    Unchanged,
    /// Figures of connections, and nothing else.
    Figures,
    /// Sockets came, went or changed.
    Sockets,
}

/// The sockets of one network namespace.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which one.
    pub netns: Netns,
    /// Listening TCP sockets.
    pub listeners: Arc<[Socket]>,
    /// Ends of TCP connections, in no order.
    pub connections: Arc<[Socket]>,
    /// UDP sockets: connected, and bound to nobody.
    pub datagrams: Arc<[Socket]>,
    /// What differs from the last scan of this namespace. Slices that do not differ are the same ones.
    pub freshness: Freshness,
    /// Its addresses, without loopback. The same slice as long as they are the same.
    pub networks: Arc<[Network]>,
    /// Ports it gives to clients that ask for none.
    pub ephemeral: RangeInclusive<u16>,
    /// Where they are from.
    pub source: Source,
    /// When its TCP connections were known to be those there are, if that was not in this scan.
    pub looked_at: Option<Instant>,
    /// When the figures of its connections were read; `None` if they have none.
    pub read_at: Option<Instant>,
}

impl Scan {
    fn len(&self) -> usize {
        self.listeners.len() + self.connections.len() + self.datagrams.len()
    }
}

/// Where TCP sockets are worth a look before the beat of figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attention {
    /// Everywhere.
    #[default]
    Everywhere,
    /// In these alone: another source tells wherever one comes that may be new.
    Only(HashSet<Netns>),
}

impl Attention {
    /// The same, and these.
    #[must_use]
    pub fn and(self, more: impl IntoIterator<Item = Netns>) -> Self {
        match self {
            Self::Everywhere => Self::Everywhere,
            Self::Only(mut news) => {
                news.extend(more);
                Self::Only(news)
            }
        }
    }

    fn is_calm(&self, netns: Netns) -> bool {
        matches!(self, Self::Only(news) if !news.contains(&netns))
    }
}

/// What a scan of all namespaces found.
#[derive(Debug, Default)]
pub struct Scans {
    /// One for each namespace that could be read; our own first.
    pub namespaces: Vec<Scan>,
    /// Our own namespace, whether it could be read or not.
    pub own: Option<Netns>,
    /// What kept it from being all, each with the number of namespaces it happened in.
    pub problems: Vec<(Problem, usize)>,
    /// Namespaces that were looked at, rather than known to be quiet.
    pub visited: usize,
    /// Namespaces whose connections were dumped, rather than known to be none or unchanged.
    pub dumped: usize,
    /// What it cost: CPU time of the thread it ran on.
    pub cpu_time: Duration,
}

impl Scans {
    fn complain(&mut self, problem: Problem) {
        match self.problems.iter_mut().find(|(known, _)| *known == problem) {
            Some((_, count)) => *count += 1,
            None => self.problems.push((problem, 1)),
        }
    }

    /// Takes what is known of a namespace.
    fn take(&mut self, known: &Known, netns: Netns, freshness: Freshness) {
        if known.is_truncated() {
            self.complain(Problem::Truncated);
        }
        self.namespaces.push(known.scan(netns, freshness));
    }

    /// How many sockets of the next namespace may be read.
    fn room(&self) -> usize {
        let taken = self.namespaces.iter().map(Scan::len).sum();
        NETNS_SOCKETS_MAX.min(SOCKETS_MAX.saturating_sub(taken))
    }
}

/// Scans network namespaces, and remembers what it takes to leave the quiet ones alone.
pub struct Scanner {
    proc_root: PathBuf,
    reader: Reader,
    beats: Beats,
    attention: Attention,
    remains: bool,
    known: HashMap<Netns, Known>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("proc_root", &self.proc_root).field("known", &self.known.len()).finish()
    }
}

impl Scanner {
    /// A scanner that finds processes under `proc_root`, usually `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            reader: Reader::default(),
            beats: Beats::default(),
            attention: Attention::default(),
            remains: true,
            known: HashMap::new(),
        }
    }

    /// Says where the next scans are to look closely.
    pub fn attend(&mut self, attention: Attention) {
        self.attention = attention;
    }

    /// Says whether the next scans are to tell of connections that were closed, `TIME_WAIT` above all. Not if another source
    /// tells what ends: of a host with thousands of short connections a second they are some hundred thousand.
    pub fn want_remains(&mut self, remains: bool) {
        self.remains = remains;
    }

    /// Forgets what is known of a namespace: another one has its number.
    pub fn forget(&mut self, netns: Netns) {
        self.known.remove(&netns);
    }

    /// Reads the sockets of our own network namespace and of `namespaces`. Blocks, for a millisecond or so and another for
    /// each namespace in which connections came or went: not for an async task's thread. `now` is when: figures and
    /// addresses are read by the clock. Our own namespace is looked at in every scan: it takes no way in.
    pub fn scan(&mut self, namespaces: &Namespaces, now: Instant) -> Scans {
        match on_a_thread(|| self.scan_on_this_thread(namespaces, now)) {
            Ok((scans, cpu_time)) => Scans { cpu_time, ..scans },
            Err(problem) => {
                let mut scans = Scans::default();
                scans.complain(problem);
                scans
            }
        }
    }

    /// Leaves the thread in whichever namespace it entered last.
    fn scan_on_this_thread(&mut self, namespaces: &Namespaces, now: Instant) -> Scans {
        let mut scans = Scans::default();
        let own = std::fs::metadata("/proc/thread-self/ns/net").map(|link| Netns(link.ino())).ok();
        scans.own = own;
        if let Some(netns) = own {
            self.scan_here(netns, None, now, &mut scans);
        }
        let mut others = namespaces.iter().filter(|(netns, _)| Some(**netns) != own);
        for (netns, processes) in others.by_ref().take(NAMESPACES_MAX) {
            self.scan_there(*netns, processes, now, &mut scans);
        }
        let left_out = others.count();
        if left_out > 0 {
            scans.complain(Problem::TooManyNamespaces);
        }
        self.known.retain(|netns, _| Some(*netns) == own || namespaces.contains_key(netns));
        scans
    }

    fn scan_there(&mut self, netns: Netns, processes: &[ProcessId], now: Instant, scans: &mut Scans) {
        let beat = self.beats.count(netns, now);
        if self.attention.is_calm(netns)
            && let Some(known) = self.known.get(&netns).filter(|known| known.can_wait(beat, now))
        {
            scans.take(known, netns, Freshness::Unchanged);
            return;
        }
        let mut doors = processes.iter().take(DOORS_MAX);
        match doors.find_map(|process| enter(&self.proc_root, netns, process.pid).map(|result| (process, result))) {
            Some((process, Ok(()))) => self.scan_here(netns, Some(process.pid), now, scans),
            Some((process, Err(problem))) => {
                scans.complain(problem);
                self.scan_by_proc(netns, Some(process.pid), EPHEMERAL_DEFAULT, scans);
            }
            None => {} // all of its processes ended: the namespace did, or the next scan knows another way in
        }
    }

    /// Scans the namespace this thread is in, `netns`; `pid` is a process in it, `None` for our own.
    fn scan_here(&mut self, netns: Netns, pid: Option<u32>, now: Instant, scans: &mut Scans) {
        let mut known = self.known.remove(&netns).unwrap_or_default();
        scans.visited += 1;
        match self.read_here(netns, &mut known, now, scans) {
            Ok(freshness) => {
                scans.take(&known, netns, freshness);
                self.known.insert(netns, known);
            }
            Err(error) => {
                scans.complain(error.into());
                self.scan_by_proc(netns, pid, ephemeral(&self.proc_root), scans);
            }
        }
    }

    /// Reads what may have changed in the namespace this thread is in, over what is `known`.
    fn read_here(
        &mut self,
        netns: Netns,
        known: &mut Known,
        now: Instant,
        scans: &mut Scans,
    ) -> Result<Freshness, DumpError> {
        let limit = scans.room();
        let mut listeners = Vec::new();
        known.listed = self.reader.dump(Wanted::Listeners, limit, &mut listeners)?;
        let (counters, datagrams) = counters::read(&self.proc_root);
        let beat = self.beats.count(netns, now);
        let is_calm = self.attention.is_calm(netns);
        let remains = self.remains;
        let counters = counters.map(|it| if remains { it } else { it.without_remains() });
        let here = Here { proc_root: &self.proc_root, counters, datagrams, now, beat, limit, remains, is_calm };
        let of_listeners = known::replace(&mut known.listeners, listeners);
        let of_connections = known.connections.update(&mut self.reader, here, &known.listeners, &mut scans.dumped)?;
        let of_datagrams = known.datagrams.update(&mut self.reader, here);
        known.addresses.update(now, known.connections.sockets.iter().chain(known.listeners.iter()));
        Ok(of_listeners.max(of_connections).max(of_datagrams))
    }

    fn scan_by_proc(&self, netns: Netns, pid: Option<u32>, ephemeral: RangeInclusive<u16>, scans: &mut Scans) {
        let limit = scans.room();
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let net = self.proc_root.join(process).join("net");
        let of_tcp = proc_net::read(&net, Protocol::Tcp, limit);
        match of_tcp.and_then(|of_tcp| Ok((of_tcp, proc_net::read(&net, Protocol::Udp, limit)?))) {
            Ok(((of_tcp, sockets), (of_udp, datagrams))) => {
                if [of_tcp, of_udp].contains(&Extent::Truncated) {
                    scans.complain(Problem::Truncated);
                }
                let (listeners, connections): (Vec<_>, Vec<_>) =
                    sockets.into_iter().partition(|socket| matches!(socket.state, State::Listen { .. }));
                scans.namespaces.push(Scan {
                    netns,
                    listeners: listeners.into(),
                    connections: connections.into(),
                    datagrams: datagrams.into(),
                    freshness: Freshness::Sockets,
                    networks: Arc::default(),
                    ephemeral,
                    source: Source::ProcNet,
                    looked_at: None,
                    read_at: None,
                });
            }
            Err(Errno::NOENT | Errno::SRCH) => {} // the process ended
            Err(error) => scans.complain(Problem::ProcNet(error)),
        }
    }
}

/// The client port range of the namespace this thread is in: `/proc/sys` shows everyone their own.
fn ephemeral(proc_root: &Path) -> RangeInclusive<u16> {
    let path = proc_root.join("sys/net/ipv4/ip_local_port_range");
    std::fs::read_to_string(path).ok().and_then(|text| port_range(&text)).unwrap_or(EPHEMERAL_DEFAULT)
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(|port| port.parse::<u16>().ok());
    let (first, last) = (ports.next()??, ports.next()??);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
pub(super) mod tests;
