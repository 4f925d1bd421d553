//! The probe against a daemon that comes, goes, hangs and races with it. Each wait is for a condition, with a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use topology::fact::{Container, ContainerState, Fact, Image, Source, SourceState};
use topology::gauges::{ContainerGauges, Gauges};
use topology::{ContainerId, Key};

use super::convert::id;
use super::endpoint::candidates;
use super::fake::{Fake, IMAGE};
use super::{Config, Timing, Wiring, run, spawn};
use crate::probe::{InitPids, Name, Update};

/// Far beyond what any condition here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A probe under test, and all it says.
struct Probe {
    updates: mpsc::Receiver<Update>,
    init_pids: watch::Receiver<InitPids>,
    nudges: Arc<AtomicUsize>,
    unreadable: watch::Sender<Arc<BTreeSet<ContainerId>>>,
    facts: BTreeMap<Key, Fact>,
    _stop: DropGuard,
}

/// Times in which a test does not wait long for what it provokes.
fn quick() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        backoff_min: ms(5),
        backoff_max: ms(20),
        grace: ms(100),
        retry_min: ms(20),
        gauges_every: ms(20),
        request_timeout: Duration::from_secs(10),
        ping_every: Duration::from_secs(10),
        list_every: Duration::from_secs(3600),
    }
}

fn probe(fake: &Fake, timing: Timing) -> Probe {
    let mut config = Config::new(Some(&fake.host())).expect("a socket");
    config.timing = timing;
    let (sender, updates) = mpsc::channel(16);
    let (init_pids, init_pids_seen) = watch::channel(InitPids::default());
    let (unreadable, unreadable_seen) = watch::channel(Arc::default());
    let nudges = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&nudges);
    let nudge = Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let wiring = Wiring { updates: sender, init_pids, nudge, unreadable: unreadable_seen };
    let stop = CancellationToken::new();
    tokio::spawn(run(config, wiring, stop.clone()));
    Probe { updates, init_pids: init_pids_seen, nudges, unreadable, facts: BTreeMap::new(), _stop: stop.drop_guard() }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

impl Probe {
    async fn update(&mut self, what: &str) -> Update {
        let update = in_time(what, self.updates.recv()).await.expect("the probe lives");
        if let Update::Facts(Name::Docker, facts) = &update {
            self.facts.clone_from(facts);
        }
        update
    }

    /// Waits until the inspected containers are these: `id=name`, `id=name!` if it runs, and `id?` if only listed.
    async fn shows(&mut self, want: &[&str]) {
        while self.containers() != want {
            let what = format!("{want:?}, have {:?}", self.containers());
            self.update(&what).await;
        }
    }

    fn containers(&self) -> Vec<String> {
        let show = |container: &Container| match (container.hostname.is_empty(), container.state) {
            (true, _) => format!("{}?", container.id),
            (false, ContainerState::Running) => format!("{}={}!", container.id, container.name),
            (false, _) => format!("{}={}", container.id, container.name),
        };
        let containers = self.facts.values().filter_map(|fact| match fact {
            Fact::Container(container) => Some(show(container)),
            _ => None,
        });
        containers.collect()
    }

    fn tags(&self) -> Vec<&str> {
        let image = self.facts.values().find_map(|fact| match fact {
            Fact::Image(image) if image.id.as_str() == IMAGE => Some(image),
            _ => None,
        });
        image.map(|Image { tags, .. }| tags.iter().map(String::as_str).collect()).unwrap_or_default()
    }

    async fn status(&mut self, want: SourceState) -> Source {
        loop {
            if let Update::Status(Name::Docker, source) = self.update(&format!("status {want:?}")).await
                && source.state == want
            {
                return source;
            }
        }
    }

