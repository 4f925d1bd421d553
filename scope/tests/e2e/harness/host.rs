//! One machine as far as `scope` and Docker can tell: own name, processes, network, mounts and `/run`.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, process};

use super::command::{output, read_line};
use super::wait::poll;

const INIT_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/harness/init.sh");

/// What the cgroups of our hosts begin with; the test run's pid follows.
const CGROUP_PREFIX: &str = "scope-e2e";

/// How long a host's init takes to kill everything and remove the cgroups, on a busy machine.
const SHUTDOWN_BOUND: Duration = Duration::from_secs(20);

/// A machine. Dropping it is pulling its plug: all its processes die and nothing stays.
pub(crate) struct Host {
    namespaces: Namespaces,
    /// Waits for the host's init; its standard input is the life line (see `init.sh`).
    unshare: Child,
}

/// How to get at a host; a copy outlives nothing.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    init: u32,
    name: String,
    address: Ipv4Addr,
    cgroup: String,
}

impl Host {
    /// A running machine without a network.
    pub(super) fn boot(name: &str, address: Ipv4Addr) -> Self {
        static HOSTS: AtomicU16 = AtomicU16::new(0);
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("{CGROUP_PREFIX}-{}-{number}", process::id());
        let mut unshare = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--mount-proc", "--uts", "--ipc", "--mount", "--"])
            .args(["bash", INIT_SCRIPT, name, &cgroup])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare was found");
        assert_eq!(read_line(&mut unshare), "ready", "the first process of host {name}");
        let init = only_child(unshare.id()).expect("it said it is ready");
        Self { namespaces: Namespaces { init, name: name.to_owned(), address, cgroup }, unshare }
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What `program` prints on the host, trimmed.
    ///
    /// # Panics
    /// If it fails, with what it said.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.namespaces.run(program, arguments)
    }

    /// The host's address on the lab's network.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.namespaces.address
    }

    /// The lab's end of the host's cable.
    pub(crate) fn port(&self) -> String {
        format!("port{}", self.namespaces.address.octets()[3])
    }

    /// Lets the host know the others by name, in an `/etc/hosts` of its own.
    #[track_caller]
    pub(crate) fn knows(&self, others: &[Self]) {
        let lines: String =
            others.iter().map(|other| format!("{} {}\n", other.address(), other.namespaces.name)).collect();
        fs::write(self.namespaces.path("/run/hosts"), lines).expect("a host's own /run is writable");
        self.run("mount", &["--bind", "/run/hosts", "/etc/hosts"]);
    }
}

impl Namespaces {
    /// The host's first process, as numbered outside it.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The cgroup, from the root of each hierarchy, under which the host's containers go.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Where the host's `path` (absolute) is, seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// A command to start on the host. Ends with the host at the latest.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--", program]);
        command.stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_personal(name)) {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", "/run/docker-config");
        command
    }

    /// See [`Host::run`].
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = output(self.command(program).args(arguments));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {}: {stderr}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let gone = poll(SHUTDOWN_BOUND, || match self.unshare.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if let Err(why) = gone {
            // No panic: one may be on its way already.
            eprintln!("host {}: {why}", self.namespaces.name);
        }
    }
}

/// Whether a variable is a developer's own setting, of no concern to a test host.
fn is_personal(variable: &OsStr) -> bool {
    variable
        .to_str()
        .is_some_and(|name| name.starts_with("SCOPE_") || name.starts_with("DOCKER_") || name == "RUST_LOG")
}

/// The child of a process that has exactly one: `unshare`, `nsenter`.
pub(crate) fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.trim().parse().ok()
}
