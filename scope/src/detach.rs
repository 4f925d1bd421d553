//! `scope launch --detach`: starts a peer that outlives this command, and waits until it serves.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::Launch;
use crate::launch::announce;
use crate::run_file::RunFile;
use crate::say::say;

/// Longest wait for the peer to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks at whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts a peer in the background.
pub(crate) fn detach(launch: &Launch) -> Result<()> {
    let state_dir = launch.running.state_dir()?;
    let stop = launch.running.command("stop");
    if let Ok(Some(run)) = RunFile::read(&state_dir) {
        bail!("a scope runs already with this state directory, process {}: `{stop}` ends it", run.pid);
    }
    make(&state_dir).with_context(|| format!("cannot make {}", state_dir.display()))?;
    let log = state_dir.join("scope.log");
    let mut child = start(&log)?;
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let pid = i32::try_from(child.id()).context("a pid beyond 2³¹")?;
        if let Ok(Some(run)) = RunFile::read(&state_dir)
            && run.pid == pid
        {
            announce(run.http_addr)?;
            return say(format_args!("The log is {}; `{stop}` ends it.", log.display()));
        }
        if let Some(status) = child.try_wait().context("cannot wait for the peer")? {
            bail!("it ended at once ({status}):\n{}", tail(&log));
        }
        if Instant::now() > deadline {
            bail!("it does not serve yet; see {}", log.display());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Makes the state directory as the peer would: it holds a key and a log, of no concern to others.
fn make(state_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)
}

/// The same command without `--detach`, in a session of its own.
fn start(log: &Path) -> Result<Child> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|it| it != "--detach").collect();
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    // SAFETY: setsid is async-signal-safe, and the closure touches nothing of this process.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    command.spawn().context("cannot start the peer")
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_state_directory_is_its_owners_alone() {
        let parent = tempfile::tempdir().expect("a directory");
        let state_dir = parent.path().join("state/scope");
        for _ in 0..2 {
            make(&state_dir).expect("there is room, and one that is there is no error");
            let mode = fs::metadata(&state_dir).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }
}
