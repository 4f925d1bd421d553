//! The thread beside the probe's rounds: reads answers, makes look-ups, and keeps what it learns where the rounds find it.
//! One thread for both, with all that the DNS library starts on it, so that what they cost is known.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::reverse::{LookUps, Next};
use super::{Config, Resolver, answer, snoop};
use crate::probe::backoff::Backoff;
use crate::probe::pace::thread_cpu_time;

/// How long a server may take over one look-up, its retries included.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long over one query, before it is sent again or another server is asked.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// How long what `/etc/resolv.conf` said is taken to hold.
const RESOLVER_KEPT: Duration = Duration::from_secs(30);

/// How long after answers were dropped that is told.
const DROPS_TOLD: Duration = Duration::from_secs(60);

/// What the thread learned, and what it is asked.
#[derive(Debug)]
pub(super) struct Known {
    /// From answers.
    pub(super) cache: Cache,
    /// From look-ups.
    pub(super) reverse: LookUps,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { cache: Cache::new(), reverse: LookUps::new() }
    }
}

/// What the thread and the rounds share.
#[derive(Debug)]
pub(super) struct Shared {
    known: Mutex<Known>,
    snooping: Mutex<SnoopState>,
    wanted: Notify,
    /// Why there is no thread.
    failure: Mutex<Option<String>>,
    /// CPU time spent, in nanoseconds, of threads of others too. It only grows.
    spent: AtomicU64,
    /// How much of it this thread's is; for that thread alone.
    accounted: AtomicU64,
}

#[derive(Debug, Default)]
struct SnoopState {
    /// Why answers are not read.
    failure: Option<String>,
    dropped_at: Option<Instant>,
}

/// How reading answers goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snooping {
    /// Whether they are read.
    pub(super) works: bool,
    /// Why not, or why not all.
    pub(super) problem: Option<String>,
}

