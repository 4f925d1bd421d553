//! Bytes that went over the links.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::PeerId;

/// Counters that may be read at any time. They count frames with their four bytes of length; what Yamux, Noise and TCP
/// add to them is not counted, nor are pings.
#[derive(Debug, Default)]
pub struct Traffic {
    total: Counter,
    links: Mutex<BTreeMap<PeerId, Arc<Counter>>>,
}

/// How many bytes went each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transferred {
    /// From others to us.
    pub received_bytes: u64,
    /// From us to others.
    pub sent_bytes: u64,
}

#[derive(Debug, Default)]
struct Counter {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Of all links since the start.
    #[must_use]
    pub fn total(&self) -> Transferred {
        self.total.read()
    }

    /// Of each link there is, since it came up.
    #[must_use]
    pub fn links(&self) -> Vec<(PeerId, Transferred)> {
        self.lock().iter().map(|(peer, counter)| (*peer, counter.read())).collect()
    }

    /// Begins to count for a link.
    pub(super) fn open(self: &Arc<Traffic>, peer: PeerId) -> LinkTraffic {
        let counter = Arc::new(Counter::default());
        self.lock().insert(peer, counter.clone());
        LinkTraffic { traffic: self.clone(), counter }
    }

    /// Forgets a link. The total keeps what it had.
    pub(super) fn close(&self, peer: &PeerId) {
        self.lock().remove(peer);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Counter>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counter {
    fn read(&self) -> Transferred {
        Transferred { received_bytes: self.received.load(Relaxed), sent_bytes: self.sent.load(Relaxed) }
    }
}

/// Where one link counts.
#[derive(Debug, Clone)]
pub(super) struct LinkTraffic {
    traffic: Arc<Traffic>,
    counter: Arc<Counter>,
}

impl LinkTraffic {
    pub(super) fn received(&self, bytes: usize) {
        self.counter.received.fetch_add(bytes as u64, Relaxed);
        self.traffic.total.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.counter.sent.fetch_add(bytes as u64, Relaxed);
        self.traffic.total.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.counter.received.load(Relaxed)
    }
}
