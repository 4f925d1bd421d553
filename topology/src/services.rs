//! Known services: what addresses outside the cluster are, by their DNS names or networks.
//!
//! Two tables are asked. The operators' [`Rule`]s come first, in their order; then what everybody knows ([`builtin`]). A name
//! is looked up by its suffixes in a hash table, an address by its prefixes in another, and all regular expressions are one
//! automaton: the price of a look-up does not grow with the number of rules.
//!
//! Rules come from peers too. What is wrong with one is a [`Problem`] and the rule is left out; nothing of it is costly,
//! since patterns, texts, the size of what an expression compiles to, and how many rules are looked at, good or not, have
//! bounds.

mod builtin;
mod compiled;
mod refused;
mod rule;
mod shares;

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use compiled::Compiled;
pub use refused::Refused;
pub(crate) use refused::Verdicts;
pub(crate) use shares::shared_out;

pub use rule::{ICONS, NAME_BYTES_MAX, PATTERN_BYTES_MAX, Pattern, Rule, RuleError, TEXT_BYTES_MAX};

/// Most rules looked at, the same one of many hosts counted once: what an operator's file holds, ten times over.
pub const RULES_MAX: usize = 1000;

/// Most of them that are regular expressions. They share one automaton, which can take time for each state.
pub const REGEXES_MAX: usize = 100;

/// A known service outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What people read, and what names its node.
    pub name: Arc<str>,
    /// Picture the page draws it with: one of [`ICONS`], or of those of a newer peer.
    pub icon: Option<Arc<str>>,
    /// What it belongs to, such as a provider.
    pub group: Option<Arc<str>>,
}

/// A rule that is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {number}: {error}")]
pub struct Problem {
    /// Which of those given, from 1.
    pub number: usize,
    /// Why.
    pub error: RuleError,
}

/// All rules in use, made for look-ups.
#[derive(Clone, Debug)]
pub struct Services {
    own: Compiled,
}

impl Default for Services {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Services {
    /// What everybody knows, and no more.
    #[must_use]
    pub fn builtin() -> Self {
        Self { own: Compiled::default() }
    }

    /// `rules`, the first of which that matches counts, and after them what everybody knows. Tells which rules are left out,
    /// each for itself; of those beyond [`RULES_MAX`] and [`REGEXES_MAX`], the first.
    pub fn with<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> (Self, Vec<Problem>) {
        let (mut own, mut problems) = (Compiled::default(), Vec::new());
        let mut seen = HashSet::new();
        for (number, rule) in (1..).zip(rules).filter(|(_, rule)| seen.insert(*rule)) {
            let Err(error) = own.add(rule) else { continue };
            let is_beyond = matches!(error, RuleError::TooMany | RuleError::TooManyRegexes);
            if !is_beyond || !problems.iter().any(|problem: &Problem| problem.error == error) {
                problems.push(Problem { number, error });
            }
        }
        own.finish();
        (Self { own }, problems)
    }

    /// The service behind `address`, which `names` lead to, the most telling first: names asked for before what a reverse
    /// look-up says. `None` if no rule knows it.
    ///
    /// An operator's rule that comes earlier beats one that comes later, whichever of the names it is for. Of what everybody
    /// knows, the first name that is known counts.
    #[must_use]
    pub fn find(&self, address: IpAddr, names: &[&str]) -> Option<Arc<Service>> {
        let names: Vec<Cow<'_, str>> = names.iter().filter_map(|name| normal(name)).collect();
        let by_rule = self.own.find(address.to_canonical(), &names);
        by_rule.or_else(|| names.iter().find_map(|name| builtin::find(name)))
    }
}

/// A DNS name in lower case, without the dot of the root; `None` if it is none.
fn normal(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    let has_capitals = name.bytes().any(|byte| byte.is_ascii_uppercase());
    is_name.then(|| if has_capitals { name.to_ascii_lowercase().into() } else { name.into() })
}

/// A name and those it ends in, at the dots: `a.b.c`, `b.c`, `c`.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |rest| rest.split_once('.').map(|(_, parent)| parent))
}

#[cfg(test)]
mod tests;
