//! Tells a person of a failure once in a while, not each time it happens: whoever has the wrong secret tries for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long nothing more is said of an address.
const QUIET: Duration = Duration::from_secs(60);

/// Addresses remembered. Strangers choose them (of IPv6 there are enough), so beyond it nothing is said until the first ones
/// are forgotten.
const ADDRESSES_MAX: usize = 256;

/// When an address was last complained of.
#[derive(Debug, Default)]
pub(super) struct Complaints(HashMap<IpAddr, Instant>);

impl Complaints {
    /// Whether it is time to complain of this address; if so, not again for a minute.
    pub(super) fn is_due(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain(|_, last| now.duration_since(*last) < QUIET);
        }
        match self.0.get(&address) {
            Some(last) if now.duration_since(*last) < QUIET => false,
            None if self.0.len() >= ADDRESSES_MAX => false,
            _ => {
                self.0.insert(address, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_complained_of_once_a_minute() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let cases =
            [(1, 0, true), (1, 1, false), (2, 2, true), (1, 59, false), (1, 60, true), (2, 61, false), (2, 62, true)];
        for (host, seconds, want) in cases {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(complaints.is_due([10, 0, 0, host].into(), now), want, "10.0.0.{host} after {seconds} s");
        }
    }

    #[test]
    fn many_strangers_take_no_more_memory() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let due = |complaints: &mut Complaints, n: u32, now| complaints.is_due(n.to_be_bytes().into(), now);
        let said = (0..10_000).filter(|n| due(&mut complaints, *n, start)).count();
        assert_eq!(said, ADDRESSES_MAX);
        assert!(due(&mut complaints, 10_000, start + QUIET));
        assert_eq!(complaints.0.len(), 1);
    }
}
