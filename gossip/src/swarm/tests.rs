//! Peers that do not keep to the protocol: the handshakes are ours, what they do then is not.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::{ConnectionId, Stream};
use libp2p_identity::Keypair;
use tokio_util::sync::CancellationToken;

use super::behaviour::{Behaviour, BehaviourEvent};
use super::listen::multiaddr;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("waited in vain")
}

fn config() -> Config {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Config { listen, ping_interval: Duration::from_millis(20), ..Config::new(Keypair::generate_ed25519()) }
}

async fn honest() -> Swarm {
    start(config(), CancellationToken::new()).await.unwrap()
}

async fn event(swarm: &mut Swarm) -> Event {
    within(async {
        loop {
            match swarm.events.recv().await.unwrap() {
                Event::Rtt { .. } => {}
                event => break event,
            }
        }
    })
    .await
}

/// libp2p without the driver.
struct Rogue {
    swarm: libp2p::Swarm<Behaviour>,
    peer: PeerId,
    connection: ConnectionId,
}

impl Rogue {
    fn new() -> Rogue {
        let config = config();
        let peer = PeerId::try_from(config.keypair.public()).unwrap();
        Rogue { swarm: behaviour::swarm(&config).unwrap(), peer, connection: ConnectionId::new_unchecked(0) }
    }

    async fn connect(&mut self, to: SocketAddr) {
        self.swarm.dial(multiaddr(to)).unwrap();
        self.connection = within(async {
            loop {
                if let SwarmEvent::ConnectionEstablished { connection_id, .. } = self.swarm.select_next_some().await {
                    break connection_id;
                }
            }
        })
        .await;
    }

    /// Opens a substream, with the other side's as soon as that is there, as an honest peer would.
    async fn substream(&mut self, with: PeerId) -> Stream {
        self.swarm.behaviour_mut().sync.open(with, self.connection);
        within(async {
            loop {
                let event = self.swarm.select_next_some().await;
                if let SwarmEvent::Behaviour(BehaviourEvent::Sync(sync::OnConnection { event, .. })) = event
                    && let sync::Event::Opened(stream) = event
                {
                    break stream;
                }
            }
        })
        .await
    }

    /// Goes on until the connection is closed.
    async fn until_closed(&mut self) {
        within(async {
            loop {
                if let SwarmEvent::ConnectionClosed { .. } = self.swarm.select_next_some().await {
                    break;
                }
            }
        })
        .await;
    }
}

/// A link between an honest peer and a rogue one that is the bigger or the smaller.
async fn link(rogue_decides: bool) -> (Swarm, Rogue, Stream) {
    let mut honest = honest().await;
    let mut rogue = loop {
        let rogue = Rogue::new();
        if (rogue.peer < honest.peer) == rogue_decides {
            break rogue;
        }
    };
    rogue.connect(honest.listens[0]).await;
    let stream = rogue.substream(honest.peer).await;
    let rogue_peer = rogue.peer;
    let up = async {
        match event(&mut honest).await {
            Event::Up { peer, dialed: false, .. } => assert_eq!(peer, rogue_peer),
            event => panic!("{event:?}"),
        }
    };
    tokio::select! {
        () = up => {}
        _ = async { loop { rogue.swarm.select_next_some().await; } } => {}
    }
    (honest, rogue, stream)
}

#[tokio::test]
async fn a_length_beyond_the_limit_ends_the_link_and_nothing_else() {
    for bytes in [FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
        for rogue_decides in [true, false] {
            let (mut honest, mut rogue, mut stream) = link(rogue_decides).await;
            let mut words = vec![3, 0, 0, 0, b'a', b'b', b'c'];
            words.extend_from_slice(&bytes.to_le_bytes());
            within(async { tokio::join!(stream.write_all(&words), rogue.until_closed()) }).await.0.unwrap();
            match (event(&mut honest).await, event(&mut honest).await) {
                (Event::Received { frame, .. }, Event::Down { peer, reason }) => {
                    assert_eq!((&frame[..], peer), (&b"abc"[..], rogue.peer));
                    assert_eq!(reason, DownReason::Oversized { bytes });
                }
                events => panic!("{events:?}"),
            }
            let mut other = self::honest().await;
            let dial = Command::Dial { peer: None, addresses: honest.listens.clone() };
            other.commands.send(dial).await.unwrap();
            assert!(matches!(event(&mut other).await, Event::Up { .. }));
            assert!(matches!(event(&mut honest).await, Event::Up { .. }));
        }
    }
}

#[tokio::test]
async fn one_that_opens_more_substreams_is_heard_on_the_first() {
    let (mut honest, mut rogue, mut stream) = link(true).await;
    for _ in 0..100 {
        rogue.substream(honest.peer).await;
    }
    stream.write_all(&[1, 0, 0, 0, b'a']).await.unwrap();
    let heard = async {
        match event(&mut honest).await {
            Event::Received { frame, .. } => assert_eq!(&frame[..], b"a"),
            event => panic!("{event:?}"),
        }
    };
    tokio::select! {
        () = heard => {}
        () = rogue.until_closed() => panic!("cut off"),
    }
}

#[tokio::test]
async fn one_that_never_opens_its_substream_is_no_neighbour() {
    let config = Config { silence_max: Duration::from_millis(300), ..config() };
    let mut honest = start(config, CancellationToken::new()).await.unwrap();
    let mut rogue = Rogue::new();
    rogue.connect(honest.listens[0]).await;
    rogue.until_closed().await;
    assert!(honest.events.try_recv().is_err(), "nothing is said of it");
}
