//! Wakes somebody when the tracer has news, not too often.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use topology::Netns;

use super::News;

/// Least time between two calls: what comes in between is one of them.
const GAP: Duration = Duration::from_millis(50);

/// A thread that waits for news. Dropping this ends it.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Calls `wake` with the network namespaces there is news of, at once, but with 50 ms between two calls at least.
///
/// # Errors
/// There are no threads or descriptors to be had.
pub fn watch(mut news: News, mut wake: impl FnMut(&[Netns]) + Send + 'static) -> io::Result<Watcher> {
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("scope-ebpf".to_owned()).spawn(move || {
        while wait(&stopped, Some(&news), None) == Ok(false) {
            wake(&news.clear());
            if wait(&stopped, None, Some(GAP)) != Ok(false) {
                return;
            }
        }
    })?;
    Ok(Watcher { stop, thread: Some(thread) })
}

/// Waits for news, or for `timeout`; whether it was told to stop meanwhile.
fn wait(stop: &OwnedFd, news: Option<&News>, timeout: Option<Duration>) -> Result<bool, Errno> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut waiting = vec![PollFd::new(stop, PollFlags::IN)];
    if let Some(news) = news {
        waiting.push(PollFd::from_borrowed_fd(news.as_fd(), PollFlags::IN));
    }
    loop {
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) => return Ok(!waiting[0].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Watcher {
    /// Whether its thread has ended, which it does by itself only if it cannot wait any more or what it called panicked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It can only be full, and then it is readable already.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // If what it called panicked, that was said.
            let _ = thread.join();
        }
    }
}
