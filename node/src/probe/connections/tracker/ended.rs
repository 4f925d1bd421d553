//! Connections that ended: whose they were, and what of them is told already.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use topology::Netns;
use topology::fact::{Direction, Evidence, FlowKey, Owner, Protocol};

use super::ledger::{ByName, Relation, Told};
use super::ownership::{is_alive, stand_in};
use super::space::SocketKey;
use super::sums::Sums;
use super::translation::{FarEnd, Likely, Translations};
use super::{Ended, EndsBy, Round, Tracker, flow_key, listeners_key, orphans_key};

/// Longest wait for a process to turn up in the process table after its connection ended: longer than the beat of the
/// process probe.
pub(super) const PENDING_MAX: Duration = Duration::from_millis(2500);

/// Most relations whose connections ended that wait for their process or namespace; beyond that they are taken as they are.
pub(super) const PENDINGS_MAX: usize = 16_384;

/// A connection that ended, waiting for its process to be known.
#[derive(Debug)]
pub(super) struct Pending {
    ended: Ended,
    since: Instant,
    processes_version: u64,
}

impl Pending {
    pub(super) fn is_of(&self, netns: Netns) -> bool {
        self.ended.netns == netns
    }
}

impl Tracker {
    /// Takes connections the kernel said the end of. Gives their names: a snapshot may still show them.
    pub(super) fn take_destroyed(&mut self, round: &mut Round<'_>) -> HashSet<(Netns, SocketKey)> {
        let mut names = HashSet::new();
        for it in std::mem::take(&mut round.destroyed) {
            let Some(space) = self.spaces.get_mut(&it.netns) else { continue };
            let key = (Protocol::Tcp, it.local, it.remote);
            names.insert((it.netns, key));
            let sums = Sums::one(it.figures);
            match space.held.remove(&key).filter(|held| held.is_open) {
                Some(held) => {
                    let told = Told { sums, rtt_micros: it.figures.rtt_micros, is_guess: false };
                    self.ledger.leave(&held.counted, &ByName::new());
                    self.ledger.end(&held.counted.flow, &told, &ByName::new(), round.now.clock);
                }
                None => round.ended.push(Ended {
                    netns: it.netns,
                    task: None,
                    protocol: Protocol::Tcp,
                    direction: it.direction,
                    local: it.local.ip(),
                    remote: it.remote.ip(),
                    port: if it.direction == Direction::Incoming { it.local.port() } else { it.remote.port() },
                    sums,
                    rtt_micros: it.figures.rtt_micros,
                }),
            }
        }
        names
    }

    /// Takes what ended, as far as it is known whose it was, and keeps the rest for a while.
    pub(super) fn take_ended(&mut self, round: &mut Round<'_>) {
        let (since, processes_version) = (round.now.clock, round.processes_version);
        let new = std::mem::take(&mut round.ended).into_iter();
        self.pending.extend(new.map(|ended| Pending { ended, since, processes_version }));
        if self.pending.is_empty() {
            return;
        }
        let known = Known { attributed: self.ledger.attributed(), with_some: self.ledger.with_some() };
        let too_many = self.pending.len().saturating_sub(PENDINGS_MAX);
        for (number, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let is_known = self.spaces.contains_key(&pending.ended.netns);
            let is_late = number < too_many || round.now.clock.saturating_duration_since(pending.since) >= PENDING_MAX;
            let is_told = match &pending.ended.task {
                Some(task) => {
                    is_alive(task.id, round.processes) || round.processes_version != pending.processes_version
                }
                None => true,
            };
            match likely_far_end(&pending.ended, round.translations) {
                // Of another host on this kernel, or of a namespace that came and went.
                _ if !is_known && is_late => {}
                _ if !(is_late || is_known && is_told) => self.pending.push(pending),
                Far::NotYet(_) if !is_late => self.pending.push(pending),
                Far::Clients => {}
                Far::Servers(servers) => self.share_out(&pending.ended, &servers, &known, round),
                Far::Known(far) | Far::NotYet(far) => {
                    self.take_one_ended(&pending.ended, &far, false, &known, round);
                }
            }
        }
    }

    /// Takes connections that went to several servers, which one where is not known: to each as many as its share is.
    fn share_out(&mut self, ended: &Ended, servers: &[(FarEnd, u32)], known: &Known, round: &Round<'_>) {
        let weights: Vec<u32> = servers.iter().map(|(_, weight)| *weight).collect();
        let shares = shares(ended.sums.count, &weights, &mut self.turn);
        for ((far, _), count) in servers.iter().zip(shares).filter(|(_, count)| *count > 0) {
            let share = Ended { sums: ended.sums.share(count), ..ended.clone() };
            self.take_one_ended(&share, far, true, known, round);
        }
    }

