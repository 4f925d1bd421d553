//! Which side opened a connection. A socket does not say: it is told by the listeners of its network namespace, those of
//! now and of a while ago, and where none was seen by the port numbers.
//!
//! Both ends of a connection within one namespace are judged by the same evidence, so that they always come out as one
//! outgoing and one incoming.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use topology::fact::Direction;

use super::sock_diag::{Socket, State};

/// Scans for which a listener is remembered after it closed. A server that takes one connection, as `nc -l` does, closes
/// its listener before the connection is first seen, so a few would do; more, because scans can be far apart.
pub const REMEMBER_SCANS: u64 = 30;
/// Most closed listeners remembered of a namespace. Beyond that they are forgotten early, and ports decide.
pub const REMEMBERED_MAX: usize = 4096;
/// Most connections whose direction is held because their listener closed. Beyond that ports decide.
pub const HELD_MAX: usize = 4096;

/// One end of a connection, with its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who opened it: outgoing if we did.
    pub direction: Direction,
    /// Own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// What it is doing; never `Listen`.
    pub state: State,
    /// Inode of its socket, 0 if no process holds it.
    pub inode: u64,
}

/// Tells the directions of the connections of one network namespace, scan after scan.
#[derive(Debug, Default)]
pub struct Classifier {
    scan: u64,
    /// Scan in which a listener was last there, by the addresses it covers.
    listeners: HashMap<SocketAddr, u64>,
    /// Connections whose direction a closed listener told: it stays theirs for as long as they last.
    held: HashMap<(SocketAddr, SocketAddr), Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    direction: Direction,
    seen: u64,
}

impl Classifier {
    /// The connections of a scan with their directions, in the same order. To be called for scans in
    /// which something differs: it is by these that listeners are forgotten.
    pub fn classify(
        &mut self,
        listeners: &[Socket],
        connections: &[Socket],
        ephemeral: &RangeInclusive<u16>,
    ) -> Vec<Connection> {
        self.scan += 1;
        self.note(listeners);
        let here: HashSet<IpAddr> = listeners.iter().chain(connections).map(|socket| socket.local.ip()).collect();
        let directed = |socket: &Socket| Connection {
            direction: self.direction(socket, &here, ephemeral),
            local: socket.local,
            remote: socket.remote,
            state: socket.state,
            inode: socket.inode,
        };
        let connections = connections.iter().map(directed).collect();
        self.held.retain(|_, held| held.seen == self.scan);
        connections
    }

    /// The direction of a connection that ended since the last scan, whether its other end is on this namespace's own addresses
    /// or not.
    pub fn direction_of_ended(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        remote_is_here: bool,
        ephemeral: &RangeInclusive<u16>,
    ) -> Direction {
        let remote_is_here = remote_is_here || remote.ip().is_loopback();
        let told = |age_max| {
            let local = self.is_covered(local, age_max);
            Ends { local, remote: remote_is_here && self.is_covered(remote, age_max) }.tell()
        };
        told(0).or_else(|| told(REMEMBER_SCANS)).unwrap_or_else(|| by_ports(local, remote, remote_is_here, ephemeral))
    }

    fn note(&mut self, listeners: &[Socket]) {
        let scan = self.scan;
        self.listeners.retain(|_, seen| scan - *seen <= REMEMBER_SCANS);
        if self.listeners.len() > REMEMBERED_MAX {
            self.listeners.retain(|_, seen| scan - *seen <= 1);
        }
        self.listeners.extend(listeners.iter().flat_map(covered).map(|address| (address, scan)));
    }

    fn direction(&mut self, socket: &Socket, here: &HashSet<IpAddr>, ephemeral: &RangeInclusive<u16>) -> Direction {
        let (local, remote) = (socket.local, socket.remote);
        let remote_is_here = remote.ip().is_loopback() || here.contains(&remote.ip());
        let ends = |age_max| Ends {
            local: self.is_covered(local, age_max),
            remote: remote_is_here && self.is_covered(remote, age_max),
        };
        let now = ends(0);
        let told = if now == Ends::NEITHER { self.remembered(local, remote, ends(REMEMBER_SCANS)) } else { now.tell() };
        told.unwrap_or_else(|| by_ports(local, remote, remote_is_here, ephemeral))
    }

    /// Whether a listener that was there `age_max` scans ago or later takes connections to `address`.
    fn is_covered(&self, address: SocketAddr, age_max: u64) -> bool {
        let wildcard = match address.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let covers = |key| self.listeners.get(&key).is_some_and(|seen| self.scan - seen <= age_max);
        covers(address) || covers(SocketAddr::new(wildcard, address.port()))
    }

