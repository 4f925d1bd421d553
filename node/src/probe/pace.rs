//! The pace of a probe: when its next round is due, so that it stays within its share of a CPU, and the thread that keeps
//! to it. [`Pace`] is pure: it is told times and costs. [`spawn`] is the one loop every probe with a thread of its own runs.

mod cpu;
mod thread;

use std::time::{Duration, Instant};

use topology::Timestamp;

use crate::probe::Name;

pub use cpu::{share, thread_cpu_time};
pub use thread::{Nudge, Round, persist, spawn, supervise};

/// The interval never grows beyond this many times the base: a map that old is worth less than what it saves.
pub const STRETCH_MAX: u32 = 20;

/// Least time between the end of a round and an early one: what starts together is seen in one round.
const EARLY_GAP: Duration = Duration::from_millis(50);

/// How often a cost is reported. Long enough that the clock ticks of one round do not show.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Weight of the newest round in the smoothed cost: one outlier moves the interval by a quarter of itself.
const NEWEST_WEIGHT: f64 = 0.25;

/// Unused CPU time is saved up for this long; early rounds are paid from it.
const SAVED_SECS_MAX: f64 = 20.0;

/// What a probe wants: how often, and for how much.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Which probe.
    pub name: Name,
    /// Sources besides its own that it tells of.
    pub speaks_for: &'static [Name],
    /// Interval between the starts of two rounds, if the budget allows.
    pub base: Duration,
    /// CPU time it may take, as a share of one CPU: 0.005 is half a percent.
    pub budget: f64,
}

/// One instant by both clocks: the monotonic one for rates, the wall's for what people see.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub clock: Instant,
    /// Wall clock.
    pub at: Timestamp,
}

impl Moment {
    /// This instant.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { clock: Instant::now(), at: Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)) }
    }
}

/// When the next round is due, from what the last ones cost.
///
/// The interval is stretched until the smoothed cost is within the budget, up to [`STRETCH_MAX`]. Rounds asked for early
/// (a container started) are paid from CPU time saved so far, so a storm of them ends at the budget too.
#[derive(Debug)]
pub struct Pace {
    schedule: Schedule,
    /// Smoothed CPU time of a round, in seconds.
    cost: f64,
    /// CPU time saved, in seconds; negative after rounds that took more than there was.
    saved: f64,
    settled_at: Instant,
    unreported: Duration,
    reported_at: Instant,
}

impl Pace {
    /// A pace with all its savings, whose first round is due at once.
    #[must_use]
    pub fn new(schedule: Schedule, now: Instant) -> Self {
        let saved = schedule.budget * SAVED_SECS_MAX;
        Self { schedule, cost: 0.0, saved, settled_at: now, unreported: Duration::ZERO, reported_at: now }
    }

    /// Takes what a round that ends now has cost, in CPU time.
    pub fn record(&mut self, now: Instant, cost: Duration) {
        let most = self.schedule.budget * SAVED_SECS_MAX;
        let earned = now.saturating_duration_since(self.settled_at).as_secs_f64() * self.schedule.budget;
        self.saved = (self.saved + earned - cost.as_secs_f64()).clamp(-most, most);
        self.settled_at = now;
        self.cost += (cost.as_secs_f64() - self.cost) * NEWEST_WEIGHT;
        self.unreported += cost;
    }

