//! Peers to test with, and waiting for what they say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use gossip::PeerId;
use gossip::swarm::{self, Command, Config, Event, Swarm};
use libp2p_identity::Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Beyond this a test has failed. Nothing takes nearly as long on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test if it does not come to pass.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A peer on the loopback that pings often.
pub(super) fn config() -> Config {
    Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ping_interval: Duration::from_millis(20),
        ..Config::new(Keypair::generate_ed25519())
    }
}

/// A running peer.
pub(super) struct Peer {
    pub(super) swarm: Swarm,
    pub(super) shutdown: CancellationToken,
}

impl Peer {
    pub(super) async fn new() -> Peer {
        Peer::with(config()).await
    }

    pub(super) async fn with(config: Config) -> Peer {
        let shutdown = CancellationToken::new();
        let swarm = within("start", swarm::start(config, shutdown.clone())).await.unwrap();
        Peer { swarm, shutdown }
    }

    /// Two peers with a link, dialled by the first.
    pub(super) async fn pair() -> (Peer, Peer) {
        let (mut a, mut b) = (Peer::new().await, Peer::new().await);
        a.link(&mut b).await;
        (a, b)
    }

    pub(super) fn id(&self) -> PeerId {
        self.swarm.peer
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.swarm.listens[0]
    }

    pub(super) async fn tell(&self, command: Command) {
        within("the driver to take a command", self.swarm.commands.send(command)).await.unwrap();
    }

    pub(super) async fn dial(&self, address: SocketAddr) {
        self.tell(Command::Dial { peer: None, addresses: vec![address] }).await;
    }

    pub(super) async fn send(&self, to: PeerId, frame: impl Into<Bytes>) {
        self.tell(Command::Send { to, frame: frame.into() }).await;
    }

    /// Dials the other one and waits until both know.
    pub(super) async fn link(&mut self, other: &mut Peer) {
        self.dial(other.address()).await;
        let (we, they) = (self.id(), other.id());
        assert_eq!(self.up().await, (they, true));
        assert_eq!(other.up().await, (we, false));
    }

    /// The next event, pings aside.
    pub(super) async fn event(&mut self) -> Event {
        self.find("an event", |event| (!matches!(event, Event::Rtt { .. })).then_some(event)).await
    }

    /// Drops events up to the first one of which something is made.
    pub(super) async fn find<T>(&mut self, what: &str, mut make: impl FnMut(Event) -> Option<T>) -> T {
        within(what, async {
            loop {
                let event = self.swarm.events.recv().await.expect("the driver ended");
                if let Some(found) = make(event) {
                    break found;
                }
            }
        })
        .await
    }

    /// The next event must be a link: with whom, and whether we dialled.
    pub(super) async fn up(&mut self) -> (PeerId, bool) {
        match self.event().await {
            Event::Up { peer, dialed, .. } => (peer, dialed),
            event => panic!("{event:?}"),
        }
    }

    /// Waits for the answers to so many pings, and fails if anything else happens meanwhile.
    pub(super) async fn stays_quiet(&mut self, pings: usize) {
        for _ in 0..pings {
            self.find("a pong", |event| match event {
                Event::Rtt { .. } => Some(()),
                event => panic!("{event:?}"),
            })
            .await;
        }
    }
}

/// A TCP relay that can stop relaying without closing anything, as a cable that is pulled out.
pub(super) struct Cable {
    pub(super) address: SocketAddr,
    cut: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Cable {
    pub(super) async fn to(far_end: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(relay(listener, far_end, cut.clone()));
        Cable { address, cut, task }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(listener: TcpListener, far_end: SocketAddr, cut: Arc<AtomicBool>) {
    let mut ways = tokio::task::JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = TcpStream::connect(far_end).await.unwrap().into_split();
        ways.spawn(carry(near_in, far_out, cut.clone()));
        ways.spawn(carry(far_in, near_out, cut.clone()));
    }
}

async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, cut: Arc<AtomicBool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if cut.load(Relaxed) {
            std::future::pending::<()>().await; // keeps both sockets open
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
}
