//! The simulated world: hosts, wires and virtual time. One event at a time, all from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::host::Host;
use super::keys::WorldKey;
use super::ledger::{Ledger, host_of, origin_id, peer_id};
use super::meter::Tally;
use super::network::{Link, LinkEnd, Model, address};
use super::queue::{Event, Queue};
use super::witness::Witness;
use super::workload::Workload;
use crate::head::Cluster;
use crate::mesh::{self, Input, Life, Mesh, Output, Time, Why};
use crate::{Answer, Limits, PeerId, Position, wire};

/// How often a host looks up the names it was given.
const LOOKUP_EVERY: Duration = Duration::from_secs(60);

/// More outputs of one event than any honest mesh has.
const OUTPUTS_PER_EVENT_MAX: usize = 100_000;

/// What a world is made of.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Everything that is random comes from it.
    pub seed: u64,
    /// How many hosts there are.
    pub hosts: u32,
    /// The wires.
    pub model: Model,
    /// What each host says.
    pub facts: super::workload::Facts,
    /// See [`mesh::Config::forget_after`].
    pub forget_after: Duration,
}

/// One start of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) host: u32,
    pub(super) number: u32,
}

/// See the module.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) now: Time,
    pub(super) rng: ChaCha8Rng,
    pub(super) queue: Queue,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Vec<Link>,
    pub(super) ledger: Ledger,
    pub(super) witness: Witness,
    pub(super) workload: Workload,
    secret: [u8; 32],
}

