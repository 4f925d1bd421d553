//! Nodes: the vertices of a view, as small values that share the facts they are about. What people read of them (rows,
//! labels, metrics) is made in [`crate::summary`] when it is asked for.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address;
use crate::fact::{Container, Host, Process};
use crate::id::{ContainerId, ImageId, PeerId};
use crate::life::Life;
use crate::services::Service;
use crate::view::Kind;

/// Names a node within a view, and no other. Its text is Weave Scope's, with the peer's id in place of the host's name; but a
/// process or a host may be called anything, and where it is called what another id looks like `name:` stands before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// A host.
    Host(PeerId),
    /// A process, by host and pid.
    Process(PeerId, u32),
    /// A container.
    Container(ContainerId),
    /// An image, as parent or child of other nodes.
    Image(ImageId),
    /// All containers of an image's name.
    ImageName(Arc<str>),
    /// All processes of a name.
    ProcessName(Arc<str>),
    /// All containers of a host name.
    Hostname(Arc<str>),
    /// Clients outside the cluster.
    InternetIn,
    /// Servers outside the cluster.
    InternetOut,
    /// A known service outside the cluster.
    Service(Arc<str>),
    /// Addresses nobody is known to have, in a network hosts are in: its first address and the length of its prefix.
    Unknown(IpAddr, u8),
    /// Processes of a host that run in no container.
    Uncontained(PeerId),
}

const UNCONTAINED: &str = "pseudo:uncontained:";
const UNKNOWN: &str = "pseudo:unknown:";
const SERVICE: &str = "service-";
const INTERNET_IN: &str = "in-theinternet";
const INTERNET_OUT: &str = "out-theinternet";

/// Before names that start as other ids do.
const NAME: &str = "name:";

impl NodeId {
    /// Whether it stands for something that is not one thing of the cluster.
    #[must_use]
    pub fn is_pseudo(&self) -> bool {
        self.is_outside() || matches!(self, Self::Uncontained(_))
    }

    /// Whether it is outside the cluster: told apart by address rather than by what it is.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::InternetIn | Self::InternetOut | Self::Service(_) | Self::Unknown(..))
    }

    /// The view an id is of, if its text tells: ids of hosts, containers, images and processes do.
    #[must_use]
    pub fn kind_of(text: &str) -> Option<Kind> {
        if text.starts_with(UNCONTAINED) {
            return Some(Kind::Containers);
        }
        let (name, suffix) = text.rsplit_once(';')?;
        match suffix {
            "<host>" => Some(Kind::Hosts),
            "<container>" => Some(Kind::Containers),
            "<container_image>" => Some(Kind::ContainersByImage),
            pid => (PeerId::new(name).is_ok() && pid.parse::<u32>().is_ok()).then_some(Kind::Processes),
        }
    }

    /// Reads an id as a view of `kind` writes it; a text that is none of that view's has no node.
    #[must_use]
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        match text {
            INTERNET_IN => return Some(Self::InternetIn),
            INTERNET_OUT => return Some(Self::InternetOut),
            _ => {}
        }
        // With a `;` it is something of the cluster that is called so.
        let is_bare = !text.contains(';');
        if let Some(peer) = text.strip_prefix(UNCONTAINED).filter(|_| is_bare) {
            return PeerId::new(peer).ok().map(Self::Uncontained);
        }
        if let Some(network) = text.strip_prefix(UNKNOWN).filter(|_| is_bare) {
            return network_of(network);
        }
        if let Some(name) = text.strip_prefix(SERVICE).filter(|_| is_bare) {
            return service_name(name).map(|name| Self::Service(name.into()));
        }
        match kind {
            Kind::ProcessesByName => return own_name(text).map(|name| Self::ProcessName(name.into())),
            Kind::ContainersByHostname => return own_name(text).map(|name| Self::Hostname(name.into())),
            Kind::ContainersByImage => return Some(Self::ImageName(text.strip_suffix(";<container_image>")?.into())),
            Kind::Processes | Kind::Containers | Kind::Hosts => {}
        }
        let (name, suffix) = text.rsplit_once(';')?;
        match suffix {
            "<host>" => PeerId::new(name).ok().map(Self::Host),
            "<container>" => ContainerId::new(name).ok().map(Self::Container),
            pid => Some(Self::Process(PeerId::new(name).ok()?, pid.parse().ok()?)),
        }
    }
}

