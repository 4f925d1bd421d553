//! Which host has an address, over all hosts: kept by the cluster's writer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use crate::address::{self, Net};
use crate::claims::{Claims, Rank};
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

type Holders = HashMap<IpAddr, Vec<PeerId>>;

/// Which host has an address, one entry an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// By how far to believe it: who only has an address in a namespace is asked only if nobody else has it.
    told: Holders,
    inside: Holders,
    doubtful: Holders,
    /// By addresses that no interface has, as which connections of a host are seen.
    masked: Holders,
    /// By addresses that no interface has, from which a host's address translation sends connections on.
    fronted: Holders,
    /// Those of which hosts themselves told.
    networks: Networks,
    /// These and those of namespaces.
    local: Networks,
    /// Those of these that containers and namespaces live in.
    inhabited: Networks,
    /// Hosts that are not heard of.
    silent: HashSet<PeerId>,
}

impl Index {
    /// Puts a host's claims in the place of its old ones; returns whether a network came or went.
    pub(crate) fn update(&mut self, peer: &PeerId, old: &Claims, new: &Claims) -> bool {
        let ranks =
            [(Rank::Told, &mut self.told), (Rank::Inside, &mut self.inside), (Rank::Doubtful, &mut self.doubtful)];
        for (rank, holders) in ranks {
            let [went, came] = [(old, new), (new, old)].map(|(a, b)| {
                let of_rank = a.all_addresses().filter(move |address| a.rank(*address) == Some(rank));
                of_rank.filter(move |address| b.rank(*address) != Some(rank))
            });
            replace(holders, peer, went, came);
        }
        let [went, came] = [(&old.masks, &new.masks), (&new.masks, &old.masks)].map(|(a, b)| a.difference(b).copied());
        replace(&mut self.masked, peer, went, came);
        let [went, came] =
            [(&old.fronts, &new.fronts), (&new.fronts, &old.fronts)].map(|(a, b)| a.difference(b).copied());
        replace(&mut self.fronted, peer, went, came);
        let is_told = self.networks.update(&old.networks, &new.networks);
        let is_inhabited = self.inhabited.update(&old.inhabited, &new.inhabited);
        self.local.update(&old.local, &new.local) || is_told || is_inhabited
    }

    /// Notes whether a host is heard of; returns whether that is news.
    pub(crate) fn set_silent(&mut self, peer: &PeerId, is_silent: bool) -> bool {
        if is_silent { self.silent.insert(peer.clone()) } else { self.silent.remove(peer) }
    }

    /// Addresses of these claims that another host has too.
    pub(crate) fn contested(&self, claims: &Claims) -> Vec<IpAddr> {
        let several = |map: &Holders, address: &IpAddr| map.get(address).is_some_and(|it| it.len() > 1);
        let ranks = [&self.told, &self.inside, &self.doubtful];
        let addresses = claims.all_addresses().filter(|address| ranks.iter().any(|rank| several(rank, address)));
        let masks = claims.masks.iter().copied().filter(|address| several(&self.masked, address));
        addresses.chain(masks).collect()
    }

    /// Which host an address is of.
    pub(super) fn holder(&self, address: IpAddr) -> Holder<'_> {
        let is_ours = || self.networks.have(address);
        let ranks = [&self.told, &self.inside, &self.doubtful];
        let first = ranks.into_iter().find(|rank| rank.contains_key(&address));
        let first = first.filter(|rank| !std::ptr::eq(*rank, &self.doubtful) || is_ours());
        first.map_or(Holder::Nobody, |rank| self.only(rank, address))
    }

    /// Which host something is on that comes from an address.
    pub(super) fn origin(&self, address: IpAddr) -> Holder<'_> {
        match self.holder(address) {
            Holder::Nobody => self.only(&self.masked, address),
            holder => holder,
        }
    }

    fn only<'a>(&self, map: &'a Holders, address: IpAddr) -> Holder<'a> {
        let Some(holders) = map.get(&address) else { return Holder::Nobody };
        let mut live = holders.iter().filter(|peer| !self.silent.contains(*peer));
        match (live.next(), live.next(), holders.as_slice()) {
            (Some(only), None, _) | (None, None, [only]) => Holder::One(only),
            _ => Holder::Several,
        }
    }

    /// Whether an address that no host has is not the Internet's all the same.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        address::is_link_scoped(address) || self.local.have(address)
    }

    /// The network in which an address that no host has is somebody's we do not know: one of the asking host's `own`, or else
    /// of others'; of several the smallest, if hosts themselves are in it and only they. A private address in none of them is
    /// in its block.
    pub(super) fn neighbourhood(&self, own: &BTreeSet<Net>, address: IpAddr) -> Option<Net> {
        if address::is_link_scoped(address) {
            return None;
        }
        if !self.local.have(address) {
            return address::private_block(address);
        }
        let own = own.iter().filter(|net| address::contains(**net, address)).max_by_key(|net| net.1).copied();
        let net = own.or_else(|| self.networks.of(address)).filter(|net| address::is_of_one(*net, address))?;
        let is_inhabited = self.inhabited.of(address).is_some_and(|inhabited| inhabited.1 >= net.1);
        (!is_inhabited).then_some(net)
    }

    /// Whether an address that no host has stands for something on one: where it leads is that host's business, and it is not
    /// the same for all who ask.
    pub(super) fn is_front(&self, address: IpAddr) -> bool {
        self.fronted.contains_key(&address) || self.masked.contains_key(&address)
    }
}

/// Networks, with how many hosts have each.
#[derive(Clone, Debug, Default)]
struct Networks {
    counts: HashMap<Net, usize>,
    /// How many there are of each family and length: as many look-ups tell whether an address is in one.
    shapes: BTreeMap<(bool, u8), usize>,
}

impl Networks {
    /// Puts a host's networks in the place of its old ones; returns whether there are others now.
    fn update(&mut self, old: &BTreeSet<Net>, new: &BTreeSet<Net>) -> bool {
        let mut differs = false;
        for net in new.difference(old) {
            let count = self.counts.entry(*net).or_default();
            *count += 1;
            if *count == 1 {
                *self.shapes.entry(shape(*net)).or_default() += 1;
                differs = true;
            }
        }
        for net in old.difference(new) {
            if is_last(self.counts.get_mut(net)) {
                self.counts.remove(net);
                if is_last(self.shapes.get_mut(&shape(*net))) {
                    self.shapes.remove(&shape(*net));
                }
                differs = true;
            }
        }
        differs
    }

    fn have(&self, address: IpAddr) -> bool {
        self.of(address).is_some()
    }

    /// The smallest that has an address.
    fn of(&self, address: IpAddr) -> Option<Net> {
        let shapes = self.shapes.keys().rev().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        shapes.map(|it| address::network(address, it.1)).find(|net| self.counts.contains_key(net))
    }
}

fn shape((address, prefix): Net) -> (bool, u8) {
    (address.is_ipv4(), prefix)
}

/// Takes one from a count, and says whether it was the last.
fn is_last(count: Option<&mut usize>) -> bool {
    count.is_some_and(|count| {
        *count = count.saturating_sub(1);
        *count == 0
    })
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
