//! Names that were asked for, by the addresses they led to. No clock: time is an argument.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::fact::REMOTE_NAMES_MAX;

use super::answer::Answer;
use super::recent::Recent;

/// Addresses remembered: Weave Scope's number. With names of ordinary length that is 3 MB, with the longest 13.
const ADDRESSES_MAX: usize = 10_000;

/// How long a name is good for, whatever its answer says: programs keep connections longer than a TTL of zero, and no name
/// is right for ever.
const TTL_MIN: Duration = Duration::from_secs(60);
const TTL_MAX: Duration = Duration::from_secs(3600);

/// How long after it was heard a name is not pushed out by another. An address with more names in use than there is room
/// for, an edge of a CDN, would else have others all the time.
const KEPT_MIN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    by_address: Recent<IpAddr, Vec<Heard>>,
    /// Grows when an address gets a name that it did not have.
    learned: u64,
}

#[derive(Debug)]
struct Heard {
    name: Arc<str>,
    /// When it was heard last.
    at: Instant,
    /// Until when it is good.
    until: Instant,
}

impl Cache {
    /// One that heard nothing yet.
    pub(super) fn new() -> Self {
        Self { by_address: Recent::new(ADDRESSES_MAX), learned: 0 }
    }

    /// Takes an answer that was heard at `now`.
    pub(super) fn hear(&mut self, now: Instant, answer: &Answer) {
        for (address, ttl) in &answer.addresses {
            let until = now + (*ttl).clamp(TTL_MIN, TTL_MAX);
            let learned = &mut self.learned;
            self.by_address.set(*address, |known| {
                let mut names = known.unwrap_or_default();
                *learned += u64::from(hear(&mut names, &answer.name, now, until));
                names
            });
        }
    }

    /// Names of `address` that are good at `now`, the newest first. One that is asked for again and again keeps its place.
    pub(super) fn names(&self, now: Instant, address: &IpAddr) -> impl Iterator<Item = &Arc<str>> {
        let heard = self.by_address.get(address).into_iter().flatten();
        heard.filter(move |heard| heard.until > now).map(|heard| &heard.name)
    }

    /// Grows when there is something new.
    pub(super) fn learned(&self) -> u64 {
        self.learned
    }
}

/// Puts `name` among the `names` of an address. Returns whether it is new.
fn hear(names: &mut Vec<Heard>, name: &Arc<str>, now: Instant, until: Instant) -> bool {
    if let Some(known) = names.iter_mut().find(|known| known.name == *name && known.until > now) {
        (known.at, known.until) = (now, until.max(known.until));
        return false;
    }
    names.retain(|known| known.until > now);
    if names.len() >= REMOTE_NAMES_MAX {
        let oldest = (0..names.len()).min_by_key(|index| names[*index].at).expect("there are some");
        if now.saturating_duration_since(names[oldest].at) < KEPT_MIN {
            return false;
        }
        names.remove(oldest);
    }
    names.insert(0, Heard { name: Arc::clone(name), at: now, until });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, ttl: u64, addresses: &[IpAddr]) -> Answer {
        let ttl = Duration::from_secs(ttl);
        Answer { name: name.into(), addresses: addresses.iter().map(|address| (*address, ttl)).collect() }
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn names(cache: &Cache, now: Instant, address: IpAddr) -> String {
        cache.names(now, &address).map(|name| &**name).collect::<Vec<_>>().join(" ")
    }

    /// A second, the name heard then, and its TTL.
    type Event = (u64, &'static str, u64);

    /// What is known after a history, at the second of the last.
    fn after(history: &[Event]) -> String {
        let (start, mut cache, mut now) = (Instant::now(), Cache::new(), 0);
        for (second, name, ttl) in history {
            now = *second;
            if !name.is_empty() {
                cache.hear(start + Duration::from_secs(now), &answer(name, *ttl, &[address(1)]));
            }
        }
        names(&cache, start + Duration::from_secs(now), address(1))
    }

    #[test]
    fn names_are_kept_for_their_time_and_in_their_order() {
        let cases: [(&[Event], &str); 10] = [
            (&[(0, "a", 300)], "a"),
            (&[(0, "a", 300), (299, "", 0)], "a"),
            (&[(0, "a", 300), (300, "", 0)], ""),
            (&[(0, "a", 0), (59, "", 0)], "a"),
            (&[(0, "a", 0), (60, "", 0)], ""),
            (&[(0, "a", 86_400), (3599, "", 0)], "a"),
            (&[(0, "a", 86_400), (3600, "", 0)], ""),
            // The newest first, and what is heard again stays where it is, for longer.
            (&[(0, "a", 300), (1, "b", 300), (2, "a", 300), (3, "b", 300)], "b a"),
            (&[(0, "a", 300), (200, "a", 300), (499, "", 0)], "a"),
            (&[(0, "a", 3600), (1, "a", 60), (100, "", 0)], "a"),
        ];
        for (history, want) in cases {
            assert_eq!(after(history), want, "{history:?}");
        }
    }

    #[test]
    fn a_name_in_use_is_not_pushed_out() {
        let four = [(0, "a", 300), (1, "b", 300), (2, "c", 300), (3, "d", 300)];
        let then = |more: &[Event]| after(&[&four, more].concat());
        let cases: [(&[Event], &str); 6] = [
            (&[], "d c b a"),
            (&[(4, "e", 300)], "d c b a"),
            (&[(60, "e", 300)], "e d c b"),
            // The one heard longest ago goes, not the one known longest.
            (&[(59, "a", 300), (61, "e", 300)], "e d c a"),
            (&[(60, "e", 300), (61, "f", 300), (62, "g", 300), (63, "h", 300), (64, "i", 300)], "h g f e"),
            (&[(310, "e", 300)], "e"),
        ];
        for (more, want) in cases {
            assert_eq!(then(more), want, "{more:?}");
        }
    }

    #[test]
    fn it_says_when_it_learned_something() {
        let (now, mut cache) = (Instant::now(), Cache::new());
        let mut learn = |name: &str, count: u32| {
            let addresses: Vec<_> = (0..count).map(address).collect();
            cache.hear(now, &answer(name, 300, &addresses));
            cache.learned()
        };
        assert_eq!([learn("a", 2), learn("a", 2), learn("b", 1), learn("a", 3)], [2, 2, 3, 4]);
    }

    #[test]
    fn of_too_many_addresses_the_last_are_known() {
        let (now, mut cache) = (Instant::now(), Cache::new());
        let count = u32::try_from(ADDRESSES_MAX).unwrap();
        for number in 0..count + 10 {
            cache.hear(now, &answer("a", 300, &[address(number)]));
        }
        let known: Vec<u32> =
            (0..count + 10).filter(|number| !names(&cache, now, address(*number)).is_empty()).collect();
        assert_eq!((known.len(), known[0]), (ADDRESSES_MAX, 10));
    }
}
