//! The beat a client asks for with `t=`, as Go writes durations.

use std::time::Duration;

/// The beat of who asks for none.
const DEFAULT: Duration = Duration::from_secs(1);

/// Faster than any probe reads its gauges.
const MIN: Duration = Duration::from_millis(200);

/// Slower than this and a page looks dead.
const MAX: Duration = Duration::from_secs(60);

/// The beat of `text`, clamped to 200 ms … 1 min; 1 s if there is no text. `None` if the text is no duration.
pub(crate) fn beat(text: Option<&str>) -> Option<Duration> {
    text.map_or(Some(DEFAULT), parse).map(|beat| beat.clamp(MIN, MAX))
}

/// Units with their length in seconds.
const UNITS: [(&str, f64); 8] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// `1s`, `500ms`, `1m30s`, `.5s`, `0`. Negative durations are none of ours.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * length;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_a_go_duration_within_bounds() {
        let cases = [
            (None, Some(1000)),
            (Some("1s"), Some(1000)),
            (Some("500ms"), Some(500)),
            (Some("1.5s"), Some(1500)),
            (Some(".5s"), Some(500)),
            (Some("0.0005h"), Some(1800)),
            (Some("1m"), Some(60_000)),
            (Some("1m30s"), Some(60_000)),
            (Some("2s500ms"), Some(2500)),
            (Some("900000µs"), Some(900)),
            (Some("0"), Some(200)),
            (Some("1ns"), Some(200)),
            (Some("99999999999999999999h"), None),
            (Some(""), None),
            (Some("5"), None),
            (Some("s"), None),
            (Some("-1s"), None),
            (Some("1..5s"), None),
            (Some("1s "), None),
            (Some("1 s"), None),
            (Some("1day"), None),
        ];
        for (text, want) in cases {
            assert_eq!(beat(text), want.map(Duration::from_millis), "{text:?}");
        }
    }
}
