//! The secret of a cluster: who has it may join, who has not cannot even complete a handshake.
//!
//! Everything that needs to be secret or to tell clusters apart is derived from it by HKDF-SHA256
//! ([RFC 5869](https://www.rfc-editor.org/rfc/rfc5869)) with a label of its own, so what is derived for one
//! purpose says nothing about the rest.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;

/// Entropy of a secret. The mesh's handshake lets a stranger test guesses without asking anybody, so it must be
/// beyond guessing; 256 bits are, a password that a person can remember is not.
const SECRET_BYTES: usize = 32;

/// Length of the text after its prefix: five bits a character.
const TEXT_CHARS: usize = (SECRET_BYTES * 8).div_ceil(5);

/// What a secret's text begins with. The number is that of the derivation: another one, another prefix.
const PREFIX: &str = "scope1-";

/// What peers without a secret put in the place of [`Secret::noise_prologue`].
pub const OPEN_PROLOGUE: &[u8] = b"scope open mesh 1";

/// 32 random bytes that all peers of a closed mesh share. Its text is `scope1-` and 52 characters of base32; it is
/// shown only by [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

/// Why a text is not a secret. Says nothing of the text itself beyond one wrong character: it may be a real one,
/// mistyped, on its way into a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing in it.
    #[error("the secret is empty; make one with `scope secret new`")]
    Empty,
    /// No secret of ours: probably a password somebody thought of.
    #[error(
        "the secret does not begin with {PREFIX:?}: a password of your own is not accepted, since strangers could \
         guess it without being noticed; make one with `scope secret new`"
    )]
    Prefix,
    /// Characters are missing or too many, which happens in copying.
    #[error("the secret has {0} characters after {PREFIX:?} instead of {TEXT_CHARS}: was it cut or joined in copying?")]
    Length(usize),
    /// A character that is not of base32.
    #[error("the secret has {character:?} as character {at} after {PREFIX:?}: only a-z and 2-7 are used")]
    Character {
        /// Which.
        character: char,
        /// Where, from 1.
        at: usize,
    },
    /// All characters are of base32, but no 32 bytes print like this.
    #[error("the secret ends in a character no secret ends in: was it mistyped?")]
    Ending,
}

/// The operating system has no random bytes to give.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct NoEntropy(String);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// [`NoEntropy`] if the operating system's generator fails.
    pub fn generate() -> Result<Secret, NoEntropy> {
        let mut bytes = [0; SECRET_BYTES];
        SysRng.try_fill_bytes(&mut bytes).map_err(|error| NoEntropy(error.to_string()))?;
        Ok(Secret(bytes))
    }

    /// Its text, to be given to the other peers. The only way to see it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }

    /// What both sides of a handshake must have in common for it to succeed. Not to be shown.
    #[must_use]
    pub fn noise_prologue(&self) -> [u8; 32] {
        self.derive(b"scope noise prologue 1")
    }

    /// A public name of the cluster, which its peers sign into what they say: what was said in one cluster cannot be
    /// replayed in another.
    #[must_use]
    pub fn cluster_label(&self) -> [u8; 16] {
        self.derive(b"scope cluster label 1")
    }

    fn derive<const N: usize>(&self, label: &[u8]) -> [u8; N] {
        let mut derived = [0; N];
        Hkdf::<Sha256>::new(None, &self.0).expand(label, &mut derived).expect("HKDF-SHA256 gives up to 8,160 bytes");
        derived
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Space around it does not matter: it often comes from a file that ends in a line feed.
    fn from_str(text: &str) -> Result<Secret, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        let characters = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        if let Some((at, character)) = characters.chars().enumerate().find(|(_, it)| !is_base32(*it)) {
            return Err(SecretError::Character { character, at: at + 1 });
        }
        if characters.len() != TEXT_CHARS {
            return Err(SecretError::Length(characters.len()));
        }
        BASE32_NOPAD
            .decode(characters.to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Secret)
            .ok_or(SecretError::Ending)
    }
}

/// Either case: a person may have typed it from paper.
fn is_base32(character: char) -> bool {
    matches!(character, 'a'..='z' | 'A'..='Z' | '2'..='7')
}

/// Shows only that there is one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones() -> Secret {
        Secret([0xff; SECRET_BYTES])
    }

    #[test]
    fn a_secret_reads_as_it_prints_whatever_space_is_around_it() {
        let secret = Secret::generate().unwrap();
        let text = secret.reveal();
        assert_eq!(text.len(), PREFIX.len() + TEXT_CHARS);
        for around in [
            text.clone(),
            format!("{text}\n"),
            format!("  {text}\r\n"),
            text.to_ascii_uppercase().replacen("SCOPE", "scope", 1),
        ] {
            assert_eq!(around.parse(), Ok(secret.clone()), "{around:?}");
        }
        assert_ne!(secret, Secret::generate().unwrap());
    }

    #[test]
    fn what_is_no_secret_is_refused_with_the_reason() {
        let text = ones().reveal();
        let with = |end: &str| format!("{}{end}", &text[..text.len() - 1]);
        let cases = [
            ("", SecretError::Empty),
            (" \n", SecretError::Empty),
            ("correct horse battery staple", SecretError::Prefix),
            ("scope2-aaaa", SecretError::Prefix),
            ("scope1-", SecretError::Length(0)),
            (&with(""), SecretError::Length(51)),
            (&format!("{text}a"), SecretError::Length(53)),
            (&format!("{text}{text}"), SecretError::Character { character: '1', at: 58 }),
            (&with("8"), SecretError::Character { character: '8', at: 52 }),
            (&with("é"), SecretError::Character { character: 'é', at: 52 }),
            (&with("7"), SecretError::Ending), // 52 characters have 260 bits: the last four must be 0
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Secret>(), Err(want), "{text:?}");
        }
    }

    #[test]
    fn errors_say_what_to_do_and_debug_shows_nothing() {
        assert!(SecretError::Prefix.to_string().contains("scope secret new"));
        assert!(SecretError::Empty.to_string().contains("scope secret new"));
        assert_eq!(format!("{:?}", ones()), "Secret(…)");
    }

    #[test]
    fn what_is_derived_differs_by_purpose_and_by_secret() {
        let (one, other) = (ones(), Secret([0; SECRET_BYTES]));
        assert_eq!(one.noise_prologue(), ones().noise_prologue());
        assert_ne!(one.noise_prologue(), other.noise_prologue());
        assert_ne!(one.cluster_label(), other.cluster_label());
        assert_ne!(one.noise_prologue()[..16], one.cluster_label());
        assert_ne!(one.noise_prologue(), one.0);
    }

    /// A release that derives anything else splits every closed mesh. The values were computed with an
    /// implementation of HKDF in another language.
    #[test]
    fn what_is_derived_never_changes() {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(hex(&ones().noise_prologue()), "7ddbf492da70031f39f0e82ebf81f49f1e5c9cfe6e7408b3edb017178b2f4d48");
        assert_eq!(hex(&ones().cluster_label()), "10fd1dd17745e3a28d9b345374c860ea");
    }
}
