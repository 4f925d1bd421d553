//! The secret of a mesh in what probes read: whoever sees the map would have it, so it never leaves this host.

/// What the text of a secret begins with, see [`gossip::secret`].
const PREFIX: &str = "scope1-";

/// So many characters after the prefix are a secret, or one that was cut. A whole one has 52; of one cut shorter than this
/// nearly everything is left to guess. Names such as `scope1-db` stay as they are.
const CHARS_MIN: usize = 16;

/// The text with stars for each secret in it. Never longer than it was.
pub(super) fn masked(text: String) -> String {
    let mut parts = text.split(PREFIX);
    let Some(first) = parts.next().filter(|first| first.len() < text.len()) else { return text };
    parts.fold(first.to_owned(), |line, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        let is_secret = part.len() - rest.len() >= CHARS_MIN;
        line + PREFIX + if is_secret { "***" } else { "" } + if is_secret { rest } else { part }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let secret = gossip::secret::Secret::generate().expect("random bytes").reveal();
        let secret = secret.as_str();
        let cases = [
            ("", ""),
            ("SECRET", "scope1-***"),
            ("launch --secret SECRET db1", "launch --secret scope1-*** db1"),
            ("--secret=\"SECRET\"", "--secret=\"scope1-***\""),
            ("SECRET,SECRET", "scope1-***,scope1-***"),
            ("SECRETSECRET", "scope1-***scope1-***"),
            ("xSECRETx", "xscope1-***"),
            ("scope1-SECRET", "scope1-scope1-***"),
            ("scope1-abcdefghij234567", "scope1-***"), // cut
            ("scope1-db-1 of scope1-", "scope1-db-1 of scope1-"),
            ("scope launch", "scope launch"),
        ];
        for (text, want) in cases {
            let got = masked(text.replace("SECRET", secret));
            assert_eq!(got, want, "{text}");
        }
    }
}
