//! What the kernel counted for a process.

use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: USER_HZ, part of the kernel's ABI on every architecture we run on.
const TICKS_PER_SECOND: u64 = 100;

/// One look at `/proc/PID`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all its threads since its start.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// # Panics
    /// If the process is gone.
    #[track_caller]
    pub(crate) fn of(pid: u32) -> Self {
        let read = |file| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("process {pid}: {error}"))
        };
        let status = read("status");
        Self {
            cpu: Duration::from_millis(ticks(&read("stat")) * 1000 / TICKS_PER_SECOND),
            resident_bytes: bytes(&status, "VmRSS:"),
            peak_bytes: bytes(&status, "VmHWM:"),
        }
    }
}

/// utime and stime, the 14th and 15th field; a name in parentheses before them may hold blanks.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// A figure of `/proc/PID/status`, which is in KiB.
fn bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
