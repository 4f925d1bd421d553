//! What libp2p says, and what the driver makes of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionError, ConnectionId, ListenError, SwarmEvent};
use libp2p::{identify, ping};
use tracing::{debug, warn};

use super::{ADDRESSES_MAX, Driver};
use crate::PeerId;
use crate::swarm::behaviour::BehaviourEvent;
use crate::swarm::dial::{Denied, DialError, is_handshake_failure};
use crate::swarm::link::DownReason;
use crate::swarm::listen::socket_address;
use crate::swarm::neighbour::{Connection, Link};
use crate::swarm::{Event, sync};

impl Driver {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                self.on_closed(peer_id, connection_id, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(attempt) = self.attempts.remove(&connection_id) {
                    self.dial_failed(attempt, DialError::from_swarm(error));
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                if let Some(address) = socket_address(&send_back_addr) {
                    self.on_stranger(address, &error);
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let Some(address) = socket_address(&address) else { return };
                if let Some(listener) = self.listeners.iter_mut().find(|it| it.id == listener_id) {
                    listener.address.set_port(address.port());
                }
                self.addresses.send_modify(|addresses| learn(addresses, address));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                let Some(address) = socket_address(&address) else { return };
                self.addresses.send_modify(|addresses| addresses.retain(|it| *it != address));
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
            | SwarmEvent::ListenerError { listener_id, error } => self.on_listener_error(listener_id, &error),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Sync(sync::OnConnection { connection, peer, event }) => {
                if let Ok(peer) = PeerId::try_from(peer) {
                    self.on_sync_event(peer, connection, event);
                }
            }
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match (PeerId::try_from(peer), result) {
                (Ok(peer), Ok(rtt)) => self.on_pong(peer, connection, rtt),
                // Silence is noticed by itself, and earlier than libp2p counts a ping as failed.
                (peer, result) => debug!(?peer, ?result, "ping"),
            },
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                if let Ok(peer) = PeerId::try_from(peer_id) {
                    debug!(%peer, agent = ?info.agent_version, "identified");
                    if !info.protocols.contains(&sync::PROTOCOL) {
                        self.close_connection(peer, connection_id, DialError::NotScope);
                    }
                }
            }
            BehaviourEvent::Identify(_) => {}
        }
    }

    fn on_established(&mut self, peer: libp2p::PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let (Ok(peer), Some(address)) = (PeerId::try_from(peer), socket_address(endpoint.get_remote_address())) else {
            self.swarm.close_connection(id);
            return;
        };
        let now = Instant::now();
        let dialed = endpoint.is_dialer();
        debug!(%peer, %address, dialed, "connected");
        self.broken_off.forgive(address.ip());
        if self.is_linked(&peer)
            && let Some(attempt) = self.attempts.remove(&id)
        {
            self.dial_failed(attempt, DialError::AlreadyUp { found: peer });
        }
        self.neighbours.entry(peer).or_default().connections.push(Connection {
            id,
            address,
            dialed,
            since: now,
            heard: now,
            inbound: None,
            outbound: None,
            closing: None,
        });
        self.settle(peer);
    }

    fn on_closed(&mut self, peer: libp2p::PeerId, id: ConnectionId, cause: Option<ConnectionError>) {
        let Ok(peer) = PeerId::try_from(peer) else { return };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(connection) = neighbour.remove(id) else { return };
        debug!(%peer, address = %connection.address, ?cause, "disconnected");
        if neighbour.chosen == Some(id) {
            self.end_link(peer, DownReason::from_cause(cause));
        }
        if let Some(attempt) = self.attempts.remove(&id) {
            let reason = if self.is_linked(&peer) {
                DialError::AlreadyUp { found: peer }
            } else {
                connection.closing.unwrap_or(DialError::Dropped)
            };
            self.dial_failed(attempt, reason);
        }
        self.settle(peer);
    }

    fn on_sync_event(&mut self, peer: PeerId, id: ConnectionId, event: sync::Event) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(connection) = neighbour.connection(id) else { return };
        match event {
            sync::Event::Opened(stream) => connection.outbound = Some(stream),
            sync::Event::Accepted(stream) => {
                connection.inbound = Some(stream);
                // The peer that decides has turned to this connection: the one used so far is dead, and only it knows.
                if peer < self.us
                    && let Some(before) = neighbour.chosen.filter(|before| *before != id)
                {
                    self.end_link(peer, DownReason::Closed);
                    self.close_connection(peer, before, DialError::Dropped);
                }
            }
            sync::Event::Unsupported => self.close_connection(peer, id, DialError::NotScope),
            sync::Event::Failed(reason) => self.close_connection(peer, id, DialError::Other(reason)),
        }
        self.settle(peer);
    }

    fn on_pong(&mut self, peer: PeerId, id: ConnectionId, rtt: Duration) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let is_link = neighbour.chosen == Some(id) && matches!(neighbour.link, Link::Running(_));
        let Some(connection) = neighbour.connection(id) else { return };
        connection.heard = Instant::now();
        if is_link && self.outbox.is_empty() {
            self.outbox.push(Event::Rtt { peer, rtt });
        }
    }

    fn on_stranger(&mut self, address: SocketAddr, error: &ListenError) {
        debug!(%address, ?error, "a connection to us failed");
        let error = match error {
            ListenError::Transport(error) => error,
            ListenError::Denied { cause } => return self.complain_of_memory(&Denied::from_cause(cause)),
            _ => return,
        };
        let now = Instant::now();
        if is_handshake_failure(error)
            && self.broken_off.is_habit(address.ip(), now)
            && self.complaints.is_due(address.ip(), now)
        {
            let reason = DialError::Secret.to_string();
            warn!(%address, "somebody there cannot join: {reason}");
            self.outbox.push(Event::HandshakeFailed { address, reason });
        }
    }

    fn on_listener_error(&mut self, id: ListenerId, error: &std::io::Error) {
        let Some(listener) = self.listeners.iter().find(|it| it.id == id) else { return };
        if self.complaints.is_due(listener.address.ip(), Instant::now()) {
            warn!(address = %listener.address, %error, "cannot take connections there (--mesh-addr)");
        }
    }
}

fn learn(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
        addresses.push(address);
        addresses.sort_unstable();
    }
}
