//! The task that owns the swarm: carries out commands, turns what libp2p says into events, and keeps the neighbours.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::behaviour::Behaviour;
use super::complaints::{BrokenOff, Complaint, Complaints};
use super::dial::{Denied, DialError};
use super::link::{self, DownReason};
use super::listen::{Listener, multiaddr};
use super::neighbour::{Connection, Link, Neighbour, Running};
use super::outbox::{DIALS_MAX, Outbox};
use super::{Command, Config, Event};
use crate::PeerId;

mod events;

/// Addresses tried by one dial.
const DIAL_ADDRESSES_MAX: usize = 16;

/// Own addresses told.
const ADDRESSES_MAX: usize = 64;

/// Bans at a time; the one that ends first makes room.
const BANS_MAX: usize = 1024;

/// For how many times [`Config::silence_max`] a connection may be of no use. More than one: it may be what replaces a link
/// that is silent already, and must outlast that until both sides have noticed.
const UNUSED_FACTOR: u32 = 2;

/// How long to wait for the port the system picked, which is known at once unless no interface has such an address.
const LISTENING_MAX: Duration = Duration::from_secs(1);

/// How long neighbours may take to hear that we go.
const FAREWELL_MAX: Duration = Duration::from_millis(300);

/// A [`Command::Dial`] under way.
struct Attempt {
    peer: Option<PeerId>,
    addresses: Vec<SocketAddr>,
}

/// See the module.
pub(super) struct Driver {
    us: PeerId,
    swarm: libp2p::Swarm<Behaviour>,
    listeners: Vec<Listener>,
    addresses: watch::Sender<Vec<SocketAddr>>,
    silence_max: Duration,
    unused_max: Duration,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Tasks of running links.
    links: JoinSet<(PeerId, DownReason)>,
    attempts: HashMap<ConnectionId, Attempt>,
    /// Until when a peer is refused.
    bans: BTreeMap<PeerId, Instant>,
    outbox: Outbox,
    complaints: Complaints,
    memory_complaint: Complaint,
    broken_off: BrokenOff,
}

impl Driver {
    pub(super) fn new(
        swarm: libp2p::Swarm<Behaviour>,
        listeners: Vec<Listener>,
        config: &Config,
        us: PeerId,
    ) -> Driver {
        Driver {
            us,
            swarm,
            listeners,
            addresses: watch::channel(Vec::new()).0,
            silence_max: config.silence_max,
            unused_max: config.silence_max.saturating_mul(UNUSED_FACTOR),
            neighbours: BTreeMap::new(),
            links: JoinSet::new(),
            attempts: HashMap::new(),
            bans: BTreeMap::new(),
            outbox: Outbox::default(),
            complaints: Complaints::default(),
            memory_complaint: Complaint::default(),
            broken_off: BrokenOff::default(),
        }
    }

    pub(super) fn addresses(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.addresses.subscribe()
    }

