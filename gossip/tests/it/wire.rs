//! What neighbours say survives its bytes, and takes few of them.

use bytes::Bytes;
use gossip::head::{Beat, Head};
use gossip::message::{From, Handle, Message};
use gossip::wire::{Classes, FRAME_BYTES_MAX, WireError, decode, encode};
use gossip::{Epoch, OriginId, PeerId, Span, StateHash, Version};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn messages_survive_their_frame(messages in prop::collection::vec(message(), 0..20)) {
        let frame = frame_of(&messages);
        let mut classes = Classes::default();
        messages.iter().for_each(|message| classes += Classes::of(message));
        prop_assert_eq!(classes.total(), frame.len());
        prop_assert_eq!(decode_all(frame), (messages, None, 0));
    }
}

#[test]
fn what_is_said_often_is_short() {
    let handle = Handle(23);
    let version = Version(65_535);
    let from = From { epoch: Epoch(20), version, removals_after: version };
    let origin = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(20) };
    let beat = Beat { chain: 7, count: 4096, proof: [1; 8] };
    let cases = [
        (Message::Keep(true), 3),
        (Message::Prune { handle }, 3),
        (Message::Have { handle: Handle(5), version: Version(7) }, 4),
        (Message::Have { handle, version }, 6),
        (Message::Have { handle: Handle(999), version }, 8),
        (Message::Have { handle: Handle(999), version: Version(u64::from(u32::MAX)) }, 10),
        (Message::Want { handle, from }, 10),
        (Message::Graft { handle, from }, 10),
        (Message::Beat { handle, beat }, 16),
        (Message::Beat { handle: Handle(999), beat }, 18),
        (Message::AskBeat { handle, chain: 7, count: 4096 }, 7),
        (Message::Lost { handle, chain: 7, count: 4096 }, 7),
        (Message::Digest([1; 16]), 19),
        (Message::Hello { origin, keep: true }, 38),
        (Message::Name { handle, origin, version, silent_ms: 3000 }, 44),
    ];
    for (message, want) in cases {
        assert_eq!(frame_of(std::slice::from_ref(&message)).len(), want, "{message:?}");
    }
}

#[test]
fn bytes_are_counted_for_what_they_are() {
    let payload = Bytes::from_static(&[0; 300]);
    let handle = Handle(23);
    let none = Classes::default();
    let beat = Beat { chain: 7, count: 9, proof: [1; 8] };
    let cases = [
        (push(payload), Classes { payload: 300, head: 111, ..none }),
        (Message::Beat { handle, beat }, Classes { beat: 14, ..none }),
        (Message::AskBeat { handle, chain: 7, count: 9 }, Classes { beat: 5, ..none }),
        (Message::Prune { handle }, Classes { control: 3, ..none }),
    ];
    for (message, want) in cases {
        assert_eq!(Classes::of(&message), want, "{message:?}");
    }
}

#[test]
fn a_relay_passes_on_the_bytes_it_received() {
    let frame = frame_of(&[Message::Keep(true), push(Bytes::from_static(&[7; 300]))]);
    let Some(Ok(Message::Push { payload, .. })) = decode(frame.clone()).last() else {
        panic!("no push");
    };
    assert!(frame.as_ptr_range().contains(&payload.as_ptr()), "copied");
}

/// Peers of different releases must agree on it.
#[test]
fn messages_keep_their_bytes() {
    let [peer, hash] = [[1; 32], [3; 32]];
    let origin = OriginId { peer: PeerId::from_bytes(peer), epoch: Epoch(300) };
    let handle = Handle(5);
    let from = From { epoch: Epoch(2), version: Version(7), removals_after: Version(9) };
    let span = Span { since: Version(4), until: Version(300), complete_at: Version(302) };
    let head = Head { version: Version(302), state: StateHash::from_bytes(hash), signature: [2; 64] };
    let beat = Beat { chain: 1, count: 2, proof: [8; 8] };
    let payload = Bytes::from_static(&[0, 0x80]);
    let cases: [(Message, &[&[u8]]); 12] = [
        (Message::Hello { origin, keep: true }, &[&[0x84, 0, 0x58, 32], &peer, &[0x19, 1, 44, 0xf5]]),
        (Message::Keep(false), &[&[0x82, 1, 0xf4]]),
        (
            Message::Name { handle, origin, version: Version(7), silent_ms: 24 },
            &[&[0x86, 2, 5, 0x58, 32], &peer, &[0x19, 1, 44, 7, 0x18, 24]],
        ),
        (Message::Have { handle, version: Version(7) }, &[&[0x83, 3, 5, 7]]),
        (Message::Want { handle, from }, &[&[0x85, 4, 5, 2, 7, 9]]),
        (Message::Graft { handle, from }, &[&[0x85, 5, 5, 2, 7, 9]]),
        (Message::Prune { handle }, &[&[0x82, 6, 5]]),
        (
            Message::Push { handle, head, span, payload },
            &[&[0x88, 7, 5, 0x19, 1, 44, 0x19, 1, 40, 2, 0x58, 32], &hash, &[0x58, 64], &[2; 64], &[0x42, 0, 0x80]],
        ),
        (Message::Beat { handle, beat }, &[&[0x85, 8, 5, 1, 2, 0x48], &[8; 8]]),
        (Message::AskBeat { handle, chain: 1, count: 2 }, &[&[0x84, 9, 5, 1, 2]]),
        (Message::Lost { handle, chain: 1, count: 2 }, &[&[0x84, 11, 5, 1, 2]]),
        (Message::Digest([4; 16]), &[&[0x82, 10, 0x50], &[4; 16]]),
    ];
    for (message, want) in cases {
        assert_eq!(*frame_of(std::slice::from_ref(&message)), *want.concat(), "{message:?}");
    }
}

