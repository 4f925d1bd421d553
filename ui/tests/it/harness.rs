//! A server with a small cluster, and a client.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use topology::cluster::Writer;
use topology::fact::{
    Container, ContainerState, Direction, Fact, Flow, FlowKey, Host, Listener, ListenerKey, Owner, Process, Protocol,
    Source, SourceState, Status,
};
use topology::gauges::{Gauges, HostGauges};
use topology::graph::Change;
use topology::{Cluster, ContainerId, Netns, PeerId, ProcessId, Timestamp};
use ui::{About, App, Peers, Registry, serve};

/// More than the kernel holds for a connection: 4 MiB of what is written (`tcp_wmem`), little of what nobody reads.
pub(crate) const LARGE_BYTES: usize = 16 << 20;

/// A served cluster that a test changes.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
    writer: Writer,
    cluster: watch::Sender<Cluster>,
    peers: watch::Sender<Arc<Peers>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    /// A server of a cluster of one host, `a`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut writer = Writer::default();
        writer.apply(&peer(), facts().into_iter().map(put));
        let (cluster, reader) = watch::channel(writer.cluster());
        let about = About { id: peer().to_string(), hostname: "a".into(), version: "0.1.0" };
        let stop = CancellationToken::new();
        let (peers, of_mesh) = watch::channel(Arc::default());
        let app = App::new(about, reader, of_mesh, Registry::default());
        let task = tokio::spawn(serve(listener, app, stop.clone()));
        Self { address, stop, task, writer, cluster, peers }
    }

    /// What the mesh is from now on.
    pub(crate) fn mesh(&self, peers: Peers) {
        self.peers.send_replace(Arc::new(peers));
    }

    /// Changes the cluster.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut Writer)) {
        change(&mut self.writer);
        self.cluster.send_replace(self.writer.cluster());
    }

    pub(crate) fn put(&mut self, fact: Fact) {
        self.write(|writer| writer.apply(&peer(), [put(fact)]));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a well-formed request");
        let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.expect("a body");
        drop(sender);
        connection.await.expect("no panic").expect("a connection that ends well");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Asks for more than the kernel holds for a connection, and reads only that the answer has begun.
    pub(crate) async fn ask_without_reading(&mut self) -> TcpStream {
        self.put(extra(&"x".repeat(LARGE_BYTES)));
        let mut stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.write_all(b"GET /api/topology/containers HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    }

    /// Connections open now, the one that asks included.
    pub(crate) async fn connections(&self) -> u64 {
        let metrics = self.get("/metrics").await;
        let text = std::str::from_utf8(&metrics.body).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix("scope_http_connections "));
        value.expect("a gauge").parse().expect("a number")
    }

    /// Opens a WebSocket.
    pub(crate) async fn open(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        connect_async(request).await.map(|(socket, _)| Socket(socket))
    }
}

/// An open WebSocket.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// The next diff; `None` when the socket is closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("a message is JSON")),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

fn put(fact: Fact) -> Change {
    Change::put(fact)
}

pub(crate) fn peer() -> PeerId {
    PeerId::new("peer-a").expect("an id")
}

pub(crate) fn id(digit: char) -> ContainerId {
    ContainerId::new(&digit.to_string().repeat(64)).expect("an id")
}

fn container(digit: char, name: &str, image: &str, last: u8) -> Container {
    let address = [10, 0, 0, last].into();
    Container {
        name: name.into(),
        image: image.into(),
        hostname: format!("{name}-host"),
        init_pid: Some(last.into()),
        networks: [("app".to_owned(), vec![address])].into(),
        ..Container::new(id(digit))
    }
}

/// The first process of a container.
fn process(digit: char, name: &str, pid: u32) -> Process {
    let id = ProcessId { pid, start: 1 };
    Process { name: name.into(), container: Some(self::id(digit)), netns: Some(Netns(pid.into())), ..Process::new(id) }
}

/// `client` talks to `web`; `old` has ended, `pause` is the machine's, and `odd/name` runs outside of them.
fn facts() -> Vec<Fact> {
    let stopped = Container { state: ContainerState::Exited(0), init_pid: None, ..container('c', "old", "nginx:1", 9) };
    let loose = Process { name: "odd/name;<x>".into(), ..Process::new(ProcessId { pid: 30, start: 1 }) };
    let source = Source { state: SourceState::Degraded, mode: "poll".into(), reason: "no events".into() };
    let flow = FlowKey {
        owner: Owner::Process(ProcessId { pid: 2, start: 1 }),
        direction: Direction::Outgoing,
        protocol: Protocol::Tcp,
        remote: [10, 0, 0, 3].into(),
        port: 80,
    };
    let listener = ListenerKey { netns: Netns(3), protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: 80 };
    vec![
        Fact::Host(Host { name: "a".into(), scope_version: "0.1.0".into(), cpus: 2, ..Host::default() }),
        Fact::Container(container('a', "client", "busybox", 2)),
        Fact::Container(container('b', "web", "nginx:1", 3)),
        Fact::Container(stopped),
        Fact::Container(container('d', "sandbox", "registry.k8s.io/pause:3", 5)),
        Fact::Process(process('a', "wget", 2)),
        Fact::Process(process('b', "nginx", 3)),
        Fact::Process(loose),
        Fact::Listener(Listener { key: listener, v6_only: false, owners: vec![ProcessId { pid: 3, start: 1 }] }),
        Fact::Flow(Flow::new(flow, 1, Netns(2), Timestamp(1))),
        Fact::Status(Status { sources: [("docker".to_owned(), source)].into() }),
        Fact::Gauges(Gauges::Host(HostGauges {
            at: Timestamp(1_795_339_800_000),
            cpu: 1234,
            probe_cpu: vec![("docker".into(), 75)],
            probe_lost: vec![("docker".into(), 3)],
            ..HostGauges::default()
        })),
    ]
}

/// One more container.
pub(crate) fn extra(name: &str) -> Fact {
    Fact::Container(container('e', name, "redis:7", 7))
}
