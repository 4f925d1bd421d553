//! What of this host's facts is published, and in which order where the mesh has no room for all of them.

use bytes::Bytes;
use gossip::PublishError;
use topology::graph::Change;
use topology::{Key, codec};
use tracing::{debug, warn};

use super::room::{self, Trial};
use super::{Hub, decode};

impl Hub {
    /// Publishes what changed. Where there is no room for all of it, what is gone and what is known go first, and then as
    /// much as fits of what waits, most important first: a newcomer waits behind those that came before it.
    pub(super) fn publish(&mut self) {
        let mut changes: Vec<Said> = self.ledger.changes().into_iter().filter_map(encode).collect();
        if self.ledger.is_withholding() || self.say(&changes).is_err() {
            let new: Vec<Key> =
                changes.extract_if(.., |change| self.is_newcomer(change)).map(|(key, ..)| key).collect();
            self.ledger.withhold(new);
            self.say_front(changes);
            self.say_withheld();
        }
        self.ledger.note_withheld();
    }

    /// Whether it is a fact that was not told before. Gauges cannot wait.
    fn is_newcomer(&self, (key, of_origin, value): &Said) -> bool {
        let origin = self.mesh.replica().origin(self.mesh.origin().peer);
        let is_known = origin.is_some_and(|origin| origin.get(of_origin.as_bytes()).is_some());
        value.is_some() && !is_known && !matches!(key, Key::Gauges(_))
    }

    /// Publishes as many of these as there is room for; the rest waits.
    fn say_front(&mut self, changes: Vec<Said>) {
        let mut said = 0;
        room::fill(changes.len(), |count| {
            let next = &changes[said..changes.len().min(said + count)];
            let trial = self.attempt(next);
            if trial == Trial::Said {
                said += next.len();
            }
            trial
        });
        self.ledger.withhold(changes.into_iter().skip(said).map(|(key, ..)| key));
    }

    /// Publishes as much of what waits as there is room for.
    fn say_withheld(&mut self) {
        room::fill(1, |count| {
            let next: Vec<Said> = self.ledger.release(count).into_iter().filter_map(encode).collect();
            let trial = self.attempt(&next);
            if trial == Trial::Refused {
                self.ledger.withhold(next.into_iter().map(|(key, ..)| key));
            }
            trial
        });
    }

    fn attempt(&mut self, changes: &[Said]) -> Trial {
        if changes.is_empty() {
            return Trial::Empty;
        }
        match self.say(changes) {
            Ok(()) => Trial::Said,
            Err(refused) => {
                debug!(%refused, count = changes.len(), "no room");
                Trial::Refused
            }
        }
    }

    /// Publishes these changes, all of them or none.
    fn say(&mut self, changes: &[Said]) -> Result<(), PublishError> {
        let changes = changes.iter().map(|(_, key, value)| (key.clone(), value.clone()));
        let Some(interval) = self.mesh.publish(self.now(), changes)? else { return Ok(()) };
        let peer = self.name(interval.origin().peer);
        let changes: Vec<Change> = interval.changes().iter().filter_map(decode).collect();
        self.apply(&peer, changes);
        Ok(())
    }
}

/// A change as the mesh takes it, with the key of its fact.
type Said = (Key, gossip::Key, Option<Bytes>);

fn encode(change: Change) -> Option<Said> {
    let (key, value) = match change {
        Change::Put(fact) => (fact.key(), Some(Bytes::from(codec::encode(&fact)))),
        Change::Remove(key) => (key, None),
    };
    // No room would ever be enough for a value that nobody takes; what was said before holds no longer.
    let value = value.filter(|value| {
        let is_taken = value.len() <= codec::VALUE_BYTES_MAX;
        if !is_taken {
            warn!(%key, bytes = value.len(), "fact too long, left out");
        }
        is_taken
    });
    match gossip::Key::new(key.to_string().as_bytes()) {
        Ok(of_origin) => Some((key, of_origin, value)),
        Err(refused) => {
            warn!(%key, %refused, "fact left out");
            None
        }
    }
}
