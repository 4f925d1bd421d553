//! A daemon for tests: enough HTTP/1.1 over a Unix socket to list, inspect, stream events and samples, and to misbehave on
//! demand: to hold an answer back, drop its connections, vanish or refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Id of the image every container is made from.
pub(super) const IMAGE: &str = "1111111111111111";

/// What the daemon knows. Ids are short names: the probe does not care.
struct World {
    /// Id to name and status.
    containers: BTreeMap<String, (String, String)>,
    image_tags: Vec<String>,
    /// Events so far, each with its time in seconds.
    history: Vec<(u64, String)>,
    /// Requests so far: `list`, `events`, `inspect:a`, …
    requests: Vec<String>,
}

/// See the module.
pub(super) struct Fake {
    socket: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

struct Shared {
    world: Mutex<World>,
    live: broadcast::Sender<String>,
    /// Requests that get no answer for now.
    held: watch::Sender<BTreeSet<String>>,
    /// Streams of samples open now.
    streams: watch::Sender<usize>,
    /// Ends those that are open.
    end_streams: broadcast::Sender<()>,
}

impl Fake {
    /// A daemon with these containers, not started yet.
    pub(super) fn new(containers: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let world = World {
            containers: BTreeMap::new(),
            image_tags: vec!["toolbox:latest".to_owned()],
            history: Vec::new(),
            requests: Vec::new(),
        };
        let shared = Shared {
            world: Mutex::new(world),
            live: broadcast::channel(1024).0,
            held: watch::channel(BTreeSet::new()).0,
            streams: watch::channel(0).0,
            end_streams: broadcast::channel(1).0,
        };
        let fake = Self { socket: dir.path().join("docker.sock"), shared: Arc::new(shared), server: None, _dir: dir };
        for (id, status) in containers {
            fake.put(id, status);
        }
        fake
    }

    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Serves, with what it knew before.
    pub(super) fn start(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("a free path");
        self.server = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
    }

    /// Drops its connections and stops listening. The socket file stays, as after a crash.
    pub(super) async fn crash(&mut self) {
        let server = self.server.take().expect("started");
        server.abort();
        let _ = server.await;
    }

    /// Puts a container, without an event.
    pub(super) fn put(&self, id: &str, status: &str) {
        let name = self.world().containers.get(id).map_or_else(|| id.to_owned(), |(name, _)| name.clone());
        self.world().containers.insert(id.to_owned(), (name, status.to_owned()));
    }

    pub(super) fn rename(&self, id: &str, name: &str) {
        self.world().containers.get_mut(id).expect("a container").0 = name.to_owned();
    }

    pub(super) fn remove(&self, id: &str) {
        self.world().containers.remove(id);
    }

    pub(super) fn tag(&self, tags: &[&str]) {
        self.world().image_tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    }

    /// Tells subscribers, now and later ones that ask for the past.
    pub(super) fn event(&self, kind: &str, action: &str, id: &str) {
        let event = json!({"Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": {}}});
        let mut world = self.world();
        world.history.push((now_seconds(), format!("{event}\n")));
        let _ = self.shared.live.send(format!("{event}\n"));
    }

    /// Holds back answers to these requests until [`Self::release`].
    pub(super) fn hold(&self, requests: &[&str]) {
        self.shared.held.send_modify(|held| held.extend(requests.iter().map(|request| (*request).to_owned())));
    }

    pub(super) fn release(&self) {
        self.shared.held.send_modify(BTreeSet::clear);
    }

    /// How often it was asked this.
    pub(super) fn count(&self, request: &str) -> usize {
        self.world().requests.iter().filter(|asked| *asked == request).count()
    }

    /// Ends all streams of samples; new ones may begin.
    pub(super) fn end_streams(&self) {
        let _ = self.shared.end_streams.send(()); // without a stream there is none to end
    }

    /// Streams of samples open now.
    pub(super) fn streams(&self) -> watch::Receiver<usize> {
        self.shared.streams.subscribe()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds this")
    }