    /// What a closed listener tells of a connection, now or when it was first asked.
    fn remembered(&mut self, local: SocketAddr, remote: SocketAddr, ends: Ends) -> Option<Direction> {
        if let Some(held) = self.held.get_mut(&(local, remote)) {
            held.seen = self.scan;
            return Some(held.direction);
        }
        let direction = ends.tell()?;
        if self.held.len() < HELD_MAX {
            self.held.insert((local, remote), Held { direction, seen: self.scan });
        }
        Some(direction)
    }
}

/// Which ends of a connection a listener covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    local: bool,
    remote: bool,
}

impl Ends {
    const NEITHER: Self = Self { local: false, remote: false };

    /// The end with a listener is the server's.
    fn tell(self) -> Option<Direction> {
        match (self.local, self.remote) {
            (true, false) => Some(Direction::Incoming),
            (false, true) => Some(Direction::Outgoing),
            (true, true) | (false, false) => None,
        }
    }
}

/// Addresses a listener takes connections to. A wildcard of v6 is one of v4 too, unless it is told to be `v6_only`.
fn covered(listener: &Socket) -> impl Iterator<Item = SocketAddr> + use<> {
    let is_dual =
        listener.local.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) && listener.state != State::Listen { v6_only: true };
    let v4 = is_dual.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listener.local.port()));
    [listener.local].into_iter().chain(v4)
}

/// The end in the ephemeral range is the client's: the kernel chose its port. If both are, as with gRPC's 50051, this end is,
/// for want of a listener, unless the other one would have had it here too. Where that does not tell them apart the lower port
/// is the server's, and of equal ports the lower address.
fn by_ports(local: SocketAddr, remote: SocketAddr, remote_is_here: bool, ephemeral: &RangeInclusive<u16>) -> Direction {
    let is_client = |end: SocketAddr| ephemeral.contains(&end.port());
    if is_client(local) && is_client(remote) && !remote_is_here {
        return Direction::Outgoing;
    }
    let order = |end: SocketAddr| (is_client(end), end.port(), end.ip());
    if order(local) < order(remote) { Direction::Incoming } else { Direction::Outgoing }
}

#[cfg(test)]
mod tests {
    use topology::fact::Protocol;

    use super::*;

    use Direction::{Incoming, Outgoing};

