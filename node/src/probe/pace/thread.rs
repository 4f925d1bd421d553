//! The thread of a probe: waits until a round is due, asked for or no longer wanted; runs it; sends what it says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Source, SourceState};

use super::{Moment, Pace, Schedule, thread_cpu_time};
use crate::probe::backoff::Backoff;
use crate::probe::{Name, Update, Updates};

/// What one round of a probe found.
#[derive(Debug)]
pub struct Round {
    /// Said to the hub in this order.
    pub updates: Vec<Update>,
    /// How the probe does; said to the hub when it differs from the last one.
    pub status: Source,
    /// CPU time that other threads spent on it: this probe's as much as that of its own thread.
    pub elsewhere: Duration,
}

/// Asks a probe for a round before its time: something was seen to start or end. Cheap, and never blocks; many nudges
/// before a round are one.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Signal {
    #[default]
    Quiet,
    Nudged,
    Stopped,
}

impl Nudge {
    /// Asks for a round.
    pub fn nudge(&self) {
        self.raise(Signal::Nudged);
    }

    fn stop(&self) {
        self.raise(Signal::Stopped);
    }

    fn raise(&self, signal: Signal) {
        let mut current = self.lock();
        if *current != Signal::Stopped {
            *current = signal;
        }
        drop(current);
        self.0.changed.notify_all();
    }

    /// Waits until `due`, whatever is asked for meanwhile; false if there is nothing to wait for any more.
    fn pause(&self, due: Instant) -> bool {
        loop {
            match self.wait_until(due) {
                Signal::Quiet => return true,
                Signal::Nudged => {}
                Signal::Stopped => return false,
            }
        }
    }

