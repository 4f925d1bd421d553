//! What libp2p is asked to do: the protocols on a connection, and the limits.

use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{identify, memory_connection_limits, ping};

use super::transport::transport;
use super::{Config, StartError, admission, sync};

/// Handshakes under way that others began. Whoever fills these up keeps everybody else out for as long as they go on, and
/// needs no secret for it; so there are many, of which one host gets few: see [`admission`].
const PENDING_IN_MAX: u32 = 256;

/// Handshakes under way that we began. One more is denied: that dial fails.
const PENDING_OUT_MAX: u32 = 32;

/// Connections to one peer. One is used, see [`neighbour`](super::neighbour); the others come of both sides dialling at once,
/// over IPv4 and IPv6. Were it fewer than four, each side could deny just those the other one kept.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;

/// How often identify tells again what it told at the start of the connection, and what nothing here reads.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A connection is closed by [`driver`](super::driver), never for being quiet.
const IDLE_MAX: Duration = Duration::from_secs(u64::MAX);

/// All protocols together. Each may deny a connection, in this order.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) banned: allow_block_list::Behaviour<BlockedPeers>,
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    admission: admission::Behaviour,
    pub(super) sync: sync::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

impl Behaviour {
    fn new(config: &Config) -> Behaviour {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_IN_MAX))
            .with_max_pending_outgoing(Some(PENDING_OUT_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let identify = identify::Config::new("scope/1".to_owned(), config.keypair.public())
            .with_agent_version(config.agent.clone())
            .with_interval(IDENTIFY_INTERVAL)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(config.ping_interval).with_timeout(config.silence_max);
        Behaviour {
            banned: allow_block_list::Behaviour::default(),
            connections: connection_limits::Behaviour::new(limits),
            memory: memory_connection_limits::Behaviour::with_max_bytes(config.memory_bytes_max),
            admission: admission::Behaviour::new(config.links_max),
            sync: sync::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
        }
    }
}

/// A swarm that neither listens nor dials yet.
pub(super) fn swarm(config: &Config) -> Result<libp2p::Swarm<Behaviour>, StartError> {
    let transport =
        transport(&config.keypair, config.secret.as_ref()).map_err(|it| StartError::Noise(it.to_string()))?;
    let settings =
        libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_MAX).with_smart_dial();
    Ok(libp2p::Swarm::new(transport, Behaviour::new(config), config.keypair.public().to_peer_id(), settings))
}
