//! Who is at one end of an edge.

use std::net::IpAddr;
use std::sync::Arc;

use crate::fact::{Container, Process};
use crate::id::{Netns, PeerId};
use crate::services::Service;

/// Program that Docker runs for each published port. It is plumbing: a connection to it is one to its container.
const DOCKER_PROXY: &str = "docker-proxy";

/// Whether a process is one of Docker's that pass on what comes to a published port. Anybody may be called that: Docker runs
/// them in the host's own network namespace, and in no container.
pub(super) fn is_docker_proxy(process: &Process, host: Option<Netns>) -> bool {
    process.name == DOCKER_PROXY && process.container.is_none() && host.is_some() && process.netns == host
}

/// Who is at one end of an edge, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A process, and the container it runs in.
    Process {
        /// Its host.
        peer: PeerId,
        /// The process.
        process: Arc<Process>,
        /// Its container, if it runs in one.
        container: Option<Arc<Container>>,
    },
    /// Some process of a container.
    Container {
        /// Its host.
        peer: PeerId,
        /// The container.
        container: Arc<Container>,
    },
    /// Something on a host: itself, or a container behind its masquerade.
    Host(PeerId),
    /// An address no host of ours has, of which it is known what it is.
    Service(Arc<Service>),
    /// An address no host of ours has, in a network one of them is in: a machine without a peer, or one not heard of yet.
    Unknown {
        /// First address of the network.
        network: IpAddr,
        /// Length of its prefix, in bits.
        prefix: u8,
    },
    /// An address no host of ours has.
    Internet,
}

impl Party {
    /// The host it is on; none if it is outside the cluster.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Process { peer, .. } | Self::Container { peer, .. } | Self::Host(peer) => Some(peer),
            Self::Service(_) | Self::Unknown { .. } | Self::Internet => None,
        }
    }

    /// The container it is, or runs in.
    #[must_use]
    pub fn container(&self) -> Option<&Arc<Container>> {
        match self {
            Self::Process { container, .. } => container.as_ref(),
            Self::Container { container, .. } => Some(container),
            Self::Host(_) | Self::Service(_) | Self::Unknown { .. } | Self::Internet => None,
        }
    }
}
