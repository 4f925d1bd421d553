//! The program under test: the real `scope` on a host.

use std::process::{Command, Output};
use std::time::Duration;

use super::api::Api;
use super::command::output;
use super::host::{Host, Namespaces};
use super::logs::Log;
use super::process::Process;
use super::wait::wait_for;

/// The program; of the profile the tests were built with.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_scope");

/// On the host's own `/run`.
pub(crate) const STATE_DIR: &str = "/run/scope";

/// How long a peer may take to serve on a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// One `scope launch` in the foreground.
pub(crate) struct Peer {
    namespaces: Namespaces,
    process: Process,
    log: Log,
}

impl Peer {
    /// A peer that serves on port 4040 of its host.
    #[track_caller]
    pub(crate) fn launch(host: &Host, arguments: &[&str]) -> Self {
        let mut peer = Self::spawn(host, arguments);
        peer.wait_serving();
        peer
    }

    /// A peer that was only started.
    pub(crate) fn spawn(host: &Host, arguments: &[&str]) -> Self {
        let mut command = command(host, "launch");
        command.args(arguments);
        Self::start(host, command)
    }

    /// A peer started by `command`, made from [`command`] or by other means.
    pub(crate) fn start(host: &Host, mut command: Command) -> Self {
        let namespaces = host.namespaces().clone();
        let log = Log::create(&format!("scope-{}", namespaces.name()));
        command.stdout(log.writer()).stderr(log.writer());
        let process = Process::spawn(command);
        Self { namespaces, process, log }
    }

    #[track_caller]
    pub(crate) fn wait_serving(&mut self) {
        let api = self.api();
        wait_for("a peer that serves", BOUND, || {
            if let Some(status) = self.process.status() {
                panic!("the peer ended: {status}: {}", self.log.text());
            }
            api.json("/api").map(|_| ())
        });
    }

    /// Its API, from outside the host.
    pub(crate) fn api(&self) -> Api {
        Api::at(self.namespaces.address())
    }

    /// Everything it printed so far.
    pub(crate) fn output(&self) -> String {
        self.log.text()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// `scope SUBCOMMAND --state-dir …` on a host.
pub(crate) fn command(host: &Host, subcommand: &str) -> Command {
    let mut command = host.namespaces().command(BINARY);
    command.args([subcommand, "--state-dir", STATE_DIR]);
    command
}

/// What `scope SUBCOMMAND` did, run to its end.
#[track_caller]
pub(crate) fn run(host: &Host, subcommand: &str, arguments: &[&str]) -> Output {
    output(command(host, subcommand).args(arguments))
}
