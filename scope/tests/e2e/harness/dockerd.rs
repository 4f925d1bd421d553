//! A host's own Docker daemon. Its files are on the host's `/run`, its socket where Docker's always is.

use std::fs;
use std::time::Duration;

use super::engine::Engine;
use super::host::{Host, Namespaces};
use super::image::{self, IMAGE};
use super::logs::Log;
use super::process::Process;
use super::sockets::{self, Awaited};
use super::wait::wait_for;

/// How long a daemon may take to serve on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// In place of `/etc/docker/daemon.json`.
const SETTINGS_FILE: &str = "/run/daemon.json";

/// The daemon of one host; the containers are the host's and end with it.
pub(crate) struct Dockerd {
    namespaces: Namespaces,
    engine: Engine,
    /// None while it is down.
    process: Option<Process>,
    settings: &'static str,
    log: Log,
}

impl Dockerd {
    /// A daemon that serves and holds [`IMAGE`]. Containers survive its end.
    pub(crate) fn start(host: &Host) -> Self {
        Self::start_with(host, "{}")
    }

    /// One with settings, as in `daemon.json`: the machine's own are of no concern to a test host.
    pub(crate) fn start_with(host: &Host, settings: &'static str) -> Self {
        let namespaces = host.namespaces().clone();
        let log = Log::create(&format!("dockerd-{}", namespaces.name()));
        let engine = Engine::at(namespaces.path("/run/docker.sock"));
        let mut daemon = Self { namespaces, engine, process: None, settings, log };
        daemon.serve();
        image::import(&daemon.namespaces);
        daemon
    }

    /// Starts the daemon after [`Dockerd::kill`].
    pub(crate) fn serve(&mut self) {
        assert!(self.process.is_none(), "one daemon to a host");
        fs::write(self.namespaces.path(SETTINGS_FILE), self.settings).expect("a host's own /run is writable");
        let mut command = self.namespaces.command("dockerd");
        command
            .args(["--config-file", SETTINGS_FILE])
            .args(["--data-root=/run/docker-data", "--live-restore", "--log-level=warn"])
            .args(["--exec-opt=native.cgroupdriver=cgroupfs", "--storage-driver=overlay2"])
            .arg(format!("--cgroup-parent=/{}/docker", self.namespaces.cgroup()))
            .stdout(self.log.writer())
            .stderr(self.log.writer());
        let mut process = Process::spawn(command);
        wait_for("a Docker daemon that serves", BOUND, || {
            if let Some(status) = process.status() {
                panic!("the Docker daemon ended: {status}");
            }
            self.engine.ping()
        });
        self.process = Some(process);
    }

    /// The daemon is gone at once, as after `kill -9`; containers run on.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take().expect("it was started"));
    }

    /// The daemon's HTTP API.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What `docker` prints.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.namespaces.run("docker", arguments)
    }

    /// A container that runs in the background; gives its id.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let start = ["run", "--detach", "--name", name, "--hostname", name];
        // A shared network namespace brings its host name along.
        let shared = options.iter().any(|option| option.contains("container:") || *option == "host");
        let start = if shared { &start[..4] } else { &start[..] };
        self.docker(&[start, options, &[IMAGE], command].concat())
    }

    /// A container that answers every connection to `port` with an echo, listening already.
    #[track_caller]
    pub(crate) fn run_server(&self, name: &str, options: &[&str], port: u16) {
        self.run(name, options, &["nc", "-ll", "-p", &port.to_string(), "-e", "cat"]);
        self.wait_socket(name, Awaited::Listener(port));
    }

    /// A container that holds one connection to `port` of `server`, connected already.
    #[track_caller]
    pub(crate) fn run_client(&self, name: &str, options: &[&str], server: &str, port: u16) {
        // An open input: at its end nc would close its half of the connection.
        let options = [&["--interactive"], options].concat();
        self.run(name, &options, &["nc", server, &port.to_string()]);
        self.wait_socket(name, Awaited::ConnectionTo(port));
    }

    /// Returns once the container's network namespace has such a socket.
    #[track_caller]
    pub(crate) fn wait_socket(&self, container: &str, awaited: Awaited) {
        let pid = self.engine.inspect(container)["State"]["Pid"].as_u64().unwrap_or_default();
        assert_ne!(pid, 0, "{container} ended: {}", self.docker(&["logs", container]));
        sockets::wait(&self.namespaces, pid, awaited);
    }

    /// A container's address on a network: its `IPAddress` or `GlobalIPv6Address`.
    #[track_caller]
    pub(crate) fn address(&self, container: &str, network: &str, kind: &str) -> String {
        let networks = &self.engine.inspect(container)["NetworkSettings"]["Networks"];
        networks[network][kind].as_str().expect("the container is on the network").to_owned()
    }
}
