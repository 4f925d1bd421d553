use std::collections::BTreeMap;

use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::time::{Instant, advance};
use topology::cluster::Writer;
use topology::fact::{Fact, Host, Process};
use topology::gauges::{Gauges, ProcessGauges};
use topology::graph::Change;
use topology::{Key as FactKey, PeerId, ProcessId, Timestamp};

use super::owner::BACKLOG_MAX;
use super::*;
use crate::About;

const SECOND: Duration = Duration::from_secs(1);

/// A cluster of one host that a test changes, and the live views of it.
struct Scene {
    writer: Writer,
    cluster: watch::Sender<Cluster>,
    live: Live,
    metrics: Arc<Metrics>,
}

/// A follower, and what it knows.
struct Seen {
    key: Key,
    feed: Feed,
    nodes: BTreeMap<String, Value>,
}

fn peer() -> PeerId {
    PeerId::new("peer-a").expect("an id")
}

fn pid(pid: u32) -> ProcessId {
    ProcessId { pid, start: 1 }
}

fn every(beat: Duration) -> Key {
    Key { kind: Kind::Processes, options: Options::default(), beat }
}

fn id(pid: u32) -> String {
    format!("peer-a;{pid}")
}

impl Scene {
    fn new() -> Self {
        let (cluster, reader) = watch::channel(Cluster::default());
        let about = About { id: "peer-a".into(), hostname: "a".into(), version: "1" };
        let metrics = Arc::new(Metrics::new(Registry::default(), &about));
        let live = Live::new(reader, TaskTracker::new(), metrics.clone());
        let mut scene = Self { writer: Writer::default(), cluster, live, metrics };
        scene.put(Fact::Host(Host { name: "a".into(), ..Host::default() }));
        scene
    }

    fn apply(&mut self, change: Change) {
        self.writer.apply(&peer(), [change]);
        self.cluster.send_replace(self.writer.cluster());
    }

    fn put(&mut self, fact: Fact) {
        self.apply(Change::put(fact));
    }

    fn start(&mut self, number: u32, name: &str) {
        self.put(Fact::Process(Process { name: name.into(), ..Process::new(pid(number)) }));
    }

    fn stop(&mut self, number: u32) {
        self.apply(Change::Remove(FactKey::Process(pid(number))));
    }

    /// CPU of processes, in hundredths of a percent.
    fn measure(&mut self, rows: &[(u32, u32)]) {
        let at = Timestamp(self.writer.cluster().version() * 1000);
        self.put(Fact::Gauges(Gauges::Processes(ProcessGauges {
            at,
            pids: rows.iter().map(|(pid, _)| *pid).collect(),
            cpu: rows.iter().map(|(_, cpu)| *cpu).collect(),
            memory_kib: vec![1; rows.len()],
            open_files: vec![1; rows.len()],
        })));
    }

    async fn follow(&self, key: Key) -> Seen {
        let feed = self.live.follow(key).expect("room").await.expect("an owner");
        let mut seen = Seen { key, nodes: BTreeMap::new(), feed };
        let reset = read(&seen.feed.reset);
        seen.take(&reset);
        seen
    }

    /// The value of a metric's line.
    fn counted(&self, line: &str) -> Option<u64> {
        let now = crate::metrics::Now {
            live_views: self.live.views(),
            sockets: 0,
            connections: 0,
            hosts: 0,
            peers: crate::peers::Lives::default(),
            version: 0,
        };
        let text = self.metrics.text(&now);
        text.lines().find_map(|it| it.strip_prefix(line)).and_then(|value| value.trim().parse().ok())
    }
}

fn read(text: &Utf8Bytes) -> Value {
    serde_json::from_str(text).expect("a message is JSON")
}

fn list<'a>(message: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    message[name].as_array().into_iter().flatten()
}

impl Seen {
    async fn next(&mut self, live: &Live) -> Value {
        let received = self.feed.diffs.recv().await;
        let text = live.settle(self.key, &mut self.feed, received).await.expect("the view goes on");
        let message = read(&text);
        self.take(&message);
        message
    }

