//! The thread that keeps a [`Table`] of the host's conntrack current, whatever happens: by events, or by dumps where there
//! are none, and by another try after each failure.

mod schedule;
mod session;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::SourceState;

use super::{Interest, Table};
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

/// Access to what the thread keeps. Clones share it.
#[derive(Clone, Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    health: watch::Receiver<Health>,
}

impl Follower {
    /// The table. While it is held, events wait in the kernel.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table()
    }

    /// Changes what is of interest: another source began to tell of TCP, or ceased to. In effect after the next dump, which
    /// follows at once.
    pub fn set_interest(&self, interest: Interest) {
        self.table().set_interest(interest);
        self.shared.wake();
    }

    /// How it does. Changes at once when that does, and else once a second at most.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

/// Starts to follow conntrack of the network namespace this thread is in, on a thread of its own, until `stop` is
/// cancelled. The handle ends when the thread has. Whatever fails later is tried again, first after a second, at last
/// every five minutes, and [`Follower::health`] says why.
///
/// # Errors
/// If there is no thread or no file descriptor for it.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(proc_root: &Path, interest: Interest, stop: CancellationToken) -> io::Result<(Follower, JoinHandle<()>)> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { table: Mutex::new(Table::new(interest)), bell, is_stopped: AtomicBool::new(false) });
    let (teller, health) = watch::channel(Health::at_start());
    let (ended, has_ended) = oneshot::channel::<()>();
    let (of_thread, proc_root) = (Arc::clone(&shared), proc_root.to_owned());
    let thread = std::thread::Builder::new().name("scope-conntrack".to_owned()).spawn(move || {
        let _dropped_at_the_end = ended;
        supervise(&teller, || run(&of_thread, Session::new(&of_thread, &proc_root, &teller)));
    })?;
    let follower = Follower { shared, health };
    let of_task = Arc::clone(&follower.shared);
    let task = tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => of_task.stop(),
            _ = has_ended => {}
        }
        // How it ended was said by its supervision.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    });
    Ok((follower, task))
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
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
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

/// One session after the other, with waits between them.
fn run(shared: &Shared, mut session: Session<'_>) {
    let mut retry = Retry::default();
    while !shared.is_stopped() {
        let began = Instant::now();
        if let Err(error) = session.run() {
            session.say_off(error);
            let wait = retry.after(began.elapsed());
            if wait > STALE {
                shared.table().resync(&[], Extent::Whole, Instant::now());
            }
            rest(shared, Instant::now() + wait);
        }
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

/// A panic ends this source alone.
fn supervise(teller: &watch::Sender<Health>, work: impl FnOnce()) {
    // Whatever a panic leaves half done, the table is only read from now on.
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let reason = "it failed inside and was stopped; see the log".to_owned();
        tracing::error!(reason, "conntrack source ended");
        teller.send_modify(|health| (health.state, health.mode, health.reason) = (SourceState::Off, "", reason));
    }
}
