//! The thread that listens, and the queue between it and the probe.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use topology::Netns;

use super::nsid::Names;
use super::{Batch, Destroyed, Ended, Health, ListenError, Listener};
use crate::probe::connections::netns::Namespaces;
use crate::probe::pace::{persist, thread_cpu_time};

/// Most connections that wait for the probe, 96 bytes each: three seconds of 10,000 ending in each. More are dropped and
/// counted.
const QUEUE_MAX: usize = 30_000;
/// Pause after something was heard, so that many messages are one awakening. The socket's buffer takes what arrives.
const PAUSE: Duration = Duration::from_millis(100);
/// Wait before a listener that failed is opened again; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Starts listening, in the network namespace the calling thread is in. `proc_root` is usually `/proc`. It ends with the
/// feed.
#[must_use]
pub fn spawn(proc_root: &Path) -> Feed {
    let first = Listener::open();
    let shared = Arc::new(Shared::new(health(&first)));
    let own = std::fs::metadata("/proc/thread-self/ns/net").map(|link| Netns(link.ino())).ok();
    let started = start(&shared, first);
    let thread = started.map_err(|errno| shared.lock().health = Health::Failed(ListenError::Thread(errno))).ok();
    Feed { proc_root: proc_root.to_owned(), own, names: Names::default(), shared, thread }
}

fn health(opened: &Result<Listener, ListenError>) -> Health {
    opened.as_ref().map_or_else(|error| Health::Failed(*error), Listener::health)
}

fn start(shared: &Arc<Shared>, first: Result<Listener, ListenError>) -> Result<(Arc<OwnedFd>, JoinHandle<()>), Errno> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let (of_thread, its_bell) = (Arc::clone(shared), Arc::clone(&bell));
    let thread = std::thread::Builder::new().name("scope-destroyed".to_owned());
    let mut first = Some(first);
    let hear = move || {
        let work = || run(first.take().unwrap_or_else(Listener::open), &of_thread, &its_bell);
        persist(work, |due| {
            of_thread.lock().health = Health::Failed(ListenError::Panicked);
            !is_rung(&its_bell, due.saturating_duration_since(Instant::now()))
        });
    };
    match thread.spawn(hear) {
        Ok(running) => Ok((bell, running)),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
    }
}

/// What the thread hears. Dropped, it ends the thread and waits for that.
pub struct Feed {
    proc_root: PathBuf,
    own: Option<Netns>,
    names: Names,
    shared: Arc<Shared>,
    thread: Option<(Arc<OwnedFd>, JoinHandle<()>)>,
}

impl Feed {
    /// What was heard since the last call, of these namespaces. To be called from the network namespace it was started in.
    pub fn drain(&mut self, namespaces: &Namespaces) -> Batch {
        let Heard { queue, dropped, overruns, cpu_time, health } = self.shared.take();
        self.names.update(&self.proc_root, namespaces);
        let count = queue.len();
        let destroyed: Vec<_> = queue.into_iter().filter_map(|ended| self.place(ended)).collect();
        let unplaced = count - destroyed.len();
        Batch { destroyed, unplaced, dropped, overruns, cpu_time, health }
    }

    fn place(&self, Ended { nsid, local, remote, figures }: Ended) -> Option<Destroyed> {
        let netns = nsid.map_or(self.own, |id| self.names.get(id))?;
        Some(Destroyed { netns, local, remote, figures })
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("health", &self.shared.lock().health).finish_non_exhaustive()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some((bell, thread)) = self.thread.take() else { return };
        // An eventfd takes eight bytes as long as it is not full, which takes 2^64 rings.
        let _ = rustix::io::write(&*bell, &1_u64.to_ne_bytes());
        // If it panicked there is nothing left to end.
        let _ = thread.join();
    }
}

#[derive(Debug)]
struct Shared(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    queue: Vec<Ended>,
    dropped: u64,
    overruns: u64,
    cpu_time: Duration,
    health: Health,
}

impl Heard {
    fn nothing(health: Health) -> Self {
        Self { queue: Vec::new(), dropped: 0, overruns: 0, cpu_time: Duration::ZERO, health }
    }
}

