//! One connection to a daemon, from its first list to its loss.
//!
//! It subscribes to events before it lists, and asks for those since just before: so a container that starts in between
//! is in the list, in the events or in both. Requests run side by side and never wait for each other; this task alone
//! owns the registry and takes in one answer at a time.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, EventMessage};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use topology::fact::{Container, Image, Source, SourceState};
use topology::{ContainerId, ImageId, Timestamp};

use super::convert;
use super::cost::Thrift;
use super::endpoint::{Daemon, Failure};
use super::event::{self, Action};
use super::outbox::{HubGone, Outbox};
use super::registry::{CONTAINERS_MAX, Outcome, Problem, Registry, Request};
use super::stats::Stats;
use super::{Timing, at};
use crate::probe::pace::thread_cpu_time;

/// How long the first facts wait for all containers to be inspected: hosts with fewer than some hundred of them are said
/// at once and whole.
const FIRST_LIST_PATIENCE: Duration = Duration::from_millis(200);
/// Least time between two messages of facts, for each fact in the last: a message is a copy of all of them, so this bounds
/// its cost to some percent. A host of 65 containers waits 1 ms, one of 5,000 a tenth of a second.
const PACE_PER_FACT: Duration = Duration::from_micros(20);
/// How much longer than a single answer a list of thousands may take.
const LIST_TIMEOUTS: u32 = 6;

/// What an answer is about.
enum Answer {
    List(u64, Result<Vec<ContainerSummary>, Failure>),
    Container(ContainerId, Box<Outcome<Container>>),
    Image(ImageId, Outcome<Image>),
    Ping(Result<(), Failure>),
}

/// See the module.
pub(super) struct Session<'a> {
    daemon: &'a Daemon,
    timing: &'a Timing,
    registry: &'a mut Registry,
    outbox: &'a mut Outbox,
    thrift: &'a mut Thrift,
    unreadable: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    /// When the first list must be there, for the facts of an earlier connection do not wait longer.
    list_by: Option<Instant>,
    stats: Stats,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The first list came.
    is_listed: bool,
    /// All that the first list named has been asked about.
    has_settled: bool,
    is_listing: bool,
    is_pinging: bool,
    said: Option<Problem>,
    heard_at: Instant,
    list_at: Instant,
    publish_at: Instant,
    stats_at: Instant,
}

impl<'a> Session<'a> {
    /// `forget_at` is when the facts of an earlier connection are to be forgotten.
    pub(super) fn new(
        daemon: &'a Daemon,
        timing: &'a Timing,
        registry: &'a mut Registry,
        outbox: &'a mut Outbox,
        thrift: &'a mut Thrift,
        forget_at: Option<Instant>,
        unreadable: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    ) -> Self {
        registry.forget_requests();
        let now = Instant::now();
        Self {
            daemon,
            timing,
            registry,
            outbox,
            thrift,
            unreadable,
            // One that is just back gets at least the time of an answer.
            list_by: forget_at.map(|forget_at| forget_at.max(now + timing.request_timeout)),
            stats: Stats::new(),
            answers: FuturesUnordered::new(),
            is_listed: false,
            has_settled: false,
            is_listing: false,
            is_pinging: false,
            said: None,
            heard_at: now,
            list_at: now,
            publish_at: now + FIRST_LIST_PATIENCE,
            stats_at: now,
        }
    }

    /// Whether the daemon ever listed its containers to us.
    pub(super) fn was_useful(&self) -> bool {
        self.is_listed
    }