/// Whether a name looks like an id that is no name, or like one with a [`NAME`] before it.
fn is_ambiguous(name: &str) -> bool {
    matches!(name, INTERNET_IN | INTERNET_OUT)
        || [UNCONTAINED, UNKNOWN, SERVICE, NAME].iter().any(|start| name.starts_with(start))
}

/// The name of processes or containers that an id stands for.
fn own_name(text: &str) -> Option<&str> {
    match text.strip_prefix(NAME) {
        Some(name) => is_ambiguous(name).then_some(name),
        None => (!is_ambiguous(text)).then_some(text),
    }
}

/// The node of a network, if the text is what [`NodeId`] writes of it.
fn network_of(text: &str) -> Option<NodeId> {
    let (first, prefix) = text.split_once('/')?;
    let net = (first.parse().ok()?, prefix.parse().ok()?);
    let is_network = address::network(net.0, net.1) == net && format!("{}/{}", net.0, net.1) == text;
    is_network.then_some(NodeId::Unknown(net.0, net.1))
}

/// What a service's id says after [`SERVICE`]: a `;` would make it look like the id of something of the cluster.
fn service_text(name: &str) -> Cow<'_, str> {
    if name.contains(['%', ';']) { name.replace('%', "%25").replace(';', "%3B").into() } else { name.into() }
}

/// The name of a service that says so.
fn service_name(text: &str) -> Option<Cow<'_, str>> {
    let name: Cow<'_, str> =
        if text.contains('%') { text.replace("%3B", ";").replace("%25", "%").into() } else { text.into() };
    (!name.is_empty() && service_text(&name) == text).then_some(name)
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(peer) => write!(f, "{peer};<host>"),
            Self::Process(peer, pid) => write!(f, "{peer};{pid}"),
            Self::Container(id) => write!(f, "{id};<container>"),
            Self::Image(id) => write!(f, "{id};<container_image>"),
            Self::ImageName(name) => write!(f, "{name};<container_image>"),
            Self::ProcessName(name) | Self::Hostname(name) if is_ambiguous(name) => write!(f, "{NAME}{name}"),
            Self::ProcessName(name) | Self::Hostname(name) => f.write_str(name),
            Self::InternetIn => f.write_str(INTERNET_IN),
            Self::InternetOut => f.write_str(INTERNET_OUT),
            Self::Service(name) => write!(f, "{SERVICE}{}", service_text(name)),
            Self::Unknown(network, prefix) => write!(f, "{UNKNOWN}{network}/{prefix}"),
            Self::Uncontained(peer) => write!(f, "{UNCONTAINED}{peer}"),
        }
    }
}

/// What a node is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A host.
    Host {
        /// Its peer.
        peer: PeerId,
        /// Its facts.
        host: Arc<Host>,
    },
    /// A process.
    Process {
        /// Peer of its host.
        peer: PeerId,
        /// Its host.
        host: Arc<Host>,
        /// Its facts.
        process: Arc<Process>,
        /// Its container, if it runs in one.
        container: Option<Arc<Container>>,
    },
    /// A container.
    Container {
        /// Peer of its host.
        peer: PeerId,
        /// Its host.
        host: Arc<Host>,
        /// Its facts.
        container: Arc<Container>,
    },
    /// All things of one name: processes, or containers by image or host name.
    Group {
        /// How many there are.
        members: usize,
    },
    /// A known service outside the cluster.
    Service {
        /// What it is called, and how it is drawn.
        service: Arc<Service>,
    },
    /// The Internet, unknown addresses of a network, or what is behind a host's uncontained processes.
    Pseudo {
        /// Its host, if it belongs to one.
        host: Option<Arc<Host>>,
    },
}

impl Subject {
    /// Peer of the one host it is of; groups and pseudo nodes have none.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Host { peer, .. } | Self::Process { peer, .. } | Self::Container { peer, .. } => Some(peer),
            Self::Group { .. } | Self::Service { .. } | Self::Pseudo { .. } => None,
        }
    }
}

/// A vertex of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in the view.
    pub id: NodeId,
    /// What it is about.
    pub subject: Subject,
    /// Nodes it connects to, sorted: from client to server.
    pub adjacency: Vec<NodeId>,
    /// That of the hosts that know of it: of several, the one that is worth most.
    pub life: Life,
}
