//! The BPF program in the kernel: loaded, attached, and its maps drained. It runs until this is dropped.

mod account;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, HashMap as BpfMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Iter};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use topology::{Netns, ProcessId};

use super::decode::{self, Ticks};
use super::{Drained, Ended, HOLDERS_MAX, LoadError, ReadError, Task};
use account::Account;

/// The compiled program.
const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.bpf.o"));

/// The tracepoint, and our program at it.
const TRACEPOINT: &str = "inet_sock_set_state";

/// Numbers of `enum counter`. News that found the ring full are no loss: who reads it is awake.
const EVENTS: u32 = 0;
const LOSSES: RangeInclusive<u32> = 1..=3;

type EndedMap = BpfMap<MapData, decode::Relation, decode::Figures>;

/// A BPF program at work. It counts from [`Tracer::load`] on.
pub struct Tracer {
    /// The program writes to one of them; the other is ours to read.
    halves: [EndedMap; 2],
    written: usize,
    turn: ArrayOfMaps<MapData, EndedMap>,
    drains: Array<MapData, u32>,
    drains_made: u32,
    counters: PerCpuArray<MapData, u64>,
    tasks: BpfMap<MapData, decode::Process, decode::Task>,
    ticks: Ticks,
    account: Account,
    /// As it was last told.
    drained: Drained,
    /// Holds the programs and the tracer's attachment.
    program: Ebpf,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("drained", &self.drained).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads and attaches the program. Processes are named as in the pid namespace of `proc_root`, usually `/proc`; those
    /// that are not in it are another host's, and so are their connections. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`LoadError`] says what is missing, and what would help.
    pub fn load(proc_root: &Path) -> Result<(Self, News), LoadError> {
        let loaded = Self::load_program(proc_root);
        give_memory_back();
        loaded
    }

    fn load_program(proc_root: &Path) -> Result<(Self, News), LoadError> {
        let pid_namespace = pid_namespace(proc_root).map_err(LoadError::PidNamespace)?;
        let mut loader = EbpfLoader::new();
        // It has read the types of the whole kernel by now, as we do: one copy of them at a time.
        loader.btf(None);
        let btf = Btf::from_sys_fs().map_err(|error| LoadError::NoBtf(chain(&error)))?;
        loader.btf(Some(&btf)).verifier_log_level(VerifierLogLevel::DEBUG);
        let program = loader.override_global("PID_NAMESPACE", &pid_namespace, true).load(OBJECT);
        let started = program.map_err(Failure::from).and_then(|program| Self::start(program, &btf));
        started.map_err(|failure| refused(&*failure))
    }

    fn start(mut program: Ebpf, btf: &Btf) -> Result<(Self, News), Failure> {
        let halves: [EndedMap; 2] = [take(&mut program, "ended_a")?, take(&mut program, "ended_b")?];
        let mut turn: ArrayOfMaps<MapData, EndedMap> = take(&mut program, "ended")?;
        turn.set(0, &halves[0], 0)?;
        let news = News(take(&mut program, "news")?);
        let drains = take(&mut program, "drains")?;
        let counters = take(&mut program, "counters")?;
        let tasks = take(&mut program, "tasks")?;
        iterator(&mut program)?.load("task_file", btf)?;
        let account = attach(&mut program, btf)?;
        let tracer = Self {
            halves,
            written: 0,
            turn,
            drains,
            drains_made: 0,
            counters,
            tasks,
            ticks: Ticks { per_second: rustix::param::clock_ticks_per_second() },
            drained: Drained::default(),
            account,
            program,
        };
        Ok((tracer, news))
    }

    /// Moves out what ended since the last call, in no order. Waits some milliseconds, for programs that are just running
    /// to end, if there was anything; it costs next to nothing if there was not.
    ///
    /// # Errors
    /// [`ReadError`] if the kernel refuses. What was not moved then can be lost.
    pub fn drain(&mut self, ended: &mut Vec<Ended>) -> Result<Drained, ReadError> {
        self.drain_into(ended).map_err(|failure| ReadError(chain(&*failure)))
    }

