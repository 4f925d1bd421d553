//! Any bytes from a neighbour that has said hello and named itself and another: the mesh takes them or hangs up, says no
//! more than its credit and a frame at once, and holds no more than its limits.
//!
//! An input is a list of steps: half seconds that pass, the length of a frame (two bytes, little-endian), and the frame.
#![no_main]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gossip::head::{Cluster, SIGNATURE_BYTES, Signatures};
use gossip::mesh::{Config, Input, Mesh, Output, Time, WINDOW_BYTES_MAX};
use gossip::message::{Handle, Message};
use gossip::wire::{FRAME_BYTES_MAX, encode};
use gossip::{Epoch, Limits, OriginId, PeerId, Version};
use libfuzzer_sys::fuzz_target;

const LOCAL: OriginId = OriginId { peer: PeerId::from_bytes([0; 32]), epoch: Epoch(1) };
const NEIGHBOUR: OriginId = OriginId { peer: PeerId::from_bytes([1; 32]), epoch: Epoch(1) };
const OTHER: OriginId = OriginId { peer: PeerId::from_bytes([2; 32]), epoch: Epoch(1) };

const START: Time = Duration::from_secs(1000);
const STEP_BYTES: usize = 3;

/// Small, so that they are reached.
const LIMITS: Limits = Limits {
    origins_max: 6,
    entries_per_origin_max: 8,
    tombstones_per_origin_max: 4,
    bytes_per_origin_max: 4096,
    bytes_max: 8192,
};

/// What one input may lead to, besides one output for each byte of it: a few for each peer.
const OUTPUTS_MAX: usize = 64;

/// Inputs that follow from one, at most: what was sent has left, a dial has failed.
const INPUTS_MAX: usize = 10_000;

/// All of the same, as no fuzzer finds a real one.
#[derive(Debug)]
struct Zeros;

impl Signatures for Zeros {
    fn sign(&self, _: &[u8]) -> [u8; SIGNATURE_BYTES] {
        [0; SIGNATURE_BYTES]
    }

    fn verify(&self, _: PeerId, _: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        *signature == [0; SIGNATURE_BYTES]
    }
}

fuzz_target!(|input: &[u8]| {
    let mut now = START;
    let mut mesh = mesh();
    let address = SocketAddr::from(([192, 0, 2, 1], 4030));
    let up = Input::Up { peer: NEIGHBOUR.peer, address, dialed: false };
    let first = Input::Received { from: NEIGHBOUR.peer, frame: first_frame().into() };
    let mut is_up = handle(&mut mesh, now, up) && handle(&mut mesh, now, first);
    assert!(is_up);
    let mut rest = input;
    while is_up && let Some((&[halves, low, high], more)) = rest.split_first_chunk::<STEP_BYTES>() {
        let (frame, more) = more.split_at(more.len().min(u16::from_le_bytes([low, high]).into()));
        rest = more;
        now += Duration::from_millis(500) * u32::from(halves);
        let received = Input::Received { from: NEIGHBOUR.peer, frame: frame.to_vec().into() };
        is_up = handle(&mut mesh, now, Input::Tick) && handle(&mut mesh, now, received);
        assert!(mesh.replica().bytes() <= LIMITS.bytes_max);
        assert!(mesh.replica().origins().len() <= LIMITS.origins_max);
    }
});

fn mesh() -> Mesh {
    let config = Config {
        cluster: Cluster::OPEN,
        agent: "scope/0".to_owned(),
        addresses: Vec::new(),
        limits: LIMITS,
        forget_after: Duration::from_secs(60),
    };
    Mesh::new(config, LOCAL, Arc::new(Zeros), [9; 32], START)
}

fn first_frame() -> Vec<u8> {
    let name = |handle, origin, version| Message::Name { handle: Handle(handle), origin, version, silent_ms: 0 };
    let messages =
        [Message::Hello { origin: NEIGHBOUR, keep: true }, name(0, NEIGHBOUR, Version(3)), name(1, OTHER, Version(3))];
    let mut frame = Vec::new();
    messages.iter().for_each(|message| encode(message, &mut frame));
    frame
}

/// Feeds an input and carries out what follows from it: nobody else is there, and what is sent arrives. Returns whether
/// the link is still there.
fn handle(mesh: &mut Mesh, now: Time, input: Input) -> bool {
    let mut inputs = VecDeque::from([input]);
    let mut is_up = true;
    for _ in 0..INPUTS_MAX {
        let Some(input) = inputs.pop_front() else {
            return is_up;
        };
        let outputs_max = OUTPUTS_MAX + if let Input::Received { frame, .. } = &input { frame.len() } else { 0 };
        mesh.handle(now, input);
        let (mut outputs, mut sent) = (0, 0);
        while let Some(output) = mesh.poll_output() {
            outputs += 1;
            match output {
                Output::Send { to, frame } => {
                    assert!(is_up && to == NEIGHBOUR.peer && frame.len() <= FRAME_BYTES_MAX);
                    sent += frame.len();
                    inputs.push_back(Input::Sent { to, bytes: frame.len() });
                }
                Output::Dial { peer, addresses } => {
                    inputs.push_back(Input::DialFailed { peer, addresses, itself: false });
                }
                Output::Disconnect { peer, .. } => {
                    assert_eq!(peer, NEIGHBOUR.peer);
                    is_up = false;
                }
                Output::Superseded { epoch } => {
                    if let Some(next) = epoch.0.checked_add(1) {
                        mesh.restart(now, Epoch(next));
                    }
                }
                Output::Changed { .. } | Output::Life { .. } | Output::Forgotten { .. } => {}
            }
        }
        assert!(outputs <= outputs_max, "{outputs} outputs");
        assert!(sent <= WINDOW_BYTES_MAX + FRAME_BYTES_MAX, "{sent} bytes at once");
    }
    panic!("one input leads to others without end");
}
