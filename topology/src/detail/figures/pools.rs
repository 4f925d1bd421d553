//! Figures of relations that cannot be told apart: those that have flows in common, as a server's of all clients behind one
//! address. Of each such group both ends' sums are known, of each relation only one end's.

use foldhash::HashMap;

use super::{Account, Figures, known};
use crate::fact::{Direction, Flow};
use crate::id::Timestamp;

/// How much later than the server's end a client's may see the same connection for the first time, in milliseconds.
const LATER_MS: u64 = 5_000;

/// Figures of the same connections, as the clients have them and as the servers do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides {
    clients: Figures,
    servers: Figures,
    /// Whether a client's host may have missed connections.
    is_partial: bool,
    /// Since when all clients are known, and since when some server is: a host that was started anew has counted less.
    clients_since: Option<Timestamp>,
    servers_since: Option<Timestamp>,
}

impl Sides {
    pub(super) fn take(&mut self, account: &Account<'_>) {
        let since = super::first_seen(account.entry, account.flow);
        let side = match account.flow.key.direction {
            Direction::Outgoing => {
                self.is_partial |= !account.is_complete() || since.is_none();
                self.clients_since = known(self.clients_since, since, Ord::max);
                &mut self.clients
            }
            Direction::Incoming => {
                self.servers_since = known(self.servers_since, since, Ord::min);
                &mut self.servers
            }
        };
        *side = side.plus(account.figures());
    }

    fn plus(self, other: Self) -> Self {
        Self {
            clients: self.clients.plus(other.clients),
            servers: self.servers.plus(other.servers),
            is_partial: self.is_partial || other.is_partial,
            clients_since: known(self.clients_since, other.clients_since, Ord::max),
            servers_since: known(self.servers_since, other.servers_since, Ord::min),
        }
    }

    pub(super) fn joined(self) -> Figures {
        let is_later = |(clients, servers): (Timestamp, Timestamp)| clients.0 > servers.0.saturating_add(LATER_MS);
        let is_late = self.clients_since.zip(self.servers_since).is_some_and(is_later);
        Figures::joined(self.clients, !self.is_partial && !is_late, self.servers)
    }
}

/// Relations with flows in common, a pool for each group of them.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// One for each relation, with the number of a later one it was poured into.
    pools: Vec<(Sides, Option<usize>)>,
    of_flow: HashMap<*const Flow, usize>,
}

impl Pools {
    /// Takes a relation that has flows in common with others.
    pub(super) fn take(&mut self, sides: Sides, shared: &[*const Flow]) {
        let new = self.pools.len();
        self.pools.push((sides, None));
        for flow in shared {
            if let Some(old) = self.of_flow.insert(*flow, new) {
                let last = self.last(old);
                if last != new {
                    self.pools[last].1 = Some(new);
                }
            }
        }
    }

    /// Where a pool ended up. Halves the way for the next who asks.
    fn last(&mut self, mut pool: usize) -> usize {
        while let Some(next) = self.pools[pool].1 {
            if let Some(after) = self.pools[next].1 {
                self.pools[pool].1 = Some(after);
            }
            pool = next;
        }
        pool
    }

    /// Of all pools together.
    pub(super) fn figures(&self) -> Figures {
        let mut pools = self.pools.clone();
        let mut total = Figures::default();
        // A pool is poured into later ones only.
        for pool in 0..pools.len() {
            match pools[pool] {
                (sides, Some(into)) => pools[into].0 = pools[into].0.plus(sides),
                (sides, None) => total = total.plus(sides.joined()),
            }
        }
        total
    }
}
