//! The protocol `/scope/sync/1` as libp2p sees it: substreams are opened and accepted here, and handed over with the
//! connection they belong to. What goes over them is the business of [`link`](super::link).
//!
//! `libp2p-stream` would do the same, except that it does not say which connection a substream belongs to, and picks one
//! at random to open it on.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::FromSwarm;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, NetworkBehaviour, NotifyHandler, Stream,
    StreamProtocol, StreamUpgradeError, SubstreamProtocol, ToSwarm,
};

use crate::PeerId;

/// The name and version of what neighbours speak.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/scope/sync/1");

/// What became of substreams.
#[derive(Debug)]
pub(super) enum Event {
    /// The one we asked for is there: ours to write on.
    Opened(Stream),
    /// The other side opened one: ours to read from.
    Accepted(Stream),
    /// The other side does not speak this protocol.
    Unsupported,
    /// It could not be opened.
    Failed(String),
}

/// An [`Event`] of one connection.
#[derive(Debug)]
pub(super) struct OnConnection {
    pub(super) connection: ConnectionId,
    pub(super) peer: libp2p::PeerId,
    pub(super) event: Event,
}

/// Opens and accepts substreams.
#[derive(Default)]
pub(super) struct Behaviour {
    outputs: VecDeque<ToSwarm<OnConnection, Open>>,
}

/// Tells a connection's handler to open our substream.
#[derive(Debug)]
pub(super) struct Open;

impl Behaviour {
    /// Opens our substream on a connection. To be asked for once.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.outputs.push_back(ToSwarm::NotifyHandler { peer_id: peer.into(), handler, event: Open });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = OnConnection;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: libp2p::PeerId, connection: ConnectionId, event: Event) {
        self.outputs.push_back(ToSwarm::GenerateEvent(OnConnection { connection, peer, event }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<OnConnection, Open>> {
        // Whatever adds an output is followed by another poll: the driver polls the swarm after all it does.
        self.outputs.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The protocol on one connection.
#[derive(Default)]
pub(super) struct Handler {
    open: bool,
    accepted: bool,
    /// At most three: one substream each way, and a failure.
    events: VecDeque<Event>,
}

type Protocol = ReadyUpgrade<StreamProtocol>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Event;
    type InboundProtocol = Protocol;
    type OutboundProtocol = Protocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Protocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Protocol, (), Event>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if std::mem::take(&mut self.open) {
            let protocol = self.listen_protocol();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open: Open) {
        self.open = true;
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocol, Protocol>) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                Event::Opened(protocol)
            }
            // A second one is reset by being dropped.
            ConnectionEvent::FullyNegotiatedInbound(_) if self.accepted => return,
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.accepted = true;
                Event::Accepted(protocol)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => match error {
                StreamUpgradeError::NegotiationFailed => Event::Unsupported,
                error => Event::Failed(error.to_string()),
            },
            _ => return,
        };
        self.events.push_back(event);
    }
}
