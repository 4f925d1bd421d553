//! Which host has an address, over all hosts: kept by the cluster's writer.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use crate::address::{self, Net};
use crate::claims::Claims;
use crate::id::PeerId;

/// Who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    /// The only host, or the only one of them that is heard of.
    One(&'a PeerId),
    /// One of several: it cannot be told which.
    Several,
    /// No host of ours.
    Nobody,
}

/// Which host has an address, one entry an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    holders: HashMap<IpAddr, Vec<PeerId>>,
    /// By addresses that no interface has, as which connections of a host are seen.
    masked: HashMap<IpAddr, Vec<PeerId>>,
    /// By addresses that no interface has, from which a host's address translation sends connections on.
    fronted: HashMap<IpAddr, Vec<PeerId>>,
    networks: BTreeMap<Net, usize>,
    /// Hosts that are not heard of.
    silent: HashSet<PeerId>,
}

impl Index {
    /// Puts a host's claims in the place of its old ones; returns whether a network came or went.
    pub(crate) fn update(&mut self, peer: &PeerId, old: &Claims, new: &Claims) -> bool {
        let came = new.all_addresses().filter(|address| !old.has(*address));
        let went = old.all_addresses().filter(|address| !new.has(*address));
        replace(&mut self.holders, peer, went, came);
        let [went, came] = [(&old.masks, &new.masks), (&new.masks, &old.masks)].map(|(a, b)| a.difference(b).copied());
        replace(&mut self.masked, peer, went, came);
        let [went, came] =
            [(&old.fronts, &new.fronts), (&new.fronts, &old.fronts)].map(|(a, b)| a.difference(b).copied());
        replace(&mut self.fronted, peer, went, came);
        self.update_networks(old, new)
    }

    fn update_networks(&mut self, old: &Claims, new: &Claims) -> bool {
        let mut differs = false;
        for net in new.local.difference(&old.local) {
            let count = self.networks.entry(*net).or_default();
            *count += 1;
            differs |= *count == 1;
        }
        for net in old.local.difference(&new.local) {
            let Some(count) = self.networks.get_mut(net) else { continue };
            *count -= 1;
            if *count == 0 {
                self.networks.remove(net);
                differs = true;
            }
        }
        differs
    }

    /// Notes whether a host is heard of; returns whether that is news.
    pub(crate) fn set_silent(&mut self, peer: &PeerId, is_silent: bool) -> bool {
        if is_silent { self.silent.insert(peer.clone()) } else { self.silent.remove(peer) }
    }

    /// Addresses of these claims that another host has too.
    pub(crate) fn contested(&self, claims: &Claims) -> Vec<IpAddr> {
        let several =
            |map: &HashMap<IpAddr, Vec<PeerId>>, address: &IpAddr| map.get(address).is_some_and(|it| it.len() > 1);
        let addresses = claims.all_addresses().filter(|address| several(&self.holders, address));
        let masks = claims.masks.iter().copied().filter(|address| several(&self.masked, address));
        addresses.chain(masks).collect()
    }

    /// Which host an address is of.
    pub(super) fn holder(&self, address: IpAddr) -> Holder<'_> {
        self.only(&self.holders, address)
    }

    /// Which host something is on that comes from an address.
    pub(super) fn origin(&self, address: IpAddr) -> Holder<'_> {
        match self.holder(address) {
            Holder::Nobody => self.only(&self.masked, address),
            holder => holder,
        }
    }

    fn only<'a>(&self, map: &'a HashMap<IpAddr, Vec<PeerId>>, address: IpAddr) -> Holder<'a> {
        let Some(holders) = map.get(&address) else { return Holder::Nobody };
        let mut live = holders.iter().filter(|peer| !self.silent.contains(*peer));
        match (live.next(), live.next(), holders.as_slice()) {
            (Some(only), None, _) | (None, None, [only]) => Holder::One(only),
            _ => Holder::Several,
        }
    }

    /// Whether an address that no host has is not the Internet's all the same.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        address::is_link_scoped(address) || self.networks.keys().any(|net| address::contains(*net, address))
    }

    /// Whether an address that no host has stands for something on one: where it leads is that host's business, and it is not
    /// the same for all who ask.
    pub(super) fn is_front(&self, address: IpAddr) -> bool {
        self.fronted.contains_key(&address) || self.masked.contains_key(&address)
    }
}

/// Takes a host from some keys and adds it to others; a key without hosts is none.
fn replace<K: Copy + Eq + Hash>(
    map: &mut HashMap<K, Vec<PeerId>>,
    peer: &PeerId,
    went: impl Iterator<Item = K>,
    came: impl Iterator<Item = K>,
) {
    for key in came {
        map.entry(key).or_default().push(peer.clone());
    }
    for key in went {
        let Some(peers) = map.get_mut(&key) else { continue };
        peers.retain(|it| it != peer);
        if peers.is_empty() {
            map.remove(&key);
        }
    }
}
