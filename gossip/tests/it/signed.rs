//! What a relay may do to an interval, and that nothing of it is taken.

use bytes::Bytes;
use gossip::{
    Applied, ApplyError, Change, Epoch, Interval, Key, Limits, OriginId, PeerId, Replica, Span, StateHash, Version,
};

use crate::world::state;

const ORIGIN: OriginId = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };

/// Version, key, value.
type Write = (u64, &'static str, Option<&'static str>);

/// What was done to it, since and until, the writes, whether it is taken.
type Relayed = (&'static str, (u64, u64), Vec<Write>, bool);

/// Leads from what is held, `1:a=A 2:b=B 3:c=C`, to `1:a=A 5:c=c 6:d=d`.
const WRITES: [Write; 3] = [(4, "b", None), (5, "c", Some("c")), (6, "d", Some("d"))];

#[test]
fn only_what_the_origin_wrote_is_taken() {
    let d = (6, "d", Some("d"));
    let cases: [Relayed; 15] = [
        ("as it was sent", (3, 6), WRITES.into(), true),
        ("in a longer interval", (2, 6), [&[(3, "c", Some("C"))], WRITES.as_slice()].concat(), true),
        ("without what was overwritten", (1, 6), WRITES.into(), true),
        ("as a snapshot", (0, 6), vec![(1, "a", Some("A")), (5, "c", Some("c")), d], true),
        ("another value", (3, 6), vec![(4, "b", None), (5, "c", Some("C")), d], false),
        ("another key", (3, 6), vec![(4, "b", None), (5, "c", Some("c")), (6, "e", Some("d"))], false),
        ("another version", (3, 6), vec![(4, "c", Some("c")), (5, "b", None), d], false),
        ("a write less", (3, 6), vec![(4, "b", None), d], false),
        ("a removal less", (3, 6), vec![(5, "c", Some("c")), d], false),
        ("a write more", (3, 7), vec![(4, "b", None), (5, "c", Some("c")), d, (7, "e", Some("e"))], false),
        ("a removal more", (3, 6), vec![(4, "a", None), (5, "c", Some("c")), d], false),
        ("removed instead of written", (3, 6), vec![(4, "b", None), (5, "c", None), d], false),
        ("a later version", (3, 7), WRITES.into(), false),
        ("a snapshot without an entry", (0, 6), vec![(5, "c", Some("c")), d], false),
        ("an empty snapshot", (0, 6), vec![], false),
    ];
    let mut origin = held();
    origin.apply(&interval((3, 6), &WRITES)).unwrap();
    let signed = origin.origin(ORIGIN.peer).unwrap().state_hash();
    for (case, (since, until), writes, taken) in cases {
        let mut replica = held();
        let before = state(&replica);
        let interval = interval((since, until), &writes);
        let got = replica.apply_signed(&interval, &signed);
        if taken {
            assert!(matches!(got, Ok(Applied::Changed(_) | Applied::Replaced)), "{case}: {got:?}");
            assert_eq!(state(&replica), state(&origin), "{case}");
        } else {
            assert_eq!(got, Err(ApplyError::StateHash { origin: ORIGIN, version: Version(until) }), "{case}");
            assert_eq!(state(&replica), before, "{case}");
            assert_eq!(replica.bytes(), held().bytes(), "{case}");
        }
    }
}

#[test]
fn a_key_written_twice_counts_once() {
    let twice = [(4, "c", Some("x")), (5, "b", Some("y")), (6, "c", None), (7, "b", Some("z"))];
    let mut once = held();
    once.apply(&interval((3, 7), &twice)).unwrap();
    let signed = once.origin(ORIGIN.peer).unwrap().state_hash();
    let mut replica = held();
    assert!(replica.apply_signed(&interval((3, 7), &twice), &signed).is_ok());
}

#[test]
fn a_first_state_is_taken_only_as_it_was_signed() {
    let snapshot = interval((0, 3), &[(1, "a", Some("A")), (2, "b", Some("B")), (3, "c", Some("C"))]);
    let signed = held().origin(ORIGIN.peer).unwrap().state_hash();
    let mut replica = Replica::new(PeerId::from_bytes([0; 32]), Limits::default());
    let wrong = StateHash::from_bytes([1; 32]);
    let error = ApplyError::StateHash { origin: ORIGIN, version: Version(3) };
    assert_eq!(replica.apply_signed(&snapshot, &wrong), Err(error));
    assert_eq!(replica.origins().len(), 0);
    assert_eq!(replica.apply_signed(&snapshot, &signed), Ok(Applied::Replaced));
    assert_eq!(replica.apply_signed(&snapshot, &wrong), Ok(Applied::Known), "nothing to check");
}

fn held() -> Replica {
    let mut replica = Replica::new(PeerId::from_bytes([0; 32]), Limits::default());
    let writes = [(1, "a", Some("A")), (2, "b", Some("B")), (3, "c", Some("C"))];
    replica.apply(&interval((0, 3), &writes)).unwrap();
    replica
}

fn interval((since, until): (u64, u64), writes: &[Write]) -> Interval {
    let changes = writes.iter().map(|&(version, key, value)| Change {
        version: Version(version),
        key: Key::try_from(key).unwrap(),
        value: value.map(Bytes::from),
    });
    Interval::new(ORIGIN, Span::whole(Version(since), Version(until)), changes.collect()).unwrap()
}
