//! What the scan remembers of one process.

use std::sync::Arc;

use topology::fact::Process;
use topology::{ContainerId, ProcessId};

use super::containers::Containers;
use super::details::Details;
use super::procfs::Procfs;
use super::stat::Stat;
use super::title;
use crate::probe::ProcessRow;

/// Beats after the first sight at which details are read again: what has just been forked has its parent's arguments, and
/// daemons write their titles a moment later.
const YOUNG_BEATS: u8 = 2;

/// A process as of the last scan that saw it.
#[derive(Debug)]
pub(super) struct Known {
    /// As it is said, but for its container and user, which [`super::scan`] decides.
    pub(super) fact: Process,
    /// The fact's name, shared with other probes.
    pub(super) name: Arc<str>,
    /// Container by its cgroups.
    pub(super) cgroup: Option<ContainerId>,
    /// Effective user.
    pub(super) uid: Option<u32>,
    /// Whether some of it may not be looked at.
    pub(super) denied: bool,
    /// CPU time, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// The same at the last beat; `None` if there was none to compare with.
    pub(super) cpu_ticks_before: Option<u64>,
    /// Resident set, in pages.
    pub(super) resident_pages: u64,
    /// Open files when they were last counted.
    pub(super) open_files: u32,
    /// Scan that saw it last.
    pub(super) seen: u64,
    is_kernel_thread: bool,
    young_beats: u8,
    comm: Vec<u8>,
    stack_start: u64,
}

impl Known {
    /// A process seen for the first time; `None` if it is gone already. `cpu_ticks_before` is where its CPU time is
    /// counted from.
    pub(super) fn first_seen(
        pid: u32,
        stat: &Stat<'_>,
        cpu_ticks_before: Option<u64>,
        procfs: &mut Procfs,
        containers: &mut Containers,
    ) -> Option<Self> {
        let mut known = Self {
            fact: Process::new(ProcessId { pid, start: stat.start }),
            name: Arc::from(""),
            cgroup: None,
            uid: None,
            denied: false,
            cpu_ticks: 0,
            cpu_ticks_before,
            resident_pages: 0,
            open_files: 0,
            seen: 0,
            is_kernel_thread: stat.is_kernel_thread,
            young_beats: if stat.is_kernel_thread { 0 } else { YOUNG_BEATS },
            comm: stat.comm.to_vec(),
            stack_start: stat.stack_start,
        };
        if stat.is_kernel_thread {
            known.fact.name = title::kernel_thread(stat.comm);
            known.name = known.fact.name.as_str().into();
            known.uid = Some(0);
        } else {
            known.refresh_details(procfs, containers)?;
            known.count_open_files(procfs);
        }
        known.take(stat, true);
        Some(known)
    }

    /// Takes a newer stat of the same process. Returns whether its fact has changed.
    ///
    /// The number of threads is followed at once if it has changed by more than half, else when details `are_due`: a pool
    /// that breathes would send the whole fact, command line and all, every beat.
    pub(super) fn take(&mut self, stat: &Stat<'_>, are_due: bool) -> bool {
        self.cpu_ticks = stat.cpu_ticks;
        self.resident_pages = stat.resident_pages;
        let is_other_number =
            stat.threads.abs_diff(self.fact.threads) > if are_due { 0 } else { self.fact.threads / 2 };
        let threads = if is_other_number { stat.threads } else { self.fact.threads };
        let changed = self.fact.parent != stat.parent || self.fact.threads != threads;
        self.fact.parent = stat.parent;
        self.fact.threads = threads;
        changed
    }

    /// Whether its program is another than when its details were read, by its stat.
    pub(super) fn note_exec(&mut self, stat: &Stat<'_>) -> bool {
        if self.is_kernel_thread || (self.comm == stat.comm && self.stack_start == stat.stack_start) {
            return false;
        }
        stat.comm.clone_into(&mut self.comm);
        self.stack_start = stat.stack_start;
        self.young_beats = YOUNG_BEATS;
        true
    }

    /// Whether it is young, by beats; one has passed.
    pub(super) fn note_beat(&mut self) -> bool {
        let is_young = self.young_beats > 0;
        self.young_beats = self.young_beats.saturating_sub(1);
        is_young
    }

    /// Reads its details again. Returns whether they have changed; `None` if it has gone.
    pub(super) fn refresh_details(&mut self, procfs: &mut Procfs, containers: &mut Containers) -> Option<bool> {
        if self.is_kernel_thread {
            return Some(false);
        }
        let details = Details::read(procfs, self.fact.id.pid, &self.comm)?;
        let cgroup = details.membership.and_then(|membership| containers.join(membership));
        let changed = self.fact.name != details.name
            || self.fact.command_line != details.command_line
            || self.fact.netns != details.netns
            || self.fact.open_files_max != details.open_files_max
            || self.uid != details.uid
            || self.cgroup != cgroup;
        if self.fact.name != details.name {
            self.name = details.name.as_str().into();
            self.fact.name = details.name;
        }
        self.fact.command_line = details.command_line;
        self.fact.netns = details.netns;
        self.fact.open_files_max = details.open_files_max;
        self.uid = details.uid;
        self.cgroup = cgroup;
        self.denied = details.denied;
        Some(changed)
    }

    /// Counts its open files, if we may.
    pub(super) fn count_open_files(&mut self, procfs: &mut Procfs) {
        if self.is_kernel_thread {
            return;
        }
        if let Ok(count) = procfs.open_files(self.fact.id.pid) {
            self.open_files = count;
        }
    }

    /// Whether it runs a program, unlike kernel threads.
    pub(super) fn is_in_user_space(&self) -> bool {
        !self.is_kernel_thread
    }

    /// What other probes get to know.
    pub(super) fn row(&self) -> ProcessRow {
        ProcessRow {
            id: self.fact.id,
            name: self.name.clone(),
            parent: self.fact.parent,
            netns: self.fact.netns,
            container: self.fact.container.clone(),
        }
    }
}
