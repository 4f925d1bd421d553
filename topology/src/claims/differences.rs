//! What others must ask again after a host's claims became others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::{HashMap, HashSet};

use super::{Claims, Door};
use crate::fact::Protocol;

/// What differs between two versions of a host's claims.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// Whether the host itself is another one: what all its addresses mean may differ.
    pub(crate) host: bool,
    /// Whether it is in other networks, or others live in them.
    pub(crate) networks: bool,
    /// Addresses that came, went or changed hands.
    pub(crate) addresses: HashSet<IpAddr>,
    /// Places with other parties behind them.
    pub(crate) doors: HashSet<Door>,
    /// Published ports that lead elsewhere.
    pub(crate) published: HashSet<(Protocol, u16)>,
    /// Ports others were accepted at: whoever named one may have been led to any door of it.
    pub(crate) came_by: HashSet<(Protocol, u16)>,
}

impl Differences {
    pub(super) fn between(old: &Claims, new: &Claims) -> Self {
        let mut differences = Self {
            host: old.netns != new.netns || old.networks != new.networks || old.addresses != new.addresses,
            networks: old.local != new.local || old.inhabited != new.inhabited,
            ..Self::default()
        };
        let Self { addresses, doors, published, came_by, .. } = &mut differences;
        addresses.extend(old.addresses.symmetric_difference(&new.addresses));
        addresses.extend(old.masks.symmetric_difference(&new.masks));
        addresses.extend(old.fronts.symmetric_difference(&new.fronts));
        differing(&old.inside, &new.inside, |address| addresses.insert(address));
        differing(&old.homes, &new.homes, |address| addresses.insert(address));
        differing(&old.offers, &new.offers, |door| doors.insert(door));
        differing(&old.accepted, &new.accepted, |door| doors.insert(door));
        differing(&old.published, &new.published, |outside| published.insert(outside));
        differing(&old.translated, &new.translated, |outside| published.insert(outside));
        for claims in [old, new] {
            let moved = |all: &BTreeSet<Door>| all.iter().any(|door| doors.contains(door));
            if !doors.is_empty() {
                came_by.extend(claims.came_by.iter().filter(|(_, all)| moved(all)).map(|(port, _)| *port));
            }
            published.extend(claims.leading_to(addresses, doors));
        }
        differences
    }

    pub(crate) fn is_empty(&self) -> bool {
        !(self.host || self.networks) && self.addresses.is_empty() && self.doors.is_empty() && self.published.is_empty()
    }
}

impl Claims {
    /// Published ports behind which one of these addresses or doors is.
    fn leading_to(&self, addresses: &HashSet<IpAddr>, doors: &HashSet<Door>) -> impl Iterator<Item = (Protocol, u16)> {
        let published = self.published.iter().filter(|((protocol, _), all)| {
            all.iter().any(|it| {
                let door = self.door(it.container, *protocol, it.container_port);
                addresses.contains(&it.container) || door.is_some_and(|door| doors.contains(&door))
            })
        });
        let translated = self
            .translated
            .iter()
            .filter(|((protocol, _), all)| all.iter().any(|it| doors.contains(&(it.netns, *protocol, it.port))));
        published.map(|(outside, _)| *outside).chain(translated.map(|(outside, _)| *outside))
    }
}

fn differing<K: Copy + Eq + std::hash::Hash, V: PartialEq, R>(
    a: &HashMap<K, V>,
    b: &HashMap<K, V>,
    mut found: impl FnMut(K) -> R,
) {
    for (key, _) in a.iter().filter(|(key, value)| b.get(*key) != Some(*value)) {
        found(*key);
    }
    for (key, _) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
        found(*key);
    }
}
