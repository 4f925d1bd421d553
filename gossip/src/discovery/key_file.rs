//! The secret that a DNS server knows us by, as `tsig-keygen` writes it:
//!
//! ```text
//! key "scope-key" {
//!     algorithm hmac-sha256;
//!     secret "c2VjcmV0…";
//! };
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::BASE64;
use hickory_client::proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_client::proto::rr::{Name, TSigner};

/// How far the server's clock and ours may be apart. RFC 8945 §10 recommends 300 s.
pub(super) const FUDGE_SECS: u16 = 300;

/// A key takes some 150 bytes: a longer file is something else.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A TSIG key (RFC 8945): its name, algorithm and secret.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    signer: TSigner,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{}: {reason}", .path.display())]
    NotAKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: BadKey,
    },
}

/// A text that is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It is not of the form.
    #[error("not a key file: make one with `tsig-keygen scope-key`")]
    Syntax,
    /// There are several: which to use would be a guess.
    #[error("holds more than one key: leave only ours in it")]
    Several,
    /// The name is no domain name.
    #[error("{0:?} is no name for a key")]
    Name(String),
    /// The algorithm is none of ours.
    #[error("algorithm {0:?} is not supported: use hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm(String),
    /// The secret is no base64, or empty.
    #[error("the secret is not base64")]
    Secret,
}

impl TsigKey {
    /// Reads a key file, as `tsig-keygen` writes it. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`], which names the file.
    pub fn read(path: &Path) -> Result<TsigKey, KeyFileError> {
        let text = read_bounded(path).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
        text.parse().map_err(|reason| KeyFileError::NotAKey { path: path.to_owned(), reason })
    }

    /// The name the server knows the key by.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn signer(&self) -> &TSigner {
        &self.signer
    }
}

/// The secret stays out of logs.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name.to_ascii()).finish_non_exhaustive()
    }
}

impl FromStr for TsigKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<TsigKey, BadKey> {
        let clause = parse(text)?;
        let mut name = Name::from_ascii(&clause.name).map_err(|_| BadKey::Name(clause.name.clone()))?;
        name.set_fqdn(true);
        let algorithm = algorithm(&clause.algorithm).ok_or(BadKey::Algorithm(clause.algorithm))?;
        let secret = BASE64.decode(clause.secret.as_bytes()).map_err(|_| BadKey::Secret)?;
        if secret.is_empty() {
            return Err(BadKey::Secret);
        }
        let signer = TSigner::new(secret, algorithm, name.clone(), FUDGE_SECS)
            .expect("the algorithm is one of those the library has");
        Ok(TsigKey { name, signer })
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn algorithm(name: &str) -> Option<TsigAlgorithm> {
    match name.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "hmac-sha256" => Some(TsigAlgorithm::HmacSha256),
        "hmac-sha384" => Some(TsigAlgorithm::HmacSha384),
        "hmac-sha512" => Some(TsigAlgorithm::HmacSha512),
        _ => None,
    }
}

/// `key NAME { algorithm WORD; secret WORD; };`
struct Clause {
    name: String,
    algorithm: String,
    secret: String,
}

fn parse(text: &str) -> Result<Clause, BadKey> {
    let mut tokens = tokens(text)?.into_iter();
    let mut word = || match tokens.next() {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    };
    let (keyword, name) = (word(), word());
    if keyword.as_deref() != Some("key") || tokens.next() != Some(Token::Mark('{')) {
        return Err(BadKey::Syntax);
    }
    let (mut algorithm, mut secret) = (None, None);
    loop {
        let statement = match tokens.next() {
            Some(Token::Mark('}')) => break,
            Some(Token::Word(statement)) => statement,
            _ => return Err(BadKey::Syntax),
        };
        let (Some(Token::Word(value)), Some(Token::Mark(';'))) = (tokens.next(), tokens.next()) else {
            return Err(BadKey::Syntax);
        };
        match statement.as_str() {
            "algorithm" => algorithm = Some(value),
            "secret" => secret = Some(value),
            _ => return Err(BadKey::Syntax),
        }
    }
    let rest: Vec<Token> = tokens.filter(|token| *token != Token::Mark(';')).collect();
    match (name, algorithm, secret) {
        _ if !rest.is_empty() => Err(BadKey::Several),
        (Some(name), Some(algorithm), Some(secret)) => Ok(Clause { name, algorithm, secret }),
        _ => Err(BadKey::Syntax),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A bare or quoted word.
    Word(String),
    /// One of `{`, `}` and `;`.
    Mark(char),
}

/// Splits `named.conf` syntax, in which `//`, `#` and `/* */` are comments.
fn tokens(text: &str) -> Result<Vec<Token>, BadKey> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") || first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or(BadKey::Syntax)?.1;
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (word, after) = quoted.split_once('"').ok_or(BadKey::Syntax)?;
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        } else if matches!(first, '{' | '}' | ';') {
            tokens.push(Token::Mark(first));
            rest = &rest[1..];
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_read_as_bind_writes_it() {
        let ok = |name: &str| Ok(name.to_owned());
        let algorithm = |name: &str| Err(BadKey::Algorithm(name.to_owned()));
        let cases = [
            ("key \"k\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n", ok("k.")),
            ("key k{algorithm HMAC-SHA512.;secret c2VjcmV0;};", ok("k.")),
            ("key k { secret \"c2VjcmV0\"; algorithm hmac-sha384; }", ok("k.")),
            ("// by hand\n# twice\nkey /* the */ a.b { algorithm hmac-sha256; secret \"c2Vj//0=\"; };", ok("a.b.")),
            ("key k { algorithm hmac-md5; secret \"c2VjcmV0\"; };", algorithm("hmac-md5")),
            ("key k { algorithm hmac-sha1; secret \"c2VjcmV0\"; };", algorithm("hmac-sha1")),
            ("key k { algorithm hmac-sha256; secret \"c2Vj*\"; };", Err(BadKey::Secret)),
            ("key k { algorithm hmac-sha256; secret \"\"; };", Err(BadKey::Secret)),
            ("key \"..\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };", Err(BadKey::Name("..".to_owned()))),
            ("key k { algorithm hmac-sha256; };", Err(BadKey::Syntax)),
            ("key k { algorithm hmac-sha256; secret; };", Err(BadKey::Syntax)),
            ("key k { algorithm hmac-sha256; secret \"c2VjcmV0", Err(BadKey::Syntax)),
            ("key { algorithm hmac-sha256; secret \"c2VjcmV0\"; };", Err(BadKey::Syntax)),
            ("key k { /* endless", Err(BadKey::Syntax)),
            ("c2VjcmV0", Err(BadKey::Syntax)),
            ("", Err(BadKey::Syntax)),
            ("é { } ;", Err(BadKey::Syntax)),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<TsigKey>().map(|key| key.name().to_ascii()), want, "{text:?}");
        }
        let one = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };";
        assert_eq!(format!("{one}\n{one}").parse::<TsigKey>().unwrap_err(), BadKey::Several);
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let key: TsigKey = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };".parse().unwrap();
        assert_eq!(format!("{key:?}"), "TsigKey { name: \"k.\", .. }");
        assert_eq!(key.signer().key(), b"secret");
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("scope.key");
        let missing = TsigKey::read(&path).unwrap_err();
        assert_eq!(missing.to_string(), format!("cannot read {}", path.display()));
        fs::write(&path, "no key").unwrap();
        let wrong = TsigKey::read(&path).unwrap_err();
        assert!(wrong.to_string().starts_with(&format!("{}: not a key file", path.display())), "{wrong}");
    }
}
