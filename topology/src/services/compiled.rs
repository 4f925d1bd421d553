//! Rules, made for look-ups: tables from a suffix or a network to the first rule that is about it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use regex::bytes::RegexSet;

use super::rule::{self, Matcher, Network, Pattern, Rule, RuleError};
use super::{REGEXES_MAX, RULES_MAX, Service, suffixes};

/// See the module. Numbers are those of `verdicts`, in the order of the rules: the smallest counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    verdicts: Vec<Verdict>,
    by_suffix: HashMap<String, usize>,
    by_network: HashMap<Network, usize>,
    /// Families and prefix lengths there are networks of.
    shapes: BTreeSet<(bool, u8)>,
    patterns: Vec<String>,
    /// Numbers of the rules that `patterns` are of, growing.
    by_pattern: Vec<usize>,
    /// Of `patterns`; `None` if there are none.
    regexes: Option<RegexSet>,
    looked_at: LookedAt,
}

/// How many rules were looked at, also of those that are left out: to find a mistake costs as much as to use a rule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LookedAt {
    rules: usize,
    regexes: usize,
}

impl LookedAt {
    /// Counts a rule, if there is room for it.
    pub(super) fn take(&mut self, rule: &Rule) -> Result<(), RuleError> {
        let is_regex = matches!(rule.pattern, Pattern::Regex(_));
        if self.rules >= RULES_MAX {
            return Err(RuleError::TooMany);
        }
        if is_regex && self.regexes >= REGEXES_MAX {
            return Err(RuleError::TooManyRegexes);
        }
        self.rules += 1;
        self.regexes += usize::from(is_regex);
        Ok(())
    }
}

/// What a rule says of what it matches.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It is this.
    Named(Arc<Service>),
    /// Each name is a service.
    EachName {
        /// Of each.
        icon: Option<Arc<str>>,
        /// Of each.
        group: Option<Arc<str>>,
    },
}

impl Compiled {
    /// Takes the next rule.
    pub(super) fn add(&mut self, rule: &Rule) -> Result<(), RuleError> {
        self.looked_at.take(rule)?;
        let number = self.verdicts.len();
        match rule.matcher()? {
            Matcher::Suffix(suffix) => {
                self.by_suffix.entry(suffix).or_insert(number);
            }
            Matcher::Net(network) => {
                self.shapes.insert(network.shape());
                self.by_network.entry(network).or_insert(number);
            }
            Matcher::Regex(pattern) => {
                self.patterns.push(pattern);
                self.by_pattern.push(number);
            }
        }
        self.verdicts.push(Verdict::new(rule.name.as_deref(), rule.icon.as_deref(), rule.group.as_deref()));
        Ok(())
    }

    /// Makes the automaton, once all rules are in.
    pub(super) fn finish(&mut self) {
        if !self.patterns.is_empty() {
            self.regexes = Some(rule::set(&self.patterns).expect("each compiles, and there is room for all"));
        }
    }

    /// What the first rule says that matches: the first of `names` it matches, if many.
    pub(super) fn find(&self, address: IpAddr, names: &[Cow<'_, str>]) -> Option<Arc<Service>> {
        if self.verdicts.is_empty() {
            return None;
        }
        let of_address = self.of_address(address).map(|number| (number, None));
        let of_names = names.iter().filter_map(|name| Some((self.of_name(name)?, Some(&**name))));
        // Of equals, `min_by_key` takes the first.
        let (number, name) = of_names.chain(of_address).min_by_key(|(number, _)| *number)?;
        Some(self.verdicts.get(number)?.service(|| match name.or_else(|| Some(&**names.first()?)) {
            Some(name) => name.into(),
            None => address.to_string().into(),
        }))
    }

    fn of_address(&self, address: IpAddr) -> Option<usize> {
        let shapes = self.shapes.iter().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let networks = shapes.filter_map(|(_, prefix)| Network::new(address, *prefix).ok());
        networks.filter_map(|network| self.by_network.get(&network)).min().copied()
    }

    fn of_name(&self, name: &str) -> Option<usize> {
        let by_suffix = suffixes(name).filter_map(|suffix| self.by_suffix.get(suffix)).min();
        let matching = self.regexes.as_ref().and_then(|set| set.matches(name.as_bytes()).iter().next());
        let by_pattern = matching.and_then(|index| self.by_pattern.get(index));
        by_suffix.into_iter().chain(by_pattern).min().copied()
    }
}

impl Verdict {
    /// Without a name, each DNS name is a service.
    pub(super) fn new(name: Option<&str>, icon: Option<&str>, group: Option<&str>) -> Self {
        let (icon, group) = (icon.map(Arc::from), group.map(Arc::from));
        match name {
            Some(name) => Self::Named(Arc::new(Service { name: name.into(), icon, group })),
            None => Self::EachName { icon, group },
        }
    }

    /// The service; `name` gives that of what was looked up.
    pub(super) fn service(&self, name: impl FnOnce() -> Arc<str>) -> Arc<Service> {
        match self {
            Self::Named(service) => Arc::clone(service),
            Self::EachName { icon, group } => {
                Arc::new(Service { name: name(), icon: icon.clone(), group: group.clone() })
            }
        }
    }
}
