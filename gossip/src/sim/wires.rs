//! What happens on the wires: frames go and come, connections begin and end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::ledger::host_of;
use super::network::{
    BUFFER_BYTES, DETECT_AFTER, DIAL_TIMEOUT, FRAME_OVERHEAD_BYTES, LINKS_MAX, Link, LinkEnd, address, host_at,
    transmission,
};
use super::queue::{Dialled, Event};
use super::world::{Run, World};
use crate::PeerId;
use crate::mesh::{self, Input, Time};

/// How often the driver pings each neighbour. The bytes of that are not counted.
const PING_EVERY: Duration = Duration::from_secs(15);

/// When a frame leaves the hands of the sender's program, and when the sender's and the receiver's lines.
#[derive(Debug, Clone, Copy)]
struct Trip {
    taken: Time,
    departed: Time,
}

impl World {
    // What happens to frames.

    pub(super) fn arrive(&mut self, at: LinkEnd, departed: Time, frame: Bytes) {
        let link = &self.links[at.link as usize];
        if !link.delivers(at.end, departed, self.now) {
            return;
        }
        let receiver = link.host(at.end);
        let bytes = frame.len() + FRAME_OVERHEAD_BYTES;
        let model = &self.settings.model;
        let work = model.processing + transmission(bytes, model.bits_per_second);
        let now = self.now;
        let host = self.host(receiver);
        host.traffic.received_bytes += bytes as u64;
        host.busy_until = host.busy_until.max(now) + work;
        let done = host.busy_until;
        self.queue.add(done, Event::Process { at, frame });
    }

    pub(super) fn process(&mut self, at: LinkEnd, frame: Bytes) {
        let link = &self.links[at.link as usize];
        if link.ends[usize::from(at.end)].open {
            let from = self.hosts[link.host(1 - at.end) as usize].peer;
            self.feed(link.host(at.end), Input::Received { from, frame });
        }
    }

    pub(super) fn left(&mut self, from: LinkEnd, bytes: u32) {
        let link = &mut self.links[from.link as usize];
        let bytes = bytes as usize;
        let end = link.end(from.end);
        end.unsent_bytes -= bytes;
        if end.open && link.silent_since.is_none_or(|since| self.now < since) {
            let (host, other) = (link.host(from.end), link.host(1 - from.end));
            let to = self.hosts[other as usize].peer;
            self.feed(host, Input::Sent { to, bytes });
        }
    }

    pub(super) fn send(&mut self, from: u32, to: PeerId, frame: Bytes) {
        let host = &mut self.hosts[from as usize];
        let Some(&at) = host.links.get(&host_of(to)) else {
            self.ledger.broken(|| format!("host {from} sends to {to}, to which it has no link"));
            return;
        };
        let bytes = frame.len() + FRAME_OVERHEAD_BYTES;
        host.traffic.sent_bytes += bytes as u64;
        host.traffic.frames += 1;
        let end = self.links[at.link as usize].end(at.end);
        let unsent = end.unsent_bytes;
        end.unsent_bytes += frame.len();
        if unsent > mesh::WINDOW_BYTES_MAX {
            self.ledger.broken(|| format!("host {from} sends on, with {unsent} bytes on their way already"));
        }
        let left = u32::try_from(frame.len()).expect("a frame is below 4 GB");
        let passed = match &mut host.relay {
            Some(relay) => relay.pass_on(host.peer, frame),
            None => Some(frame),
        };
        let Trip { taken, departed } = self.trip(at, bytes);
        self.queue.add(taken, Event::Left { from: at, bytes: left });
        if let Some(frame) = passed {
            let arrives = departed + self.links[at.link as usize].latency;
            self.queue.add(arrives, Event::Arrive { at: at.other(), departed, frame });
        }
    }

    /// When so many bytes, sent now, get through the lines at both ends of a link.
    fn trip(&mut self, from: LinkEnd, bytes: usize) -> Trip {
        let (now, model_bits) = (self.now, self.settings.model.bits_per_second);
        let link = &self.links[from.link as usize];
        let (sender, receiver) = (link.host(from.end), link.host(1 - from.end));
        let host = self.host(sender);
        let mut bits = host.bits_per_second.unwrap_or(model_bits);
        host.uplink_busy_until = host.uplink_busy_until.max(now) + transmission(bytes, bits);
        let mut departed = host.uplink_busy_until;
        // A wide line at the receiver is part of its work on arrival; a narrow one makes the sender wait.
        let host = self.host(receiver);
        if let Some(narrow) = host.bits_per_second {
            bits = bits.min(narrow);
            host.downlink_busy_until = host.downlink_busy_until.max(departed) + transmission(bytes, narrow);
            departed = host.downlink_busy_until;
        }
        let end = self.links[from.link as usize].end(from.end);
        end.busy_until = end.busy_until.max(departed);
        let departed = end.busy_until;
        let taken = departed.saturating_sub(transmission(BUFFER_BYTES, bits)).max(now);
        Trip { taken, departed }
    }

    // What happens to links.

    pub(super) fn dial(&mut self, by: u32, peer: Option<PeerId>, addresses: Vec<SocketAddr>) {
        let run = self.run_of(by);
        let found = addresses.iter().find_map(|&address| {
            let host = host_at(address, self.hosts.len())?;
            (self.reaches(by, host) && self.hosts[host as usize].mesh.is_some()).then_some((host, address))
        });
        let (after, outcome) = match found {
            Some((host, address)) => {
                let way = self.latency(by, host);
                (way * 3, Dialled::Reached { host, address }) // 1.5 round trips
            }
            None if addresses.iter().any(|&address| self.refuses(by, address)) => {
                (self.settings.model.latency.1 * 2, Dialled::Failed)
            }
            None => (DIAL_TIMEOUT, Dialled::Failed),
        };
        self.queue.add(self.now + after, Event::Dialled { by: run, peer, addresses, outcome });
    }

