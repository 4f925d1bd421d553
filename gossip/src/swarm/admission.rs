//! Who may connect: so many neighbours, with the right kind of key; and no host may take all places, neither of neighbours,
//! for which it would need no more than as many keys, nor of those who are still in the handshake.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
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

/// Neighbours in one [`network`] other than this host. A peer wants 8 at most, and an IPv6 network or what is behind one
/// IPv4 address may be a whole cluster; but where the mesh is open, whoever has one host has any number of keys.
const LINKS_PER_NETWORK_MAX: usize = 16;

/// Denies connections.
pub(super) struct Behaviour {
    links_max: usize,
    /// The neighbours, and the [`network`] of the first connection to each.
    peers: HashMap<libp2p::PeerId, IpAddr>,
    /// Hosts that are in the handshake with us; bounded by the limit of pending connections.
    handshakes: HashMap<ConnectionId, IpAddr>,
}

impl Behaviour {
    pub(super) fn new(links_max: usize) -> Behaviour {
        Behaviour { links_max, peers: HashMap::new(), handshakes: HashMap::new() }
    }

    fn admit(&self, peer: libp2p::PeerId, remote: &Multiaddr) -> Result<ConnectionHandler, ConnectionDenied> {
        PeerId::try_from(peer).map_err(ConnectionDenied::new)?;
        if self.peers.contains_key(&peer) {
            return Ok(ConnectionHandler);
        }
        if self.peers.len() >= self.links_max {
            return Err(ConnectionDenied::new(Denied::LinksMax(self.links_max)));
        }
        if let Some(host) = socket_address(remote).map(|it| network(it.ip())).filter(|it| !it.is_loopback())
            && self.peers.values().filter(|it| **it == host).count() >= LINKS_PER_NETWORK_MAX
        {
            let text = format!("there are {LINKS_PER_NETWORK_MAX} neighbours at {host} already");
            return Err(ConnectionDenied::new(Denied::Limit(text)));
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

/// What one host is sure to own: its IPv4 address, or the IPv6 network of 2^64 addresses it is in. The loopback is itself.
fn network(host: IpAddr) -> IpAddr {
    match host.to_canonical() {
        IpAddr::V4(host) => host.into(),
        IpAddr::V6(host) if host.is_loopback() => host.into(),
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
        remote: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.handshakes.remove(&connection);
        self.admit(peer, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.admit(peer, remote)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(it) => {
                let host = socket_address(it.endpoint.get_remote_address()).map(|it| network(it.ip()));
                self.peers.entry(it.peer_id).or_insert(host.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
            }
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
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::behaviour::ConnectionEstablished;

    use super::*;
    use crate::swarm::listen::multiaddr;

    #[test]
    fn one_host_has_so_many_neighbours_and_leaves_the_others() {
        let mut admission = Behaviour::new(64);
        let key = || libp2p_identity::Keypair::generate_ed25519().public().to_peer_id();
        let known = key();
        assert!(connect(&mut admission, known, "10.0.0.3"));
        let cases = [
            ("10.0.0.1", 20, LINKS_PER_NETWORK_MAX),
            ("::ffff:10.0.0.1", 1, 0),
            ("10.0.0.2", 1, 1),
            ("2001:db8::1", 20, LINKS_PER_NETWORK_MAX),
            ("2001:db8::ffff:2", 1, 0),
            ("127.0.0.1", 20, 20),
            ("::1", 20, 10), // that is all there may be
        ];
        for (host, keys, want) in cases {
            let admitted = (0..keys).filter(|_| connect(&mut admission, key(), host)).count();
            assert_eq!(admitted, want, "{host}");
        }
        assert!(connect(&mut admission, known, "10.0.0.1"), "a neighbour may connect again, from wherever it comes");
    }

    fn connect(admission: &mut Behaviour, peer: libp2p::PeerId, host: &str) -> bool {
        let address = multiaddr((host.parse::<IpAddr>().unwrap(), 4030).into());
        let (role_override, port_use) = (Endpoint::Dialer, PortUse::New);
        let is_admitted = admission.admit(peer, &address).is_ok();
        if is_admitted {
            admission.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: ConnectionId::new_unchecked(1),
                endpoint: &ConnectedPoint::Dialer { address, role_override, port_use },
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        is_admitted
    }

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