    /// Waits until `due` or the next signal, and takes it. `Quiet` means it is time.
    fn wait_until(&self, due: Instant) -> Signal {
        let mut current = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if *current != Signal::Quiet || left.is_zero() {
                break;
            }
            current = self.0.changed.wait_timeout(current, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let taken = *current;
        if taken == Signal::Nudged {
            *current = Signal::Quiet;
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Signal> {
        self.0.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the rounds of a probe in a thread of its own at the pace of `schedule` until `stop` is cancelled or the hub has
/// gone. `start` makes it; it is called again, after a pause, if a round panics: see [`supervise`]. The handle ends when the
/// thread has: at once if it waits, else after the round it is in.
///
/// Each probe needs a [`Nudge`] of its own: stopping goes the same way.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<R: FnMut(Moment) -> Round>(
    schedule: Schedule,
    updates: Updates,
    nudge: Nudge,
    stop: CancellationToken,
    mut start: impl FnMut() -> R + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (ended, has_ended) = oneshot::channel::<()>();
        let (of_thread, bell, runtime) = (updates.clone(), nudge.clone(), Handle::current());
        // What a probe is made of may have tasks.
        let mut start = move || {
            let _entered = runtime.enter();
            start()
        };
        let started = std::thread::Builder::new().name(format!("scope-{}", schedule.name.as_str())).spawn(move || {
            let _dropped_at_the_end = ended;
            let work = || run(schedule, &of_thread, &bell, &mut start());
            supervise(schedule, &of_thread, |due| bell.pause(due), work);
        });
        match started {
            Err(error) => {
                for last in last_words(schedule, &format!("no thread for it: {error}")) {
                    // A hub that has gone needs none.
                    let _ = updates.send(last).await;
                }
            }
            Ok(thread) => {
                tokio::select! {
                    () = stop.cancelled() => nudge.stop(),
                    _ = has_ended => {}
                }
                // How it ended was said by its supervision.
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        }
    })
}

/// Runs `work`, the whole of a probe, on this thread until it ends well. If it panics, the hub is told that the probe is off,
/// and that what it said before holds no longer; it runs again when `pause` has waited for the time it is given. That one
/// returns false to have it end.
///
/// # Panics
/// Within an async task, if `work` does.
pub fn supervise(schedule: Schedule, updates: &Updates, mut pause: impl FnMut(Instant) -> bool, work: impl FnMut()) {
    persist(work, |due| {
        let mut last_words = last_words(schedule, "it failed inside, see the log; it is tried again").into_iter();
        last_words.all(|last| updates.blocking_send(last).is_ok()) && pause(due)
    });
}

/// Runs `work` until it ends well: again after each panic, when `failed`, which is told the time to wait for, has returned
/// true.
pub fn persist(mut work: impl FnMut(), mut failed: impl FnMut(Instant) -> bool) {
    let mut backoff = Backoff::default();
    loop {
        backoff.began(Instant::now());
        // Whatever a panic leaves half done `work` drops, or makes anew.
        if catch_unwind(AssertUnwindSafe(&mut work)).is_ok() || !failed(backoff.failed(Instant::now())) {
            return;
        }
    }
}

/// What the hub is told of a probe that failed. The status comes first: others may step in for its facts.
fn last_words(schedule: Schedule, reason: &str) -> Vec<Update> {
    tracing::error!(probe = schedule.name.as_str(), reason, "probe failed");
    let off = || Source { state: SourceState::Off, mode: String::new(), reason: reason.to_owned() };
    let names = || std::iter::once(schedule.name).chain(schedule.speaks_for.iter().copied());
    let statuses = names().map(|name| Update::Status(name, off()));
    statuses.chain(names().map(|name| Update::Facts(name, BTreeMap::new()))).collect()
}

/// The loop: round, wait. Returns when stopped or when nobody listens any more.
fn run(schedule: Schedule, updates: &Updates, nudge: &Nudge, round: &mut impl FnMut(Moment) -> Round) {
    let mut teller = Teller::new(schedule, updates);
    loop {
        let now = Moment::now();
        if teller.tell(round(now)).is_err() || !wait(&teller.pace, nudge, now.clock) {
            return;
        }
    }
}

/// Tells the hub what rounds found, and the pace what they cost.
struct Teller<'a> {
    name: Name,
    updates: &'a Updates,
    pace: Pace,
    /// CPU time of this thread up to the end of the last round.
    spent: Duration,
    told: Option<Source>,
}

/// The hub is gone: the program ends.
struct HubGone;

impl<'a> Teller<'a> {
    fn new(schedule: Schedule, updates: &'a Updates) -> Self {
        let pace = Pace::new(schedule, Instant::now());
        Self { name: schedule.name, updates, pace, spent: thread_cpu_time(), told: None }
    }

    /// Tells of a round that this thread has just run.
    fn tell(&mut self, round: Round) -> Result<(), HubGone> {
        let Round { updates: mut said, status, elsewhere } = round;
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            said.push(Update::Status(self.name, status));
        }
        said.extend(self.pace.report(Instant::now()).map(|cost| Update::Cost(self.name, cost)));
        for update in said {
            self.updates.blocking_send(update).map_err(|_| HubGone)?;
        }
        let before = std::mem::replace(&mut self.spent, thread_cpu_time());
        self.pace.record(Instant::now(), self.spent.saturating_sub(before) + elsewhere);
        Ok(())
    }
}

/// Waits for the next round after one that began at `began`; false if there is none.
fn wait(pace: &Pace, nudge: &Nudge, began: Instant) -> bool {
    let mut due = began + pace.interval();
    loop {
        match nudge.wait_until(due) {
            Signal::Quiet => return true,
            Signal::Nudged => due = due.min(pace.early(Instant::now())),
            Signal::Stopped => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn schedule(base: Duration) -> Schedule {
        Schedule { name: Name::Process, speaks_for: &[Name::Ebpf], base, budget: 0.5 }
    }

    fn said(state: SourceState) -> Round {
        let status = Source { state, mode: String::new(), reason: String::new() };
        Round { updates: vec![Update::Cost(Name::Host, 7)], status, elsewhere: Duration::ZERO }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_waiting_probe_stops_at_once() {
        let (updates, mut hub) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let probe = spawn(schedule(LONG), updates, Nudge::default(), stop.clone(), || |_| said(SourceState::Ok));
        assert!(matches!(hub.recv().await, Some(Update::Cost(Name::Host, 7))));
        let asked = Instant::now();
        stop.cancel();
        probe.await.expect("no panic");
        assert!(asked.elapsed() < Duration::from_millis(500), "took {:?}", asked.elapsed());
    }

    #[tokio::test]
    async fn a_nudged_probe_runs_before_its_time_and_repeats_no_status() {
        let (updates, mut hub) = mpsc::channel(8);
        let (nudge, stop) = (Nudge::default(), CancellationToken::new());
        let probe = spawn(schedule(LONG), updates, nudge.clone(), stop.clone(), || |_| said(SourceState::Ok));
        assert!(matches!(hub.recv().await, Some(Update::Cost(..))));
        assert!(matches!(hub.recv().await, Some(Update::Status(Name::Process, _))));
        for _ in 0..3 {
            nudge.nudge();
            assert!(matches!(hub.recv().await, Some(Update::Cost(..))));
        }
        stop.cancel();
        probe.await.expect("no panic");
        assert!(hub.recv().await.is_none(), "the status is said once");
    }

    #[tokio::test]
    async fn a_probe_nobody_listens_to_ends() {
        let (updates, hub) = mpsc::channel(1);
        drop(hub);
        let stop = CancellationToken::new();
        spawn(schedule(LONG), updates, Nudge::default(), stop, || |_| said(SourceState::Ok)).await.expect("no panic");
    }

    #[tokio::test]
    async fn a_round_that_panics_turns_its_probe_off_and_it_is_started_again() {
        let (updates, mut hub) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let mut starts = 0;
        let probe = spawn(schedule(LONG), updates, Nudge::default(), stop.clone(), move || {
            tokio::spawn(async {}); // a probe may have tasks
            starts += 1;
            let fails = starts == 1;
            move |_| if fails { panic!("wanted by this test") } else { said(SourceState::Ok) }
        });
        let mut told = Vec::new();
        while told.len() < 6 {
            told.push(match hub.recv().await.expect("more is said") {
                Update::Status(name, source) => format!("{} {:?}", name.as_str(), source.state),
                Update::Facts(name, facts) => format!("{} {} facts", name.as_str(), facts.len()),
                other => format!("{other:?}"),
            });
        }
        let off = ["process Off", "ebpf Off", "process 0 facts", "ebpf 0 facts"];
        assert_eq!(told[..4], off, "what it said before holds no longer");
        assert_eq!(told[4..], ["Cost(Host, 7)", "process Ok"]);
        stop.cancel();
        probe.await.expect("the handle ends well");
    }

    #[test]
    fn a_pause_is_not_cut_short_but_by_the_end() {
        let (nudge, start) = (Nudge::default(), Instant::now());
        nudge.nudge();
        assert!(nudge.pause(start + Duration::from_millis(20)) && start.elapsed() >= Duration::from_millis(20));
        nudge.stop();
        assert!(!nudge.pause(start + LONG));
    }

    #[test]
    fn what_other_threads_spent_counts_as_if_its_own_had() {
        let (updates, _hub) = mpsc::channel(8);
        let base = Duration::from_secs(1);
        let mut teller = Teller::new(schedule(base), &updates);
        let elsewhere = Duration::from_secs(8);
        assert!(teller.tell(Round { elsewhere, ..said(SourceState::Ok) }).is_ok());
        // A quarter of 8 s in the smoothed cost, at a budget of a half.
        assert!((base * 4..base * 5).contains(&teller.pace.interval()), "{:?}", teller.pace.interval());
        let told = teller.pace.report(Instant::now() + elsewhere * 2);
        assert!(told.is_some_and(|share| (4_900..=5_100).contains(&share)), "8 of 16 s: {told:?}");
    }
}