    /// Applies a message as a browser does; a node added twice, or changed without being there, is a defect.
    fn take(&mut self, message: &Value) {
        if message["reset"] == true {
            self.nodes.clear();
        }
        let id = |node: &Value| node["id"].as_str().expect("a node has an id").to_owned();
        for node in list(message, "add") {
            assert_eq!(self.nodes.insert(id(node), node.clone()), None, "added twice: {node}");
        }
        for node in list(message, "update") {
            assert!(self.nodes.insert(id(node), node.clone()).is_some(), "updated but not there: {node}");
        }
        for gone in list(message, "remove") {
            assert!(self.nodes.remove(gone.as_str().expect("an id")).is_some(), "removed but not there: {gone}");
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    fn cpu(&self, number: u32) -> f64 {
        self.nodes[&id(number)]["metrics"][0]["value"].as_f64().expect("a value")
    }

    fn is_idle(&self) -> bool {
        self.feed.diffs.is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_gets_the_view_and_then_what_differs() {
    let mut scene = Scene::new();
    scene.start(1, "init");
    let mut seen = scene.follow(every(SECOND)).await;
    let reset = read(&scene.follow(every(SECOND)).await.feed.reset);
    assert_eq!((&reset["reset"], &reset["update"], &reset["remove"]), (&true.into(), &Value::Null, &Value::Null));
    assert_eq!(seen.ids(), [id(1)]);

    let asked = Instant::now();
    scene.start(2, "web");
    let diff = seen.next(&scene.live).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "the first change goes out at once");
    assert_eq!((diff.get("reset"), &diff["update"], &diff["remove"]), (None, &Value::Null, &Value::Null));
    assert_eq!(seen.ids(), [id(1), id(2)]);

    advance(SECOND).await;
    scene.stop(1);
    let diff = seen.next(&scene.live).await;
    assert_eq!((&diff["add"], &diff["remove"]), (&Value::Null, &[id(1)].as_slice().into()));
    assert_eq!(seen.ids(), [id(2)]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_view_is_null_not_an_empty_list() {
    let scene = Scene::new();
    let seen = scene.follow(every(SECOND)).await;
    assert_eq!(&*seen.feed.reset, r#"{"add":null,"update":null,"remove":null,"reset":true}"#);
}

#[tokio::test(start_paused = true)]
async fn changes_close_together_are_one_message_after_the_first() {
    let mut scene = Scene::new();
    let mut seen = scene.follow(every(SECOND)).await;
    let started = Instant::now();
    scene.start(1, "first");
    seen.next(&scene.live).await;
    for number in 2..10 {
        scene.start(number, "more");
        tokio::task::yield_now().await;
    }
    assert!(seen.is_idle(), "nothing within the quiet time");
    let diff = seen.next(&scene.live).await;
    assert_eq!((started.elapsed().as_millis(), list(&diff, "add").count()), (20, 8));
}

#[tokio::test(start_paused = true)]
async fn metrics_alone_go_out_with_the_beat_and_only_if_they_differ() {
    for beat in [Duration::from_millis(200), SECOND, Duration::from_secs(5)] {
        let mut scene = Scene::new();
        scene.start(1, "busy");
        scene.start(2, "idle");
        scene.measure(&[(1, 100), (2, 0)]);
        let mut seen = scene.follow(every(beat)).await;
        let started = Instant::now();
        for cpu in [200, 300, 400] {
            scene.measure(&[(1, cpu), (2, 0)]);
            tokio::task::yield_now().await;
        }
        let diff = seen.next(&scene.live).await;
        assert_eq!(started.elapsed().as_millis(), beat.as_millis(), "one message a beat");
        let updated: Vec<_> = list(&diff, "update").map(|node| node["id"].clone()).collect();
        assert_eq!((updated, &diff["add"]), (vec![id(1).into()], &Value::Null));
        assert!((seen.cpu(1) - 4.0).abs() < f64::EPSILON, "the newest value");

        scene.measure(&[(1, 400), (2, 0)]);
        advance(beat * 3).await;
        tokio::task::yield_now().await;
        assert!(seen.is_idle(), "the same values at a later time are no news");
    }
}

#[tokio::test(start_paused = true)]
async fn who_joins_while_metrics_are_elsewhere_hears_that_they_are_back() {
    let mut scene = Scene::new();
    scene.start(1, "busy");
    scene.measure(&[(1, 100)]);
    let mut first = scene.follow(every(SECOND)).await;
    scene.measure(&[(1, 900)]);
    scene.start(2, "new");
    first.next(&scene.live).await;
    let mut second = scene.follow(every(SECOND)).await;
    assert!((first.cpu(1) - 1.0).abs() < f64::EPSILON && (second.cpu(1) - 9.0).abs() < f64::EPSILON);
    scene.measure(&[(1, 100)]);
    for seen in [&mut first, &mut second] {
        seen.next(&scene.live).await;
        assert!((seen.cpu(1) - 1.0).abs() < f64::EPSILON);
    }
}

#[tokio::test(start_paused = true)]
async fn followers_of_one_view_share_its_task_its_drawing_and_its_messages() {
    let mut scene = Scene::new();
    scene.start(1, "init");
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(scene.follow(every(SECOND)).await);
    }
    assert_eq!(scene.live.views(), 1);
    scene.start(2, "web");
    let mut messages = Vec::new();
    for seen in &mut all {
        messages.push(seen.feed.diffs.recv().await.expect("a diff"));
    }
    assert!(messages.iter().all(|text| text.as_ptr() == messages[0].as_ptr()), "the same bytes for all");
    let updates = scene.counted("scope_view_updates_total{topology=\"processes\"}");
    let resets = scene.counted("scope_diffs_total{kind=\"reset\"}");
    let diffs = scene.counted("scope_diffs_total{kind=\"structure\"}");
    assert_eq!((updates, resets, diffs), (Some(2), Some(1), Some(1)), "drawn once, changed once");
}

#[tokio::test(start_paused = true)]
async fn followers_that_join_at_any_time_see_the_same_in_the_end() {
    let mut scene = Scene::new();
    let mut all = Vec::new();
    for step in 0..60_u32 {
        match step % 4 {
            0 | 1 => scene.start(step, "new"),
            2 => scene.stop(step - 1),
            _ => scene.start(step - 3, "renamed"),
        }
        if step % 5 == 0 {
            all.push(scene.follow(every(SECOND)).await);
        }
        for seen in &mut all {
            while !seen.is_idle() {
                seen.next(&scene.live).await;
            }
        }
        advance(Duration::from_millis(u64::from(step % 3) * 15)).await;
    }
    scene.start(999, "last");
    for seen in &mut all {
        while !seen.nodes.contains_key(&id(999)) {
            seen.next(&scene.live).await;
        }
    }
    let last = scene.follow(every(SECOND)).await;
    let left: Vec<_> = (0..60).step_by(4).chain([999]).map(id).collect();
    assert_eq!(last.nodes.keys().collect::<std::collections::BTreeSet<_>>(), left.iter().collect());
    for seen in &all {
        assert_eq!(seen.nodes, last.nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_falls_behind_starts_over() {
    let mut scene = Scene::new();
    let mut slow = scene.follow(every(SECOND)).await;
    let mut quick = scene.follow(every(SECOND)).await;
    let count = u32::try_from(BACKLOG_MAX).expect("small") + 5;
    for number in 0..count {
        scene.start(number, "new");
        quick.next(&scene.live).await;
    }
    let message = slow.next(&scene.live).await;
    assert_eq!((message["reset"].clone(), slow.nodes.len()), (true.into(), quick.nodes.len()));
    assert_eq!(scene.counted("scope_lagged_sockets_total"), Some(1));
    scene.start(count, "after");
    assert_eq!(slow.next(&scene.live).await, quick.next(&scene.live).await);
}

#[tokio::test(start_paused = true)]
async fn a_view_nobody_follows_is_gone() {
    let scene = Scene::new();
    let first = scene.follow(every(SECOND)).await;
    let second = scene.follow(every(SECOND)).await;
    drop(first);
    tokio::task::yield_now().await;
    assert_eq!(scene.live.views(), 1);
    drop(second);
    scene.live.tasks.close();
    scene.live.tasks.wait().await;
    assert_eq!(scene.live.views(), 0);
}

#[tokio::test(start_paused = true)]
async fn live_views_are_bounded() {
    let scene = Scene::new();
    let key = |number: usize| every(Duration::from_millis(200 + u64::try_from(number).expect("small")));
    let mut all = Vec::new();
    for number in 0..LIVE_VIEWS_MAX {
        all.push(scene.follow(key(number)).await);
    }
    let refused = scene.live.follow(key(LIVE_VIEWS_MAX)).err();
    assert_eq!(refused, Some(ApiError::TooManyViews(LIVE_VIEWS_MAX)));
    assert!(scene.live.follow(key(0)).is_ok(), "one that is there takes more followers");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_cluster_ends_its_views() {
    let Scene { cluster, live, .. } = Scene::new();
    let feed = live.follow(every(SECOND)).expect("room").await;
    drop(cluster);
    let mut feed = feed.expect("an owner");
    assert_eq!(feed.diffs.recv().await, Err(RecvError::Closed));
}
