//! The link to one neighbour: a task that writes our frames on the substream we opened and reads the neighbour's from the
//! one it opened. Neither waits for the other: if both sides wrote before they read, both windows would fill up and
//! neither would ever read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use futures::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use libp2p::swarm::{ConnectionError, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dial::is_closed;
use super::{Event, FRAME_BYTES_MAX};
use crate::PeerId;

/// Frames that wait to be written, in bytes, each with [`FRAME_BYTES_OVERHEAD`].
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// What a waiting frame takes besides its bytes.
const FRAME_BYTES_OVERHEAD: usize = 64;

/// Small frames are written together up to this, the most Yamux sends at once.
const BATCH_BYTES: usize = 16 * 1024;

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;

/// Why a link is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The other side closed it, or its process ended.
    #[error("closed by the other side")]
    Closed,
    /// [`Command::Disconnect`](super::Command::Disconnect).
    #[error("closed by us")]
    Asked,
    /// Nothing came for [`Config::silence_max`](super::Config::silence_max): the host or the network is gone.
    #[error("silent for too long")]
    Silent,
    /// A frame was announced that is larger than any may be.
    #[error("frame of {bytes} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    Oversized {
        /// As announced; they were not read.
        bytes: u32,
    },
    /// More was given to be sent than may wait, or a frame larger than any may be.
    #[error("more was to be sent than may wait")]
    Overrun,
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

impl DownReason {
    /// From what libp2p says of a closed connection.
    pub(super) fn from_cause(cause: Option<ConnectionError>) -> DownReason {
        let Some(ConnectionError::IO(error)) = cause else { return DownReason::Closed };
        match error.get_ref().and_then(|packed| packed.downcast_ref()) {
            Some(yamux::ConnectionError::Closed) => DownReason::Closed,
            Some(yamux::ConnectionError::Io(error)) => broken(error),
            _ => broken(&error),
        }
    }
}

/// What the two halves need.
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) inbound: Stream,
    pub(super) outbound: Stream,
    pub(super) frames: Frames,
    pub(super) events: mpsc::Sender<Event>,
    /// Counts what comes.
    pub(super) received_bytes: Arc<AtomicU64>,
    pub(super) end: CancellationToken,
}

impl Link {
    /// Reads and writes until either fails or the link is ended. Sends no more events after it returned.
    pub(super) async fn run(self) -> (PeerId, DownReason) {
        let Link { peer, inbound, outbound, frames, events, received_bytes, end } = self;
        let reason = tokio::select! {
            () = end.cancelled() => DownReason::Closed,
            Err(reason) = read(peer, inbound, &events, &received_bytes) => reason,
            Err(reason) = write(peer, outbound, frames, &events) => reason,
            else => DownReason::Closed,
        };
        (peer, reason)
    }
}

async fn read(
    from: PeerId,
    inbound: Stream,
    events: &mpsc::Sender<Event>,
    received_bytes: &AtomicU64,
) -> Result<(), DownReason> {
    let mut inbound = BufReader::new(inbound);
    loop {
        let mut length = [0; LENGTH_BYTES];
        inbound.read_exact(&mut length).await.map_err(|error| broken(&error))?;
        let bytes = u32::from_le_bytes(length);
        if bytes as usize > FRAME_BYTES_MAX {
            return Err(DownReason::Oversized { bytes });
        }
        let mut frame = vec![0; bytes as usize];
        inbound.read_exact(&mut frame).await.map_err(|error| broken(&error))?;
        received_bytes.fetch_add((LENGTH_BYTES + frame.len()) as u64, Relaxed);
        let event = Event::Received { from, frame: frame.into() };
        events.send(event).await.map_err(|_| DownReason::Closed)?;
    }
}