    async fn gauges(&mut self, want: impl Fn(&ContainerGauges) -> bool) {
        // Blocks come for ever: the bound is around all of them.
        in_time("gauges", async {
            loop {
                if let Update::Gauges(Name::Docker, Gauges::Containers(block)) = self.update("gauges").await
                    && want(&block)
                {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_lost_and_found_again_lists_anew() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running")]);
    fake.start();
    let mut probe = probe(&fake, Timing { grace: PATIENCE, ..quick() });
    probe.shows(&["a=a!", "b=b!"]).await;
    fake.crash().await;
    let source = probe.status(SourceState::Degraded).await;
    assert!(source.reason.contains(&fake.socket().display().to_string()), "{source:?}");
    assert_eq!(probe.containers(), ["a=a!", "b=b!"], "facts outlive the connection");

    fake.put("a", "exited");
    fake.remove("b");
    fake.put("c", "running");
    fake.start();
    probe.shows(&["a=a", "c=c!"]).await;
}

#[tokio::test]
async fn a_daemon_that_stays_away_takes_its_facts_with_it() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a!"]).await;
    assert_eq!(probe.init_pids.borrow().get(&1097), Some(&id("a")));
    fake.crash().await;
    probe.shows(&[]).await;
    assert!(probe.init_pids.borrow().is_empty());
    let source = probe.status(SourceState::Off).await;
    assert!(source.reason.starts_with("nothing listens at"), "{source:?}");

    fake.start();
    probe.shows(&["a=a!"]).await;
}

#[tokio::test]
async fn a_daemon_may_come_after_the_probe() {
    let mut fake = Fake::new(&[("a", "running")]);
    let mut probe = probe(&fake, quick());
    let source = probe.status(SourceState::Off).await;
    assert!(source.reason.starts_with("no Docker daemon at") && source.reason.contains("--no-docker"), "{source:?}");
    fake.start();
    let source = probe.status(SourceState::Ok).await;
    assert_eq!((source.mode.as_str(), source.reason.as_str()), ("events", ""));
    probe.shows(&["a=a!"]).await;
}

#[tokio::test]
async fn an_unusable_docker_host_of_the_environment_is_a_status_and_stop_ends_it() {
    let (updates, mut received) = mpsc::channel(16);
    let (init_pids, _) = watch::channel(InitPids::default());
    let (_unreadable, unreadable) = watch::channel(Arc::default());
    let wiring = Wiring { updates, init_pids, nudge: Arc::new(|| {}), unreadable };
    let config = Config { endpoints: candidates(None, Some("ssh://daemon")), timing: quick() };
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(config, wiring, stop.clone()));
    let Some(Update::Status(Name::Docker, source)) = in_time("a status", received.recv()).await else {
        panic!("no status")
    };
    assert_eq!(source.state, SourceState::Off);
    assert!(source.reason.contains("ssh://daemon") && source.reason.contains("--docker-host"), "{source:?}");
    stop.cancel();
    in_time("the end", task).await.expect("no panic");
}

#[tokio::test]
async fn a_container_born_between_list_and_subscription_is_not_missed() {
    let mut fake = Fake::new(&[]);
    fake.hold(&["events"]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.status(SourceState::Ok).await; // listed, and the subscription still stands in the queue
    fake.put("a", "running");
    fake.event("container", "start", "a");
    fake.release();
    probe.shows(&["a=a!"]).await;
}

#[tokio::test]
async fn a_container_born_while_the_list_is_on_its_way_is_not_dropped() {
    let mut fake = Fake::new(&[("old", "running")]);
    fake.hold(&["list"]);
    fake.start();
    let mut probe = probe(&fake, quick());
    in_time("the list", async {
        while fake.count("list") == 0 || fake.count("events") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    fake.put("new", "running");
    fake.event("container", "start", "new");
    probe.shows(&["new=new!"]).await;
    fake.release(); // the list knows only the old one
    probe.shows(&["new=new!", "old=old!"]).await;
}

#[tokio::test]
async fn a_burst_about_one_container_is_one_request_and_one_after_it() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a!", "b=b!"]).await;
    fake.hold(&["inspect:a"]);
    for _ in 0..50 {
        fake.event("container", "update", "a");
    }
    fake.rename("b", "marker");
    fake.event("container", "rename", "b");
    probe.shows(&["a=a!", "b=marker!"]).await; // all fifty are taken in
    fake.rename("a", "last");
    fake.release();
    probe.shows(&["a=last!", "b=marker!"]).await;
    assert_eq!(fake.count("inspect:a"), 3, "the first list, the first event, all others");
}

#[tokio::test]
async fn a_container_that_does_not_answer_is_shown_as_listed_and_holds_up_nobody() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running"), ("c", "exited")]);
    fake.hold(&["inspect:a"]);
    fake.start();
    let mut probe = probe(&fake, Timing { request_timeout: Duration::from_secs(1), ..quick() });
    probe.shows(&["a?", "b=b!", "c=c"]).await;
    let source = probe.status(SourceState::Degraded).await;
    assert!(source.reason.contains("1 containers"), "{source:?}");
    fake.release();
    probe.shows(&["a=a!", "b=b!", "c=c"]).await;
    probe.status(SourceState::Ok).await;
}

#[tokio::test]
async fn a_daemon_that_hangs_is_away() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let short = Duration::from_secs(1);
    let mut probe = probe(&fake, Timing { request_timeout: short, ping_every: short / 10, ..quick() });
    probe.shows(&["a=a!"]).await;
    fake.hold(&["ping", "version", "list", "inspect:a"]);
    let source = probe.status(SourceState::Degraded).await;
    assert!(source.reason.contains("did not answer within 1 s"), "{source:?}");
    probe.shows(&[]).await;
    fake.release();
    probe.shows(&["a=a!"]).await;
}

#[tokio::test]
async fn a_daemon_that_greets_but_lists_nothing_keeps_no_facts_alive() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut probe = probe(&fake, Timing { request_timeout: Duration::from_secs(1), ..quick() });
    probe.shows(&["a=a!"]).await;
    fake.crash().await;
    fake.hold(&["list"]);
    fake.start();
    probe.shows(&[]).await;
    assert!(fake.count("version") > 1, "it did greet");
    let source = probe.status(SourceState::Off).await;
    assert!(source.reason.contains("did not answer within 1 s"), "{source:?}");
    fake.release();
    probe.shows(&["a=a!"]).await;
}

#[tokio::test]
async fn a_probe_that_panics_is_off_without_its_facts_until_it_is_started_again() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut config = Config::new(Some(&fake.host())).expect("a socket");
    config.timing = quick();
    let (updates, mut received) = mpsc::channel(16);
    let (init_pids, inits) = watch::channel(InitPids::default());
    let (_unreadable, unreadable) = watch::channel(Arc::default());
    let (nudge, stop) = (Arc::new(|| panic!("wanted by this test")), CancellationToken::new());
    let thread = spawn(config, Wiring { updates, init_pids, nudge, unreadable }, stop.clone());
    while inits.borrow().is_empty() {
        in_time("a first process", received.recv()).await.expect("the probe lives");
    }
    fake.event("container", "start", "a");
    let source = loop {
        match in_time("the end", received.recv()).await.expect("last words") {
            Update::Status(Name::Docker, source) if source.state == SourceState::Off => break source,
            _ => {}
        }
    };
    assert!(source.reason.contains("failed inside"), "{source:?}");
    let last = in_time("its facts' end", received.recv()).await;
    assert!(matches!(last, Some(Update::Facts(Name::Docker, facts)) if facts.is_empty()));
    loop {
        let again = in_time("its facts again", received.recv()).await.expect("it lives");
        if matches!(again, Update::Facts(Name::Docker, facts) if !facts.is_empty()) {
            break;
        }
    }
    stop.cancel();
    while in_time("the thread's end", received.recv()).await.is_some() {}
    thread.expect("a thread").join().expect("it ends well");
}

#[tokio::test]
async fn figures_end_with_their_connection() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut probe = probe(&fake, Timing { grace: PATIENCE, ..quick() });
    probe.shows(&["a=a!"]).await;
    probe.unreadable.send_replace(Arc::new([id("a")].into()));
    probe.gauges(|block| block.containers == [id("a").prefix()]).await;
    fake.crash().await;
    probe.gauges(|block| block.containers.is_empty()).await;
}

