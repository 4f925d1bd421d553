//! When to try again what failed: after a second at first, then twice as long each time, up to five minutes.

use std::time::{Duration, Instant};

/// First pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long something must have worked for its next failure to count as the first.
const WELL_FOR: Duration = Duration::from_secs(60);

/// Pauses between attempts at one thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    pause: Duration,
    due: Option<Instant>,
    began: Option<Instant>,
}

impl Backoff {
    /// Whether it is time for an attempt.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Notes that an attempt succeeded.
    pub(super) fn began(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// Notes that an attempt failed, or that what had begun ended. Returns when the next one is due.
    pub(super) fn failed(&mut self, now: Instant) -> Instant {
        let was_well = self.began.take().is_some_and(|began| now.saturating_duration_since(began) >= WELL_FOR);
        let next = if was_well { PAUSE_MIN } else { (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX) };
        let due = now + next;
        (self.pause, self.due) = (next, Some(due));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_it_worked_for_a_while() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(start));
        let mut now = start;
        for want in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let due = now + Duration::from_secs(want);
            assert_eq!(backoff.failed(now), due);
            assert!(!backoff.is_due(due - Duration::from_millis(1)) && backoff.is_due(due), "{want} s");
            now = due;
        }
        for (well_for, want) in [(59, 300), (60, 1), (10, 2)] {
            backoff.began(now);
            now += Duration::from_secs(well_for);
            backoff.failed(now);
            assert!(backoff.is_due(now + Duration::from_secs(want)), "after {well_for} s");
            assert!(!backoff.is_due(now + Duration::from_millis(want * 1000 - 1)), "after {well_for} s");
        }
    }
}
