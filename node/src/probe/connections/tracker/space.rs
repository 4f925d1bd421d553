//! What is held of one network namespace: its listeners and the sockets of its open connections, each with its flow.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use topology::ProcessId;
use topology::fact::{FlowKey, Listener, ListenerKey, Network, Protocol};

use super::{Snapshot, Socket};
use crate::probe::connections::sock_diag::Figures;

/// Names a connection's end within its namespace.
pub(super) type SocketKey = (Protocol, SocketAddr, SocketAddr);

/// A connection's end that was there at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) flow: FlowKey,
    pub(super) figures: Figures,
    /// Whether it is among the open ones of its flow.
    pub(super) is_open: bool,
    /// Generation of the translations that `flow` was made with.
    pub(super) generation: u64,
}

#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) networks: Arc<[Network]>,
    pub(super) listeners: BTreeMap<ListenerKey, Listener>,
    unconnected: Vec<(SocketAddr, Option<ProcessId>)>,
    pub(super) held: HashMap<SocketKey, Held>,
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

    /// The process that takes connections to `local`, if it is known.
    pub(super) fn listening(&self, protocol: Protocol, local: SocketAddr) -> Option<ProcessId> {
        let fits = |listener: &&Listener| {
            let bound = listener.key.address;
            let is_wildcard = bound.is_unspecified()
                && (bound.is_ipv4() == local.is_ipv4() || (bound.is_ipv6() && !listener.v6_only));
            listener.key.protocol == protocol
                && listener.key.port == local.port()
                && (bound == local.ip() || is_wildcard)
        };
        self.listeners.values().filter(fits).find_map(|listener| listener.owners.first().copied())
    }

    /// The process with an unconnected UDP socket on that port, if it is known.
    pub(super) fn unconnected(&self, local: SocketAddr) -> Option<ProcessId> {
        let fits = |(bound, _): &&(SocketAddr, _)| {
            bound.port() == local.port() && (bound.ip().is_unspecified() || bound.ip() == local.ip())
        };
        self.unconnected.iter().find(fits).and_then(|(_, owner)| *owner)
    }

    /// Whether an address is one of this namespace's own.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.address == address)
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
