//! The program on a host: probes, and the wiring of probe, mesh, cluster and UI.
//!
//! [`run`] is the whole of it: it takes the peer's identity, starts the probes the configuration asks for, the network, the
//! [hub](hub) that turns what they say into facts and facts into the cluster, and the server that shows it, and ends all of
//! them when it is told to.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod hub;
mod metrics;
mod net;
pub mod probe;
pub mod services_file;

pub use gossip::{discovery, secret};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use gossip::head::{Cluster, Ed25519};
use gossip::secret::Secret;
use gossip::swarm::StartError;
use gossip::{Identity, IdentityError, Limits, swarm};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use topology::PeerId;
use topology::fact::{Source, SourceState};

use hub::{Ends, Hub};
use metrics::Metrics;
use probe::connections;
use probe::docker;
use probe::host;
use probe::names;
use probe::pace::Nudge;
use probe::process;
use probe::{Name, Update};

/// Longest that ending may take, all in all: probes are in a round, browsers are slow to hang up.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

/// Tombstones of our own origin kept for peers that are behind; who is further behind gets all of it.
const TOMBSTONES_MAX: usize = 4096;

/// How long a silent host stays on the map.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Encoded facts of one host: a host with ten thousand containers, processes and flows takes a third of it. What is made of them, to
/// show, takes several times that.
const ORIGIN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Encoded facts of all hosts: a thousand hosts of ordinary size.
const REPLICA_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What a peer is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its key, its epoch and its lock are.
    pub state_dir: PathBuf,
    /// Host name to show instead of the machine's.
    pub hostname: Option<String>,
    /// The `/proc` of the host.
    pub proc_root: PathBuf,
    /// Whether this host is probed at all.
    pub probe: bool,
    /// Docker daemon to ask; `None` to ask none.
    pub docker: Option<docker::Config>,
    /// Which sources of connections are used, besides the socket tables.
    pub sources: connections::Sources,
    /// Whether names of remote addresses are asked for and listened to.
    pub names: bool,
    /// What the operator calls services outside the cluster.
    pub services: Vec<topology::services::Rule>,
    /// How it meets others.
    pub mesh: Mesh,
    /// Version of this program.
    pub version: &'static str,
}

/// How a peer meets others.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// Where it listens for them.
    pub listen: Vec<SocketAddr>,
    /// What all of them share; without one whoever reaches a peer may join.
    pub secret: Option<Secret>,
    /// Where it looks for them.
    pub discovery: discovery::Config,
}

/// Why a peer could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It cannot be reached by others.
    #[error(transparent)]
    Network(#[from] StartError),
    /// A thread for a probe could not be had.
    #[error("cannot start the docker probe: {0}")]
    Thread(io::Error),
    /// The HTTP server failed.
    #[error("the HTTP server failed: {0}")]
    Http(io::Error),
    /// A part without which there is nothing to see panicked.
    #[error("it failed inside: {0}; see the log")]
    Failed(tokio::task::JoinError),
}

/// Runs a peer that serves on `listener` until `stop` is cancelled. `ready` is called once, when it serves.
///
/// # Errors
/// [`RunError`] if it cannot start. A source of facts that is missing is none: the map is smaller and says why.
pub async fn run(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
    ready: impl FnOnce(&PeerId),
) -> Result<(), RunError> {
    let identity = Identity::open(&config.state_dir)?;
    let peer = PeerId::new(&identity.peer().to_string()).expect("a peer id is base58");
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let agent = format!("scope/{}", config.version);
    let network = swarm::Config {
        listen: config.mesh.listen.clone(),
        secret: config.mesh.secret.clone(),
        agent: agent.clone(),
        ..swarm::Config::new(identity.keypair().clone())
    };
    let net::Started { mut links, listen, tasks: network } =
        net::start(network, config.mesh.discovery.clone(), &stop).await?;
    let (mesh, started) = mesh(&config, &identity, agent, links.addresses());
    let about = hub::About { open: config.mesh.secret.is_none(), listen, problems: Vec::new(), stranger: None };
    let (hub, Ends { updates, cluster, peers }) = Hub::new(mesh, started, links, about, metrics, raise(identity));
    let mut tasks = JoinSet::new();
    // On a thread of its own: a burst of facts keeps no request waiting.
    let (runtime, stopped) = (Handle::current(), stop.clone());
    tasks.spawn_blocking(move || {
        runtime.block_on(hub.run(stopped));
        Ok(())
    });
    for task in network {
        // Without the network there is half a map: its end is that of the peer.
        tasks.spawn(task.map(|ended| match ended.map_err(JoinError::try_into_panic) {
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            _ => Ok(()),
        }));
    }
    let threads = if config.probe { start_probes(&config, updates, &stop, &mut tasks)? } else { Vec::new() };
    let about = ui::About { id: peer.to_string(), hostname: hostname(&config), version: config.version };
    let app = ui::App::new(about, cluster, peers, registry);
    tasks.spawn(ui::serve(listener, app, stop.clone()));
    ready(&peer);
    let result = until_stopped(&mut tasks, &stop).await;
    stop.cancel();
    if tokio::time::timeout(STOP_TIMEOUT, end(tasks, threads)).await.is_err() {
        tracing::warn!("a part of it did not end in time");
    }
    result
}

