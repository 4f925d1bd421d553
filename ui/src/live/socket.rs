//! One WebSocket: what its live view makes, passed on; nothing it says is listened to but that it is alive.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Feed, Key, Live};

/// Open WebSockets at a time.
pub(crate) const SOCKETS_MAX: usize = 256;

/// Longest message taken from a client. It has nothing to say: pongs and the closing of the socket are shorter.
pub(crate) const INCOMING_BYTES_MAX: usize = 4096;

/// How often the other side is asked whether it is there; proxies close what is silent for a minute.
const PING: Duration = Duration::from_secs(30);

/// Silence after which the other side is gone: two pings without a word.
const PONG_DEADLINE: Duration = Duration::from_secs(60);

/// Time for one message to go out.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Time to say goodbye.
const CLOSE_DEADLINE: Duration = Duration::from_millis(250);

/// A follower on its way to becoming a socket.
pub(crate) struct Follower {
    pub(crate) live: Arc<Live>,
    pub(crate) key: Key,
    pub(crate) feed: oneshot::Receiver<Feed>,
    pub(crate) stop: CancellationToken,
    /// Its share of [`SOCKETS_MAX`].
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Follower {
    /// Passes the stream on until either side ends.
    pub(crate) async fn run(mut self, mut socket: WebSocket) {
        let reason = self.pass_on(&mut socket).await;
        debug!(view = self.key.kind.id(), reason, "WebSocket ends");
        // The other side may be gone already.
        drop(timeout(CLOSE_DEADLINE, say_goodbye(socket, reason)).await);
        drop(self.permit);
    }

    async fn pass_on(&mut self, socket: &mut WebSocket) -> &'static str {
        const ENDING: &str = "the peer is ending";
        let Ok(mut feed) = (&mut self.feed).await else { return ENDING };
        let mut pings = interval_at(Instant::now() + PING, PING);
        let mut heard = Instant::now();
        let mut message = Message::Text(take(&mut feed.reset));
        loop {
            match timeout(WRITE_DEADLINE, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "the connection broke",
                Err(_) => return "the client took too long to read",
            }
            message = loop {
                tokio::select! {
                    () = self.stop.cancelled() => return ENDING,
                    () = sleep_until(heard + PONG_DEADLINE) => return "the client is silent",
                    _ = pings.tick() => break Message::Ping(Default::default()),
                    said = socket.recv() => match said {
                        Some(Ok(_)) => heard = Instant::now(),
                        _ => return "the client left",
                    },
                    received = feed.diffs.recv() => match self.live.settle(self.key, &mut feed, received).await {
                        Some(text) => break Message::Text(text),
                        None => return ENDING,
                    },
                }
            };
        }
    }
}

/// Closes the socket and waits for the other side to do so: a connection dropped with something unread in it is reset, and
/// the close frame is lost with it.
async fn say_goodbye(mut socket: WebSocket, reason: &'static str) {
    let frame = CloseFrame { code: close_code::AWAY, reason: reason.into() };
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
