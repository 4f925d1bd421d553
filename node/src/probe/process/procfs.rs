//! Reads a `/proc` tree: few system calls, one buffer. The tree may be a recorded one.

use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fstatfs, openat, readlinkat_raw, statat};
use rustix::io::Errno;

/// `PROC_SUPER_MAGIC` of the kernel's `magic.h`.
const PROC_MAGIC: u64 = 0x9fa0;

/// Bytes of directory entries asked for at once.
const ENTRIES_BYTES: usize = 16 * 1024;

/// A read that gives less than this gave all there is: the kernel fills a page if it has one.
const PART_BYTES_MIN: usize = 3 * 1024;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Why a file of a process could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The process has ended.
    Gone,
    /// We may not look.
    Denied,
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        if matches!(error, Errno::ACCESS | Errno::PERM) { Self::Denied } else { Self::Gone }
    }
}

/// An open `/proc`.
#[derive(Debug)]
pub(super) struct Procfs {
    dir: OwnedFd,
    /// Whether the size of `PID/fd` is the number of its entries, as it is since Linux 6.2.
    fd_size_counts: bool,
    path: String,
}

impl Procfs {
    /// Opens the tree at `root`.
    pub(super) fn open(root: &Path) -> Result<Self, Errno> {
        let dir = openat(CWD, root, OPEN | OFlags::DIRECTORY, Mode::empty())?;
        let is_procfs = fstatfs(&dir).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(PROC_MAGIC));
        let own = statat(&dir, "self/fd", AtFlags::empty());
        let fd_size_counts = is_procfs && own.is_ok_and(|stat| stat.st_size > 0);
        Ok(Self { dir, fd_size_counts, path: String::new() })
    }

    /// Whether open files are counted by one cheap call.
    pub(super) fn counts_open_files_cheaply(&self) -> bool {
        self.fd_size_counts
    }

    /// Lists the pids, ascending.
    pub(super) fn pids(&mut self, pids: &mut Vec<u32>) -> Result<(), Errno> {
        pids.clear();
        let dir = openat(&self.dir, ".", OPEN | OFlags::DIRECTORY, Mode::empty())?;
        each_entry(&dir, |name| {
            let digits = name.iter().all(u8::is_ascii_digit);
            if let Some(pid) = digits.then(|| std::str::from_utf8(name).ok()?.parse().ok()).flatten() {
                pids.push(pid);
            }
        })?;
        pids.sort_unstable();
        Ok(())
    }

    /// Reads a file of a process, as much of it as the buffer takes.
    pub(super) fn read<'b>(&mut self, pid: u32, file: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Unread> {
        self.path_of(pid, file);
        let file = openat(&self.dir, self.path.as_str(), OPEN, Mode::empty())?;
        let mut filled = 0;
        loop {
            let read = rustix::io::read(&file, &mut buffer[filled..])?;
            filled += read;
            if read == 0 || filled == buffer.len() || filled < PART_BYTES_MIN {
                return Ok(&buffer[..filled]);
            }
        }
    }

    /// The inode a namespace link of a process names (namespaces(7)): `net:[4026531840]`.
    pub(super) fn namespace(&mut self, pid: u32, file: &str) -> Result<u64, Unread> {
        self.path_of(pid, file);
        let mut buffer = [MaybeUninit::uninit(); 64];
        let (target, _) = readlinkat_raw(&self.dir, self.path.as_str(), &mut buffer)?;
        let text = std::str::from_utf8(target).unwrap_or_default();
        let inode = text.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']')?.parse().ok());
        inode.ok_or(Unread::Gone)
    }

    /// Counts the open files of a process.
    pub(super) fn open_files(&mut self, pid: u32) -> Result<u32, Unread> {
        self.path_of(pid, "fd");
        if self.fd_size_counts {
            let size = statat(&self.dir, self.path.as_str(), AtFlags::empty())?.st_size;
            return Ok(u32::try_from(size).unwrap_or(0));
        }
        let dir = openat(&self.dir, self.path.as_str(), OPEN | OFlags::DIRECTORY, Mode::empty())?;
        let mut count = 0_u32;
        each_entry(&dir, |name| count = count.saturating_add(u32::from(!name.starts_with(b"."))))?;
        Ok(count)
    }

    fn path_of(&mut self, pid: u32, file: &str) {
        self.path.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "{pid}/{file}");
    }
}

fn each_entry(dir: &OwnedFd, mut visit: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(ENTRIES_BYTES);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        visit(entry?.file_name().to_bytes());
    }
    Ok(())
}
