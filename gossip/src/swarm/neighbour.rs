//! What the driver knows of one peer: its connections, which of them is used, and the link on that one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libp2p::swarm::{ConnectionId, Stream};
use tokio_util::sync::CancellationToken;

use super::dial::DialError;
use super::link::{DownReason, FrameSender};

/// A connection whose handshakes are done.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) address: SocketAddr,
    pub(super) dialed: bool,
    pub(super) since: Instant,
    /// Its last sign of life.
    pub(super) heard: Instant,
    /// The substream the other side writes on.
    pub(super) inbound: Option<Stream>,
    /// The substream we write on.
    pub(super) outbound: Option<Stream>,
    /// We are closing it. Why, if it was dialled and has been of no use.
    pub(super) closing: Option<DialError>,
}

/// Whether frames go to and fro.
#[derive(Debug, Default)]
pub(super) enum Link {
    /// They do not.
    #[default]
    None,
    /// They could, once the consumer has been told.
    Announced,
    /// They do.
    Running(Running),
}

/// A link whose task is at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) frames: FrameSender,
    /// Counted by the task, lengths included.
    pub(super) received_bytes: Arc<AtomicU64>,
    /// Ends the task.
    pub(super) end: CancellationToken,
    /// Why it was ended, if not by itself.
    pub(super) reason: Option<DownReason>,
    /// The same when last looked at.
    pub(super) received_bytes_before: u64,
}

/// One peer with at least one connection, or a link that is ending.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    /// In the order they came; bounded by the limit of connections per peer.
    pub(super) connections: Vec<Connection>,
    /// The one that is used. Both sides use the same: the smaller peer picks one and opens its substream there, and
    /// the other side picks the one where it finds that substream.
    pub(super) chosen: Option<ConnectionId>,
    pub(super) link: Link,
}

impl Neighbour {
    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|it| it.id == id)
    }

    pub(super) fn chosen(&mut self) -> Option<&mut Connection> {
        self.connection(self.chosen?)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let at = self.connections.iter().position(|it| it.id == id)?;
        Some(self.connections.remove(at))
    }

    /// Picks a connection if there is none or it is going; returns a newly picked one.
    pub(super) fn choose(&mut self, we_decide: bool) -> Option<ConnectionId> {
        if self.chosen().is_some_and(|it| it.closing.is_none()) {
            return None;
        }
        let usable = |it: &&Connection| it.closing.is_none() && (we_decide || it.inbound.is_some());
        self.chosen = self.connections.iter().find(usable).map(|it| it.id);
        self.chosen
    }

    /// The chosen connection once it has a substream each way.
    pub(super) fn ready(&mut self) -> Option<&mut Connection> {
        self.chosen().filter(|it| it.inbound.is_some() && it.outbound.is_some())
    }

    /// The substreams of a connection that is [`ready`](Neighbour::ready), to read from and to write on.
    pub(super) fn take_substreams(&mut self) -> Option<(ConnectionId, Stream, Stream)> {
        let connection = self.ready()?;
        Some((connection.id, connection.inbound.take()?, connection.outbound.take()?))
    }

    /// Notes whether anything came over the link since the last call.
    pub(super) fn listen_for_life(&mut self, now: Instant) {
        let Link::Running(link) = &mut self.link else { return };
        let received_bytes = link.received_bytes.load(Relaxed);
        let came = std::mem::replace(&mut link.received_bytes_before, received_bytes) != received_bytes;
        if came && let Some(connection) = self.chosen() {
            connection.heard = now;
        }
    }

    /// Whether the link's last sign of life is longer ago than `silence_max`.
    pub(super) fn is_silent(&mut self, now: Instant, silence_max: Duration) -> bool {
        let running = matches!(self.link, Link::Running(_));
        running && self.chosen().is_some_and(|it| now.duration_since(it.heard) > silence_max)
    }

    /// Connections nobody needs: unused for longer than `unused_max`, or beside the link. One beside the link is kept until the link has shown life since: it may be that the peer
    /// came back before we noticed that it had gone.
    pub(super) fn superfluous(&mut self, now: Instant, unused_max: Duration, we_decide: bool) -> Vec<ConnectionId> {
        let linked = if matches!(self.link, Link::None) { None } else { self.chosen };
        let alive_at = self.chosen().map(|it| it.heard).filter(|_| linked.is_some() && we_decide);
        let open = self.connections.iter().filter(|it| it.closing.is_none() && Some(it.id) != linked);
        open.filter(|it| now.duration_since(it.since) > unused_max || alive_at.is_some_and(|at| at > it.since))
            .map(|it| it.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDES: bool = true;

    /// Connections by number and age in seconds; each was heard of at its start.
    fn neighbour(ages: &[(usize, u64)], now: Instant) -> Neighbour {
        let connection = |&(id, age): &(usize, u64)| Connection {
            id: ConnectionId::new_unchecked(id),
            address: ([127, 0, 0, 1], 4030).into(),
            dialed: true,
            since: now - Duration::from_secs(age),
            heard: now - Duration::from_secs(age),
            inbound: None,
            outbound: None,
            closing: None,
        };
        Neighbour { connections: ages.iter().map(connection).collect(), ..Neighbour::default() }
    }

    fn ids(ids: &[usize]) -> Vec<ConnectionId> {
        ids.iter().copied().map(ConnectionId::new_unchecked).collect()
    }

    fn start() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn who_decides_takes_the_first_connection_and_the_next_one_when_that_goes() {
        let mut ours = neighbour(&[(1, 2), (2, 1)], start());
        assert_eq!(ours.choose(DECIDES).into_iter().collect::<Vec<_>>(), ids(&[1]));
        assert_eq!(ours.choose(DECIDES), None, "it is chosen already");
        ours.connections[0].closing = Some(DialError::Dropped);
        assert_eq!(ours.choose(DECIDES).into_iter().collect::<Vec<_>>(), ids(&[2]));
        ours.remove(ids(&[2])[0]);
        assert_eq!(ours.choose(DECIDES), None);
        assert_eq!(ours.chosen, None);
        let mut theirs = neighbour(&[(1, 2), (2, 1)], start());
        assert_eq!(theirs.choose(!DECIDES), None, "they have not opened a substream yet");
    }

    #[test]
    fn a_second_connection_goes_once_the_link_has_shown_life_since() {
        let seconds = Duration::from_secs;
        // Age of the second connection, last sign of life of the first, who decides: is the second one closed?
        let cases = [
            (2, 3, DECIDES, false), // the first may be dead
            (2, 1, DECIDES, true),
            (2, 1, !DECIDES, false), // the other side may be about to use it
            (11, 3, DECIDES, true),  // it has had its time
            (11, 1, !DECIDES, true),
        ];
        for (age, heard, we_decide, want) in cases {
            let now = start();
            let mut neighbour = neighbour(&[(1, 60), (2, age)], now);
            neighbour.choose(DECIDES);
            neighbour.link = Link::Announced;
            neighbour.connections[0].heard = now - seconds(heard);
            let closed = neighbour.superfluous(now, seconds(10), we_decide);
            assert_eq!(closed, ids(if want { &[2] } else { &[] }), "{age} {heard} {we_decide}");
        }
    }

    #[test]
    fn a_connection_that_comes_to_nothing_goes() {
        let now = start();
        let mut neighbour = neighbour(&[(1, 11), (2, 9)], now);
        neighbour.choose(DECIDES);
        assert_eq!(neighbour.superfluous(now, Duration::from_secs(10), DECIDES), ids(&[1]));
    }
}
