//! The host probe: the machine itself, its networks, and how busy it is.

mod kernel;
pub(super) mod networks;
mod release;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::Netns;
use topology::fact::{Fact, Host, Network, Source, SourceState};
use topology::gauges::{Gauges, HostGauges};
use topology::services::Rule;

pub use kernel::{CpuTimes, Kernel, Memory, load1_hundredths};

use crate::probe::connections::netns;
use crate::probe::pace::{self, Moment, Nudge, Round, Schedule};
use crate::probe::{Name, Update, Updates};

/// Interval of the gauges, and the longest a new network stays unseen.
const BEAT: Duration = Duration::from_secs(2);

/// Share of one CPU it may take.
const BUDGET: f64 = 0.002;

/// Beats after which what hardly changes is read again: names, operating system, CPUs.
const RELEASE_BEATS: u32 = 30;

/// The host's first process: it is in the host's own namespaces.
const INIT: u32 = 1;

/// What is probed, and what the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `/proc` to read.
    pub proc_root: PathBuf,
    /// Host name to show instead of the machine's own.
    pub name: Option<String>,
    /// What the operator calls services outside the cluster.
    pub services: Vec<Rule>,
}

/// Starts the probe.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(config: Config, updates: Updates, stop: CancellationToken) -> JoinHandle<()> {
    let schedule = Schedule { name: Name::Host, speaks_for: &[], base: BEAT, budget: BUDGET };
    pace::spawn(schedule, updates, Nudge::default(), stop, move || {
        let mut probe = Probe::new(config.clone());
        move |now| probe.round(now)
    })
}

/// Addresses of this machine's interfaces, loopback left out: where others reach it.
#[must_use]
pub fn addresses() -> Vec<std::net::IpAddr> {
    networks().into_iter().map(|network| network.address).collect()
}

/// The same with the interfaces they are of.
pub(crate) fn networks() -> Vec<topology::fact::Network> {
    networks::read().unwrap_or_default()
}

/// What the probe remembers between two rounds.
#[derive(Debug)]
pub struct Probe {
    config: Config,
    kernel: Kernel,
    host: Host,
    said: Option<Host>,
    cpu: Option<CpuTimes>,
    beats: u32,
}

impl Probe {
    /// A probe that has said nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let kernel = Kernel::read(&config.proc_root);
        Self { config, kernel, host: Host::default(), said: None, cpu: None, beats: 0 }
    }

    /// Reads all that is due: figures and networks each time, the rest rarely.
    pub fn round(&mut self, now: Moment) -> Round {
        if self.beats.is_multiple_of(RELEASE_BEATS) {
            self.refresh_release();
        }
        self.beats = self.beats.wrapping_add(1);
        let mut reasons = Vec::new();
        let mut elsewhere = Duration::ZERO;
        match self.networks() {
            Ok((networks, cpu_time)) => (self.host.networks, elsewhere) = (networks, cpu_time),
            Err(reason) => reasons.push(format!("no networks: {reason}")),
        }
        let mut updates = Vec::new();
        if self.said.as_ref() != Some(&self.host) {
            self.said = Some(self.host.clone());
            let services = Some(&self.config.services).filter(|rules| !rules.is_empty());
            let facts = [Fact::Host(self.host.clone())].into_iter().chain(services.cloned().map(Fact::Services));
            updates.push(Update::Facts(Name::Host, facts.map(|fact| (fact.key(), fact)).collect()));
        }
        match self.gauges(now) {
            Some(gauges) => updates.push(Update::Gauges(Name::Host, Gauges::Host(gauges))),
            None => reasons.push(format!("no figures in {}", self.config.proc_root.display())),
        }
        let state = if reasons.is_empty() { SourceState::Ok } else { SourceState::Degraded };
        Round { updates, status: Source { state, mode: "procfs".to_owned(), reason: reasons.join("; ") }, elsewhere }
    }

    /// The host's networks, with what another thread spent to read them. In a container of ours that has not the host's
    /// network, our own are not meant: others know the host by its own.
    fn networks(&self) -> Result<(Vec<Network>, Duration), String> {
        let proc_root = &self.config.proc_root;
        match self.host.netns {
            Some(netns) if netns_by(proc_root, "self").is_some_and(|own| own != netns) => {
                let read = netns::inside(proc_root, netns, INIT, networks::read);
                let (networks, cpu_time) = read.map_err(|problem| problem.to_string())?;
                Ok((networks.map_err(|error| error.to_string())?, cpu_time))
            }
            _ => Ok((networks::read().map_err(|error| error.to_string())?, Duration::ZERO)),
        }
    }

    fn refresh_release(&mut self) {
        let proc_root = &self.config.proc_root;
        self.kernel.refresh_capacity(proc_root);
        self.host = Host {
            name: self.config.name.clone().unwrap_or_else(|| release::host_name(proc_root)),
            os: release::operating_system(proc_root),
            kernel: release::kernel(proc_root),
            scope_version: env!("CARGO_PKG_VERSION").to_owned(),
            booted_at: self.kernel.booted_at,
            cpus: self.kernel.cpus,
            memory_bytes: self.kernel.memory_bytes,
            netns: host_netns(proc_root),
            networks: std::mem::take(&mut self.host.networks),
        };
    }

    /// Current figures; `None` if they cannot be read.
    fn gauges(&mut self, now: Moment) -> Option<HostGauges> {
        let read = |file: &str| fs::read_to_string(self.config.proc_root.join(file)).ok();
        let cpu = CpuTimes::parse(&read("stat")?)?;
        let memory = Memory::parse(&read("meminfo")?)?;
        let load1 = load1_hundredths(&read("loadavg")?)?;
        let before = self.cpu.replace(cpu);
        Some(HostGauges {
            at: now.at,
            cpu: before.map_or(0, |before| cpu.busy_since(before)),
            memory_kib: memory.total_kib.saturating_sub(memory.available_kib),
            load1,
            probe_cpu: Vec::new(),
            probe_lost: Vec::new(),
        })
    }
}

/// The network namespace of the host's first process; our own where we may not look.
fn host_netns(proc_root: &Path) -> Option<Netns> {
    netns_by(proc_root, &INIT.to_string()).or_else(|| netns_by(proc_root, "self"))
}

fn netns_by(proc_root: &Path, process: &str) -> Option<Netns> {
    let target = fs::read_link(proc_root.join(process).join("ns/net")).ok()?;
    let inode = target.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    inode.parse().ok().map(Netns)
}
