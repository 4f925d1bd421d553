//! The run file: how `scope stop` and `scope status` find the peer that runs. It is there while the peer serves.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

const FILE: &str = "run.json";

/// Longest run file that is read, in bytes.
const BYTES_MAX: u64 = 4096;

/// A peer that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Its process.
    pub(crate) pid: i32,
    /// When that started, in clock ticks since boot: a pid alone is reused.
    pub(crate) start: u64,
    /// Where it serves.
    pub(crate) http_addr: SocketAddr,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// Start time of a process, field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_comm) = stat.rsplit_once(") ")?;
    after_comm.split(' ').nth(19)?.parse().ok()
}

impl RunFile {
    /// Says that this process serves on `http_addr`. The file goes when the guard does.
    pub(crate) fn write(state_dir: &Path, http_addr: SocketAddr) -> io::Result<Guard> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let run = Self { pid, start: start_time(pid).unwrap_or(0), http_addr };
        let path = path(state_dir);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&run)?)?;
        fs::rename(&new, &path)?;
        Ok(Guard(path))
    }

    /// The peer that runs with this state directory, if one does.
    pub(crate) fn read(state_dir: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        match fs::File::open(path(state_dir)) {
            Ok(file) => file.take(BYTES_MAX).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let run: Self = serde_json::from_slice(&bytes)?;
        Ok((start_time(run.pid) == Some(run.start)).then_some(run))
    }

    /// A handle on the process that stays its own, whatever becomes of the pid; `None` if it has ended.
    pub(crate) fn process(&self) -> Option<rustix::fd::OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (start_time(self.pid) == Some(self.start)).then_some(handle)
    }
}

/// Takes the run file away.
#[derive(Debug)]
pub(crate) struct Guard(PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        // A file that stays behind names a process that is gone, and is not believed.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_runs_is_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(RunFile::read(dir.path()).expect("no file is no error"), None);
        let address = SocketAddr::from(([127, 0, 0, 1], 4040));
        let guard = RunFile::write(dir.path(), address).expect("writes");
        let run = RunFile::read(dir.path()).expect("reads").expect("we run");
        assert_eq!((run.http_addr, run.process().is_some()), (address, true));

        let reused = RunFile { start: run.start + 1, ..run };
        fs::write(path(dir.path()), serde_json::to_vec(&reused).expect("plain data")).expect("writes");
        assert_eq!(RunFile::read(dir.path()).expect("reads"), None, "another process has the pid now");
        assert!(reused.process().is_none());

        fs::write(path(dir.path()), b"{").expect("writes");
        assert!(RunFile::read(dir.path()).is_err());
        drop(guard);
        assert_eq!(RunFile::read(dir.path()).expect("the guard took it"), None);
    }
}
