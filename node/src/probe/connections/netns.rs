//! Network namespaces: enters each one in use and reads its TCP sockets.
//!
//! A scan runs on a thread of its own, which ends with it. `setns` moves only the calling thread, so no other thread ever
//! leaves the namespace it belongs to, whatever goes wrong on the way; and a thread that ends needs no way back.
//!
//! The dump of connections is the price of a scan (see [`sock_diag`]), and most namespaces of most scans are quiet. So the
//! kernel's [`counters`] are read first: connections are dumped only if those say that something happened since.

mod counters;
mod proc_net;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use topology::{Netns, ProcessId};

use super::sock_diag::{self, DumpError, Extent, Socket, State, Wanted};
use crate::probe::pace::thread_cpu_time;
use counters::Counters;

/// Processes by the network namespace they are in: what to scan, and through whom to get in.
pub type Namespaces = BTreeMap<Netns, Vec<ProcessId>>;

/// Most sockets read of one namespace, listeners and connections each. The rest is not seen, and said so.
pub const NETNS_SOCKETS_MAX: usize = 100_000;
/// Most sockets read of all namespaces together: 80 bytes each.
pub const SOCKETS_MAX: usize = 250_000;
/// Most namespaces scanned. Ten times what a host with the most pods Kubernetes allows for needs.
pub const NAMESPACES_MAX: usize = 1024;
/// Scans after which connections are dumped whatever the counters say: a repair, should they lie.
const REDUMP_SCANS: u32 = 60;
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
    #[error("too many sockets in a network namespace: only {0} were read")]
    Truncated(usize),
    /// There are more namespaces than we take.
    #[error("too many network namespaces: {0} were not read")]
    TooManyNamespaces(usize),
    /// The scanning thread could not be started, or failed.
    #[error("cannot run a thread to scan network namespaces: {0}")]
    Thread(String),
}

/// The TCP sockets of one network namespace.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which one.
    pub netns: Netns,
    /// Listening sockets.
    pub listeners: Vec<Socket>,
    /// Ends of connections, in no order. The same slice as long as nothing changed.
    pub connections: Arc<[Socket]>,
    /// Ports it gives to clients that ask for none.
    pub ephemeral: RangeInclusive<u16>,
    /// Where they are from.
    pub source: Source,
}

/// What a scan of all namespaces found.
#[derive(Debug, Default)]
pub struct Scans {
    /// One for each namespace that could be read; our own first.
    pub namespaces: Vec<Scan>,
    /// What kept it from being all, each with the number of namespaces it happened in.
    pub problems: Vec<(Problem, usize)>,
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

    /// How many sockets of the next namespace may be read.
    fn room(&self) -> usize {
        let taken = self.namespaces.iter().map(|scan| scan.listeners.len() + scan.connections.len()).sum();
        NETNS_SOCKETS_MAX.min(SOCKETS_MAX.saturating_sub(taken))
    }
}

/// Scans network namespaces, and remembers what it takes to leave the quiet ones alone.
pub struct Scanner {
    proc_root: PathBuf,
    reader: sock_diag::Reader,
    known: HashMap<Netns, Known>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("proc_root", &self.proc_root).field("known", &self.known.len()).finish()
    }
}

/// The connections of a namespace at the last dump.
struct Known {
    /// As they were just before the dump.
    counters: Option<Counters>,
    /// Whether equal counters mean equal connections.
    is_settled: bool,
    /// Scans since the dump.
    age: u32,
    extent: Extent,
    connections: Arc<[Socket]>,
    ephemeral: RangeInclusive<u16>,
}

impl Known {
    fn holds(&self, now: Option<Counters>) -> bool {
        self.is_settled && self.age < REDUMP_SCANS && self.counters == now
    }
}

