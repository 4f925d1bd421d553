//! Where a test's logs and pictures go: `target/e2e/<test>/`, and their tails on a failure.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Lines of a log shown when its test fails; the file has all of it.
const TAIL_LINES: usize = 40;

/// `target/e2e`, kept after the run.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map_or_else(PathBuf::new, Path::to_owned).join("e2e")
}

thread_local! {
    /// Where the logs of the test on this thread go.
    static OF_THIS_TEST: RefCell<PathBuf> = RefCell::new(directory());
}

/// The test that calls is `name`; removes what an earlier run of it left.
pub(super) fn begin(name: &str) {
    let logs = directory().join(name.replace("::", "."));
    // None is there at the first run.
    let _ = fs::remove_dir_all(&logs);
    OF_THIS_TEST.set(logs);
}

/// Says how long something took: on the terminal, past what the test runner captures, and in `measured.log`.
pub(crate) fn measured(what: &str, took: Duration) {
    note(&format!("{what}: {:.2} s", took.as_secs_f64()));
}

/// Says a line, where [`measured`] does.
pub(crate) fn note(line: &str) {
    let directory = OF_THIS_TEST.with_borrow(PathBuf::clone);
    fs::create_dir_all(&directory).expect("the target directory is writable");
    let test = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = File::options().create(true).append(true).open(directory.join("measured.log"));
    writeln!(file.expect("the target directory is writable"), "{line}").expect("there is room");
    // A terminal that is gone is no failure.
    let _ = writeln!(io::stderr(), "{test}: {line}");
}

/// A log file of the test that calls.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// An empty log: `name.log`, or `name-1.log` and so on if a test asks for it again.
    pub(crate) fn create(name: &str) -> Self {
        let directory = OF_THIS_TEST.with_borrow(PathBuf::clone);
        fs::create_dir_all(&directory).expect("the target directory is writable");
        let files = (0..).map(|number| match number {
            0 => format!("{name}.log"),
            _ => format!("{name}-{number}.log"),
        });
        let path = files.map(|file| directory.join(file)).find(|path| !path.exists());
        let path = path.expect("a number is free");
        File::create(&path).expect("the target directory is writable");
        Self { path }
    }

    /// A handle that appends, for a child's output.
    pub(crate) fn writer(&self) -> File {
        File::options().append(true).open(&self.path).expect("created above")
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = self.text();
            let lines: Vec<_> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- end of {}\n{}\n---", self.path.display(), tail.join("\n"));
        }
    }
}
