//! What was lately said of addresses: a map with a bound, from which goes what was set longest ago.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<V> {
    max: usize,
    /// Values, each with when it was set: a count of settings.
    values: HashMap<IpAddr, (u64, V)>,
    /// Addresses by when they were set.
    order: BTreeMap<u64, IpAddr>,
    settings: u64,
}

impl<V> Recent<V> {
    /// An empty one for at most `max` addresses.
    pub(super) fn new(max: usize) -> Self {
        Self { max, values: HashMap::new(), order: BTreeMap::new(), settings: 0 }
    }

    pub(super) fn get(&self, address: &IpAddr) -> Option<&V> {
        self.values.get(address).map(|(_, value)| value)
    }

    /// Sets what is said of `address`, with what was.
    pub(super) fn set(&mut self, address: IpAddr, change: impl FnOnce(Option<V>) -> V) {
        let old = self.values.remove(&address).map(|(set, value)| {
            self.order.remove(&set);
            value
        });
        if self.values.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.settings += 1;
        self.order.insert(self.settings, address);
        self.values.insert(address, (self.settings, change(old)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_longest_ago_makes_room() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut recent = Recent::new(3);
        for last in [1, 2, 3, 1, 4, 1, 5] {
            recent.set(address(last), |old| old.unwrap_or(0) + 1);
        }
        let left: Vec<_> = (1..=5).filter_map(|last| Some((last, *recent.get(&address(last))?))).collect();
        assert_eq!(left, [(1, 3), (4, 1), (5, 1)]);
        assert_eq!((recent.values.len(), recent.order.len()), (3, 3));
    }
}
