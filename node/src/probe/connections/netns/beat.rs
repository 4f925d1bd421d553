//! When a namespace's figures are due: bytes flow without a counter of sockets moving, so they are read by the clock.

use std::time::{Duration, Instant};

use topology::Netns;

/// Time between two readings of a namespace's figures. Rates are shown as of the last few seconds, no finer.
pub const FIGURES_BEAT: Duration = Duration::from_secs(5);

/// Counts beats, each namespace's with a phase of its own: so a beat's work is spread over all the scans in it.
#[derive(Debug, Default)]
pub(super) struct Beats {
    start: Option<Instant>,
}

impl Beats {
    /// The number of the beat that `netns` is in `now`.
    pub(super) fn count(&mut self, netns: Netns, now: Instant) -> u64 {
        let since = now.saturating_duration_since(*self.start.get_or_insert(now));
        let beat = FIGURES_BEAT.as_millis();
        let count = (since.as_millis() + u128::from(scatter(netns)) % beat) / beat;
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// A number that differs in all its bits between namespaces, whose own numbers often follow on each other. Fibonacci
/// hashing, Knuth, The Art of Computer Programming, vol. 3, §6.4.
fn scatter(netns: Netns) -> u32 {
    let bits = netns.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    u32::try_from(bits).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_is_due_once_a_beat_and_they_take_turns() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        let namespaces: Vec<_> = (0..65).map(|at| Netns(4_026_531_840 + 57 * at)).collect();
        let mut counts: Vec<_> = namespaces.iter().map(|netns| beats.count(*netns, start)).collect();
        let mut due_by_second = Vec::new();
        for second in 1..=5 {
            let now = start + Duration::from_secs(second);
            let mut due = 0;
            for (netns, count) in namespaces.iter().zip(&mut counts) {
                let before = std::mem::replace(count, beats.count(*netns, now));
                due += *count - before;
            }
            due_by_second.push(due);
        }
        assert_eq!(due_by_second.iter().sum::<u64>(), 65);
        assert!(due_by_second.iter().all(|due| (8..=18).contains(due)), "{due_by_second:?}");
    }
}
