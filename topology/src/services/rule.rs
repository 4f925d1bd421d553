//! One rule, and what is wrong with it.

use std::net::IpAddr;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

/// Longest DNS name, in bytes, without the dot of the root (RFC 1035).
pub const NAME_BYTES_MAX: usize = 253;

/// Longest regular expression, in bytes: twice the longest name.
pub const PATTERN_BYTES_MAX: usize = 512;

/// Longest name, icon and group, in bytes: a node has room for a part of it.
pub const TEXT_BYTES_MAX: usize = 128;

/// Size of what an expression compiles to, in bytes. One for a name with a handful of variable parts takes a quarter of it;
/// `(\w{99}){99}` is refused.
const REGEX_COMPILED_MAX: usize = 16 * 1024;

/// The same of all expressions together, with room for what holds them together.
const REGEXES_COMPILED_MAX: usize = 2 * super::REGEXES_MAX * REGEX_COMPILED_MAX;

/// Nested groups and repetitions: the parser's stack.
const REGEX_NEST_MAX: u32 = 32;

/// Pictures the page has.
pub const ICONS: [&str; 18] = [
    "ai",
    "balancer",
    "cache",
    "cdn",
    "certificate",
    "chat",
    "cloud",
    "code",
    "database",
    "identity",
    "mail",
    "monitoring",
    "packages",
    "payment",
    "queue",
    "registry",
    "storage",
    "time",
];

/// One rule by which an address outside the cluster is a known service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What it is about.
    pub pattern: Pattern,
    /// What people read; without it each DNS name is a service of its own.
    #[serde(default)]
    pub name: Option<String>,
    /// Picture the page draws it with.
    #[serde(default)]
    pub icon: Option<String>,
    /// What it belongs to, such as a provider.
    #[serde(default)]
    pub group: Option<String>,
}

/// Which addresses a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Those with a DNS name that is this or ends in a dot and this. In any case.
    Suffix(String),
    /// Those with a DNS name that this matches as a whole. In any case; `\d` and `\w` are ASCII's.
    Regex(String),
    /// Those of a network.
    Net {
        /// Any address of it.
        address: IpAddr,
        /// Length of its prefix, in bits.
        prefix: u8,
    },
}

/// Why a rule is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A suffix that no name has.
    #[error("{0:?} is no suffix of a DNS name: labels of letters, digits, \"-\" and \"_\", with dots between them")]
    BadSuffix(String),
    /// An expression that does not parse, or is too large.
    #[error("bad regular expression: {0}")]
    BadRegex(String),
    /// A prefix longer than its addresses.
    #[error("a prefix of {prefix} bits in a network of {address}: at most {}", bits(*address))]
    BadPrefix {
        /// The network's address.
        address: IpAddr,
        /// Length of its prefix.
        prefix: u8,
    },
    /// Something too long to be meant.
    #[error("{what} of {bytes} bytes: at most {max}")]
    TooLong {
        /// Which part of the rule.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// A name, icon or group without a letter, or with one that moves the cursor.
    #[error("{0} is empty or has control characters")]
    NoText(&'static str),
    /// There are more rules than are used.
    #[error("more than {} rules: this and later ones are not used", super::RULES_MAX)]
    TooMany,
    /// There are more regular expressions than are used.
    #[error("more than {} regular expressions: this and later ones are not used", super::REGEXES_MAX)]
    TooManyRegexes,
}

/// What names or addresses are compared with.
#[derive(Debug)]
pub(super) enum Matcher {
    /// A suffix in lower case, without a dot at either end.
    Suffix(String),
    /// An expression for a whole name.
    Regex(String),
    /// A network.
    Net(Network),
}

impl Rule {
    /// Whether this can be used.
    ///
    /// # Errors
    /// [`RuleError`], all but that there are too many.
    pub fn check(&self) -> Result<(), RuleError> {
        self.matcher().map(drop)
    }

    /// What it matches by, once everything of it is checked. Compiles an expression once.
    pub(super) fn matcher(&self) -> Result<Matcher, RuleError> {
        let texts = [("the service's name", &self.name), ("its icon", &self.icon), ("its group", &self.group)];
        for (what, text) in texts.into_iter().filter_map(|(what, text)| Some((what, text.as_deref()?))) {
            at_most(what, text, TEXT_BYTES_MAX)?;
            if text.trim().is_empty() || text.contains(char::is_control) {
                return Err(RuleError::NoText(what));
            }
        }
        match &self.pattern {
            Pattern::Suffix(suffix) => canonical_suffix(suffix).map(Matcher::Suffix),
            Pattern::Regex(pattern) => whole(pattern).map(Matcher::Regex),
            Pattern::Net { address, prefix } => Network::new(*address, *prefix).map(Matcher::Net),
        }
    }
}

fn at_most(what: &'static str, text: &str, max: usize) -> Result<(), RuleError> {
    if text.len() > max { Err(RuleError::TooLong { what, bytes: text.len(), max }) } else { Ok(()) }
}

/// A suffix as names are compared with it. A leading `.` or `*.` is how others write that it is one.
fn canonical_suffix(suffix: &str) -> Result<String, RuleError> {
    at_most("the suffix", suffix, NAME_BYTES_MAX)?;
    let bare = suffix.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(suffix);
    let bare = bare.strip_prefix('.').unwrap_or(bare);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    let is_label = |label: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_fit)
    };
    if bare.split('.').all(is_label) {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err(RuleError::BadSuffix(suffix.to_owned()))
    }
}