    /// Takes connections that ended, whose far end may be a guess.
    fn take_one_ended(&mut self, ended: &Ended, far: &FarEnd, is_guess: bool, known: &Known, round: &Round<'_>) {
        let Some(space) = self.spaces.get(&ended.netns) else { return };
        let owner = ended.task.as_ref().and_then(|task| {
            let own = is_alive(task.id, round.processes).then_some(task.id);
            own.or_else(|| stand_in(&task.ancestors, ended.netns, round.host, round.processes))
        });
        let local = SocketAddr::new(ended.local, ended.port);
        let key = match owner {
            Some(id) => flow_key(Owner::Process(id), ended.direction, ended.protocol, far),
            // One that is known and gone is no other process that has such a flow.
            None if ended.task.is_some() => {
                listeners_key(ended.netns, ended.direction, ended.protocol, local, far, space)
            }
            None => orphans_key(ended.netns, ended.direction, ended.protocol, local, far, space, &known.attributed),
        };
        let evidence = if round.ends_by(ended.netns) == EndsBy::Kernel { Evidence::EBPF } else { Evidence::DESTROYED };
        self.is_cut |= !self.ledger.see(key, ended.netns, far, evidence, round.now);
        let is_guess = is_guess || ended.task.is_none();
        let told = Told { sums: ended.sums, rtt_micros: ended.rtt_micros, is_guess };
        self.ledger.end(&key, &told, &known.with_some, round.now.clock);
        self.ledger.drop_if_briefly_seen(&FlowKey { owner: Owner::Netns(ended.netns), ..key });
    }
}

/// Flows as they were when what ended was taken, by what they are about.
struct Known {
    /// Those of processes.
    attributed: HashMap<Relation, FlowKey>,
    /// Those with connections that are perhaps another's.
    with_some: ByName,
}

/// The far end of connections whose client's port is not known.
enum Far {
    Known(FarEnd),
    /// As it seems, but it may be known better in a moment.
    NotYet(FarEnd),
    /// One of many clients that come under one address: each of those is told of by its own end.
    Clients,
    /// Sometimes this and sometimes that server, as behind a virtual address, each so often.
    Servers(Vec<(FarEnd, u32)>),
}

/// Shares `count` out by `weights`. What is left by rounding goes to them one by one, in turn.
fn shares(count: u64, weights: &[u32], turn: &mut usize) -> Vec<u64> {
    let all: u64 = weights.iter().copied().map(u64::from).sum();
    let mut shares: Vec<u64> =
        weights.iter().map(|weight| count.saturating_mul((*weight).into()) / all.max(1)).collect();
    let left = count.saturating_sub(shares.iter().sum());
    for _ in 0..left.min(shares.len() as u64) {
        *turn = (*turn + 1) % shares.len();
        shares[*turn] += 1;
    }
    shares
}

/// Of a pair of addresses one connection of which is translated all are taken to be.
fn likely_far_end(ended: &Ended, translations: &dyn Translations) -> Far {
    let Ended { protocol, direction, local, remote, port, .. } = *ended;
    let (likely, local, remote) = match direction {
        Direction::Outgoing => {
            let remote = SocketAddr::new(remote, port);
            (translations.likely_outgoing(protocol, local, remote), SocketAddr::new(local, 0), remote)
        }
        Direction::Incoming => {
            let local = SocketAddr::new(local, port);
            (translations.likely_incoming(protocol, local, remote), local, SocketAddr::new(remote, 0))
        }
    };
    let far = |translation| FarEnd::of(direction, local, remote, translation);
    match (likely, direction) {
        (Likely::As(translation), _) => Far::Known(far(Some(translation))),
        (Likely::Several(ways), Direction::Incoming) => match ways.as_slice() {
            // One client that named several addresses.
            [(first, _), rest @ ..] if rest.iter().all(|(way, _)| way.source == first.source) => {
                Far::Known(far(Some(*first)))
            }
            _ => Far::Clients,
        },
        (Likely::Several(ways), Direction::Outgoing) => {
            Far::Servers(ways.into_iter().map(|(way, count)| (far(Some(way)), count)).collect())
        }
        (Likely::Untranslated, _) => Far::Known(far(None)),
        (Likely::NotYet, _) => Far::NotYet(far(None)),
    }
}
