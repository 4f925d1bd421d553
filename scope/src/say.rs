//! Standard output, whose reader may leave before the end.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Prints a line. A reader who has seen enough (`scope status | head -1`) is no error: `println!` would panic, and take a
/// peer down with it.
pub(crate) fn say(line: impl Display) -> Result<()> {
    write(&mut io::stdout().lock(), &line).context("cannot write to standard output")
}

fn write(to: &mut impl Write, line: &impl Display) -> io::Result<()> {
    match writeln!(to, "{line}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is_one() {
        let (reader, mut closed) = io::pipe().expect("a pipe");
        drop(reader);
        write(&mut closed, &"line").expect("nobody is left to miss it");
        let mut full = std::fs::File::options().write(true).open("/dev/full").expect("every Linux has it");
        assert_eq!(write(&mut full, &"line").expect_err("no room").kind(), ErrorKind::StorageFull);
        let mut text = Vec::new();
        write(&mut text, &"line").expect("there is room");
        assert_eq!(text, b"line\n");
    }
}