    /// Whether a machine says that nobody listens there.
    fn refuses(&self, by: u32, address: SocketAddr) -> bool {
        host_at(address, self.hosts.len()).is_some_and(|host| self.reaches(by, host))
    }

    /// Whether packets go from one machine to another.
    pub(super) fn reaches(&self, from: u32, to: u32) -> bool {
        let (a, b) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        a.side == b.side && b.powered && b.frozen_since.is_none()
    }

    fn latency(&self, a: u32, b: u32) -> Duration {
        self.settings.model.latency_between(self.settings.seed, a, b)
    }

    pub(super) fn dialled(&mut self, by: Run, peer: Option<PeerId>, addresses: Vec<SocketAddr>, outcome: Dialled) {
        if !self.is_current(by) {
            return;
        }
        let refused = |itself| Input::DialFailed { peer, addresses, itself };
        match outcome {
            Dialled::Reached { host, .. } if host == by.host => self.feed(by.host, refused(true)),
            Dialled::Reached { host, .. } if self.hosts[by.host as usize].links.contains_key(&host) => {
                // The other's own dial came first, and `Up` with it.
                if peer.is_none() {
                    self.feed(by.host, refused(false));
                }
            }
            Dialled::Reached { host, address } if self.can_link(by.host, host, peer) => {
                self.link(by.host, host, address);
            }
            _ => self.feed(by.host, refused(false)),
        }
    }

    fn can_link(&self, from: u32, to: u32, expected: Option<PeerId>) -> bool {
        let (a, b) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        b.mesh.is_some()
            && self.reaches(from, to)
            && expected.is_none_or(|peer| peer == b.peer)
            && !b.links.contains_key(&from) // the last connection is not closed there yet
            && a.links.len() < LINKS_MAX
            && b.links.len() < LINKS_MAX
    }

    fn link(&mut self, dialer: u32, listener: u32, dialled: SocketAddr) {
        let number = u32::try_from(self.links.len()).expect("fewer links than that");
        let latency = self.latency(dialer, listener);
        self.links.push(Link::between(dialer, listener, latency));
        for (end, host, other) in [(0, dialer, listener), (1, listener, dialer)] {
            let at = LinkEnd { link: number, end };
            self.host(host).links.insert(other, at);
            self.witness.linked(host, self.hosts[host as usize].links.len());
            self.queue.add(self.now + latency * 2, Event::Pong { at });
        }
        let names = [dialer, listener].map(|host| self.hosts[host as usize].peer);
        // The listener sees the port the dialer came from, not the one it listens at.
        let from = SocketAddr::new(address(dialer).ip(), 40_000);
        self.feed(dialer, Input::Up { peer: names[1], address: dialled, dialed: true });
        self.feed(listener, Input::Up { peer: names[0], address: from, dialed: false });
    }

    pub(super) fn pong(&mut self, at: LinkEnd) {
        let link = &self.links[at.link as usize];
        if link.ends[usize::from(at.end)].open && link.silent_since.is_none() {
            let (host, other) = (link.host(at.end), link.host(1 - at.end));
            let rtt = link.latency * 2 + self.queues_between(host, other);
            let peer = self.hosts[other as usize].peer;
            self.feed(host, Input::Rtt { peer, rtt });
            self.queue.add(self.now + PING_EVERY, Event::Pong { at });
        }
    }

    /// How long a ping and its answer wait behind other frames.
    fn queues_between(&self, a: u32, b: u32) -> Duration {
        let (a, b) = (&self.hosts[a as usize], &self.hosts[b as usize]);
        let ends = [a.uplink_busy_until, a.downlink_busy_until, b.uplink_busy_until, b.downlink_busy_until];
        ends.into_iter().map(|busy_until| busy_until.saturating_sub(self.now)).sum()
    }

    /// One side closes a link. The other notices when what was sent before has come.
    pub(super) fn close(&mut self, at: LinkEnd) {
        let link = &mut self.links[at.link as usize];
        if !link.end(at.end).open {
            return;
        }
        link.end(at.end).open = false;
        link.end(at.end).closed_at = Some(self.now);
        let (host, other) = (link.host(at.end), link.host(1 - at.end));
        let notice = self.now + link.latency;
        let silent = link.silent_since.is_some();
        self.host(host).links.remove(&other);
        if !silent {
            self.queue.add(notice, Event::Down { at: at.other() });
        }
    }

    /// Nothing gets through any more, and both sides are to find out.
    pub(super) fn silence(&mut self, link: u32) {
        let now = self.now;
        let silenced = &mut self.links[link as usize];
        if silenced.silent_since.is_none() {
            silenced.silent_since = Some(now);
            for end in 0..2 {
                self.queue.add(now + DETECT_AFTER, Event::Down { at: LinkEnd { link, end } });
            }
        }
    }

    pub(super) fn end_down(&mut self, at: LinkEnd) {
        let link = &self.links[at.link as usize];
        let (host, other) = (link.host(at.end), link.host(1 - at.end));
        if !link.ends[usize::from(at.end)].open || self.hosts[host as usize].frozen_since.is_some() {
            return;
        }
        self.close(at);
        let peer = self.hosts[other as usize].peer;
        self.feed(host, Input::Down { peer });
    }
}
