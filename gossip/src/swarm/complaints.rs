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

/// When something that is of no address was last complained of.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<Instant>);

impl Complaint {
    /// Whether it is time to complain; if so, not again for a minute.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| now.duration_since(last) >= QUIET);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// Handshakes broken off from one address, within [`QUIET`], that mean something.
const BROKEN_OFF: u32 = 3;

/// Counts handshakes that strangers broke off. One or two mean nothing: who dials several addresses of ours at once goes on
/// with the first that answers, and drops the others half-way, as somebody with another secret does.
#[derive(Debug, Default)]
pub(super) struct BrokenOff(HashMap<IpAddr, (u32, Instant)>);

impl BrokenOff {
    /// Counts one. Whether there were enough to speak of it.
    pub(super) fn is_habit(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain(|_, (_, first)| now.duration_since(*first) < QUIET);
        }
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            return false;
        }
        let (count, first) = self.0.entry(address).or_insert((0, now));
        if now.duration_since(*first) >= QUIET {
            (*count, *first) = (0, now);
        }
        *count = count.saturating_add(1);
        *count >= BROKEN_OFF
    }

    /// Somebody there has our secret.
    pub(super) fn forgive(&mut self, address: IpAddr) {
        self.0.remove(&address);
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
    fn what_is_of_no_address_is_complained_of_once_a_minute() {
        let start = Instant::now();
        let mut complaint = Complaint::default();
        for (seconds, want) in [(0, true), (1, false), (59, false), (60, true), (119, false), (120, true)] {
            assert_eq!(complaint.is_due(start + Duration::from_secs(seconds)), want, "after {seconds} s");
        }
    }

    #[test]
    fn the_third_broken_handshake_in_a_minute_means_something() {
        let start = Instant::now();
        let mut broken_off = BrokenOff::default();
        let cases =
            [(1, 0, false), (1, 1, false), (2, 2, false), (1, 3, true), (1, 4, true), (1, 60, false), (2, 61, false)];
        for (host, seconds, want) in cases {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(broken_off.is_habit([10, 0, 0, host].into(), now), want, "10.0.0.{host} after {seconds} s");
        }
        broken_off.forgive([10, 0, 0, 2].into());
        assert!(!broken_off.is_habit([10, 0, 0, 2].into(), start + Duration::from_secs(61)));
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

        let mut broken_off = BrokenOff::default();
        for n in 0..10_000_u32 {
            broken_off.is_habit(n.to_be_bytes().into(), start);
        }
        assert_eq!(broken_off.0.len(), ADDRESSES_MAX);
    }
}
