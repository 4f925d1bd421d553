//! What becomes of `scope … | head -1` once `head` has seen enough.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a peer may take to serve on a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// A peer; ends with its test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_peer_and_its_commands_outlive_who_read_what_they_print() {
    let state_dir = tempfile::tempdir().expect("a directory");
    let state_dir = state_dir.path();
    let mut launch = scope("launch", state_dir);
    launch
        .args(["--no-probe", "--http-addr", "127.0.0.1:0", "--mesh-addr", "127.0.0.1:0"])
        .stdout(closed())
        .stderr(closed());
    let mut peer = Peer(launch.spawn().expect("it was built"));

    let start = Instant::now();
    let mut status = run(scope("status", state_dir).stdout(closed()));
    while !status.status.success() {
        assert!(peer.0.try_wait().expect("our own child").is_none(), "the peer ended");
        assert!(start.elapsed() < BOUND, "{}", said(&status));
        status = run(scope("status", state_dir).stdout(closed()));
    }
    assert_eq!(said(&status), "");

    let stop = run(scope("stop", state_dir).stdout(closed()));
    assert_eq!((stop.status.code(), said(&stop).as_str()), (Some(0), ""));
    assert_eq!(peer.0.wait().expect("our own child").code(), Some(0), "it ended as it was told to");

    let nobody = run(scope("stop", state_dir).stderr(closed()));
    assert_eq!(nobody.status.code(), Some(1), "nobody can be told why");
}

#[test]
fn a_version_nobody_reads_is_no_failure() {
    let version = run(Command::new(env!("CARGO_BIN_EXE_scope")).arg("version").stdout(closed()));
    assert_eq!((version.status.code(), said(&version).as_str()), (Some(0), ""));
}

fn scope(subcommand: &str, state_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scope"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SCOPE_")) {
        command.env_remove(name);
    }
    command.arg(subcommand).arg("--state-dir").arg(state_dir).stdin(Stdio::null());
    command
}

/// The writing end of a pipe nobody reads.
fn closed() -> io::PipeWriter {
    let (_, writer) = io::pipe().expect("a pipe");
    writer
}

/// What a command did, with its standard error.
fn run(command: &mut Command) -> Output {
    command.output().expect("it was built")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
