//! What hosts say of each other: who is dead, who is forgotten, who misbehaves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mesh::{Life, Offence, Time};

/// See the module.
#[derive(Debug)]
pub(super) struct Witness {
    hosts: usize,
    /// Deaths that are watched for, and when.
    deaths: BTreeMap<u32, Time>,
    /// Host and the dead one it has noticed, and after which time.
    noticed: BTreeMap<(u32, u32), Duration>,
    /// How often a host that was well and reachable was taken for dead.
    pub(super) false_alarms: u64,
    /// How often a host that runs was forgotten, and by whom first.
    pub(super) forgotten: BTreeMap<(u32, u32), Time>,
    pub(super) forgotten_alive: u64,
    /// Who hung up on whom, why and how often.
    pub(super) accusations: BTreeMap<(u32, Offence), u64>,
    pub(super) accusers: BTreeMap<u32, Vec<u32>>,
    /// The most links a host ever had.
    pub(super) degree_max: usize,
}

impl Witness {
    pub(super) fn new(hosts: usize) -> Witness {
        Witness {
            hosts,
            deaths: BTreeMap::new(),
            noticed: BTreeMap::new(),
            false_alarms: 0,
            forgotten: BTreeMap::new(),
            forgotten_alive: 0,
            accusations: BTreeMap::new(),
            accusers: BTreeMap::new(),
            degree_max: 0,
        }
    }

    /// From now on: who notices this death, and when?
    pub(super) fn died(&mut self, host: u32, now: Time) {
        self.deaths.insert(host, now);
    }

    pub(super) fn life(&mut self, at: u32, of: u32, life: Life, well: bool, now: Time) {
        if life == Life::Live {
            return;
        }
        if let Some(died) = self.deaths.get(&of) {
            self.noticed.entry((at, of)).or_insert(now - *died);
        } else if well && life == Life::Suspect {
            self.false_alarms += 1;
        }
    }

    /// After which time each of `live` noticed each watched death, in rising order; `None` for those who have not.
    pub(super) fn noticed_after(&self, live: &[u32]) -> Vec<Option<Duration>> {
        let pairs = live.iter().flat_map(|&at| self.deaths.keys().map(move |&of| (at, of)));
        let mut noticed: Vec<_> = pairs.map(|pair| self.noticed.get(&pair).copied()).collect();
        noticed.sort_by_key(|after| after.unwrap_or(Duration::MAX));
        noticed
    }

    pub(super) fn forgotten(&mut self, at: u32, of: u32, alive: bool, now: Time) {
        self.forgotten.entry((at, of)).or_insert(now);
        if alive {
            self.forgotten_alive += 1;
        }
    }

    pub(super) fn accused(&mut self, by: u32, host: u32, offence: Offence) {
        *self.accusations.entry((host, offence)).or_default() += 1;
        let accusers = self.accusers.entry(host).or_default();
        if !accusers.contains(&by) && accusers.len() < self.hosts {
            accusers.push(by);
        }
    }

    pub(super) fn linked(&mut self, _host: u32, links: usize) {
        self.degree_max = self.degree_max.max(links);
    }
}
