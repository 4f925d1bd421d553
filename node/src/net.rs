//! The network: the driver of the mesh and discovery, as the [hub](crate::hub) sees them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use gossip::discovery::{self, Status, View};
use gossip::mesh::{Input, Life, Output, PeerStatus, Why};
use gossip::swarm::{self, Command, DialError, Event, StartError, Swarm};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// Found addresses on the way to the hub, a list for each look-up.
const FOUND_MAX: usize = 16;

/// For how long the driver refuses who misbehaved.
const BAN: Duration = Duration::from_secs(60);

/// Interfaces of local bridges, whose addresses exist on many hosts alike: the last to be tried.
const BRIDGES: [&str; 6] = ["docker", "br-", "podman", "cni", "virbr", "lxc"];

/// How long people are told of a stranger after it has knocked.
const STRANGER_FOR: Duration = Duration::from_secs(300);

/// The most addresses that are told.
const ADDRESSES_MAX: usize = gossip::roster::ADDRESSES_MAX;

/// What goes between the hub and the network.
#[derive(Debug)]
pub(crate) struct Links {
    events: mpsc::Receiver<Event>,
    commands: Option<mpsc::Sender<Command>>,
    found: mpsc::Receiver<Vec<SocketAddr>>,
    /// What [`Links::readable`] has taken from its queue already.
    next: Option<Input>,
    listens: watch::Receiver<Vec<SocketAddr>>,
    view: watch::Sender<View>,
    status: watch::Receiver<Status>,
    /// Who could not prove the same secret, and when it last tried.
    stranger: Option<(SocketAddr, Instant)>,
    /// Addresses of local bridges, as of the last look at where others reach this peer.
    bridges: BTreeSet<IpAddr>,
}

/// A started network: its ends, where it listens, and what is to be waited for in the end.
pub(crate) struct Started {
    pub(crate) links: Links,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

/// Starts to listen and to look for peers.
///
/// # Errors
/// [`StartError`] if it cannot listen.
pub(crate) async fn start(
    swarm: swarm::Config,
    discovery: discovery::Config,
    stop: &CancellationToken,
) -> Result<Started, StartError> {
    let Swarm { listens, addresses, commands, events, task, .. } = swarm::start(swarm, stop.clone()).await?;
    let (found_out, found) = mpsc::channel(FOUND_MAX);
    let (view, seen) = watch::channel(View::default());
    let (status_out, status) = watch::channel(Status::default());
    let looking = tokio::spawn(discovery::run(discovery, found_out, seen, status_out, stop.clone()));
    let links = Links {
        events,
        commands: Some(commands),
        found,
        next: None,
        listens: addresses,
        view,
        status,
        stranger: None,
        bridges: BTreeSet::new(),
    };
    Ok(Started { links, listen: listens, tasks: vec![task, looking] })
}

impl Links {
    /// Of a peer that is connected to nothing.
    #[cfg(test)]
    pub(crate) fn unconnected() -> Links {
        Links {
            events: mpsc::channel(1).1,
            commands: None,
            found: mpsc::channel(1).1,
            next: None,
            listens: watch::channel(Vec::new()).1,
            view: watch::channel(View::default()).0,
            status: watch::channel(Status::default()).1,
            stranger: None,
            bridges: BTreeSet::new(),
        }
    }

    /// Waits until there is something for [`Links::next`]. For ever, when the network has ended. Cancel safe.
    pub(crate) async fn readable(&mut self) {
        while self.next.is_none() {
            self.next = tokio::select! {
                Some(event) = self.events.recv() => self.input(event),
                Some(addresses) = self.found.recv() => Some(Input::Found(addresses)),
                else => std::future::pending().await,
            };
        }
    }

    /// What happened next, if something did.
    pub(crate) fn next(&mut self) -> Option<Input> {
        if let Some(taken) = self.next.take() {
            return Some(taken);
        }
        while let Ok(event) = self.events.try_recv() {
            if let Some(input) = self.input(event) {
                return Some(input);
            }
        }
        None
    }

    /// What a person should do something about.
    pub(crate) fn problem(&self) -> Option<String> {
        let (address, _) = self.stranger.filter(|(_, at)| at.elapsed() < STRANGER_FOR)?;
        Some(format!("{address} has another secret or none: start both with the same --secret-file"))
    }

