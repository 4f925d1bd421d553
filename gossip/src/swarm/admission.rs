//! Who may connect: so many neighbours, with the right kind of key, and no host may take all places of those who are still in
//! the handshake.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::FromSwarm;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{ConnectionDenied, ConnectionId, NetworkBehaviour, ToSwarm};

use super::dial::Denied;
use super::listen::socket_address;
use crate::PeerId;

/// Connections of one host that are in the handshake. A handshake takes milliseconds; who needs more places at a time holds
/// them on purpose, and would keep others out with them.
const HANDSHAKES_PER_HOST_MAX: usize = 16;

/// Denies connections.
pub(super) struct Behaviour {
    links_max: usize,
    /// Established connections by peer.
    peers: HashMap<libp2p::PeerId, usize>,
    /// Hosts that are in the handshake with us; bounded by the limit of pending connections.
    handshakes: HashMap<ConnectionId, IpAddr>,
}

impl Behaviour {
    pub(super) fn new(links_max: usize) -> Behaviour {
        Behaviour { links_max, peers: HashMap::new(), handshakes: HashMap::new() }
    }

    fn admit(&self, peer: libp2p::PeerId) -> Result<ConnectionHandler, ConnectionDenied> {
        PeerId::try_from(peer).map_err(ConnectionDenied::new)?;
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.links_max {
            return Err(ConnectionDenied::new(Denied::LinksMax(self.links_max)));
        }
        Ok(ConnectionHandler)
    }

    fn admit_handshake(&mut self, connection: ConnectionId, host: IpAddr) -> Result<(), ConnectionDenied> {
        let host = network(host);
        if self.handshakes.values().filter(|it| **it == host).count() >= HANDSHAKES_PER_HOST_MAX {
            let text = format!("{host} has {HANDSHAKES_PER_HOST_MAX} handshakes under way");
            return Err(ConnectionDenied::new(Denied::Limit(text)));
        }
        self.handshakes.insert(connection, host);
        Ok(())
    }
}

/// What one host is sure to own: its IPv4 address, or the IPv6 network of 2^64 addresses it is in.
fn network(host: IpAddr) -> IpAddr {
    match host.to_canonical() {
        IpAddr::V4(host) => host.into(),
        IpAddr::V6(host) => {
            let [a, b, c, d, ..] = host.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        socket_address(remote).map_or(Ok(()), |remote| self.admit_handshake(connection, remote.ip()))
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.handshakes.remove(&connection);
        self.admit(peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.admit(peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(it) => *self.peers.entry(it.peer_id).or_default() += 1,
            FromSwarm::ConnectionClosed(it) if it.remaining_established == 0 => {
                self.peers.remove(&it.peer_id);
            }
            FromSwarm::ListenFailure(it) => {
                self.handshakes.remove(&it.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: libp2p::PeerId, _: ConnectionId, never: Infallible) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_some_places_in_the_handshake_and_leaves_the_others() {
        let mut admission = Behaviour::new(1);
        let mut next = 0;
        let mut admit = |admission: &mut Behaviour, host: &str| {
            next += 1;
            admission.admit_handshake(ConnectionId::new_unchecked(next), host.parse().unwrap()).is_ok()
        };
        for host in ["10.0.0.1", "2001:db8::1"] {
            let admitted = (0..100).filter(|_| admit(&mut admission, host)).count();
            assert_eq!(admitted, HANDSHAKES_PER_HOST_MAX, "{host}");
        }
        let cases = [
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("10.0.0.2", true),
            ("2001:db8::ffff:2", false),
            ("2001:db8:0:1::1", true),
        ];
        for (host, want) in cases {
            assert_eq!(admit(&mut admission, host), want, "{host}");
        }
        admission.handshakes.remove(&ConnectionId::new_unchecked(1));
        assert!(admit(&mut admission, "10.0.0.1"));
    }
}
