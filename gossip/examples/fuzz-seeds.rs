//! Writes what peers say to each other to the directory it is given, for the fuzzer to start from.

use std::path::PathBuf;
use std::{env, fs, io};

use bytes::Bytes;
use gossip::head::{Beat, BeatChain, Head, SIGNATURE_BYTES};
use gossip::message::{From, Handle, Message};
use gossip::roster::{ROSTER_KEY, Roster};
use gossip::wire::{encode, encode_payload};
use gossip::{Change, Epoch, Interval, Key, Limits, OriginId, PeerId, Replica, Span, StateHash, Version};

fn main() -> io::Result<()> {
    let corpus = env::args_os().nth(1).map(PathBuf::from).ok_or(io::Error::other("usage: fuzz-seeds DIRECTORY"))?;
    for (target, seeds) in [
        ("frame", frames()),
        ("payload", payloads()),
        ("roster", rosters()),
        ("interval", intervals()),
        ("mesh", meshes()),
        ("fact", facts()),
    ] {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

/// One of each message alone, and all of them.
fn frames() -> Vec<Vec<u8>> {
    let origin = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(2) };
    let (handle, version) = (Handle(5), Version(300));
    let from = From { epoch: Epoch(2), version, removals_after: Version(301) };
    let span = Span { since: Version(298), until: version, complete_at: Version(301) };
    let head = Head { version: span.complete_at, state: StateHash::from_bytes([3; 32]), signature: [4; 64] };
    let payload = encode_payload(&changes(2, 10));
    let messages = [
        Message::Hello { origin, keep: true },
        Message::Keep(false),
        Message::Name { handle, origin, version, silent_ms: 3000 },
        Message::Have { handle, version },
        Message::Want { handle, from },
        Message::Graft { handle, from },
        Message::Prune { handle },
        Message::Push { handle, head, span, payload },
        Message::Beat { handle, beat: Beat { chain: 1, count: 300, proof: [5; 8] } },
        Message::AskBeat { handle, chain: 1, count: 300 },
        Message::Lost { handle, chain: 1, count: 300 },
        Message::Digest([6; 16]),
    ];
    let mut frames: Vec<_> = messages.iter().map(|message| frame(std::slice::from_ref(message))).collect();
    frames.push(frame(&messages));
    frames.push(vec![0x83, 0x18, 99, 0xa1, 1, 0x80, 0xc1, 0xf9, 0, 0]); // of a later kind
    frames
}

fn frame(messages: &[Message]) -> Vec<u8> {
    let mut frame = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut frame));
    frame
}

/// Not compressed and compressed.
fn payloads() -> Vec<Vec<u8>> {
    [changes(0, 0), changes(1, 0), changes(3, 20), changes(20, 30), changes(2, 3000)]
        .iter()
        .map(|changes| encode_payload(changes).to_vec())
        .collect()
}

fn rosters() -> Vec<Vec<u8>> {
    let addresses = ["192.0.2.1:4030", "[2001:db8::1]:4030"].map(|address| address.parse().expect("an address"));
    let long = Roster {
        agent: "scope/0.1.0".to_owned(),
        addresses: addresses.to_vec(),
        chain: 1,
        anchor: [7; 8],
        beat_ms: 3000,
    };
    let short = Roster { agent: String::new(), addresses: Vec::new(), ..long.clone() };
    [long, short].iter().map(|roster| roster.encode().to_vec()).collect()
}

/// A snapshot and an interval after it, as the target of that name reads them.
fn intervals() -> Vec<Vec<u8>> {
    let step = |epoch, since, until, collect, changes: &[Change]| {
        let payload = &encode_payload(changes)[1..];
        let len = u8::try_from(payload.len()).expect("a short payload");
        [&[epoch, since, until - since, 0, collect, len], payload].concat()
    };
    let all = changes(6, 4);
    let (first, second) = all.split_at(3);
    let snapshot = step(1, 0, 3, 0, first);
    let next = step(1, 3, 6, 5, second);
    let restart = step(2, 0, 3, 0, first);
    vec![snapshot.clone(), [snapshot.clone(), next.clone()].concat(), [snapshot, next, restart].concat()]
}

