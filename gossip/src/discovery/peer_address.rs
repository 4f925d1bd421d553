//! Peers as people name them, on the command line above all.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Port of the mesh, where a peer says no other.
pub const MESH_PORT: u16 = 4030;

/// Where another peer may be: a name or an address, and a port, which is not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    host: Host,
    port: u16,
}

/// What a peer's machine is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address, v4 or v6.
    Address(IpAddr),
    /// A name of at most 253 bytes, to be looked up.
    Name(String),
}

/// A text that names no peer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no peer: give a name or an address, e.g. `db1`, `10.0.0.2:4030`, `[2001:db8::1]:4030`")]
pub struct BadPeer(String);

impl PeerAddress {
    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port of its mesh.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = BadPeer;

    fn from_str(text: &str) -> Result<Self, BadPeer> {
        parse(text).ok_or_else(|| BadPeer(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<PeerAddress> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(PeerAddress { host: Host::Address(address), port: MESH_PORT });
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return (socket.port() > 0).then(|| PeerAddress { host: Host::Address(socket.ip()), port: socket.port() });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, MESH_PORT),
    };
    is_host_name(name).then(|| PeerAddress { host: Host::Name(name.to_owned()), port })
}

/// A name of labels of letters, digits, `-` and `_`, 1 to 63 bytes each (RFC 1035 §2.3.4), and not a mistyped address.
pub(super) fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
    };
    let is_numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.len() <= 253 && name.split('.').all(is_label) && !is_numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_or_an_address_with_or_without_a_port() {
        let cases = [
            ("scope1", Some("scope1:4030")),
            ("scope1:4031", Some("scope1:4031")),
            ("noatrealhost.foo", Some("noatrealhost.foo:4030")),
            ("192.168.0.12", Some("192.168.0.12:4030")),
            ("192.168.0.11:4031", Some("192.168.0.11:4031")),
            ("2001:db8::1", Some("[2001:db8::1]:4030")),
            ("[2001:db8::1]", Some("[2001:db8::1]:4030")),
            ("[2001:db8::1]:9", Some("[2001:db8::1]:9")),
            ("", None),
            ("scope1:", None),
            ("scope1:0", None),
            ("scope1:70000", None),
            ("10.0.0.1:0", None),
            ("300.1.1.1", None),
            ("http://scope1", None),
            ("a b", None),
            ("--detach", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<PeerAddress>().ok().map(|peer| peer.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }
}
