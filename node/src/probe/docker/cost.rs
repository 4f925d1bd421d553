//! What this probe costs: CPU time of its thread, which does nothing else.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::probe::{Name, Update, Updates};

/// Time between two reports. A report is a wake-up of two threads: at this rate it costs nothing one could measure.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Reports for ever what the calling thread costs, until nobody listens. For the one task of a thread of its own.
pub(super) async fn report(updates: Updates) {
    let mut beat = interval(REPORT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    let mut before = (Instant::now(), thread_time());
    loop {
        beat.tick().await;
        let now = (Instant::now(), thread_time());
        let share = share(now.1.saturating_sub(before.1), now.0 - before.0);
        before = now;
        if updates.send(Update::Cost(Name::Docker, share)).await.is_err() {
            return;
        }
    }
}

/// Hundredths of a percent of one CPU, rounded up so that what costs anything is never shown as free.
fn share(used: Duration, passed: Duration) -> u32 {
    let share = (used.as_nanos() * 10_000).div_ceil(passed.as_nanos().max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

fn thread_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(tv_sec.try_into().unwrap_or_default(), tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_in_hundredths_of_a_percent() {
        let cases = [(0, 5_000, 0), (50, 5_000, 100), (5_000, 5_000, 10_000), (1, 1_000_000, 1), (1, 0, u32::MAX)];
        for (used_ms, passed_ms, want) in cases {
            let got = share(Duration::from_millis(used_ms), Duration::from_millis(passed_ms));
            assert_eq!(got, want, "{used_ms} of {passed_ms} ms");
        }
    }

    #[test]
    fn a_threads_time_grows_with_its_work() {
        let before = thread_time();
        let mut sum = 0_u64;
        while thread_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(thread_time() > before);
    }
}
