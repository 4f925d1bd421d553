//! Bytes of somebody who does not keep to the protocol, or to a later one.

use bytes::Bytes;
use gossip::Version;
use gossip::message::{Handle, Message};
use gossip::roster::Roster;
use gossip::wire::{WireError, decode_payload, encode_payload};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::wire::{decode_all, frame_of, message, push};
use crate::wire_payload::{changes, plain_payload};

/// What is wrong, the bytes, the messages before it, and the error.
type Refused = (&'static str, &'static [u8], Vec<Message>, Option<WireError>);

#[test]
fn a_frame_is_taken_up_to_the_first_wrong_byte() {
    let keep = || vec![Message::Keep(true)];
    let malformed = |at| Some(WireError::Malformed { at });
    let have = Message::Have { handle: Handle(5), version: Version(7) };
    let cases: [Refused; 25] = [
        ("nothing", &[], vec![], None),
        ("one message", &[0x82, 1, 0xf5], keep(), None),
        ("numbers longer than they need be", &[0x83, 0x18, 3, 0x19, 0, 5, 0x1a, 0, 0, 0, 7], vec![have], None),
        ("a later field", &[0x83, 1, 0xf5, 0x63, b'n', b'e', b'w', 0x82, 1, 0xf5], [keep(), keep()].concat(), None),
        ("no field", &[0x80], vec![], malformed(1)),
        ("a field too few", &[0x81, 1, 0xf5], vec![], malformed(2)),
        ("the next message's field", &[0x82, 3, 5, 0x82, 1, 0xf5], vec![], malformed(3)),
        ("cut", &[0x82, 1, 0xf5, 0x82, 1], keep(), malformed(5)),
        ("something else behind", &[0x82, 1, 0xf5, 0xf5], keep(), malformed(3)),
        ("no array", &[0x01], vec![], malformed(0)),
        ("a map", &[0xa1, 1, 0xf5], vec![], malformed(0)),
        ("a tagged array", &[0xc1, 0x82, 1, 0xf5], vec![], malformed(0)),
        ("an array without end", &[0x9f, 1, 0xf5, 0xff], vec![], malformed(0)),
        ("reserved bits", &[0x9c, 1, 0xf5], vec![], malformed(0)),
        ("a kind that is no number", &[0x82, 0xf5, 0xf5], vec![], malformed(1)),
        ("a negative number", &[0x82, 6, 0x20], vec![], malformed(2)),
        ("a handle of 2^32", &[0x82, 6, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0], vec![], malformed(2)),
        ("a hash too short", &[0x82, 10, 0x44, 1, 2, 3, 4], vec![], malformed(2)),
        ("a hash longer than the frame", &[0x82, 10, 0x5b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], vec![], malformed(2)),
        ("a hash in pieces", &[0x82, 10, 0x5f, 0x50, 0xff], vec![], malformed(2)),
        ("a text for a hash", &[0x82, 10, 0x70], vec![], malformed(2)),
        ("an empty span", &[0x88, 7, 5, 9, 0, 0], vec![], malformed(4)),
        ("a span from before the first version", &[0x88, 7, 5, 9, 10, 0], vec![], malformed(4)),
        (
            "a span beyond the last version",
            &[0x88, 7, 5, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1],
            vec![],
            malformed(13),
        ),
        ("more fields than the frame has bytes", &[0x9b, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0xf5], vec![], malformed(11)),
    ];
    for (case, frame, messages, error) in cases {
        assert_eq!(decode_all(Bytes::copy_from_slice(frame)), (messages, error, 0), "{case}");
    }
}

#[test]
fn later_kinds_of_messages_are_skipped_and_counted() {
    let deep = [vec![0x82, 0x18, 99], vec![0x81; 500_000], vec![0x80]].concat();
    let deep_tags = [vec![0x82, 0x18, 99], vec![0xc1; 500_000], vec![0x80]].concat();
    let deep_open = [vec![0x82, 0x18, 99], vec![0x9f; 250_000], vec![0xff; 250_000]].concat();
    let deep_cut = [vec![0x82, 0x18, 99], vec![0x81; 500_000]].concat();
    let many = [0x81, 0x18, 99].repeat(170_000);
    // the bytes; how many were skipped; where it ends, if not at the end
    let cases: [(&str, &[u8], usize, Option<usize>); 13] = [
        ("alone", &[0x81, 0x18, 99], 1, None),
        ("with fields", &[0x84, 0x18, 99, 0xf6, 0xf9, 0, 0, 0x20], 1, None),
        ("with a text and bytes", &[0x83, 0x18, 99, 0x61, b'a', 0x41, 0], 1, None),
        ("with a map and a tag", &[0x83, 0x18, 99, 0xa2, 1, 0x80, 2, 0xa0, 0xc1, 0xc1, 0], 1, None),
        ("of the highest number", &[0x81, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255], 1, None),
        ("deep", &deep, 1, None),
        ("deep in tags", &deep_tags, 1, None),
        ("many", &many, 170_000, None),
        ("deep and cut", &deep_cut, 0, Some(deep_cut.len())),
        ("without end", &deep_open, 0, Some(3)),
        ("with bytes without end", &[0x82, 0x18, 99, 0x5f, 0xff], 0, Some(3)),
        ("of all items there are", &[0x82, 0x18, 99, 0xbb, 255, 255, 255, 255, 255, 255, 255, 255], 0, Some(3)),
        ("of too many items", &[0x83, 0x18, 99, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255], 0, Some(3)),
    ];
    for (case, frame, skipped, wrong_at) in cases {
        let after = [frame, &[0x82, 1, 0xf5]].concat();
        let (bytes, messages) = match wrong_at {
            Some(_) => (frame.to_vec(), vec![]),
            None => (after, vec![Message::Keep(true)]),
        };
        let error = wrong_at.map(|at| WireError::Malformed { at });
        assert_eq!(decode_all(bytes.into()), (messages, error, skipped), "{case}");
    }
}

