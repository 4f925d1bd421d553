//! A flow with what its connections add up to, each counted once whoever tells of it, and when.
//!
//! One that ends is told of twice, in either order: it is gone from the sockets, and another source tells its end. In between
//! it is *leaving* or *early*, so that the total counts it once at any time. Whose a connection is may be a guess on either
//! side: a socket's process is not found yet, its address translation not known, or an end is nobody's. Then what one flow
//! lost is what another was told the end of, and each part says how many of its connections that may be so for.

use std::time::{Duration, Instant};

use topology::fact::{Flow, FlowKey};

use super::sums::Sums;
use crate::probe::connections::sock_diag::Figures;

/// How long a flow counts as open after the last trace of a connection: a client that connects every ten seconds is one
/// that is connected.
pub(in crate::probe::connections) const FADES_AFTER: Duration = Duration::from_secs(12);

/// How often rates are made: as often as the figures of quiet connections are read.
pub(in crate::probe::connections) const RATE_BEAT: Duration = Duration::from_secs(5);

/// An open connection as its flow counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) flow: FlowKey,
    pub(super) figures: Figures,
    /// Whether it may turn out to be another flow's.
    pub(super) is_guess: bool,
}

impl Counted {
    pub(super) fn part(&self) -> Part {
        Part { sums: Sums::one(self.figures), guessed: self.is_guess.into() }
    }

    /// What it carried, without itself.
    pub(super) fn carried(&self) -> Sums {
        Sums { count: 0, ..Sums::one(self.figures) }
    }
}

/// Some connections of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) sums: Sums,
    /// How many of them may be another flow's.
    pub(super) guessed: u64,
}

impl Part {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { sums: self.sums.plus(other.sums), guessed: self.guessed.saturating_add(other.guessed) }
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self { sums: self.sums.less(other.sums), guessed: self.guessed.saturating_sub(other.guessed) }
    }

    /// All of them, as those that may be another flow's.
    fn as_guess(self) -> Self {
        Self { guessed: self.sums.count, ..self }
    }

    /// How many of them count for a `claim`.
    fn within(&self, claim: Claim) -> u64 {
        if claim == Claim::Guessed { self.guessed } else { self.sums.count }
    }

    /// Takes `sums` out, as far as they are among these; returns what is not.
    fn take(&mut self, sums: Sums, claim: Claim) -> Sums {
        let taken = self.sums.min(sums.share(sums.count.min(self.within(claim))));
        self.sums = self.sums.less(taken);
        let guessed = if claim == Claim::Guessed { self.guessed.saturating_sub(taken.count) } else { self.guessed };
        self.guessed = guessed.min(self.sums.count);
        sums.less(taken)
    }
}

/// Which connections of a flow can be those that something else is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// All: it is told of this flow.
    Own,
    /// All: it is told of another flow, but that is a guess.
    Any,
    /// It is told of another flow: those that are a guess here.
    Guessed,
}

/// A flow and what its connections add up to.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) flow: Flow,
    /// In the sockets, as of the last look.
    pub(super) open: Part,
    /// Gone from the sockets, their end not told: since the last beat, and before it.
    leaving: [Part; 2],
    /// Their end was told, and they were perhaps among the open ones at the last look.
    pub(super) early: Part,
    pub(super) ended: Sums,
    pub(super) rtt_micros: u32,
    pub(super) seen: Instant,
    /// When figures were last read.
    pub(super) read_at: Instant,
    /// Total at the last beat that had figures to make rates of, and when those were read.
    pub(super) at_beat: Sums,
    beat_at: Instant,
    pub(super) sent_rate: u64,
    pub(super) received_rate: u64,
}

impl Followed {
    pub(super) fn new(flow: Flow, now: Instant, beat_at: Instant) -> Self {
        Self {
            flow,
            open: Part::default(),
            leaving: Default::default(),
            early: Part::default(),
            ended: Sums::default(),
            rtt_micros: 0,
            seen: now,
            read_at: now,
            at_beat: Sums::default(),
            beat_at,
            sent_rate: 0,
            received_rate: 0,
        }
    }

    pub(super) fn total(&self) -> Sums {
        let [old, new] = self.leaving;
        self.open.sums.plus(old.sums).plus(new.sums).plus(self.ended).less(self.early.sums)
    }

    /// Whether one is open as far as is known. One too few is counted while a connection that no look saw has ended beside an
    /// open one, which the next look mends: long before the flow fades for it.
    pub(super) fn is_open(&self) -> bool {
        self.open.sums.count > self.early.sums.count
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.is_open() || now.saturating_duration_since(self.seen) < FADES_AFTER
    }

