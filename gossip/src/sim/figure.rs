//! Figures, what they should be, and how they are written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One number that a scenario gave. Less is better, for each of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// In which scenario.
    pub scenario: &'static str,
    /// Of how many hosts.
    pub hosts: u32,
    /// What was measured.
    pub name: &'static str,
    /// In which unit; empty for plain counts and ratios.
    pub unit: &'static str,
    /// How much it was.
    pub value: f64,
    /// How much it may be, if somebody said.
    pub target: Option<f64>,
    /// How much more than before counts as worse at least, however small the figure is.
    pub slack: f64,
}

/// By how much a figure may get worse unnoticed.
const TOLERANCE: f64 = 0.05;

impl Figure {
    fn key(&self) -> String {
        format!("{} {} {}", self.hosts, self.scenario, self.name)
    }

    fn is_met(&self) -> Option<bool> {
        Some(self.value <= self.target?)
    }
}

/// The figures as a table, the targets beside them.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| scenario | hosts | figure | measured | target | |\n|---|---|---|---|---|---|\n");
    for figure in figures {
        let Figure { scenario, hosts, name, unit, value, target, .. } = figure;
        let target = target.map_or(String::new(), |target| format!("≤ {} {unit}", number(target)));
        let mark = match figure.is_met() {
            None => "",
            Some(true) => "✓",
            Some(false) => "✗",
        };
        let measured = number(*value);
        writeln!(text, "| {scenario} | {hosts} | {name} | {measured} {unit} | {target} | {mark} |")
            .expect("a string takes whatever is written to it");
    }
    text
}

/// Three digits are enough to read, and integers are exact.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        ..10.0 => format!("{value:.3}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The figures as they are kept: one a line, hosts, scenario, name, a tab and the value.
#[must_use]
pub fn baseline(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        writeln!(text, "{}\t{:.4}", figure.key(), figure.value).expect("a string takes whatever is written to it");
    }
    text
}

/// What is worse than the baseline says, by more than the tolerance, or not in it; one line each.
#[must_use]
pub fn worse_than(baseline: &str, figures: &[Figure]) -> Vec<String> {
    let lines = baseline.lines().filter_map(|line| line.rsplit_once('\t'));
    let before: BTreeMap<&str, f64> = lines.filter_map(|(key, value)| Some((key, value.parse().ok()?))).collect();
    let mut worse = Vec::new();
    for figure in figures {
        let (key, value) = (figure.key(), figure.value);
        match before.get(key.as_str()) {
            None => worse.push(format!("{key}: {value:.4}, not in the baseline")),
            Some(&was) if value > was + (was * TOLERANCE).max(figure.slack) => {
                worse.push(format!("{key}: {value:.4}, was {was:.4}"));
            }
            Some(_) => {}
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worse_by_more_than_the_tolerance_is_named() {
        // before, now, whether that is worse
        let cases = [
            ("2 idle bytes\t100", 100.0, false),
            ("2 idle bytes\t100", 105.0, false),
            ("2 idle bytes\t100", 105.1, true),
            ("2 idle bytes\t100", 10.0, false),
            ("2 idle bytes\t2", 3.0, false), // within the slack
            ("2 idle bytes\t2", 3.1, true),
            ("3 idle bytes\t100", 100.0, true), // of another world
            ("", 100.0, true),
        ];
        for (before, value, want) in cases {
            let figure =
                Figure { scenario: "idle", hosts: 2, name: "bytes", unit: "B/s", value, target: None, slack: 1.0 };
            assert_eq!(!worse_than(before, &[figure]).is_empty(), want, "{before:?}, now {value}");
        }
    }

    #[test]
    fn a_baseline_agrees_with_its_own_figures() {
        let figure = |value| Figure {
            scenario: "all senders",
            hosts: 10,
            name: "p99",
            unit: "ms",
            value,
            target: Some(2.0),
            slack: 0.0,
        };
        let figures = [figure(1.23456), figure(20.0)];
        assert_eq!(worse_than(&baseline(&figures[..1]), &figures[..1]), Vec::<String>::new());
        assert_eq!(
            table(&figures),
            "| scenario | hosts | figure | measured | target | |\n|---|---|---|---|---|---|\n\
             | all senders | 10 | p99 | 1.235 ms | ≤ 2 ms | ✓ |\n\
             | all senders | 10 | p99 | 20 ms | ≤ 2 ms | ✗ |\n"
        );
    }
}
