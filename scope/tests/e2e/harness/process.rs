//! A process on a host, started from outside: `nsenter` here, the process in there.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::host::{Host, only_child};
use super::image::link_applets;
use super::wait::{poll, wait_for};

/// Where the host has the same small programs as the image.
const APPLETS: &str = "/run/applets";

/// From SIGKILL to the end, on a busy machine.
const END_BOUND: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub(crate) struct Process {
    nsenter: Child,
}

impl Process {
    /// Starts a command made by the host.
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self { nsenter: command.spawn().expect("nsenter was found") }
    }

    /// Starts an applet of the image by its own name (`nc`, `sleep`), with an input that stays open.
    pub(crate) fn applet(host: &Host, command: &[&str]) -> Self {
        let directory = host.namespaces().path(APPLETS);
        if !directory.exists() {
            link_applets(&directory);
        }
        let program = format!("{APPLETS}/{}", command[0]);
        let mut child = host.namespaces().command(&program);
        child.args(&command[1..]).stdin(Stdio::piped());
        Self::spawn(child)
    }

    /// As numbered outside the host; none once it ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        only_child(self.nsenter.id())
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("the process runs");
        send(pid, signal).expect("root may signal");
    }

    /// How it ended; none while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.nsenter.try_wait().expect("our own child")
    }

    /// How it ended, within `bound`.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, bound: Duration) -> ExitStatus {
        wait_for("the process's end", bound, || self.status().ok_or_else(|| "still running".to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Some(pid) = self.pid() {
            let _ = send(pid, Signal::KILL);
        }
        // nsenter ends once it has reaped the process: only then is its number free on the host.
        let reaped = poll(END_BOUND, || self.status().ok_or_else(|| "still running".to_owned()));
        if reaped.is_err() {
            let _ = self.nsenter.kill();
            let _ = self.nsenter.wait();
        }
    }
}

fn send(pid: u32, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or("no such number of a process")?;
    kill_process(pid, signal).map_err(|error| error.to_string())
}