/// What somebody does to bytes on their way.
#[derive(Debug, Clone)]
enum Harm {
    Put(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<Index>;
    // The heads of long, nested and endless items, and the ends of the numbers.
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0x00, 0x18, 0x1b, 0x3b, 0x5b, 0x5f, 0x7b, 0x80, 0x9b, 0x9f, 0xbb, 0xdb, 0xf6, 0xff])
    ];
    prop_oneof![
        4 => (at(), byte.clone()).prop_map(|(at, byte)| Harm::Put(at, byte)),
        2 => (at(), byte).prop_map(|(at, byte)| Harm::Insert(at, byte)),
        2 => at().prop_map(Harm::Remove),
        1 => at().prop_map(Harm::Cut),
        1 => (at(), at()).prop_map(|(from, to)| Harm::Repeat(from, to)),
    ]
}

fn harmed(bytes: &[u8], harms: &[Harm]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for harm in harms {
        let len = bytes.len();
        match harm {
            Harm::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            _ if bytes.is_empty() => {}
            Harm::Put(at, byte) => bytes[at.index(len)] = *byte,
            Harm::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Harm::Cut(at) => bytes.truncate(at.index(len)),
            Harm::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_harmed_frame_gives_messages_or_an_error(
        messages in prop::collection::vec(message(), 0..5),
        harms in prop::collection::vec(harm(), 0..5),
    ) {
        let (messages, ..) = decode_all(harmed(&frame_of(&messages), &harms).into());
        let again = decode_all(frame_of(&messages));
        prop_assert_eq!(again, (messages, None, 0), "what was understood can be said again");
    }

    #[test]
    fn a_harmed_payload_gives_changes_or_an_error(
        changes in changes(),
        compressed in any::<bool>(),
        harms in prop::collection::vec(harm(), 0..5),
    ) {
        // Most harm to what is compressed is found by the decompressor.
        let payload = if compressed { encode_payload(&changes).to_vec() } else { plain_payload(&encode_payload(&changes)) };
        if let Ok(changes) = decode_payload(&harmed(&payload, &harms)) {
            prop_assert!(changes.is_sorted_by(|a, b| a.version < b.version));
            prop_assert_eq!(decode_payload(&encode_payload(&changes)), Ok(changes));
        }
    }

    #[test]
    fn a_harmed_roster_is_a_roster_or_an_error(
        agent in "[a-zä]{0,70}",
        addresses in prop::collection::vec(any::<std::net::SocketAddr>(), 0..20),
        harms in prop::collection::vec(harm(), 0..5),
    ) {
        let roster = Roster { agent, addresses, chain: 1, anchor: [2; 8], beat_ms: 3000 };
        if let Ok(roster) = Roster::decode(&harmed(&roster.encode(), &harms)) {
            prop_assert_eq!(Roster::decode(&roster.encode()), Ok(roster));
        }
    }

    #[test]
    fn any_bytes_give_something_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _counted = Roster::decode(&bytes);
        let _counted = decode_payload(&bytes);
        decode_all(bytes.into());
    }
}

#[test]
fn a_frame_cut_anywhere_gives_the_messages_before() {
    let messages = [Message::Keep(true), push(Bytes::from_static(&[7; 30])), Message::Prune { handle: Handle(9) }];
    let ends = [1, 2, 3].map(|count| frame_of(&messages[..count]).len());
    let frame = frame_of(&messages);
    for len in 0..=frame.len() {
        let whole = ends.iter().filter(|&&end| end <= len).count();
        let cut = len > 0 && !ends.contains(&len);
        let (got, error, _) = decode_all(frame.slice(..len));
        assert_eq!((got.as_slice(), error.is_some()), (&messages[..whole], cut), "{len} bytes");
    }
}