impl Scanner {
    /// A scanner that finds processes under `proc_root`, usually `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self { proc_root: proc_root.to_owned(), reader: sock_diag::Reader::default(), known: HashMap::new() }
    }

    /// Reads the sockets of our own network namespace and of `namespaces`. Blocks, for a millisecond or so and another for
    /// each namespace in which connections came or went: not for an async task's thread.
    pub fn scan(&mut self, namespaces: &Namespaces) -> Scans {
        match on_a_thread(|| self.scan_on_this_thread(namespaces)) {
            Ok((scans, cpu_time)) => Scans { cpu_time, ..scans },
            Err(problem) => {
                let mut scans = Scans::default();
                scans.complain(problem);
                scans
            }
        }
    }

    /// Leaves the thread in whichever namespace it entered last.
    fn scan_on_this_thread(&mut self, namespaces: &Namespaces) -> Scans {
        let mut scans = Scans::default();
        let own = std::fs::metadata("/proc/thread-self/ns/net").map(|link| Netns(link.ino())).ok();
        if let Some(netns) = own {
            self.scan_here(netns, None, &mut scans);
        }
        let mut others = namespaces.iter().filter(|(netns, _)| Some(**netns) != own);
        for (netns, processes) in others.by_ref().take(NAMESPACES_MAX) {
            self.scan_there(*netns, processes, &mut scans);
        }
        let left_out = others.count();
        if left_out > 0 {
            scans.complain(Problem::TooManyNamespaces(left_out));
        }
        self.known.retain(|netns, _| Some(*netns) == own || namespaces.contains_key(netns));
        scans
    }

    fn scan_there(&mut self, netns: Netns, processes: &[ProcessId], scans: &mut Scans) {
        let mut doors = processes.iter().take(DOORS_MAX);
        match doors.find_map(|process| enter(&self.proc_root, netns, process.pid).map(|result| (process, result))) {
            Some((process, Ok(()))) => self.scan_here(netns, Some(process.pid), scans),
            Some((process, Err(problem))) => {
                scans.complain(problem);
                self.scan_by_proc(netns, Some(process.pid), EPHEMERAL_DEFAULT, scans);
            }
            None => {} // all of its processes ended: the namespace did, or the next scan knows another way in
        }
    }

    /// Scans the namespace this thread is in, `netns`; `pid` is a process in it, `None` for our own.
    fn scan_here(&mut self, netns: Netns, pid: Option<u32>, scans: &mut Scans) {
        let limit = scans.room();
        let mut listeners = Vec::new();
        let listed = self.reader.dump(Wanted::Listeners, limit, &mut listeners);
        match listed.and_then(|extent| Ok((extent, self.connections_here(netns, &listeners, limit, scans)?))) {
            Ok((extent, known)) => {
                if [extent, known.extent].contains(&Extent::Truncated) {
                    scans.complain(Problem::Truncated(limit));
                }
                scans.namespaces.push(Scan {
                    netns,
                    listeners,
                    connections: Arc::clone(&known.connections),
                    ephemeral: known.ephemeral.clone(),
                    source: Source::SockDiag,
                });
            }
            Err(error) => {
                scans.complain(error.into());
                self.scan_by_proc(netns, pid, ephemeral(&self.proc_root), scans);
            }
        }
    }

    /// The connections of the namespace this thread is in, dumped if they may have changed.
    fn connections_here(
        &mut self,
        netns: Netns,
        listeners: &[Socket],
        limit: usize,
        scans: &mut Scans,
    ) -> Result<&Known, DumpError> {
        let counters = counters::read(&self.proc_root);
        let last = match self.known.entry(netns) {
            Entry::Occupied(known) if known.get().holds(counters) => {
                let known = known.into_mut();
                known.age += 1;
                return Ok(known);
            }
            entry => entry,
        };
        let mut connections = Vec::new();
        let mut extent = Extent::Whole;
        // If the counters know of no socket but the listeners, a dump would find none.
        if !counters.is_some_and(|counters| counters.agree(listeners, &[])) {
            extent = self.reader.dump(Wanted::Connections, limit, &mut connections)?;
            scans.dumped += 1;
        }
        let counters_held = matches!(&last, Entry::Occupied(known) if known.get().counters == counters);
        let is_settled = extent == Extent::Whole && is_settled(counters, counters_held, listeners, &connections);
        let ephemeral = ephemeral(&self.proc_root);
        let connections = connections.into();
        Ok(last.insert_entry(Known { counters, is_settled, age: 0, extent, connections, ephemeral }).into_mut())
    }

    fn scan_by_proc(&self, netns: Netns, pid: Option<u32>, ephemeral: RangeInclusive<u16>, scans: &mut Scans) {
        let limit = scans.room();
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        match proc_net::read(&self.proc_root.join(process).join("net"), limit) {
            Ok((extent, sockets)) => {
                if extent == Extent::Truncated {
                    scans.complain(Problem::Truncated(limit));
                }
                let (listeners, connections): (Vec<_>, Vec<_>) =
                    sockets.into_iter().partition(|socket| matches!(socket.state, State::Listen { .. }));
                scans.namespaces.push(Scan {
                    netns,
                    listeners,
                    connections: connections.into(),
                    ephemeral,
                    source: Source::ProcNet,
                });
            }
            Err(Errno::NOENT | Errno::SRCH) => {} // the process ended
            Err(error) => scans.complain(Problem::ProcNet(error)),
        }
    }
}

