//! `scope stop`: ends the peer that runs on this host.

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::args::Running;
use crate::say::say;

/// Longest wait for the peer to end. It needs two seconds at most.
const TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Asks the peer to end and waits until it has.
pub(crate) fn stop(running: &Running) -> Result<()> {
    let run = running.find()?;
    let Some(process) = run.process() else { return say(format_args!("Process {} has just ended.", run.pid)) };
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) => {}
        Err(Errno::PERM) => {
            bail!("process {} belongs to another user: run `sudo {}`", run.pid, running.command("stop"))
        }
        Err(error) => return Err(error).with_context(|| format!("cannot signal process {}", run.pid)),
    }
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    match poll(&mut ended, Some(&TIMEOUT)).context("cannot wait for the peer")? {
        0 => bail!("process {0} has not ended after {1} s; `kill -9 {0}` ends it for sure", run.pid, TIMEOUT.tv_sec),
        _ => say(format_args!("Stopped process {}.", run.pid)),
    }
}
