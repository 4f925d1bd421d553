//! Containers and images, from the Docker daemon or podman's equal of it.
//!
//! Event-driven: one subscription, one list, and then only what an event names is asked about again. Nothing is polled
//! but a sign of life and, every few minutes, a list that mends what a lost event left wrong.
//!
//! ```text
//!            ┌──────────── backoff ◀──────────┐
//!            ▼                                │ lost: status, facts kept for the grace time
//!   connect ───▶ subscribe ─▶ list ─▶ inspect all ─▶ events ─▶ inspect what they name ─▶ facts
//! ```
//! - `endpoint.rs`: where the daemon is, and what to tell people when it is not there.
//! - `session.rs`: one connection. `registry.rs`: what is known and what to ask next, without IO.
//! - `event.rs`, `convert.rs`, `ports.rs`, `secret.rs`: what the daemon says, in our words.
//! - `stats.rs`: figures, only where cgroups cannot be read. `outbox.rs`: what we say. `cost.rs`: what we cost and may.
//!
//! A daemon that dies does not take its containers with it (`live-restore`, a killed `dockerd`), and one that is being
//! upgraded is back within seconds. So facts outlive it for [`Timing::grace`]; then they go, and what the process probe
//! reads from cgroups stays.

mod convert;
mod cost;
mod endpoint;
mod event;
#[cfg(test)]
mod fake;
mod outbox;
mod ports;
mod registry;
#[cfg(test)]
mod scenarios;
mod secret;
mod session;
mod stats;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use topology::ContainerId;
use topology::fact::{Source, SourceState};

use self::cost::Thrift;
pub use self::endpoint::{BadHost, Endpoint};
use self::endpoint::{Daemon, connect};
use self::outbox::{HubGone, Outbox};
use self::registry::Registry;
use self::session::Session;
use super::pace::{supervise, thread_cpu_time};
use super::{InitPids, Updates};

/// Which daemon, and the times to keep.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to try in order; an unusable `$DOCKER_HOST` is a status, not an error.
    endpoints: Result<Vec<Endpoint>, BadHost>,
    /// Times to keep.
    pub timing: Timing,
}

impl Config {
    /// The daemon at `docker_host` (`unix:///PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`); without it the one of
    /// `$DOCKER_HOST`, or of the first socket that is there: Docker's, podman's.
    ///
    /// # Errors
    /// [`BadHost`] if `docker_host` has another form.
    pub fn new(docker_host: Option<&str>) -> Result<Self, BadHost> {
        let environment = std::env::var("DOCKER_HOST").ok();
        let endpoints = endpoint::candidates(docker_host, environment.as_deref());
        if docker_host.is_some() {
            endpoints.clone()?;
        }
        Ok(Self { endpoints, timing: Timing::default() })
    }
}

/// Times the probe keeps.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Longest wait for an answer of the daemon; a list may take six times as long.
    pub request_timeout: Duration,
    /// Wait before the first new attempt to connect; doubled each time, with jitter.
    pub backoff_min: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// How long facts outlive the connection.
    pub grace: Duration,
    /// Silence after which the daemon is asked whether it lives.
    pub ping_every: Duration,
    /// Time between lists that mend what lost events left wrong: the daemon drops events of a slow subscriber.
    pub list_every: Duration,
    /// Wait before a container whose inspection failed is asked again; doubled each time, up to a minute.
    pub retry_min: Duration,
    /// Time between blocks of gauges, where the daemon must give them.
    pub gauges_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            grace: Duration::from_secs(10),
            ping_every: Duration::from_secs(15),
            list_every: Duration::from_secs(300),
            retry_min: Duration::from_secs(5),
            gauges_every: Duration::from_secs(2),
        }
    }
}

/// What connects the probe with the rest of the program.
#[derive(Clone)]
pub struct Wiring {
    /// Facts, status, gauges and cost go here.
    pub updates: Updates,
    /// First processes of the running containers; written when they change.
    pub init_pids: watch::Sender<InitPids>,
    /// Called when a container started or died, before it has been asked about: processes and sockets changed. Must not
    /// block.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
    /// Containers whose figures the cgroup files do not give.
    pub unreadable: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
}

/// Runs the probe on a thread of its own until `stop`, so that its cost can be told: the thread's CPU time. If it panics,
/// it is started again: see [`supervise`].
///
/// # Errors
/// If the kernel gives no thread or no epoll instance.
pub fn spawn(config: Config, wiring: Wiring, stop: CancellationToken) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name("probe-docker".to_owned()).spawn(move || {
        let work = || {
            runtime.block_on(async {
                tokio::select! {
                    () = run(config.clone(), wiring.clone(), stop.clone()) => {}
                    () = cost::report(wiring.updates.clone()) => {}
                }
            });
        };
        let pause = |due: std::time::Instant| {
            wiring.init_pids.send_replace(InitPids::default());
            runtime.block_on(async { stop.run_until_cancelled(sleep_until(due.into())).await.is_some() })
        };
        supervise(cost::SCHEDULE, &wiring.updates, pause, work);
    })
}

