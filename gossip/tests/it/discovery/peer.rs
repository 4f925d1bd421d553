//! The discovery of one peer, and what a test sees of it.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use gossip::discovery::{self, Config, Registration, Status, View};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// A test fails if what it waits for does not come by then.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Peer {
    view: watch::Sender<View>,
    status: watch::Receiver<Status>,
    found: mpsc::Receiver<Vec<SocketAddr>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Peer {
    pub(super) fn start(config: Config, view: View) -> Peer {
        let (view, view_receiver) = watch::channel(view);
        let (status_sender, status) = watch::channel(Status::default());
        let (found_sender, found) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let task = tokio::spawn(discovery::run(config, found_sender, view_receiver, status_sender, stop.clone()));
        Peer { view, status, found, stop, task }
    }

    pub(super) fn view(&self, view: View) {
        self.view.send_replace(view);
    }

    pub(super) fn change_view(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }

    /// The next addresses that a look-up gave.
    pub(super) async fn found(&mut self) -> BTreeSet<SocketAddr> {
        bounded("nothing found", self.found.recv()).await.expect("discovery runs").into_iter().collect()
    }

    /// The first status that is as wanted.
    pub(super) async fn status(&self, mut wanted: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        let complete = |status: &Status| !status.names.is_empty() && wanted(status);
        let last = self.status.clone();
        match tokio::time::timeout(PATIENCE, status.wait_for(complete)).await {
            Ok(status) => status.expect("discovery runs").clone(),
            Err(_) => panic!("the status is {:?}", *last.borrow()),
        }
    }

    pub(super) async fn registered(&self, want: &[&str]) {
        let want: Vec<SocketAddr> = set(want).into_iter().collect();
        self.status(|status| matches!(&status.dns, Registration::Done { addresses, .. } if *addresses == want)).await;
    }

    /// An orderly exit.
    pub(super) async fn stop(self) -> Status {
        self.stop.cancel();
        bounded("it does not stop", self.task).await.expect("it does not panic");
        self.status.borrow().clone()
    }

    /// A crash.
    pub(super) async fn kill(self) {
        self.task.abort();
        let ended = bounded("it does not end", self.task).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}

/// Waits until `condition` holds, which nothing tells.
pub(super) async fn within(otherwise: &str, mut condition: impl FnMut() -> bool) {
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let holds = async {
        while !condition() {
            poll.tick().await;
        }
    };
    bounded(otherwise, holds).await;
}

async fn bounded<T>(otherwise: &str, awaited: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, awaited).await {
        Ok(value) => value,
        Err(_) => panic!("{otherwise} after {} s", PATIENCE.as_secs()),
    }
}

pub(super) fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

pub(super) fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
    addresses.iter().map(|address| at(address)).collect()
}
