use super::*;

use topology::fact::RemoteName;

/// A probe and what its worker would have learned.
fn probe() -> (Probe, Arc<Shared>) {
    let shared = Arc::new(Shared::new());
    (Probe::new(Arc::clone(&shared)), shared)
}

fn learn(shared: &Shared, now: Instant, name: &str, address: IpAddr) {
    let answer = answer::Answer { name: name.into(), addresses: vec![(address, Duration::ZERO)] };
    shared.with(|known| known.cache.hear(now, &answer));
}

/// Names told in a round.
fn told(round: &Round) -> Option<Vec<String>> {
    let [Update::Facts(Name::Names, facts)] = &round.updates[..] else { return None };
    let names = facts.values().map(|fact| match fact {
        Fact::RemoteName(RemoteName { names, .. }) => names.join(" "),
        fact => panic!("{fact:?}"),
    });
    Some(names.collect())
}

#[test]
fn names_are_told_when_they_differ_and_not_too_often() {
    let (mut probe, shared) = probe();
    let start = Moment::now();
    let at = |ms: u64| Moment { clock: start.clock + Duration::from_millis(ms), ..start };
    let address: IpAddr = [192, 0, 2, 1].into();
    let (nothing, wanted) = (Wanted::default(), Wanted::new(BTreeSet::from([address])));
    let mut round = |ms: u64, name: &str, wanted: &Wanted| {
        if !name.is_empty() {
            learn(&shared, at(ms).clock, name, address);
        }
        told(&probe.round(at(ms), wanted))
    };
    let some = |names: &str| Some(vec![names.to_owned()]);
    let cases = [
        (0, "", &nothing, None),
        (1000, "a.test", &nothing, None),
        (2000, "", &wanted, some("a.test")),
        (2100, "b.test", &wanted, None),
        (2200, "a.test", &wanted, None),
        (3000, "", &wanted, some("b.test a.test")),
        (4000, "b.test", &wanted, None),
        (5000, "", &nothing, Some(vec![])),
        (6000, "", &nothing, None),
    ];
    for (ms, name, wanted, want) in cases {
        assert_eq!(round(ms, name, wanted), want, "at {ms} ms");
    }
}

#[test]
fn the_status_says_what_works_and_what_does_not() {
    let denied = || "may not".to_owned();
    let fail = |shared: &Shared| {
        for _ in 0..3 {
            shared.with(|known| {
                known.reverse.answered(Instant::now(), [192, 0, 2, 1].into(), Err("no server".to_owned()));
            });
        }
    };
    type Change<'a> = &'a dyn Fn(&Shared);
    let cases: [(Change<'_>, SourceState, &str, &str); 6] = [
        (&|_| {}, SourceState::Ok, "answers and reverse look-ups", ""),
        (&|shared| shared.fails_to_snoop(denied()), SourceState::Degraded, "reverse look-ups", "may not"),
        (&fail, SourceState::Degraded, "answers", "no reverse look-ups: no server"),
        (
            &|shared| {
                shared.fails_to_snoop(denied());
                fail(shared);
            },
            SourceState::Off,
            "",
            "may not; no reverse look-ups: no server",
        ),
        (
            &|shared| {
                shared.fails_to_snoop(denied());
                shared.snoops();
            },
            SourceState::Ok,
            "answers and reverse look-ups",
            "",
        ),
        (
            &|shared| shared.dropped(Instant::now()),
            SourceState::Degraded,
            "answers and reverse look-ups",
            "more DNS answers than there is time for: some names are missing",
        ),
    ];
    for (change, state, mode, reason) in cases {
        let (mut probe, shared) = probe();
        change(&shared);
        let status = probe.round(Moment::now(), &Wanted::default()).status;
        assert_eq!((status.state, &*status.mode, &*status.reason), (state, mode, reason));
    }
}

#[test]
fn a_thread_that_is_missing_is_said_until_there_is_one_again() {
    let (mut probe, shared) = probe();
    let mut status = || probe.round(Moment::now(), &Wanted::default()).status;
    shared.set_failure(Some("no thread for it".to_owned()));
    assert_eq!((status().state, status().reason), (SourceState::Off, "no thread for it".to_owned()));
    shared.set_failure(None);
    assert_eq!((status().state, status().reason), (SourceState::Ok, String::new()));
}
