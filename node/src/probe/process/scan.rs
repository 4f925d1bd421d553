//! One scan after another of a `/proc` tree, and what they add up to. Told the time, so recorded trees can be scanned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::fact::{Fact, Source, SourceState};
use topology::gauges::{ContainerGauges, ProcessGauges};
use topology::{ContainerId, Key, ProcessId, Timestamp};

use super::containers::{Capacity, Containers};
use super::coverage::Coverage;
use super::known::Known;
use super::procfs::Procfs;
use super::stat::Stat;
use super::users::Users;
use super::{BEAT, PROCESSES_MAX, rate};
use crate::probe::cgroup::Unmeasured;
use crate::probe::host::Kernel;
use crate::probe::pace::Moment;
use crate::probe::{InitPids, ProcessTable};

/// Longest stat that is read: the comm takes at most 64 bytes of it, numbers about 400.
const STAT_BYTES_MAX: usize = 1024;

/// Beats in which the details of every process are read once: a minute.
const DETAIL_BEATS: u32 = 30;

/// Beats in which the open files of every process are counted once: 10 s where one call tells, else 30 s.
const OPEN_FILES_BEATS: [u32; 2] = [5, 15];

/// Ancestors looked at to find a process's container: deeper trees are rare, and loops only in recorded ones.
const ANCESTORS_MAX: usize = 64;

/// Scans closer together than this share no beat: rates over less would be noise of clock ticks.
const BEAT_MIN: Duration = Duration::from_millis(1500);
const _: () = assert!(BEAT_MIN.as_millis() < BEAT.as_millis());

/// What is scanned, and the units of its numbers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `/proc` to scan.
    pub proc_root: PathBuf,
    /// Unit of CPU and start times (`USER_HZ`, proc_pid_stat(5)).
    pub ticks_per_second: u64,
    /// Unit of resident sets.
    pub page_bytes: u64,
}

impl Config {
    /// A tree in this machine's units.
    #[must_use]
    pub fn new(proc_root: PathBuf) -> Self {
        Self {
            proc_root,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        }
    }
}

/// What a scan has to say. What is `None` is as it was.
#[derive(Debug)]
pub struct Scanned {
    /// All processes, and containers found by their cgroups.
    pub facts: Option<BTreeMap<Key, Fact>>,
    /// Their current figures, each beat.
    pub gauges: Option<(ProcessGauges, ContainerGauges)>,
    /// All processes, for other probes.
    pub table: Option<Arc<ProcessTable>>,
    /// Running containers that have no row in the gauges.
    pub unmeasured: Option<Unmeasured>,
    /// How the probe does.
    pub status: Source,
}

/// Scans one `/proc` and remembers what it saw.
#[derive(Debug)]
pub struct Scan {
    config: Config,
    known: BTreeMap<u32, Known>,
    containers: Containers,
    users: Users,
    kernel: Kernel,
    inits: InitPids,
    unmeasured: Unmeasured,
    pids: Vec<u32>,
    procfs: Option<Procfs>,
    scans: u64,
    beats: u32,
    last_beat: Option<Instant>,
    left_out: usize,
}