    const RANGE: RangeInclusive<u16> = 32768..=60999;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address of this table")
    }

    /// `"*:80"` and `"[::]:80"` with a `!` behind it for v6 only.
    fn listener(text: &str) -> Socket {
        let v6_only = text.ends_with('!');
        let local = address(&text.trim_end_matches('!').replace('*', "0.0.0.0"));
        Socket {
            local,
            remote: address("0.0.0.0:0"),
            protocol: Protocol::Tcp,
            state: State::Listen { v6_only },
            inode: 1,
            uid: 0,
            figures: None,
        }
    }

    /// `"127.0.0.1:80 10.0.0.1:40000"`: the local end, then the remote one.
    fn connection(text: &str) -> Socket {
        let (local, remote) = text.split_once(' ').expect("two addresses");
        Socket {
            local: address(local),
            remote: address(remote),
            protocol: Protocol::Tcp,
            state: State::Established,
            inode: 2,
            uid: 0,
            figures: None,
        }
    }

    fn directions(classifier: &mut Classifier, listeners: &[&str], connections: &[&str]) -> Vec<Direction> {
        let listeners: Vec<_> = listeners.iter().map(|text| listener(text)).collect();
        let connections: Vec<_> = connections.iter().map(|text| connection(text)).collect();
        let directed = classifier.classify(&listeners, &connections, &RANGE);
        directed.iter().map(|connection| connection.direction).collect()
    }

    #[test]
    fn an_end_with_a_listener_is_the_servers() {
        let cases: [(&[&str], &str, Direction); 14] = [
            (&["*:40000"], "10.0.0.1:40000 10.0.0.2:80", Incoming), // whatever the ports suggest
            (&["10.0.0.1:40000"], "10.0.0.1:40000 10.0.0.2:80", Incoming),
            (&["10.0.0.9:40000"], "10.0.0.1:40000 10.0.0.2:80", Outgoing), // another address's listener
            (&["[::]:40000"], "10.0.0.1:40000 10.0.0.2:80", Incoming),
            (&["[::]:40000!"], "10.0.0.1:40000 10.0.0.2:80", Outgoing),
            (&["[::]:40000!"], "[fd00::1]:40000 [fd00::2]:80", Incoming),
            (&["*:40000"], "[fd00::1]:40000 [fd00::2]:80", Outgoing),
            (&["[::1]:40000"], "[::1]:40000 [::1]:80", Incoming),
            (&["127.0.0.1:50000"], "127.0.0.1:80 127.0.0.1:50000", Outgoing), // a server here, seen from the client
            (&["*:50000"], "127.0.0.1:80 127.0.0.2:50000", Outgoing),         // all of 127.0.0.0/8 is here
            (&["*:50000"], "10.0.0.1:80 10.0.0.2:50000", Incoming), // the same port on another host says nothing
            (&["*:50000", "10.0.0.2:1"], "10.0.0.1:80 10.0.0.2:50000", Outgoing), // unless the address is ours
            (&["*:80", "*:50000"], "127.0.0.1:80 127.0.0.1:50000", Incoming), // both: by ports
            (&["*:80", "*:50000"], "127.0.0.1:50000 127.0.0.1:80", Outgoing),
        ];
        for (listeners, connection, want) in cases {
            let got = directions(&mut Classifier::default(), listeners, &[connection]);
            assert_eq!(got, [want], "{connection} with {listeners:?}");
        }
    }

    #[test]
    fn without_listeners_ports_tell() {
        let cases = [
            ("10.0.0.1:40000 10.0.0.2:443", Outgoing),
            ("10.0.0.1:443 10.0.0.2:40000", Incoming),
            ("10.0.0.1:60999 10.0.0.2:61000", Outgoing), // a server above the range
            ("10.0.0.1:32768 10.0.0.2:32767", Outgoing),
            ("10.0.0.1:22 10.0.0.2:1023", Incoming),     // neither in the range
            ("10.0.0.1:40000 10.0.0.2:50000", Outgoing), // both, and no listener here
            ("10.0.0.1:50000 10.0.0.2:40000", Outgoing),
            ("127.0.0.1:40000 127.0.0.1:50000", Incoming), // nor at the other end, which is here
            ("10.0.0.1:179 10.0.0.2:179", Incoming),
            ("10.0.0.2:179 10.0.0.1:179", Outgoing),
            ("10.0.0.1:179 10.0.0.1:179", Outgoing), // connected to itself
        ];
        for (connection, want) in cases {
            assert_eq!(directions(&mut Classifier::default(), &[], &[connection]), [want], "{connection}");
        }
    }

    #[test]
    fn the_two_ends_of_a_connection_are_one_outgoing_and_one_incoming() {
        let hosts = ["127.0.0.1", "127.0.0.2", "10.0.0.1"];
        let ports = [22, 8080, 40000, 50000];
        let listener_sets: [&[&str]; 5] =
            [&[], &["*:8080"], &["127.0.0.1:40000", "*:50000"], &["[::]:22"], &["*:22", "*:40000"]];
        let ends: Vec<_> = hosts.iter().flat_map(|host| ports.map(|port| format!("{host}:{port}"))).collect();
        for listeners in listener_sets {
            for (a, b) in ends.iter().flat_map(|a| ends.iter().map(move |b| (a, b))).filter(|(a, b)| a != b) {
                let pair = [&*format!("{a} {b}"), &*format!("{b} {a}")];
                let mut classifier = Classifier::default();
                let open = directions(&mut classifier, listeners, &pair);
                assert_ne!(open[0], open[1], "{a} {b} with {listeners:?}");
                let closed = directions(&mut classifier, &[], &pair);
                assert_ne!(closed[0], closed[1], "{a} {b} after {listeners:?}");
            }
        }
    }

    #[test]
    fn a_listener_is_remembered_for_a_while_and_its_connections_keep_their_direction() {
        let mut classifier = Classifier::default();
        let (early, late) = ("10.0.0.1:40000 10.0.0.2:80", "10.0.0.1:40000 10.0.0.3:80");
        assert_eq!(directions(&mut classifier, &["*:40000"], &[]), []);
        // The listener closes as it accepts: the connection comes into view without it.
        for _ in 0..=REMEMBER_SCANS {
            assert_eq!(directions(&mut classifier, &[], &[early]), [Incoming]);
        }
        // A connection of the same port that comes later is a client's; the first one is what it always was.
        assert_eq!(directions(&mut classifier, &[], &[early, late]), [Incoming, Outgoing]);
        // Forgotten with its connection.
        assert_eq!(directions(&mut classifier, &[], &[]), []);
        assert_eq!(directions(&mut classifier, &[], &[early]), [Outgoing]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut classifier = Classifier::default();
        let many = u16::try_from(REMEMBERED_MAX + 100).expect("a port");
        let listeners: Vec<_> = (1..=many).map(|port| format!("*:{port}")).collect();
        let listeners: Vec<_> = listeners.iter().map(String::as_str).collect();
        directions(&mut classifier, &listeners, &[]);
        let ends: Vec<_> = (1..=many).map(|port| format!("10.0.0.1:{port} 10.0.0.2:{port}")).collect();
        let ends: Vec<_> = ends.iter().map(String::as_str).collect();
        directions(&mut classifier, &[], &ends);
        assert_eq!(classifier.held.len(), HELD_MAX);
        directions(&mut classifier, &[], &[]);
        assert_eq!((classifier.held.len(), classifier.listeners.len()), (0, 0));
    }
}
