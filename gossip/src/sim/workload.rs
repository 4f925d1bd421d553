//! What hosts say, and how often.

use std::time::Duration;

use bytes::Bytes;
use rand::{Rng as _, RngExt as _};

use super::queue::Event;
use super::world::World;
use crate::Key;

/// What one host has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Keys of each host.
    pub keys: u32,
    /// Length of each value, of random bytes: they do not compress.
    pub value_bytes: usize,
    /// Keys written at once.
    pub changed: u32,
}

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nobody.
    Idle,
    /// One host, this often.
    One(u32, Duration),
    /// One after another, this often.
    Rotating(Duration),
    /// Each host, this often, at different times.
    All(Duration),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Workload {
    facts: Facts,
    pace: Pace,
    /// Counts the changes of pace; what was meant for an earlier one is void.
    number: u32,
    hosts: u32,
}

impl Workload {
    pub(super) fn new(facts: Facts, hosts: usize) -> Workload {
        let hosts = u32::try_from(hosts).expect("as many hosts as fit into a world");
        Workload { facts, pace: Pace::Idle, number: 0, hosts }
    }
}

impl World {
    /// From now on the hosts publish so.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.workload.pace = pace;
        self.workload.number += 1;
        let workload = self.workload.number;
        match pace {
            Pace::Idle => {}
            Pace::One(host, _) => self.queue.add(self.now, Event::Publish { host, workload }),
            Pace::Rotating(_) => self.queue.add(self.now, Event::Publish { host: 0, workload }),
            Pace::All(every) => {
                for host in 0..self.workload.hosts {
                    let at = self.now + every.mul_f64(self.rng.random());
                    self.queue.add(at, Event::Publish { host, workload });
                }
            }
        }
    }

    pub(super) fn workload_due(&mut self, host: u32, workload: u32) {
        if workload != self.workload.number {
            return;
        }
        let (next, every) = match self.workload.pace {
            Pace::Idle => return,
            Pace::One(_, every) | Pace::All(every) => (host, every),
            Pace::Rotating(every) => ((host + 1) % self.workload.hosts, every),
        };
        self.queue.add(self.now + every, Event::Publish { host: next, workload });
        if self.hosts[host as usize].is_live() {
            let Facts { keys, changed, .. } = self.workload.facts;
            let first = self.rng.random_range(0..keys);
            self.publish(host, (0..changed).map(|number| (first + number) % keys));
        }
    }

    /// All that a host has to say, at its start.
    pub(super) fn first_words(&mut self, host: u32) {
        self.publish(host, 0..self.workload.facts.keys);
    }

    fn publish(&mut self, host: u32, keys: impl Iterator<Item = u32>) {
        let changes: Vec<(Key, Option<Bytes>)> = keys
            .map(|key| {
                let mut value = vec![0; self.workload.facts.value_bytes];
                self.rng.fill_bytes(&mut value);
                let key = Key::new(&key.to_le_bytes()).expect("4 bytes are a short key");
                (key, Some(value.into()))
            })
            .collect();
        let now = self.now;
        let publisher = self.host(host);
        let local = publisher.local_time(now);
        if let Some(mesh) = &mut publisher.mesh
            && let Err(refused) = mesh.publish(local, changes)
        {
            self.ledger.broken(|| format!("host {host} may not publish: {refused}"));
        }
        self.settle(host);
    }
}