    /// Has the network do something; nothing, once it has ended.
    pub(crate) async fn send(&mut self, command: Command) {
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_err()
        {
            self.commands = None;
        }
    }

    /// Where others reach this peer, if that has changed since the last call.
    pub(crate) fn moved(&mut self) -> Option<Vec<SocketAddr>> {
        let has_changed = self.listens.has_changed().unwrap_or(false);
        has_changed.then(|| self.addresses())
    }

    /// Where others reach this peer, the likeliest first.
    pub(crate) fn addresses(&mut self) -> Vec<SocketAddr> {
        self.bridges = bridges();
        let mut addresses = self.listens.borrow_and_update().clone();
        addresses.sort_by_key(|address| (rank(address.ip(), &self.bridges), *address));
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        addresses
    }

    /// Tells discovery who is where, so that it registers and removes the right addresses.
    pub(crate) fn tell_discovery(&self, peers: &[PeerStatus]) {
        let Some((me, others)) = peers.split_first() else { return };
        let of = |gone: bool| -> BTreeSet<SocketAddr> {
            let peers = others.iter().filter(|peer| (peer.life == Life::Gone) == gone);
            peers.flat_map(|peer| peer.addresses.iter().copied()).collect()
        };
        let live = of(false);
        // Addresses of local bridges exist on many hosts alike, and lead from each to itself.
        let local: BTreeSet<SocketAddr> =
            me.addresses.iter().copied().filter(|address| rank(address.ip(), &self.bridges) == 0).collect();
        let gone = of(true).into_iter().filter(|address| !live.contains(address) && !local.contains(address)).collect();
        let view = View { local, live, gone };
        self.view.send_if_modified(|old| std::mem::replace(old, view.clone()) != view);
    }

    /// How discovery does.
    pub(crate) fn discovery(&self) -> Status {
        self.status.borrow().clone()
    }
}

/// What others try last: addresses of local bridges, and those of this machine alone.
fn rank(address: IpAddr, bridges: &BTreeSet<IpAddr>) -> u8 {
    match address {
        _ if address.is_loopback() => 2,
        _ if bridges.contains(&address) => 1,
        _ => 0,
    }
}

fn bridges() -> BTreeSet<IpAddr> {
    let is_bridge = |name: &str| BRIDGES.iter().any(|bridge| name.starts_with(bridge));
    let networks = crate::probe::host::networks();
    networks.into_iter().filter(|network| is_bridge(&network.interface)).map(|network| network.address).collect()
}

impl Links {
    /// What an event is to the mesh, if it is anything.
    fn input(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Up { peer, address, dialed } => {
                info!(%peer, %address, "connected");
                Some(Input::Up { peer, address, dialed })
            }
            Event::Down { peer, reason } => {
                info!(%peer, %reason, "disconnected");
                Some(Input::Down { peer })
            }
            Event::Received { from, frame } => Some(Input::Received { from, frame }),
            Event::Sent { to, bytes } => Some(Input::Sent { to, bytes }),
            Event::Rtt { peer, rtt } => Some(Input::Rtt { peer, rtt }),
            Event::DialFailed { peer, addresses, reason } => {
                debug!(?peer, ?addresses, %reason, "dial failed");
                if matches!(reason, DialError::Secret) {
                    self.stranger = addresses.first().map(|address| (*address, Instant::now()));
                }
                Some(Input::DialFailed { peer, addresses, itself: matches!(reason, DialError::Itself) })
            }
            Event::HandshakeFailed { address, .. } => {
                self.stranger = Some((address, Instant::now())); // the driver has logged it
                None
            }
        }
    }
}

/// What the network is to do for an output, if it is for the network.
pub(crate) fn command(output: Output) -> Option<Command> {
    match output {
        Output::Dial { peer, addresses } => Some(Command::Dial { peer, addresses }),
        Output::Send { to, frame } => Some(Command::Send { to, frame }),
        Output::Disconnect { peer, why } => {
            let ban = match why {
                Why::Unwanted => None,
                Why::Misbehaved(_) => Some(BAN),
            };
            Some(Command::Disconnect { peer, ban })
        }
        Output::Changed { .. } | Output::Life { .. } | Output::Forgotten { .. } | Output::Superseded { .. } => None,
    }
}
