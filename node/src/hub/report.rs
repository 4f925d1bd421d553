//! How the mesh does, for people.

use std::net::SocketAddr;

use gossip::discovery::{Outcome, Registration, Status, WeaveError};
use gossip::mesh::{Life, LinkStatus, PeerStatus};
use topology::{Cluster, PeerId, Timestamp};
use ui::peers::{Direction, Link, Mesh, Name, Peer};

/// What does not come from the mesh itself.
#[derive(Debug)]
pub(crate) struct About {
    /// Whether whoever reaches it may join.
    pub(crate) open: bool,
    /// Where it listens.
    pub(crate) listen: Vec<SocketAddr>,
    /// What a person should do something about.
    pub(crate) problems: Vec<String>,
    /// Somebody who cannot come in.
    pub(crate) stranger: Option<String>,
}

impl About {
    /// What people are shown, of peers and their names in the same order.
    pub(super) fn report(
        &self,
        now: Timestamp,
        (peers, names): (&[PeerStatus], &[PeerId]),
        cluster: &Cluster,
        discovery: &Status,
    ) -> ui::Peers {
        let me = peers.first();
        let mut problems = self.problems.clone();
        problems.extend(self.stranger.clone());
        problems.extend(failed("cannot register in DNS", &discovery.dns));
        // Most hosts have no weaveDNS, and miss nothing.
        if !matches!(discovery.weave, Registration::Failed(WeaveError::Absent { .. })) {
            problems.extend(failed("cannot register in weaveDNS", &discovery.weave));
        }
        ui::Peers {
            at: now,
            mesh: Mesh {
                open: self.open,
                listen: self.listen.clone(),
                epoch: me.map_or(0, |me| me.origin.epoch.0),
                version: me.map_or(0, |me| me.version.0),
                problems,
            },
            discovery: names_of(discovery),
            peers: peers
                .iter()
                .zip(names)
                .enumerate()
                .map(|(at, (peer, name))| row(at == 0, peer, name, cluster))
                .collect(),
        }
    }
}

fn failed<E: std::fmt::Display>(what: &str, registration: &Registration<E>) -> Option<String> {
    match registration {
        Registration::Failed(error) => Some(format!("{what}: {error}")),
        _ => None,
    }
}

fn names_of(discovery: &Status) -> Vec<Name> {
    let looked_up = discovery.names.iter().map(|name| Name {
        name: name.name.clone(),
        state: match &name.outcome {
            Outcome::Found { server, .. } => format!("known to {server}"), // with the addresses beside it
            other => other.to_string(),
        },
        addresses: match &name.outcome {
            Outcome::Found { addresses, .. } => addresses.clone(),
            _ => Vec::new(),
        },
    });
    looked_up.collect()
}

fn row(is_self: bool, peer: &PeerStatus, name: &PeerId, cluster: &Cluster) -> Peer {
    Peer {
        id: name.clone(),
        host: cluster.host(name).map(|entry| entry.graph.host.name.clone()).unwrap_or_default(),
        addresses: peer.addresses.clone(),
        agent: peer.agent.clone(),
        life: match peer.life {
            Life::Live => ui::peers::Life::Live,
            Life::Suspect => ui::peers::Life::Suspect,
            Life::Gone => ui::peers::Life::Gone,
        },
        last_heard: peer.silent,
        lag: peer.lag,
        link: peer.link.map(link),
        epoch: peer.origin.epoch.0,
        version: peer.version.0,
        is_self,
    }
}

fn link(link: LinkStatus) -> Link {
    let LinkStatus { address, dialed, rtt, bytes_in, bytes_out, .. } = link;
    let direction = if dialed { Direction::Outgoing } else { Direction::Incoming };
    Link { address, direction, rtt, bytes_in, bytes_out }
}