    /// Whether nothing was ever told of it but sockets that are another flow's now.
    pub(super) fn is_void(&self) -> bool {
        self.open.sums.count == 0 && self.ended.count == 0
    }

    /// Whether it has connections whose end may be told of another flow: those that are open, or are gone.
    pub(super) fn has_some(&self) -> bool {
        self.open.sums.count + self.leaving[0].sums.count + self.leaving[1].sums.count > 0
    }

    /// A socket is not, or not any more, among the open.
    pub(super) fn shut(&mut self, one: &Counted) {
        self.open = self.open.less(one.part());
    }

    /// Sockets are gone whose end no source has told yet.
    pub(super) fn leave(&mut self, gone: Part) {
        self.leaving[1] = self.leaving[1].plus(gone);
    }

    /// Connections ended: takes those out that are gone from the sockets, and returns the rest.
    pub(super) fn take_leaving(&mut self, ended: Sums, claim: Claim) -> Sums {
        self.leaving.iter_mut().fold(ended, |left, leaving| leaving.take(left, claim))
    }

    /// Takes open ones as gone, whose end was told; returns what there are none open for.
    pub(super) fn expect_gone(&mut self, sums: Sums, claim: Claim) -> Sums {
        let room = self.open.within(claim).saturating_sub(self.early.within(claim));
        let expected = self.open.sums.less(self.early.sums).min(sums.share(sums.count.min(room)));
        let expected = Part { sums: expected, guessed: 0 };
        self.early = self.early.plus(if claim == Claim::Own { expected } else { expected.as_guess() });
        sums.less(expected.sums)
    }

    /// Sockets are gone: takes out those whose end was told, and returns the rest.
    pub(super) fn take_early(&mut self, gone: Sums, claim: Claim) -> Sums {
        self.early.take(gone, claim)
    }

    /// What was told to have ended of more than are open.
    pub(super) fn take_surplus(&mut self) -> Part {
        let left = self.early.sums.min(self.open.sums);
        let surplus = Part { sums: self.early.sums.less(left), guessed: self.early.guessed.saturating_sub(left.count) };
        self.early = self.early.less(surplus);
        surplus
    }

    /// Takes what was told to have ended of another's, that are this one's now.
    pub(super) fn take_told(&mut self, told: Part) {
        let expected = self.open.sums.less(self.early.sums).min(told.sums);
        self.early = self.early.plus(Part { sums: expected, guessed: told.guessed.min(expected.count) });
    }

    /// Makes rates of what was carried between the last two readings. Without a reading for two beats nothing was.
    pub(super) fn beat(&mut self, now: Instant) {
        // What nobody has told the end of by now has ended all the same.
        let [old, new] = self.leaving;
        self.ended = self.ended.plus(old.sums);
        self.leaving = [new, Part::default()];
        let elapsed = self.read_at.saturating_duration_since(self.beat_at);
        if !elapsed.is_zero() {
            let total = self.total();
            self.sent_rate = rate(total.sent.saturating_sub(self.at_beat.sent), elapsed);
            self.received_rate = rate(total.received.saturating_sub(self.at_beat.received), elapsed);
            (self.at_beat, self.beat_at) = (total, self.read_at);
        } else if self.open.sums.count == 0 || now.saturating_duration_since(self.read_at) >= 2 * RATE_BEAT {
            (self.sent_rate, self.received_rate) = (0, 0);
            (self.at_beat, self.beat_at, self.read_at) = (self.total(), now, now);
        }
    }

    pub(super) fn note_rtt(&mut self, micros: u32) {
        if micros > 0 {
            self.rtt_micros = micros;
        }
    }

    /// Takes over the flow of a process that ended.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.open = self.open.plus(other.open);
        self.ended = self.ended.plus(other.ended);
        self.seen = self.seen.max(other.seen);
        self.flow.first_seen = self.flow.first_seen.min(other.flow.first_seen);
        self.flow.evidence |= other.flow.evidence;
        self.flow.via = self.flow.via.or(other.flow.via);
        self.flow.masquerade = self.flow.masquerade.or(other.flow.masquerade);
        self.early = self.early.plus(other.early);
        self.leaving = [0, 1].map(|at| self.leaving[at].plus(other.leaving[at]));
        self.at_beat = self.at_beat.plus(other.at_beat);
        self.read_at = self.read_at.max(other.read_at);
    }

    /// All of them may be another flow's: whose they are is not known any more. Of those whose end was told it is.
    pub(super) fn doubt(&mut self) {
        self.open = self.open.as_guess();
        self.leaving = self.leaving.map(Part::as_guess);
    }
}

/// Per second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}
