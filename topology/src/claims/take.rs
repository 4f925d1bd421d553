//! From facts to claims.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use foldhash::HashSet;

use super::{Accepted, Claims, Home, Offer, Party, Rank, Translation, of_container, party, process, published};
use crate::address::{self, Net};
use crate::fact::{Direction, Flow, Listener, Namespace, Owner};
use crate::graph::HostGraph;
use crate::id::Netns;

/// Lengths of prefixes, in bits, that a network may have to be one of ours: nobody has half the Internet.
const NETWORK_V4: Range<u8> = 8..32;
const NETWORK_V6: Range<u8> = 32..128;

impl Claims {
    pub(crate) fn of(graph: &HostGraph) -> Self {
        let mut claims = Self { netns: graph.host.netns, ..Self::default() };
        for network in &graph.host.networks {
            let address = network.address.to_canonical();
            claims.addresses.insert(address);
            let net = address::network(address, network.prefix);
            let least = if address.is_ipv4() { NETWORK_V4.start } else { NETWORK_V6.start };
            if !address::is_link_scoped(address) && network.prefix >= least {
                claims.networks.insert(net);
            }
            if network.is_runtimes() {
                claims.inhabited.insert(net);
            }
        }
        claims.local.clone_from(&claims.networks);
        claims.take_processes(graph);
        claims.take_containers(graph);
        claims.take_proxies(graph);
        for namespace in graph.namespaces.values().filter(|it| Some(it.netns) != graph.host.netns) {
            claims.take_namespace(namespace);
        }
        let with_homes = claims.nets_with_homes();
        claims.inhabited.extend(with_homes);
        for listener in graph.listeners.values() {
            claims.take_listener(graph, listener);
        }
        for flow in graph.flows.values() {
            claims.take_flow(graph, flow);
        }
        claims
    }

    /// Of each home the smallest network it is in. Costs the homes times the lengths of prefixes there are.
    fn nets_with_homes(&self) -> BTreeSet<Net> {
        let shapes: BTreeSet<(bool, u8)> =
            self.local.iter().map(|(first, prefix)| (first.is_ipv4(), *prefix)).collect();
        let around = |home: &IpAddr| {
            let shapes = shapes.iter().rev().filter(|shape| shape.0 == home.is_ipv4());
            shapes.map(|shape| address::network(*home, shape.1)).find(|net| self.local.contains(net))
        };
        self.homes.keys().filter_map(around).collect()
    }

    /// A namespace is one container's if all processes in it that run in a container run in that one. The container that
    /// lent its namespace to others (a pod's sandbox, `--network container:…`) shares it, so it is nobody's.
    fn take_processes(&mut self, graph: &HostGraph) {
        let mut shared = HashSet::default();
        for process in graph.processes.values() {
            let (Some(netns), Some(container)) = (process.netns, graph.container_of(process)) else { continue };
            if Some(netns) == self.netns || shared.contains(&netns) {
                continue;
            }
            let party = || of_container(&graph.peer, container);
            let tenant = self.tenants.entry(netns).or_insert_with(party);
            if tenant.container().is_none_or(|it| it.id != container.id) {
                shared.insert(netns);
                self.tenants.remove(&netns);
            }
        }
        if let Some(netns) = self.netns {
            self.tenants.insert(netns, Party::Host(graph.peer.clone()));
        }
    }

    fn take_containers(&mut self, graph: &HostGraph) {
        for container in graph.containers.values().filter(|it| it.state.is_running() && !it.is_in_host_network()) {
            let netns = container.init_pid.and_then(|pid| graph.process(pid)).and_then(|process| process.netns);
            let party = of_container(&graph.peer, container);
            let is_alone = netns.is_none_or(|netns| self.tenants.get(&netns) == Some(&party));
            let home = Home { party: is_alone.then_some(party), netns };
            for address in container.networks.values().flatten().map(IpAddr::to_canonical) {
                let is_taken = self.homes.insert(address, home.clone()).is_some();
                if is_taken {
                    self.homes.insert(address, Home::default());
                }
            }
            if !container.networks.is_empty() {
                self.told.extend(netns);
            }
            self.take_publication(published::of_container(container));
        }
    }

