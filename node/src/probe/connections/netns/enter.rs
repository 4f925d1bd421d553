//! The way into a network namespace: through a process that is in it, on a thread that may go where it likes.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use topology::Netns;

use super::Problem;
use crate::probe::pace::thread_cpu_time;

/// What `look` sees in `netns`, with the CPU time that took; `pid` is a process in it. Runs it on a thread of its own,
/// which may go where it likes.
///
/// # Errors
/// [`Problem::Enter`] and [`Problem::EnterDenied`] if we cannot get in, [`Problem::Thread`] if there is no thread.
pub fn inside<T: Send>(
    proc_root: &Path,
    netns: Netns,
    pid: u32,
    look: impl FnOnce() -> T + Send,
) -> Result<(T, Duration), Problem> {
    let (seen, cpu_time) = on_a_thread(|| {
        enter(proc_root, netns, pid).unwrap_or(Err(Problem::Enter(Errno::SRCH)))?;
        Ok(look())
    })?;
    seen.map(|seen| (seen, cpu_time))
}

/// Runs `work` on a thread that ends with it. Returns what that gave, and the thread's CPU time.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<(T, Duration), Problem> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns-scan".to_owned());
        match thread.spawn_scoped(scope, || (work(), thread_cpu_time())) {
            Ok(working) => working.join().map_err(|_| Problem::Thread("it panicked".to_owned())),
            Err(error) => Err(Problem::Thread(error.to_string())),
        }
    })
}

/// Moves this thread into `netns` by way of process `pid`. `None` if the process ended or is in another by now.
pub(super) fn enter(proc_root: &Path, netns: Netns, pid: u32) -> Option<Result<(), Problem>> {
    let link = match File::open(proc_root.join(format!("{pid}/ns/net"))) {
        Ok(link) => link,
        Err(error) => return refused(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    if link.metadata().map_or(0, |metadata| metadata.ino()) != netns.0 {
        return None;
    }
    match move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)) {
        Ok(()) => Some(Ok(())),
        Err(errno) => refused(errno),
    }
}

fn refused(errno: Errno) -> Option<Result<(), Problem>> {
    match errno {
        Errno::NOENT | Errno::SRCH => None,
        Errno::PERM | Errno::ACCESS => Some(Err(Problem::EnterDenied)),
        _ => Some(Err(Problem::Enter(errno))),
    }
}
