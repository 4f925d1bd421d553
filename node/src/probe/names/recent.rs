//! What was lately said of addresses, or of anything: a map with a bound, from which goes what was set longest ago.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    max: usize,
    /// Values, each with when it was set: a count of settings.
    values: HashMap<K, (u64, V)>,
    /// Keys by when they were set.
    order: BTreeMap<u64, K>,
    settings: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// An empty one for at most `max` keys.
    pub(super) fn new(max: usize) -> Self {
        Self { max, values: HashMap::new(), order: BTreeMap::new(), settings: 0 }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Sets what is said of `key`, with what was.
    pub(super) fn set(&mut self, key: K, change: impl FnOnce(Option<V>) -> V) {
        let old = self.take(&key);
        if self.values.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.settings += 1;
        self.order.insert(self.settings, key.clone());
        self.values.insert(key, (self.settings, change(old)));
    }

    /// Takes out what is said of `key`.
    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        let (set, value) = self.values.remove(key)?;
        self.order.remove(&set);
        Some(value)
    }

    /// Forgets what was set longest ago, and so on, while it is `stale`.
    pub(super) fn forget_while(&mut self, stale: impl Fn(&V) -> bool) {
        while let Some(oldest) = self.order.first_entry() {
            if !self.values.get(oldest.get()).is_none_or(|(_, value)| stale(value)) {
                return;
            }
            self.values.remove(&oldest.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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

    #[test]
    fn what_is_stale_goes_up_to_the_first_that_is_not() {
        let mut recent = Recent::new(9);
        for key in [1, 2, 3, 4, 2] {
            recent.set(key, |_| key);
        }
        assert_eq!((recent.take(&4), recent.take(&4)), (Some(4), None));
        recent.forget_while(|value| *value != 3);
        let left: Vec<_> = (1..=4).filter(|key| recent.get(key).is_some()).collect();
        assert_eq!((left, recent.order.len()), (vec![2, 3], 2));
        recent.forget_while(|_| true);
        assert_eq!((recent.len(), recent.order.len()), (0, 0));
    }
}
