//! What a peer says of its own host: the unit of everything. A fact has a [`Key`] and a value; only its origin writes it
//! (I2), and nothing in it ticks by itself (I3): uptimes and ages are derived where they are shown.
//!
//! Values that change all the time are in [`crate::gauges`], apart from the facts they belong to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::address;
use crate::gauges::Gauges;
use crate::id::{ContainerId, ImageId, Netns, ProcessId, Timestamp};
use crate::key::Key;
use crate::services::{NAME_BYTES_MAX, Rule};

/// One thing a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The machine itself.
    Host(Host),
    /// A container, in any state but removed.
    Container(Container),
    /// An image some container was made from.
    Image(Image),
    /// A process.
    Process(Process),
    /// A socket that waits for connections.
    Listener(Listener),
    /// All connections between one local owner and one remote address in one direction.
    Flow(Flow),
    /// A network namespace that is not the host's own.
    Namespace(Namespace),
    /// Names of an address some flow leads to.
    RemoteName(RemoteName),
    /// What the operator of this host calls services outside the cluster.
    Services(Vec<Rule>),
    /// A block of current metric values.
    Gauges(Gauges),
    /// Which sources work, and why not.
    Status(Status),
}

impl Fact {
    /// The key this fact is stored under.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Host(_) => Key::Host,
            Self::Container(container) => Key::Container(container.id.clone()),
            Self::Image(image) => Key::Image(image.id.clone()),
            Self::Process(process) => Key::Process(process.id),
            Self::Listener(listener) => Key::Listener(listener.key),
            Self::Flow(flow) => Key::Flow(flow.key),
            Self::Namespace(namespace) => Key::Namespace(namespace.netns),
            Self::RemoteName(name) => Key::RemoteName(name.address),
            Self::Services(_) => Key::Services,
            Self::Gauges(gauges) => Key::Gauges(gauges.kind()),
            Self::Status(_) => Key::Status,
        }
    }
}

/// The machine a peer probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Host name, as `uname -n` says or the operator chose.
    pub name: String,
    /// `PRETTY_NAME` of os-release(5).
    pub os: String,
    /// Kernel release and version.
    pub kernel: String,
    /// Version of `scope` that probes it.
    pub scope_version: String,
    /// When the kernel started.
    pub booted_at: Timestamp,
    /// Number of online CPUs.
    pub cpus: u32,
    /// Memory the kernel can use, in bytes.
    pub memory_bytes: u64,
    /// The host's network namespace: where its own addresses and published ports are.
    pub netns: Option<Netns>,
    /// Addresses of the host's interfaces with their networks, loopback left out.
    pub networks: Vec<Network>,
}

/// An address with the network it is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Network {
    /// Interface that carries it.
    pub interface: String,
    /// The host's own address.
    pub address: IpAddr,
    /// Length of the network's prefix, in bits.
    pub prefix: u8,
}

impl Network {
    /// Whether `other` is an address of this network too. A v4 address mapped into v6 is that v4 address.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        address::contains(address::network(self.address.to_canonical(), self.prefix), other.to_canonical())
    }

    /// Whether the interface is a bridge that a container runtime makes, by its name: `docker0`, `podman1`, `cni0`, `br-` with
    /// the first half of a network's id. Others called `br-…` may be bridges to the LAN.
    #[must_use]
    pub fn is_runtimes(&self) -> bool {
        let name = self.interface.as_str();
        let is_id = |id: &str| id.len() == 12 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        name == "docker_gwbridge"
            || name.strip_prefix("br-").is_some_and(is_id)
            || ["docker", "podman", "cni-podman", "cni"].iter().any(|of| name.strip_prefix(of).is_some_and(is_number))
    }
}

/// A container as its runtime describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The runtime's id.
    pub id: ContainerId,
    /// Name without Docker's leading slash.
    #[serde(default)]
    pub name: String,
    /// Image as it was named at creation, with tag or digest.
    #[serde(default)]
    pub image: String,
    /// Image id, if the runtime says it.
    #[serde(default)]
    pub image_id: Option<ImageId>,
    /// Path and arguments.
    #[serde(default)]
    pub command: String,
    /// When it was created.
    #[serde(default)]
    pub created_at: Timestamp,
    /// When it was last started; `None` if never.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// What it is doing now.
    #[serde(default, deserialize_with = "lenient")]
    pub state: ContainerState,
    /// How often its restart policy restarted it.
    #[serde(default)]
    pub restart_count: u64,
    /// Host name inside the container.
    #[serde(default)]
    pub hostname: String,
    /// `bridge`, `host`, `none`, `container:ID` or a network's name.
    #[serde(default)]
    pub network_mode: String,
    /// Networks it is attached to, by name.
    #[serde(default)]
    pub networks: BTreeMap<String, Vec<IpAddr>>,
    /// Ports it exposes or publishes.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Labels, its image's among them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Environment: names always, `None` where the value looked secret.
    #[serde(default)]
    pub env: BTreeMap<String, Option<String>>,
    /// `docker`, `containerd`, `podman`, …
    #[serde(default)]
    pub runtime: String,
    /// Pid of its first process in the host's pid namespace, while it runs.
    #[serde(default)]
    pub init_pid: Option<u32>,
}

