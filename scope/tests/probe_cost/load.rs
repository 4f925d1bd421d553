//! The loads: what runs on a host while its peer is measured.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::api::Api;
use crate::harness::chain;
use crate::harness::dockerd::Dockerd;
use crate::harness::host::Host;
use crate::harness::image::{IMAGE, TRAFFIC};
use crate::harness::process::Process;
use crate::harness::sockets::Awaited;
use crate::harness::wait::{ensure, wait_for};

/// A host of 65 containers: these connect ...
const CLIENTS: usize = 40;

/// ... to these, ...
const SERVERS: usize = 25;

/// ... each to so many of them. All namespaces of a machine share one table of neighbours, of 1,024 by default: not more.
const SERVERS_OF_EACH: usize = 5;

/// Pairs of containers of which one connects to the other, briefly and again and again.
const PAIRS: usize = 10;

/// Where servers listen.
const PORT: u16 = 80;

/// How long a load may take to stand, on a busy machine.
const BOUND: Duration = Duration::from_secs(180);

/// Longer than any measurement.
const FOREVER: &str = "1000000";

/// Flags of a peer as it is by default, and of one without eBPF.
const BOTH: &[&[&str]] = &[&[], &["--no-ebpf"]];

/// What is put on a host, and what is asked of a peer there.
pub(crate) struct Load {
    /// By which it is called for.
    pub(crate) name: &'static str,
    /// As the table calls it.
    pub(crate) title: &'static str,
    /// Most CPU the peer may take, in percent of a core.
    pub(crate) cpu_bar: Option<f64>,
    /// What Weave Scope's probe took: CPU in percent of a core, memory in MB.
    pub(crate) ancestor: Option<(f64, f64)>,
    /// Flags of the peers that are measured.
    pub(crate) modes: &'static [&'static [&'static str]],
    put: fn(&Host) -> World,
}

/// In the order in which they are measured.
pub(crate) const LOADS: [Load; 5] = [
    Load {
        name: "quiet",
        title: "4 containers, 110 processes",
        cpu_bar: Some(0.7),
        ancestor: Some((2.7, 91.0)),
        modes: BOTH,
        put: |host| quiet(host, 110),
    },
    Load {
        name: "containers",
        title: "65 containers, 2,000 open connections",
        cpu_bar: Some(2.0),
        ancestor: Some((11.4, 124.0)),
        modes: BOTH,
        put: |host| talking(host, 2_000),
    },
    Load {
        name: "connections",
        title: "65 containers, 10,000 open connections",
        cpu_bar: Some(5.0),
        ancestor: None,
        modes: BOTH,
        put: |host| talking(host, 10_000),
    },
    Load {
        name: "short",
        title: "20 containers, 10,000 short connections/s",
        cpu_bar: None,
        ancestor: None,
        modes: BOTH,
        put: |host| short(host, 10_000),
    },
    Load {
        name: "processes",
        title: "4 containers, 5,000 processes",
        cpu_bar: None,
        ancestor: None,
        modes: BOTH,
        put: |host| quiet(host, 5_000),
    },
];

impl Load {
    pub(crate) fn put_on(&self, host: &Host) -> World {
        (self.put)(host)
    }
}

/// What runs on the host; it ends with this, or with the host.
pub(crate) struct World {
    pub(crate) docker: Dockerd,
    _crowd: Option<Process>,
    containers: usize,
    /// Relations between containers.
    edges: usize,
    /// Where connections are made: `/proc/PID/net/snmp` of a process in each of these namespaces.
    clients: Vec<PathBuf>,
}

impl World {
    fn new(docker: Dockerd, containers: usize, edges: usize) -> Self {
        Self { docker, _crowd: None, containers, edges, clients: Vec::new() }
    }

    /// Returns once the peer has all of it on its map: a peer that sees nothing costs nothing.
    pub(crate) fn wait_seen(&self, api: &Api) {
        api.wait_view("containers", |view| {
            let containers = view.labels().len();
            let labels: Vec<&str> = view.labels().into_iter().collect();
            let edges = view.edges_among(&labels).len();
            ensure(containers >= self.containers && edges >= self.edges, || {
                format!("{containers} containers of {}, {edges} edges of {}", self.containers, self.edges)
            })
        });
    }

