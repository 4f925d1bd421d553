//! Yamux, bounded. libp2p's own adapter leaves 1 GiB of receive window to each connection and cannot be told otherwise; a
//! neighbour that delays its answers to Yamux's pings makes the window grow to that, and if we then are slow, fills it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::future::{self, Ready};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use tokio::time::Sleep;
use yamux::{ConnectionError, Mode};

/// Substreams of a connection, both sides' together. Identify, ping and sync need at most eight at a time.
const STREAMS_MAX: usize = 16;

/// What Yamux grants each substream from the start, by its specification.
const WINDOW_BYTES_MIN: usize = yamux::DEFAULT_CREDIT as usize;

/// By how much the windows of a connection may grow beyond that. 2 MiB more carry 20 MB/s over a round trip of 100 ms.
const WINDOW_BYTES_GROWTH: usize = 2 << 20;

/// How long a neighbour has for taking our last words. It may be gone, and TCP would not say so for minutes.
const CLOSE_MAX: Duration = Duration::from_millis(250);

/// The upgrade of an authenticated connection to one that carries substreams.
#[derive(Clone, Copy)]
pub(super) struct Yamux;

impl Yamux {
    fn over<C: AsyncRead + AsyncWrite + Unpin>(socket: C, mode: Mode) -> Muxer<C> {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(STREAMS_MAX * WINDOW_BYTES_MIN + WINDOW_BYTES_GROWTH));
        let connection = yamux::Connection::new(socket, config, mode);
        Muxer { connection, accepted: VecDeque::new(), acceptor: None, closing: None }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ok(Yamux::over(socket, Mode::Server))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ok(Yamux::over(socket, Mode::Client))
    }
}

/// A connection that carries substreams.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<C>,
    /// Opened by the other side while nobody asked for a new one; more than [`STREAMS_MAX`] there cannot be.
    accepted: VecDeque<yamux::Stream>,
    acceptor: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    /// Reads and writes whatever is due. Yamux does that only while it is asked for new substreams.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        while let Poll::Ready(stream) = self.connection.poll_next_inbound(cx) {
            self.accepted.push_back(stream.ok_or(ConnectionError::Closed)??);
            if let Some(acceptor) = self.acceptor.take() {
                acceptor.wake();
            }
        }
        Ok(())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        if self.accepted.is_empty() {
            self.drive(cx)?;
        }
        match self.accepted.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => {
                self.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if let Poll::Ready(closed) = self.connection.poll_close(cx) {
            return Poll::Ready(closed);
        }
        let patience = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_MAX)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        self.drive(cx)?;
        Poll::Pending
    }
}
