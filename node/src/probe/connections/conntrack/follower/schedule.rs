//! When to dump, and when to try again. Pure: told times and costs.

use std::time::{Duration, Instant};

/// Interval between two dumps that repair what no event told. That much later, at worst, the end of a connection is seen
/// that was there before we listened.
pub(super) const REPAIR_EVERY: Duration = Duration::from_secs(60);
/// The same where there are no events at all. A UDP flow that nobody answers is held for 30 s: none is missed.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(10);
/// A dump is put off until its cost is no more than this part of the time since the last, one in 200: half a percent of
/// a CPU.
const COST_PART: u32 = 200;
/// The same for one that follows a loss: 5 %, as the table is wrong until then.
const COST_PART_AFTER_LOSS: u32 = 20;
/// Waits between attempts, each twice as long as the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(300);

/// When the next dump is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    interval: Duration,
    dumped_at: Instant,
    cost: Duration,
    due: Instant,
}

impl Repair {
    /// The first is due at once.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, dumped_at: now, cost: Duration::ZERO, due: now }
    }

    /// A dump has just been made.
    pub(super) fn dumped(&mut self, now: Instant, cost: Duration) {
        *self = Self { dumped_at: now, cost, due: now + self.interval.max(cost * COST_PART), ..*self };
    }

    /// Events were lost.
    pub(super) fn lost(&mut self) {
        self.due = self.due.min(self.dumped_at + self.cost * COST_PART_AFTER_LOSS);
    }

    /// How long until then.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }
}

/// How long to wait after failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) next: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: RETRY_FIRST }
    }
}

impl Retry {
    /// The wait after an attempt that went well for that long before it failed.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived > RETRY_MAX {
            self.next = RETRY_FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(RETRY_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_dump_is_due_after_its_interval_or_when_it_is_paid_for() {
        let start = Instant::now();
        let cases = [
            // cost of the last, whether events were lost since, wait
            (MS, false, REPAIR_EVERY),
            (500 * MS, false, 200 * 500 * MS),
            (MS, true, 20 * MS),
            (500 * MS, true, 20 * 500 * MS),
        ];
        for (cost, is_lost, want) in cases {
            let mut repair = Repair::new(REPAIR_EVERY, start);
            assert_eq!(repair.wait(start), Duration::ZERO, "the first");
            repair.dumped(start, cost);
            if is_lost {
                repair.lost();
            }
            assert_eq!(repair.wait(start), want, "{cost:?} {is_lost}");
        }
    }

    #[test]
    fn a_wait_doubles_up_to_five_minutes_and_starts_over_after_a_good_time() {
        let mut retry = Retry::default();
        let waits: Vec<u64> = (0..10).map(|_| retry.after(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(retry.after(RETRY_MAX + MS), RETRY_FIRST);
    }
}
