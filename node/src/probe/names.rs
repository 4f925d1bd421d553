//! The names probe: which DNS names lead to the addresses that this host's connections go to.
//!
//! ```text
//! answers on the wire ─snoop─▶ cache of what was asked for ─┐
//!                                                           ├─▶ names of wanted addresses
//! addresses without ──────────▶ reverse look-ups ───────────┘
//! ```
//!
//! What a program asked for tells what it wants: the name before a chain of aliases, not the machine at its end. That is in
//! the answer it got, so answers are read off the host's network: those over UDP, of the host itself and, as they cross its
//! bridges, of its containers. Not seen are answers over TCP, TLS and HTTPS, and what a resolver inside a container answers
//! by itself. An answer comes before the connection, so all recent ones are remembered, wanted or not.
//!
//! Believed is only what was asked for: an answer whose question was seen just before, going the other way. Yet whoever asks, or
//! is asked, can make names up, and so can who forges both: names are labels, and of addresses outside the cluster they say
//! which known service these are drawn as. No edge between hosts, containers and processes depends on them.
//!
//! An address nobody asked for by name is looked up in reverse, at leisure: that says whose machine it is.

mod answer;
mod cache;
mod datagram;
mod packets;
mod published;
mod question;
mod recent;
mod reverse;
mod snoop;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Fact, Source, SourceState};

use super::pace::{self, Moment, Nudge, Round, Schedule};
use super::{Name, Update, Updates};
use published::Published;
use worker::Shared;

/// Interval between two rounds, and so between two tellings: a name may come after the connection it is of.
const BEAT: Duration = Duration::from_secs(1);

/// Share of one CPU its rounds may take together with what they find done.
const BUDGET: f64 = snoop::BUDGET + 0.005;

/// Most addresses whose names are told, the lowest first.
pub const ADDRESSES_MAX: usize = 4096;

/// Rounds in which nothing happened after which all is looked through nevertheless: what was known may be too old.
const QUIET_ROUNDS_MAX: u32 = 60;

/// Remote addresses of the host's flows that are not its own.
pub type Wanted = Arc<BTreeSet<IpAddr>>;

/// Who is asked for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The servers in `/etc/resolv.conf`.
    System,
    /// This DNS server.
    At(SocketAddr),
}

/// How the probe works.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `/proc` of the host.
    pub proc_root: PathBuf,
    /// A process in the network namespace whose answers are read: the host's first.
    pub door: u32,
    /// Who is asked for the names of addresses.
    pub resolver: Resolver,
}

impl Config {
    /// The host's answers and the system's resolver.
    #[must_use]
    pub fn new(proc_root: PathBuf) -> Self {
        Self { proc_root, door: 1, resolver: Resolver::System }
    }
}

/// Starts the probe: tells the names of what is `wanted` until `stop` is cancelled or the hub has gone.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(
    config: Config,
    updates: Updates,
    wanted: watch::Receiver<Wanted>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stop = stop.child_token();
        let (shared, nudge) = (Arc::new(Shared::new()), Nudge::default());
        let working = tokio::spawn(worker::keep(config, Arc::clone(&shared), stop.clone()));
        let schedule = Schedule { name: Name::Names, speaks_for: &[], base: BEAT, budget: BUDGET };
        let of_rounds = wanted.clone();
        let rounds = pace::spawn(schedule, updates, nudge.clone(), stop.clone(), move || {
            let (mut probe, wanted) = (Probe::new(Arc::clone(&shared)), of_rounds.clone());
            move |now| {
                let wanted = wanted.borrow().clone();
                probe.round(now, &wanted)
            }
        });
        let nudging = tokio::spawn(nudge_on_wanted(wanted, nudge, stop.clone()));
        // It says itself how it ended.
        let _ = rounds.await;
        stop.cancel();
        let _ = tokio::join!(nudging, working);
    })
}

/// What is wanted anew mostly has a name already, and the sooner it has it on the map, the less moves there.
async fn nudge_on_wanted(mut wanted: watch::Receiver<Wanted>, nudge: Nudge, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(wanted.changed()).await {
        nudge.nudge();
    }
}

/// What the probe remembers between two rounds.
struct Probe {
    shared: Arc<Shared>,
    published: Published,
    /// What was wanted in the last round.
    wanted: Wanted,
    /// How much had been learned by then.
    learned: u64,
    quiet_rounds: u32,
    /// Since the last telling, something differs.
    is_due: bool,
    told_at: Option<Instant>,
    /// CPU time of the worker by then.
    spent: Duration,
}

impl Probe {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            published: Published::default(),
            wanted: Arc::default(),
            learned: 0,
            quiet_rounds: 0,
            is_due: false,
            told_at: None,
            spent: Duration::ZERO,
        }
    }

    fn round(&mut self, now: Moment, wanted: &Wanted) -> Round {
        let learned = self.shared.learned();
        let is_quiet = *wanted == self.wanted && learned == self.learned && self.quiet_rounds < QUIET_ROUNDS_MAX;
        if is_quiet {
            self.quiet_rounds += 1;
        } else {
            (self.wanted, self.learned, self.quiet_rounds) = (Arc::clone(wanted), learned, 0);
            self.is_due |= self.shared.with(|known| self.published.update(now.clock, wanted, known));
            self.shared.wake_look_ups();
        }
        let spent = self.shared.cpu_time();
        let elsewhere = spent.saturating_sub(std::mem::replace(&mut self.spent, spent));
        Round { updates: self.tell(now.clock).into_iter().collect(), status: self.status(now.clock, wanted), elsewhere }
    }

    /// All names, if they differ from those told, and were not told a moment ago.
    fn tell(&mut self, now: Instant) -> Option<Update> {
        let is_early = self.told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < BEAT);
        if !self.is_due || is_early {
            return None;
        }
        (self.is_due, self.told_at) = (false, Some(now));
        let facts: BTreeMap<_, _> =
            self.published.names().map(Fact::RemoteName).map(|fact| (fact.key(), fact)).collect();
        Some(Update::Facts(Name::Names, facts))
    }

    fn status(&self, now: Instant, wanted: &Wanted) -> Source {
        if let Some(reason) = self.shared.failure() {
            return Source { state: SourceState::Off, mode: String::new(), reason };
        }
        let (snooping, resolver) = (self.shared.snooping(now), self.shared.with(|known| known.reverse.trouble()));
        let (mode, state) = match (snooping.works, resolver.is_none()) {
            (true, true) if snooping.problem.is_none() => ("answers and reverse look-ups", SourceState::Ok),
            (true, true) => ("answers and reverse look-ups", SourceState::Degraded),
            (true, false) => ("answers", SourceState::Degraded),
            (false, true) => ("reverse look-ups", SourceState::Degraded),
            (false, false) => ("", SourceState::Off),
        };
        let too_many = (wanted.len() > ADDRESSES_MAX)
            .then(|| format!("too many remote addresses: the names of {ADDRESSES_MAX} are told"));
        let state = if too_many.is_some() && state == SourceState::Ok { SourceState::Degraded } else { state };
        let reasons: Vec<String> = [snooping.problem, resolver, too_many].into_iter().flatten().collect();
        Source { state, mode: mode.to_owned(), reason: reasons.join("; ") }
    }
}

#[cfg(test)]
mod tests;
