//! The thread that follows conntrack.

use std::path::{Path, PathBuf};
use std::time::Duration;

use node::probe::connections::conntrack::{Follower, Health, spawn};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use topology::fact::SourceState;

use super::world::{Place, World};
use super::{expected, flush, lines, traffic};

/// Longest wait for a change: without events it looks every 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A follower in a namespace, and how to stop it.
struct Following {
    follower: Follower,
    stop: CancellationToken,
}

impl Following {
    /// Follows from `place`.
    fn start(place: &Place, proc_root: PathBuf) -> Self {
        let stop = CancellationToken::new();
        let (runtime, its_stop) = (tokio::runtime::Handle::current(), stop.clone());
        let follower = place.run(move || {
            let _entered = runtime.enter();
            spawn(&proc_root, &its_stop).expect("threads and descriptors are left")
        });
        Self { follower, stop }
    }

    /// Waits for a health that is as wanted.
    async fn until(&self, is_wanted: impl Fn(&Health) -> bool) -> Health {
        let mut health = self.follower.health();
        let reached = timeout(PATIENCE, health.wait_for(|health| is_wanted(health))).await;
        reached.expect("in time").expect("the thread is there").clone()
    }

    async fn stop(self) {
        self.stop.cancel();
        has_ended(self.follower.health()).await;
    }
}

/// Waits until the thread is there no longer.
async fn has_ended(mut health: watch::Receiver<Health>) {
    let closed = async { while health.changed().await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("it ends");
}

fn proc() -> PathBuf {
    Path::new("/proc").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_follows_events() {
    let world = World::new();
    let following = Following::start(&world.gateway, proc());
    let health = following.until(|health| health.state == SourceState::Ok).await;
    assert_eq!((health.mode, health.reason.as_str(), health.losses, health.resyncs), ("events", "", 0, 1));
    let _kept = traffic(&world);
    // The health is told after the events it counts.
    following.until(|_| following.follower.table().len() == 8).await;
    flush(&world);
    following.until(|_| following.follower.table().is_empty()).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_last_that_has_it() {
    let world = World::new();
    let Following { follower, stop } = Following::start(&world.gateway, proc());
    let other = Following { follower: follower.clone(), stop: stop.clone() };
    drop(follower);
    other.until(|health| health.state == SourceState::Ok).await;
    let _kept = traffic(&world);
    other.until(|_| other.follower.table().len() == 8).await;
    let health = other.follower.health();
    drop(other);
    has_ended(health).await;
    assert!(!stop.is_cancelled(), "what else it stops goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_that_is_lost_is_counted_and_set_right() {
    const FLOWS: u16 = 25_000; // more than the queue holds
    let world = World::new();
    let following = Following::start(&world.gateway, proc());
    following.until(|health| health.state == SourceState::Ok).await;
    {
        let _held = following.follower.table(); // meanwhile nobody reads
        world.client.run(|| {
            let socket = std::net::UdpSocket::bind(("10.40.0.2", 40000)).expect("the port is free");
            for port in 1..=FLOWS {
                socket.send_to(b"?", ("10.41.0.2", port)).expect("there is a route");
            }
        });
    }
    let health = following.until(|health| health.losses > 0 && health.resyncs > 1).await;
    assert_eq!((health.state, health.mode), (SourceState::Degraded, "events"));
    assert!(health.reason.contains("faster than"), "{}", health.reason);
    following.until(|_| following.follower.table().len() == usize::from(FLOWS)).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_events_it_dumps_and_says_so() {
    let world = World::new();
    let set_events = |value: &'static str| {
        world.gateway.run(move || std::fs::write("/proc/sys/net/netfilter/nf_conntrack_events", value)).expect("root");
    };
    set_events("0");
    let _kept = traffic(&world);
    let following = Following::start(&world.gateway, proc());
    let health = following.until(|health| health.mode == "dumps").await;
    assert_eq!(health.state, SourceState::Degraded);
    assert!(health.reason.contains("nf_conntrack_events"), "{}", health.reason);
    assert_eq!(lines(following.follower.table().entries()), expected());
    set_events("2");
    following.until(|health| health.mode == "events" && health.state == SourceState::Ok).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kernel_without_conntrack_is_told_and_asked_again() {
    let empty = tempfile::tempdir().expect("a directory");
    let world = World::new();
    let following = Following::start(&world.gateway, empty.path().to_owned());
    let health = following.until(|health| health.reason.contains("nf_conntrack module")).await;
    assert_eq!((health.state, health.mode), (SourceState::Off, ""));
    let settings = empty.path().join("sys/net/netfilter");
    std::fs::create_dir_all(&settings).expect("a directory of ours");
    for (name, value) in [("nf_conntrack_events", "2"), ("nf_conntrack_count", "0")] {
        std::fs::write(settings.join(name), value).expect("a directory of ours");
    }
    following.until(|health| health.state == SourceState::Ok).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_listen_is_told_the_way_out() {
    let world = World::new();
    world.gateway.run(|| {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).expect("fewer");
    });
    let following = Following::start(&world.gateway, proc());
    let health = following.until(|health| health.reason.contains("root")).await;
    assert_eq!(health.state, SourceState::Off);
    assert!(health.reason.contains("CAP_NET_ADMIN"), "{}", health.reason);
    following.stop().await;
}