    async fn wait_while_held(&self, request: &str) {
        let _ = self.held.subscribe().wait_for(|held| !held.contains(request)).await;
    }
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new(); // dropped, and its connections with it, when this task is aborted
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&shared)));
    }
}

async fn answer(mut stream: UnixStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let target = read_target(&mut stream).await?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let request = match parts[..] {
        ["version"] => "version".to_owned(),
        ["_ping"] => "ping".to_owned(),
        ["events"] => "events".to_owned(),
        ["containers", "json"] => "list".to_owned(),
        ["containers", id, "json"] => format!("inspect:{id}"),
        ["containers", id, "stats"] => format!("stats:{id}"),
        ["images", id, "json"] => format!("image:{id}"),
        _ => path.to_owned(),
    };
    shared.world().requests.push(request.clone());
    if request == "events" {
        shared.wait_while_held(&request).await;
        return stream_events(stream, &shared, query).await;
    }
    if request.starts_with("stats:") {
        return stream_samples(stream, &shared).await;
    }
    let body = body(&shared.world(), &parts); // made before the wait: a late answer is an old one
    shared.wait_while_held(&request).await;
    let (status, body) = body.map_or(("404 Not Found", json!({"message": "no such thing"})), |body| ("200 OK", body));
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await
}

async fn read_target(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn body(world: &World, parts: &[&str]) -> Option<Value> {
    Some(match parts {
        ["version"] => json!({"Version": "1", "Components": [{"Name": "Engine", "Version": "1"}]}),
        ["_ping"] => json!("OK"),
        ["containers", "json"] => world.containers.iter().map(|(id, row)| listed(id, row)).collect(),
        ["containers", id, "json"] => inspected(id, world.containers.get(*id)?),
        ["images", IMAGE, "json"] => json!({"Id": format!("sha256:{IMAGE}"), "RepoTags": world.image_tags, "Size": 5}),
        _ => return None,
    })
}

fn listed(id: &str, (name, status): &(String, String)) -> Value {
    json!({
        "Id": id, "Names": [format!("/{name}")], "Image": "toolbox", "ImageID": format!("sha256:{IMAGE}"),
        "State": status, "Status": "", "Created": 1_700_000_000
    })
}

/// As listed, with the host name that only an inspection tells. Its first process is 1000 + the id's first byte.
fn inspected(id: &str, (name, status): &(String, String)) -> Value {
    let pid = if status == "running" { 1000 + u32::from(id.as_bytes()[0]) } else { 0 };
    json!({
        "Id": id, "Name": format!("/{name}"), "Image": format!("sha256:{IMAGE}"),
        "State": {"Status": status, "Pid": pid}, "Config": {"Image": "toolbox", "Hostname": format!("in-{id}")}
    })
}

async fn stream_events(mut stream: UnixStream, shared: &Shared, query: &str) -> std::io::Result<()> {
    let since = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse().ok()).unwrap_or(u64::MAX);
    let (mut live, past) = {
        let world = shared.world(); // events are sent under this lock: none is lost or doubled in between
        let past: String =
            world.history.iter().filter(|(at, _)| *at >= since).map(|(_, event)| event.as_str()).collect();
        (shared.live.subscribe(), past)
    };
    stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{past}").as_bytes()).await?;
    while let Ok(event) = live.recv().await {
        stream.write_all(event.as_bytes()).await?;
    }
    Ok(())
}

async fn stream_samples(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let sample = json!({
        "precpu_stats": {"cpu_usage": {"total_usage": 0}, "system_cpu_usage": 1000},
        "cpu_stats": {"cpu_usage": {"total_usage": 250}, "system_cpu_usage": 2000},
        "memory_stats": {"usage": 4096, "limit": 8192}
    });
    let mut end = shared.end_streams.subscribe();
    shared.streams.send_modify(|count| *count += 1);
    let said = stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{sample}\n").as_bytes()).await;
    tokio::select! {
        _ = stream.read_u8() => {} // until the other side hangs up
        _ = end.recv() => {}
    }
    shared.streams.send_modify(|count| *count -= 1);
    said
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
