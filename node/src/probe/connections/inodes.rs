//! Who holds a socket: from inodes, by which the kernel's tables name sockets, to the processes that have them open.
//!
//! Only `/proc/PID/fd` knows, and reading it costs about a microsecond a descriptor. So owners are remembered for as long
//! as their socket lives, and the processes of a namespace are walked only if it has a socket without a known owner, or
//! one whose owner ended. A socket that nobody is found to hold is looked for again ever more rarely, then among all
//! processes of the host: one may have been passed to another namespace.
//!
//! Where the kernel can list all descriptors by itself ([`Tracer::holders`](super::ebpf::Tracer::holders)) that is asked in
//! place of each walk, at a thirtieth of the price.

mod walk;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use topology::{Netns, ProcessId};

use super::netns::{Namespaces, Scan};
use super::sock_diag::{Socket, State};
use walk::Walk;

pub use walk::{FDS_MAX, Walked};

/// Most owners kept of a listener, a master and its workers: those that started first.
pub const OWNERS_MAX: usize = 16;
/// Longest pause before a socket that nobody holds is looked for again, in scans.
const RETRY_SCANS_MAX: u64 = 64;
/// Scans after which a namespace with listeners is walked again, new socket or not: a worker forked since holds its
/// master's listener, and a connection can be handed over to a child: no new socket tells of either.
const REWALK_SCANS: u64 = 30;
/// The same where the holders are told, which costs little, and a process is new.
const REASK_SCANS: u64 = 5;
/// How often that is done for a new process: it may get what it holds a moment after its start.
const ASKINGS: u8 = 2;

/// Owners of sockets, by inode. Bounded by the sockets of a scan ([`SOCKETS_MAX`](super::netns::SOCKETS_MAX)): an entry
/// goes with its socket.
#[derive(Debug)]
pub struct Owners {
    proc_root: Arc<Path>,
    scan: u64,
    entries: HashMap<u64, Entry>,
    /// Scan in which a namespace was last walked.
    walked_at: HashMap<Netns, u64>,
    /// Where the last update ran out of descriptors to read.
    resume_at: Option<ProcessId>,
    /// Whether the holders were told when they were last asked for.
    was_told: bool,
    /// The processes there are.
    alive: HashSet<ProcessId>,
    /// For how many times all namespaces are asked for because there are new ones: the second time for what those got later.
    askings: u8,
    /// Scan in which that was done last.
    asked_at: u64,
    /// Whether the last update met a socket whose process is perhaps too new for the list of processes.
    met_newcomer: bool,
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    /// Scan that last had the socket.
    seen: u64,
}

#[derive(Debug)]
enum Holder {
    /// Of a connection.
    One(ProcessId),
    /// Of a listener: all, sorted.
    Many(Box<[ProcessId]>),
    /// Looked for `attempts` times in vain.
    Nobody { attempts: u32, retry_at: u64 },
}

impl Holder {
    fn new(kind: Kind, mut processes: Vec<ProcessId>) -> Self {
        processes.sort_unstable_by_key(|process| (process.start, process.pid));
        processes.dedup(); // one process may hold a socket by several descriptors
        match (kind, processes.last()) {
            (Kind::Connection, Some(youngest)) => Self::One(*youngest),
            _ => {
                processes.truncate(OWNERS_MAX);
                processes.sort_unstable();
                Self::Many(processes.into())
            }
        }
    }

    fn processes(&self) -> &[ProcessId] {
        match self {
            Self::One(process) => std::slice::from_ref(process),
            Self::Many(processes) => processes,
            Self::Nobody { .. } => &[],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Listener,
    Connection,
}

/// What a socket needs: a walk of its namespace, one of the host, or nothing.
enum Need {
    Nothing,
    Netns,
    Host,
}

impl Owners {
    /// Nothing known yet of the processes under `proc_root`, usually `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.into(),
            scan: 0,
            entries: HashMap::new(),
            walked_at: HashMap::new(),
            resume_at: None,
            was_told: false,
            alive: HashSet::new(),
            askings: 0,
            asked_at: 0,
            met_newcomer: false,
        }
    }

    /// Processes that hold the socket `inode`, sorted; none if it is not known or we may not see them.
    ///
    /// Of a listener all, up to [`OWNERS_MAX`]: master and workers serve it together. Of a connection one: of several
    /// holders the one that started last. A server that gives each connection a process of its own forks it after
    /// accepting, and keeps a copy for a moment at most; a program that leaks descriptors into its children is the rarer
    /// case, and the one that comes out wrong.
    #[must_use]
    pub fn of(&self, inode: u64) -> &[ProcessId] {
        self.entries.get(&inode).map_or(&[], |entry| entry.holder.processes())
    }