/// An expression that matches what `pattern` matches as a whole.
fn whole(pattern: &str) -> Result<String, RuleError> {
    at_most("the regular expression", pattern, PATTERN_BYTES_MAX)?;
    // By itself first: `a)|(b` would become a valid one. With room for nothing it is read, and no more.
    match compile(pattern, 0) {
        Ok(_) | Err(regex::Error::CompiledTooBig(_)) => {}
        Err(error) => return Err(RuleError::BadRegex(reason(&error))),
    }
    let whole = format!("^(?:{pattern})$");
    compile(&whole, REGEX_COMPILED_MAX).map(|_| whole).map_err(|error| RuleError::BadRegex(reason(&error)))
}

fn compile(pattern: &str, compiled_max: usize) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.unicode(false).case_insensitive(true).size_limit(compiled_max).nest_limit(REGEX_NEST_MAX);
    builder.build()
}

/// One automaton for all of `patterns`, which [`whole`] gave.
pub(super) fn set(patterns: &[String]) -> Result<RegexSet, RuleError> {
    let mut builder = RegexSetBuilder::new(patterns);
    builder.unicode(false).case_insensitive(true).size_limit(REGEXES_COMPILED_MAX).nest_limit(REGEX_NEST_MAX + 2);
    builder.build().map_err(|error| RuleError::BadRegex(reason(&error)))
}

/// What is wrong, on one line: the last of a drawing of it.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(max) => format!("it compiles to more than {max} bytes"),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

/// A network by its first bits, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    is_v4: bool,
    prefix: u8,
    /// Those of the prefix; the others are zero.
    bits: u128,
}

/// Length of an address, in bits.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Network {
    /// The network with the first `prefix` bits of `address`.
    pub(super) fn new(address: IpAddr, prefix: u8) -> Result<Self, RuleError> {
        let host_bits = bits(address).checked_sub(prefix).ok_or(RuleError::BadPrefix { address, prefix })?;
        let value = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let bits = value.checked_shr(host_bits.into()).unwrap_or(0);
        Ok(Self { is_v4: address.is_ipv4(), prefix, bits })
    }

    /// Networks with the same make-up as this are asked for as one of these.
    pub(super) fn shape(self) -> (bool, u8) {
        (self.is_v4, self.prefix)
    }
}
