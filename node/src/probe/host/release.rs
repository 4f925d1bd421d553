//! What the machine is called and what runs on it.

use std::fs;
use std::path::Path;

/// Longest name or version kept, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Longest os-release file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Host name, as the kernel has it.
pub(super) fn host_name(proc_root: &Path) -> String {
    one_line(proc_root, "sys/kernel/hostname").unwrap_or_else(|| {
        let name = rustix::system::uname();
        bounded(&name.nodename().to_string_lossy())
    })
}

/// Kernel release and version: `6.12.48 #1 SMP PREEMPT_DYNAMIC …`.
pub(super) fn kernel(proc_root: &Path) -> String {
    let parts = ["sys/kernel/osrelease", "sys/kernel/version"].map(|file| one_line(proc_root, file));
    if let [Some(release), Some(version)] = parts {
        return format!("{release} {version}");
    }
    let name = rustix::system::uname();
    bounded(&format!("{} {}", name.release().to_string_lossy(), name.version().to_string_lossy()))
}

/// `PRETTY_NAME` of the host's os-release(5), which its first process sees also where we run in a container; `Linux` if
/// there is none.
pub(super) fn operating_system(proc_root: &Path) -> String {
    let of_host = ["1/root/etc/os-release", "1/root/usr/lib/os-release"].map(|file| proc_root.join(file));
    let own = ["/etc/os-release", "/usr/lib/os-release"].map(Into::into);
    let pretty = of_host.into_iter().chain(own).find_map(|path| {
        let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= FILE_BYTES_MAX);
        let text = is_small.then(|| fs::read(&path).ok()).flatten()?;
        pretty_name(&String::from_utf8_lossy(&text))
    });
    pretty.unwrap_or_else(|| "Linux".to_owned())
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
    // Within double quotes, shell's special characters have a backslash.
    let mut plain = String::new();
    let mut escaped = false;
    for c in inner.chars() {
        escaped = c == '\\' && !escaped && quote == Some('"');
        if !escaped && !c.is_control() {
            plain.push(c);
        }
    }
    (!plain.is_empty()).then(|| bounded(&plain))
}

fn one_line(proc_root: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(proc_root.join(file)).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| bounded(line))
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pretty_name_is_read_as_a_shell_would() {
        let cases = [
            ("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", Some("Debian GNU/Linux 13 (trixie)")),
            ("PRETTY_NAME='One Two'", Some("One Two")),
            ("PRETTY_NAME=Alpine\r\n", Some("Alpine")),
            (r#"PRETTY_NAME="a \"b\" \\ c""#, Some(r#"a "b" \ c"#)),
            ("PRETTY_NAME=\"", Some("\"")),
            ("PRETTY_NAME=\"\"", None),
            ("PRETTY_NAME=", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(pretty_name(text).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn texts_are_bounded_at_a_characters_end() {
        let long = format!("PRETTY_NAME={}", "ü".repeat(1000));
        assert_eq!(pretty_name(&long).map(|name| name.len()), Some(TEXT_BYTES_MAX));
    }
}