    /// Brings the owners up to date with a scan of the sockets and with the processes there are. Blocks while it reads
    /// descriptors, of which it reads no more than [`FDS_MAX`], our own, and the rest of a process.
    pub fn update(&mut self, scans: &[Scan], namespaces: &Namespaces) -> Walked {
        self.take_processes(namespaces);
        self.update_with(scans, namespaces, || None)
    }

    /// The same where [`Owners::take_processes`] has been called for `namespaces`; `holders` is asked once, if at all, for all
    /// sockets with who holds them, and descriptors are read only where it has no answer.
    pub fn update_with(
        &mut self,
        scans: &[Scan],
        namespaces: &Namespaces,
        holders: impl FnOnce() -> Option<Vec<(u64, ProcessId)>>,
    ) -> Walked {
        self.scan += 1;
        self.met_newcomer = false;
        let mut holders = Holders::NotAsked(holders);
        let alive = std::mem::take(&mut self.alive);
        let is_asking = self.is_asking();
        let mut walk = Walk::new(Arc::clone(&self.proc_root), self.resume_at.take(), FDS_MAX);
        let mut lost = HashMap::new();
        if let Some(own) = scans.first().filter(|_| self.was_told) {
            self.take_own(own, &alive);
        }
        for scan in scans {
            let mut is_due = self.is_rewalk_due(scan, is_asking);
            for (inode, kind) in held(scan) {
                match self.need(inode, &alive) {
                    Need::Nothing => {}
                    Need::Netns => is_due = true,
                    Need::Host => {
                        lost.insert(inode, kind);
                    }
                }
            }
            if is_due {
                let processes = namespaces.get(&scan.netns).map_or(&[][..], Vec::as_slice);
                let wanted = held(scan).collect();
                let found = holders.find(&wanted, processes, &mut walk);
                self.take_found(found, &wanted, &alive);
                self.walked_at.insert(scan.netns, self.scan);
            }
        }
        if !lost.is_empty() {
            let everyone: Vec<_> = namespaces.values().flatten().copied().collect();
            let found = holders.find(&lost, &everyone, &mut walk);
            self.take_found(found, &lost, &alive);
        }
        self.entries.retain(|_, entry| entry.seen == self.scan);
        self.walked_at.retain(|netns, _| namespaces.contains_key(netns));
        self.resume_at = walk.stopped_at();
        self.alive = alive;
        let is_told = matches!(holders, Holders::Told(_));
        if is_asking || is_told && !self.was_told {
            self.asked_at = self.scan;
            self.askings = self.askings.saturating_sub(1);
        }
        self.was_told = is_told || (self.was_told && matches!(holders, Holders::NotAsked(_)));
        Walked { is_told, ..walk.walked() }
    }

    /// Takes the processes there are: to be called when they have changed.
    pub fn take_processes(&mut self, namespaces: &Namespaces) {
        let alive: HashSet<ProcessId> = namespaces.values().flatten().copied().collect();
        if !alive.is_subset(&self.alive) {
            self.askings = ASKINGS;
        }
        self.alive = alive;
    }

    /// Whether the last update met, for the first time, a socket whose holder is not among the processes, or is not found: a
    /// newer list of processes may tell who that is.
    #[must_use]
    pub fn met_newcomer(&self) -> bool {
        self.met_newcomer
    }

    /// Takes those of the new sockets that are ours: our own look-ups and visitors come and go all the time, and are no reason
    /// to look at anybody else.
    fn take_own(&mut self, scan: &Scan, alive: &HashSet<ProcessId>) {
        let new: HashMap<u64, Kind> = held(scan).filter(|(inode, _)| !self.entries.contains_key(inode)).collect();
        if new.is_empty() {
            return;
        }
        let link = std::fs::read_link(self.proc_root.join("self")).ok();
        let pid = link.and_then(|link| link.to_str()?.parse::<u32>().ok());
        let Some(ourselves) = alive.iter().copied().find(|process| Some(process.pid) == pid) else { return };
        let seen = self.scan;
        let mut take = |inode: u64, process| {
            if let Some(kind) = new.get(&inode) {
                self.entries.insert(inode, Entry { holder: Holder::new(*kind, vec![process]), seen });
            }
        };
        let mut walk = Walk::new(Arc::clone(&self.proc_root), None, FDS_MAX);
        walk.find(&[ourselves], |inode| new.contains_key(&inode), &mut take);
    }

    /// Whether all namespaces are due where the holders are told: one answer is good for all of them.
    fn is_asking(&self) -> bool {
        let age = self.scan - self.asked_at;
        self.was_told && (age >= REWALK_SCANS || age >= REASK_SCANS && self.askings > 0)
    }

    fn is_rewalk_due(&self, scan: &Scan, is_asking: bool) -> bool {
        let walked_at = self.walked_at.get(&scan.netns);
        let is_time = |at: u64| if self.was_told { is_asking } else { self.scan - at >= REWALK_SCANS };
        !scan.listeners.is_empty() && walked_at.is_none_or(|at| is_time(*at))
    }

