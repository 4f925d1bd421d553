//! Worlds: hosts with what runs on them, set up once for a row and looked at in every mode.

use std::collections::BTreeMap;

use super::mode::Mode;
use crate::harness::dockerd::Dockerd;
use crate::harness::host::Host;
use crate::harness::lab::Lab;
use crate::harness::mesh::Mesh;
use crate::harness::peer::Peer;
use crate::harness::process::Process;
use crate::harness::sockets::{self, Awaited};

/// The host's first process: its network namespace is the host's.
const INIT: u64 = 1;

/// Hosts and what runs there. Fields are dropped in order: what runs before where it runs.
pub(super) struct World {
    processes: Vec<Process>,
    pub(super) dockers: Vec<Dockerd>,
    /// Each gets a peer.
    pub(super) hosts: Vec<Host>,
    /// Machines without one.
    strangers: Vec<Host>,
    /// Flags of every peer, in every mode.
    pub(super) flags: &'static [&'static str],
    /// What the map calls something, where that is not its name.
    pub(super) names: BTreeMap<String, &'static str>,
}

impl World {
    pub(super) fn new(lab: &Lab, hosts: &[&str]) -> Self {
        Self {
            processes: Vec::new(),
            dockers: Vec::new(),
            hosts: hosts.iter().map(|name| lab.host(name)).collect(),
            strangers: Vec::new(),
            flags: &[],
            names: BTreeMap::new(),
        }
    }

    /// Hosts with a Docker daemon each.
    pub(super) fn with_docker(lab: &Lab, hosts: &[&str]) -> Self {
        let mut world = Self::new(lab, hosts);
        world.dockers = world.hosts.iter().map(Dockerd::start).collect();
        world
    }

    /// The first host's daemon.
    pub(super) fn docker(&self) -> &Dockerd {
        &self.dockers[0]
    }

    /// Something on a host that runs until the world ends.
    pub(super) fn keep(&mut self, process: Process) {
        self.processes.push(process);
    }

    /// A server of one process on a host, listening already.
    #[track_caller]
    pub(super) fn serve(&mut self, host: usize, port: u16) {
        let server = serve(&self.hosts[host], port);
        self.keep(server);
    }

    /// The same on the last machine without a peer.
    #[track_caller]
    pub(super) fn serve_stranger(&mut self, port: u16) {
        let server = serve(self.last_stranger(), port);
        self.keep(server);
    }

    /// A process of a host that holds a connection.
    #[track_caller]
    pub(super) fn connect(&mut self, host: usize, to: &str, port: u16) {
        let client = connect(&self.hosts[host], to, port);
        self.keep(client);
    }

    /// A machine outside the cluster with a public address, one hop from the first host; gives that address.
    pub(super) fn stranger(&mut self, lab: &Lab) -> &'static str {
        const PUBLIC: &str = "203.0.113.9";
        let stranger = lab.host("stranger");
        stranger.run("ip", &["address", "add", &format!("{PUBLIC}/32"), "dev", "lo"]);
        let host = &self.hosts[0];
        let target = host.address().to_string();
        stranger.run("ip", &["route", "add", &target, "dev", "eth0", "src", PUBLIC]);
        host.run("ip", &["route", "add", "203.0.113.0/24", "via", &stranger.address().to_string()]);
        self.strangers.push(stranger);
        PUBLIC
    }

    /// A machine of the hosts' network on which no peer runs.
    pub(super) fn bystander(&mut self, lab: &Lab) -> &Host {
        self.strangers.push(lab.host("bystander"));
        self.last_stranger()
    }

    fn last_stranger(&self) -> &Host {
        self.strangers.last().expect("one was made")
    }

    /// A process of the last machine without a peer that holds a connection.
    #[track_caller]
    pub(super) fn connect_stranger(&mut self, to: &str, port: u16) {
        let client = connect(self.last_stranger(), to, port);
        self.keep(client);
    }

    /// The address of a host, as text.
    pub(super) fn address(&self, host: usize) -> String {
        self.hosts[host].address().to_string()
    }

    /// Without Docker's API the map calls a container by the beginning of its id.
    #[track_caller]
    pub(super) fn know_by_id(&mut self, containers: &[(usize, &'static str)]) {
        for (host, name) in containers {
            let id = self.dockers[*host].engine().inspect(name)["Id"].as_str().unwrap_or_default().to_owned();
            self.names.insert(id[..12].to_owned(), name);
        }
    }

    /// A peer on each host; the first is told to the others.
    #[track_caller]
    pub(super) fn launch(&self, mode: Mode) -> Vec<Peer> {
        let flags = [self.flags, mode.flags()].concat();
        Mesh::launch_on(&self.hosts, &flags)
    }
}

/// A container that takes connections to `port`, listening already. It is one process: whose a connection is, is beyond doubt.
#[track_caller]
pub(super) fn run_server(docker: &Dockerd, name: &str, options: &[&str], port: u16) {
    docker.run(name, options, &["traffic", "serve", &port.to_string()]);
    docker.wait_socket(name, Awaited::Listener(port));
}

#[track_caller]
fn serve(host: &Host, port: u16) -> Process {
    let server = Process::applet(host, &["traffic", "serve", &port.to_string()]);
    sockets::wait(host.namespaces(), INIT, Awaited::Listener(port));
    server
}

/// A process of a host that is connected to `port` of `address`.
#[track_caller]
fn connect(host: &Host, address: &str, port: u16) -> Process {
    let client = Process::applet(host, &["nc", address, &port.to_string()]);
    sockets::wait(host.namespaces(), INIT, Awaited::ConnectionTo(port));
    client
}
