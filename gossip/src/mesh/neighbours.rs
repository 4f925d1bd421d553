//! Whom to dial, whom to keep.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::IteratorRandom as _;

use super::life::Life;
use super::peers::Ix;
use super::{Mesh, Offence, Output, Time, Timer, Why};
use crate::PeerId;
use crate::message::Message;

/// For how long nobody listens to who misbehaved.
pub(super) const BAN: Duration = Duration::from_secs(60);

/// How long a neighbour may take to say hello.
const HELLO_FOR: Duration = Duration::from_secs(10);

/// With fewer links than this each is kept: a peer that has just come needs those it has.
const LINKS_MIN: usize = 3;

/// How long a link stays that neither side wants: by then whoever came has met others.
const UNWANTED_FOR: Duration = Duration::from_secs(1);

/// The same where there are more than [`CROWD`] links: others wait to come in.
const UNWANTED_IN_CROWD_FOR: Duration = Duration::from_millis(250);
const CROWD: usize = 24;

/// Changes among the living are gathered for so long.
const SETTLE: Duration = Duration::from_millis(50);

/// Dials under way at most; more would be a scan.
const DIALS_MAX: usize = 16;

/// Silent peers that are dialled in a round.
const GONE_DIALS: usize = 2;

/// How long the other side of a wanted link, which dials first, gets for it.
const THEIR_TURN: Duration = Duration::from_millis(1500);

/// Pauses between dials of one peer: the first, that of peers that should be there, of the gone, of those long gone.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_GONE: Duration = Duration::from_secs(1);
const PAUSE_LONG_GONE: Duration = Duration::from_secs(10);

/// Silence after which a peer is long gone.
const LONG: Duration = Duration::from_secs(180);

/// After so long a dial counts as failed, whatever the driver says of it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Addresses from discovery that are kept, and for how long after they were found last.
const HINTS_MAX: usize = 1024;
const HINT_FOR: Duration = Duration::from_secs(900);

/// Pauses between dials of one found address: short ones at first, there may be a crowd at the door.
const HINT_PAUSE_MAX: Duration = Duration::from_secs(30);
const HINT_TRIES: u32 = 8;

/// An address at which there is this peer itself, or one that is known.
const HINT_KNOWN_PAUSE: Duration = Duration::from_secs(300);

/// Dials of one peer.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    /// The dial under way is given up then.
    under_way_until: Option<Time>,
    next: Time,
    failures: u32,
    /// An address that led there.
    good: Option<SocketAddr>,
    /// Since when it should be a neighbour and is not.
    missing_since: Option<Time>,
    pub(super) banned_until: Time,
}

impl Dialling {
    /// There is a link to it, which we dialled at this address, or it dialled.
    pub(super) fn reached(&mut self, now: Time, dialled: Option<SocketAddr>) {
        self.under_way_until = None;
        self.missing_since = None;
        self.next = now + PAUSE_MIN;
        self.good = dialled.or(self.good);
    }

    pub(super) fn has_answered(&mut self) {
        self.failures = 0;
    }

    fn is_free(&self, now: Time) -> bool {
        self.under_way_until.is_none_or(|until| until <= now) && self.next <= now && self.banned_until <= now
    }
}

/// An address at which there may be a peer.
#[derive(Debug)]
pub(super) struct Hint {
    found: Time,
    next: Time,
    failures: u32,
    under_way_until: Option<Time>,
    /// Who was there.
    leads_to: Option<Ix>,
}

impl Hint {
    /// Whether the peer of this row was there.
    pub(super) fn is_of(&self, ix: Ix) -> bool {
        self.leads_to == Some(ix)
    }

    /// Of an address at which a peer was.
    pub(super) fn of(now: Time, ix: Ix) -> Hint {
        Hint { found: now, next: now, failures: 0, under_way_until: None, leads_to: Some(ix) }
    }
}