#[test]
fn a_frame_of_the_longest_length_is_taken() {
    for (bytes, want) in [(FRAME_BYTES_MAX, None), (FRAME_BYTES_MAX + 1, Some(FRAME_BYTES_MAX + 1))] {
        let head_bytes = frame_of(&[push(Bytes::from(vec![7; bytes - 200]))]).len() - (bytes - 200);
        let message = push(Bytes::from(vec![7; bytes - head_bytes]));
        let frame = frame_of(std::slice::from_ref(&message));
        assert_eq!(frame.len(), bytes);
        let messages = if want.is_some() { vec![] } else { vec![message] };
        let error = want.map(|bytes| WireError::FrameTooLong { bytes });
        assert_eq!(decode_all(frame), (messages, error, 0));
    }
}

pub(crate) fn frame_of(messages: &[Message]) -> Bytes {
    let mut frame = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut frame));
    frame.into()
}

/// The messages up to the first error, the error, and how many were skipped.
pub(crate) fn decode_all(frame: Bytes) -> (Vec<Message>, Option<WireError>, usize) {
    let mut decoded = decode(frame);
    let (mut messages, mut error) = (Vec::new(), None);
    for message in decoded.by_ref() {
        assert!(error.is_none(), "goes on after an error");
        match message {
            Ok(message) => messages.push(message),
            Err(cause) => error = Some(cause),
        }
    }
    (messages, error, decoded.unknown())
}

/// As it is said in a quiet minute: two changes, nothing left out.
pub(crate) fn push(payload: Bytes) -> Message {
    let span = Span::whole(Version(998), Version(1000));
    let head = Head { version: Version(1000), state: StateHash::from_bytes([3; 32]), signature: [2; 64] };
    Message::Push { handle: Handle(5), head, span, payload }
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (origin(), any::<bool>()).prop_map(|(origin, keep)| Message::Hello { origin, keep }),
        any::<bool>().prop_map(Message::Keep),
        (handle(), origin(), version(), any::<u32>())
            .prop_map(|(handle, origin, version, silent_ms)| { Message::Name { handle, origin, version, silent_ms } }),
        (handle(), version()).prop_map(|(handle, version)| Message::Have { handle, version }),
        (handle(), from()).prop_map(|(handle, from)| Message::Want { handle, from }),
        (handle(), from()).prop_map(|(handle, from)| Message::Graft { handle, from }),
        handle().prop_map(|handle| Message::Prune { handle }),
        any_push(),
        (handle(), any::<(u32, u32, [u8; 8])>()).prop_map(|(handle, (chain, count, proof))| {
            Message::Beat { handle, beat: Beat { chain, count, proof } }
        }),
        (handle(), any::<(u32, u32)>()).prop_map(|(handle, (chain, count))| Message::AskBeat { handle, chain, count }),
        (handle(), any::<(u32, u32)>()).prop_map(|(handle, (chain, count))| Message::Lost { handle, chain, count }),
        any::<[u8; 16]>().prop_map(Message::Digest),
    ]
}

fn any_push() -> impl Strategy<Value = Message> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (handle(), prop::array::uniform3(version()), any::<([u8; 32], [u8; 32], [u8; 32])>(), payload).prop_filter_map(
        "an empty span",
        |(handle, mut versions, (state, r, s), payload)| {
            versions.sort();
            let [since, until, complete_at] = versions;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(&s);
            let head = Head { version: complete_at, state: StateHash::from_bytes(state), signature };
            let span = Span { since, until, complete_at };
            (since < until).then_some(Message::Push { handle, head, span, payload: payload.into() })
        },
    )
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..30u64, 0..70_000u64, any::<u64>(), Just(u64::MAX)]
}

fn version() -> impl Strategy<Value = Version> {
    number().prop_map(Version)
}

fn handle() -> impl Strategy<Value = Handle> {
    prop_oneof![0..30u32, any::<u32>()].prop_map(Handle)
}

fn origin() -> impl Strategy<Value = OriginId> {
    (any::<[u8; 32]>(), number())
        .prop_map(|(peer, epoch)| OriginId { peer: PeerId::from_bytes(peer), epoch: Epoch(epoch) })
}

fn from() -> impl Strategy<Value = From> {
    (number(), version(), version()).prop_map(|(epoch, version, removals_after)| From {
        epoch: Epoch(epoch),
        version,
        removals_after,
    })
}