impl Scan {
    /// A scan that has seen nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            known: BTreeMap::new(),
            containers: Containers::new(&config.proc_root),
            users: Users::of(&config.proc_root),
            kernel: Kernel::read(&config.proc_root),
            inits: InitPids::default(),
            unmeasured: Unmeasured::default(),
            pids: Vec::new(),
            procfs: None,
            scans: 0,
            beats: 0,
            last_beat: None,
            left_out: 0,
            config,
        }
    }

    /// Scans once. Early scans, between two beats, find what is new but measure nothing.
    pub fn round(&mut self, now: Moment, inits: &InitPids) -> Scanned {
        let mut procfs = match self.procfs.take().map_or_else(|| Procfs::open(&self.config.proc_root), Ok) {
            Ok(procfs) => procfs,
            Err(error) => return self.off(error),
        };
        if let Err(error) = procfs.pids(&mut self.pids) {
            return self.off(error);
        }
        self.left_out = self.pids.len().saturating_sub(PROCESSES_MAX);
        self.pids.truncate(PROCESSES_MAX);
        let elapsed = self.last_beat.map(|last| now.clock.saturating_duration_since(last));
        let is_beat = elapsed.is_none_or(|elapsed| elapsed >= BEAT_MIN);
        let users_changed = is_beat && self.begin_beat();
        let mut changed = self.visit_all(&mut procfs, is_beat);
        self.procfs = Some(procfs);
        if changed || users_changed || !Arc::ptr_eq(&self.inits, inits) || self.scans == 1 {
            self.inits = inits.clone();
            changed |= self.place() | (self.scans == 1);
        }
        let gauges = is_beat.then(|| self.measure(now, elapsed.unwrap_or_default()));
        let unmeasured = gauges.as_ref().and_then(|(_, _, missing)| self.note_unmeasured(missing));
        Scanned {
            facts: changed.then(|| self.facts()),
            gauges: gauges.map(|(processes, containers, _)| (processes, containers)),
            table: changed.then(|| Arc::new(self.table())),
            unmeasured,
            status: self.coverage().source(),
        }
    }

    /// Refreshes what is known of the whole host. Returns whether its users have changed.
    fn begin_beat(&mut self) -> bool {
        self.beats = self.beats.wrapping_add(1);
        if self.beats.is_multiple_of(DETAIL_BEATS) {
            self.containers.find_mounts(&self.config.proc_root);
            self.kernel.refresh_capacity(&self.config.proc_root);
        }
        self.users.refresh()
    }

    /// Visits every process. Returns whether a fact has changed.
    fn visit_all(&mut self, procfs: &mut Procfs, is_beat: bool) -> bool {
        self.scans += 1;
        let mut changed = false;
        for at in 0..self.pids.len() {
            changed |= self.visit(procfs, self.pids[at], is_beat);
        }
        let (before, scans) = (self.known.len(), self.scans);
        self.known.retain(|_, known| known.seen == scans);
        let members = self.known.values().filter_map(|known| Some((known.cgroup.clone()?, known.fact.id)));
        let containers_changed = self.containers.keep(members);
        changed || before != self.known.len() || containers_changed
    }

    /// Visits one process. Returns whether its fact has changed; one that has gone is not marked as seen.
    fn visit(&mut self, procfs: &mut Procfs, pid: u32, is_beat: bool) -> bool {
        let mut buffer = [0; STAT_BYTES_MAX];
        let Ok(line) = procfs.read(pid, "stat", &mut buffer) else { return false };
        let Some(stat) = Stat::parse(line).filter(|stat| !stat.has_ended()) else { return false };
        let known = match self.known.get_mut(&pid) {
            Some(known) if known.fact.id.start == stat.start => known,
            _ => return self.meet(procfs, pid, &stat),
        };
        known.seen = self.scans;
        let is_due = is_beat && (known.note_beat() | slice(pid, self.beats, DETAIL_BEATS));
        let is_due = known.note_exec(&stat) | is_due;
        let mut changed = known.take(&stat, is_due);
        if is_due {
            let refreshed = known.refresh_details(procfs, &mut self.containers);
            changed |= refreshed.unwrap_or(false);
        }
        let beats = OPEN_FILES_BEATS[usize::from(!procfs.counts_open_files_cheaply())];
        if is_beat && slice(pid, self.beats, beats) {
            known.count_open_files(procfs);
        }
        changed
    }

    /// Takes in a process that is new.
    fn meet(&mut self, procfs: &mut Procfs, pid: u32, stat: &Stat<'_>) -> bool {
        // What it used, it used since the last scan; unless there was none.
        let used_before = (self.scans > 1).then_some(0);
        let Some(mut known) = Known::first_seen(pid, stat, used_before, procfs, &mut self.containers) else {
            return false;
        };
        known.seen = self.scans;
        self.known.insert(pid, known);
        true
    }

    /// Decides the container and the user of every process. Returns whether one is another than before.
    fn place(&mut self) -> bool {
        let by_ancestor: BTreeMap<u32, ContainerId> = match self.inits.is_empty() {
            true => BTreeMap::new(),
            false => self.known.keys().filter_map(|pid| Some((*pid, self.container_of_ancestor(*pid)?))).collect(),
        };
        let mut changed = false;
        for (pid, known) in &mut self.known {
            let container = known.cgroup.as_ref().or_else(|| by_ancestor.get(pid));
            if known.fact.container.as_ref() != container {
                known.fact.container = container.cloned();
                changed = true;
            }
            // The host's names mean nothing in a container, which has a passwd of its own.
            let user = match (known.uid, &known.fact.container) {
                (None, _) => String::new(),
                (Some(uid), Some(_)) => uid.to_string(),
                (Some(uid), None) => self.users.name(uid),
            };
            changed |= known.fact.user != user;
            known.fact.user = user;
        }
        changed
    }

    /// The container whose first process is this one or an ancestor of it, if cgroups do not tell.
    fn container_of_ancestor(&self, pid: u32) -> Option<ContainerId> {
        let mut pid = pid;
        for _ in 0..ANCESTORS_MAX {
            if let Some(container) = self.inits.get(&pid) {
                return Some(container.clone());
            }
            let known = self.known.get(&pid).filter(|known| known.cgroup.is_none())?;
            pid = known.fact.parent;
        }
        None
    }

    fn facts(&self) -> BTreeMap<Key, Fact> {
        let started_at = |id: ProcessId| {
            let ms = id.start.saturating_mul(1000) / self.config.ticks_per_second.max(1);
            Timestamp(self.kernel.booted_at.0.saturating_add(ms))
        };
        let processes = self.known.values().map(|known| Fact::Process(known.fact.clone()));
        let containers = self.containers.facts(started_at).map(Fact::Container);
        processes.chain(containers).map(|fact| (fact.key(), fact)).collect()
    }

    fn table(&self) -> ProcessTable {
        ProcessTable { rows: self.known.iter().map(|(pid, known)| (*pid, known.row())).collect() }
    }

    /// Figures of processes and containers since the last beat.
    fn measure(&mut self, now: Moment, elapsed: Duration) -> (ProcessGauges, ContainerGauges, BTreeSet<ContainerId>) {
        self.last_beat = Some(now.clock);
        let mut gauges = ProcessGauges { at: now.at, ..ProcessGauges::default() };
        for (pid, known) in &mut self.known {
            let before = known.cpu_ticks_before.replace(known.cpu_ticks).unwrap_or(known.cpu_ticks);
            let ticks = known.cpu_ticks.saturating_sub(before);
            let ms = ticks.saturating_mul(1000) / self.config.ticks_per_second.max(1);
            gauges.pids.push(*pid);
            gauges.cpu.push(rate(Duration::from_millis(ms), elapsed, self.kernel.cpus));
            gauges.memory_kib.push(known.resident_pages.saturating_mul(self.config.page_bytes) / 1024);
            gauges.open_files.push(known.open_files);
        }
        let capacity = Capacity { cpus: self.kernel.cpus, memory_bytes: self.kernel.memory_bytes };
        let (containers, missing) = self.containers.measure(now.clock, now.at, capacity, self.inits.values());
        (gauges, containers, missing)
    }

    fn note_unmeasured(&mut self, missing: &BTreeSet<ContainerId>) -> Option<Unmeasured> {
        if *self.unmeasured == *missing {
            return None;
        }
        self.unmeasured = Arc::new(missing.clone());
        Some(self.unmeasured.clone())
    }

    fn coverage(&self) -> Coverage {
        let programs = self.known.values().filter(|known| known.is_in_user_space());
        let (programs, denied) =
            programs.fold((0, 0), |(all, denied), known| (all + 1, denied + u32::from(known.denied)));
        Coverage {
            left_out: self.left_out,
            hidden: !self.known.is_empty() && !self.known.contains_key(&1),
            programs,
            denied,
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Nothing can be read: what was said of processes holds no longer.
    fn off(&mut self, error: rustix::io::Errno) -> Scanned {
        let had_some = !std::mem::take(&mut self.known).is_empty();
        (self.scans, self.last_beat) = (0, None);
        let reason = format!("cannot read {}: {error}", self.config.proc_root.display());
        Scanned {
            facts: had_some.then(BTreeMap::new),
            gauges: None,
            table: had_some.then(Arc::default),
            unmeasured: None,
            status: Source { state: SourceState::Off, mode: String::new(), reason },
        }
    }
}

/// Whether a pid's turn is in this beat. Pids are given out in sequence, so the slices are about equal.
fn slice(pid: u32, beat: u32, beats: u32) -> bool {
    pid % beats == beat % beats
}
