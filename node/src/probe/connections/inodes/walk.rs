//! Reads `/proc/PID/fd`: which sockets a process has open.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;
use topology::ProcessId;

/// Most descriptors read in one update, about 0.1 s. Checked between processes. The next update goes on where one ended.
pub const FDS_MAX: usize = 100_000;
/// Room for the directory entries of one system call: some 200 descriptors, 24 bytes each.
const ENTRIES_BYTES: usize = 8 * 1024;
/// Room for what a descriptor points to. Longer than any socket's; others may be cut off.
const LINK_BYTES: usize = 32;
/// Room for `/proc/PID/stat` up to the start time: fifty numbers and a name of 64 bytes at most.
const STAT_BYTES: usize = 1024;

/// What an update of the owners took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Processes whose descriptors were read.
    pub processes: usize,
    /// Descriptors read.
    pub fds: usize,
    /// Processes we may not look into: needs root, or `CAP_SYS_PTRACE`.
    pub denied: usize,
    /// Whether all holders were told, and no descriptors had to be read for it.
    pub is_told: bool,
    /// Whether [`FDS_MAX`] was reached, so that owners may be missing until later updates.
    pub exhausted: bool,
}

/// One update's reading, which may take several rounds.
pub(super) struct Walk {
    proc_root: Arc<Path>,
    proc_dir: Option<OwnedFd>,
    entries: Vec<u8>,
    start_at: Option<ProcessId>,
    stopped_at: Option<ProcessId>,
    fds_max: usize,
    walked: Walked,
}

impl Walk {
    /// A walk that starts each round with process `start_at`, if it is there, and ends after `fds_max` descriptors.
    pub(super) fn new(proc_root: Arc<Path>, start_at: Option<ProcessId>, fds_max: usize) -> Self {
        let walked = Walked::default();
        Self { proc_root, proc_dir: None, entries: Vec::new(), start_at, stopped_at: None, fds_max, walked }
    }

    /// What it took so far.
    pub(super) fn walked(&self) -> Walked {
        self.walked
    }

    /// The first process that was not read for lack of budget.
    pub(super) fn stopped_at(&self) -> Option<ProcessId> {
        self.stopped_at
    }

    /// Calls `found` for each descriptor of `processes` that is a socket and `wanted` by its inode.
    pub(super) fn find(
        &mut self,
        processes: &[ProcessId],
        wanted: impl Fn(u64) -> bool,
        mut found: impl FnMut(u64, ProcessId),
    ) {
        let start = processes.iter().position(|process| Some(*process) == self.start_at).unwrap_or(0);
        let (before, from) = processes.split_at(start);
        for process in from.iter().chain(before) {
            if self.walked.fds >= self.fds_max {
                self.walked.exhausted = true;
                self.stopped_at.get_or_insert(*process);
                return;
            }
            match self.read(*process, &wanted, &mut found) {
                Err(Errno::ACCESS | Errno::PERM) => self.walked.denied += 1,
                // Most likely it ended: then its sockets are gone too, or others hold them.
                Ok(()) | Err(_) => self.walked.processes += 1,
            }
        }
    }

    fn read(
        &mut self,
        process: ProcessId,
        wanted: &impl Fn(u64) -> bool,
        found: &mut impl FnMut(u64, ProcessId),
    ) -> Result<(), Errno> {
        let dir = self.open(process.pid)?;
        let mut is_same = None;
        self.entries.reserve(ENTRIES_BYTES);
        let mut entries = RawDir::new(&dir, self.entries.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            self.walked.fds += usize::from(!entry.file_name().to_bytes().starts_with(b"."));
            let Some(inode) = socket_of(&dir, entry.file_name()) else { continue };
            // The pid may belong to another process by now: of that one we know nothing yet.
            if wanted(inode) && *is_same.get_or_insert_with(|| start_time(&dir) == Some(process.start)) {
                found(inode, process);
            }
        }
        Ok(())
    }

    fn open(&mut self, pid: u32) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.proc_dir.is_none() {
            self.proc_dir = Some(openat(CWD, &*self.proc_root, flags | OFlags::PATH, Mode::empty())?);
        }
        let proc_dir = self.proc_dir.as_ref().map_or(CWD, OwnedFd::as_fd);
        openat(proc_dir, format!("{pid}/fd"), flags, Mode::empty())
    }
}

/// The inode of the socket a descriptor is, if it is one.
fn socket_of(dir: &OwnedFd, name: &CStr) -> Option<u64> {
    let mut link = [MaybeUninit::uninit(); LINK_BYTES];
    let (link, _) = readlinkat_raw(dir, name, &mut link).ok()?;
    socket_inode(link)
}

/// The inode in `socket:[12345]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Start time of the process `fd_dir` belongs to. Reached through that directory, which is tied to the process and not to
/// its pid.
fn start_time(fd_dir: &OwnedFd) -> Option<u64> {
    let stat = openat(fd_dir, c"../stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = [0; STAT_BYTES];
    let length = rustix::io::read(&stat, &mut bytes).ok()?;
    parse_start_time(&bytes[..length])
}

/// Field 22 of proc_pid_stat(5). Counted from the end of the name, field 2: that may hold anything, brackets too.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_a_socket_by_its_link() {
        let cases = [
            ("socket:[4294967295]", Some(4_294_967_295)),
            ("socket:[0]", Some(0)),
            ("pipe:[123]", None),
            ("socket:[12", None),
            ("socket:[]", None),
            ("socket:[-1]", None),
            ("/tmp/socket:[1]", None),
            ("", None),
        ];
        for (link, want) in cases {
            assert_eq!(socket_inode(link.as_bytes()), want, "{link:?}");
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = ") S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 98765 1000 20";
        let cases = [
            (format!("7 (web{rest}"), Some(98765)),
            (format!("7 (a) b 1 2 (3{rest}"), Some(98765)),
            ("7 (web) S 1 7".to_owned(), None),
            ("7 web".to_owned(), None),
            (String::new(), None),
        ];
        for (stat, want) in cases {
            assert_eq!(parse_start_time(stat.as_bytes()), want, "{stat:?}");
        }
    }
}
