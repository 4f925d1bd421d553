//! Dials that come to nothing, and strangers that are kept out.

use std::net::SocketAddr;
use std::time::Duration;

use gossip::PeerId;
use gossip::secret::Secret;
use gossip::swarm::{self, Command, Config, DialError, Event, StartError};
use libp2p_identity::Keypair;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::harness::{Cable, Peer, config};

/// The next event must be a failed dial.
async fn failed(peer: &mut Peer) -> (Vec<SocketAddr>, DialError) {
    match peer.event().await {
        Event::DialFailed { addresses, reason, .. } => (addresses, reason),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn without_the_same_secret_there_is_no_link_and_both_sides_hear_why() {
    let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let cases = [(Some(&one), Some(&other)), (Some(&one), None), (None, Some(&other))];
    for (ours, theirs) in cases {
        let with = |secret: Option<&Secret>| Config { secret: secret.cloned(), ..config() };
        let (mut a, mut b) = (Peer::with(with(ours)).await, Peer::with(with(theirs)).await);
        // Once or twice means nothing.
        for _ in 0..3 {
            a.dial(b.address()).await;
            assert_eq!(failed(&mut a).await, (vec![b.address()], DialError::Secret));
        }
        match b.event().await {
            Event::HandshakeFailed { address, reason } => {
                assert!(address.ip().is_loopback() && reason.contains("--secret"), "{address} {reason}");
            }
            event => panic!("{event:?}"),
        }
        // It is told of once; one with the right secret still gets in.
        a.dial(b.address()).await;
        assert_eq!(failed(&mut a).await.1, DialError::Secret);
        Peer::with(with(theirs)).await.link(&mut b).await;
    }
    let with = || Config { secret: Some(one.clone()), ..config() };
    Peer::with(with()).await.link(&mut Peer::with(with()).await).await;
}

#[tokio::test]
async fn a_dial_that_comes_to_nothing_says_why() {
    let mut a = Peer::new().await;
    let (mut b, c) = (Peer::new().await, Peer::new().await);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let greeter = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other_service = greeter.local_addr().unwrap();
    let greeting = tokio::spawn(async move {
        let mut greeted = Vec::new();
        while let Ok((mut stream, _)) = greeter.accept().await {
            let refusal = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nServer: {:90}\r\n\r\n", "some");
            stream.write_all(refusal.as_bytes()).await.unwrap();
            greeted.push(stream);
        }
    });
    let ours = a.address();
    let detour = Cable::to(ours).await;
    let somebody = PeerId::try_from(Keypair::generate_ed25519().public()).unwrap();
    let cases = [
        (None, nobody, DialError::Refused),
        (Some(somebody), nobody, DialError::Refused),
        (None, ours, DialError::Itself),
        (None, detour.address, DialError::Itself),
        (Some(a.id()), ours, DialError::Itself),
        (Some(somebody), b.address(), DialError::WrongPeer { found: b.id() }),
        (None, other_service, DialError::NotScope),
    ];
    for (peer, address, want) in cases {
        a.tell(Command::Dial { peer, addresses: vec![address] }).await;
        assert_eq!(failed(&mut a).await, (vec![address], want));
    }
    greeting.abort();
    a.tell(Command::Dial { peer: Some(somebody), addresses: Vec::new() }).await;
    assert_eq!(failed(&mut a).await.1, DialError::NoAddress);

    a.link(&mut b).await;
    for peer in [None, Some(b.id())] {
        a.tell(Command::Dial { peer, addresses: vec![b.address()] }).await;
        assert_eq!(failed(&mut a).await.1, DialError::AlreadyUp { found: b.id() });
    }
    // One of several addresses is enough.
    a.tell(Command::Dial { peer: Some(c.id()), addresses: vec![nobody, other_service, c.address()] }).await;
    assert_eq!(a.up().await, (c.id(), true));
}

#[tokio::test]
async fn one_neighbour_more_than_allowed_is_denied_either_way() {
    let mut full = Peer::with(Config { links_max: 2, ..config() }).await;
    let mut linked = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::new().await;
        peer.link(&mut full).await;
        linked.push(peer);
    }
    let mut late = Peer::new().await;
    late.dial(full.address()).await;
    assert_eq!(failed(&mut late).await.1, DialError::Dropped);
    full.dial(late.address()).await;
    match failed(&mut full).await.1 {
        DialError::Denied(reason) => assert_eq!(reason.to_string(), "there are 2 neighbours already"),
        reason => panic!("{reason:?}"),
    }
    // A place that becomes free can be taken.
    linked.pop().unwrap().shutdown.cancel();
    full.find("down", |event| matches!(event, Event::Down { .. }).then_some(())).await;
    late.link(&mut full).await;
}

#[tokio::test]
async fn a_banned_peer_is_kept_out_until_the_ban_is_over() {
    let config = Config { silence_max: Duration::from_secs(5), ..config() };
    let (mut a, mut b) = (Peer::with(config).await, Peer::new().await);
    a.link(&mut b).await;
    let forever = Duration::MAX / 1_000_000_000;
    a.tell(Command::Disconnect { peer: b.id(), ban: Some(forever) }).await;
    let down = |event| matches!(event, Event::Down { .. }).then_some(());
    a.find("down", down).await;
    b.find("down", down).await;
    b.dial(a.address()).await;
    assert_eq!(failed(&mut b).await.1, DialError::Dropped);
    a.dial(b.address()).await;
    assert!(matches!(failed(&mut a).await.1, DialError::Denied(_)));
    a.tell(Command::Disconnect { peer: b.id(), ban: Some(Duration::from_millis(1)) }).await;
    loop {
        b.dial(a.address()).await;
        match b.event().await {
            Event::DialFailed { reason: DialError::Dropped, .. } => {}
            Event::Up { peer, .. } => break assert_eq!(peer, a.id()),
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_or_not_ours_is_named() {
    let first = Peer::new().await;
    let of_nobody = "192.0.2.1:4030".parse().unwrap(); // for documentation, so no host has it
    for bad in [first.address(), of_nobody] {
        let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap(), bad], ..config() };
        match swarm::start(config, CancellationToken::new()).await {
            Err(error @ StartError::Listen { .. }) => {
                let text = error.to_string();
                assert!(text.contains("--mesh-addr") && text.contains(&bad.to_string()), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn all_interfaces_of_both_ip_versions_share_a_port() {
    let any = |port| [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|it| it.parse().unwrap()).to_vec();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let both = Peer::with(Config { listen: any(free), ..config() }).await;
    assert!(both.swarm.listens.contains(&any(free)[0]), "{:?}", both.swarm.listens);
    let mut ours = both.swarm.addresses.clone();
    let loopback = SocketAddr::from(([127, 0, 0, 1], free));
    super::harness::within("our addresses", ours.wait_for(|them| them.contains(&loopback))).await.unwrap();
    let mut other = Peer::new().await;
    for address in both.swarm.listens.iter().map(|it| SocketAddr::new(loopback_of(it), free)).take(1) {
        other.dial(address).await;
        assert_eq!(other.up().await, (both.id(), true));
    }
    let none = Peer::with(Config { listen: Vec::new(), ..config() }).await;
    assert_eq!(none.swarm.listens, []);
}

fn loopback_of(address: &SocketAddr) -> std::net::IpAddr {
    if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() }
}
