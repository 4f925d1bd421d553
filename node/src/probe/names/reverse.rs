//! Reverse look-ups: which are due, and what came of them. No IO, no clock: time is an argument, and `worker` asks.
//!
//! They are a courtesy of servers that have other work: few at a time, each answer kept, and a server that does not answer is
//! left alone for longer and longer.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recent::Recent;

/// Least time between two look-ups: ten a second, as Weave Scope.
const GAP: Duration = Duration::from_millis(100);

/// Most addresses in line; more are asked for when there is room.
const WAITING_MAX: usize = 1000;

/// Answers kept. As many as addresses are told of: fewer, and those would ask in turn for ever.
const ANSWERS_MAX: usize = super::ADDRESSES_MAX;

/// How long an answer is kept, that there is no name among them.
const ANSWER_KEPT: Duration = Duration::from_secs(30 * 60);

/// How long after a failure the same address waits. The servers of some networks never answer, others then get their turn.
const FAILURE_KEPT: Duration = Duration::from_secs(5 * 60);

/// How long nobody is asked after a failure; twice as long after each that follows.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);

/// Failures in a row after which it is no longer the address but the resolver.
const FAILURES_OF_ONE: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct LookUps {
    answers: Recent<IpAddr, Answer>,
    line: VecDeque<IpAddr>,
    in_line: HashSet<IpAddr>,
    not_before: Option<Instant>,
    /// In a row.
    failures: u32,
    trouble: Option<String>,
    /// Grows when an address gets another answer.
    learned: u64,
}

#[derive(Debug)]
struct Answer {
    name: Option<Arc<str>>,
    until: Instant,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look this up, and say what came of it.
    Ask(IpAddr),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing.
    Idle,
}

impl LookUps {
    /// One that asked nothing yet.
    pub(super) fn new() -> Self {
        Self {
            answers: Recent::new(ANSWERS_MAX),
            line: VecDeque::new(),
            in_line: HashSet::new(),
            not_before: None,
            failures: 0,
            trouble: None,
            learned: 0,
        }
    }

    /// Puts `address` in line if its name is not known, and there is room.
    pub(super) fn want(&mut self, now: Instant, address: IpAddr) {
        let is_known = self.answer(now, &address).is_some();
        if !is_known && self.line.len() < WAITING_MAX && self.in_line.insert(address) {
            self.line.push_back(address);
        }
    }

    /// Takes out of the line what nobody wants any more.
    pub(super) fn keep_waiting(&mut self, is_wanted: impl Fn(&IpAddr) -> bool) {
        if !self.line.is_empty() {
            self.line.retain(&is_wanted);
            self.in_line.retain(is_wanted);
        }
    }

