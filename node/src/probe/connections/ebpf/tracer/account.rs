//! What a BPF program cost and what it missed, as the kernel keeps account of it: `/proc/self/fdinfo` of its descriptor.
//!
//! The kernel measures programs only if it is asked to, then all of the machine, and that costs about as much as ours
//! itself. So it is asked to now and then, and what a run took then is taken for what a run takes.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Settlements from one measurement to the next: about a minute, each second one.
const MEASURE_EVERY: u32 = 60;

/// The account of one program.
pub(super) struct Account {
    path: PathBuf,
    meter: Meter,
    /// Has the kernel measure, for as long as we hold what this gives. Not everybody who may load programs may have that.
    measure: fn() -> Option<OwnedFd>,
    measuring: Option<OwnedFd>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("path", &self.path).field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// What a program did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// Time it ran since this was last asked; `None` as long as none was measured.
    pub(super) cpu_time: Option<Duration>,
    /// Runs since it was loaded that there were none of, as it was at work on the same CPU: the kernel does not let a program
    /// interrupt itself.
    pub(super) missed: u64,
}

impl Account {
    /// The account of the program behind `descriptor`, which must stay open. Measures at once.
    pub(super) fn of(descriptor: BorrowedFd<'_>, measure: fn() -> Option<OwnedFd>) -> Self {
        let path = PathBuf::from(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()));
        Self { path, meter: Meter::default(), measure, measuring: measure() }
    }

    /// What it did for `runs` runs since the last time, as far as it can be known.
    pub(super) fn settle(&mut self, runs: u64) -> Spent {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let spent = self.meter.settle(&text, runs);
        if self.meter.age == 0 {
            self.measuring = None;
        } else if self.measuring.is_none() && self.meter.age >= MEASURE_EVERY {
            self.measuring = (self.measure)();
        }
        spent
    }
}

/// Goes by what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Meter {
    /// Time and number of measured runs so far.
    nanos: u64,
    runs: u64,
    /// What one takes.
    nanos_per_run: Option<f64>,
    /// Settlements since there were any.
    age: u32,
}

impl Meter {
    fn settle(&mut self, text: &str, runs: u64) -> Spent {
        let (nanos, measured) = (field(text, "run_time_ns").unwrap_or(0), field(text, "run_cnt").unwrap_or(0));
        self.age = self.age.saturating_add(1);
        if measured > self.runs {
            let (spent, by) = (nanos.saturating_sub(self.nanos), measured - self.runs);
            *self = Self { nanos, runs: measured, nanos_per_run: Some(spent as f64 / by as f64), age: 0 };
        }
        let cpu_time = self.nanos_per_run.map(|each| Duration::from_nanos((each * runs as f64) as u64));
        Spent { cpu_time, missed: field(text, "recursion_misses").unwrap_or(0) }
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| *field == name)?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cost_what_they_did_when_they_were_last_measured() {
        let cases = [
            // fdinfo, runs; nanoseconds they took, missed, age of the measurement
            ("", 7, None, 0, 1),
            ("pos:\t0\nprog_id:\t9\nrun_time_ns:\t0\nrun_cnt:\t0\nrecursion_misses:\t0\n", 7, None, 0, 2),
            ("run_time_ns:\t500\nrun_cnt:\t5\nrecursion_misses:\t0\n", 5, Some(500), 0, 0),
            ("run_time_ns:\t500\nrun_cnt:\t5\nrecursion_misses:\t3\n", 7, Some(700), 3, 1),
            ("run_time_ns:\t900\nrun_cnt:\t7\nrecursion_misses:\t3\n", 10, Some(2000), 3, 0), // 400 ns for the last two
            ("run_time_ns:\tmuch\nrun_cnt:\tmany\n", 1, Some(200), 0, 1),
            ("", 0, Some(0), 0, 2),
        ];
        let mut meter = Meter::default();
        for (text, runs, nanos, missed, age) in cases {
            let want = Spent { cpu_time: nanos.map(Duration::from_nanos), missed };
            assert_eq!((meter.settle(text, runs), meter.age), (want, age), "{text}");
        }
    }

    #[test]
    fn the_kernel_is_asked_to_measure_until_it_has_and_a_minute_later_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut account = Account {
            path: file.path().to_owned(),
            meter: Meter::default(),
            measure: || std::fs::File::open("/dev/null").ok().map(OwnedFd::from),
            measuring: None,
        };
        account.measuring = (account.measure)();
        account.settle(0);
        assert!(account.measuring.is_some(), "there was no run");
        std::fs::write(file.path(), "run_time_ns:\t10\nrun_cnt:\t1\n").expect("written");
        for _ in 0..MEASURE_EVERY {
            account.settle(1);
            assert!(account.measuring.is_none());
        }
        account.settle(1);
        assert!(account.measuring.is_some());
    }
}
