//! Links come up, carry frames, stay, and go down.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip::swarm::{Command, DialError, DownReason, Event, FRAME_BYTES_MAX};

use super::harness::{Cable, Peer, config, within};

#[tokio::test]
async fn frames_of_any_size_arrive_whole_and_in_order() {
    let (mut a, mut b) = Peer::pair().await;
    let frames: Vec<Bytes> = [0, 1, 100, 70_000, 3, 16_384, 0, FRAME_BYTES_MAX, 5]
        .into_iter()
        .enumerate()
        .map(|(i, bytes)| Bytes::from(vec![i as u8; bytes]))
        .collect();
    for frame in &frames {
        a.send(b.id(), frame.clone()).await;
    }
    for want in &frames {
        match b.event().await {
            Event::Received { from, frame } => assert_eq!((from, frame.len(), &frame), (a.id(), want.len(), want)),
            event => panic!("{event:?}"),
        }
    }
    let total: usize = frames.iter().map(Bytes::len).sum();
    let mut sent = 0;
    while sent < total {
        sent += a.find("sent", |event| if let Event::Sent { bytes, .. } = event { Some(bytes) } else { None }).await;
    }
    assert_eq!(sent, total, "the credit given back is that of the frames");
}

/// <https://github.com/libp2p/rust-libp2p/issues/5410>: two streams that are both full must not wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_both_ways_at_once_does_not_lock_up() {
    for frame_bytes in [64 * 1024, FRAME_BYTES_MAX] {
        let (mut a, mut b) = Peer::pair().await;
        let (to_a, to_b) = (a.id(), b.id());
        let start = Instant::now();
        let (sent, came) = within("the bulk", async {
            tokio::join!(
                exchange(&mut a, to_b, frame_bytes, BULK_BYTES),
                exchange(&mut b, to_a, frame_bytes, BULK_BYTES)
            )
        })
        .await;
        let rate = BULK_BYTES as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("frames of {} KiB: {rate:.0} MB/s each way", frame_bytes / 1024);
        assert_eq!((sent, came), (BULK_BYTES, BULK_BYTES));
    }
}

const BULK_BYTES: usize = 64 << 20;

/// What the mesh does: keeps some bytes under way, and sends more as they are written. Returns the bytes received.
async fn exchange(peer: &mut Peer, to: gossip::PeerId, frame_bytes: usize, bytes: usize) -> usize {
    let frame = Bytes::from(vec![7; frame_bytes]);
    let (mut given, mut written, mut came) = (0, 0, 0);
    while written < bytes || came < bytes {
        while given < bytes && given - written < FRAME_BYTES_MAX {
            peer.send(to, frame.clone()).await;
            given += frame.len();
        }
        match peer.swarm.events.recv().await.unwrap() {
            Event::Sent { bytes, .. } => written += bytes,
            Event::Received { frame, .. } => came += frame.len(),
            Event::Rtt { .. } => {}
            event => panic!("{event:?}"),
        }
    }
    came
}

#[tokio::test]
async fn both_dialling_at_once_makes_one_link() {
    for round in 0..20 {
        let (mut a, mut b) = (Peer::new().await, Peer::new().await);
        let (to_a, to_b) = (a.address(), b.address());
        // With and without the name, and twice from one side, as with a name that has several addresses.
        let peer = (round % 2 == 0).then_some(b.id());
        a.tell(Command::Dial { peer, addresses: vec![to_b] }).await;
        b.dial(to_a).await;
        if round % 3 == 0 {
            b.dial(to_a).await;
        }
        let is_up = |event| if let Event::Up { peer, .. } = event { Some(peer) } else { None };
        assert_eq!((a.find("up", is_up).await, b.find("up", is_up).await), (b.id(), a.id()), "round {round}");
        a.send(b.id(), "from a").await;
        b.send(a.id(), "from b").await;
        for peer in [&mut a, &mut b] {
            let only_dials = |event| match event {
                Event::Received { frame, .. } => Some(frame),
                Event::DialFailed { .. } | Event::Rtt { .. } | Event::Sent { .. } => None,
                event => panic!("round {round}: {event:?}"),
            };
            assert!(peer.find("a frame", only_dials).await.starts_with(b"from "));
            let mut pings = 0;
            let quiet_after = |event| match event {
                Event::Rtt { .. } => (pings += 1, (pings == 10).then_some(())).1,
                Event::DialFailed { .. } | Event::Sent { .. } => None,
                event => panic!("round {round}: {event:?}"),
            };
            peer.find("ten pings", quiet_after).await;
        }
    }
}

#[tokio::test]
async fn a_quiet_link_stays() {
    let config = || gossip::swarm::Config { silence_max: Duration::from_secs(1), ..config() };
    let (mut a, mut b) = (Peer::with(config()).await, Peer::with(config()).await);
    a.link(&mut b).await;
    // Sixty pings 20 ms apart: longer than a link without them would be borne.
    a.stays_quiet(60).await;
    b.stays_quiet(60).await;
}

