//! What is held in memory has a bound, whatever the other side or the consumer does.

use bytes::Bytes;
use gossip::swarm::{Command, DialError, DownReason, Event, FRAME_BYTES_MAX};

use super::harness::{Peer, within};

/// The queue of events, the window of Yamux with what it may grow by, the sender's own frame, and what TCP buffers.
const HELD_BYTES_MAX: usize = 32 * FRAME_BYTES_MAX + (4 << 20) + 2 * FRAME_BYTES_MAX + (8 << 20);

#[tokio::test]
async fn a_neighbour_that_does_not_read_stops_the_sender_and_nothing_else() {
    let (mut a, mut b) = Peer::pair().await;
    let frame = Bytes::from(vec![1; FRAME_BYTES_MAX / 2]);
    a.send(b.id(), frame.clone()).await;
    let (mut given, mut written, mut pings_since) = (1, 0, 0);
    // Ten pings were answered and nothing was written: it is stuck, and the link is alive.
    while pings_since < 10 {
        match within("an event", a.swarm.events.recv()).await.unwrap() {
            Event::Sent { bytes, .. } => {
                (written, pings_since) = (written + bytes, 0);
                a.send(b.id(), frame.clone()).await;
                given += 1;
            }
            Event::Rtt { .. } => pings_since += 1,
            event => panic!("{event:?}"),
        }
        assert!(written < HELD_BYTES_MAX, "{written} bytes were taken of a peer that nobody reads from");
    }
    println!("{:.1} MiB are held when the consumer does not read", written as f64 / f64::from(1 << 20));
    // The driver still takes commands, and dials.
    let mut c = Peer::new().await;
    b.dial(c.address()).await;
    assert_eq!(c.up().await, (b.id(), false));
    // Nothing was lost.
    for _ in 0..given {
        let came =
            b.find("a frame", |event| if let Event::Received { frame, .. } = event { Some(frame) } else { None });
        assert_eq!(came.await, frame);
    }
}

#[tokio::test]
async fn what_nobody_may_send_ends_the_link() {
    let cases = [
        vec![Bytes::from(vec![0; FRAME_BYTES_MAX + 1])],
        vec![Bytes::from(vec![0; FRAME_BYTES_MAX]); 64], // all at once, without waiting for `Sent`
    ];
    for frames in cases {
        let (mut a, b) = Peer::pair().await;
        for frame in frames {
            a.send(b.id(), frame).await;
        }
        let reason = a.find("down", |event| if let Event::Down { reason, .. } = event { Some(reason) } else { None });
        assert_eq!(reason.await, DownReason::Overrun);
    }
}

#[tokio::test]
async fn a_consumer_that_never_reads_does_not_stop_the_driver_and_gets_what_is_true() {
    let mut deaf = Peer::new().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for _ in 0..1_000 {
        deaf.dial(nobody).await;
    }
    // Links that came and went while nobody looked are not told of.
    for _ in 0..20 {
        let mut peer = Peer::new().await;
        peer.dial(deaf.address()).await;
        assert_eq!(peer.up().await, (deaf.id(), true));
        peer.shutdown.cancel();
        within("the end", peer.swarm.task).await.unwrap();
    }
    let mut last = Peer::new().await;
    last.dial(deaf.address()).await;
    assert_eq!(last.up().await, (deaf.id(), true));
    let (mut failed, mut up) = (0, std::collections::BTreeSet::new());
    while !up.contains(&last.id()) {
        match deaf.event().await {
            Event::DialFailed { reason, .. } => {
                assert!(matches!(reason, DialError::Refused | DialError::Denied(_)), "{reason:?}");
                failed += 1;
            }
            Event::Up { peer, .. } => assert!(up.insert(peer), "up twice"),
            Event::Down { peer, .. } => assert!(up.remove(&peer), "down without up"),
            event => panic!("{event:?}"),
        }
    }
    assert!(failed <= 256 + 32, "{failed} failed dials were kept");
    deaf.tell(Command::Disconnect { peer: last.id(), ban: None }).await;
    deaf.find("down", |event| matches!(event, Event::Down { peer, .. } if peer == last.id()).then_some(())).await;
}

#[tokio::test]
async fn a_dial_ends_in_one_event_though_its_link_is_gone_before_anybody_looked() {
    let mut deaf = Peer::new().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // What a full channel does not take waits in the driver.
    for _ in 0..deaf.swarm.events.max_capacity() {
        deaf.dial(nobody).await;
    }
    within("a full channel", async {
        while deaf.swarm.events.capacity() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut waiting = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let mut peer = Peer::new().await;
        deaf.dial(peer.address()).await;
        assert_eq!(peer.up().await, (deaf.id(), false));
        waiting.insert(peer.address());
        peer.shutdown.cancel();
        within("the end", peer.swarm.task).await.unwrap();
    }
    while !waiting.is_empty() {
        match deaf.event().await {
            Event::DialFailed { addresses, .. } if addresses == [nobody] => {}
            Event::DialFailed { addresses, .. } => assert!(waiting.remove(&addresses[0]), "{addresses:?} failed twice"),
            Event::Up { address, dialed: true, .. } => assert!(waiting.remove(&address), "{address} is up again"),
            Event::Down { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}