impl Container {
    /// A container of which nothing is known yet but its id.
    #[must_use]
    pub fn new(id: ContainerId) -> Self {
        Self {
            id,
            name: String::new(),
            image: String::new(),
            image_id: None,
            command: String::new(),
            created_at: Timestamp::default(),
            started_at: None,
            state: ContainerState::default(),
            restart_count: 0,
            hostname: String::new(),
            network_mode: String::new(),
            networks: BTreeMap::new(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            env: BTreeMap::new(),
            runtime: String::new(),
            init_pid: None,
        }
    }

    /// Whether it shares the host's network namespace.
    #[must_use]
    pub fn is_in_host_network(&self) -> bool {
        self.network_mode == "host"
    }
}

/// What a container is doing, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Processes are running.
    #[default]
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Between two runs, by its restart policy.
    Restarting,
    /// Being deleted.
    Removing,
    /// Ended, with the exit code of its first process.
    Exited(i64),
    /// A deletion that failed half-way.
    Dead,
    /// A word of a runtime newer than us.
    #[serde(other)]
    Unknown,
}

/// A state, or that it is one we do not know: a newer peer may have more to say of it than a word.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ContainerState, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Known(ContainerState),
        Newer(serde::de::IgnoredAny),
    }
    Told::deserialize(deserializer).map(|told| match told {
        Told::Known(state) => state,
        Told::Newer(_) => ContainerState::Unknown,
    })
}

impl ContainerState {
    /// Whether it has processes: what the views call "running", paused included.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// Port inside the container.
    pub container_port: u16,
    /// Protocol of it.
    pub protocol: Protocol,
    /// Address and port of the host it is published on; an unspecified address means every one. `None`: only exposed.
    pub published: Option<SocketAddr>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Id without `sha256:`.
    pub id: ImageId,
    /// Names with tags, sorted.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Size of all its layers, in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Pid and start time.
    pub id: ProcessId,
    /// Base name of its program; `[comm]` for a kernel thread.
    #[serde(default)]
    pub name: String,
    /// Arguments joined by spaces, cut at the probe's limit.
    #[serde(default)]
    pub command_line: String,
    /// Pid of its parent.
    #[serde(default)]
    pub parent: u32,
    /// Container it runs in.
    #[serde(default)]
    pub container: Option<ContainerId>,
    /// User it runs as: a name where the host knows one, else the number.
    #[serde(default)]
    pub user: String,
    /// Number of threads.
    #[serde(default)]
    pub threads: u32,
    /// Network namespace, where the probe may look.
    #[serde(default)]
    pub netns: Option<Netns>,
    /// Soft limit of open files; `None` is unlimited or unknown.
    #[serde(default)]
    pub open_files_max: Option<u64>,
}