#[tokio::test]
async fn a_stream_that_ended_begins_anew() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a!"]).await;
    probe.unreadable.send_replace(Arc::new([id("a")].into()));
    probe.gauges(|block| block.containers == [id("a").prefix()]).await;
    fake.end_streams();
    probe.gauges(|block| block.containers.is_empty()).await;
    probe.gauges(|block| block.containers == [id("a").prefix()]).await;
    assert_eq!(fake.count("stats:a"), 2);
}

#[tokio::test]
async fn a_removed_container_goes_without_a_question() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a!", "b=b!"]).await;
    fake.remove("a");
    fake.event("container", "destroy", "a");
    probe.shows(&["b=b!"]).await;
    assert_eq!((fake.count("inspect:a"), fake.count("list")), (1, 1));
    assert_eq!(probe.nudges.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn births_and_deaths_nudge_and_move_the_first_processes() {
    let mut fake = Fake::new(&[("a", "created")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a"]).await;
    for (status, action, shown, nudges) in [("running", "start", "a=a!", 1), ("exited", "die", "a=a", 2)] {
        fake.put("a", status);
        fake.event("container", action, "a");
        probe.shows(&[shown]).await;
        let want = BTreeMap::from_iter((status == "running").then(|| (1097, id("a"))));
        assert_eq!(**probe.init_pids.borrow(), want, "{action}");
        assert_eq!(probe.nudges.load(Ordering::Relaxed), nudges, "{action}");
    }
}

#[tokio::test]
async fn an_image_gets_its_new_name() {
    let mut fake = Fake::new(&[("a", "running")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    while probe.tags() != ["toolbox:latest"] {
        probe.update("an image").await;
    }
    fake.tag(&["toolbox:2", "toolbox:latest"]);
    fake.event("image", "tag", &format!("sha256:{IMAGE}"));
    while probe.tags() != ["toolbox:2", "toolbox:latest"] {
        probe.update("two names").await;
    }
    fake.tag(&["toolbox:2"]);
    fake.event("image", "pull", "toolbox:latest"); // the name moves to an image nobody uses
    while probe.tags() != ["toolbox:2"] {
        probe.update("one name").await;
    }
}

#[tokio::test]
async fn lost_events_are_mended_by_the_next_list() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running")]);
    fake.start();
    let mut probe = probe(&fake, Timing { list_every: Duration::from_millis(50), ..quick() });
    probe.shows(&["a=a!", "b=b!"]).await;
    fake.put("a", "exited");
    probe.shows(&["a=a", "b=b!"]).await;
    assert_eq!(fake.count("inspect:b"), 1, "what the list says is known needs no question");
}

#[tokio::test]
async fn only_unreadable_containers_are_streamed() {
    let mut fake = Fake::new(&[("a", "running"), ("b", "running"), ("c", "exited")]);
    fake.start();
    let mut probe = probe(&fake, quick());
    probe.shows(&["a=a!", "b=b!", "c=c"]).await;
    probe.unreadable.send_replace(Arc::new([id("a"), id("c"), id("unknown")].into()));
    probe
        .gauges(|block| block.containers == [id("a").prefix()] && block.cpu == [2500] && block.memory_kib == [4])
        .await;
    assert_eq!(*fake.streams().borrow(), 1);
    probe.unreadable.send_replace(Arc::default());
    probe.gauges(|block| block.containers.is_empty()).await;
    in_time("the stream's end", fake.streams().wait_for(|count| *count == 0)).await.expect("the fake lives");
}
