//! Waiting for a condition, with a bound. Nothing else in these tests waits.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short against everything measured here, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(25);

/// What the first successful `attempt` gives.
///
/// # Panics
/// After `bound`, with `what` was awaited and why the last attempt failed.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, bound: Duration, attempt: impl FnMut() -> Result<T, String>) -> T {
    poll(bound, attempt).unwrap_or_else(|why| panic!("{what}: not within {bound:?}: {why}"))
}

/// [`wait_for`] that gives the last attempt's failure back: for where a panic would be one too many.
pub(crate) fn poll<T>(bound: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < bound => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Between two looks at what is to stay: four a second show what a browser would.
const WATCH_PAUSE: Duration = Duration::from_millis(250);

/// Looks for as long as `length` whether `attempt` never fails: for what must not be there, or must not go.
///
/// # Panics
/// At its first failure, with `what` was to hold.
#[track_caller]
pub(crate) fn holds_for(what: &str, length: Duration, mut attempt: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < length {
        if let Err(why) = attempt() {
            panic!("{what}: not any more after {:?}: {why}", start.elapsed());
        }
        thread::sleep(WATCH_PAUSE);
    }
}

/// `Ok` if `condition` holds, else `why`: for the end of an attempt.
pub(crate) fn ensure(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}