#[tokio::test]
async fn a_peer_that_ends_is_down_at_once_and_can_come_back() {
    let (mut a, mut b) = Peer::pair().await;
    b.shutdown.cancel();
    within("the end of the driver", &mut b.swarm.task).await.unwrap();
    assert!(matches!(a.event().await, Event::Down { peer, reason: DownReason::Closed } if peer == b.id()));
    let mut again = Peer::new().await;
    again.link(&mut a).await;
    drop(again.swarm.commands);
    within("the end of a driver nobody commands", again.swarm.task).await.unwrap();
    assert!(matches!(a.event().await, Event::Down { reason: DownReason::Closed, .. }));
}

#[tokio::test]
async fn who_is_asked_to_go_is_down_on_both_sides() {
    let (mut a, mut b) = Peer::pair().await;
    a.tell(Command::Disconnect { peer: b.id(), ban: None }).await;
    assert!(matches!(a.event().await, Event::Down { reason: DownReason::Asked, .. }));
    assert!(matches!(b.event().await, Event::Down { reason: DownReason::Closed, .. }));
    b.link(&mut a).await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_down_at_once_on_both_sides() {
    let (mut a, mut b) = (Peer::new().await, Peer::new().await);
    let cable = Cable::to(b.address()).await;
    a.dial(cable.address).await;
    assert_eq!((a.up().await, b.up().await), ((b.id(), true), (a.id(), false)));
    drop(cable); // closes its sockets, as the system does for a process that is killed
    for peer in [&mut a, &mut b] {
        assert!(matches!(peer.event().await, Event::Down { reason: DownReason::Closed, .. }));
    }
    a.link(&mut b).await;
}

#[tokio::test]
async fn a_cut_cable_is_noticed_on_both_sides() {
    let config = || gossip::swarm::Config { silence_max: Duration::from_millis(500), ..config() };
    let (mut a, mut b) = (Peer::with(config()).await, Peer::with(config()).await);
    let cable = Cable::to(b.address()).await;
    a.dial(cable.address).await;
    assert_eq!((a.up().await, b.up().await), ((b.id(), true), (a.id(), false)));
    cable.cut();
    for peer in [&mut a, &mut b] {
        assert!(matches!(peer.event().await, Event::Down { reason: DownReason::Silent, .. }));
    }
    // By another way, and from either side.
    b.link(&mut a).await;
}

#[tokio::test]
async fn who_comes_back_before_it_was_missed_is_linked_again() {
    let config = || gossip::swarm::Config { silence_max: Duration::from_secs(2), ..config() };
    for dead_side_dials in [true, false] {
        let (mut a, mut b) = (Peer::with(config()).await, Peer::with(config()).await);
        let cable = Cable::to(b.address()).await;
        a.dial(cable.address).await;
        assert_eq!((a.up().await, b.up().await), ((b.id(), true), (a.id(), false)));
        cable.cut();
        let (from, to) = if dead_side_dials { (&a, &b) } else { (&b, &a) };
        from.dial(to.address()).await;
        for peer in [&mut a, &mut b] {
            let down = |event| matches!(event, Event::Down { .. }).then_some(());
            peer.find("down", down).await;
            let up = |event| matches!(event, Event::Up { .. }).then_some(());
            peer.find("up again", up).await;
        }
    }
}

#[tokio::test]
async fn many_that_join_at_once_all_get_in_if_they_try_again() {
    let mut hub = Peer::new().await;
    let mut others = Vec::new();
    for _ in 0..40 {
        let other = Peer::new().await;
        other.dial(hub.address()).await;
        others.push(other);
    }
    for other in &mut others {
        // All come from one address here, of which so many handshakes at a time are taken.
        while let Event::DialFailed { reason, .. } = other.event().await {
            assert_eq!(reason, DialError::Dropped);
            other.dial(hub.address()).await;
        }
    }
    let mut up = std::collections::BTreeSet::new();
    while up.len() < others.len() {
        assert!(up.insert(hub.up().await.0));
    }
}

#[tokio::test]
async fn a_dead_neighbour_does_not_keep_us_from_ending() {
    let (mut a, mut b) = (Peer::new().await, Peer::new().await);
    let cable = Cable::to(b.address()).await;
    a.dial(cable.address).await;
    assert_eq!((a.up().await, b.up().await), ((b.id(), true), (a.id(), false)));
    cable.cut();
    a.shutdown.cancel();
    within("the end", &mut a.swarm.task).await.unwrap();
    // With a consumer that does not read, too.
    b.shutdown.cancel();
    within("the end", &mut b.swarm.task).await.unwrap();
}