/// Runs the probe until `stop` or until nobody receives its updates. No state of the daemon ends it.
pub async fn run(config: Config, wiring: Wiring, stop: CancellationToken) {
    let Wiring { updates, init_pids, nudge, unreadable } = wiring;
    let mut probe = Probe {
        registry: Registry::new(config.timing.retry_min),
        timing: config.timing,
        outbox: Outbox::new(updates, init_pids, nudge),
        thrift: Thrift::new(std::time::Instant::now(), thread_cpu_time()),
        unreadable,
        failures: 0,
        forget_at: None,
        reason: String::new(),
    };
    match config.endpoints {
        Ok(endpoints) => {
            stop.run_until_cancelled(probe.follow(&endpoints)).await;
        }
        Err(bad) => {
            stop.run_until_cancelled(probe.give_up(&bad)).await;
        }
    }
}

struct Probe {
    timing: Timing,
    registry: Registry,
    outbox: Outbox,
    thrift: Thrift,
    unreadable: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    /// Attempts to connect in a row that came to nothing.
    failures: u32,
    /// When to drop the facts of a daemon that is away.
    forget_at: Option<Instant>,
    /// Why the daemon is away.
    reason: String,
}

impl Probe {
    async fn follow(&mut self, endpoints: &[Endpoint]) -> Result<Infallible, HubGone> {
        loop {
            let daemon = self.reach(endpoints).await?;
            let mut session = Session::new(
                &daemon,
                &self.timing,
                &mut self.registry,
                &mut self.outbox,
                &mut self.thrift,
                self.forget_at,
                self.unreadable.clone(),
            );
            let failure = session.run().await?;
            let forget_at = Instant::now() + self.timing.grace;
            if session.was_useful() {
                self.failures = 0;
                self.forget_at = Some(forget_at);
            } else if !self.registry.is_empty() {
                // One that greets and then hangs renews nothing.
                self.forget_at.get_or_insert(forget_at);
            }
            self.outbox.no_gauges().await?;
            self.say_away(failure.reason(&daemon.endpoint)).await?;
            self.wait().await?;
        }
    }

    /// Tries until a daemon answers.
    async fn reach(&mut self, endpoints: &[Endpoint]) -> Result<Daemon, HubGone> {
        let limit = self.timing.request_timeout;
        loop {
            match self.or_forget(connect(endpoints, limit)).await? {
                Ok(daemon) => return Ok(daemon),
                Err(reason) => self.say_away(reason).await?,
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), HubGone> {
        let wait = backoff(self.failures, &self.timing, jitter());
        self.failures = self.failures.saturating_add(1);
        self.or_forget(sleep(wait)).await
    }

    /// The outcome of `future`; the facts are dropped meanwhile if their time has come.
    async fn or_forget<T>(&mut self, future: impl Future<Output = T>) -> Result<T, HubGone> {
        let mut future = pin!(future);
        loop {
            let forget_at = self.forget_at;
            tokio::select! {
                value = &mut future => return Ok(value),
                () = at(forget_at) => self.forget().await?,
            }
        }
    }

    async fn forget(&mut self) -> Result<(), HubGone> {
        self.forget_at = None;
        self.registry = Registry::new(self.timing.retry_min);
        self.outbox.facts(&mut self.registry).await?;
        let reason = self.reason.clone();
        self.say_away(reason).await
    }

    /// Says that the daemon is away: off, or degraded while its facts still stand.
    async fn say_away(&mut self, reason: String) -> Result<(), HubGone> {
        self.reason.clone_from(&reason);
        let state = if self.forget_at.is_some() { SourceState::Degraded } else { SourceState::Off };
        self.outbox.status(Source { state, mode: String::new(), reason }).await
    }

    async fn give_up(&mut self, bad: &BadHost) -> Result<Infallible, HubGone> {
        self.say_away(format!("$DOCKER_HOST: {bad}, or --docker-host")).await?;
        std::future::pending().await
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Wait before the next attempt, after `failures` of them: doubled each time, of which a random half is left out so
/// that the peers of a rebooted rack do not knock in step. `jitter` is in 0..=255.
fn backoff(failures: u32, timing: &Timing, jitter: u8) -> Duration {
    let wait = timing.backoff_min.saturating_mul(2_u32.saturating_pow(failures)).min(timing.backoff_max);
    wait / 2 + wait / 2 * u32::from(jitter) / 255
}

/// A random byte. The standard library's hasher keys are random enough for that, and no dependency.
fn jitter() -> u8 {
    RandomState::new().build_hasher().finish().to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_up_to_its_bound() {
        let timing = Timing::default();
        let cases = [(0, 255, 100), (0, 0, 50), (1, 255, 200), (3, 255, 800), (10, 255, 5_000), (u32::MAX, 0, 2_500)];
        for (failures, jitter, want_ms) in cases {
            assert_eq!(backoff(failures, &timing, jitter), Duration::from_millis(want_ms), "{failures} {jitter}");
        }
    }

    #[test]
    fn only_a_named_host_is_refused() {
        assert_eq!(Config::new(Some("ssh://a")).err().map(|bad| bad.to_string().contains("ssh://a")), Some(true));
        assert!(Config::new(Some("tcp://a:1")).is_ok() && Config::new(None).is_ok());
    }
}