/// The protocol's state, and when its time began.
fn mesh(
    config: &Config,
    identity: &Identity,
    agent: String,
    addresses: Vec<SocketAddr>,
) -> (gossip::mesh::Mesh, Instant) {
    let cluster = config.mesh.secret.as_ref().map_or(Cluster::OPEN, |secret| Cluster(secret.cluster_label()));
    let limits = Limits {
        tombstones_per_origin_max: TOMBSTONES_MAX,
        bytes_per_origin_max: ORIGIN_BYTES_MAX,
        bytes_max: REPLICA_BYTES_MAX,
        ..Limits::default()
    };
    let signatures = Ed25519::try_from(identity.keypair()).expect("an identity is an ed25519 key");
    let settings = gossip::mesh::Config { cluster, agent, addresses, limits, forget_after: FORGET_AFTER };
    let mesh = gossip::mesh::Mesh::new(
        settings,
        identity.origin(),
        Arc::new(signatures),
        identity.run_secret(),
        hub::BEGINNING,
    );
    (mesh, Instant::now())
}

fn raise(mut identity: Identity) -> hub::Raise {
    Box::new(move |epoch| identity.raise_epoch(epoch).map(|origin| origin.epoch))
}

/// Waits until `stop` is cancelled, or a part without which there is nothing to see fails.
async fn until_stopped(tasks: &mut JoinSet<io::Result<()>>, stop: &CancellationToken) -> Result<(), RunError> {
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = tasks.join_next() => ended,
        };
        ended.map_err(RunError::Failed)?.map_err(RunError::Http)?;
    }
}

async fn end(mut tasks: JoinSet<io::Result<()>>, threads: Vec<thread::JoinHandle<()>>) {
    while tasks.join_next().await.is_some() {}
    // A thread that panicked has said so.
    let joined = tokio::task::spawn_blocking(|| threads.into_iter().for_each(|thread| drop(thread.join())));
    let _ = joined.await;
}

/// Starts the probes. None of them can end the peer.
fn start_probes(
    config: &Config,
    updates: probe::Updates,
    stop: &CancellationToken,
    tasks: &mut JoinSet<io::Result<()>>,
) -> Result<Vec<thread::JoinHandle<()>>, RunError> {
    let (init_pids, known_inits) = watch::channel(probe::InitPids::default());
    let (unmeasured, unreadable) = watch::channel(Arc::default());
    let (table, processes) = watch::channel(Arc::default());
    let (remotes, wanted) = watch::channel(names::Wanted::default());
    let [of_processes, of_connections] = [Nudge::default(), Nudge::default()];
    let root = &config.proc_root;

    let host =
        host::Config { proc_root: root.clone(), name: config.hostname.clone(), services: config.services.clone() };
    let channels = connections::Channels {
        updates: updates.clone(),
        processes: processes.clone(),
        nudge: of_connections.clone(),
        nudge_processes: of_processes.clone(),
        remotes,
    };
    let joins = [
        host::spawn(host, updates.clone(), stop.clone()),
        process::spawn(
            root.clone(),
            process::Channels { updates: updates.clone(), table, unmeasured, init_pids: known_inits },
            of_processes.clone(),
            stop.clone(),
        ),
        connections::spawn(root, config.sources, channels, stop.clone()),
    ];
    for join in joins {
        tasks.spawn(join.map(|_| Ok(())));
    }
    tasks.spawn(nudge_on_new_processes(processes, of_connections, stop.clone()).map(Ok));
    if config.names {
        tasks.spawn(
            names::spawn(names::Config::new(root.clone()), updates.clone(), wanted, stop.clone()).map(|_| Ok(())),
        );
    } else {
        let reason = "switched off by --no-names: addresses outside the cluster have no names, and services are known by \
                      their networks alone";
        tasks.spawn(say_off(updates.clone(), Name::Names, reason.to_owned()).map(Ok));
    }
    let Some(docker) = config.docker.clone() else {
        let reason = "switched off by --no-docker: containers are known by their cgroups alone, without their names, \
                     their images and their published ports";
        tasks.spawn(say_off(updates, Name::Docker, reason.to_owned()).map(Ok));
        return Ok(Vec::new());
    };
    let wiring = docker::Wiring { updates, init_pids, nudge: Arc::new(move || of_processes.nudge()), unreadable };
    Ok(vec![docker::spawn(docker, wiring, stop.clone()).map_err(RunError::Thread)?])
}

/// Says of a source that it was not wanted.
async fn say_off(updates: probe::Updates, name: Name, reason: String) {
    let off = Source { state: SourceState::Off, mode: "disabled".to_owned(), reason };
    // A hub that has gone needs no status.
    let _ = updates.send(Update::Status(name, off)).await;
}

/// A process table that comes early has something in it that started: its sockets are worth a look.
async fn nudge_on_new_processes(
    mut processes: watch::Receiver<Arc<probe::ProcessTable>>,
    connections: Nudge,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(processes.changed()).await {
        connections.nudge();
    }
}

fn hostname(config: &Config) -> String {
    config.hostname.clone().unwrap_or_else(own_hostname)
}

/// What this machine calls itself.
#[must_use]
pub fn own_hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
