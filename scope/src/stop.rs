//! `scope stop`: ends the peer that runs on this host.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::run_file::RunFile;
use crate::say::say;

/// Longest wait for the peer to end. It needs two seconds at most.
const TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Asks the peer to end and waits until it has.
pub(crate) fn stop(state_dir: &Path) -> Result<()> {
    let run =
        RunFile::read(state_dir).with_context(|| format!("cannot read the run file in {}", state_dir.display()))?;
    let Some((run, process)) = run.and_then(|run| Some((run.clone(), run.process()?))) else {
        bail!("no scope runs with the state directory {}; --state-dir names another", state_dir.display());
    };
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) => {}
        Err(Errno::PERM) => bail!("process {} belongs to another user: run `sudo scope stop`", run.pid),
        Err(error) => return Err(error).with_context(|| format!("cannot signal process {}", run.pid)),
    }
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    match poll(&mut ended, Some(&TIMEOUT)).context("cannot wait for the peer")? {
        0 => bail!("process {} has not ended after {} s; see its log", run.pid, TIMEOUT.tv_sec),
        _ => say(format_args!("Stopped process {}.", run.pid)),
    }
}