    fn drain_into(&mut self, ended: &mut Vec<Ended>) -> Result<Drained, Failure> {
        self.drains_made = self.drains_made.wrapping_add(1);
        self.drains.set(0, self.drains_made, 0)?;
        let events = self.sum(EVENTS)?;
        let since = events.saturating_sub(self.drained.events);
        if since == 0 {
            return Ok(Drained { cpu_time: self.drained.cpu_time.map(|_| Duration::ZERO), ..self.drained });
        }
        self.drained.events = events;
        let read = self.take_turns()?;
        self.empty(read, ended)?;
        let spent = self.account.settle(since);
        let mut losses = spent.missed;
        for counter in LOSSES {
            losses += self.sum(counter)?;
        }
        self.drained = Drained { losses, events, cpu_time: spent.cpu_time };
        Ok(self.drained)
    }

    /// Has the program write to the other half, and returns the one it wrote to. The kernel answers the exchange only after
    /// all programs that might still hold the old one have ended (an RCU grace period), so nothing is added to what is
    /// already read.
    fn take_turns(&mut self) -> Result<usize, MapError> {
        let read = self.written;
        self.written = 1 - read;
        self.turn.set(0, &self.halves[self.written], 0)?;
        Ok(read)
    }

    /// Moves all out of a half that is not written to.
    fn empty(&mut self, half: usize, ended: &mut Vec<Ended>) -> Result<(), MapError> {
        let rows = self.halves[half].iter().collect::<Result<Vec<_>, _>>()?;
        let mut tasks = HashMap::new();
        for (relation, figures) in rows {
            self.halves[half].remove(&relation)?;
            let ends = decode::ends(&relation);
            let process = tasks.entry(ends.process).or_insert_with(|| self.task(&ends.process));
            ended.push(joined(&ends, process.clone(), decode::sums(&figures)));
        }
        Ok(())
    }

    /// Adds which process holds which socket, by inode: all of those `proc_root` shows, in no order, once for each of its
    /// descriptors. As `/proc/PID/fd` would tell, at a thirtieth of the price: a tenth of a microsecond a descriptor, socket
    /// or not. Reads [`HOLDERS_MAX`] at most, and returns whether those are all.
    ///
    /// # Errors
    /// [`ReadError`] if the kernel refuses.
    pub fn holders(&mut self, holders: &mut Vec<(u64, ProcessId)>) -> Result<bool, ReadError> {
        let (bytes, is_all) = self.read_holders().map_err(|failure| ReadError(chain(&*failure)))?;
        let rows = bytes.as_chunks().0.iter();
        holders.extend(rows.filter_map(|row| decode::holder(row, self.ticks)));
        Ok(is_all)
    }

    fn read_holders(&mut self) -> Result<(Vec<u8>, bool), Failure> {
        let iterator = iterator(&mut self.program)?;
        let link = iterator.attach()?;
        let file: File = iterator.take_link(link)?.into_file()?;
        Ok(read_to(file, HOLDERS_MAX * size_of::<decode::Holder>())?)
    }

    fn task(&self, process: &decode::Process) -> Option<Arc<Task>> {
        let id = self.ticks.process(process)?;
        // Forgotten if thousands of others came since.
        let known = self.tasks.get(process, 0).ok();
        let (ancestors, name) = known.map(|task| self.ticks.task(&task)).unwrap_or_default();
        Some(Arc::new(Task { id, ancestors, name }))
    }

    /// A counter, of all CPUs.
    fn sum(&self, counter: u32) -> Result<u64, MapError> {
        Ok(self.counters.get(&counter, 0)?.iter().sum())
    }
}