    /// Waits until the ports the system picked are known; returns what is listened on.
    pub(super) async fn until_listening(&mut self) -> Vec<SocketAddr> {
        let learn_ports = async {
            while self.listeners.iter().any(|it| it.address.port() == 0) {
                let event = self.swarm.select_next_some().await;
                self.on_swarm_event(event);
            }
        };
        if tokio::time::timeout(LISTENING_MAX, learn_ports).await.is_err() {
            debug!("a listener has no address yet");
        }
        self.listeners.iter().map(|it| it.address).collect()
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        shutdown: CancellationToken,
    ) {
        let period = (self.silence_max / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut ticker = tokio::time::interval(period);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(ended) = self.links.join_next() => self.on_link_ended(ended),
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => self.deliver(permit, &events),
                    Err(_) => break,
                },
                _ = ticker.tick() => self.on_tick(Instant::now()),
            }
        }
        // Links that wait for room must not keep us from ending.
        drop(events);
        self.close().await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { peer: Some(peer), addresses } => self.dial_peer(peer, addresses),
            Command::Dial { peer: None, addresses } => {
                addresses.into_iter().take(DIAL_ADDRESSES_MAX).for_each(|address| self.dial_address(address));
            }
            Command::Send { to, frame } => self.send(to, frame),
            Command::Disconnect { peer, ban } => self.disconnect(peer, ban),
        }
    }

    fn dial_peer(&mut self, peer: PeerId, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(DIAL_ADDRESSES_MAX);
        let attempt = Attempt { peer: Some(peer), addresses };
        if peer == self.us {
            return self.dial_failed(attempt, DialError::Itself);
        }
        if self.is_linked(&peer) {
            return self.dial_failed(attempt, DialError::AlreadyUp { found: peer });
        }
        if attempt.addresses.is_empty() {
            return self.dial_failed(attempt, DialError::NoAddress);
        }
        let options = DialOpts::peer_id(peer.into())
            .condition(PeerCondition::Always)
            .addresses(attempt.addresses.iter().copied().map(multiaddr).collect())
            .allocate_new_port()
            .build();
        self.dial(attempt, options);
    }

    fn dial_address(&mut self, address: SocketAddr) {
        let options = DialOpts::unknown_peer_id().address(multiaddr(address)).allocate_new_port().build();
        self.dial(Attempt { peer: None, addresses: vec![address] }, options);
    }

    fn dial(&mut self, attempt: Attempt, options: DialOpts) {
        let connection = options.connection_id();
        if self.attempts.len() + self.outbox.dials() >= DIALS_MAX {
            debug!(addresses = ?attempt.addresses, "too many dials at once");
        } else if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(attempt, DialError::from_swarm(error));
        } else {
            self.attempts.insert(connection, attempt);
        }
    }

    fn dial_failed(&mut self, attempt: Attempt, reason: DialError) {
        let Attempt { peer, addresses } = attempt;
        let host = addresses.first().map(SocketAddr::ip);
        if reason == DialError::Secret && host.is_some_and(|host| self.complaints.is_due(host, Instant::now())) {
            warn!(?addresses, "cannot join there: {reason}");
        } else {
            debug!(?peer, ?addresses, %reason, "dial failed");
        }
        if let DialError::Denied(denied) = &reason {
            self.complain_of_memory(denied);
        }
        if self.attempts.len() + self.outbox.dials() < DIALS_MAX {
            self.outbox.push(Event::DialFailed { peer, addresses, reason });
        }
    }

    /// Tells a person, once in a while, that nobody can join us for want of memory.
    fn complain_of_memory(&mut self, denied: &Denied) {
        if matches!(denied, Denied::Memory { .. }) && self.memory_complaint.is_due(Instant::now()) {
            warn!("new connections are denied: {denied}");
        }
    }

    fn send(&mut self, to: PeerId, frame: Bytes) {
        let Some(Neighbour { link: Link::Running(link), .. }) = self.neighbours.get(&to) else { return };
        if let Err(reason) = link.frames.push(frame) {
            self.end_link(to, reason);
        }
    }

    fn disconnect(&mut self, peer: PeerId, ban: Option<Duration>) {
        if let Some(until) = ban.and_then(|ban| Instant::now().checked_add(ban)) {
            self.ban(peer, until);
        }
        self.end_link(peer, DownReason::Asked);
        let connections =
            self.neighbours.get(&peer).map_or_else(Vec::new, |it| it.connections.iter().map(|it| it.id).collect());
        for connection in connections {
            self.close_connection(peer, connection, DialError::Dropped);
        }
    }

    fn ban(&mut self, peer: PeerId, until: Instant) {
        if self.bans.len() >= BANS_MAX
            && let Some(first) = self.bans.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.lift_ban(first);
        }
        self.bans.insert(peer, until);
        self.swarm.behaviour_mut().banned.block_peer(peer.into());
        debug!(%peer, "banned");
    }

    fn lift_ban(&mut self, peer: PeerId) {
        self.bans.remove(&peer);
        self.swarm.behaviour_mut().banned.unblock_peer(peer.into());
    }

    /// Gives the consumer the next event. Only when it hears that a link is up does the link begin to send events.
    fn deliver(&mut self, permit: mpsc::Permit<'_, Event>, events: &mpsc::Sender<Event>) {
        let Some(event) = self.outbox.pop() else { return };
        let up = if let Event::Up { peer, .. } = event { Some(peer) } else { None };
        permit.send(event);
        if let Some(peer) = up {
            self.start_link(peer, events.clone());
        }
    }

    fn start_link(&mut self, peer: PeerId, events: mpsc::Sender<Event>) {
        let announced = self.neighbours.get_mut(&peer).filter(|it| matches!(it.link, Link::Announced));
        let neighbour = announced.expect("an Up that waits is taken back when there is no link to come");
        let (id, inbound, outbound) = neighbour.take_substreams().expect("only a ready connection is announced");
        // Until here the link could be taken back: then the dial has failed.
        self.attempts.remove(&id);
        let (sender, frames) = link::queue();
        let (received_bytes, end) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        neighbour.link = Link::Running(Running {
            frames: sender,
            received_bytes: received_bytes.clone(),
            end: end.clone(),
            reason: None,
            received_bytes_before: 0,
        });
        self.links.spawn(link::Link { peer, inbound, outbound, frames, events, received_bytes, end }.run());
    }

    /// Ends a link, if there is one, and the connection it is on. What becomes of it is seen when its task has ended.
    fn end_link(&mut self, peer: PeerId, reason: DownReason) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        match &mut neighbour.link {
            Link::None => return,
            Link::Announced => {
                self.outbox.retract_up(peer);
                neighbour.link = Link::None;
            }
            Link::Running(link) => {
                link.reason.get_or_insert(reason);
                link.end.cancel();
            }
        }
        if let Some(chosen) = neighbour.chosen {
            self.close_connection(peer, chosen, DialError::Dropped);
        }
    }

    fn on_link_ended(&mut self, ended: Result<(PeerId, DownReason), JoinError>) {
        let (peer, seen) = match ended.map_err(JoinError::try_into_panic) {
            Ok(ended) => ended,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and ends this task next.
            Err(Err(_)) => return,
        };
        self.end_link(peer, seen);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Link::Running(link) = std::mem::take(&mut neighbour.link) else { return };
        let reason = link.reason.unwrap_or(DownReason::Closed);
        debug!(%peer, %reason, "link down");
        self.outbox.push(Event::Down { peer, reason });
        self.settle(peer);
    }

    fn on_tick(&mut self, now: Instant) {
        let over: Vec<_> = self.bans.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        over.into_iter().for_each(|peer| self.lift_ban(peer));
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.look_after(peer, now));
    }

    fn look_after(&mut self, peer: PeerId, now: Instant) {
        let we_decide = self.us < peer;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        neighbour.listen_for_life(now);
        let superfluous = neighbour.superfluous(now, self.unused_max, we_decide);
        if neighbour.is_silent(now, self.silence_max) {
            self.end_link(peer, DownReason::Silent);
        }
        for connection in superfluous {
            self.close_connection(peer, connection, DialError::Timeout);
        }
    }

    fn close_connection(&mut self, peer: PeerId, id: ConnectionId, why: DialError) {
        let connection = self.neighbours.get_mut(&peer).and_then(|it| it.connection(id));
        if let Some(connection) = connection.filter(|it| it.closing.is_none()) {
            connection.closing = Some(why);
            self.swarm.close_connection(id);
        }
    }

    /// Brings a neighbour forward as far as it goes: a connection chosen, our substream asked for, the link announced; or
    /// forgotten when nothing is left of it.
    fn settle(&mut self, peer: PeerId) {
        let we_decide = self.us < peer;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !matches!(neighbour.link, Link::None) {
            return;
        }
        if neighbour.connections.is_empty() {
            self.neighbours.remove(&peer);
            return;
        }
        if let Some(connection) = neighbour.choose(we_decide) {
            self.swarm.behaviour_mut().sync.open(peer, connection);
        }
        let Some(&mut Connection { address, dialed, .. }) = neighbour.ready() else { return };
        neighbour.link = Link::Announced;
        debug!(%peer, %address, dialed, "link up");
        self.outbox.push(Event::Up { peer, address, dialed });
    }

    fn is_linked(&self, peer: &PeerId) -> bool {
        self.neighbours.get(peer).is_some_and(|it| !matches!(it.link, Link::None))
    }

    /// Closes everything, and gives neighbours a moment to hear of it.
    async fn close(mut self) {
        for listener in &self.listeners {
            self.swarm.remove_listener(listener.id);
        }
        self.links.shutdown().await;
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It fails if the peer has gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let gone = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(FAREWELL_MAX, gone).await.is_err() {
            debug!("not all neighbours took our farewell");
        }
    }
}
