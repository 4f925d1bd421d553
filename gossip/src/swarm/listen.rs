//! Addresses: listening on them, and between libp2p's form of them and the standard library's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::TransportError;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::{Multiaddr, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen as listen_socket, socket_with, sockopt};
use tracing::warn;

use super::StartError;
use super::behaviour::Behaviour;

/// One address that is listened on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) id: ListenerId,
    /// As configured; the port becomes the real one once that is known.
    pub(super) address: SocketAddr,
}

/// Listens on all of `addresses`. One whose IP version this host lacks is left out if there are others.
pub(super) fn listen(
    swarm: &mut libp2p::Swarm<Behaviour>,
    addresses: &[SocketAddr],
) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    let mut missing = Vec::new();
    for &address in addresses {
        match listen_on(swarm, address) {
            Ok(id) => listeners.push(Listener { id, address }),
            Err(reason) if is_unsupported(address, &reason) => missing.push((address, reason)),
            Err(reason) => return Err(StartError::Listen { address, reason }),
        }
    }
    for (address, reason) in missing {
        if listeners.is_empty() {
            return Err(StartError::Listen { address, reason });
        }
        warn!(%address, %reason, "not listening there: this host lacks that version of IP");
    }
    Ok(listeners)
}

fn listen_on(swarm: &mut libp2p::Swarm<Behaviour>, address: SocketAddr) -> io::Result<ListenerId> {
    claim(address)?;
    swarm.listen_on(multiaddr(address)).map_err(|error| match error {
        TransportError::Other(error) => error,
        error @ TransportError::MultiaddrNotSupported(_) => io::Error::other(error),
    })
}

/// Fails if somebody else listens there. libp2p sets `SO_REUSEPORT`, with which a second `scope` on this host would
/// get half of the connections of the first one instead of an error.
fn claim(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    Ok(listen_socket(&socket, 1)?)
}

/// Whether an error means that this host does not do IPv6, or not IPv4, rather than that the address is taken or wrong. That
/// an address is not available may be either, but there is no wrong one among those that stand for all.
fn is_unsupported(address: SocketAddr, error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::AFNOSUPPORT) || (is(Errno::ADDRNOTAVAIL) && address.ip().is_unspecified())
}

/// An address as libp2p writes it.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The TCP address in one of libp2p's, if that is all it has.
pub(super) fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_ip_version_is_no_mistake() {
        let cases = [
            ("[::]:1", Errno::AFNOSUPPORT, true),
            ("[2001:db8::1]:1", Errno::AFNOSUPPORT, true),
            ("[::]:1", Errno::ADDRNOTAVAIL, true),
            ("[2001:db8::1]:1", Errno::ADDRNOTAVAIL, false),
            ("0.0.0.0:1", Errno::ADDRINUSE, false),
            ("0.0.0.0:1", Errno::ACCESS, false),
        ];
        for (address, errno, want) in cases {
            assert_eq!(is_unsupported(address.parse().unwrap(), &errno.into()), want, "{address} {errno}");
        }
    }

    #[test]
    fn addresses_go_both_ways() {
        for text in ["127.0.0.1:4030", "[::1]:4030", "[fe80::1]:1", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_address(&multiaddr(address)), Some(address));
        }
        for other in ["/ip4/1.2.3.4", "/dns4/a.example/tcp/1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/1/ws"] {
            assert_eq!(socket_address(&other.parse().unwrap()), None, "{other}");
        }
    }
}
