//! What a few peers do whose frames arrive at once. What many do on a network is in the simulator.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip::head::{Cluster, Ed25519};
use gossip::mesh::{Config, Input, Life, Mesh, Offence, Output, Time, Why};
use gossip::message::{Handle, Message};
use gossip::{Epoch, Key, Limits, OriginId, PeerId, wire};
use libp2p_identity::Keypair;

const FORGET_AFTER: Duration = Duration::from_secs(600);

struct Peer {
    key: Keypair,
    mesh: Mesh,
}

fn peer_of(key: &Keypair) -> PeerId {
    PeerId::try_from(key.public()).unwrap()
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap()], 4030))
}

fn start(key: Keypair, number: usize, epoch: u64, now: Time) -> Peer {
    let config = Config {
        cluster: Cluster::OPEN,
        agent: "scope/test".to_owned(),
        addresses: vec![address(number)],
        limits: Limits::default(),
        forget_after: FORGET_AFTER,
    };
    let origin = OriginId { peer: peer_of(&key), epoch: Epoch(epoch) };
    let signatures = Arc::new(Ed25519::try_from(&key).unwrap());
    let mesh = Mesh::new(config, origin, signatures, [u8::try_from(number).unwrap(); 32], now);
    Peer { key, mesh }
}

/// Peers that are all connected with each other, and what each wanted done besides sending.
struct World {
    now: Time,
    peers: Vec<Peer>,
    wanted: BTreeMap<usize, Vec<Output>>,
}

impl World {
    fn new(count: usize) -> World {
        let peers = (0..count).map(|number| start(Keypair::generate_ed25519(), number, 1, Time::ZERO)).collect();
        let mut world = World { now: Time::ZERO, peers, wanted: BTreeMap::new() };
        for (a, b) in (0..count).flat_map(|b| (0..b).map(move |a| (a, b))) {
            world.connect(a, b);
        }
        world.deliver();
        world
    }

    fn id(&self, number: usize) -> PeerId {
        peer_of(&self.peers[number].key)
    }

    fn connect(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.id(a), self.id(b));
        let now = self.now;
        self.peers[a].mesh.handle(now, Input::Up { peer: id_b, address: address(b), dialed: true });
        self.peers[b].mesh.handle(now, Input::Up { peer: id_a, address: address(a), dialed: false });
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        let (id_a, id_b) = (self.id(a), self.id(b));
        let now = self.now;
        self.peers[a].mesh.handle(now, Input::Down { peer: id_b });
        self.peers[b].mesh.handle(now, Input::Down { peer: id_a });
    }

    /// Carries frames until nobody has one to send.
    fn deliver(&mut self) {
        let mut due: VecDeque<usize> = (0..self.peers.len()).collect();
        while let Some(number) = due.pop_front() {
            while let Some(output) = self.peers[number].mesh.poll_output() {
                let Output::Send { to, frame } = output else {
                    self.wanted.entry(number).or_default().push(output);
                    continue;
                };
                let from = self.id(number);
                let bytes = frame.len();
                self.peers[number].mesh.handle(self.now, Input::Sent { to, bytes });
                let receiver = (0..self.peers.len()).find(|other| self.id(*other) == to).unwrap();
                self.peers[receiver].mesh.handle(self.now, Input::Received { from, frame });
                due.extend([number, receiver]);
            }
        }
    }

    /// Lets time pass, a moment at a time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(10);
            for peer in &mut self.peers {
                peer.mesh.handle(self.now, Input::Tick);
            }
            self.deliver();
        }
    }

    fn publish(&mut self, number: usize, key: &str, value: &[u8]) {
        let change = (Key::try_from(key).unwrap(), Some(Bytes::copy_from_slice(value)));
        self.peers[number].mesh.publish(self.now, [change]).unwrap();
        self.deliver();
    }

    /// What `at` holds of `of` under a key.
    fn held(&self, at: usize, of: usize, key: &str) -> Option<Vec<u8>> {
        let origin = self.peers[at].mesh.replica().origin(self.id(of))?;
        origin.get(key.as_bytes()).map(|value| value.to_vec())
    }

    fn life(&self, at: usize, of: usize) -> Life {
        self.peers[at].mesh.life(self.id(of))
    }
}

#[test]
fn what_one_writes_all_hold_signed() {
    let mut world = World::new(4);
    world.publish(0, "a", b"1");
    world.publish(0, "b", b"2");
    world.pass(Duration::from_secs(1));
    world.publish(0, "a", b"3");
    world.pass(Duration::from_secs(1));
    for at in 0..4 {
        assert_eq!(world.held(at, 0, "a").as_deref(), Some(&b"3"[..]), "at {at}");
        assert_eq!(world.held(at, 0, "b").as_deref(), Some(&b"2"[..]), "at {at}");
    }
}

#[test]
fn a_large_state_comes_in_parts() {
    let mut world = World::new(2);
    // Bytes that do not compress.
    let value = |at: u32| -> Vec<u8> {
        (0..16_384u32).map(|byte| (byte.wrapping_mul(2_654_435_761).wrapping_add(at * 97) >> 13) as u8).collect()
    };
    world.disconnect(0, 1);
    for at in 0..64 {
        world.publish(0, &format!("key/{at}"), &value(at));
    }
    world.connect(0, 1);
    world.deliver();
    world.pass(Duration::from_secs(1));
    for at in 0..64 {
        assert_eq!(world.held(1, 0, &format!("key/{at}")), Some(value(at)), "key {at}");
    }
}