    /// Follows the daemon until it is lost; returns how.
    ///
    /// # Errors
    /// [`HubGone`] when nobody wants to know any more.
    pub(super) async fn run(&mut self) -> Result<Failure, HubGone> {
        let since = now_unix().as_secs().saturating_sub(1).to_string();
        let options = EventsOptions { since: Some(since), until: None, filters: Some(event::filter()) };
        let mut events = pin!(self.daemon.client.events(Some(options)));
        self.ask_list();
        loop {
            self.ask_next();
            self.publish().await?;
            let wake_at = self.wake_at();
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.take_event(&event),
                    Some(Err(error)) => return Ok(Failure::of(&error)),
                    None => return Ok(Failure::Closed),
                },
                Some(answer) = self.answers.next() => {
                    if let Err(failure) = self.take_answer(answer) {
                        return Ok(failure);
                    }
                }
                () = self.stats.collect() => {}
                Ok(()) = self.unreadable.changed() => self.follow_unreadable(),
                () = at(self.list_by), if !self.is_listed => return Ok(Failure::Silent(self.timing.request_timeout)),
                () = sleep_until(wake_at) => self.tick().await?,
            }
        }
    }

    fn take_event(&mut self, event: &EventMessage) {
        self.heard_at = Instant::now();
        let action = event::action(event);
        if matches!(action, Action::InspectProcesses(_)) {
            self.outbox.nudge();
        }
        self.registry.apply(action);
    }

    /// # Errors
    /// The failure that shows that the daemon is lost.
    fn take_answer(&mut self, answer: Answer) -> Result<(), Failure> {
        let now = Instant::now();
        match answer {
            Answer::List(mark, list) => {
                let runtime = self.daemon.runtime;
                let list = list?.iter().filter_map(|row| convert::listed_container(row, runtime)).collect();
                self.registry.listed(mark, list, !self.is_listed);
                (self.is_listed, self.is_listing) = (true, false);
                self.heard_at = now;
            }
            Answer::Container(id, outcome) => {
                let outcome = as_seen_here(*outcome, self.daemon.endpoint.is_local());
                self.registry.container_answered(&id, outcome, now);
            }
            Answer::Image(id, outcome) => self.registry.image_answered(&id, outcome),
            Answer::Ping(pong) => {
                pong?;
                self.is_pinging = false;
                self.heard_at = now;
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), HubGone> {
        let now = Instant::now();
        if now >= self.ping_at().unwrap_or(now + self.timing.ping_every) {
            self.is_pinging = true;
            let client = self.daemon.client.clone();
            let pong = within(self.timing.request_timeout, async move { client.ping().await });
            self.answers.push(Box::pin(async { Answer::Ping(pong.await.map(drop)) }));
        }
        if now >= self.list_at && !self.is_listing {
            self.ask_list();
        }
        if now >= self.stats_at {
            self.stats_at = now + self.timing.gauges_every;
            self.follow_unreadable();
            if let Some(block) = self.stats.block(Timestamp(now_unix().as_millis().try_into().unwrap_or(u64::MAX))) {
                self.outbox.gauges(block).await?;
            }
        }
        Ok(())
    }

    /// Says what changed, as soon as the pace allows.
    async fn publish(&mut self) -> Result<(), HubGone> {
        let now = Instant::now();
        if !self.has_settled && self.is_listed && self.registry.is_settled() {
            self.has_settled = true;
            self.publish_at = now;
        }
        if self.registry.is_changed() && now >= self.publish_at {
            let count = self.outbox.facts(self.registry).await?;
            let pace = PACE_PER_FACT * u32::try_from(count).unwrap_or(u32::MAX);
            let pace = if self.has_settled { pace } else { pace.max(FIRST_LIST_PATIENCE) };
            self.publish_at = now + pace.max(self.rest());
        }
        let problem = self.registry.problem();
        if self.is_listed && self.said != Some(problem) {
            self.said = Some(problem);
            self.outbox.status(source(problem)).await?;
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let listing = (!self.is_listing).then_some(self.list_at);
        let publishing = self.registry.is_changed().then_some(self.publish_at);
        let statistics = (!self.unreadable.borrow().is_empty() || self.stats.is_active()).then_some(self.stats_at);
        let times = [self.ping_at(), listing, publishing, statistics, self.registry.due_at()];
        times.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + self.timing.ping_every)
    }

    /// When the daemon has been silent for so long that we ask whether it lives.
    fn ping_at(&self) -> Option<Instant> {
        (!self.is_pinging).then_some(self.heard_at + self.timing.ping_every)
    }

    fn follow_unreadable(&mut self) {
        let unreadable = Arc::clone(&self.unreadable.borrow_and_update());
        let running = unreadable.iter().filter(|id| self.registry.is_running(id));
        self.stats.follow(&self.daemon.client, running);
    }

    fn ask_list(&mut self) {
        self.is_listing = true;
        self.list_at = Instant::now() + self.timing.list_every;
        let mark = self.registry.list_mark();
        let client = self.daemon.client.clone();
        let limit = self.timing.request_timeout * LIST_TIMEOUTS;
        let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let list = within(limit, async move { client.list_containers(Some(options)).await });
        self.answers.push(Box::pin(async move { Answer::List(mark, list.await) }));
    }

    fn ask_next(&mut self) {
        let now = Instant::now();
        let is_resting = self.registry.is_resting(now);
        while let Some(request) = self.registry.next_request(now) {
            let client = self.daemon.client.clone();
            let (limit, runtime) = (self.timing.request_timeout, self.daemon.runtime);
            self.answers.push(match request {
                Request::Container(id) => Box::pin(inspect_container(client, id, runtime, limit)),
                Request::Image(id) => Box::pin(inspect_image(client, id, limit)),
            });
        }
        // A rest has a fixed end, and some are asked between two: however much there is to do, the list is worked through.
        if !is_resting {
            let rest = self.rest();
            self.registry.rest(now + rest);
        }
    }

    /// How long to rest now, for what was done so far.
    fn rest(&mut self) -> Duration {
        self.thrift.rest(Instant::now().into_std(), thread_cpu_time())
    }
}

async fn inspect_container(client: Docker, id: ContainerId, runtime: &'static str, limit: Duration) -> Answer {
    let answer = timeout(limit, client.inspect_container(id.as_str(), None::<InspectContainerOptions>)).await;
    let outcome = outcome(answer.ok(), |answer| convert::container(&answer, runtime).filter(|found| found.id == id));
    Answer::Container(id, Box::new(outcome))
}

async fn inspect_image(client: Docker, id: ImageId, limit: Duration) -> Answer {
    let answer = timeout(limit, client.inspect_image(id.as_str())).await;
    // A multi-platform image answers with another id than the one its container names: keep the name we know it by.
    let outcome = outcome(answer.ok(), |answer| Some(Image { id: id.clone(), ..convert::image(&answer)? }));
    Answer::Image(id, outcome)
}

/// A container as it is on this host: the pids of another one's daemon mean nothing here.
fn as_seen_here(outcome: Outcome<Container>, is_local: bool) -> Outcome<Container> {
    match outcome {
        Outcome::Found(container) if !is_local => Outcome::Found(Container { init_pid: None, ..container }),
        outcome => outcome,
    }
}

fn outcome<A, T>(answer: Option<Result<A, Error>>, convert: impl FnOnce(A) -> Option<T>) -> Outcome<T> {
    match answer {
        Some(Ok(answer)) => convert(answer).map_or(Outcome::Failed, Outcome::Found),
        Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Outcome::Gone,
        Some(Err(error)) => {
            tracing::debug!(%error, "the daemon refused an inspection");
            Outcome::Failed
        }
        None => Outcome::Failed,
    }
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    let answer = timeout(limit, request).await.map_err(|_| Failure::Silent(limit))?;
    answer.map_err(|error| Failure::of(&error))
}

fn now_unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn source(problem: Problem) -> Source {
    let mut reasons = Vec::new();
    if problem.unshown > 0 {
        reasons.push(format!(
            "{} containers beyond the {CONTAINERS_MAX} this probe follows are not shown",
            problem.unshown
        ));
    }
    if problem.silent > 0 {
        reasons.push(format!(
            "the daemon does not say more of {} containers than their list: try `docker inspect`",
            problem.silent
        ));
    }
    let state = if reasons.is_empty() { SourceState::Ok } else { SourceState::Degraded };
    Source { state, mode: "events".to_owned(), reason: reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pids_of_another_hosts_daemon_are_not_ours() {
        for (is_local, want) in [(true, Some(7)), (false, None)] {
            let found = Container { init_pid: Some(7), ..Container::new(convert::id("a")) };
            let Outcome::Found(container) = as_seen_here(Outcome::Found(found), is_local) else { panic!("found") };
            assert_eq!((container.init_pid, container.id), (want, convert::id("a")), "local: {is_local}");
        }
    }
}
