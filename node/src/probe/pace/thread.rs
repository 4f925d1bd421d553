//! The thread of a probe: waits until a round is due, asked for or no longer wanted; runs it; sends what it says.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Source, SourceState};

use super::{Moment, Pace, Schedule};
use crate::probe::{Update, Updates};

/// What one round of a probe found.
#[derive(Debug)]
pub struct Round {
    /// Said to the hub in this order.
    pub updates: Vec<Update>,
    /// How the probe does; said to the hub when it differs from the last one.
    pub status: Source,
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

/// Runs `round` in a thread of its own at the pace of `schedule` until `stop` is cancelled or the hub has gone. The
/// handle ends when the thread has: at once if it waits, else after the round it is in. A round that panics ends this
/// probe alone, and its status says so.
///
/// Each probe needs a [`Nudge`] of its own: stopping goes the same way.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(
    schedule: Schedule,
    updates: Updates,
    nudge: Nudge,
    stop: CancellationToken,
    mut round: impl FnMut(Moment) -> Round + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (ended, has_ended) = oneshot::channel::<()>();
        let (of_thread, bell) = (updates.clone(), nudge.clone());
        let started = std::thread::Builder::new().name(format!("scope-{}", schedule.name.as_str())).spawn(move || {
            let _dropped_at_the_end = ended;
            run(schedule, &of_thread, &bell, &mut round);
        });
        let failure = match started {
            Err(error) => Some(format!("no thread for it: {error}")),
            Ok(thread) => {
                tokio::select! {
                    () = stop.cancelled() => nudge.stop(),
                    _ = has_ended => {}
                }
                let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                (!matches!(joined, Ok(Ok(())))).then(|| "it failed inside and was stopped; see the log".to_owned())
            }
        };
        if let Some(reason) = failure {
            tracing::error!(probe = schedule.name.as_str(), reason, "probe ended");
            let off = Source { state: SourceState::Off, mode: String::new(), reason };
            // A hub that has gone needs no status.
            let _ = updates.send(Update::Status(schedule.name, off)).await;
        }
    })
}

/// The loop: round, report, wait. Returns when stopped or when nobody listens any more.
fn run(schedule: Schedule, updates: &Updates, nudge: &Nudge, round: &mut impl FnMut(Moment) -> Round) {
    let mut pace = Pace::new(schedule, Instant::now());
    let mut spent = thread_cpu_time();
    let mut told: Option<Source> = None;
    loop {
        let now = Moment::now();
        let Round { updates: mut said, status } = round(now);
        if told.as_ref() != Some(&status) {
            told = Some(status.clone());
            said.push(Update::Status(schedule.name, status));
        }
        said.extend(pace.report(Instant::now()).map(|cost| Update::Cost(schedule.name, cost)));
        for update in said {
            if updates.blocking_send(update).is_err() {
                return;
            }
        }
        let before = std::mem::replace(&mut spent, thread_cpu_time());
        pace.record(Instant::now(), spent.saturating_sub(before));
        if !wait(&pace, nudge, now.clock) {
            return;
        }
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

/// CPU time this thread has used, in user and kernel mode.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Name;
    use tokio::sync::mpsc;

    fn schedule(base: Duration) -> Schedule {
        Schedule { name: Name::Process, base, budget: 0.5 }
    }

    fn said(state: SourceState) -> Round {
        let status = Source { state, mode: String::new(), reason: String::new() };
        Round { updates: vec![Update::Cost(Name::Host, 7)], status }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_waiting_probe_stops_at_once() {
        let (updates, mut hub) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let probe = spawn(schedule(LONG), updates, Nudge::default(), stop.clone(), |_| said(SourceState::Ok));
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
        let probe = spawn(schedule(LONG), updates, nudge.clone(), stop.clone(), |_| said(SourceState::Ok));
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
        spawn(schedule(LONG), updates, Nudge::default(), stop, |_| said(SourceState::Ok)).await.expect("no panic");
    }

    #[tokio::test]
    async fn a_round_that_panics_turns_its_probe_off_and_nothing_else() {
        let (updates, mut hub) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let probe = spawn(schedule(LONG), updates, Nudge::default(), stop, |_| panic!("wanted by this test"));
        let Some(Update::Status(Name::Process, source)) = hub.recv().await else {
            panic!("a status");
        };
        assert_eq!(source.state, SourceState::Off);
        probe.await.expect("the handle ends well");
    }
}