    /// What is due at `now`.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self.not_before {
            _ if self.line.is_empty() => return Next::Idle,
            Some(not_before) if not_before > now => return Next::Wait(not_before),
            _ => {}
        }
        let Some(address) = self.line.pop_front() else { return Next::Idle };
        self.in_line.remove(&address);
        self.not_before = Some(now + GAP);
        Next::Ask(address)
    }

    /// Takes what came of a look-up: a name, that there is none, or why nobody says.
    pub(super) fn answered(&mut self, now: Instant, address: IpAddr, answer: Result<Option<Arc<str>>, String>) {
        match answer {
            Ok(name) => {
                (self.failures, self.trouble) = (0, None);
                self.keep(address, now + ANSWER_KEPT, |_| name);
            }
            Err(reason) => {
                let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(PAUSE_MAX);
                self.not_before = Some(now + pause);
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES_OF_ONE {
                    self.trouble = Some(format!("no reverse look-ups: {reason}"));
                }
                // What was known is still the best there is.
                self.keep(address, now + FAILURE_KEPT, |known| known);
            }
        }
    }

    fn keep(&mut self, address: IpAddr, until: Instant, name: impl FnOnce(Option<Arc<str>>) -> Option<Arc<str>>) {
        let learned = &mut self.learned;
        self.answers.set(address, |known| {
            let known = known.and_then(|answer| answer.name);
            let name = name(known.clone());
            *learned += u64::from(name != known);
            Answer { name, until }
        });
    }

    /// The name of `address`, or that it has none; `None` if that is not known at `now`.
    pub(super) fn answer(&self, now: Instant, address: &IpAddr) -> Option<&Option<Arc<str>>> {
        self.answers.get(address).filter(|answer| answer.until > now).map(|answer| &answer.name)
    }

    /// Why there are no answers, if there are none.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// Grows when there is something new.
    pub(super) fn learned(&self) -> u64 {
        self.learned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc000_0200 + number).into()
    }

    fn name(text: &str) -> Result<Option<Arc<str>>, String> {
        Ok(Some(text.into()))
    }

    fn failed() -> Result<Option<Arc<str>>, String> {
        Err("nobody there".to_owned())
    }

    /// With these in line, each once.
    fn with(now: Instant, numbers: impl IntoIterator<Item = u32>) -> LookUps {
        let mut look_ups = LookUps::new();
        numbers.into_iter().for_each(|number| look_ups.want(now, address(number)));
        look_ups
    }

    #[test]
    fn they_are_asked_in_turn_and_not_too_fast() {
        let now = Instant::now();
        let mut look_ups = with(now, [1, 2, 1, 3]);
        look_ups.keep_waiting(|wanted| *wanted != address(2));
        assert_eq!(look_ups.next(now), Next::Ask(address(1)));
        assert_eq!(look_ups.next(now), Next::Wait(now + GAP));
        assert_eq!(look_ups.next(now + GAP), Next::Ask(address(3)));
        assert_eq!(look_ups.next(now + GAP), Next::Idle);
        assert_eq!(LookUps::new().next(now), Next::Idle);
    }

    #[test]
    fn an_answer_is_kept_and_a_name_for_longer_than_a_failure() {
        let start = Instant::now();
        let cases = [
            (name("a.test"), Some("a.test"), ANSWER_KEPT),
            (Ok(None), None, ANSWER_KEPT),
            (failed(), None, FAILURE_KEPT),
        ];
        for (answer, want, kept) in cases {
            let mut look_ups = with(start, [1]);
            assert_eq!(look_ups.next(start), Next::Ask(address(1)));
            look_ups.answered(start, address(1), answer.clone());
            let last = start + kept - Duration::from_millis(1);
            let got = look_ups.answer(last, &address(1)).map(Option::as_deref);
            assert_eq!(got, Some(want), "{answer:?}");
            look_ups.want(last, address(1));
            assert_eq!(look_ups.next(last), Next::Idle, "{answer:?}");
            look_ups.want(start + kept, address(1));
            assert_eq!(look_ups.next(start + kept), Next::Ask(address(1)), "{answer:?}");
        }
    }

    #[test]
    fn a_failure_leaves_what_was_known() {
        let now = Instant::now();
        let mut look_ups = LookUps::new();
        let mut after = |answer| {
            look_ups.answered(now, address(1), answer);
            (look_ups.answer(now, &address(1)).cloned().flatten(), look_ups.learned())
        };
        assert_eq!(after(name("a.test")), (Some("a.test".into()), 1));
        assert_eq!(after(failed()), (Some("a.test".into()), 1));
        assert_eq!(after(name("a.test")), (Some("a.test".into()), 1));
        assert_eq!(after(Ok(None)), (None, 2));
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_left_alone() {
        let mut now = Instant::now();
        let mut look_ups = with(now, 0..20);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let Next::Ask(address) = look_ups.next(now) else { panic!("it is time") };
            look_ups.answered(now, address, failed());
            let Next::Wait(until) = look_ups.next(now) else { panic!("it is not time") };
            pauses.push(((until - now).as_secs(), look_ups.trouble().is_some()));
            now = until;
        }
        let want = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        let want: Vec<_> = want.into_iter().enumerate().map(|(index, secs)| (secs, index >= 2)).collect();
        assert_eq!(pauses, want);
        let Next::Ask(address) = look_ups.next(now) else { panic!("it is time") };
        look_ups.answered(now, address, Ok(None));
        assert_eq!((look_ups.next(now), look_ups.trouble()), (Next::Wait(now + GAP), None), "one answer is enough");
    }

    #[test]
    fn the_line_and_the_answers_have_bounds() {
        let now = Instant::now();
        let mut look_ups = with(now, 0..10_000);
        assert_eq!((look_ups.line.len(), look_ups.in_line.len()), (WAITING_MAX, WAITING_MAX));
        look_ups.keep_waiting(|_| false);
        assert_eq!((look_ups.line.len(), look_ups.in_line.len()), (0, 0));
        (0..10_000).for_each(|number| look_ups.answered(now, address(number), Ok(None)));
        let known = (0..10_000).filter(|number| look_ups.answer(now, &address(*number)).is_some()).count();
        assert_eq!(known, ANSWERS_MAX);
    }
}
