//! A host's clock against ours. Times in facts and gauges are of the host's clock, and it may be wrong, or ours: nothing that
//! people see may put the two side by side. How far they are apart is told from the gauges, which carry the time they were read
//! and come a moment later.

use crate::id::Timestamp;

/// Differences up to this are put down to the way gauges take: they come every two seconds, and a slow peer gets the newest alone.
const TOLERANCE_MS: i64 = 5000;

/// Gauges in a row that must say that a clock is behind what was thought. A delay looks the same, but the next gauges end it; a
/// snapshot holds the last ones of a host that has died, and no more follow.
const LATE_MAX: u8 = 3;

/// How far a host's clock is from ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    ahead_ms: i64,
    /// Time of the gauges looked at last.
    seen: Timestamp,
    /// How many in a row came later than they should have.
    late: u8,
}

impl Clock {
    /// A time of the host's as our clock had it.
    #[must_use]
    pub fn ours(self, theirs: Timestamp) -> Timestamp {
        Timestamp(theirs.0.saturating_add_signed(self.ahead_ms.saturating_neg()))
    }

    /// How far the host's clock is ahead of ours, in milliseconds; negative if it is behind, 0 while they agree within some seconds.
    #[must_use]
    pub fn ahead_ms(self) -> i64 {
        self.ahead_ms
    }

    /// Takes into account that gauges the host read at `read`, by its clock, came at `now`, by ours.
    ///
    /// The way takes time, so they make a clock look behind, never ahead. One that is ahead is believed at once, one that is
    /// behind when [`LATE_MAX`] say so.
    pub(crate) fn observe(&mut self, read: Timestamp, now: Timestamp) {
        if read == self.seen {
            return;
        }
        self.seen = read;
        let ahead_ms = difference_ms(read, now);
        let further = ahead_ms.saturating_sub(self.ahead_ms);
        self.late = if further < -TOLERANCE_MS { self.late + 1 } else { 0 };
        if further > TOLERANCE_MS || self.late >= LATE_MAX {
            self.late = 0;
            self.ahead_ms = if ahead_ms.abs() > TOLERANCE_MS { ahead_ms } else { 0 };
        }
    }
}

fn difference_ms(a: Timestamp, b: Timestamp) -> i64 {
    let ms = i128::from(a.0) - i128::from(b.0);
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    /// What is thought of a clock after gauges came, two seconds apart, that were read so many milliseconds ahead of ours.
    fn after(ahead: &[i64]) -> i64 {
        let mut clock = Clock::default();
        for (now, ahead) in (NOW..).step_by(2000).zip(ahead) {
            clock.observe(Timestamp(now.saturating_add_signed(*ahead)), Timestamp(now));
        }
        clock.ahead_ms()
    }

    #[test]
    fn a_clock_that_is_off_is_told_from_gauges_that_are_late() {
        let cases: [(&str, &[i64], i64); 9] = [
            ("nothing came", &[], 0),
            ("on the way for a moment", &[-3, -200, -1900], 0),
            ("an hour ahead", &[HOUR], HOUR),
            ("an hour ahead, with delays", &[HOUR - 900, HOUR - 10, HOUR - 4000], HOUR - 900),
            ("an hour behind", &[-HOUR, -HOUR, -HOUR], -HOUR),
            ("the last of a host that died", &[-540_000], 0),
            ("a delay now and then", &[-20_000, -20_000, -10, -20_000, -20_000], 0),
            ("was ahead, set right", &[HOUR, 0, 0, 0], 0),
            ("was right, set back", &[0, 0, -HOUR, -HOUR, -HOUR + 7], -HOUR + 7),
        ];
        for (what, ahead, want) in cases {
            assert_eq!(after(ahead), want, "{what}");
        }
    }

    #[test]
    fn gauges_count_once_and_any_time_has_a_translation() {
        let mut clock = Clock::default();
        for now in [NOW, NOW + 60_000, NOW + 120_000, NOW + 180_000] {
            clock.observe(Timestamp(NOW), Timestamp(now));
        }
        assert_eq!(clock.ahead_ms(), 0, "old gauges, looked at again");
        clock.observe(Timestamp(u64::MAX), Timestamp(0));
        assert_eq!([Timestamp(0), Timestamp(u64::MAX)].map(|at| clock.ours(at).0 <= u64::MAX / 2 + 1), [true, true]);
    }
}
