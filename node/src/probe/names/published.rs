//! The names of what is wanted, as they are told. No clock: time is an argument.
//!
//! What was told holds as long as the address is wanted: the connection was made under that name, whatever the name's answer
//! says of how long it is good. So nothing here goes away by itself, and nothing changes places.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use topology::fact::{REMOTE_NAMES_MAX, RemoteName};

use super::ADDRESSES_MAX;
use super::worker::Known;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Published {
    by_address: BTreeMap<IpAddr, Names>,
}

/// What is told of one address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    asked: Vec<Arc<str>>,
    reverse: Option<Arc<str>>,
}

impl Published {
    /// Brings it up to what is wanted and known at `now`, and asks for what is not known. Returns whether anything differs.
    pub(super) fn update(&mut self, now: Instant, wanted: &BTreeSet<IpAddr>, known: &mut Known) -> bool {
        let before = self.by_address.len();
        self.by_address.retain(|address, _| wanted.contains(address));
        known.reverse.keep_waiting(|address| wanted.contains(address));
        let mut differs = self.by_address.len() != before;
        for address in wanted.iter().filter(|address| has_name(**address)).take(ADDRESSES_MAX) {
            let names = self.by_address.entry(*address).or_default();
            let fresh: Vec<_> = known.cache.names(now, address).cloned().collect();
            differs |= merge(&mut names.asked, &fresh);
            if names.asked.is_empty() {
                known.reverse.want(now, *address);
            }
            if let Some(answer) = known.reverse.answer(now, address)
                && names.reverse != *answer
            {
                names.reverse.clone_from(answer);
                differs = true;
            }
            if *names == Names::default() {
                self.by_address.remove(address);
            }
        }
        differs
    }

    /// What is to be told.
    pub(super) fn names(&self) -> impl Iterator<Item = RemoteName> {
        self.by_address.iter().map(|(address, names)| RemoteName {
            address: *address,
            names: names.asked.iter().map(|name| (**name).to_owned()).collect(),
            reverse: names.reverse.as_deref().map(str::to_owned),
        })
    }
}

/// Whether the address can have a name of its own. Link-local ones mean another machine on each link.
fn has_name(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_link_local && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
}

/// Puts those of `fresh` that are not in `told` before it, in their order. What was told and is not fresh makes room, the
/// last first. Returns whether anything differs.
fn merge(told: &mut Vec<Arc<str>>, fresh: &[Arc<str>]) -> bool {
    let new: Vec<_> = fresh.iter().filter(|name| !told.contains(name)).cloned().collect();
    if new.is_empty() {
        return false;
    }
    told.splice(0..0, new);
    while told.len() > REMOTE_NAMES_MAX {
        // There are no more fresh ones than there is room for.
        let stale = told.iter().rposition(|name| !fresh.contains(name));
        told.remove(stale.unwrap_or(told.len() - 1));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::answer::Answer;
    use super::*;

    fn names(text: &str) -> Vec<Arc<str>> {
        text.split_whitespace().map(Arc::from).collect()
    }

    #[test]
    fn what_is_new_comes_first_and_what_was_told_keeps_its_order() {
        let cases = [
            // told, fresh, then told, differs
            ("", "", "", false),
            ("", "a", "a", true),
            ("a", "", "a", false),
            ("a b", "b a", "a b", false),
            ("a b", "c", "c a b", true),
            ("a b", "d c b", "d c a b", true),
            ("a b c d", "e", "e a b c", true),
            ("a b c d", "e d", "e a b d", true),
            ("a b c d", "e d c b", "e b c d", true),
            ("a b c d", "e f g h", "e f g h", true),
        ];
        for (told, fresh, want, differs) in cases {
            let mut got = names(told);
            assert_eq!(merge(&mut got, &names(fresh)), differs, "{told}, {fresh}");
            assert_eq!(got, names(want), "{told}, {fresh}");
        }
    }

    #[test]
    fn names_hold_as_long_as_their_address_is_wanted() {
        let (start, mut published, mut known) = (Instant::now(), Published::default(), Known::new());
        let (named, nameless): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let ttl = Duration::from_secs(60);
        known.cache.hear(start, &Answer { name: "a.test".into(), addresses: vec![(named, ttl)] });
        let wanted = BTreeSet::from([named, nameless]);
        let told =
            |published: &Published| published.names().map(|it| (it.names.join(" "), it.reverse)).collect::<Vec<_>>();
        let a_test = ("a.test".to_owned(), None);

        assert!(published.update(start, &wanted, &mut known));
        assert_eq!(told(&published), std::slice::from_ref(&a_test));
        let later = start + ttl * 10;
        assert!(!published.update(later, &wanted, &mut known), "its time is over, but the connection is there");
        assert_eq!(told(&published), [a_test]);

        assert_eq!(known.reverse.next(later), super::super::reverse::Next::Ask(nameless), "no other is asked for");
        known.reverse.answered(later, nameless, Ok(Some("host.test".into())));
        assert!(published.update(later, &wanted, &mut known));
        assert_eq!(told(&published)[1], (String::new(), Some("host.test".to_owned())));

        assert!(published.update(later, &BTreeSet::from([nameless]), &mut known));
        assert_eq!(told(&published).len(), 1);
        assert!(!published.update(later, &wanted, &mut known), "forgotten, and no longer good");
    }

    #[test]
    fn some_addresses_have_no_name() {
        let cases = [
            ("192.0.2.1", true),
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("::", false),
            ("::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ];
        for (address, want) in cases {
            assert_eq!(has_name(address.parse().unwrap()), want, "{address}");
        }
    }

    #[test]
    fn no_more_is_told_than_the_bound() {
        let (now, mut published, mut known) = (Instant::now(), Published::default(), Known::new());
        let address = |number: usize| IpAddr::from((0x0a00_0000 + u32::try_from(number).unwrap()).to_be_bytes());
        let wanted: BTreeSet<IpAddr> = (0..ADDRESSES_MAX + 9).map(address).collect();
        let addresses = wanted.iter().map(|address| (*address, Duration::ZERO)).collect();
        known.cache.hear(now, &Answer { name: "a.test".into(), addresses });
        assert!(published.update(now, &wanted, &mut known));
        assert_eq!(published.names().count(), ADDRESSES_MAX);
    }
}
