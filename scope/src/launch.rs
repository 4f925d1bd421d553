//! `scope launch`: runs a peer in the foreground until it is told to end.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow, ensure};
use node::probe::connections::Sources;
use node::services_file;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::args::{Launch, LogFormat};
use crate::run_file::RunFile;
use crate::say::say;

/// Threads that serve HTTP and the network. Probes and the hub have threads of their own.
const WORKERS: usize = 2;

/// Runs a peer until SIGINT or SIGTERM.
pub(crate) fn launch(launch: Launch) -> Result<()> {
    start_log(launch.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("scope-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run(launch));
    // What is left is blocked in a system call at most; the kernel ends it.
    runtime.shutdown_background();
    result
}

fn start_log(format: LogFormat) {
    let wanted = std::env::var("SCOPE_LOG").unwrap_or_else(|_| "info".to_owned());
    // At `debug` bollard logs whole answers of the daemon, secrets in the environment of containers included.
    let bollard = if wanted.contains("bollard") { "" } else { ",bollard=info" };
    // It warns of each connection whose other end has gone first, which is how half of them end.
    let libp2p = if wanted.contains("libp2p") { "" } else { ",libp2p_core=error,libp2p_swarm=error" };
    let info = tracing::level_filters::LevelFilter::INFO.into();
    let filter = EnvFilter::builder().with_default_directive(info).parse_lossy(wanted + bollard + libp2p);
    // Its own complaint about a log that nobody reads any more would be a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

async fn run(launch: Launch) -> Result<()> {
    let state_dir = launch.running.state_dir()?;
    ensure!(
        launch.no_probe || launch.proc_root.join("stat").exists(),
        "--proc-root {}: there is no /proc",
        launch.proc_root.display()
    );
    let listener = listen(launch.http_addr).await?;
    let address = listener.local_addr().context("cannot tell the own address")?;
    let docker = match (launch.no_docker || launch.no_probe, &launch.docker_host) {
        (true, _) => None,
        (false, host) => Some(node::probe::docker::Config::new(host.as_deref()).context("--docker-host")?),
    };
    if !launch.no_probe && !rustix::process::geteuid().is_root() {
        warn!("not root: processes of other users have no connections on the map; run `sudo scope launch` to see all");
    }
    let services = launch.services.as_deref().map(services_file::read).transpose().context("--services")?;
    let services = services.unwrap_or_default();
    let secret = launch.mesh.secret()?;
    if secret.is_none() {
        info!(
            "open mesh: whoever reaches the mesh port may join and see everything; `scope secret new` makes a secret, \
             --secret-file gives it to a peer"
        );
    }
    let hostname = launch.hostname.clone().unwrap_or_else(node::own_hostname);
    let discovery = launch.mesh.discovery(launch.peers, format!("scope-{hostname}"))?;
    let config = node::Config {
        state_dir: state_dir.clone(),
        hostname: launch.hostname,
        proc_root: launch.proc_root,
        probe: !launch.no_probe,
        docker,
        sources: Sources { ebpf: !launch.no_ebpf, conntrack: !launch.no_conntrack },
        names: !launch.no_names,
        services,
        mesh: node::Mesh { listen: launch.mesh.mesh_addr, secret, discovery },
        version: env!("CARGO_PKG_VERSION"),
    };
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    let mut guard = None;
    node::run(config, listener, stop, |peer| {
        info!(%peer, %address, "serving");
        if let Err(error) = announce(address) {
            warn!(error = format!("{error:#}"), "nobody was told the address");
        }
        match RunFile::write(&state_dir, address) {
            Ok(written) => guard = Some(written),
            Err(error) => warn!(%error, "`scope stop` and `scope status` will not find this peer"),
        }
    })
    .await
    .context("cannot run")?;
    info!("ended");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} is taken, perhaps by another scope: `scope stop` ends that, --http-addr chooses another",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("may not listen on {address}: ports below 1024 need root; --http-addr chooses another")
        }
        io::ErrorKind::AddrNotAvailable => anyhow!("this host has no address {}: see --http-addr", address.ip()),
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    Ok(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        info!(signal = name, "ending");
        stop.cancel();
    })
}

/// Prints where to point a browser.
pub(crate) fn announce(address: SocketAddr) -> Result<()> {
    say("The map of this host is at")?;
    urls(address).iter().try_for_each(|url| say(format_args!("  {url}")))?;
    if address.ip().is_loopback() {
        return Ok(());
    }
    say("Whoever reaches it sees the map, command lines included; --http-addr 127.0.0.1:4040 keeps it to this machine.")
}

/// URLs that lead here: of every address of the host if we listen on all.
pub(crate) fn urls(address: SocketAddr) -> Vec<String> {
    let hosts = if address.ip().is_unspecified() {
        let own = node::probe::host::addresses();
        own.into_iter().filter(|own| own.is_ipv4() || address.is_ipv6()).collect()
    } else {
        vec![address.ip()]
    };
    let url = |ip: IpAddr| format!("http://{}/", SocketAddr::new(ip, address.port()));
    let local = address.ip().is_unspecified().then(|| format!("http://localhost:{}/", address.port()));
    local.into_iter().chain(hosts.into_iter().map(url)).collect()
}