impl World {
    /// Hosts that do not run yet.
    pub(super) fn new(settings: Settings) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let hosts = (0..settings.hosts).map(|host| {
            let mut random = [0; 32];
            rng.fill_bytes(&mut random);
            let clock = Duration::from_millis(rng.random_range(3_600_000..36_000_000));
            Host::new(peer_id(random, host), clock)
        });
        let hosts: Vec<Host> = hosts.collect();
        World {
            now: Time::ZERO,
            queue: Queue::default(),
            links: Vec::new(),
            ledger: Ledger::new(hosts.len()),
            witness: Witness::new(hosts.len()),
            workload: Workload::new(settings.facts, hosts.len()),
            hosts,
            rng,
            secret,
            settings,
        }
    }

    pub(super) fn host(&mut self, host: u32) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    /// Hosts that run, in order.
    pub(super) fn live(&self) -> Vec<u32> {
        (0..self.settings.hosts).filter(|&host| self.hosts[host as usize].is_live()).collect()
    }

    /// Lets everything happen that happens up to `end`.
    pub(super) fn run_until(&mut self, end: Time) {
        self.run_while(end, |_| true);
    }

    /// Lets everything happen in the next while.
    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets everything happen until all live hosts hold what each has said by now, for `longest` at most. How long
    /// it took.
    pub(super) fn run_until_equal(&mut self, longest: Duration) -> Option<Duration> {
        let live = self.live();
        self.ledger.set_goal(&live, self.now);
        self.run_while(self.now + longest, |world| world.ledger.goal_reached_after().is_none());
        self.ledger.goal_reached_after()
    }

    pub(super) fn run_while(&mut self, end: Time, go_on: impl Fn(&World) -> bool) {
        while go_on(self) {
            if self.queue.next_time().is_none_or(|next| next > end) {
                self.now = end;
                return;
            }
            let Some((time, event)) = self.queue.next() else { return };
            debug_assert!(time >= self.now, "time does not go back");
            self.now = time;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { at, departed, frame } => self.arrive(at, departed, frame),
            Event::Process { at, frame } => self.process(at, frame),
            Event::Left { from, bytes } => self.left(from, bytes),
            Event::Down { at } => self.end_down(at),
            Event::Pong { at } => self.pong(at),
            Event::Dialled { by, peer, addresses, outcome } => self.dialled(by, peer, addresses, outcome),
            Event::Timer { of } => self.timer(of),
            Event::Lookup { by } => self.lookup(by),
            Event::Publish { host, workload } => self.workload_due(host, workload),
        }
    }

    pub(super) fn run_of(&self, host: u32) -> Run {
        Run { host, number: self.hosts[host as usize].runs }
    }

    pub(super) fn is_current(&self, run: Run) -> bool {
        let host = &self.hosts[run.host as usize];
        host.runs == run.number && host.is_live()
    }

    /// Starts the program on a host, in a new epoch.
    pub(super) fn start(&mut self, host: u32, names: Vec<SocketAddr>) {
        let seed = self.rng.random();
        let now = self.now;
        let forget_after = self.settings.forget_after;
        let started = &mut self.hosts[host as usize];
        started.epoch += 1;
        started.runs += 1;
        started.timer = None;
        started.powered = true;
        started.names = names;
        let config = mesh::Config {
            cluster: Cluster([7; 16]),
            agent: "scope/simulated".to_owned(),
            addresses: vec![address(host)],
            limits: Limits::default(),
            forget_after,
        };
        let origin = origin_id(started.peer, started.epoch);
        let key = Arc::new(WorldKey::new(self.secret, started.peer));
        started.mesh = Some(Mesh::new(config, origin, key, seed, started.local_time(now)));
        self.ledger.started(host, now);
        self.settle(host);
        let by = self.run_of(host);
        self.lookup(by);
        self.first_words(host);
    }

    /// Ends the program on a host at once, as `kill -9` does. Its machine closes the connections.
    pub(super) fn kill(&mut self, host: u32) {
        let killed = self.host(host);
        if let Some(mesh) = killed.mesh.take() {
            killed.past += Tally::from(mesh.counters());
        }
        let ends: Vec<LinkEnd> = killed.links.values().copied().collect();
        for at in ends {
            self.close(at);
        }
        self.ledger.stopped(host);
    }

    /// Cuts the power of a host: nobody closes the connections.
    pub(super) fn cut_power(&mut self, host: u32) {
        let links: Vec<LinkEnd> = self.hosts[host as usize].links.values().copied().collect();
        for at in links {
            self.silence(at.link);
        }
        self.kill(host);
        self.host(host).powered = false;
    }

    fn lookup(&mut self, by: Run) {
        if !self.is_current(by) {
            return;
        }
        let names = self.hosts[by.host as usize].names.clone();
        if !names.is_empty() {
            self.feed(by.host, Input::Found(names));
        }
        self.queue.add(self.now + LOOKUP_EVERY, Event::Lookup { by });
    }

    fn timer(&mut self, of: Run) {
        let now = self.now;
        let host = self.host(of.host);
        if host.runs != of.number || host.timer != Some(now) {
            return; // an earlier one was set since
        }
        host.timer = None;
        let due = host.mesh.as_ref().and_then(Mesh::poll_timeout).map(|local| host.world_time(local));
        match due {
            Some(due) if due <= now => self.feed(of.host, Input::Tick),
            _ => self.arm(of.host),
        }
    }

    /// Sees to it that the mesh is woken when it wants to be.
    pub(super) fn arm(&mut self, host: u32) {
        let of = self.run_of(host);
        let now = self.now;
        let armed = self.host(host);
        let Some(local) = armed.mesh.as_ref().and_then(Mesh::poll_timeout) else { return };
        let due = armed.world_time(local).max(now);
        if armed.timer.is_none_or(|timer| timer > due) {
            armed.timer = Some(due);
            self.queue.add(due, Event::Timer { of });
        }
    }

    /// Tells a mesh what happened, and does what it wants done.
    pub(super) fn feed(&mut self, host: u32, input: Input) {
        let now = self.now;
        let fed = self.host(host);
        if fed.frozen_since.is_some() {
            return;
        }
        let local = fed.local_time(now);
        if let Some(mesh) = &mut fed.mesh {
            mesh.handle(local, input);
            self.settle(host);
        }
    }

    /// Carries out what a mesh wants done, and notes what it has written itself.
    pub(super) fn settle(&mut self, host: u32) {
        self.note_written(host);
        for _ in 0..OUTPUTS_PER_EVENT_MAX {
            match self.host(host).mesh.as_mut().and_then(Mesh::poll_output) {
                Some(output) => self.perform(host, output),
                None => return self.arm(host),
            }
        }
        self.ledger.broken(|| format!("host {host} does not come to an end"));
    }

    fn perform(&mut self, host: u32, output: Output) {
        match output {
            Output::Send { to, frame } => self.send(host, to, frame),
            Output::Changed { interval, held, .. } => {
                let of = host_of(interval.origin().peer);
                self.ledger.changed(host, of, &interval, held, self.now);
                self.check_state(host, of);
            }
            Output::Dial { peer, addresses } => self.dial(host, peer, addresses),
            Output::Disconnect { peer, why } => self.disconnect(host, host_of(peer), why),
            Output::Life { peer, life } => self.life(host, host_of(peer), life),
            Output::Forgotten { peer } => {
                let of = host_of(peer);
                self.ledger.forgotten(host, of);
                self.witness.forgotten(host, of, self.hosts[of as usize].is_live(), self.now);
            }
            Output::Superseded { epoch } => {
                self.ledger.broken(|| format!("host {host} hears of its own run {epoch}, which it never had"));
            }
        }
    }

    fn disconnect(&mut self, host: u32, other: u32, why: Why) {
        if let Why::Misbehaved(offence) = why {
            self.witness.accused(host, other, offence);
        }
        if let Some(&at) = self.hosts[host as usize].links.get(&other) {
            self.close(at);
        }
    }

    fn life(&mut self, at: u32, of: u32, life: Life) {
        let well = self.hosts[of as usize].is_live() && self.reaches(at, of);
        self.witness.life(at, of, life, well, self.now);
    }

    /// The same version is the same state, wherever it is held. All are checked in a small world, some in a large one.
    fn check_state(&mut self, at: u32, of: u32) {
        if self.hosts.len() > 100 && !self.queue.added().is_multiple_of(64) {
            return;
        }
        let held = self.ledger.held(at, of);
        let Some(said) = self.ledger.hash_of(of, held) else { return };
        let peer = self.hosts[of as usize].peer;
        let mesh = self.hosts[at as usize].mesh.as_ref();
        let holds = mesh.and_then(|mesh| mesh.replica().origin(peer)).map(crate::Origin::state_hash);
        if holds != Some(said) {
            self.ledger.broken(|| format!("host {at} holds another state of host {of} than that said at {held:?}"));
        }
    }

    /// Enters what a host wrote since the last time into the ledger; its mesh writes on its own account, too.
    fn note_written(&mut self, host: u32) {
        let now = self.now;
        let written = &self.hosts[host as usize];
        let Some(mesh) = &written.mesh else { return };
        let before = self.ledger.held(host, host).version();
        let position = mesh.replica().position(written.peer);
        if position.version == before {
            return;
        }
        let from = Position::at(position.origin, before);
        let (Answer::Interval(interval), Some(origin)) =
            (mesh.replica().answer(&from, usize::MAX), mesh.replica().origin(written.peer))
        else {
            return self.ledger.broken(|| format!("host {host} cannot tell what it wrote"));
        };
        let payload = wire::encode_payload(interval.changes());
        let hash = origin.state_hash();
        self.ledger.published(host, &interval, hash, payload.len(), now);
    }

    /// Compares all that any two live hosts hold. How many origins are not the same everywhere.
    pub(super) fn unequal_origins(&self) -> usize {
        let mut states: BTreeMap<PeerId, Vec<_>> = BTreeMap::new();
        let live = self.live();
        for &host in &live {
            let Some(mesh) = &self.hosts[host as usize].mesh else { continue };
            for origin in mesh.replica().origins() {
                let state = (origin.id().epoch, origin.version(), origin.state_hash());
                states.entry(origin.id().peer).or_default().push(state);
            }
        }
        let same = |held: &[_]| held.len() == live.len() && held.iter().all(|state| *state == held[0]);
        states.values().filter(|held| !same(held)).count()
    }

    /// The widest and the mean number of links of live hosts.
    pub(super) fn degrees(&self) -> (usize, f64) {
        let live = self.live();
        let degrees = live.iter().map(|&host| self.hosts[host as usize].links.len());
        let sum: usize = degrees.clone().sum();
        (degrees.max().unwrap_or(0), sum as f64 / live.len().max(1) as f64)
    }
}