impl Shared {
    /// Of a thread not started yet: all is well until it is known otherwise.
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::new(Known::new()),
            snooping: Mutex::default(),
            wanted: Notify::new(),
            failure: Mutex::default(),
            spent: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
        }
    }

    /// Looks at what is known, or adds to it.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Grows when there is something new.
    pub(super) fn learned(&self) -> u64 {
        self.with(|known| known.cache.learned() + known.reverse.learned())
    }

    /// Look-ups may be due.
    pub(super) fn wake_look_ups(&self) {
        self.wanted.notify_one();
    }

    /// How reading answers goes at `now`.
    pub(super) fn snooping(&self, now: Instant) -> Snooping {
        let state = self.snooping.lock().unwrap_or_else(PoisonError::into_inner);
        let drops = state.dropped_at.is_some_and(|at| now.saturating_duration_since(at) < DROPS_TOLD);
        let dropped = || drops.then(|| "more DNS answers than there is time for: some names are missing".to_owned());
        Snooping { works: state.failure.is_none(), problem: state.failure.clone().or_else(dropped) }
    }

    pub(super) fn snoops(&self) {
        self.snooping.lock().unwrap_or_else(PoisonError::into_inner).failure = None;
    }

    pub(super) fn fails_to_snoop(&self, reason: String) {
        self.snooping.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(reason);
    }

    pub(super) fn dropped(&self, now: Instant) {
        self.snooping.lock().unwrap_or_else(PoisonError::into_inner).dropped_at = Some(now);
    }

    /// Takes down what this thread, the worker's, has spent so far.
    pub(super) fn account(&self) {
        let now = nanoseconds(thread_cpu_time());
        let before = self.accounted.swap(now, Ordering::Relaxed);
        self.spent.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// Takes down what another thread has spent for it.
    pub(super) fn spend(&self, cpu_time: Duration) {
        self.spent.fetch_add(nanoseconds(cpu_time), Ordering::Relaxed);
    }

    /// CPU time spent so far.
    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Why there is no thread, if there is none.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Takes down what this thread has spent for the last time: the next one starts from nothing. What it left half done is
    /// forgotten.
    fn ends(&self) {
        self.account();
        self.accounted.store(0, Ordering::Relaxed);
        if self.known.is_poisoned() {
            self.with(|known| *known = Known::new());
            self.known.clear_poison();
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Keeps a thread at work until `stop`. One that fails is started anew, after a pause.
pub(super) async fn keep(config: Config, shared: Arc<Shared>, stop: CancellationToken) {
    let work = move |shared: Arc<Shared>| {
        let config = config.clone();
        async move {
            tokio::join!(snoop::run(&config.proc_root, config.door, &shared), look_up(config.resolver, &shared));
        }
    };
    keep_at(work, shared, stop).await;
}

/// The same, whatever the work is.
async fn keep_at<F: Future<Output = ()>>(
    work: impl Fn(Arc<Shared>) -> F + Clone + Send + 'static,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    loop {
        shared.set_failure(None);
        backoff.began(now());
        let failure = match start(work.clone(), Arc::clone(&shared), stop.clone()) {
            Ok(thread) => thread.failure().await,
            Err(error) => Some(format!("no thread for it: {error}")),
        };
        let Some(failure) = failure.filter(|_| !stop.is_cancelled()) else { return };
        let due = backoff.failed(now());
        tracing::error!(failure, retry = ?due.saturating_duration_since(now()), "no names are read or looked up");
        shared.set_failure(Some(failure));
        if stop.run_until_cancelled(sleep_until(due.into())).await.is_none() {
            return;
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A thread at work.
struct Thread {
    has_ended: oneshot::Receiver<()>,
    handle: thread::JoinHandle<()>,
}

impl Thread {
    /// Waits for its end. Returns why it came, unless that was wanted.
    async fn failure(self) -> Option<String> {
        // Nothing is ever sent: it is dropped at the end.
        let _ = self.has_ended.await;
        let ended = tokio::task::spawn_blocking(|| self.handle.join()).await;
        // What a panic said is in the log: its words may hold numbers, which a status must not.
        (!matches!(ended, Ok(Ok(()))))
            .then(|| "it failed inside and is started again in a while; see the log".to_owned())
    }
}

/// Starts a thread that works until `stop`.
///
/// # Errors
/// The operating system's, if it has no thread for us.
fn start<F: Future<Output = ()>>(
    work: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, has_ended) = oneshot::channel::<()>();
    let handle = thread::Builder::new().name("scope-dns".to_owned()).spawn(move || {
        let _dropped_last = ended;
        let _life = Life(Arc::clone(&shared));
        runtime.block_on(stop.run_until_cancelled(work(shared)));
    })?;
    Ok(Thread { has_ended, handle })
}

/// Leaves things in order however the thread ends.
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// Makes the look-ups that are due, for ever, one after the other.
async fn look_up(server: Resolver, shared: &Shared) {
    let mut asked = Asked { server, current: None };
    loop {
        match shared.with(|known| known.reverse.next(Instant::now())) {
            Next::Idle => shared.wanted.notified().await,
            Next::Wait(until) => sleep_until(until.into()).await,
            Next::Ask(address) => {
                let answer = asked.name_of(address).await;
                shared.with(|known| known.reverse.answered(Instant::now(), address, answer));
                shared.account();
            }
        }
    }
}

/// Who is asked, by what the system said of it lately.
struct Asked {
    server: Resolver,
    current: Option<(TokioResolver, Instant)>,
}

impl Asked {
    async fn name_of(&mut self, address: IpAddr) -> Result<Option<Arc<str>>, String> {
        let (resolver, read_at) = match self.current.take().filter(|(_, read_at)| read_at.elapsed() < RESOLVER_KEPT) {
            Some(current) => current,
            None => (resolver(self.server)?, Instant::now()),
        };
        let answer = ask(&resolver, address).await;
        // One that failed may be no longer the one to ask.
        self.current = answer.is_ok().then_some((resolver, read_at));
        answer
    }
}

/// The name of `address`, or that it has none.
///
/// # Errors
/// Why nobody says. A server that says it cannot is not meant: that is about the address.
async fn ask(resolver: &TokioResolver, address: IpAddr) -> Result<Option<Arc<str>>, String> {
    let mut name = Name::from(address);
    name.set_fqdn(true);
    match timeout(LOOK_UP_TIMEOUT, resolver.reverse_lookup(name)).await {
        Ok(Ok(lookup)) => Ok(lookup.answers().iter().find_map(|record| match &record.data {
            RData::PTR(host) => answer::text(&host.0),
            _ => None,
        })),
        Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_) | DnsError::ResponseCode(_)))) => Ok(None),
        Ok(Err(NetError::NoConnections)) => Err("no DNS server in /etc/resolv.conf can be asked".to_owned()),
        Ok(Err(NetError::Timeout)) | Err(_) => Err("no DNS server answers".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

fn resolver(server: Resolver) -> Result<TokioResolver, String> {
    let mut builder = match server {
        Resolver::System => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Resolver::At(address) => TokioResolver::builder_with_config(asking(address), TokioRuntimeProvider::default()),
    };
    let options = builder.options_mut();
    options.timeout = options.timeout.min(QUERY_TIMEOUT);
    options.attempts = options.attempts.min(ATTEMPTS);
    options.cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

fn asking(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// Waits until there is no thread, without letting the clock jump.
    async fn failure(shared: &Shared) -> String {
        loop {
            if let Some(failure) = shared.failure() {
                return failure;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_panics_is_told_and_started_again_later_each_time() {
        let (shared, stop) = (Arc::new(Shared::new()), CancellationToken::new());
        let (started, mut starts) = mpsc::unbounded_channel();
        let work = move |shared: Arc<Shared>| {
            started.send(()).expect("the test waits for it");
            async move { shared.with(|_| panic!("this test's")) }
        };
        let keeping = tokio::spawn(keep_at(work, Arc::clone(&shared), stop.clone()));
        starts.recv().await.expect("it starts");
        for pause in [1, 2, 4, 8].map(Duration::from_secs) {
            assert_eq!(failure(&shared).await, "it failed inside and is started again in a while; see the log");
            assert!(!shared.known.is_poisoned(), "the next one begins anew");
            let failed_at = tokio::time::Instant::now();
            starts.recv().await.expect("it starts");
            let waited = failed_at.elapsed();
            assert!((pause - TICK..=pause + TICK).contains(&waited), "{waited:?} for {pause:?}");
        }
        stop.cancel();
        keeping.await.expect("it ends with `stop`");
    }

    #[tokio::test]
    async fn work_ends_with_stop_and_not_as_a_failure() {
        let (shared, stop) = (Arc::new(Shared::new()), CancellationToken::new());
        let (started, mut starts) = mpsc::unbounded_channel();
        let work = move |_| {
            started.send(()).expect("the test waits for it");
            std::future::pending()
        };
        let keeping = tokio::spawn(keep_at(work, Arc::clone(&shared), stop.clone()));
        starts.recv().await.expect("it starts");
        stop.cancel();
        keeping.await.expect("it ends with `stop`");
        assert_eq!(shared.failure(), None);
    }
}
