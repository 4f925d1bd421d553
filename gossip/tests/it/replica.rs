//! What a replica takes, refuses and answers, case by case.

use bytes::Bytes;
use gossip::{
    Answer, Applied, ApplyError, Change, Epoch, Interval, Key, LimitError, Limits, OriginId, PeerId, Position, Replica,
    Span, Version,
};

const LOCAL: PeerId = PeerId::from_bytes([0; 32]);
const A: PeerId = PeerId::from_bytes([1; 32]);
const B: PeerId = PeerId::from_bytes([2; 32]);

#[test]
fn apply_takes_only_intervals_that_join_on() {
    // held (epoch, version), then the interval's epoch, since, until; what comes of it
    let cases = [
        ((1, 4), (1, 4, 6), "changed 5 6"), // next in line
        ((1, 5), (1, 4, 6), "changed 6"),   // overlaps what is held
        ((1, 6), (1, 4, 6), "known"),       // seen before
        ((1, 9), (1, 4, 6), "known"),
        ((1, 3), (1, 4, 6), "gap at 1/3"), // version 4 is missing
        ((0, 0), (1, 4, 6), "gap at 0/0"), // nothing is held
        ((0, 0), (1, 0, 6), "replaced"),
        ((1, 3), (1, 0, 6), "replaced"), // a snapshot of the same run
        ((1, 6), (1, 0, 6), "known"),
        ((1, 9), (2, 0, 1), "replaced"),   // a restart
        ((1, 4), (2, 4, 6), "gap at 1/4"), // versions of another run mean nothing
        ((2, 1), (1, 0, 9), "known"),      // an older run
        ((2, 1), (1, 1, 9), "known"),
    ];
    for ((epoch, version), (its_epoch, since, until), want) in cases {
        let mut replica = replica_at(epoch, version);
        let interval = interval(A, its_epoch, since, until);
        let got = match replica.apply(&interval) {
            Ok(Applied::Known) => "known".to_owned(),
            Ok(Applied::Replaced) => "replaced".to_owned(),
            Ok(Applied::Changed(changes)) => {
                changes.iter().fold("changed".to_owned(), |text, change| format!("{text} {}", change.version))
            }
            Err(ApplyError::Gap { from, .. }) => {
                format!("gap at {}/{}", from.origin.epoch, from.version)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want, "at {epoch}/{version}, interval {its_epoch} ({since}, {until}]");
    }
}

#[test]
fn an_answer_goes_from_where_the_asker_is() {
    // The answerer holds 2/9 of A, where versions 3 and 6 were removals, and has collected up to 4.
    let mut replica = Replica::new(LOCAL, Limits::default());
    let first = interval(A, 2, 0, 2);
    let mut changes = interval(A, 2, 2, 9).into_changes();
    changes[0] = removal(3, "key 1");
    changes[3] = removal(6, "key 2");
    replica.apply(&first).unwrap();
    replica.apply(&Interval::new(first.origin(), whole(2, 9), changes).unwrap()).unwrap();
    replica.collect(A, Version(4));

    // asker's epoch, version, where removals begin to matter; budget; the answer
    let all = usize::MAX;
    let cases = [
        ((2, 9, 9), all, "up to date"),
        ((2, 10, 10), all, "behind"),
        ((3, 1, 1), all, "behind"),
        ((2, 7, 7), all, "(7, 9] of 9: 8 9"),
        ((2, 5, 5), all, "(5, 9] of 9: 6 7 8 9"),
        ((2, 3, 3), all, "(3, 9] of 9: 4 5 6 7 8 9"),
        ((2, 2, 2), all, "(0, 9] of 9: 4 5 7 8 9"), // the removal at 3 is forgotten
        ((2, 2, 9), all, "(2, 9] of 9: 4 5 6 7 8 9"), // in the middle of a snapshot
        ((2, 2, 2), 1, "(0, 4] of 9: 4"),           // one change is always in
        ((2, 5, 5), 60, "(5, 7] of 9: 6 7"),
        ((1, 8, 8), all, "(0, 9] of 9: 4 5 7 8 9"), // an older run
        ((0, 0, 0), all, "(0, 9] of 9: 4 5 7 8 9"), // nothing
    ];
    for ((epoch, version, removals_after), budget_bytes, want) in cases {
        let mut position = Position::at(origin(A, epoch), Version(version));
        position.removals_after = Version(removals_after);
        assert_eq!(text(&replica.answer(&position, budget_bytes)), want, "{position:?}");
    }
    assert_eq!(text(&replica.answer(&Position::nothing(B), all)), "up to date");
    assert_eq!(text(&replica.answer(&Position::at(origin(B, 1), Version(1)), all)), "behind");
}

#[test]
fn another_value_under_a_known_version_is_reported_and_not_taken() {
    // (since, until] with another value of key 5 at version 5, applied to versions 1 to 6
    for (since, until) in [(4, 6), (4, 9), (0, 6), (0, 9)] {
        let mut replica = replica_at(1, 6);
        let mut changes = interval(A, 1, since, until).into_changes();
        let lie = changes.iter_mut().find(|change| change.version == Version(5)).unwrap();
        lie.value = Some("another".into());
        let key = lie.key.clone();
        let interval = Interval::new(origin(A, 1), whole(since, until), changes).unwrap();
        let want = ApplyError::Equivocation { origin: origin(A, 1), version: Version(5), key };
        assert_eq!(replica.apply(&interval), Err(want), "({since}, {until}]");
        assert_eq!(replica.position(A).version, Version(6));
        assert_eq!(replica.origin(A).unwrap().get(b"key 5").unwrap(), "value");
    }
}

#[test]
fn nobody_else_speaks_for_the_local_peer_or_through_it() {
    let mut replica = Replica::new(LOCAL, Limits::default());
    let own = interval(LOCAL, 1, 0, 3);
    assert_eq!(replica.apply(&own), Err(ApplyError::LocalPeer(own.origin())));
    assert_eq!(replica.record(&own), Ok(Applied::Replaced));

    let other = interval(A, 1, 0, 3);
    let want = ApplyError::WrongOrigin { got: other.origin(), want: LOCAL };
    assert_eq!(replica.record(&other), Err(want));

    let newer = interval(A, 1, 0, 5);
    replica.apply(&newer).unwrap();
    let mut theirs = replica.clone();
    theirs.forget(A);
    theirs.forget(LOCAL);
    let difference = theirs.difference(&replica.digest());
    assert_eq!(difference.behind, [Position::nothing(A)], "its own it never asks for");
}

#[test]
fn a_cut_interval_is_not_a_state() {
    let mut replica = replica_at(1, 4);
    let span = Span { since: Version(4), until: Version(6), complete_at: Version(9) };
    let cut = Interval::new(origin(A, 1), span, interval(A, 1, 4, 6).into_changes()).unwrap();
    let want = ApplyError::Incomplete { origin: origin(A, 1), until: Version(6), complete_at: Version(9) };
    assert_eq!(replica.apply(&cut), Err(want));
    assert_eq!(replica.position(A).version, Version(4));
}

#[test]
fn what_exceeds_a_bound_is_refused_and_nothing_is_lost() {
    let one = replica_at(1, 1).bytes();
    let limits = Limits {
        origins_max: 2,
        entries_per_origin_max: 4,
        tombstones_per_origin_max: 2,
        bytes_per_origin_max: 4 * one + 40,
        bytes_max: 6 * one,
    };
    let big = |bytes| changed(A, 4, "key 1", &"x".repeat(bytes));
    let entries = LimitError::Entries { peer: A, entries: 5, max: 4 };
    let origin_bytes = LimitError::OriginBytes { peer: A, bytes: 4 * one + 45, max: 4 * one + 40 };
    let replica_bytes = LimitError::ReplicaBytes { peer: B, bytes: 7 * one, max: 6 * one };
    let origins = LimitError::Origins { peer: PeerId::from_bytes([3; 32]), max: 2 };
    let cases = [
        (interval(A, 1, 4, 5), Err(entries)),
        (interval(A, 1, 0, 5), Err(entries)), // as a snapshot
        (interval(A, 2, 0, 5), Err(entries)), // after a restart
        (big(50), Err(origin_bytes)),
        (big(45), Ok(())), // replaces a value of 5 bytes
        (changed(A, 4, "key 4", "other"), Ok(())),
        (interval(B, 1, 0, 2), Ok(())),
        (interval(B, 1, 0, 3), Err(replica_bytes)),
        (interval(B, 1, 1, 3), Err(replica_bytes)),
        (interval(PeerId::from_bytes([3; 32]), 1, 0, 1), Err(origins)),
    ];
    for (interval, want) in cases {
        let mut replica = Replica::new(LOCAL, limits);
        replica.apply(&crate::replica::interval(A, 1, 0, 4)).unwrap();
        replica.apply(&crate::replica::interval(B, 1, 0, 1)).unwrap();
        let before = crate::world::state(&replica);
        let got = replica.apply(&interval).map(|_| ());
        assert_eq!(got, want.map_err(ApplyError::Limit), "{:?}", interval.span());
        assert_eq!(crate::world::state(&replica) == before, want.is_err(), "{:?}", interval.span());
    }
}

#[test]
fn tombstones_beyond_the_bound_are_collected_oldest_first() {
    let limits = Limits { tombstones_per_origin_max: 2, ..Limits::default() };
    let mut replica = Replica::new(LOCAL, limits);
    replica.apply(&interval(A, 1, 0, 5)).unwrap();
    let removals = (1..=4).map(|key| removal(5 + key, &format!("key {key}"))).collect();
    replica.apply(&Interval::new(origin(A, 1), whole(5, 9), removals).unwrap()).unwrap();

    let held = replica.origin(A).unwrap();
    assert_eq!((held.tombstones(), held.gc_version()), (2, Version(7)));
    assert_eq!(held.iter().count(), 1);
}

#[test]
fn a_snapshot_leaves_no_tombstones() {
    let mut changes = interval(A, 1, 0, 4).into_changes();
    changes.push(removal(5, "key 2")); // among parts from senders of different age
    let snapshot = Interval::new(origin(A, 1), whole(0, 5), changes).unwrap();
    let mut replica = replica_at(0, 0);
    assert_eq!(replica.apply(&snapshot), Ok(Applied::Replaced));

    let held = replica.origin(A).unwrap();
    assert_eq!((held.tombstones(), held.gc_version()), (0, Version(5)));
    let keys: Vec<_> = held.iter().map(|(key, ..)| key.to_string()).collect();
    assert_eq!(keys, ["key 1", "key 3", "key 4"]);
}

#[test]
fn a_forgotten_peer_leaves_no_trace() {
    let mut replica = replica_at(1, 4);
    assert!(replica.forget(A));
    assert!(!replica.forget(A));
    assert_eq!((replica.bytes(), replica.origins().len()), (0, 0));
}

/// Holds versions 1 to `version` of a run of A, or nothing at 0.
fn replica_at(epoch: u64, version: u64) -> Replica {
    let mut replica = Replica::new(LOCAL, Limits::default());
    if version > 0 {
        replica.apply(&interval(A, epoch, 0, version)).unwrap();
    }
    replica
}

/// Writes of one value to a key of its own for each version.
fn interval(peer: PeerId, epoch: u64, since: u64, until: u64) -> Interval {
    let changes = (since + 1..=until).map(|version| Change {
        version: Version(version),
        key: key(&format!("key {version}")),
        value: Some("value".into()),
    });
    Interval::new(origin(peer, epoch), whole(since, until), changes.collect()).unwrap()
}

/// The write after version `since`.
fn changed(peer: PeerId, since: u64, key_text: &str, value: &str) -> Interval {
    let version = Version(since + 1);
    let value = Some(Bytes::from(value.to_owned()));
    let change = Change { version, key: key(key_text), value };
    Interval::new(origin(peer, 1), whole(since, since + 1), vec![change]).unwrap()
}

fn removal(version: u64, key_text: &str) -> Change {
    Change { version: Version(version), key: key(key_text), value: None }
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

fn origin(peer: PeerId, epoch: u64) -> OriginId {
    OriginId { peer, epoch: Epoch(epoch) }
}

fn whole(since: u64, until: u64) -> Span {
    Span::whole(Version(since), Version(until))
}

fn text(answer: &Answer) -> String {
    let interval = match answer {
        Answer::UpToDate => return "up to date".to_owned(),
        Answer::Behind => return "behind".to_owned(),
        Answer::Interval(interval) => interval,
    };
    let Span { since, until, complete_at } = interval.span();
    let text = format!("({since}, {until}] of {complete_at}:");
    let changes = interval.changes().iter();
    changes.fold(text, |text, change| format!("{text} {}", change.version))
}
