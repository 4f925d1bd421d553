//! What a scan of a namespace says, as the tracker wants it: each connection with its direction and its process.

use std::collections::HashMap;
use std::net::SocketAddr;

use topology::fact::{Direction, Evidence, Listener, ListenerKey, Protocol};
use topology::{Netns, ProcessId};

use super::classify::Classifier;
use super::inodes::{OWNERS_MAX, Owners};
use super::netns::{Scan, Source};
use super::sock_diag::{Socket, State};
use super::tracker;

/// Most listeners kept of a host.
pub(super) const LISTENERS_MAX: usize = 10_000;

/// Tells who opened the connections of each namespace, scan after scan.
#[derive(Debug, Default)]
pub(super) struct Classifiers(HashMap<Netns, Pair>);

#[derive(Debug, Default)]
struct Pair {
    /// Listeners at the last snapshot, however many of them were taken.
    listeners: usize,
    tcp: Classifier,
    udp: Classifier,
}

impl Classifiers {
    /// Forgets all namespaces but those of `scans`.
    pub(super) fn retain(&mut self, scans: &[Scan]) {
        self.0.retain(|netns, _| scans.iter().any(|scan| scan.netns == *netns));
    }

    /// How many listeners a namespace had at its last snapshot.
    pub(super) fn listeners(&self, netns: Netns) -> usize {
        self.0.get(&netns).map_or(0, |pair| pair.listeners)
    }

    /// The direction of a connection that ended, by what listens and listened in its namespace.
    pub(super) fn direction(&self, scan: &Scan, local: SocketAddr, remote: SocketAddr) -> Direction {
        let is_here = |address| scan.networks.iter().any(|network| network.address == address);
        let unknown = Classifier::default(); // of a namespace that was never scanned ports tell
        let tcp = self.0.get(&scan.netns).map_or(&unknown, |pair| &pair.tcp);
        tcp.direction_of_ended(local, remote, is_here(remote.ip()), &scan.ephemeral)
    }

    /// A scan's sockets; at most `listeners_max` listeners. To be called for scans in which something may differ.
    pub(super) fn snapshot(&mut self, scan: &Scan, owners: &Owners, listeners_max: usize) -> tracker::Snapshot {
        let pair = self.0.entry(scan.netns).or_default();
        let (bound, connected): (Vec<Socket>, Vec<Socket>) =
            scan.datagrams.iter().partition(|socket| matches!(socket.state, State::Bound { .. }));
        let servers: Vec<Socket> =
            bound.iter().filter(|socket| !scan.ephemeral.contains(&socket.local.port())).copied().collect();
        pair.listeners = scan.listeners.len() + servers.len();
        let listeners = listeners(scan.netns, scan.listeners.iter().chain(&servers), owners, listeners_max);
        let tcp = pair.tcp.classify(&scan.listeners, &scan.connections, &scan.ephemeral);
        let udp = pair.udp.classify(&as_listening(&servers), &connected, &scan.ephemeral);
        let directions = tcp.into_iter().chain(udp);
        let sockets = scan.connections.iter().chain(&connected).zip(directions);
        let unconnected = bound.iter().map(|socket| (socket.local, owner(socket, owners))).collect();
        tracker::Snapshot {
            listeners,
            sockets: sockets.map(|(socket, direction)| end(socket, direction.direction, owners)).collect(),
            unconnected,
            source: match scan.source {
                Source::SockDiag => Evidence::SOCK_DIAG,
                Source::ProcNet => Evidence::PROC_NET,
            },
            read_at: scan.read_at,
        }
    }
}

fn end(socket: &Socket, direction: Direction, owners: &Owners) -> tracker::Socket {
    tracker::Socket {
        protocol: socket.protocol,
        direction,
        local: socket.local,
        remote: socket.remote,
        owner: owner(socket, owners),
        lingers: !socket.is_open(),
        figures: socket.figures,
    }
}

fn owner(socket: &Socket, owners: &Owners) -> Option<ProcessId> {
    owners.of(socket.inode).first().copied()
}

/// The classifier knows servers as sockets that listen.
fn as_listening(servers: &[Socket]) -> Vec<Socket> {
    let listening = |socket: &Socket| match socket.state {
        State::Bound { v6_only } => Socket { state: State::Listen { v6_only }, ..*socket },
        _ => *socket,
    };
    servers.iter().map(listening).collect()
}

/// Several sockets share an address where `SO_REUSEPORT` is used, one a worker: they are one listener with all owners.
fn listeners<'a>(
    netns: Netns,
    sockets: impl Iterator<Item = &'a Socket>,
    owners: &Owners,
    listeners_max: usize,
) -> Vec<Listener> {
    let mut listeners: HashMap<ListenerKey, Listener> = HashMap::new();
    for socket in sockets {
        let (State::Listen { v6_only } | State::Bound { v6_only }) = socket.state else { continue };
        let protocol = if socket.protocol == Protocol::Udp { Protocol::Udp } else { Protocol::Tcp };
        let key = ListenerKey { netns, protocol, address: socket.local.ip(), port: socket.local.port() };
        if listeners.len() >= listeners_max && !listeners.contains_key(&key) {
            continue;
        }
        let listener = listeners.entry(key).or_insert(Listener { key, v6_only, owners: Vec::new() });
        listener.owners.extend(owners.of(socket.inode));
        listener.owners.sort_unstable();
        listener.owners.dedup();
        listener.owners.truncate(OWNERS_MAX);
    }
    listeners.into_values().collect()
}
