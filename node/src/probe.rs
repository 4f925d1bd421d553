//! Probes: what this host is doing, read from the kernel and the container runtime. Each has a pure `parse` over what it
//! reads and a thin reader; each runs on a schedule of its own, backs off when it costs too much, and says how it does.
//! None of them ends the peer: a source that is missing or forbidden is a smaller map with a visible reason.

mod backoff;
pub mod cgroup;
pub mod connections;
pub mod docker;
pub mod host;
mod mesh_secret;
pub mod names;
pub mod pace;
pub mod process;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use topology::fact::{Fact, Source, Status};
use topology::gauges::Gauges;
use topology::{ContainerId, Key, Netns, ProcessId};

/// A probe, by what it reads. Declared in the order in which a fact both know is taken: the last wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The machine: `/proc`, `/sys`, interfaces.
    Host,
    /// Processes and cgroups.
    Process,
    /// Sockets of every network namespace.
    Connections,
    /// Connections that ended, from inside the kernel.
    Ebpf,
    /// Address translation, and flows without a connected socket.
    Conntrack,
    /// Names of remote addresses.
    Names,
    /// The Docker daemon.
    Docker,
}

impl Name {
    /// As it is shown and logged.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Process => "process",
            Self::Connections => "connections",
            Self::Ebpf => Status::EBPF,
            Self::Conntrack => "conntrack",
            Self::Names => "names",
            Self::Docker => "docker",
        }
    }
}

/// What a probe says to the hub.
#[derive(Debug)]
pub enum Update {
    /// All facts it knows now; what it said before and does not repeat is gone.
    Facts(Name, BTreeMap<Key, Fact>),
    /// Current values. Of containers, each probe tells those it can measure.
    Gauges(Name, Gauges),
    /// How it does. Said when it changes.
    Status(Name, Source),
    /// What it cost since it last said so, in hundredths of a percent of one CPU.
    Cost(Name, u32),
    /// How much it missed since it was started, in what it counts: events, packets. Said when it changes.
    Lost(Name, u64),
}

/// Where probes send their updates. Bounded: a probe waits for the hub rather than run ahead of it.
pub type Updates = mpsc::Sender<Update>;

/// The processes of the last scan: what other probes need to know of them. Sorted by pid.
#[derive(Clone, Debug, Default)]
pub struct ProcessTable {
    /// One row a process, by pid.
    pub rows: BTreeMap<u32, ProcessRow>,
}

/// What other probes need to know of a process.
#[derive(Clone, Debug)]
pub struct ProcessRow {
    /// Pid and start time.
    pub id: ProcessId,
    /// Base name of its program.
    pub name: Arc<str>,
    /// Pid of its parent.
    pub parent: u32,
    /// Network namespace, where we may look.
    pub netns: Option<Netns>,
    /// Container it runs in.
    pub container: Option<ContainerId>,
}

/// First processes of the running containers a runtime told us of: how a process finds its container where its cgroup's
/// name does not say.
pub type InitPids = Arc<BTreeMap<u32, ContainerId>>;