impl Process {
    /// A process of which nothing is known yet but its id.
    #[must_use]
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            name: String::new(),
            command_line: String::new(),
            parent: 0,
            container: None,
            user: String::new(),
            threads: 1,
            netns: None,
            open_files_max: None,
        }
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// A protocol of a peer newer than us.
    #[serde(other)]
    Other,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp` or `other`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Other => "other",
        }
    }
}

/// Names a listening socket on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerKey {
    /// Network namespace of the socket.
    pub netns: Netns,
    /// Protocol.
    pub protocol: Protocol,
    /// Bound address; unspecified means every one of its namespace. `::` stands for v4 too unless `v6_only`.
    pub address: IpAddr,
    /// Bound port.
    pub port: u16,
}

/// A socket that waits for connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where it listens.
    pub key: ListenerKey,
    /// A wildcard v6 socket that takes no v4 connections (`IPV6_V6ONLY`, ipv6(7)).
    #[serde(default)]
    pub v6_only: bool,
    /// Processes that hold it, sorted; empty if the probe may not see them.
    #[serde(default)]
    pub owners: Vec<ProcessId>,
}

/// Who holds the local end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A process.
    Process(ProcessId),
    /// Some process of this network namespace: its socket was already orphaned, or we may not look.
    Netns(Netns),
}

/// Which side opened the connections of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The remote side.
    Incoming,
    /// The owner.
    Outgoing,
}

/// Names a flow on its host: the client's side by `(owner, remote address, remote port)`, the server's by
/// `(owner, local port, remote address)`. So the number of flows grows with relations, not with sockets.
///
/// The remote address is the far end's as the host's own address translation leaves it: where a connection really goes, and
/// who really comes. How the owner knows it is in [`Flow::via`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// Local end.
    pub owner: Owner,
    /// Who opened it.
    pub direction: Direction,
    /// Protocol.
    pub protocol: Protocol,
    /// Remote address.
    pub remote: IpAddr,
    /// Port of the serving side: the remote one if outgoing, the local one if incoming.
    pub port: u16,
}

/// All connections between one local owner and one remote address in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// What makes it one flow.
    pub key: FlowKey,
    /// The origin's own number for it, by which gauge columns name it.
    pub serial: u32,
    /// Network namespace of the owner: what a loopback address means, and where to look for a listener.
    pub netns: Netns,
    /// When the probe first saw it.
    #[serde(default)]
    pub first_seen: Timestamp,
    /// Whether a connection of it is open, or one ended a moment ago; another is kept for a while so that it fades.
    #[serde(default)]
    pub open: bool,
    /// Where this host's address translation stands between: the address the client named. A service's or a published
    /// port's, outgoing as much as incoming.
    #[serde(default)]
    pub via: Option<SocketAddr>,
    /// The owner's address as the far end sees it, where this host's address translation changes it (masquerade).
    #[serde(default)]
    pub masquerade: Option<IpAddr>,
    /// Which sources saw it.
    #[serde(default)]
    pub evidence: Evidence,
}

impl Flow {
    /// An open flow of which no more is known.
    #[must_use]
    pub fn new(key: FlowKey, serial: u32, netns: Netns, first_seen: Timestamp) -> Self {
        let evidence = Evidence::default();
        Self { key, serial, netns, first_seen, open: true, via: None, masquerade: None, evidence }
    }
}

/// Sources that saw a flow, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(u16);

impl Evidence {
    /// An open socket in the kernel's tables.
    pub const SOCK_DIAG: Self = Self(1);
    /// An open socket in `/proc/PID/net`.
    pub const PROC_NET: Self = Self(2);
    /// The kernel's own report of a connection that ended, by eBPF.
    pub const EBPF: Self = Self(4);
    /// An entry of connection tracking.
    pub const CONNTRACK: Self = Self(8);
    /// The kernel's notification of a destroyed socket.
    pub const DESTROYED: Self = Self(16);
    /// A socket that lingers after its connection ended.
    pub const TIME_WAIT: Self = Self(32);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::SOCK_DIAG, "sock_diag"),
        (Self::PROC_NET, "/proc/net"),
        (Self::EBPF, "eBPF"),
        (Self::CONNTRACK, "conntrack"),
        (Self::DESTROYED, "destroyed sockets"),
        (Self::TIME_WAIT, "TIME_WAIT"),
    ];

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What people read, one name a source.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(source, _)| self.contains(*source)).map(|(_, name)| name)
    }
}

impl std::ops::BitOr for Evidence {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Evidence {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A network namespace, by its addresses: so that a container has some even where its runtime does not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub netns: Netns,
    /// Addresses of its interfaces with their networks, loopback left out.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// Most names kept of an address.
pub const REMOTE_NAMES_MAX: usize = 4;

/// Names of an address some flow leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteName {
    /// The address.
    pub address: IpAddr,
    /// Names this host asked for and got the address as an answer, newest first; at most [`REMOTE_NAMES_MAX`].
    #[serde(default)]
    pub names: Vec<String>,
    /// What a reverse look-up says.
    #[serde(default)]
    pub reverse: Option<String>,
}

impl RemoteName {
    /// Without what a peer tells beyond the bounds: names longer than DNS has, and more than [`REMOTE_NAMES_MAX`].
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let is_name = |name: &String| name.len() <= NAME_BYTES_MAX;
        self.names.retain(is_name);
        self.names.truncate(REMOTE_NAMES_MAX);
        self.reverse = self.reverse.filter(is_name);
        self
    }
}

/// Which sources of the probe work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// One entry a source, by name.
    pub sources: BTreeMap<String, Source>,
}

impl Status {
    /// The source that is told by the kernel of each TCP connection that ends.
    pub const EBPF: &str = "ebpf";

    /// Whether no TCP connection ends uncounted.
    #[must_use]
    pub fn counts_every_end(&self) -> bool {
        self.sources.get(Self::EBPF).is_some_and(|source| source.state == SourceState::Ok)
    }
}

/// How one source of the probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Whether it delivers.
    pub state: SourceState,
    /// How it works at the moment: `events`, `sock_diag`, …
    #[serde(default)]
    pub mode: String,
    /// Why it is not `ok`, and what to do about it; empty if it is.
    #[serde(default)]
    pub reason: String,
}

/// Whether a source delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// All of it.
    Ok,
    /// Part of it.
    Degraded,
    /// Nothing.
    Off,
    /// A word of a peer newer than us.
    #[serde(other)]
    Unknown,
}