async fn write(
    to: PeerId,
    mut outbound: Stream,
    mut frames: Frames,
    events: &mpsc::Sender<Event>,
) -> Result<(), DownReason> {
    let mut batch = Vec::new();
    while let Some(frame) = frames.next().await {
        let mut bytes = append(&mut batch, &frame);
        while batch.len() < BATCH_BYTES
            && let Some(frame) = frames.try_next()
        {
            bytes += append(&mut batch, &frame);
        }
        outbound.write_all(&batch).await.map_err(|error| broken(&error))?;
        outbound.flush().await.map_err(|error| broken(&error))?;
        batch.clear();
        batch.shrink_to(BATCH_BYTES);
        events.send(Event::Sent { to, bytes }).await.map_err(|_| DownReason::Closed)?;
    }
    Ok(())
}

/// Copying a frame costs a small part of encrypting it. Returns its length.
fn append(batch: &mut Vec<u8>, frame: &Bytes) -> usize {
    let length = u32::try_from(frame.len()).expect("the queue takes none above 512 KiB");
    batch.reserve_exact(LENGTH_BYTES + frame.len());
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(frame);
    frame.len()
}

/// A substream that ends between two frames was closed; one that ends within was cut, which comes to the same.
fn broken(error: &io::Error) -> DownReason {
    if is_closed(error.kind()) { DownReason::Closed } else { DownReason::Broken(error.to_string()) }
}

/// Where frames for a link wait. Bounded by bytes, since frames are of any size.
pub(super) fn queue() -> (FrameSender, Frames) {
    let (sender, queue) = mpsc::unbounded_channel();
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    (FrameSender { queue: sender, waiting_bytes: waiting_bytes.clone() }, Frames { queue, waiting_bytes })
}

/// The driver's end of a [`queue`].
#[derive(Debug)]
pub(super) struct FrameSender {
    queue: mpsc::UnboundedSender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl FrameSender {
    /// Adds a frame; [`DownReason::Overrun`] if there is no room.
    pub(super) fn push(&self, frame: Bytes) -> Result<(), DownReason> {
        let bytes = frame.len() + FRAME_BYTES_OVERHEAD;
        if frame.len() > FRAME_BYTES_MAX || self.waiting_bytes.load(Relaxed) + bytes > QUEUE_BYTES_MAX {
            return Err(DownReason::Overrun);
        }
        self.waiting_bytes.fetch_add(bytes, Relaxed);
        // Without its other end the link is ending, and says so by itself.
        let _ = self.queue.send(frame);
        Ok(())
    }
}

/// The link's end of a [`queue`].
#[derive(Debug)]
pub(super) struct Frames {
    queue: mpsc::UnboundedReceiver<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Frames {
    async fn next(&mut self) -> Option<Bytes> {
        let frame = self.queue.recv().await;
        frame.inspect(|frame| self.taken(frame))
    }

    fn try_next(&mut self) -> Option<Bytes> {
        let frame = self.queue.try_recv().ok();
        frame.inspect(|frame| self.taken(frame))
    }

    fn taken(&self, frame: &Bytes) {
        self.waiting_bytes.fetch_sub(frame.len() + FRAME_BYTES_OVERHEAD, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_holds_so_many_bytes_and_no_frame_that_may_not_be_sent() {
        let (sender, mut frames) = queue();
        let half = Bytes::from(vec![0; FRAME_BYTES_MAX - FRAME_BYTES_OVERHEAD]);
        assert_eq!(sender.push(Bytes::from(vec![0; FRAME_BYTES_MAX + 1])), Err(DownReason::Overrun));
        assert_eq!(sender.push(half.clone()), Ok(()));
        assert_eq!(sender.push(half.clone()), Ok(()));
        assert_eq!(sender.push(Bytes::new()), Err(DownReason::Overrun));
        assert_eq!(frames.try_next(), Some(half.clone()));
        assert_eq!(sender.push(half), Ok(()));
    }

    #[test]
    fn a_frame_is_its_length_and_itself() {
        let mut batch = Vec::new();
        assert_eq!(append(&mut batch, &Bytes::from_static(b"abc")), 3);
        assert_eq!(append(&mut batch, &Bytes::new()), 0);
        assert_eq!(batch, b"\x03\0\0\0abc\0\0\0\0");
    }
}
