//! The containers processes were found in, and what they use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use topology::fact::Container;
use topology::gauges::ContainerGauges;
use topology::{ContainerId, ProcessId, Timestamp};

use super::rate;
use crate::probe::cgroup::{Dirs, Membership, Mounts, Paths, Reader};

/// Containers kept. A host runs at most a few hundred; processes of more are shown without one.
const CONTAINERS_MAX: usize = 4096;

/// Measurements for which a limit holds: they hardly ever change, and reading one costs as much as reading the usage.
const LIMIT_BEATS: u32 = 10;

/// Containers known by a cgroup's name.
#[derive(Debug)]
pub(super) struct Containers {
    mounts: Mounts,
    reader: Reader,
    tracked: BTreeMap<ContainerId, Tracked>,
}

#[derive(Debug)]
struct Tracked {
    runtime: &'static str,
    paths: Paths,
    dirs: Dirs,
    /// CPU time used up to the last beat.
    cpu: Option<(Instant, Duration)>,
    /// Limit of its memory, in bytes, and the measurements until it is read again.
    memory_max: (Option<u64>, u32),
    /// The process of it that started first.
    init: Option<ProcessId>,
}

/// A host's own limits, for containers that have none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) cpus: u32,
    pub(super) memory_bytes: u64,
}

impl Containers {
    /// None yet; their cgroups are found by our own view of the mounts.
    pub(super) fn new(proc_root: &Path) -> Self {
        let mut containers = Self { mounts: Mounts::default(), reader: Reader::default(), tracked: BTreeMap::new() };
        containers.find_mounts(proc_root);
        containers
    }

    /// Reads again where cgroups are mounted, and finds those of all containers if that has changed.
    pub(super) fn find_mounts(&mut self, proc_root: &Path) {
        let text = fs::read(proc_root.join("self/mountinfo")).or_else(|_| fs::read("/proc/self/mountinfo"));
        let mounts = Mounts::parse(&String::from_utf8_lossy(&text.unwrap_or_default()));
        if mounts != self.mounts {
            self.mounts = mounts;
            for container in self.tracked.values_mut() {
                container.dirs = Dirs::resolve(&self.mounts, &container.paths);
            }
        }
    }

    /// Takes what a process's cgroups say. Returns its container.
    pub(super) fn join(&mut self, membership: Membership) -> Option<ContainerId> {
        let Membership { id, runtime, paths } = membership;
        let known = self.tracked.get(&id);
        if known.is_none() && self.tracked.len() >= CONTAINERS_MAX {
            return None;
        }
        // A process may be seen on its way into one hierarchy after another: the last look counts. Other cgroups count
        // from another zero, so nothing of the old ones is kept.
        if known.is_none_or(|known| known.paths != paths) {
            let dirs = Dirs::resolve(&self.mounts, &paths);
            let tracked = Tracked { runtime, paths, dirs, cpu: None, memory_max: (None, 0), init: None };
            self.tracked.insert(id.clone(), tracked);
        }
        Some(id)
    }

    /// Takes the processes of all containers, and forgets containers without. Returns whether a container came to be,
    /// went or has another first process.
    pub(super) fn keep(&mut self, members: impl Iterator<Item = (ContainerId, ProcessId)>) -> bool {
        let mut inits: BTreeMap<ContainerId, ProcessId> = BTreeMap::new();
        for (id, process) in members {
            let init = inits.entry(id).or_insert(process);
            if (process.start, process.pid) < (init.start, init.pid) {
                *init = process;
            }
        }
        let mut changed = false;
        self.tracked.retain(|id, container| {
            let init = inits.get(id).copied();
            changed |= init != container.init;
            container.init = init;
            init.is_some()
        });
        changed
    }

    /// What is known of each without its runtime.
    pub(super) fn facts(&self, started_at: impl Fn(ProcessId) -> Timestamp) -> impl Iterator<Item = Container> {
        self.tracked.iter().map(move |(id, tracked)| Container {
            runtime: tracked.runtime.to_owned(),
            init_pid: tracked.init.map(|init| init.pid),
            started_at: tracked.init.map(&started_at),
            ..Container::new(id.clone())
        })
    }

    /// Reads what they use. Those whose CPU time cannot be read have no row; with `expected`, they are the second part.
    pub(super) fn measure<'a>(
        &mut self,
        now: Instant,
        at: Timestamp,
        capacity: Capacity,
        expected: impl Iterator<Item = &'a ContainerId>,
    ) -> (ContainerGauges, BTreeSet<ContainerId>) {
        let mut unmeasured: BTreeSet<ContainerId> = expected.cloned().collect();
        let mut rows = Vec::with_capacity(self.tracked.len());
        for (id, container) in &mut self.tracked {
            match container.measure(&mut self.reader, now, capacity) {
                Some(row) => {
                    unmeasured.remove(id);
                    rows.push((id.prefix(), row));
                }
                None => {
                    unmeasured.insert(id.clone());
                }
            }
        }
        rows.sort_unstable_by_key(|(prefix, _)| *prefix);
        let mut gauges = ContainerGauges { at, ..ContainerGauges::default() };
        for (prefix, row) in rows {
            gauges.containers.push(prefix);
            gauges.cpu.push(row.cpu);
            gauges.memory_kib.push(row.memory_kib);
            gauges.memory_max_kib.push(row.memory_max_kib);
        }
        (gauges, unmeasured)
    }
}

struct Row {
    cpu: u32,
    memory_kib: u64,
    memory_max_kib: u64,
}

impl Tracked {
    fn measure(&mut self, reader: &mut Reader, now: Instant, capacity: Capacity) -> Option<Row> {
        let used = reader.cpu(&self.dirs)?;
        // A kernel may have no memory controller (Raspberry Pi OS has it off). The daemon would know no more.
        let memory = reader.memory(&self.dirs).unwrap_or(0);
        let before = self.cpu.replace((now, used));
        let cpu = before.map_or(0, |(then, before)| {
            rate(used.saturating_sub(before), now.saturating_duration_since(then), capacity.cpus)
        });
        let max = self.memory_max(reader).map_or(capacity.memory_bytes, |max| max.min(capacity.memory_bytes));
        Some(Row { cpu, memory_kib: memory / 1024, memory_max_kib: max / 1024 })
    }

    fn memory_max(&mut self, reader: &mut Reader) -> Option<u64> {
        let (max, left) = &mut self.memory_max;
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => (*max, *left) = (reader.memory_max(&self.dirs), LIMIT_BEATS - 1),
        }
        *max
    }
}
