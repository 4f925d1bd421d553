//! Questions that wait for their answer: an answer counts if it was asked for. No clock: time is an argument.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::RecordType;

use super::recent::Recent;

/// Open questions remembered, the last ones. Of ordinary length they take a megabyte; with ten seconds for each, 400 a second
/// may go without an answer before one that comes is missed.
const OPEN_MAX: usize = 4096;

/// How long an answer may take: two attempts of the C library at 5 s each.
const OPEN_FOR: Duration = Duration::from_secs(10);

/// What somebody asked, and whom. Its answer has all of it too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) id: u16,
    /// In lower case.
    pub(super) name: Arc<str>,
    pub(super) kind: RecordType,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Questions {
    /// When each was asked last.
    open: Recent<Question, Instant>,
}

impl Questions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { open: Recent::new(OPEN_MAX) }
    }

    /// Hears `question` being asked at `now`.
    pub(super) fn asked(&mut self, now: Instant, question: Question) {
        self.open.forget_while(|asked| !is_open(*asked, now));
        self.open.set(question, |_| now);
    }

    /// Hears `question` being answered at `now`. Returns whether it was open; it is no longer, as to whoever asked: what
    /// comes after the first answer is not believed.
    pub(super) fn answered(&mut self, now: Instant, question: &Question) -> bool {
        self.open.take(question).is_some_and(|asked| is_open(asked, now))
    }
}

fn is_open(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < OPEN_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: u16) -> Question {
        Question {
            client: "192.0.2.7:4000".parse().unwrap(),
            server: "192.0.2.53:53".parse().unwrap(),
            id,
            name: "a.test".into(),
            kind: RecordType::A,
        }
    }

    #[test]
    fn an_answer_counts_if_it_is_the_first_to_a_question_that_was_asked() {
        let good = question(1);
        let cases = [
            ("good", good.clone(), true),
            ("another client", Question { client: "192.0.2.8:4000".parse().unwrap(), ..good.clone() }, false),
            ("another port", Question { client: "192.0.2.7:4001".parse().unwrap(), ..good.clone() }, false),
            ("another server", Question { server: "192.0.2.54:53".parse().unwrap(), ..good.clone() }, false),
            ("another id", question(2), false),
            ("another name", Question { name: "b.test".into(), ..good.clone() }, false),
            ("another type", Question { kind: RecordType::AAAA, ..good.clone() }, false),
        ];
        let now = Instant::now();
        for (what, answered, want) in cases {
            let mut questions = Questions::new();
            questions.asked(now, good.clone());
            assert_eq!(questions.answered(now, &answered), want, "{what}");
            assert_eq!(questions.answered(now, &good), !want, "{what}: the good one is open if it was not answered");
        }
    }

    #[test]
    fn a_question_is_open_for_some_seconds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        // asked at, answered at, in ms
        let cases: [(&[u64], u64, bool); 5] =
            [(&[0], 0, true), (&[0], 9_999, true), (&[0], 10_000, false), (&[0, 5_000], 14_999, true), (&[], 0, false)];
        for (asked, answered, want) in cases {
            let mut questions = Questions::new();
            asked.iter().for_each(|ms| questions.asked(at(*ms), question(1)));
            assert_eq!(questions.answered(at(answered), &question(1)), want, "asked {asked:?}, answered {answered}");
        }
        let mut questions = Questions::new();
        (0..100).for_each(|id| questions.asked(start, question(id)));
        questions.asked(at(10_000), question(100));
        assert_eq!(questions.open.len(), 1, "those too old are not kept");
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let (now, mut questions) = (Instant::now(), Questions::new());
        let count = u16::try_from(OPEN_MAX).unwrap();
        (0..count + 10).for_each(|id| questions.asked(now, question(id)));
        assert_eq!(questions.open.len(), OPEN_MAX);
        let open = (0..count + 10).filter(|id| questions.answered(now, &question(*id))).min();
        assert_eq!(open, Some(10));
    }
}
