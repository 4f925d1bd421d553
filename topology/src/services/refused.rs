//! What came of one host's rules, with those of all others: which are not used.

use std::fmt;

use foldhash::{HashMap, HashSet};

use super::{Pattern, Problem, Rule, RuleError};

/// Rules of one host that are not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: usize,
    /// The first of them, by its number in that host's order.
    pub first: Problem,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, first } = self;
        match count {
            1 => write!(f, "one rule is not used, all hosts' taken together: {first}"),
            _ => write!(f, "{count} rules are not used, all hosts' taken together; the first: {first}"),
        }
    }
}

/// What is refused of a host's `rules`, if anything. Of all hosts' rules `chosen` were looked at, with these `problems`, by
/// their numbers among them.
pub(crate) fn refused(rules: &[Rule], chosen: &[&Rule], problems: &[Problem]) -> Option<Refused> {
    let bad =
        problems.iter().filter_map(|problem| Some((*chosen.get(problem.number.checked_sub(1)?)?, &problem.error)));
    let bad: HashMap<&Rule, &RuleError> = bad.collect();
    let chosen: HashSet<&Rule> = chosen.iter().copied().collect();
    let regexes = chosen.iter().filter(|rule| matches!(rule.pattern, Pattern::Regex(_))).count();
    let error = |rule: &Rule| match bad.get(rule) {
        Some(error) => Some((*error).clone()),
        None if chosen.contains(rule) => None,
        None if matches!(rule.pattern, Pattern::Regex(_)) && regexes >= super::REGEXES_MAX => {
            Some(RuleError::TooManyRegexes)
        }
        None => Some(RuleError::TooMany),
    };
    let mut refused = (1..).zip(rules).filter_map(|(number, rule)| Some(Problem { number, error: error(rule)? }));
    let first = refused.next()?;
    Some(Refused { count: 1 + refused.count(), first })
}