/// What a neighbour says, as the target of that name reads it: an origin's state, beats, questions and their like, one
/// frame each, and then silence until all are forgotten.
fn meshes() -> Vec<Vec<u8>> {
    let origin = OriginId { peer: PeerId::from_bytes([2; 32]), epoch: Epoch(1) };
    let (handle, version) = (Handle(1), Version(3));
    let chain = BeatChain::new(&[7; 32], origin, 1);
    let roster = Roster {
        agent: String::new(),
        addresses: vec!["192.0.2.1:4030".parse().expect("an address")],
        chain: chain.number(),
        anchor: chain.anchor(),
        beat_ms: 3000,
    };
    let mut changes = changes(3, 4);
    changes[0].key = Key::new(ROSTER_KEY).expect("a short key");
    changes[0].value = Some(roster.encode());
    let span = Span { since: Version::ZERO, until: version, complete_at: version };
    let mine = Message::Graft { handle: Handle(0), from: nothing() };
    let messages = [
        push(handle, origin, span, &changes),
        Message::Beat { handle, beat: chain.beat(1).expect("its first") },
        Message::AskBeat { handle, chain: 1, count: 1 },
        Message::Lost { handle, chain: 1, count: 1 },
        Message::Beat { handle, beat: chain.beat(9).expect("a later one") },
        Message::Graft { handle, from: nothing() },
        Message::Want { handle, from: From { epoch: Epoch(1), version: Version(1), removals_after: Version(2) } },
        Message::Prune { handle },
        Message::Name { handle, origin: OriginId { epoch: Epoch(2), ..origin }, version, silent_ms: 100 },
        Message::Have { handle, version: Version(9) },
        Message::Name { handle: Handle(2), origin: OriginId { peer: ME, ..origin }, version, silent_ms: 0 },
        Message::Keep(false),
        Message::Digest([6; 16]),
        mine,
    ];
    let step = |halves: u8, frame: &[u8]| {
        let len = u16::try_from(frame.len()).expect("a short frame");
        [&[halves], &len.to_le_bytes()[..], frame].concat()
    };
    let frames: Vec<_> = messages.iter().map(|message| frame(std::slice::from_ref(message))).collect();
    let slow: Vec<u8> = frames.iter().flat_map(|frame| step(1, frame)).collect();
    let silence: Vec<u8> = [4, 20, 60, 200].iter().flat_map(|halves| step(*halves, &[])).collect();
    vec![step(0, &frames.concat()), slow.clone(), [slow, silence].concat()]
}

/// The peer that the target of [`meshes`] is.
const ME: PeerId = PeerId::from_bytes([0; 32]);

fn nothing() -> From {
    From { epoch: Epoch(0), version: Version::ZERO, removals_after: Version::ZERO }
}

/// With the state that it leads to, and the signature that the target takes.
fn push(handle: Handle, origin: OriginId, span: Span, changes: &[Change]) -> Message {
    let mut replica = Replica::new(ME, Limits::default());
    let interval = Interval::new(origin, span, changes.to_vec()).expect("in their order");
    replica.apply(&interval).expect("a snapshot");
    let state = replica.origin(origin.peer).expect("just taken").state_hash();
    let head = Head { version: span.complete_at, state, signature: [0; SIGNATURE_BYTES] };
    Message::Push { handle, head, span, payload: encode_payload(changes) }
}

/// A key and a value, as the target of that name reads them, and its own facts by their numbers, one of them edited.
fn facts() -> Vec<Vec<u8>> {
    let host = b"host\n\xa1\x64host\xa1\x64name\x61a".to_vec();
    let own = (0..10).map(|number| vec![0, number]);
    own.chain([host, vec![0, 1, 5, 0, b'x']]).collect()
}

/// Every third one is a removal.
fn changes(count: u8, value_bytes: usize) -> Vec<Change> {
    let change = |number: u8| Change {
        version: Version(u64::from(number) + 1),
        key: Key::new(&[b'k', number % 4]).expect("a short key"),
        value: (number % 3 < 2).then(|| Bytes::from(vec![b'v'; value_bytes])),
    };
    (0..count).map(change).collect()
}
