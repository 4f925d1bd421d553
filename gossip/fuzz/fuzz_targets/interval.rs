//! Any intervals to a replica, signed and forged: it takes what leads to the signed state, nothing
//! else, and keeps count of what it holds.
//!
//! An input is a list of steps, each of five bytes and a payload: epoch, since, until and where the
//! interval is complete, each by how far after the one before; what to do besides; the payload's
//! length and the payload itself, not compressed.
#![no_main]

use gossip::wire::decode_payload;
use gossip::{
    Answer, Applied, ApplyError, Epoch, Interval, Limits, OriginId, PeerId, Position, Replica, Span, StateHash, Version,
};
use libfuzzer_sys::fuzz_target;

const LOCAL: PeerId = PeerId::from_bytes([0; 32]);
const PEER: PeerId = PeerId::from_bytes([1; 32]);
const STEP_BYTES: usize = 6;

/// Small, so that they are reached.
const LIMITS: Limits = Limits {
    origins_max: 1,
    entries_per_origin_max: 8,
    tombstones_per_origin_max: 4,
    bytes_per_origin_max: 4096,
    bytes_max: 4096,
};

fuzz_target!(|input: &[u8]| {
    let mut replica = Replica::new(LOCAL, LIMITS);
    let mut rest = input;
    while let Some((&[epoch, since, changes, left_out, besides, len], more)) = rest.split_first_chunk::<STEP_BYTES>() {
        let (payload, more) = more.split_at(more.len().min(len.into()));
        rest = more;
        let span = span(since, changes, left_out);
        let origin = OriginId { peer: PEER, epoch: Epoch(epoch.into()) };
        let payload = [&[0], payload].concat();
        let Ok(interval) = decode_payload(&payload)
            .map_err(drop)
            .and_then(|changes| Interval::new(origin, span, changes).map_err(drop))
        else {
            continue;
        };
        check_forged(&mut replica, &interval);
        check_signed(&mut replica, &interval);
        replica.collect(PEER, Version(besides.into()));
        check_sums(&replica);
        check_answer(&replica);
    }
});

fn span(since: u8, changes: u8, left_out: u8) -> Span {
    let since = Version(since.into());
    let until = Version(since.0 + u64::from(changes));
    Span { since, until, complete_at: Version(until.0 + u64::from(left_out)) }
}

/// Another state than the one it leads to.
fn check_forged(replica: &mut Replica, interval: &Interval) {
    let before = state(replica);
    let got = replica.apply_signed(interval, &StateHash::from_bytes([0; 32]));
    assert!(matches!(got, Ok(Applied::Known) | Err(_)));
    assert_eq!(state(replica), before);
}

/// The state that it leads to when nobody asks for a signature.
fn check_signed(replica: &mut Replica, interval: &Interval) {
    let before = state(replica);
    let mut trusting = replica.clone();
    let want = trusting.apply(interval);
    let signed = trusting.origin(PEER).map_or(StateHash::from_bytes([0; 32]), |origin| origin.state_hash());
    assert_eq!(replica.apply_signed(interval, &signed), want);
    assert_eq!(state(replica), state(&trusting));
    match want {
        Ok(Applied::Changed(_) | Applied::Replaced) => {
            let want = (interval.origin(), interval.span().until, signed);
            assert_eq!(state(replica), Some(want));
        }
        Ok(Applied::Known) | Err(_) => assert_eq!(state(replica), before),
    }
    assert!(!matches!(
        want,
        Err(ApplyError::StateHash { .. } | ApplyError::LocalPeer(_) | ApplyError::WrongOrigin { .. })
    ));
}

fn check_sums(replica: &Replica) {
    let Some(origin) = replica.origin(PEER) else {
        return assert_eq!(replica.bytes(), 0);
    };
    assert_eq!(replica.bytes(), origin.footprint().bytes);
    assert_eq!(origin.footprint().entries, origin.iter().count());
    assert!(origin.footprint().entries <= LIMITS.entries_per_origin_max);
    assert!(origin.tombstones() <= LIMITS.tombstones_per_origin_max);
    assert!(origin.gc_version() <= origin.version());
    assert!(replica.bytes() <= LIMITS.bytes_max);
}

/// Who asks comes to hold the same.
fn check_answer(replica: &Replica) {
    let mut other = Replica::new(LOCAL, LIMITS);
    if let Answer::Interval(interval) = replica.answer(&Position::nothing(PEER), usize::MAX) {
        let signed = replica.origin(PEER).map(|origin| origin.state_hash());
        assert_eq!(other.apply_signed(&interval, &signed.unwrap()), Ok(Applied::Replaced));
    }
    assert_eq!(state(&other), state(replica));
}

fn state(replica: &Replica) -> Option<(OriginId, Version, StateHash)> {
    replica.origin(PEER).map(|origin| (origin.id(), origin.version(), origin.state_hash()))
}
