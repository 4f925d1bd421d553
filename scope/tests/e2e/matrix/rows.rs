//! The rows, by where the two ends are.

pub(super) mod across;
pub(super) mod beyond;
pub(super) mod one_host;
pub(super) mod published;
pub(super) mod udp;

use super::row::Expect;

/// In every mode.
const fn one_sided(because: &'static str) -> [Expect; 4] {
    [Expect::OneSided { because }; 4]
}

/// The fewest connections that keep their edge on the map: so many a second.
const VISITS: &str = "10";
/// How long each of them lives, in milliseconds.
const VISIT_MS: &str = "1";
/// Longer than a test, in seconds.
const LONG: &str = "100000";

/// What a container runs that makes many short connections.
pub(in crate::matrix) fn visits(to: &str) -> [&str; 6] {
    ["traffic", "connect", to, VISITS, VISIT_MS, LONG]
}
