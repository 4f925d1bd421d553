//! What is read of a process when it is new, and then rarely: its arguments, user, limits, namespace and cgroups.

use super::procfs::{Procfs, Unread};
use super::title;
use crate::probe::cgroup::{self, Membership};
use topology::Netns;

/// Bytes read of each of these files.
const FILE_BYTES_MAX: usize = 4096;

/// Details of a process in user space.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) name: String,
    pub(super) command_line: String,
    pub(super) uid: Option<u32>,
    pub(super) open_files_max: Option<u64>,
    pub(super) netns: Option<Netns>,
    pub(super) membership: Option<Membership>,
    /// Something of it may not be looked at.
    pub(super) denied: bool,
}

impl Details {
    /// Reads them; `None` if the process has ended. A file this kernel does not have leaves its part unknown.
    pub(super) fn read(procfs: &mut Procfs, pid: u32, comm: &[u8]) -> Option<Self> {
        let mut buffer = [0; FILE_BYTES_MAX];
        let mut denied = false;
        let mut is_denied = |error: Unread| denied |= error == Unread::Denied;
        let (name, command_line) = match procfs.read(pid, "cmdline", &mut buffer) {
            Ok(arguments) => (title::name(arguments, comm), title::command_line(arguments)),
            Err(Unread::Gone) => return None,
            Err(Unread::Denied) => (title::name(b"", comm), String::new()),
        };
        let uid = procfs.read(pid, "status", &mut buffer).map(effective_uid).map_err(&mut is_denied);
        let limit = procfs.read(pid, "limits", &mut buffer).map(soft_open_files).map_err(&mut is_denied);
        let cgroups = procfs.read(pid, "cgroup", &mut buffer).map(String::from_utf8_lossy);
        let membership = cgroups.map(|text| cgroup::parse(&text)).map_err(&mut is_denied);
        let netns = procfs.namespace(pid, "ns/net").map(Netns).map_err(&mut is_denied);
        Some(Self {
            name,
            command_line,
            uid: uid.ok().flatten(),
            open_files_max: limit.ok().flatten(),
            netns: netns.ok(),
            membership: membership.ok().flatten(),
            denied,
        })
    }
}

/// The second number of `Uid:` in `/proc/PID/status` (proc_pid_status(5)): whose rights the process has.
fn effective_uid(status: &[u8]) -> Option<u32> {
    let line = line_of(status, "Uid:")?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The soft limit of open files in `/proc/PID/limits` (proc_pid_limits(5)); `None` is unlimited.
fn soft_open_files(limits: &[u8]) -> Option<u64> {
    line_of(limits, "Max open files")?.split_ascii_whitespace().next()?.parse().ok()
}

/// What follows `label` in the line that begins with it.
fn line_of<'a>(text: &'a [u8], label: &str) -> Option<&'a str> {
    let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(label.as_bytes()))?;
    std::str::from_utf8(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_the_effective_one() {
        let cases: [(&[u8], Option<u32>); 5] = [
            (b"Name:\tUid: 7\nUmask:\t0022\nUid:\t1000\t0\t1000\t1000\nGid:\t1\n", Some(0)),
            (b"Name:\t\xff\nUid:\t33\t33\t33\t33", Some(33)),
            (b"Uid:\t1", None),
            (b"Uid:\tx y", None),
            (b"", None),
        ];
        for (status, want) in cases {
            assert_eq!(effective_uid(status), want, "{:?}", String::from_utf8_lossy(status));
        }
    }

    #[test]
    fn a_limit_is_the_soft_one() {
        let cases: [(&[u8], Option<u64>); 4] = [
            (
                b"Limit  Soft Limit  Hard Limit  Units\nMax open files            1024     524288       files\n",
                Some(1024),
            ),
            (b"Max open files            unlimited            unlimited            files\n", None),
            (b"Max open files", None),
            (b"Max processes  1 2 processes\n", None),
        ];
        for (limits, want) in cases {
            assert_eq!(soft_open_files(limits), want);
        }
    }
}