impl Mesh {
    /// Addresses at which there may be peers.
    pub(super) fn found(&mut self, now: Time, addresses: Vec<SocketAddr>) {
        for address in addresses {
            if let Some(hint) = self.hints.get_mut(&address) {
                hint.found = now;
            } else if self.hints.len() < HINTS_MAX {
                let hint = Hint { found: now, next: now, failures: 0, under_way_until: None, leads_to: None };
                self.hints.insert(address, hint);
            }
        }
        self.dial_hints(now);
    }

    pub(super) fn dial_failed(&mut self, now: Time, peer: Option<PeerId>, addresses: &[SocketAddr], itself: bool) {
        for address in addresses {
            let Some(hint) = self.hints.get_mut(address) else { continue };
            hint.under_way_until = None;
            hint.failures += 1;
            let pause =
                if itself { HINT_KNOWN_PAUSE } else { pause(hint.failures.saturating_sub(HINT_TRIES), HINT_PAUSE_MAX) };
            hint.next = now + jittered(&mut self.rng, pause);
            let next = hint.next;
            self.look_after_neighbours_by(next);
        }
        if let Some(ix) = peer.and_then(|peer| self.peers.find(peer)) {
            let silence = now.saturating_sub(self.peers[ix].heard);
            let peer = &mut self.peers[ix];
            peer.dial.under_way_until = None;
            peer.dial.failures += 1;
            let longest = match peer.life {
                Life::Live => PAUSE_MAX,
                _ if silence < LONG => PAUSE_GONE,
                _ => PAUSE_LONG_GONE,
            };
            let pause = pause(peer.dial.failures, longest);
            peer.dial.next = now + jittered(&mut self.rng, pause);
        }
    }

    /// Somebody lives, died, came or left: looks at it soon.
    pub(super) fn neighbours_changed(&mut self, now: Time) {
        self.look_after_neighbours_by(now + SETTLE);
    }

    fn look_after_neighbours_by(&mut self, at: Time) {
        if at < self.next_neighbours {
            self.next_neighbours = at;
            self.arm(at, Timer::Neighbours);
        }
    }

    pub(super) fn neighbours_due(&mut self, now: Time, at: Time) {
        if self.next_neighbours == at {
            self.next_neighbours = Time::MAX;
            self.look_after_neighbours(now);
        }
    }

    /// Dials who should be a neighbour, lets go who need not be one, and tries the silent again.
    pub(super) fn look_after_neighbours(&mut self, now: Time) {
        let wanted = self.rings.neighbours(self.origin.peer, &self.peers[super::ME].places);
        self.drop_the_silent(now);
        self.keep(now, &wanted);
        let missing: Vec<Ix> = wanted.into_iter().filter(|ix| !self.links.contains_key(ix)).collect();
        for ix in missing {
            let since = *self.peers[ix].dial.missing_since.get_or_insert(now);
            let is_our_turn = self.origin.peer < self.peers[ix].id || since + THEIR_TURN <= now;
            if is_our_turn {
                self.dial(now, ix);
            }
        }
        self.dial_the_silent(now);
        self.hints.retain(|_, hint| hint.found + HINT_FOR > now);
        self.dial_hints(now);
    }

    /// Hangs up on who connects and does not say hello.
    fn drop_the_silent(&mut self, now: Time) {
        let is_rude = |link: &super::link::Link| link.greeted.is_none() && link.since + HELLO_FOR <= now;
        let rude: Vec<Ix> = self.links.iter().filter(|(_, link)| is_rude(link)).map(|(ix, _)| *ix).collect();
        for ix in rude {
            self.offend(now, ix, Offence::OutOfTurn);
        }
    }