    /// What a command line says comes after Docker's own word.
    fn take_proxies(&mut self, graph: &HostGraph) {
        for process in graph.processes.values().filter(|it| party::is_docker_proxy(it, graph.host.netns)) {
            self.take_publication(published::of_proxy(process));
        }
    }

    fn take_publication(&mut self, publications: impl IntoIterator<Item = published::Publication>) {
        for (outside, to) in publications {
            let all = self.published.entry(outside).or_default();
            if !all.contains(&to) {
                all.push(to);
            }
        }
    }

    fn take_namespace(&mut self, namespace: &Namespace) {
        for network in &namespace.networks {
            let address = network.address.to_canonical();
            // A network of one address says nothing of its neighbours.
            let sizes = if address.is_ipv4() { NETWORK_V4 } else { NETWORK_V6 };
            if sizes.contains(&network.prefix) && !address::is_link_scoped(address) {
                self.local.insert(address::network(address, network.prefix));
            }
            self.take_home(address, namespace.netns);
        }
    }

    /// A runtime's word, and the host's own address, come before what a namespace merely has: but what such a namespace
    /// itself means by it is not known then.
    fn take_home(&mut self, address: IpAddr, netns: Netns) {
        if self.addresses.contains(&address) {
            self.contested.insert(address);
            return;
        }
        let tenant = self.tenants.get(&netns);
        let Some(home) = self.homes.get_mut(&address) else {
            let is_plain = tenant.is_some() || address::is_private(address);
            self.inside.insert(address, if is_plain { Rank::Inside } else { Rank::Doubtful });
            self.homes.insert(address, Home { party: tenant.cloned(), netns: Some(netns) });
            return;
        };
        let is_that_container = home.party.as_ref().is_some_and(|party| tenant.is_none_or(|tenant| tenant == party));
        match home.netns {
            Some(known) if known == netns => {}
            None if is_that_container => home.netns = Some(netns),
            Some(known) if self.told.contains(&known) => drop(self.contested.insert(address)),
            _ => *home = Home::default(),
        }
    }

    fn take_listener(&mut self, graph: &HostGraph, listener: &Listener) {
        let key = listener.key;
        let party = match listener.owners.iter().find_map(|id| process(graph, *id)) {
            Some(party) => party,
            None => match self.tenants.get(&key.netns) {
                Some(party) => party.clone(),
                None => return,
            },
        };
        let offer = Offer { address: key.address.to_canonical(), v6_only: listener.v6_only, party };
        self.offers.entry((key.netns, key.protocol, key.port)).or_default().push(offer);
    }

    fn take_flow(&mut self, graph: &HostGraph, flow: &Flow) {
        let mask = flow.masquerade.map(|address| address.to_canonical());
        self.masks.extend(mask.filter(|address| self.is_of_no_interface(*address)));
        match flow.key.direction {
            Direction::Incoming => self.take_accepted(graph, flow),
            Direction::Outgoing => self.take_proxied(graph, flow),
        }
    }

    fn take_proxied(&mut self, graph: &HostGraph, flow: &Flow) {
        let Owner::Process(id) = flow.key.owner else { return };
        let process = graph.processes.get(&id).filter(|it| party::is_docker_proxy(it, self.netns));
        let to = flow.key.remote.to_canonical();
        let door = process.and_then(|_| self.door(to, flow.key.protocol, flow.key.port));
        self.proxied.extend(door);
    }

    fn take_accepted(&mut self, graph: &HostGraph, flow: &Flow) {
        let key = flow.key;
        if let Some(party) = self.owner(graph, flow) {
            let door = (flow.netns, key.protocol, key.port);
            for port in [Some(key.port), flow.via.map(|via| via.port())].into_iter().flatten() {
                self.came_by.entry((key.protocol, port)).or_default().insert(door);
            }
            let accepted = Accepted { remote: key.remote.to_canonical(), via: flow.via, party };
            self.accepted.entry(door).or_default().push(accepted);
        }
        if let Some(via) = flow.via {
            let translation = Translation::of(flow, via, self.tenants.get(&flow.netns).cloned());
            if self.is_of_no_interface(translation.address) {
                self.fronts.insert(translation.address);
            }
            self.translated.entry((key.protocol, via.port())).or_default().push(translation);
        }
    }

    fn is_of_no_interface(&self, address: IpAddr) -> bool {
        !address.is_loopback() && !self.has(address)
    }
}
