//! Flows that no connected socket tells of, as conntrack of the host lists them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use topology::Netns;
use topology::fact::{Direction, Evidence, Owner};

use super::followed::{Counted, Part};
use super::{Figures, Round, Socket, Tracked, Tracker, far_end, flow_key};

/// Namespaces by address; none where several have it.
struct Homes {
    addresses: HashMap<IpAddr, Option<Netns>>,
    host: Option<Netns>,
}

impl Homes {
    fn of(&self, address: IpAddr) -> Option<Netns> {
        // What is followed is the host's own table: loopback in it is the host's.
        if address.is_loopback() { self.host } else { self.addresses.get(&address).copied().flatten() }
    }
}

impl Tracker {
    /// Takes conntrack's flows at those of their ends that are here, and ends those that are not there any more.
    pub(super) fn take_unsocketed(&mut self, round: &mut Round<'_>) {
        let Some(tracked) = round.unsocketed.take() else { return };
        let mut before = std::mem::take(&mut self.unsocketed);
        let homes = self.homes(round.host);
        for flow in &tracked {
            for (netns, socket) in self.ends(flow, &homes) {
                let Some(space) = self.spaces.get(&netns) else { continue };
                let name = (netns, socket.direction, socket.key());
                if self.unsocketed.contains_key(&name) {
                    continue; // told already: the same in another zone
                }
                let known = before.remove(&name);
                if space.held.contains_key(&socket.key()) {
                    if let Some(old) = known {
                        self.ledger.take_back(&old);
                    }
                    continue;
                }
                let far = far_end(&socket, round.translations);
                // A socket that is closed by now was whose it was: the kernel tracks it for a while longer.
                let owner = socket.owner.map(Owner::Process).or(known.map(|known| known.flow.owner));
                let owner = owner.unwrap_or(Owner::Netns(netns));
                let key = flow_key(owner, socket.direction, socket.protocol, &far);
                let mut told = Part::default();
                if let Some(old) = known.filter(|old| old.flow != key) {
                    told = self.ledger.take_back(&old);
                }
                if !self.ledger.see(key, netns, &far, Evidence::CONNTRACK, round.now) {
                    self.is_cut = true;
                    continue;
                }
                let one = Counted { flow: key, figures: Figures::default(), is_guess: false };
                if known.is_none_or(|known| known.flow != key) {
                    self.ledger.open(&one, true, round.now.clock);
                    self.ledger.take_told(&key, told);
                }
                self.unsocketed.insert(name, one);
            }
        }
        for gone in before.values() {
            self.ledger.close(gone);
        }
    }

    /// The ends of a tracked flow that are in namespaces of this host, as sockets.
    fn ends(&self, flow: &Tracked, homes: &Homes) -> Vec<(Netns, Socket)> {
        let end = |direction, local: SocketAddr, remote| {
            let netns = homes.of(local.ip())?;
            let space = self.spaces.get(&netns)?;
            let listening = || space.listening(flow.protocol, local);
            let owner = match direction {
                Direction::Incoming => listening().or_else(|| space.unconnected(local)),
                Direction::Outgoing => space.unconnected(local).or_else(listening),
            };
            let (lingers, figures) = (false, None);
            Some((netns, Socket { protocol: flow.protocol, direction, local, remote, owner, lingers, figures }))
        };
        let server = end(Direction::Incoming, flow.server, flow.visitor);
        // What nobody answers and nobody here takes was only tried.
        if !flow.has_reply && server.as_ref().is_none_or(|(_, socket)| socket.owner.is_none()) {
            return Vec::new();
        }
        end(Direction::Outgoing, flow.client, flow.named).into_iter().chain(server).collect()
    }

    /// Which namespace has which address.
    fn homes(&self, host: Option<Netns>) -> Homes {
        let mut addresses = HashMap::new();
        for (netns, space) in &self.spaces {
            for network in space.networks.iter() {
                let home = addresses.entry(network.address).or_insert(Some(*netns));
                if *home != Some(*netns) {
                    *home = None;
                }
            }
        }
        Homes { addresses, host }
    }
}
