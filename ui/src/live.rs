//! Views that WebSockets follow. Each has one owner task, made for its first follower and gone after its last; all its
//! followers share what it makes.

mod beat;
mod message;
mod owner;
pub(crate) mod socket;

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use topology::{Cluster, Kind, Options};

pub(crate) use beat::beat;

use crate::error::ApiError;
use crate::live::owner::Owner;
use crate::live::socket::SOCKETS_MAX;
use crate::metrics::Metrics;
use crate::views::lock;

/// Live views at a time. Six views with a handful of choices each; what is above is no page of ours.
pub(crate) const LIVE_VIEWS_MAX: usize = 64;

/// What followers see. Those of equal keys share everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    /// How often metrics are sent at most; see [`beat`].
    pub(crate) beat: Duration,
}

/// A follower's request to its owner.
type Ask = oneshot::Sender<Feed>;

/// The owners by what they own; an owner removes itself under this lock, so that nobody asks one that has gone.
type Owners = Mutex<HashMap<Key, mpsc::Sender<Ask>>>;

/// A place in a live view's stream.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The view at the moment the stream starts, as a message with `reset`.
    pub(crate) reset: Utf8Bytes,
    /// What follows. Bounded: who reads too slowly is told so.
    pub(crate) diffs: broadcast::Receiver<Utf8Bytes>,
}

/// The live views of a peer.
#[derive(Debug)]
pub(crate) struct Live {
    cluster: watch::Receiver<Cluster>,
    owners: Arc<Owners>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Live {
    /// No live views yet; their tasks will be `tasks`.
    pub(crate) fn new(cluster: watch::Receiver<Cluster>, tasks: TaskTracker, metrics: Arc<Metrics>) -> Self {
        Self { cluster, owners: Arc::default(), tasks, metrics }
    }

    /// A new place in a view's stream. It comes soon; not at all if the peer is ending.
    ///
    /// # Errors
    /// [`ApiError::TooManyViews`] if it would be one more than [`LIVE_VIEWS_MAX`].
    pub(crate) fn follow(&self, key: Key) -> Result<oneshot::Receiver<Feed>, ApiError> {
        let (ask, feed) = oneshot::channel();
        let mut owners = lock(&self.owners);
        let refused = match owners.get(&key) {
            Some(owner) => owner.try_send(ask),
            None if owners.len() >= LIVE_VIEWS_MAX => return Err(ApiError::TooManyViews(LIVE_VIEWS_MAX)),
            None => Err(TrySendError::Closed(ask)),
        };
        match refused {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(ApiError::TooManySockets(SOCKETS_MAX)),
            // None yet, or one whose task failed.
            Err(TrySendError::Closed(ask)) => drop(owners.insert(key, self.start(key, ask))),
        }
        Ok(feed)
    }

    /// Live views there are now.
    pub(crate) fn views(&self) -> usize {
        lock(&self.owners).len()
    }

    fn start(&self, key: Key, first: Ask) -> mpsc::Sender<Ask> {
        let (asks, inbox) = mpsc::channel(SOCKETS_MAX);
        asks.try_send(first).expect("a new queue has room");
        let owner = Owner::new(key, self.cluster.clone(), inbox, self.owners.clone(), self.metrics.clone());
        self.tasks.spawn(owner.run());
        asks
    }

    /// What a follower sends for what its stream gave: the diff, or a fresh start if it fell behind. `None`: the view ended.
    pub(crate) async fn settle(
        &self,
        key: Key,
        feed: &mut Feed,
        received: Result<Utf8Bytes, RecvError>,
    ) -> Option<Utf8Bytes> {
        match received {
            Ok(diff) => Some(diff),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(_)) => {
                self.metrics.lagged();
                *feed = self.follow(key).ok()?.await.ok()?;
                Some(take(&mut feed.reset))
            }
        }
    }
}

#[cfg(test)]
mod tests;
