//! What is held of one network namespace: its listeners and the sockets of its open connections, each with its flow.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::ProcessId;
use topology::fact::{Listener, ListenerKey, Network, Protocol};

use super::followed::Counted;
use super::translation::Translation;
use super::{Snapshot, Socket};

/// Names a connection's end within its namespace.
pub(super) type SocketKey = (Protocol, SocketAddr, SocketAddr);

/// A connection's end that was there at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) counted: Counted,
    /// Whether it is among the open ones of its flow.
    pub(super) is_open: bool,
    /// How its addresses are translated, as far as is known.
    pub(super) translation: Option<Translation>,
    /// Generation of the translations that was looked up in.
    pub(super) generation: u64,
    /// When it was first seen.
    pub(super) since: Instant,
}

/// How long a connection that seems untranslated is looked up again: what is heard of translations comes a moment later.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

impl Held {
    /// Whether its translation may yet become known.
    pub(super) fn may_be_translated_yet(&self, now: Instant) -> bool {
        self.translation.is_none() && now.saturating_duration_since(self.since) < SETTLED_AFTER
    }

    /// Whether its translation is to be looked up (again).
    pub(super) fn is_to_be_translated(&self, generation: u64, now: Instant) -> bool {
        self.generation != generation || self.may_be_translated_yet(now)
    }
}

#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) networks: Arc<[Network]>,
    pub(super) listeners: BTreeMap<ListenerKey, Listener>,
    unconnected: Vec<(SocketAddr, Option<ProcessId>)>,
    pub(super) held: HashMap<SocketKey, Held>,
    /// When its connections were last looked at.
    pub(super) looked_at: Option<Instant>,
}

impl Space {
    pub(super) fn set_networks(&mut self, networks: &Arc<[Network]>) -> bool {
        let differs = self.networks != *networks;
        if differs {
            self.networks = Arc::clone(networks);
        }
        differs
    }

    /// Takes the listeners of a snapshot; returns whether they are others than before.
    pub(super) fn set_listeners(&mut self, snapshot: &mut Snapshot) -> bool {
        self.unconnected = std::mem::take(&mut snapshot.unconnected);
        let listeners = std::mem::take(&mut snapshot.listeners);
        let listeners: BTreeMap<_, _> = listeners.into_iter().map(|listener| (listener.key, listener)).collect();
        let differs = self.listeners != listeners;
        self.listeners = listeners;
        differs
    }

    /// The process that takes connections to `local`, if it is known: of its own address before every one's.
    pub(super) fn listening(&self, protocol: Protocol, local: SocketAddr) -> Option<ProcessId> {
        let netns = self.listeners.keys().next()?.netns;
        let at = |address| {
            let key = ListenerKey { netns, protocol, address, port: local.port() };
            self.listeners.get(&key).filter(|it| it.key.address.is_ipv4() == local.is_ipv4() || !it.v6_only)
        };
        let of_every_address: &[IpAddr] = match local {
            SocketAddr::V4(_) => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            SocketAddr::V6(_) => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        };
        let candidates = std::iter::once(local.ip()).chain(of_every_address.iter().copied());
        candidates.filter_map(at).find_map(|listener| listener.owners.first().copied())
    }

    /// The process with an unconnected UDP socket on that port, if it is known.
    pub(super) fn unconnected(&self, local: SocketAddr) -> Option<ProcessId> {
        let of_port = || self.unconnected.iter().filter(|(bound, _)| bound.port() == local.port());
        let exact = of_port().find(|(bound, _)| bound.ip() == local.ip());
        exact.or_else(|| of_port().find(|(bound, _)| bound.ip().is_unspecified())).and_then(|(_, owner)| *owner)
    }

    /// Takes out what is no more, or no more open: all that is held but not among the open of `sockets`.
    pub(super) fn take_closed(&mut self, sockets: &[Socket]) -> Vec<(SocketKey, Held)> {
        let open: HashSet<SocketKey> = sockets.iter().filter(|it| !it.lingers).map(Socket::key).collect();
        let lingering: HashSet<SocketKey> = sockets.iter().filter(|it| it.lingers).map(Socket::key).collect();
        let mut closed = Vec::new();
        self.held.retain(|key, held| {
            if held.is_open && !open.contains(key) {
                closed.push((*key, *held));
                held.is_open = false;
            }
            held.is_open || lingering.contains(key)
        });
        closed
    }
}

impl Socket {
    pub(super) fn key(&self) -> SocketKey {
        (self.protocol, self.local, self.remote)
    }
}
