//! The thread that keeps a [`Table`] of the host's conntrack current, whatever happens: by events, or by dumps where there
//! are none, and by another try after each failure.

mod schedule;
mod session;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use topology::fact::SourceState;

use super::{Error, Table};
use crate::probe::connections::sock_diag::Extent;
use schedule::Retry;
use session::Session;

/// How the source does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Off while it fails, degraded while something is missing.
    pub state: SourceState,
    /// How it learns of changes: "events" or "dumps"; empty while it is off.
    pub mode: &'static str,
    /// Why it is not well, and the way out. No figures: it is said once, not each time (I3).
    pub reason: String,
    /// How often events were lost. How many, the kernel does not say.
    pub losses: u64,
    /// Dumps made: the first, those after losses, and those that repair.
    pub resyncs: u64,
    /// CPU time the thread has spent.
    pub cpu: Duration,
}

impl Health {
    /// Before it has tried.
    fn at_start() -> Self {
        let (state, mode, reason) = (SourceState::Off, "", "not started yet".to_owned());
        Self { state, mode, reason, losses: 0, resyncs: 0, cpu: Duration::ZERO }
    }
}

/// Access to what the thread keeps. Clones share it; when the last is dropped, the thread ends.
#[derive(Clone, Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    health: watch::Receiver<Health>,
    _ends_with: Arc<DropGuard>,
}

impl Follower {
    /// The table. While it is held, events wait in the kernel.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table()
    }

    /// How it does. Changes at once when that does, and else once a second at most. Closed when the thread has ended.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

/// Starts to follow conntrack of the network namespace this thread is in, on a thread of its own, until `stop` is
/// cancelled or nobody has the [`Follower`] any more. Neither waits for the thread, which ends within what it is at, a dump
/// at most. Whatever fails later, even by a panic, is tried again, first after a second, at last every five minutes, and
/// [`Follower::health`] says why.
///
/// # Errors
/// If there is no thread or no file descriptor for it.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(proc_root: &Path, stop: &CancellationToken) -> io::Result<Follower> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { table: Mutex::default(), bell, is_stopped: AtomicBool::new(false) });
    let (teller, health) = watch::channel(Health::at_start());
    let (of_thread, proc_root) = (Arc::clone(&shared), proc_root.to_owned());
    std::thread::Builder::new().name("scope-conntrack".to_owned()).spawn(move || {
        run(&of_thread, Retry::default(), || Session::new(&of_thread, &proc_root, &teller), Session::run);
    })?;
    let stop = stop.child_token();
    let (of_task, ends_with) = (StopsDropped(Arc::clone(&shared)), stop.clone().drop_guard());
    tokio::spawn(async move {
        let _of_task = of_task;
        stop.cancelled().await;
    });
    Ok(Follower { shared, health, _ends_with: Arc::new(ends_with) })
}

/// Ends the thread when it is dropped: with its task, whether that has come to its end or the runtime has.
struct StopsDropped(Arc<Shared>);

impl Drop for StopsDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the thread and its [`Follower`]s share.
#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Readable when the thread has something to look at but events.
    bell: OwnedFd,
    is_stopped: AtomicBool,
}

impl Shared {
    /// Empty if somebody panicked at it: it may have been left half done.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| {
            let mut table = poisoned.into_inner();
            *table = Table::default();
            self.table.clear_poison();
            table
        })
    }

    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Fails only when it is full of calls: then it is readable.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Waits for the bell, for `other` to become readable, or for `timeout`; may return early.
    fn wait(&self, other: Option<BorrowedFd<'_>>, timeout: Duration) {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = other.into_iter().chain([self.bell.as_fd()]).map(readable).collect();
        // One that is too long for the kernel is as good as none.
        let timeout = Timespec::try_from(timeout).ok();
        // The caller looks for itself whatever the answer.
        let _ = poll(&mut fds, timeout.as_ref());
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

/// Goes from one `step` of a session to the next until it is stopped, with waits after failures. A panic costs the session
/// and the table.
fn run<'a>(
    shared: &Shared,
    mut retry: Retry,
    begin: impl Fn() -> Session<'a>,
    mut step: impl FnMut(&mut Session<'a>) -> Result<(), Error>,
) {
    let mut session = begin();
    while !shared.is_stopped() {
        let began = Instant::now();
        // Nothing that a panic leaves half done is used again.
        let reason = match catch_unwind(AssertUnwindSafe(|| step(&mut session))) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                session = begin();
                *shared.table() = Table::default();
                "it failed inside and is tried again; see the log".to_owned()
            }
        };
        session.say_off(reason);
        let wait = retry.after(began.elapsed());
        if wait > STALE {
            shared.table().resync(&[], Extent::Whole, Instant::now());
        }
        rest(shared, Instant::now() + wait);
    }
}

/// When what was known has gone unattended for about as long, it is no longer held to be true: conntrack itself forgets a
/// UDP flow after two minutes.
const STALE: Duration = Duration::from_secs(120);

fn rest(shared: &Shared, until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || shared.is_stopped() {
            return;
        }
        shared.wait(None, left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::probe::connections::conntrack::{Change, Entry, Tuple};
    use topology::fact::Protocol;

    fn flow() -> Change {
        let [source, destination] = [([10, 40, 0, 2], 40_001).into(), ([10, 41, 0, 2], 53).into()];
        let original = Tuple { protocol: Protocol::Udp, source, destination };
        let (reply, bytes) = (original.mirrored(), None);
        Change::Seen(Entry { original, reply, zone: 0, replied: true, assured: true, closed: false, bytes })
    }

    #[test]
    fn after_a_panic_another_session_goes_on_with_an_empty_table() {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("a descriptor is left");
        let shared = Shared { table: Mutex::default(), bell, is_stopped: AtomicBool::new(false) };
        let (teller, health) = watch::channel(Health { losses: 3, ..Health::at_start() });
        let begun = AtomicU32::new(0);
        let begin = || {
            begun.fetch_add(1, Ordering::Relaxed);
            Session::new(&shared, Path::new("/proc"), &teller)
        };
        let mut steps = 0;
        run(&shared, Retry { next: Duration::ZERO }, begin, |_| {
            steps += 1;
            match steps {
                1 => {
                    shared.table().apply(flow(), Instant::now());
                    panic!("on purpose");
                }
                2 => {
                    let mut table = shared.table();
                    assert!(table.is_empty());
                    table.apply(flow(), Instant::now());
                    panic!("on purpose, at the table");
                }
                3 => {
                    let health = health.borrow().clone();
                    assert_eq!((health.state, health.mode, health.losses), (SourceState::Off, "", 3));
                    assert!(health.reason.contains("failed inside"), "{}", health.reason);
                    assert!(shared.table().is_empty());
                    shared.table().apply(flow(), Instant::now());
                    Err(Error::Denied)
                }
                _ => {
                    assert_eq!(health.borrow().reason, Error::Denied.to_string());
                    assert_eq!(shared.table().len(), 1, "an error costs no table");
                    shared.stop();
                    Ok(())
                }
            }
        });
        assert_eq!((steps, begun.into_inner()), (4, 3));
    }
}
