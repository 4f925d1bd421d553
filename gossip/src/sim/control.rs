//! What a scenario does to the world.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::network::{DETECT_AFTER, LinkEnd, address};
use super::queue::Event;
use super::world::World;
use crate::mesh::Input;

/// Names that a host is given lead to the first few hosts.
const NAMED_HOSTS: u32 = 3;

impl World {
    /// Starts all hosts within a second, each told of the first few, and lets them find each other. How long it took
    /// until all held the same.
    pub(super) fn gather(&mut self, longest: Duration) -> Option<Duration> {
        let hosts = self.settings.hosts;
        for host in 0..hosts {
            let names = (0..NAMED_HOSTS.min(hosts)).filter(|named| *named != host).map(address);
            self.start(host, names.collect());
            self.run_for(Duration::from_secs(1) / hosts);
        }
        self.run_until_equal(longest)
    }

    /// The program starts again on a host where it ran before.
    pub(super) fn restart(&mut self, host: u32) {
        let names = self.hosts[host as usize].names.clone();
        self.start(host, names);
    }

    /// So many hosts, at random, none of those that names lead to.
    pub(super) fn some_hosts(&mut self, count: usize) -> Vec<u32> {
        let mut hosts: Vec<u32> = self.live().into_iter().filter(|host| *host >= NAMED_HOSTS).collect();
        hosts.shuffle(&mut self.rng);
        hosts.truncate(count);
        hosts
    }

    /// Puts hosts on another side: no packet gets from one side to the other.
    pub(super) fn part(&mut self, hosts: &[u32], side: u8) {
        for &host in hosts {
            self.host(host).side = side;
        }
        for link in 0..self.links.len() {
            let [a, b] = [0, 1].map(|end| self.links[link].host(end));
            let is_open = self.links[link].ends.iter().any(|end| end.open);
            if is_open && self.hosts[a as usize].side != self.hosts[b as usize].side {
                self.silence(u32::try_from(link).expect("links are numbered so"));
            }
        }
    }

    /// All hosts are on one side again. Connections that fell silent stay so.
    pub(super) fn heal(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.side = 0);
    }

    /// Links that stand, at random.
    pub(super) fn some_links(&mut self, count: usize) -> Vec<u32> {
        let stands = |(_, link): &(usize, &super::network::Link)| {
            link.silent_since.is_none() && link.ends.iter().all(|end| end.open)
        };
        let standing = self.links.iter().enumerate().filter(stands);
        let mut links: Vec<u32> =
            standing.map(|(link, _)| u32::try_from(link).expect("links are numbered so")).collect();
        links.shuffle(&mut self.rng);
        links.truncate(count);
        links
    }

    /// A middlebox resets a connection: both sides notice at once, and what was on its way is lost.
    pub(super) fn reset(&mut self, link: u32) {
        self.links[link as usize].silent_since = Some(self.now);
        for end in 0..2 {
            self.queue.add(self.now, Event::Down { at: LinkEnd { link, end } });
        }
    }

    /// Stops a host as sleep does: it does nothing, and its clock stands still.
    pub(super) fn freeze(&mut self, host: u32) {
        let now = self.now;
        let links: Vec<LinkEnd> = self.hosts[host as usize].links.values().copied().collect();
        for at in links {
            self.silence(at.link);
        }
        self.host(host).frozen_since = Some(now);
    }

    /// Wakes it up. Its connections have died meanwhile.
    pub(super) fn thaw(&mut self, host: u32) {
        let now = self.now;
        let by = self.run_of(host);
        let thawed = self.host(host);
        let Some(since) = thawed.frozen_since.take() else { return };
        thawed.lose_time(now - since);
        thawed.timer = None;
        let ends: Vec<LinkEnd> = thawed.links.values().copied().collect();
        let noticed = if now - since > DETECT_AFTER { now } else { since + DETECT_AFTER };
        for at in ends {
            self.queue.add(noticed, Event::Down { at });
        }
        self.feed(host, Input::Tick);
        self.queue.add(now, Event::Lookup { by });
    }

    /// Puts a host on a narrow line.
    pub(super) fn narrow(&mut self, host: u32, bits_per_second: u64) {
        self.host(host).bits_per_second = Some(bits_per_second);
    }

    /// Breaks and loses links at random for a while, each host about one in `every`.
    pub(super) fn flap(&mut self, every: Duration, duration: Duration) {
        let step = Duration::from_millis(100);
        let share = step.as_secs_f64() / every.as_secs_f64() * f64::from(self.settings.hosts);
        let end = self.now + duration;
        let mut due = 0.0;
        while self.now < end {
            due += share;
            while due >= 1.0 {
                due -= 1.0;
                let is_reset = self.rng.random();
                for link in self.some_links(1) {
                    if is_reset { self.reset(link) } else { self.silence(link) }
                }
            }
            self.run_for(step);
        }
    }

    /// Hosts end and start again, each host once in `every`, staying away for `away`.
    pub(super) fn churn(&mut self, every: Duration, away: Duration, duration: Duration) {
        let step = every / self.settings.hosts;
        let end = self.now + duration;
        while self.now < end {
            let gone = self.some_hosts(1);
            for &host in &gone {
                self.kill(host);
            }
            self.run_for(away.min(step));
            for &host in &gone {
                self.restart(host);
            }
            self.run_for(step.saturating_sub(away));
        }
    }
}
