//! Parties as numbers: cheap to compare and to look up.

use std::hash::Hash;
use std::net::IpAddr;

use foldhash::HashMap;

use crate::address::Net;
use crate::claims::Party;
use crate::fact::Protocol;
use crate::id::{ContainerId, PeerId, ProcessId};

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ident {
    Process(usize, ProcessId),
    Container(usize),
    Host(usize),
    Service(usize),
    Unknown(Net),
    Internet,
}

/// One end of a report: who it is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) ident: Ident,
    pub(super) host: Option<usize>,
    pub(super) container: Option<usize>,
}

impl End {
    /// Its container, or itself if it is in none.
    pub(super) fn runs_in(self) -> Ident {
        self.container.map_or(self.ident, Ident::Container)
    }

    /// Whether the other one is a part of this one, so that both may be the same, the other better known.
    pub(super) fn has(self, other: Self) -> bool {
        match (self.ident, other.ident) {
            (Ident::Host(host), Ident::Process(..) | Ident::Container(_)) => other.host == Some(host),
            (Ident::Container(container), Ident::Process(..)) => other.container == Some(container),
            _ => false,
        }
    }
}

/// What makes two reports of one side tell of one relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bond {
    pub(super) client: Ident,
    pub(super) server: Ident,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    /// Outside the cluster each address is a relation of its own.
    pub(super) remote: Option<IpAddr>,
}

/// Numbers given so far: each from 0 in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Numbers<'a> {
    peers: HashMap<&'a PeerId, usize>,
    containers: HashMap<(usize, &'a ContainerId), usize>,
    services: HashMap<&'a str, usize>,
}

fn number<K: Eq + Hash>(map: &mut HashMap<K, usize>, key: K) -> usize {
    let next = map.len();
    *map.entry(key).or_insert(next)
}

impl<'a> Numbers<'a> {
    pub(super) fn peer(&mut self, peer: &'a PeerId) -> usize {
        number(&mut self.peers, peer)
    }

    pub(super) fn end(&mut self, party: &'a Party) -> End {
        let Some(host) = party.peer().map(|peer| self.peer(peer)) else {
            let ident = match party {
                Party::Service(service) => Ident::Service(number(&mut self.services, &*service.name)),
                Party::Unknown { network, prefix } => Ident::Unknown((*network, *prefix)),
                _ => Ident::Internet,
            };
            return End { ident, host: None, container: None };
        };
        let container = party.container().map(|it| number(&mut self.containers, (host, &it.id)));
        let ident = match (party, container) {
            (Party::Process { process, .. }, _) => Ident::Process(host, process.id),
            (_, Some(container)) => Ident::Container(container),
            (_, None) => Ident::Host(host),
        };
        End { ident, host: Some(host), container }
    }
}
