//! What this probe costs, and how it keeps within its share of a CPU. Its thread does nothing else: the thread's CPU time
//! is the probe's.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::probe::pace::{Pace, Schedule, share, thread_cpu_time};
use crate::probe::{Name, Update, Updates};

/// Time between two reports. A report is a wake-up of two threads: at this rate it costs nothing one could measure.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Share of one CPU it may take for long: what the whole peer may on a host of 65 containers.
const BUDGET: f64 = 0.02;

/// How it is run. It has no rounds, so no interval either.
pub(super) const SCHEDULE: Schedule =
    Schedule { name: Name::Docker, speaks_for: &[], base: Duration::ZERO, budget: BUDGET };

/// Longest rest: so old may the map of a daemon be that never stops changing.
const REST_MAX: Duration = Duration::from_secs(5);

/// Reports for ever what the calling thread costs, until nobody listens. For the one task of a thread of its own.
pub(super) async fn report(updates: Updates) {
    let mut beat = interval(REPORT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    let mut before = (Instant::now(), thread_cpu_time());
    loop {
        beat.tick().await;
        let now = (Instant::now(), thread_cpu_time());
        let share = share(now.1.saturating_sub(before.1), now.0 - before.0);
        before = now;
        if updates.send(Update::Cost(Name::Docker, share)).await.is_err() {
            return;
        }
    }
}

/// Keeps the probe within [`BUDGET`]: it works at once as long as there is CPU time saved, and rests when there is none.
#[derive(Debug)]
pub(super) struct Thrift {
    pace: Pace,
    spent: Duration,
}

impl Thrift {
    /// Begins at `now`, when the thread has used `spent`.
    pub(super) fn new(now: Instant, spent: Duration) -> Self {
        Self { pace: Pace::new(SCHEDULE, now), spent }
    }

    /// How long to rest after what was done up to `now`, when the thread has used `spent`.
    pub(super) fn rest(&mut self, now: Instant, spent: Duration) -> Duration {
        let before = std::mem::replace(&mut self.spent, spent);
        self.pace.record(now, spent.saturating_sub(before));
        self.pace.owed(now).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_once_its_savings_are_spent_and_never_for_long() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut thrift = Thrift::new(start, ms(70));
        let steps = [
            // at, CPU time of the thread, rest
            (0, 70, 0),
            (0, 470, 0),     // 2 % of 20 s were saved
            (0, 490, 1_000), // 20 ms at 2 %
            (1_000, 490, 0),
            (2_000, 530, 1_000),   // another 20 ms were earned
            (2_000, 9_000, 5_000), // the longest
            (60_000, 9_000, 0),
        ];
        for (at, spent, want) in steps {
            let rest = thrift.rest(start + ms(at), ms(spent));
            assert!(rest.abs_diff(ms(want)) < ms(1), "{spent} ms used after {at} ms: {rest:?}");
        }
    }
}
