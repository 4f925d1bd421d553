//! What was asked of others: so that a change concerns those whose edges it may change, and nobody else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use crate::claims::{Claims, Differences};
use crate::fact::Protocol;
use crate::id::PeerId;

/// What the resolution of one host's flows asked about other hosts: when an answer changes, it must be done again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    addresses: HashSet<IpAddr>,
    sockets: HashSet<(IpAddr, Protocol, u16)>,
}

impl Asked {
    pub(super) fn ask(&mut self, address: IpAddr) {
        self.addresses.insert(address);
    }

    pub(super) fn ask_socket(&mut self, address: IpAddr, protocol: Protocol, port: u16) {
        self.addresses.insert(address);
        self.sockets.insert((address, protocol, port));
    }

    /// Whether one of these addresses was asked for.
    pub(crate) fn has_any(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| self.addresses.contains(address))
    }

    /// Whether an answer was used that may be another one after a host's claims went from `old` to `new`.
    pub(crate) fn touches(&self, differences: &Differences, old: &Claims, new: &Claims) -> bool {
        if differences.addresses.iter().any(|address| self.addresses.contains(address)) {
            return true;
        }
        // Most hosts never asked about most others: that takes as many look-ups as the other has addresses.
        let of_host = || [old, new].into_iter().flat_map(Claims::all_addresses);
        if !of_host().any(|address| self.addresses.contains(&address)) {
            return false;
        }
        let leads_elsewhere = |(address, protocol, port): &(IpAddr, Protocol, u16)| {
            let claims = [old, new].into_iter().filter(|claims| claims.has(*address));
            let mut doors = claims.clone().filter_map(|claims| claims.door(*address, *protocol, *port));
            let is_published = differences.published.contains(&(*protocol, *port)) && claims.clone().next().is_some();
            let is_by_port = || claims.clone().any(|claims| claims.is_by_port(*address));
            is_published
                || doors.any(|door| differences.doors.contains(&door))
                || (differences.came_by.contains(&(*protocol, *port)) && is_by_port())
        };
        differences.host || self.sockets.iter().any(leads_elsewhere)
    }
}

/// Which hosts asked about an address: so a change finds those it may concern without asking every host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Askers(HashMap<IpAddr, BTreeSet<PeerId>>);

impl Askers {
    /// Puts what a host asked in the place of what it asked before.
    pub(crate) fn update(&mut self, peer: &PeerId, old: &Asked, new: &Asked) {
        for address in new.addresses.difference(&old.addresses) {
            self.0.entry(*address).or_default().insert(peer.clone());
        }
        for address in old.addresses.difference(&new.addresses) {
            let Some(askers) = self.0.get_mut(address) else { continue };
            askers.remove(peer);
            if askers.is_empty() {
                self.0.remove(address);
            }
        }
    }

    /// Who asked about any address a host had or has, or that changed hands with it; perhaps more than once.
    pub(crate) fn of<'a>(
        &'a self,
        differences: &'a Differences,
        old: &'a Claims,
        new: &'a Claims,
    ) -> impl Iterator<Item = &'a PeerId> {
        let of_host = new.all_addresses().chain(old.all_addresses().filter(|address| !new.has(*address)));
        let addresses = of_host.chain(differences.addresses.iter().copied());
        addresses.filter_map(|address| self.0.get(&address)).flatten()
    }
}