    /// Notes that the socket is still there, and tells what it needs.
    fn need(&mut self, inode: u64, alive: &HashSet<ProcessId>) -> Need {
        let Some(entry) = self.entries.get_mut(&inode) else { return Need::Netns };
        entry.seen = self.scan;
        match &entry.holder {
            Holder::Nobody { retry_at, .. } if *retry_at > self.scan => Need::Nothing,
            // Once more where it should be, first: the process that holds it may be too new for the list we had.
            Holder::Nobody { attempts: 1, .. } => Need::Netns,
            Holder::Nobody { .. } => Need::Host,
            holder if holder.processes().iter().all(|process| alive.contains(process)) => Need::Nothing,
            _ => Need::Netns,
        }
    }

    /// Takes who was found to hold what was `wanted`.
    fn take_found(&mut self, mut found: Found, wanted: &HashMap<u64, Kind>, alive: &HashSet<ProcessId>) {
        for (inode, kind) in wanted {
            let holder = match found.remove(inode) {
                Some(processes) => Holder::new(*kind, processes),
                None => self.without_new_owner(*inode, *kind, alive),
            };
            let is_known = self.entries.get(inode).is_some_and(|known| known.holder.processes() == holder.processes());
            self.met_newcomer |= match &holder {
                Holder::Nobody { attempts, .. } => *attempts == 1,
                holder => !is_known && !holder.processes().iter().all(|process| alive.contains(process)),
            };
            self.entries.insert(*inode, Entry { holder, seen: self.scan });
        }
    }

    /// Who holds a socket that was looked for and not found. It keeps the owners it has, so long as they live: they may be
    /// in another namespace.
    fn without_new_owner(&mut self, inode: u64, kind: Kind, alive: &HashSet<ProcessId>) -> Holder {
        let attempts = match self.entries.remove(&inode).map(|entry| entry.holder) {
            Some(Holder::Nobody { attempts, retry_at }) if retry_at > self.scan => {
                return Holder::Nobody { attempts, retry_at };
            }
            Some(Holder::Nobody { attempts, .. }) => attempts + 1,
            Some(holder) => {
                let still: Vec<_> =
                    holder.processes().iter().filter(|process| alive.contains(process)).copied().collect();
                if !still.is_empty() {
                    return Holder::new(kind, still);
                }
                1
            }
            None => 1,
        };
        // One scan after the first attempt, then two, four, …
        let pause = RETRY_SCANS_MAX.min(1 << (attempts - 1).min(RETRY_SCANS_MAX.ilog2()));
        Holder::Nobody { attempts, retry_at: self.scan + pause }
    }
}

/// Processes by the socket they hold.
type Found = HashMap<u64, Vec<ProcessId>>;

/// All holders of all sockets, as far as somebody tells.
enum Holders<F> {
    NotAsked(F),
    /// Sorted.
    Told(Vec<(u64, ProcessId)>),
    Unknown,
}

impl<F: FnOnce() -> Option<Vec<(u64, ProcessId)>>> Holders<F> {
    /// Who holds what is `wanted`: as it was told, else among the descriptors of `processes`.
    fn find(&mut self, wanted: &HashMap<u64, Kind>, processes: &[ProcessId], walk: &mut Walk) -> Found {
        *self = match std::mem::replace(self, Self::Unknown) {
            Self::NotAsked(ask) => ask().map_or(Self::Unknown, |mut told| {
                told.sort_unstable();
                Self::Told(told)
            }),
            asked => asked,
        };
        let mut found = Found::new();
        match self {
            Self::Told(all) => {
                for inode in wanted.keys() {
                    let rest = &all[all.partition_point(|(of, _)| of < inode)..];
                    let holders = rest.iter().take_while(|(of, _)| of == inode);
                    let holders: Vec<_> = holders.map(|(_, process)| *process).collect();
                    if !holders.is_empty() {
                        found.insert(*inode, holders);
                    }
                }
            }
            _ => walk.find(
                processes,
                |inode| wanted.contains_key(&inode),
                |inode, process| found.entry(inode).or_default().push(process),
            ),
        }
        found
    }
}

/// The sockets of a scan that a process can hold.
fn held(scan: &Scan) -> impl Iterator<Item = (u64, Kind)> {
    let of = |kind| move |socket: &Socket| (socket.inode != 0).then_some((socket.inode, kind));
    let connections = scan.connections.iter().filter_map(of(Kind::Connection));
    let listeners = scan.listeners.iter().filter_map(of(Kind::Listener));
    // An unconnected UDP socket may be a server's, held by master and workers alike.
    let datagrams = scan.datagrams.iter().filter_map(move |socket| match socket.state {
        State::Bound { .. } => of(Kind::Listener)(socket),
        _ => of(Kind::Connection)(socket),
    });
    listeners.chain(connections).chain(datagrams)
}

#[cfg(test)]
mod tests;
