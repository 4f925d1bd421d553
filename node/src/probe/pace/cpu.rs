//! What a thread costs: its CPU time, and that as a share of one CPU.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time the calling thread has used, in user and kernel mode.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Hundredths of a percent of one CPU, rounded up so that what costs anything is never shown as free.
#[must_use]
pub fn share(used: Duration, elapsed: Duration) -> u32 {
    let share = used.as_nanos().saturating_mul(10_000).div_ceil(elapsed.as_nanos().max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_in_hundredths_of_a_percent() {
        let cases = [(0, 5_000, 0), (50, 5_000, 100), (5_000, 5_000, 10_000), (1, 1_000_000, 1), (1, 0, u32::MAX)];
        for (used_ms, elapsed_ms, want) in cases {
            let got = share(Duration::from_millis(used_ms), Duration::from_millis(elapsed_ms));
            assert_eq!(got, want, "{used_ms} of {elapsed_ms} ms");
        }
    }

    #[test]
    fn a_threads_time_grows_with_its_work() {
        let before = thread_cpu_time();
        let mut sum = 0_u64;
        while thread_cpu_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(thread_cpu_time() > before);
    }
}