/// From here on it counts.
fn attach(program: &mut Ebpf, btf: &Btf) -> Result<Account, Failure> {
    let tracepoint: &mut BtfTracePoint =
        program.program_mut(TRACEPOINT).ok_or("the object has no program")?.try_into()?;
    tracepoint.load(TRACEPOINT, btf)?;
    tracepoint.attach()?;
    Ok(Account::of(tracepoint.fd()?.as_fd(), || enable_stats(Stats::RunTime).ok()))
}

fn iterator(program: &mut Ebpf) -> Result<&mut Iter, Failure> {
    Ok(program.program_mut("holders").ok_or("the object has no iterator")?.try_into()?)
}

/// Reads so many bytes at most; whether there are no more.
fn read_to(file: impl Read, bytes_max: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut rows = file.take(bytes_max as u64 + 1);
    let mut bytes = Vec::new();
    loop {
        match rows.read_to_end(&mut bytes) {
            // It says so after a million descriptors without a socket.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let is_all = bytes.len() <= bytes_max;
                bytes.truncate(bytes_max);
                return Ok((bytes, is_all));
            }
        }
    }
}

fn joined(ends: &decode::Ends, process: Option<Arc<Task>>, sums: decode::Sums) -> Ended {
    Ended {
        netns: ends.netns,
        process,
        direction: ends.direction,
        is_guess: ends.is_guess,
        local: ends.local,
        remote: ends.remote,
        port: ends.port,
        count: sums.count,
        sent: sums.sent,
        received: sums.received,
        retransmits: sums.retransmits,
        rtt_micros: sums.rtt_micros,
    }
}

/// Where the program says that there is something new: a first connection of a relation that had none of late. Polls
/// readable until it is cleared.
pub struct News(RingBuf<MapData>);

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl News {
    /// Takes all news: the network namespaces there are some of, sorted. If they were too many to be kept, not all.
    pub fn clear(&mut self) -> Vec<Netns> {
        let mut namespaces = Vec::new();
        while let Some(item) = self.0.next() {
            namespaces.extend(item.first_chunk().map(|bytes| Netns(u32::from_ne_bytes(*bytes).into())));
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns to the kernel what the types of the kernel took: 22 MB, of which the allocator would keep nearly all.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, may be called from any thread, and moves nothing that is in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

type Failure = Box<dyn Error + Send + Sync>;

fn take<M: TryFrom<Map, Error = MapError>>(program: &mut Ebpf, name: &str) -> Result<M, Failure> {
    let map = program.take_map(name).ok_or_else(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}

/// The pid namespace of a /proc: that of its first process. Its own `self` may be seen from outside.
fn pid_namespace(proc_root: &Path) -> io::Result<u32> {
    let inode = |process: &str| std::fs::metadata(proc_root.join(process).join("ns/pid")).map(|link| link.ino());
    let inode = inode("1").or_else(|_| inode("self"))?;
    u32::try_from(inode).map_err(|_| io::Error::new(ErrorKind::InvalidData, "its inode is too large"))
}

fn refused(failure: &(dyn Error + 'static)) -> LoadError {
    let mut causes = std::iter::successors(Some(failure), |&error| error.source());
    let is_denied = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if causes.any(is_denied) { LoadError::Denied } else { LoadError::Refused(chain(failure)) }
}

/// An error and what caused it, in one line. What the verifier says ends with its reason.
fn chain(failure: &(dyn Error + 'static)) -> String {
    const LINES_MAX: usize = 6;
    let causes = std::iter::successors(Some(failure), |&error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let start = lines.len().saturating_sub(LINES_MAX);
    lines[start..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte or refuses for now, in turns.
    struct Hesitant(usize, bool);

    impl Read for Hesitant {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = self.0.min(buffer.len()).min(1);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn what_is_cut_off_is_told() {
        for (there, want) in [(0, (0, true)), (6, (6, true)), (7, (6, false)), (600, (6, false))] {
            let (bytes, is_all) = read_to(Hesitant(there, false), 6).expect("it refuses only for now");
            assert_eq!((bytes.len(), is_all), want, "{there} bytes");
        }
    }
}