impl Shared {
    fn new(health: Health) -> Self {
        Self(Mutex::new(Heard::nothing(health)))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Heard {
        let mut heard = self.lock();
        let nothing = Heard::nothing(heard.health);
        std::mem::replace(&mut *heard, nothing)
    }

    fn put(&self, ended: &mut Vec<Ended>, overruns: u64, cpu_time: Duration) {
        let mut heard = self.lock();
        let room = QUEUE_MAX.saturating_sub(heard.queue.len()).min(ended.len());
        heard.dropped += (ended.len() - room) as u64;
        heard.queue.extend(ended.drain(..room));
        heard.overruns += overruns;
        heard.cpu_time += cpu_time;
        ended.clear();
    }
}

/// The thread: hears until the listener fails, waits, opens another, and again.
fn run(first: Result<Listener, ListenError>, shared: &Shared, bell: &OwnedFd) {
    let mut opened = first;
    let mut wait = BACKOFF_MIN;
    loop {
        shared.lock().health = health(&opened);
        let failed = match opened {
            Ok(mut listener) => {
                match listen(&mut listener, shared, bell) {
                    Ok(Stopped) => return,
                    Err(error) => {
                        wait = BACKOFF_MIN; // it had worked
                        error
                    }
                }
            }
            Err(error) => error,
        };
        shared.lock().health = Health::Failed(failed);
        if is_rung(bell, wait) {
            return;
        }
        wait = (wait * 2).min(BACKOFF_MAX);
        opened = Listener::open();
    }
}

/// Nobody wants it any more.
struct Stopped;

fn listen(listener: &mut Listener, shared: &Shared, bell: &OwnedFd) -> Result<Stopped, ListenError> {
    let mut ended = Vec::new();
    let mut spent = thread_cpu_time();
    loop {
        let mut descriptors = [PollFd::new(&*listener, PollFlags::IN), PollFd::new(bell, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) if !descriptors[1].revents().is_empty() => return Ok(Stopped),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ListenError::Netlink(errno)),
        }
        let overruns = listener.hear(QUEUE_MAX, &mut ended)?;
        let before = std::mem::replace(&mut spent, thread_cpu_time());
        shared.put(&mut ended, overruns, spent.saturating_sub(before));
        if is_rung(bell, PAUSE) {
            return Ok(Stopped);
        }
    }
}

/// Waits for the bell; false after `wait`.
fn is_rung(bell: &OwnedFd, wait: Duration) -> bool {
    let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    let mut descriptors = [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
    poll(&mut descriptors, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::probe::connections::sock_diag::Figures;

    fn ended(nsid: Option<i32>, port: u16) -> Ended {
        let local = SocketAddr::new([10, 0, 0, 1].into(), port);
        Ended { nsid, local, remote: local, figures: Figures::default() }
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_counted() {
        let shared = Shared::new(Health::Everywhere);
        shared.put(&mut vec![ended(None, 1); QUEUE_MAX - 1], 2, Duration::from_millis(3));
        shared.put(&mut vec![ended(None, 2); 5], 1, Duration::from_millis(4));
        let heard = shared.take();
        assert_eq!((heard.queue.len(), heard.dropped, heard.overruns), (QUEUE_MAX, 4, 3));
        assert_eq!((heard.cpu_time, heard.health), (Duration::from_millis(7), Health::Everywhere));
        let heard = shared.take();
        assert_eq!((heard.queue.len(), heard.dropped, heard.overruns), (0, 0, 0));
    }

    #[test]
    fn an_end_is_placed_by_the_id_of_its_namespace() {
        let (own, web, db) = (Netns(1), Netns(2), Netns(3));
        let shared = Arc::new(Shared::new(Health::Everywhere));
        let names = Names::default();
        let mut feed = Feed { proc_root: "/proc".into(), own: Some(own), names, shared, thread: None };
        // Ids as they were learned one after the other; where an id leads then.
        let steps = [
            (vec![(0, web)], [Some(own), Some(web), None]),
            (vec![(0, web), (1, db)], [Some(own), Some(web), Some(db)]),
            (vec![(0, db)], [Some(own), None, None]), // from one to the other, and some of the ends may be the first's
            (vec![(0, db)], [Some(own), Some(db), None]),
        ];
        for (learned, want) in steps {
            feed.names.learn(&learned);
            let placed = [None, Some(0), Some(1)].map(|id| feed.place(ended(id, 80)).map(|end| end.netns));
            assert_eq!(placed, want, "{learned:?}");
        }
    }
}