#[test]
fn who_falls_silent_is_suspect_then_gone_then_forgotten() {
    let mut world = World::new(3);
    world.publish(2, "a", b"1");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.life(0, 2), Life::Live);
    world.disconnect(0, 2);
    world.disconnect(1, 2);
    let silent = world.peers.pop().unwrap();
    // seconds of silence, how it seems, whether it is held
    for (seconds, life, is_held) in [(2, Life::Suspect, true), (33, Life::Gone, true), (603, Life::Gone, false)] {
        let passed = world.now.as_secs();
        world.pass(Duration::from_secs((3 + seconds) - passed));
        let peer = peer_of(&silent.key);
        assert_eq!(world.peers[0].mesh.life(peer), life, "after {seconds} s");
        assert_eq!(world.peers[0].mesh.replica().origin(peer).is_some(), is_held, "after {seconds} s");
    }
    // It is back, and all hold what it says.
    world.peers.push(start(silent.key, 2, 2, world.now));
    world.connect(1, 2);
    world.publish(2, "a", b"2");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.held(0, 2, "a").as_deref(), Some(&b"2"[..]));
    assert_eq!(world.life(0, 2), Life::Live);
}

#[test]
fn a_peer_whose_later_run_is_known_goes_on_above_it() {
    let mut world = World::new(2);
    world.publish(1, "a", b"later run");
    world.pass(Duration::from_secs(1));
    world.disconnect(0, 1);
    // The state directory was put back from a copy: the epoch of this run is below that of the one before.
    let key = world.peers.pop().unwrap().key;
    let mut copy = start(key, 1, 0, world.now);
    copy.mesh.publish(world.now, [(Key::try_from("a").unwrap(), Some(Bytes::from_static(b"copy")))]).unwrap();
    world.peers.push(copy);
    world.connect(0, 1);
    world.deliver();
    let superseded = world.wanted.remove(&1).unwrap_or_default().into_iter().find_map(|output| match output {
        Output::Superseded { epoch } => Some(epoch),
        _ => None,
    });
    assert_eq!(superseded, Some(Epoch(1)));
    assert_eq!(world.held(0, 1, "a").as_deref(), Some(&b"later run"[..]));
    world.peers[1].mesh.restart(world.now, Epoch(2));
    world.deliver();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.held(0, 1, "a").as_deref(), Some(&b"copy"[..]));
}

#[test]
fn who_does_what_no_peer_does_is_hung_up_on() {
    let origin = OriginId { peer: PeerId::from_bytes([9; 32]), epoch: Epoch(1) };
    let hello = |origin| Message::Hello { origin, keep: true };
    // messages of a stranger after each other, the offence
    let cases: [(Vec<Message>, Offence); 4] = [
        (vec![Message::Keep(true)], Offence::OutOfTurn),
        (vec![hello(OriginId { peer: PeerId::from_bytes([8; 32]), ..origin })], Offence::OutOfTurn),
        (vec![hello(origin), hello(origin)], Offence::OutOfTurn),
        (vec![hello(origin), Message::Prune { handle: Handle(77) }], Offence::OutOfTurn),
    ];
    for (messages, want) in cases {
        let mut peer = start(Keypair::generate_ed25519(), 0, 1, Time::ZERO);
        peer.mesh.handle(Time::ZERO, Input::Up { peer: origin.peer, address: address(9), dialed: false });
        let mut frame = Vec::new();
        messages.iter().for_each(|message| wire::encode(message, &mut frame));
        peer.mesh.handle(Time::ZERO, Input::Received { from: origin.peer, frame: frame.into() });
        assert_eq!(hung_up(&mut peer.mesh), Some(Why::Misbehaved(want)), "{messages:?}");
        assert_eq!(peer.mesh.counters().offences.iter().sum::<u64>(), 1);
        // Nor is it let in again at once.
        peer.mesh.handle(Time::ZERO, Input::Up { peer: origin.peer, address: address(9), dialed: false });
        assert!(hung_up(&mut peer.mesh).is_some());
    }
}

#[test]
fn what_cannot_be_read_is_hung_up_on() {
    let stranger = PeerId::from_bytes([9; 32]);
    for frame in [&b"\xff\xff"[..], &[0x9f; 64], &[0; 3]] {
        let mut peer = start(Keypair::generate_ed25519(), 0, 1, Time::ZERO);
        peer.mesh.handle(Time::ZERO, Input::Up { peer: stranger, address: address(9), dialed: false });
        peer.mesh.handle(Time::ZERO, Input::Received { from: stranger, frame: Bytes::copy_from_slice(frame) });
        assert_eq!(hung_up(&mut peer.mesh), Some(Why::Misbehaved(Offence::Malformed)), "{frame:?}");
    }
}

#[test]
fn however_many_addresses_are_found_few_are_dialled_at_once() {
    let mut peer = start(Keypair::generate_ed25519(), 0, 1, Time::ZERO);
    let found: Vec<SocketAddr> = (1..200).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
    peer.mesh.handle(Time::ZERO, Input::Found(found));
    let mut dialled = Vec::new();
    while let Some(output) = peer.mesh.poll_output() {
        if let Output::Dial { addresses, .. } = output {
            dialled.extend(addresses);
        }
    }
    assert_eq!(dialled.len(), 16);
    // One leads to itself: there is no use in dialling that again soon.
    peer.mesh.handle(Time::ZERO, Input::DialFailed { peer: None, addresses: dialled[..1].to_vec(), itself: true });
    peer.mesh.handle(Duration::from_secs(60), Input::Tick);
    while let Some(output) = peer.mesh.poll_output() {
        assert!(!matches!(output, Output::Dial { addresses, .. } if addresses == dialled[..1]));
    }
}

fn hung_up(mesh: &mut Mesh) -> Option<Why> {
    let mut hung_up = None;
    while let Some(output) = mesh.poll_output() {
        if let Output::Disconnect { why, .. } = output {
            hung_up = Some(why);
        }
    }
    hung_up
}
