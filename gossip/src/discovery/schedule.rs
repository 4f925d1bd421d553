//! When a name is looked up again. Pure: the caller has the clock and the dice.

use std::time::Duration;

/// Bounds of the TTL that is obeyed. WeaveDNS says 1 s, which would be a query every second and peer;
/// a day would hide new peers for a day.
const TTL_MIN: Duration = Duration::from_secs(5);
const TTL_MAX: Duration = Duration::from_secs(5 * 60);

/// Bounds of the wait after a failure, which doubles from one to the next.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);

/// The part of a wait that is left to chance, so that peers that failed together try apart.
const JITTER: f64 = 0.25;

/// How long to wait after an answer that is good for `ttl`.
pub(super) fn after_answer(ttl: Duration) -> Duration {
    ttl.clamp(TTL_MIN, TTL_MAX)
}

/// How long to wait after the `failures`-th failure in a row. `dice` is in `[0, 1)`.
pub(super) fn after_failure(failures: u32, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = (BACKOFF_MIN * 2_u32.pow(doublings)).min(BACKOFF_MAX);
    longest.mul_f64(1.0 - JITTER * dice).max(BACKOFF_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_obeyed_within_bounds() {
        let cases = [(0, 5), (1, 5), (5, 5), (30, 30), (300, 300), (86_400, 300)];
        for (ttl, want) in cases {
            assert_eq!(after_answer(Duration::from_secs(ttl)), Duration::from_secs(want), "TTL {ttl} s");
        }
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_bound() {
        let cases = [
            // failures, dice, wait in ms
            (0, 0.0, 1_000),
            (1, 0.0, 1_000),
            (1, 0.9, 1_000), // never below a second
            (2, 0.0, 2_000),
            (2, 0.5, 1_750),
            (3, 0.0, 4_000),
            (9, 0.0, 256_000),
            (10, 0.0, 300_000),
            (10, 0.5, 262_500),
            (u32::MAX, 0.0, 300_000),
        ];
        for (failures, dice, want) in cases {
            let got = after_failure(failures, dice);
            assert_eq!(got, Duration::from_millis(want), "failure {failures}, dice {dice}");
        }
    }
}
