//! The names probe on real sockets: answers seen as they pass in a network namespace, and look-ups at a DNS server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc as threads;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, PTR};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use node::probe::names::{self, Config, Resolver, Wanted};
use node::probe::{self, Update};
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use topology::fact::{Fact, RemoteName, SourceState};

/// Long enough for a busy machine; a failure is a wait for all of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An address nobody was told by who was asked.
const FORGED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn answer_to(query: &Message) -> Message {
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_queries(query.queries.clone());
    for question in &query.queries {
        let data = match question.query_type {
            RecordType::A => RData::A(A::new(192, 0, 2, 80)),
            _ if question.name == name("9.2.0.192.in-addr.arpa.") => RData::PTR(PTR(name("Host.test."))),
            _ => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                continue;
            }
        };
        answer.add_answer(Record::from_rdata(question.name.clone(), 300, data));
    }
    answer
}

/// Takes one query that comes to `socket`, with who asks.
fn take_one(socket: &UdpSocket) -> (Message, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, client) = socket.recv_from(&mut buffer).unwrap();
    (Message::from_vec(&buffer[..length]).unwrap(), client)
}

/// Answers one query that comes to `socket`.
fn serve_one(socket: &UdpSocket) {
    let (query, client) = take_one(socket);
    socket.send_to(&answer_to(&query).to_vec().unwrap(), client).unwrap();
}

/// Answers to nothing that was asked, about [`FORGED`]: of another name, and of another id.
fn forgeries(query: &Message) -> [Message; 2] {
    let about = |name: &Name, id| {
        let mut answer = Message::response(id, OpCode::Query);
        answer.add_query(Query::query(name.clone(), RecordType::A));
        answer.add_answer(Record::from_rdata(name.clone(), 300, RData::A(A(FORGED))));
        answer
    };
    let id = query.metadata.id;
    [about(&name("bank.test."), id), about(&query.queries[0].name, id.wrapping_add(1))]
}

/// `ip link set lo up`, rtnetlink(7): a new namespace has its loopback down.
fn loopback_up() {
    const RTM_NEWLINK: u32 = 16;
    const IFF_UP: u32 = 1;
    const REQUEST_AND_ACK: u32 = 5 << 16;
    let words = [32, RTM_NEWLINK | REQUEST_AND_ACK, 1, 0, 0, 1, IFF_UP, IFF_UP];
    let message: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let netlink = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
    netlink.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0).unwrap();
    let (answer, _) = netlink.recv_from_full().unwrap();
    assert_eq!(answer[16..20], [0; 4], "the kernel's answer to lo up");
}

/// A network namespace with a DNS server in it, and a program that asks it for a name each time it is told to. Before it is
/// answered there come forgeries.
struct Host {
    /// A thread in it, by which others get in.
    door: u32,
    ask: threads::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Host {
    fn start() -> Self {
        let (ready, is_ready) = threads::channel();
        let (ask, asked) = threads::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect("this test makes a network namespace: run it as root");
            loopback_up();
            let server = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 53), 53)).unwrap();
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            ready.send(gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            for () in asked {
                let mut query = Message::query();
                query.add_query(Query::query(name("www.test."), RecordType::A));
                client.send_to(&query.to_vec().unwrap(), server.local_addr().unwrap()).unwrap();
                let (query, client) = take_one(&server);
                for answer in forgeries(&query).into_iter().chain([answer_to(&query)]) {
                    server.send_to(&answer.to_vec().unwrap(), client).unwrap();
                }
            }
        });
        Self { door: is_ready.recv().unwrap(), ask, thread }
    }
}

/// A running probe.
struct Probe {
    updates: mpsc::Receiver<Update>,
    wanted: watch::Sender<Wanted>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Probe {
    fn start(door: u32, resolver: SocketAddr) -> Self {
        let (sender, updates) = mpsc::channel(64);
        let (wanted, receiver) = watch::channel(Wanted::default());
        let stop = CancellationToken::new();
        let config = Config { proc_root: PathBuf::from("/proc"), door, resolver: Resolver::At(resolver) };
        let ended = names::spawn(config, sender, receiver, stop.clone());
        Self { updates, wanted, stop, ended }
    }

    fn want<const N: usize>(&self, addresses: [IpAddr; N]) {
        self.wanted.send(Wanted::new(BTreeSet::from(addresses))).unwrap();
    }

    async fn next(&mut self) -> Update {
        self.updates.recv().await.expect("it runs")
    }

    /// The first names told of any addresses.
    async fn named(&mut self) -> Vec<RemoteName> {
        loop {
            if let Update::Facts(probe::Name::Names, facts) = self.next().await
                && !facts.is_empty()
            {
                let name = |fact| if let Fact::RemoteName(name) = fact { name } else { panic!("{fact:?}") };
                return facts.into_values().map(name).collect();
            }
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.ended).await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn a_name_is_seen_as_the_host_gets_its_answer_and_none_that_was_not_asked_for() {
    let host = Host::start();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mut probe = Probe::start(host.door, nobody);
    let Update::Status(probe::Name::Names, status) = timeout(PATIENCE, probe.next()).await.unwrap() else {
        panic!("a status");
    };
    assert_eq!((status.state, &*status.mode), (SourceState::Ok, "answers and reverse look-ups"));
    // The answer comes first: whether the probe listens already shows in what comes of it.
    let address: IpAddr = [192, 0, 2, 80].into();
    probe.want([address, FORGED.into()]);
    let seen = async {
        loop {
            host.ask.send(()).unwrap();
            if let Ok(named) = timeout(Duration::from_millis(300), probe.named()).await {
                return named;
            }
        }
    };
    let want = RemoteName { address, names: vec!["www.test".to_owned()], reverse: None };
    assert_eq!(timeout(PATIENCE, seen).await.unwrap(), [want]);
    probe.stop().await;
    drop(host.ask);
    host.thread.join().unwrap();
}

#[tokio::test]
async fn an_address_nobody_asked_for_is_looked_up() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut probe = Probe::start(std::process::id(), server.local_addr().unwrap());
    let serving = std::thread::spawn(move || serve_one(&server));
    let address: IpAddr = [192, 0, 2, 9].into();
    probe.want([address]);
    let want = RemoteName { address, names: vec![], reverse: Some("host.test".to_owned()) };
    assert_eq!(timeout(PATIENCE, probe.named()).await.unwrap(), [want]);
    serving.join().unwrap();
    probe.stop().await;
}
