//! Changes survive their compression, and cannot blow up.

use bytes::Bytes;
use gossip::wire::{
    CHANGES_PER_PAYLOAD_MAX, FRAME_BYTES_MAX, INTERVAL_BUDGET_BYTES, PAYLOAD_BYTES_MAX, WireError, decode_payload,
    encode_payload,
};
use gossip::{
    Answer, Change, Epoch, Interval, KEY_BYTES_MAX, Key, KeyTooLong, Limits, OriginId, PeerId, Position, Replica, Span,
    VALUE_BYTES_MAX, Version,
};
use proptest::prelude::*;

use crate::wire::{frame_of, push};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn changes_survive_their_payload(changes in changes()) {
        prop_assert_eq!(decode_payload(&encode_payload(&changes)), Ok(changes));
    }
}

#[test]
fn what_compresses_is_compressed() {
    // length of the value, whether all its bytes are the same, how the payload begins
    let cases = [(0, true, PLAIN), (150, true, PLAIN), (250, true, ZSTD), (250, false, PLAIN), (100_000, true, ZSTD)];
    for (bytes, same, want) in cases {
        let changes = [change(1, b"key", Some(value(bytes, same)))];
        let payload = encode_payload(&changes);
        assert_eq!(payload[0], want, "{bytes} bytes");
        assert!(payload.len() <= bytes + 16, "{bytes} bytes became {}", payload.len());
        assert_eq!(decode_payload(&payload).unwrap(), changes);
    }
}

#[test]
fn payloads_that_lie_are_refused() {
    let nested = [vec![PLAIN, 0x83, 1], vec![0x81; 100_000]].concat();
    let long_key = [vec![PLAIN, 0x83, 1, 0x59, 1, 1], vec![b'k'; 257], vec![0xf6]].concat();
    let long_value = plain_change(&vec![0; VALUE_BYTES_MAX + 1]);
    let many = [vec![PLAIN, 0x9a, 0, 3, 0, 3], [1, 0x40, 0xf6].repeat(65_537)].concat();
    let long = [vec![PLAIN], vec![0; PAYLOAD_BYTES_MAX + 1]].concat();
    let malformed = |at| WireError::Malformed { at };
    let cases: [(&str, &[u8], WireError); 21] = [
        ("nothing", &[], WireError::Compression),
        ("another compression", &[2, 0x80], WireError::Compression),
        ("no changes at all", &[PLAIN], malformed(0)),
        ("no array", &[PLAIN, 0xf6], malformed(0)),
        ("an array without end", &[PLAIN, 0x9f, 1, 0x40, 0xf6, 0xff], malformed(0)),
        ("a field too few", &[PLAIN, 0x82, 1, 0x40], malformed(0)),
        ("cut", &[PLAIN, 0x83, 1, 0x40], malformed(3)),
        ("cut in a value", &[PLAIN, 0x83, 1, 0x40, 0x42, 1], malformed(3)),
        ("something else behind", &[PLAIN, 0x83, 1, 0x40, 0xf6, 0xf6], malformed(4)),
        ("a version twice", &[PLAIN, 0x86, 1, 0x40, 0xf6, 0, 0x40, 0xf6], malformed(4)),
        ("version 0", &[PLAIN, 0x83, 0, 0x40, 0xf6], malformed(1)),
        (
            "a version beyond the last",
            &[PLAIN, 0x86, 1, 0x40, 0xf6, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255, 0x40, 0xf6],
            malformed(4),
        ),
        ("a text for a key", &[PLAIN, 0x83, 1, 0x60, 0xf6], malformed(2)),
        ("a number for a value", &[PLAIN, 0x83, 1, 0x40, 1], malformed(3)),
        ("arrays in arrays", &nested, malformed(2)),
        ("more fields than bytes", &[PLAIN, 0x99, 0xff, 0xff, 1, 0x40], malformed(0)),
        (
            "more changes than there may be",
            &[PLAIN, 0x9b, 0xff, 255, 255, 255, 255, 255, 255, 255],
            WireError::TooManyChanges { changes: 0xffff_ffff_ffff_ffff / 3 },
        ),
        ("a change too many", &many, WireError::TooManyChanges { changes: CHANGES_PER_PAYLOAD_MAX + 1 }),
        ("a key too long", &long_key, WireError::KeyTooLong(KeyTooLong { bytes: KEY_BYTES_MAX + 1 })),
        ("a value too long", &long_value, WireError::ValueTooLong { bytes: VALUE_BYTES_MAX + 1 }),
        ("too long", &long, WireError::PayloadTooLong),
    ];
    for (case, payload, want) in cases {
        assert_eq!(decode_payload(payload), Err(want), "{case}");
    }
}

