//! Three network namespaces of this process: a client and a server, and a gateway with NAT between them.
//!
//! ```text
//! client 10.40.0.2, fd40::2 -- 10.40.0.1, fd40::1 gateway 10.41.0.1, fd41::1 -- 10.41.0.2, fd41::2 server
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

/// What the gateway does to addresses. Published: TCP 8080 and UDP 5300, and 8090 to the client itself (hairpin).
/// Behind the gateway's own address: what goes to ports 81 and 54.
const RULES: &str = "
table inet nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr 10.40.0.1 tcp dport 8080 dnat ip to 10.41.0.2:80
        ip daddr 10.40.0.1 udp dport 5300 dnat ip to 10.41.0.2:53
        ip daddr 10.40.0.1 tcp dport 8090 dnat ip to 10.40.0.2:90
        ip6 daddr fd40::1 tcp dport 8080 dnat ip6 to [fd41::2]:80
        ip6 daddr fd40::1 udp dport 5300 dnat ip6 to [fd41::2]:53
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.40.0.0/24 ip daddr 10.40.0.0/24 masquerade
        ip saddr 10.40.0.0/24 tcp dport 81 masquerade
        ip saddr 10.40.0.0/24 udp dport 54 masquerade
    }
}";

/// Longest wait for a word from the other end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A thread in a network namespace of its own, which does what it is told.
pub(super) struct Place {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Place {
    fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect("these tests make network namespaces: run them as root");
            for job in todo {
                job();
            }
        });
        let place = Self { jobs };
        place.run(|| ip("link set lo up"));
        place
    }

    /// Runs `job` there and waits for it.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(tell.send(job())))).expect("the thread is there");
        result.recv().expect("the job did not panic")
    }
}

/// The three of them.
pub(super) struct World {
    pub(super) client: Place,
    pub(super) gateway: Place,
    pub(super) server: Place,
}

impl World {
    pub(super) fn new() -> Self {
        let [client, gateway, server] = [Place::new(), Place::new(), Place::new()];
        for (place, net) in [(&client, 40), (&server, 41)] {
            let thread = place.run(|| gettid().as_raw_nonzero());
            gateway.run(move || {
                ip(&format!("link add net{net} type veth peer name up0 netns {thread}"));
                addresses(&format!("net{net}"), net, 1);
            });
            place.run(move || {
                addresses("up0", net, 2);
                ip(&format!("-4 route add default via 10.{net}.0.1"));
                ip(&format!("-6 route add default via fd{net}::1"));
            });
        }
        gateway.run(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{switch}"), "1").expect("forwarding can be turned on");
            }
        });
        // Before there are rules, so that nothing of it is tracked.
        client.run(|| ["10.41.0.2:9", "[fd41::2]:9"].map(wait_reached));
        gateway.run(|| nft(RULES));
        Self { client, gateway, server }
    }

    /// A connection from the client's `port` to `named`, where `place` listens at `real`; a word was said each way.
    pub(super) fn connect(&self, place: &Place, port: u16, named: &str, real: &str) -> Connection {
        let (named, real): (SocketAddr, SocketAddr) = (addr(named), addr(real));
        let listener = place.run(move || listen(real));
        let there = self.client.run(move || dial(client_of(named, port), named));
        let here = listener.accept().expect("the connection arrives").0;
        let mut connection = Connection { there, here };
        connection.exchange();
        connection
    }

    /// A question by UDP from the client's `port` to `named`, where the server answers at `real`.
    pub(super) fn ask(&self, port: u16, named: &str, real: &str) -> Question {
        let (named, real): (SocketAddr, SocketAddr) = (addr(named), addr(real));
        let here = self.server.run(move || UdpSocket::bind(real).expect("the port is free"));
        let there = self.client.run(move || UdpSocket::bind(client_of(named, port)).expect("the port is free"));
        let question = Question { there, here };
        question.exchange(named);
        question
    }
}

/// Both ends of a connection through the gateway.
pub(super) struct Connection {
    pub(super) there: TcpStream,
    pub(super) here: TcpStream,
}

impl Connection {
    fn exchange(&mut self) {
        self.there.write_all(b"ask").expect("the other end is there");
        self.here.read_exact(&mut [0; 3]).expect("asked");
        self.here.write_all(b"answer").expect("the other end is there");
        self.there.read_exact(&mut [0; 6]).expect("answered");
    }

    /// The client first, and each end has seen the other's.
    pub(super) fn close(mut self) {
        self.there.shutdown(std::net::Shutdown::Write).expect("it is open");
        assert_eq!(self.here.read(&mut [0]).expect("the end"), 0);
        drop(self.here);
        assert_eq!(self.there.read(&mut [0]).expect("the end"), 0);
    }
}

/// Two sockets that are not connected.
pub(super) struct Question {
    pub(super) there: UdpSocket,
    pub(super) here: UdpSocket,
}

impl Question {
    pub(super) fn exchange(&self, named: SocketAddr) {
        for socket in [&self.there, &self.here] {
            socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        }
        self.there.send_to(b"ask", named).expect("there is a route");
        let (_, from) = self.here.recv_from(&mut [0; 9]).expect("asked");
        self.here.send_to(b"answer", from).expect("there is a route");
        self.there.recv_from(&mut [0; 9]).expect("answered");
    }
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn client_of(named: SocketAddr, port: u16) -> SocketAddr {
    let ip = if named.is_ipv4() { "10.40.0.2" } else { "fd40::2" };
    SocketAddr::new(ip.parse().expect("an address"), port)
}

fn listen(real: SocketAddr) -> TcpListener {
    TcpListener::bind(real).expect("the port is free")
}

/// Waits until `to`, where nobody listens, refuses. A link that is up has no neighbours for a moment, or for seconds where the
/// kernel is busy with others.
fn wait_reached(to: &str) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(to) {
        if error.kind() == ErrorKind::ConnectionRefused {
            return;
        }
        assert!(Instant::now() < deadline, "{to}: {error}");
    }
    panic!("{to}: somebody listens");
}

/// Connects from a port of our choice.
fn dial(from: SocketAddr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let client = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&client, &from).expect("the port is free");
    connect(&client, &to).expect("the gateway lets it through");
    TcpStream::from(client)
}

fn addresses(device: &str, net: u8, last: u8) {
    ip(&format!("address add 10.{net}.0.{last}/24 dev {device}"));
    ip(&format!("address add fd{net}::{last}/64 dev {device} nodad"));
    ip(&format!("link set {device} up"));
}

fn ip(arguments: &str) {
    run("ip", arguments.split_whitespace(), "");
}

fn nft(rules: &str) {
    run("nft", ["-f", "-"].into_iter(), rules);
}

/// A child is in the namespace of the thread that starts it.
fn run<'a>(program: &str, arguments: impl Iterator<Item = &'a str>, input: &str) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"; // not in everybody's
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads its input");
    assert!(child.wait().expect("it ends").success(), "{command:?}");
}
