//! Which environment variables look secret. Names always show; a value that looks secret never leaves this host.
//! When in doubt it is hidden: a hidden harmless value costs a look at the container, a shown password much more.

/// Parts of a name, in lower case, that make its value a secret wherever they stand in it.
const IN_NAME: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "key",
    "credential",
    "auth",
    "private",
    "cookie",
    "dsn",
    "webhook",
    "connection_string",
    "connectionstring",
];
/// Whole words of a name that do: as parts they would hide `COMPASS` and `PWD`'s harmless kin.
const WORDS_OF_NAME: [&str; 6] = ["pass", "pw", "pwd", "jwt", "salt", "creds"];
/// Working directories, in the shells' words.
const HARMLESS: [&str; 2] = ["PWD", "OLDPWD"];
/// What well-known tokens begin with: AWS, GitHub, GitLab, Slack, JSON Web Tokens, PEM.
const VALUE_PREFIXES: [&str; 8] = ["AKIA", "ghp_", "gho_", "github_pat_", "glpat-", "xox", "eyJ", "-----BEGIN"];
/// Settings inside of a value (libpq, ADO.NET) that carry a password.
const IN_VALUE: [&str; 3] = ["password=", "pwd=", "passwd="];

/// Whether the value of this variable should be hidden.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    !value.is_empty() && !HARMLESS.contains(&name) && (names_secret(name) || is_secret_value(value))
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    IN_NAME.iter().any(|part| name.contains(part))
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS_OF_NAME.contains(&word))
}

fn is_secret_value(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    VALUE_PREFIXES.iter().any(|prefix| value.starts_with(prefix))
        || IN_VALUE.iter().any(|setting| lower.contains(setting))
        || value.split("://").skip(1).any(has_userinfo)
}

/// Whether what follows a URL's `://` begins with `user@` or `user:password@` (RFC 3986, 3.2.1).
fn has_userinfo(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#', ' ', ',']).next().unwrap_or_default();
    // A raw `/` or `#` in a password ends the authority early: then look for the `@` in all of it.
    authority.contains('@') || (authority.contains(':') && rest.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_hidden_by_its_name_or_its_form() {
        let cases = [
            ("DB_PASSWORD", "hunter2", true),
            ("db_passwd", "hunter2", true),
            ("MYSQL_PASS", "hunter2", true),
            ("API_TOKEN", "abc", true),
            ("AWS_SECRET_ACCESS_KEY", "abc", true),
            ("GoogleCredentials", "{}", true),
            ("PRIVATE_PEM", "x", true),
            ("HTTP_AUTHORIZATION", "Basic eA==", true),
            ("SENTRY_DSN", "https://o1.example/2", true),
            ("DB_PASSWORD", "", false),
            ("PATH", "/usr/bin:/bin", false),
            ("PWD", "/app", false),
            ("COMPASS_MODE", "north", false),
            ("MODE", "production", false),
            ("DATABASE_URL", "postgres://user:word@db/shop", true),
            ("DATABASE_URL", "postgres://user@db/shop", true),
            ("DATABASE_URL", "postgres://user:wo/rd@db/shop", true),
            ("DATABASE_URL", "postgres://db/shop", false),
            ("BROKERS", "amqp://a:1,amqp://u:p@b:1", true),
            ("HOMEPAGE", "https://example.com/@someone", false),
            ("MAIL", "someone@example.com", false),
            ("DB", "host=db password=x", true),
            ("SESSION", "eyJhbGciOi.J9.x", true),
            ("PEM", "-----BEGIN RSA", true),
        ];
        for (name, value, want) in cases {
            assert_eq!(looks_secret(name, value), want, "{name}={value}");
        }
    }
}