#[test]
fn what_blows_up_is_refused_before_it_does() {
    const BLOCK: u64 = 128 * 1024;
    const GIB: u64 = 1 << 30;
    let real = zstd::bulk::compress(&plain_change(&[0; 1000])[1..], 1).unwrap();
    let cases = [
        ("a gigabyte", zeros(Some(GIB), GIB / BLOCK), WireError::PayloadTooLong),
        ("a gigabyte in parts", zeros(Some(GIB / 1024), 8).repeat(1024), WireError::PayloadTooLong),
        ("a gigabyte of unsaid length", zeros(None, GIB / BLOCK), WireError::Decompress),
        ("more than it says", zeros(Some(BLOCK), 2), WireError::Decompress),
        ("less than it says", zeros(Some(2 * BLOCK), 1), WireError::Decompress),
        ("everything there is, it says", zeros(Some(u64::MAX - 2), 1), WireError::PayloadTooLong),
        ("nothing of a payload", zeros(Some(BLOCK), 1), WireError::Malformed { at: 0 }),
        ("no bytes", vec![], WireError::Malformed { at: 0 }),
        ("no zstd", vec![7; 100], WireError::Decompress),
        ("cut", real[..real.len() - 1].to_vec(), WireError::Decompress),
        ("something else behind", [real.as_slice(), &[7]].concat(), WireError::Decompress),
    ];
    for (case, compressed, want) in cases {
        let payload = [vec![ZSTD], compressed].concat();
        assert_eq!(decode_payload(&payload), Err(want), "{case}");
    }
}

/// The budget is for what cannot be compressed, whatever it is made of.
#[test]
fn an_answer_within_the_budget_fits_into_a_frame() {
    // number of entries, length of their keys and values
    for (entries, key_bytes, value_bytes) in
        [(20_000, 4, 0), (3_000, 4, 80), (3_000, 256, 1), (3, 4, 100_000), (2, 4, VALUE_BYTES_MAX)]
    {
        let entries: Vec<_> = (0..entries)
            .map(|number: u32| {
                let key = [number.to_be_bytes().as_slice(), &vec![0; key_bytes - 4]].concat();
                change(u64::from(number) + 1, &key, Some(value(value_bytes, false)))
            })
            .collect();
        let origin = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };
        let span = Span::whole(Version::ZERO, Version(entries.len() as u64));
        let mut replica = Replica::new(PeerId::from_bytes([0; 32]), Limits::default());
        replica.apply(&Interval::new(origin, span, entries).unwrap()).unwrap();

        let answer = replica.answer(&Position::nothing(origin.peer), INTERVAL_BUDGET_BYTES);
        let Answer::Interval(interval) = answer else {
            panic!("{answer:?}");
        };
        let payload = encode_payload(interval.changes());
        assert!(frame_of(&[push(payload.clone())]).len() <= FRAME_BYTES_MAX, "{key_bytes}, {value_bytes}");
        assert_eq!(decode_payload(&payload).as_deref(), Ok(interval.changes()));
    }
}

/// The payload as if nothing had compressed.
pub(crate) fn plain_payload(payload: &[u8]) -> Vec<u8> {
    match payload {
        [ZSTD, compressed @ ..] => {
            let plain = zstd::bulk::decompress(compressed, PAYLOAD_BYTES_MAX).unwrap();
            [&[PLAIN], plain.as_slice()].concat()
        }
        _ => payload.to_vec(),
    }
}

/// Any changes.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let after = prop_oneof![8 => Just(1), 1 => 1..1000u64, 1 => 1..=u64::MAX / 64];
    let key = prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..30), 1 => Just(vec![7; KEY_BYTES_MAX])];
    let content = prop::option::weighted(0.8, (0..300usize, any::<bool>()));
    prop::collection::vec((after, key, content), 0..40).prop_map(|changes| {
        let mut version = 0;
        let changes = changes.into_iter().map(|(after, key, content)| {
            version += after;
            change(version, &key, content.map(|(bytes, same)| value(bytes, same)))
        });
        changes.collect()
    })
}

fn change(version: u64, key: &[u8], value: Option<Bytes>) -> Change {
    Change { version: Version(version), key: Key::new(key).unwrap(), value }
}

/// A payload of one change of this value, not compressed.
fn plain_change(value: &[u8]) -> Vec<u8> {
    let len = u32::try_from(value.len()).unwrap();
    [&[PLAIN, 0x83, 1, 0x40, 0x5a], len.to_be_bytes().as_slice(), value].concat()
}

/// A zstd frame (RFC 8878) of so many blocks of 128 KiB, each a zero and how often to repeat it, that
/// says it has so many bytes.
fn zeros(said_bytes: Option<u64>, blocks: u64) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    match said_bytes {
        Some(bytes) => {
            frame.push(0xe0);
            frame.extend(bytes.to_le_bytes());
        }
        None => frame.extend([0, 0x38]), // a window of 128 KiB instead
    }
    for block in 1..=blocks {
        let head = (128 * 1024) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// All zeros, or what does not compress.
fn value(bytes: usize, same: bool) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| if same { 0 } else { byte() }).collect()
}
