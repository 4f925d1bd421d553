//! The addresses of a network namespace, and when to read them again: nothing cheap tells that they changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::fact::Network;

use crate::probe::connections::sock_diag::Socket;
use crate::probe::host::networks;

/// Time after which they are read again, whatever happened.
const REFRESH: Duration = Duration::from_secs(30);
/// Least time between two readings where a socket has an address we do not know. It may be nobody's (transparent proxies).
const STRANGER_GAP: Duration = Duration::from_secs(5);
/// Wait while there are none; doubled each time. A container gets its addresses a moment after its namespace, or never.
const EMPTY_WAIT: Duration = Duration::from_millis(500);

/// The addresses of one namespace as they were last read.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    networks: Arc<[Network]>,
    read_at: Option<Instant>,
    /// Readings in a row that found none.
    in_vain: u32,
}

impl Addresses {
    /// What they were when they were last read.
    pub(super) fn networks(&self) -> Arc<[Network]> {
        Arc::clone(&self.networks)
    }

    /// Whether it is time to read them, whatever sockets there are.
    pub(super) fn are_awaited(&self, now: Instant) -> bool {
        self.is_due(now, [].iter())
    }

    /// Reads those of the namespace this thread is in, if it is time. `sockets` of it may show that it is.
    pub(super) fn update<'a>(&mut self, now: Instant, sockets: impl Iterator<Item = &'a Socket>) {
        if self.is_due(now, sockets) {
            self.take(now, networks::read_all().unwrap_or_default());
        }
    }

    fn take(&mut self, now: Instant, networks: Vec<Network>) {
        self.read_at = Some(now);
        self.in_vain = if networks.is_empty() { self.in_vain.saturating_add(1) } else { 0 };
        if *networks != *self.networks {
            self.networks = networks.into();
        }
    }

    fn is_due<'a>(&self, now: Instant, mut sockets: impl Iterator<Item = &'a Socket>) -> bool {
        let Some(read_at) = self.read_at else { return true };
        let age = now.saturating_duration_since(read_at);
        let wait = match self.in_vain {
            0 => REFRESH,
            times => EMPTY_WAIT.saturating_mul(1 << (times - 1).min(6)).min(REFRESH),
        };
        age >= wait || age >= STRANGER_GAP && sockets.any(|socket| self.is_stranger(socket.local.ip()))
    }

    /// Whether an address should be among ours and is not.
    fn is_stranger(&self, ip: IpAddr) -> bool {
        let is_never_listed = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
        !is_never_listed && !self.networks.iter().any(|network| network.address == ip)
    }
}

#[cfg(test)]
mod tests {
    use topology::fact::Protocol;

    use super::*;
    use crate::probe::connections::sock_diag::State;

    fn network(address: &str) -> Network {
        Network { interface: "eth0".to_owned(), address: address.parse().expect("an address"), prefix: 16 }
    }

    fn socket(local: &str) -> Socket {
        Socket {
            local: local.parse().expect("an address"),
            remote: "10.0.0.9:80".parse().expect("an address"),
            protocol: Protocol::Tcp,
            state: State::Established,
            inode: 1,
            uid: 0,
            figures: None,
        }
    }

    #[test]
    fn addresses_are_read_again_after_a_while_or_for_a_stranger() {
        let cases = [
            // known, milliseconds since they were read, a socket's address, due?
            (vec!["172.17.0.2"], 29_999, "172.17.0.2:1", false),
            (vec!["172.17.0.2"], 30_000, "172.17.0.2:1", true),
            (vec!["172.17.0.2"], 4_999, "172.18.0.2:1", false),
            (vec!["172.17.0.2"], 5_000, "172.18.0.2:1", true),
            (vec!["172.17.0.2"], 5_000, "127.0.0.1:1", false),
            (vec!["172.17.0.2"], 5_000, "0.0.0.0:1", false),
            (vec!["172.17.0.2"], 5_000, "[fe80::1]:1", true),
            (vec!["172.17.0.2"], 5_000, "[fd00::1]:1", true),
            (vec!["172.17.0.2", "fd00::1"], 5_000, "[fd00::1]:1", false),
            (vec![], 499, "127.0.0.1:1", false),
            (vec![], 500, "127.0.0.1:1", true),
        ];
        for (known, age_ms, local, want) in cases {
            let start = Instant::now();
            let mut addresses = Addresses::default();
            assert!(addresses.is_due(start, [].iter()), "never read");
            addresses.take(start, known.iter().map(|address| network(address)).collect());
            let now = start + Duration::from_millis(age_ms);
            assert_eq!(addresses.is_due(now, [socket(local)].iter()), want, "{known:?} after {age_ms} ms, {local}");
        }
    }

    #[test]
    fn a_namespace_without_addresses_is_looked_at_ever_more_rarely() {
        let start = Instant::now();
        let mut addresses = Addresses::default();
        let mut read_at = Vec::new();
        for second in 0..=150 {
            let now = start + Duration::from_secs(second);
            if addresses.is_due(now, [].iter()) {
                addresses.take(now, Vec::new());
                read_at.push(second);
            }
        }
        assert_eq!(read_at, [0, 1, 2, 4, 8, 16, 32, 62, 92, 122]);
    }
}
