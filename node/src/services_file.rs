//! The operator's file of known services (`--services FILE`): TOML, a table a service, the first that matches counts.
//!
//! ```toml
//! [[service]]
//! suffix = "db.example.com"   # or: regex = 'db-\d+\.example\.com'   or: cidr = "192.0.2.0/24"
//! name = "Orders database"    # left out: each DNS name is a service of its own
//! icon = "database"
//! group = "Orders"
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use topology::services::{ICONS, Pattern, REGEXES_MAX, RULES_MAX, Rule};

/// Largest file: several times what so many rules take.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something in it is not as it must be.
    #[error("{}, line {line}: {what}", .path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        what: String,
    },
}

/// The rules in the file at `path`, in their order.
///
/// # Errors
/// [`ServicesError`] for the first thing that is wrong: an operator's typo is told, not worked around.
pub fn read(path: &Path) -> Result<Vec<Rule>, ServicesError> {
    let text = text(path).map_err(|error| ServicesError::Read { path: path.to_owned(), error })?;
    parse(&text).map_err(|Wrong { at, what }| {
        let before = text.as_bytes().get(..at.start).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ServicesError::Bad { path: path.to_owned(), line, what }
    })
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let reason = format!("it has more than {} KiB", FILE_BYTES_MAX / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

/// What is wrong, and at which bytes.
struct Wrong {
    at: Range<usize>,
    what: String,
}

impl Wrong {
    fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Services {
    #[serde(default)]
    service: Vec<Spanned<Service>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    suffix: Option<Spanned<String>>,
    regex: Option<Spanned<String>>,
    cidr: Option<Spanned<String>>,
    name: Option<String>,
    icon: Option<Spanned<String>>,
    group: Option<String>,
}

fn parse(text: &str) -> Result<Vec<Rule>, Wrong> {
    let services: Services = toml::from_str(text).map_err(|error| {
        let what = error.message().lines().collect::<Vec<_>>().join(": ");
        Wrong::new(error.span().unwrap_or_default(), what)
    })?;
    let mut regexes = 0;
    let rules = services.service.into_iter().enumerate().map(|(index, service)| {
        let at = service.span();
        regexes += usize::from(service.get_ref().regex.is_some());
        match () {
            () if index >= RULES_MAX => Err(Wrong::new(at, format!("more services than the {RULES_MAX} allowed"))),
            () if regexes > REGEXES_MAX => {
                Err(Wrong::new(at, format!("more services with a regex than the {REGEXES_MAX} allowed")))
            }
            () => rule(service.into_inner(), at),
        }
    });
    rules.collect()
}

fn rule(service: Service, at: Range<usize>) -> Result<Rule, Wrong> {
    let Service { suffix, regex, cidr, name, icon, group } = service;
    let (pattern_at, pattern) = match (suffix, regex, cidr) {
        (Some(suffix), None, None) => (suffix.span(), Pattern::Suffix(suffix.into_inner())),
        (None, Some(regex), None) => (regex.span(), Pattern::Regex(regex.into_inner())),
        (None, None, Some(cidr)) => {
            (cidr.span(), network(cidr.get_ref()).map_err(|what| Wrong::new(cidr.span(), what))?)
        }
        (None, None, None) => return Err(Wrong::new(at, "a service needs one of suffix, regex or cidr")),
        _ => return Err(Wrong::new(at, "a service has one of suffix, regex or cidr, not several")),
    };
    if let Some(icon) = icon.as_ref().filter(|icon| !ICONS.contains(&icon.get_ref().as_str())) {
        let what = format!("no such icon: {:?}; there are {}", icon.get_ref(), ICONS.join(", "));
        return Err(Wrong::new(icon.span(), what));
    }
    let rule = Rule { pattern, name, icon: icon.map(Spanned::into_inner), group };
    match rule.check() {
        Ok(()) => Ok(rule),
        Err(error) => {
            // Which part it was: without the others, the pattern is good or not.
            let bare = Rule { name: None, icon: None, group: None, ..rule };
            Err(Wrong::new(if bare.check().is_err() { pattern_at } else { at }, error.to_string()))
        }
    }
}

/// `192.0.2.0/24`, or an address alone.
fn network(cidr: &str) -> Result<Pattern, String> {
    let allowed = || format!("no network: {cidr:?}; write it as 192.0.2.0/24, 2001:db8::/32 or one address");
    let (address, prefix) = cidr.split_once('/').map_or((cidr, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| allowed())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(whole), |prefix| prefix.parse().map_err(|_| allowed()))?;
    Ok(Pattern::Net { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: Pattern) -> Rule {
        Rule { pattern, name: None, icon: None, group: None }
    }

    fn read_text(text: &[u8]) -> Result<Vec<Rule>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services.toml");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_file_is_read_in_its_order() {
        let text = r#"
# ours
[[service]]
suffix = "db.example.com"
name = "Orders database"
icon = "database"
group = "Orders"

[[service]]
regex = 'mq-\d+\.example\.com'

[[service]]
cidr = "192.0.2.0/24"

[[service]]
cidr = "2001:db8::1"
"#;
        let orders = Rule {
            pattern: Pattern::Suffix("db.example.com".to_owned()),
            name: Some("Orders database".to_owned()),
            icon: Some("database".to_owned()),
            group: Some("Orders".to_owned()),
        };
        let regex = rule(Pattern::Regex(r"mq-\d+\.example\.com".to_owned()));
        let network = rule(Pattern::Net { address: [192, 0, 2, 0].into(), prefix: 24 });
        let address = rule(Pattern::Net { address: "2001:db8::1".parse().unwrap(), prefix: 128 });
        assert_eq!(read_text(text.as_bytes()), Ok(vec![orders, regex, network, address]));
        assert_eq!(read_text(b""), Ok(vec![]));
        assert_eq!(read_text(b"# nothing yet\n"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_with_file_line_and_what_is_allowed() {
        let cases = [
            ("[[service]]\nname = \"x\"\n", "line 1: a service needs one of suffix, regex or cidr"),
            (
                "\n[[service]]\nsuffix = \"a\"\ncidr = \"::/0\"\n",
                "line 2: a service has one of suffix, regex or cidr, not several",
            ),
            (
                "[[service]]\nsufix = \"a\"\n",
                "line 2: unknown field `sufix`, expected one of `suffix`, `regex`, `cidr`, `name`, `icon`, `group`",
            ),
            ("[service]\nsuffix = \"a\"\n", "line 1: invalid type: map, expected a sequence"),
            ("[[services]]\n", "line 1: unknown field `services`, expected `service`"),
            ("[[service]]\nsuffix = 4\n", "line 2: invalid type: integer `4`, expected a string"),
            (
                "[[service]]\n\nsuffix = \"a b\"\n",
                "line 3: \"a b\" is no suffix of a DNS name: labels of letters, digits, \"-\" and \"_\", with dots between them",
            ),
            ("[[service]]\nregex = \"a(\"\n", "line 2: bad regular expression: unclosed group"),
            (
                "[[service]]\ncidr = \"10.0.0\"\n",
                "line 2: no network: \"10.0.0\"; write it as 192.0.2.0/24, 2001:db8::/32 or one address",
            ),
            (
                "[[service]]\ncidr = \"10.0.0.0/999\"\n",
                "line 2: no network: \"10.0.0.0/999\"; write it as 192.0.2.0/24, 2001:db8::/32 or one address",
            ),
            (
                "[[service]]\ncidr = \"10.0.0.0/33\"\n",
                "line 2: a prefix of 33 bits in a network of 10.0.0.0: at most 32",
            ),
            (
                "[[service]]\nsuffix = \"a\"\nname = \"\"\n",
                "line 1: the service's name is empty or has control characters",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(read_text(text.as_bytes()), Err(format!("services.toml, {want}")), "{text}");
        }
        let icons = read_text(b"[[service]]\nsuffix = \"a\"\nicon = \"sun\"\n").unwrap_err();
        let want = "services.toml, line 3: no such icon: \"sun\"; there are ai, balancer, cache, ";
        assert!(icons.starts_with(want), "{icons}");
    }

    #[test]
    fn no_file_is_an_error_whatever_it_holds() {
        let syntax = read_text(b"[[service]]\nsuffix = \"a\n").unwrap_err();
        assert!(syntax.starts_with("services.toml, line 2: "), "{syntax}");
        let not_text = read_text(&[0xff, 0xfe, 0]).unwrap_err();
        assert!(not_text.starts_with("cannot read services.toml: "), "{not_text}");
        let too_large = read_text(&vec![b'\n'; 1024 * 1024 + 1]).unwrap_err();
        assert_eq!(too_large, "cannot read services.toml: it has more than 1024 KiB");
        let deep = read_text(("service = ".to_owned() + &"[".repeat(100_000)).as_bytes()).unwrap_err();
        assert!(deep.starts_with("services.toml, line 1: "), "{deep}");
        let missing = read(Path::new("/nowhere/services.toml")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nowhere/services.toml: "), "{missing}");
        let many = "[[service]]\nsuffix = \"a\"\n".repeat(RULES_MAX + 1);
        assert_eq!(
            read_text(many.as_bytes()).unwrap_err(),
            "services.toml, line 2001: more services than the 1000 allowed"
        );
        let many = "[[service]]\nregex = \"a\"\n".repeat(REGEXES_MAX + 1);
        assert_eq!(
            read_text(many.as_bytes()).unwrap_err(),
            "services.toml, line 201: more services with a regex than the 100 allowed"
        );
    }
}
