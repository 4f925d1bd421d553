//! Which rules of many hosts are used, where there is no room for all.

use foldhash::{HashSet, HashSetExt};

use super::Rule;
use super::compiled::LookedAt;

/// The rules of all hosts that are looked at, each once: those of the first host in their order, then those of the next that
/// are others. As many as there is room for, and every host has the same right to it: hosts take turns, each with its next
/// rule, so that one with many leaves the others theirs. A rule that turns out to be no good has had its turn.
///
/// All peers choose the same ones. Costs one pass over all rules.
pub(crate) fn shared_out<'a>(hosts: &[&'a [Rule]]) -> Vec<&'a Rule> {
    let mut chosen: HashSet<&Rule> = HashSet::new();
    let mut looked_at = LookedAt::default();
    let turns = hosts.iter().map(|rules| rules.len()).max().unwrap_or_default();
    'turns: for turn in 0..turns {
        for rule in hosts.iter().filter_map(|rules| rules.get(turn)) {
            if chosen.contains(rule) {
                continue;
            }
            match looked_at.take(rule) {
                Ok(()) => drop(chosen.insert(rule)),
                Err(super::RuleError::TooMany) => break 'turns,
                Err(_) => {}
            }
        }
    }
    hosts.iter().flat_map(|rules| rules.iter()).filter(|rule| chosen.remove(rule)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::services::{Pattern, REGEXES_MAX, RULES_MAX};

    fn rules(host: &str, count: usize, pattern: impl Fn(String) -> Pattern) -> Vec<Rule> {
        let rule = |number| Rule {
            pattern: pattern(format!("{host}{number}")),
            name: Some(host.to_owned()),
            icon: None,
            group: None,
        };
        (0..count).map(rule).collect()
    }

    /// How many rules of each name are chosen.
    fn shares(hosts: &[Vec<Rule>]) -> BTreeMap<String, usize> {
        let hosts: Vec<&[Rule]> = hosts.iter().map(Vec::as_slice).collect();
        let mut shares = BTreeMap::new();
        for rule in shared_out(&hosts) {
            *shares.entry(rule.name.clone().unwrap_or_default()).or_default() += 1;
        }
        shares
    }

    fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    #[test]
    fn a_host_with_many_rules_leaves_the_others_theirs() {
        let cases = [
            (vec![("a", 10)], counts([("a", 10)])),
            (vec![("a", 10 * RULES_MAX)], counts([("a", RULES_MAX)])),
            (vec![("a", 10 * RULES_MAX), ("b", 30)], counts([("a", RULES_MAX - 30), ("b", 30)])),
            (vec![("a", 30), ("b", 10 * RULES_MAX)], counts([("a", 30), ("b", RULES_MAX - 30)])),
            (
                vec![("a", RULES_MAX), ("b", RULES_MAX), ("c", 10)],
                counts([("a", RULES_MAX / 2 - 5), ("b", RULES_MAX / 2 - 5), ("c", 10)]),
            ),
        ];
        for (hosts, want) in cases {
            let lists: Vec<_> = hosts.iter().map(|(host, count)| rules(host, *count, Pattern::Suffix)).collect();
            assert_eq!(shares(&lists), want, "{hosts:?}");
        }
    }

    #[test]
    fn so_does_one_with_many_expressions_good_or_not() {
        for bad in ["", "("] {
            let many = rules("a", 10_000, |name| Pattern::Regex(name + bad));
            let hosts = [many, rules("b", 3, Pattern::Regex), rules("c", 7, Pattern::Suffix)];
            assert_eq!(shares(&hosts), counts([("a", REGEXES_MAX - 3), ("b", 3), ("c", 7)]), "{bad:?}");
        }
    }

    #[test]
    fn hosts_follow_each_other_and_each_keeps_its_order() {
        let (a, b) = (rules("a", 3, Pattern::Suffix), rules("b", 2, Pattern::Suffix));
        let mixed = [&b[1..], &a[..1], &b[..1]].concat();
        let want: Vec<&Rule> = a.iter().chain(&mixed[..1]).chain(&b[..1]).collect();
        assert_eq!(shared_out(&[&a, &mixed, &b]), want);
        assert_eq!(shared_out(&[a.as_slice(); 50]), a.iter().collect::<Vec<_>>(), "those of many hosts count once");
    }
}