/// Whether counters that stay as they are will mean that connections do. Not if one has yet to be accepted: it gets its
/// inode without a count. And as the kernel counts a connection at about the time it enters the table, but not at once
/// with it, a dump in between can miss one that was counted: so the dump must agree with the counters, or be the second
/// under the same ones.
fn is_settled(now: Option<Counters>, counters_held: bool, listeners: &[Socket], connections: &[Socket]) -> bool {
    let Some(counters) = now else { return false };
    let unaccepted = connections.iter().any(|socket| socket.inode == 0 && socket.state.is_open());
    !unaccepted && (counters_held || counters.agree(listeners, connections))
}

/// What `look` sees in `netns`, with the CPU time that took; `pid` is a process in it. Runs it on a thread of its own,
/// which may go where it likes.
///
/// # Errors
/// [`Problem::Enter`] and [`Problem::EnterDenied`] if we cannot get in, [`Problem::Thread`] if there is no thread.
pub(in crate::probe) fn inside<T: Send>(
    proc_root: &Path,
    netns: Netns,
    pid: u32,
    look: impl FnOnce() -> T + Send,
) -> Result<(T, Duration), Problem> {
    let (seen, cpu_time) = on_a_thread(|| {
        enter(proc_root, netns, pid).unwrap_or(Err(Problem::Enter(Errno::SRCH)))?;
        Ok(look())
    })?;
    seen.map(|seen| (seen, cpu_time))
}

/// Runs `work` on a thread that ends with it. Returns what that gave, and the thread's CPU time.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<(T, Duration), Problem> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns-scan".to_owned());
        match thread.spawn_scoped(scope, || (work(), thread_cpu_time())) {
            Ok(working) => working.join().map_err(|_| Problem::Thread("it panicked".to_owned())),
            Err(error) => Err(Problem::Thread(error.to_string())),
        }
    })
}

/// Moves this thread into `netns` by way of process `pid`. `None` if the process ended or is in another by now.
fn enter(proc_root: &Path, netns: Netns, pid: u32) -> Option<Result<(), Problem>> {
    let link = match File::open(proc_root.join(format!("{pid}/ns/net"))) {
        Ok(link) => link,
        Err(error) => return refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    if link.metadata().map_or(0, |metadata| metadata.ino()) != netns.0 {
        return None;
    }
    match move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)) {
        Ok(()) => Some(Ok(())),
        Err(errno) => refused(errno),
    }
}

fn refused(errno: Errno) -> Option<Result<(), Problem>> {
    match errno {
        Errno::NOENT | Errno::SRCH => None,
        Errno::PERM | Errno::ACCESS => Some(Err(Problem::EnterDenied)),
        _ => Some(Err(Problem::Enter(errno))),
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
mod tests;
