//! Commands that end, with a bound: a test that hangs says nothing.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The slowest of them on a busy machine: a browser that starts and draws, a container that is made.
const BOUND: Duration = Duration::from_secs(120);

/// What a command did, run to its end.
///
/// # Panics
/// If it could not be started or takes longer than [`BOUND`]; it is killed then.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("our own child, not waited for yet");
    let Ok(output) = in_background(|| child.wait_with_output()).recv_timeout(BOUND) else {
        // It may end right now.
        let _ = pidfd_send_signal(&process, Signal::KILL);
        panic!("{command:?} has not ended after {BOUND:?}");
    };
    output.expect("a pipe can be read")
}

/// The first line a child prints, without its end; empty if it ended instead.
///
/// # Panics
/// If there is none within [`BOUND`].
#[track_caller]
pub(super) fn read_line(child: &mut Child) -> String {
    let stdout = child.stdout.take().expect("a pipe was asked for");
    let line = in_background(|| {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    let line = line.recv_timeout(BOUND).unwrap_or_else(|_| panic!("a child said nothing for {BOUND:?}"));
    line.expect("a pipe can be read").trim_end().to_owned()
}

/// The result of `work`, once it is there.
fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (result, received) = mpsc::channel();
    // Who waited too long does not listen any more.
    thread::spawn(move || drop(result.send(work())));
    received
}
