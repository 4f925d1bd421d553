//! What a link of the mesh costs, measured over the loopback: memory of an idle one, and bytes per second of a busy one,
//! both ways at once. `cargo run --release -p gossip --features net --example links`

use std::time::Instant;

use bytes::Bytes;
use gossip::PeerId;
use gossip::swarm::{self, Command, Config, Event, FRAME_BYTES_MAX, Swarm};
use libp2p_identity::Keypair;
use tokio_util::sync::CancellationToken;

const LINKS: usize = 64;
const BULK_BYTES: usize = 256 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut hub = peer().await?;
    let mut others = Vec::new();
    for _ in 0..LINKS {
        others.push(peer().await?);
    }
    let before = resident_kib()?;
    for other in &mut others {
        other.commands.send(Command::Dial { peer: None, addresses: hub.listens.clone() }).await?;
        until_up(other).await;
        until_up(&mut hub).await;
    }
    let ends = 2 * LINKS;
    println!("idle: {} KiB for each end of a link", (resident_kib()? - before) / ends);

    let (hub_peer, mut other) = (hub.peer, others.swap_remove(0));
    let other_peer = other.peer;
    for frame_bytes in [1024, 64 * 1024, FRAME_BYTES_MAX] {
        let start = Instant::now();
        let there = tokio::spawn(async move {
            exchange(&mut other, hub_peer, frame_bytes).await;
            other
        });
        exchange(&mut hub, other_peer, frame_bytes).await;
        other = there.await?;
        let rate = BULK_BYTES as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("frames of {frame_bytes} bytes: {rate:.0} MB/s each way");
    }
    Ok(())
}

async fn peer() -> Result<Swarm, swarm::StartError> {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    swarm::start(Config { listen, ..Config::new(Keypair::generate_ed25519()) }, CancellationToken::new()).await
}

async fn until_up(peer: &mut Swarm) {
    while !matches!(peer.events.recv().await, Some(Event::Up { .. }) | None) {}
}

/// Sends and receives that much, with two frames under way.
async fn exchange(peer: &mut Swarm, to: PeerId, frame_bytes: usize) {
    let frame = Bytes::from(vec![7; frame_bytes]);
    let (mut given, mut written, mut came) = (0, 0, 0);
    while written < BULK_BYTES || came < BULK_BYTES {
        while given < BULK_BYTES && given - written < FRAME_BYTES_MAX.min(64 * frame_bytes) {
            let _ = peer.commands.send(Command::Send { to, frame: frame.clone() }).await;
            given += frame_bytes;
        }
        match peer.events.recv().await {
            Some(Event::Sent { bytes, .. }) => written += bytes,
            Some(Event::Received { frame, .. }) => came += frame.len(),
            Some(_) => {}
            None => return,
        }
    }
}

fn resident_kib() -> Result<usize, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
