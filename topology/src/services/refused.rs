//! What came of one host's rules, with those of all others: which are not used.

use std::fmt;

use foldhash::HashMap;

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
        let why = match first.error {
            RuleError::TooMany | RuleError::TooManyRegexes => ", as those of all hosts count together",
            _ => "",
        };
        match count {
            1 => write!(f, "one of this host's rules is not used{why}: {first}"),
            _ => write!(f, "{count} of this host's rules are not used{why}; the first: {first}"),
        }
    }
}

/// All hosts' rules that were looked at, and what came of each.
pub(crate) struct Verdicts<'a> {
    /// With what is wrong with it, if something is.
    looked_at: HashMap<&'a Rule, Option<&'a RuleError>>,
    are_regexes_full: bool,
}

impl<'a> Verdicts<'a> {
    /// Of the rules that were looked at, with these `problems`, by their numbers among them.
    pub(crate) fn new(looked_at: &[&'a Rule], problems: &'a [Problem]) -> Self {
        let regexes = looked_at.iter().filter(|rule| matches!(rule.pattern, Pattern::Regex(_))).count();
        let mut verdicts: HashMap<&Rule, Option<&RuleError>> = looked_at.iter().map(|rule| (*rule, None)).collect();
        for problem in problems {
            if let Some(rule) = problem.number.checked_sub(1).and_then(|at| looked_at.get(at)) {
                verdicts.insert(rule, Some(&problem.error));
            }
        }
        Self { looked_at: verdicts, are_regexes_full: regexes >= super::REGEXES_MAX }
    }

    /// What is refused of a host's rules, if anything.
    pub(crate) fn refused(&self, rules: &[Rule]) -> Option<Refused> {
        let error = |rule: &Rule| match self.looked_at.get(rule) {
            Some(error) => error.cloned(),
            None if matches!(rule.pattern, Pattern::Regex(_)) && self.are_regexes_full => {
                Some(RuleError::TooManyRegexes)
            }
            None => Some(RuleError::TooMany),
        };
        let mut refused = (1..).zip(rules).filter_map(|(number, rule)| Some(Problem { number, error: error(rule)? }));
        let first = refused.next()?;
        Some(Refused { count: 1 + refused.count(), first })
    }
}