    fn keep(&mut self, now: Time, wanted: &BTreeSet<Ix>) {
        let has_few = self.links.len() <= LINKS_MIN;
        let patience = if self.links.len() > CROWD { UNWANTED_IN_CROWD_FOR } else { UNWANTED_FOR };
        let mut next = None;
        let mut unwanted = Vec::new();
        for (&ix, link) in &mut self.links {
            let keep = has_few || wanted.contains(&ix);
            if std::mem::replace(&mut link.keep_ours, keep) != keep {
                link.control.push(Message::Keep(keep));
                self.ready.insert(ix);
            }
            if keep || link.keep_theirs || link.greeted.is_none() {
                link.unwanted_since = None;
            } else {
                let until = *link.unwanted_since.get_or_insert(now) + patience;
                match until <= now {
                    true => unwanted.push(ix),
                    false => next = Some(next.map_or(until, |next: Time| next.min(until))),
                }
            }
        }
        if let Some(next) = next {
            self.look_after_neighbours_by(next);
        }
        for ix in unwanted {
            self.hang_up(now, ix, Why::Unwanted);
        }
    }

    fn dial_the_silent(&mut self, now: Time) {
        let silent = self
            .peers
            .others()
            .filter(|(ix, peer)| peer.life != Life::Live && peer.dial.is_free(now) && !self.links.contains_key(ix));
        let silent: Vec<Ix> = silent.map(|(ix, _)| ix).sample(&mut self.rng, GONE_DIALS);
        for ix in silent {
            self.dial(now, ix);
        }
    }

    fn dials_under_way(&self, now: Time) -> usize {
        let is_under_way = |until: Option<Time>| until.is_some_and(|until| until > now);
        let peers = self.peers.others().filter(|(_, peer)| is_under_way(peer.dial.under_way_until)).count();
        peers + self.hints.values().filter(|hint| is_under_way(hint.under_way_until)).count()
    }

    fn dial(&mut self, now: Time, ix: Ix) {
        if !self.peers[ix].dial.is_free(now) || self.dials_under_way(now) >= DIALS_MAX {
            return;
        }
        let peer = &mut self.peers[ix];
        let said = peer.roster.iter().flat_map(|roster| roster.addresses.iter().copied());
        let mut addresses: Vec<SocketAddr> = peer.dial.good.into_iter().collect();
        for address in said {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return;
        }
        peer.dial.under_way_until = Some(now + DIAL_TIMEOUT);
        self.outputs.push_back(Output::Dial { peer: Some(peer.id), addresses });
    }

    /// Dials found addresses at which nobody is known.
    fn dial_hints(&mut self, now: Time) {
        let mut room = DIALS_MAX.saturating_sub(self.dials_under_way(now));
        for (&address, hint) in &mut self.hints {
            let is_free = hint.next <= now && hint.under_way_until.is_none_or(|until| until <= now);
            let known = hint.leads_to.map(|ix| &self.peers[ix]);
            let is_needless = known.is_some_and(|peer| peer.grave.is_none() && peer.life == Life::Live);
            if room == 0 || !is_free {
                continue;
            }
            if is_needless || is_in_a_roster(&self.peers, address) {
                hint.next = now + HINT_PAUSE_MAX;
                continue;
            }
            room -= 1;
            hint.under_way_until = Some(now + DIAL_TIMEOUT);
            self.outputs.push_back(Output::Dial { peer: None, addresses: vec![address] });
        }
    }
}

/// Whether a living peer, this one included, says that it is there.
fn is_in_a_roster(peers: &super::Peers, address: SocketAddr) -> bool {
    let of = |ix: Ix| peers[ix].roster.as_ref().is_some_and(|roster| roster.addresses.contains(&address));
    of(super::ME) || peers.others().any(|(ix, peer)| peer.life == Life::Live && of(ix))
}

/// Doubles from [`PAUSE_MIN`] with each failure.
fn pause(failures: u32, longest: Duration) -> Duration {
    PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Between half of it and all of it.
fn jittered(rng: &mut rand::rngs::ChaCha8Rng, pause: Duration) -> Duration {
    pause.mul_f64(rng.random_range(0.5..=1.0))
}
