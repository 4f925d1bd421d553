//! What a process is called: the name people know it by, and its command line.

use crate::probe::mesh_secret::masked;

/// Longest name kept, in bytes. Titles that daemons write over their arguments have no bound of their own.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest command line kept, in bytes.
pub const COMMAND_LINE_BYTES_MAX: usize = 4096;

/// Where the kernel cuts a comm: `TASK_COMM_LEN` less its NUL.
const COMM_BYTES: usize = 15;

/// Arguments joined by spaces, from `/proc/PID/cmdline`, where each ends with a NUL. Cut at
/// [`COMMAND_LINE_BYTES_MAX`]; what is no text becomes `U+FFFD`. A secret of a mesh is left out.
#[must_use]
pub(super) fn command_line(arguments: &[u8]) -> String {
    masked(printable(trimmed(arguments), COMMAND_LINE_BYTES_MAX))
}

/// Name of a process by its arguments and its comm. Usually the base name of the first argument; the whole of it if the
/// process wrote a title there (`nginx: worker process`); its comm if it has no arguments.
#[must_use]
pub(super) fn name(arguments: &[u8], comm: &[u8]) -> String {
    let first = arguments.split(|b| *b == 0).next().unwrap_or_default();
    let first = printable(trimmed(first), COMMAND_LINE_BYTES_MAX);
    let name = if is_title(&first) { &first } else { program(&first, comm) };
    if name.is_empty() {
        return printable(comm, NAME_BYTES_MAX);
    }
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

/// Name of a kernel thread: its comm in brackets. A worker's says what it is at, after the pool it belongs to
/// (`kworker/0:1-events`): that part changes by itself and is left out.
#[must_use]
pub(super) fn kernel_thread(comm: &[u8]) -> String {
    let comm = printable(comm, NAME_BYTES_MAX);
    let lasting = match comm.strip_prefix("kworker/").and_then(|pool| pool.split_once(':')) {
        Some((cpu, rest)) => {
            let id = rest.split(['-', '+']).next().unwrap_or_default();
            format!("kworker/{cpu}:{id}")
        }
        None => comm,
    };
    format!("[{lasting}]")
}

/// `daemon: what it does`, as setproctitle(3) writes it.
fn is_title(argument: &str) -> bool {
    argument.split_once(": ").is_some_and(|(who, _)| !who.is_empty() && !who.contains(['/', ' ']))
}

/// Base name of the program an argument names; of a login shell without its dash. Some write their whole command line
/// into one argument, others have spaces in their path: the comm decides between them.
fn program<'a>(argument: &'a str, comm: &[u8]) -> &'a str {
    let whole = base_name(argument);
    let word = base_name(argument.split(' ').next().unwrap_or_default());
    let fits = |name: &str| name.as_bytes() == comm || (comm.len() >= COMM_BYTES && name.as_bytes().starts_with(comm));
    let chosen = if !fits(whole) && fits(word) { word } else { whole };
    chosen.strip_prefix('-').filter(|shell| !shell.is_empty()).unwrap_or(chosen)
}

fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Text fit for one line, cut at a character's end: white space and NULs are spaces, other control characters and what is
/// no UTF-8 `U+FFFD`.
fn printable(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(bytes_max)]);
    let mut line: String = text
        .chars()
        .map(|c| match c {
            '\0' => ' ',
            _ if c.is_whitespace() => ' ',
            _ if c.is_control() => char::REPLACEMENT_CHARACTER,
            _ => c,
        })
        .collect();
    line.truncate(line.floor_char_boundary(bytes_max));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_a_mesh_is_not_shown() {
        let cases: [(&[u8], &str); 3] = [
            (b"scope\0launch\0--secret\0scope1-abcdefghij234567\0db1\0", "scope launch --secret scope1-*** db1"),
            (b"sh\0-c\0echo scope1-abcdefghij234567 > x\0", "sh -c echo scope1-*** > x"),
            (b"scope\0launch\0", "scope launch"),
        ];
        for (arguments, want) in cases {
            assert_eq!(command_line(arguments), want);
        }
    }

    #[test]
    fn a_process_is_called_what_people_call_it() {
        let chrome: &[u8] = b"/opt/google/chrome/chrome --type=renderer --dir=/a/b";
        let cases: [(&[u8], &[u8], &str); 17] = [
            (b"/usr/bin/python3\0app.py\0", b"python3", "python3"),
            (b"redis-server *:6379\0\0\0\0", b"redis-server", "redis-server"),
            (b"-bash\0", b"bash", "bash"),
            (b"-\0", b"odd", "-"),
            (b"nginx: worker process\0\0\0\0", b"nginx", "nginx: worker process"),
            (b"nginx: master process /usr/sbin/nginx -g", b"nginx", "nginx: master process /usr/sbin/nginx -g"),
            (b"sshd: root@pts/0", b"sshd", "sshd: root@pts/0"),
            (b"postgres: writer   ", b"postgres", "postgres: writer"),
            (chrome, b"chrome", "chrome"),
            (b"/opt/My App/My App\0-x\0", b"My App", "My App"),
            (b"/usr/bin/odd: x", b"odd", "odd: x"),
            (b"./run\0", b"run", "run"),
            (b"", b"(sd-pam)", "(sd-pam)"),
            (b"\0\0", b"sh", "sh"),
            (b"///\0", b"sh", "sh"),
            (b"a\x1b[31mb\0", b"ab", "a\u{fffd}[31mb"),
            (b"\xff\xfe\0", b"x", "\u{fffd}\u{fffd}"),
        ];
        for (arguments, comm, want) in cases {
            assert_eq!(name(arguments, comm), want, "{:?}", String::from_utf8_lossy(arguments));
        }
    }

    #[test]
    fn a_kernel_worker_keeps_its_name_whatever_it_works_at() {
        let cases = [
            ("kworker/0:1-events", "[kworker/0:1]"),
            ("kworker/u4:2+flush-8:0", "[kworker/u4:2]"),
            ("kworker/0:0H", "[kworker/0:0H]"),
            ("kworker/R-rcu_gp", "[kworker/R-rcu_gp]"),
            ("ksoftirqd/0", "[ksoftirqd/0]"),
        ];
        for (comm, want) in cases {
            assert_eq!(kernel_thread(comm.as_bytes()), want);
        }
    }

    #[test]
    fn a_command_line_is_one_bounded_line() {
        let cases: [(&[u8], &str); 5] = [
            (b"sh\0-c\0echo hello; sleep 1\0", "sh -c echo hello; sleep 1"),
            (b"a\0\0b\0", "a  b"),
            (b"sh\0-c\0one\ntwo\x07", "sh -c one two\u{fffd}"),
            (b"\xf0\x9f\0", "\u{fffd}"),
            (b"", ""),
        ];
        for (arguments, want) in cases {
            assert_eq!(command_line(arguments), want);
        }
        for unit in ["x", "ü", "€", "\u{1}", "𝄞"] {
            let line = command_line(unit.repeat(COMMAND_LINE_BYTES_MAX).as_bytes());
            assert!(
                (COMMAND_LINE_BYTES_MAX - 3..=COMMAND_LINE_BYTES_MAX).contains(&line.len()),
                "{unit:?}: {}",
                line.len()
            );
            let name = name(unit.repeat(100).as_bytes(), b"");
            assert!((NAME_BYTES_MAX - 3..=NAME_BYTES_MAX).contains(&name.len()), "{unit:?}: {name}");
        }
    }
}