    /// Time from the start of the last round to that of the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let base = self.schedule.base;
        let within_budget = Duration::try_from_secs_f64(self.cost / self.schedule.budget).unwrap_or(Duration::MAX);
        within_budget.clamp(base, base.saturating_mul(STRETCH_MAX))
    }

    /// How long it takes to earn what was spent beyond the savings.
    #[must_use]
    pub fn owed(&self, now: Instant) -> Duration {
        self.time_to_earn(now, 0.0)
    }

    /// When a round that was asked for may begin, if the last one ended at the last [`Self::record`].
    #[must_use]
    pub fn early(&self, now: Instant) -> Instant {
        let affordable = self.time_to_earn(now, self.cost).min(self.interval());
        (self.settled_at + EARLY_GAP).max(now + affordable)
    }

    /// Time from `now` until the savings are `wanted` seconds of CPU time.
    fn time_to_earn(&self, now: Instant, wanted: f64) -> Duration {
        let earned = now.saturating_duration_since(self.settled_at).as_secs_f64() * self.schedule.budget;
        let missing = (wanted - self.saved - earned).max(0.0) / self.schedule.budget;
        Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX)
    }

    /// Cost since this last gave one, in hundredths of a percent of one CPU; `None` if that is not long ago.
    pub fn report(&mut self, now: Instant) -> Option<u32> {
        let elapsed = now.saturating_duration_since(self.reported_at);
        if elapsed < REPORT_EVERY {
            return None;
        }
        self.reported_at = now;
        Some(share(std::mem::take(&mut self.unreported), elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(2);

    fn pace(now: Instant) -> Pace {
        Pace::new(Schedule { name: Name::Process, speaks_for: &[], base: BASE, budget: 0.005 }, now)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_interval_follows_the_cost_within_its_bounds() {
        let cases = [
            // cost of each round, interval after many of them
            (ms(0), BASE),
            (ms(2), BASE),      // 0.1 % of 2 s
            (ms(10), BASE),     // exactly 0.5 %
            (ms(20), BASE * 2), // as long as it takes to be 0.5 %
            (ms(5000), BASE * STRETCH_MAX),
        ];
        for (cost, want) in cases {
            let mut now = Instant::now();
            let mut pace = pace(now);
            for _ in 0..100 {
                now += pace.interval();
                pace.record(now, cost);
            }
            let off = pace.interval().abs_diff(want);
            assert!(off < ms(1), "{cost:?} gives {:?}, not {want:?}", pace.interval());
        }
    }

    #[test]
    fn one_expensive_round_among_cheap_ones_is_forgotten() {
        let mut now = Instant::now();
        let mut pace = pace(now);
        pace.record(now, ms(40));
        assert_eq!(pace.interval(), BASE, "the first round reads everything");
        pace.record(now, ms(400));
        assert!(pace.interval() > BASE * 5);
        for _ in 0..20 {
            now += pace.interval();
            pace.record(now, ms(2));
        }
        assert_eq!(pace.interval(), BASE);
    }

    #[test]
    fn early_rounds_are_prompt_until_the_savings_are_spent() {
        let start = Instant::now();
        let mut now = start;
        let mut pace = pace(now);
        let mut rounds = 0;
        while now < start + Duration::from_secs(60) {
            now = pace.early(now) + ms(1);
            pace.record(now, ms(5));
            rounds += 1;
            if rounds == 10 {
                assert!(now < start + Duration::from_secs(1), "ten early rounds took {:?}", now - start);
            }
        }
        // 60 s at 0.5 % are 300 ms, and 100 ms were saved up.
        assert!((75..=85).contains(&rounds), "{rounds} rounds of 5 ms");
    }

    #[test]
    fn a_round_asked_for_after_a_long_silence_begins_at_once() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.record(start, ms(2));
        assert_eq!(pace.early(start), start + EARLY_GAP);
        assert_eq!(pace.early(start + BASE), start + BASE);
    }

    #[test]
    fn what_is_owed_is_what_was_spent_beyond_the_savings() {
        let start = Instant::now();
        let cases = [
            // spent, seconds later, seconds owed
            (ms(0), 0, 0),
            (ms(100), 0, 0), // 0.5 % of 20 s were saved
            (ms(110), 0, 2), // 10 ms at 0.5 %
            (ms(110), 1, 1),
            (ms(110), 60, 0),
            (ms(9000), 0, 20), // no deeper than the savings go high
        ];
        for (spent, seconds, want) in cases {
            let mut pace = pace(start);
            pace.record(start, spent);
            let owed = pace.owed(start + Duration::from_secs(seconds));
            assert!(owed.abs_diff(Duration::from_secs(want)) < ms(1), "{spent:?} {seconds} s later: {owed:?}");
        }
    }

    #[test]
    fn the_cost_is_reported_as_a_share_of_the_time_since() {
        let start = Instant::now();
        let mut pace = pace(start);
        for second in 1..=9 {
            pace.record(start + Duration::from_secs(second), ms(5));
            assert_eq!(pace.report(start + Duration::from_secs(second)), None, "after {second} s");
        }
        pace.record(start + Duration::from_secs(10), ms(5));
        assert_eq!(pace.report(start + Duration::from_secs(10)), Some(50), "5 ms a second are 0.50 %");
        assert_eq!(pace.report(start + Duration::from_secs(30)), Some(0));
    }
}