    /// Connections that the short-lived clients opened since they began.
    pub(crate) fn opened(&self) -> u64 {
        self.clients.iter().map(|path| active_opens(&fs::read_to_string(path).unwrap_or_default())).sum()
    }
}

/// `ActiveOpens` of `/proc/net/snmp`: a line of names, then one of numbers.
fn active_opens(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let mut fields = names.zip(numbers);
    fields.find(|(name, _)| *name == "ActiveOpens").and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// Four containers that talk in a chain, seldom, and idle processes outside of them, `processes` with the daemon's.
fn quiet(host: &Host, processes: usize) -> World {
    let docker = Dockerd::start(host);
    chain::start(&docker);
    let mut world = World::new(docker, chain::NAMES.len(), chain::EDGES.len());
    world._crowd = Some(crowd(host, processes));
    world
}

/// Idle processes that fill the host up.
fn crowd(host: &Host, wanted: usize) -> Process {
    let missing = wanted.saturating_sub(processes(host) + 1);
    let script = format!("i=0; while [ $i -lt {missing} ]; do sleep {FOREVER} & i=$((i+1)); done; wait");
    let shell = Process::applet(host, &["sh", "-c", &script]);
    wait_for("the host to fill up", BOUND, || {
        let running = processes(host);
        ensure(running >= wanted, || format!("{running} processes"))
    });
    shell
}

fn processes(host: &Host) -> usize {
    let entries = fs::read_dir(host.namespaces().path("/proc")).expect("the host runs");
    let is_pid = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_pid)).count()
}

/// 65 containers on Docker's own bridge: each client holds connections to five servers, and sends a byte on each of them every
/// second, which the server answers.
pub(crate) fn talking(host: &Host, connections: usize) -> World {
    let docker = Dockerd::start(host);
    let servers = start_servers(&docker, "answer", SERVERS);
    let each = (connections / CLIENTS / SERVERS_OF_EACH).to_string();
    for number in 0..CLIENTS {
        let addresses = (0..SERVERS_OF_EACH).map(|offset| servers[(number + offset) % SERVERS].as_str());
        let command: Vec<&str> = [TRAFFIC, "hold", &each].into_iter().chain(addresses).collect();
        start(&docker, &format!("client{number}"), &command);
    }
    for number in 0..CLIENTS {
        docker.wait_socket(&format!("client{number}"), Awaited::ConnectionTo(PORT));
    }
    World::new(docker, CLIENTS + SERVERS, CLIENTS * SERVERS_OF_EACH)
}

/// Pairs of containers on Docker's own bridge, whose connections are closed as soon as they are open. All of them pass the
/// host's connection tracking.
fn short(host: &Host, per_second: usize) -> World {
    // As on hosts that have so many: neither table of what was is to be full.
    host.run("sysctl", &["-qw", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=10"]);
    let docker = Dockerd::start(host);
    let servers = start_servers(&docker, "serve", PAIRS);
    let rate = (per_second / PAIRS).to_string();
    let mut world = World::new(docker, 2 * PAIRS, PAIRS);
    for (number, server) in servers.iter().enumerate() {
        let name = format!("client{number}");
        let command = [TRAFFIC, "connect", server, &rate, "0", FOREVER];
        world.docker.run(&name, &["--sysctl", "net.ipv4.tcp_tw_reuse=1"], &command);
        let pid = &world.docker.engine().inspect(&name)["State"]["Pid"];
        world.clients.push(host.namespaces().path(&format!("/proc/{pid}/net/snmp")));
    }
    world
}

/// Containers that serve, listening already; their addresses with the port.
fn start_servers(docker: &Dockerd, how: &str, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("server{number}")).collect();
    names.iter().for_each(|name| start(docker, name, &[TRAFFIC, how, &PORT.to_string()]));
    let ready = |name: &String| {
        docker.wait_socket(name, Awaited::Listener(PORT));
        format!("{}:{PORT}", docker.address(name, "bridge", "IPAddress"))
    };
    names.iter().map(ready).collect()
}

/// Through the daemon's API: quicker than its client.
pub(crate) fn start(docker: &Dockerd, name: &str, command: &[&str]) {
    let id = docker.engine().create(name, IMAGE, command, "bridge");
    docker.engine().start(&id);
}
