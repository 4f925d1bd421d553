//! Connections into flows: relations rather than sockets. A flow keeps its number for as long as it is known, and is kept
//! for a while after its last connection closed, so that an edge fades rather than flickers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use topology::fact::{Direction, Fact, Flow, FlowKey, Listener, ListenerKey, Owner, Protocol};
use topology::gauges::FlowGauges;
use topology::{Key, Netns, ProcessId, Timestamp};

use super::classify::Connection;
use super::inodes::Owners;
use super::sock_diag::{Socket, State};
use crate::probe::pace::Moment;

/// Most flows kept of a host; new ones beyond that are left out, and the status says so.
pub(super) const FLOWS_MAX: usize = 20_000;

/// Most listeners kept of a host.
pub(super) const LISTENERS_MAX: usize = 10_000;

/// How long a flow outlives the last trace of its connections: long enough for a client that connects every ten seconds.
pub(super) const LINGER: Duration = Duration::from_secs(15);

/// What one scan saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    listeners: BTreeMap<ListenerKey, Listener>,
    /// Open connections of each flow; none for those only a closed one tells of.
    flows: BTreeMap<FlowKey, (Netns, u32)>,
    /// Whether there were more listeners than are kept.
    pub(super) is_cut: bool,
}

impl Seen {
    pub(super) fn take_listeners(&mut self, netns: Netns, listeners: &[Socket], owners: &Owners) {
        for socket in listeners {
            let State::Listen { v6_only } = socket.state else { continue };
            let (address, port) = (socket.local.ip(), socket.local.port());
            let key = ListenerKey { netns, protocol: Protocol::Tcp, address, port };
            if self.listeners.len() >= LISTENERS_MAX && !self.listeners.contains_key(&key) {
                self.is_cut = true;
                continue;
            }
            let listener = self.listeners.entry(key).or_insert(Listener { key, v6_only, owners: Vec::new() });
            // Several sockets share an address where SO_REUSEPORT is used: one a worker.
            listener.owners.extend(owners.of(socket.inode));
            listener.owners.sort_unstable();
            listener.owners.dedup();
            listener.owners.truncate(super::inodes::OWNERS_MAX);
        }
    }

    pub(super) fn take_connections(&mut self, netns: Netns, connections: &[Connection], owners: &Owners) {
        for connection in connections {
            let owner = owners.of(connection.inode).first().map_or(Owner::Netns(netns), |id| Owner::Process(*id));
            let port = match connection.direction {
                Direction::Incoming => connection.local.port(),
                Direction::Outgoing => connection.remote.port(),
            };
            let key = FlowKey {
                owner,
                direction: connection.direction,
                protocol: Protocol::Tcp,
                remote: connection.remote.ip(),
                port,
            };
            let (_, open) = self.flows.entry(key).or_insert((netns, 0));
            *open += u32::from(connection.state.is_open());
        }
    }
}

#[derive(Debug)]
struct Followed {
    flow: Flow,
    open: u32,
    seen: Instant,
}

/// What a flow is about, whoever holds it.
type Relation = (Netns, Direction, IpAddr, u16);

fn relation(netns: Netns, key: &FlowKey) -> Relation {
    (netns, key.direction, key.remote, key.port)
}

/// The flows and listeners of this host, followed from scan to scan.
#[derive(Debug, Default)]
pub(super) struct Flows {
    listeners: BTreeMap<ListenerKey, Listener>,
    flows: BTreeMap<FlowKey, Followed>,
    last_serial: u32,
    told: BTreeMap<Key, Fact>,
    told_open: Option<FlowGauges>,
}

impl Flows {
    /// Takes a scan; returns how many flows there was no room for. Flows of processes that are not `alive` are forgotten: they
    /// lead to nobody.
    ///
    /// A connection that lingers in `TIME_WAIT` has lost its process. If a process that lives has a flow of the same relation
    /// the connection was, most probably, its: an *echo*, which keeps that flow and makes none of its own.
    pub(super) fn follow(&mut self, seen: Seen, alive: impl Fn(ProcessId) -> bool, now: Moment) -> usize {
        self.listeners = seen.listeners;
        self.flows.retain(|key, _| !matches!(key.owner, Owner::Process(id) if !alive(id)));
        for followed in self.flows.values_mut() {
            followed.open = 0;
        }
        let (of_processes, orphaned): (Vec<_>, Vec<_>) =
            seen.flows.into_iter().partition(|(key, _)| matches!(key.owner, Owner::Process(_)));
        let mut left_out = 0;
        for (key, (netns, open)) in of_processes {
            left_out += usize::from(!self.see(key, netns, open, now));
        }
        let attributed: BTreeMap<Relation, FlowKey> = {
            let of_processes = self.flows.iter().filter(|(key, _)| matches!(key.owner, Owner::Process(_)));
            of_processes.map(|(key, followed)| (relation(followed.flow.netns, key), *key)).collect()
        };
        for (key, (netns, open)) in orphaned {
            match attributed.get(&relation(netns, &key)).and_then(|own| self.flows.get_mut(own)) {
                Some(echoed) if open == 0 => echoed.seen = now.clock,
                _ => left_out += usize::from(!self.see(key, netns, open, now)),
            }
        }
        self.flows.retain(|_, followed| now.clock.saturating_duration_since(followed.seen) < LINGER);
        left_out
    }

    /// Returns whether there was room.
    fn see(&mut self, key: FlowKey, netns: Netns, open: u32, now: Moment) -> bool {
        let is_full = self.flows.len() >= FLOWS_MAX;
        let followed = match self.flows.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return false,
            Entry::Vacant(new) => {
                self.last_serial = self.last_serial.wrapping_add(1);
                let flow = Flow::new(key, self.last_serial, netns, now.at);
                new.insert(Followed { flow, open, seen: now.clock })
            }
        };
        followed.open = open;
        followed.seen = now.clock;
        true
    }

    /// All facts, if they are others than at the last call.
    pub(super) fn facts_if_changed(&mut self) -> Option<BTreeMap<Key, Fact>> {
        let listeners = self.listeners.values().cloned().map(Fact::Listener);
        let flows =
            self.flows.values().map(|followed| Fact::Flow(Flow { open: followed.open > 0, ..followed.flow.clone() }));
        let facts: BTreeMap<Key, Fact> = listeners.chain(flows).map(|fact| (fact.key(), fact)).collect();
        (facts != self.told).then(|| {
            self.told.clone_from(&facts);
            facts
        })
    }

    /// Open connections by flow, if they are others than at the last call.
    pub(super) fn gauges_if_changed(&mut self, now: Moment) -> Option<FlowGauges> {
        let mut rows: Vec<(u32, u32)> =
            self.flows.values().map(|followed| (followed.flow.serial, followed.open)).collect();
        rows.sort_unstable();
        let (serials, open) = rows.into_iter().unzip();
        let gauges = FlowGauges { at: Timestamp(0), serials, open, ..FlowGauges::default() };
        (self.told_open.as_ref() != Some(&gauges)).then(|| {
            self.told_open = Some(gauges.clone());
            FlowGauges { at: now.at, ..gauges }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const NETNS: Netns = Netns(1);
    const CURL: Owner = Owner::Process(ProcessId { pid: 7, start: 70 });

    fn key(owner: Owner, direction: Direction, remote: &str) -> FlowKey {
        let remote: SocketAddr = remote.parse().expect("an address");
        FlowKey { owner, direction, protocol: Protocol::Tcp, remote: remote.ip(), port: remote.port() }
    }

    fn seen(flows: &[(FlowKey, u32)]) -> Seen {
        let flows = flows.iter().map(|(key, open)| (*key, (NETNS, *open))).collect();
        Seen { flows, ..Seen::default() }
    }

    fn moment(start: Instant, seconds: u64) -> Moment {
        Moment { clock: start + Duration::from_secs(seconds), at: Timestamp(1000 * seconds) }
    }

    fn flows(facts: &BTreeMap<Key, Fact>) -> Vec<(u32, bool)> {
        let flow = |fact: &Fact| match fact {
            Fact::Flow(flow) => Some((flow.serial, flow.open)),
            _ => None,
        };
        facts.values().filter_map(flow).collect()
    }

    #[test]
    fn a_flow_keeps_its_number_and_lingers_after_its_last_connection() {
        let start = Instant::now();
        let web = key(CURL, Direction::Outgoing, "10.0.0.2:80");
        let mut followed = Flows::default();
        let steps = [
            // second, open connections now (none: not seen), facts told
            (0, Some(2), Some(vec![(1, true)])),
            (1, Some(3), None),
            (2, None, Some(vec![(1, false)])),
            (15, None, None),
            (16, Some(1), Some(vec![(1, true)])),
            (17, None, Some(vec![(1, false)])),
            (31, None, Some(vec![])),
            (32, Some(1), Some(vec![(2, true)])),
        ];
        for (second, open, want) in steps {
            let seen = open.map_or_else(Seen::default, |open| seen(&[(web, open)]));
            assert_eq!(followed.follow(seen, |_| true, moment(start, second)), 0);
            assert_eq!(followed.facts_if_changed().as_ref().map(flows), want, "second {second}");
        }
    }

    #[test]
    fn what_lingers_of_a_known_flow_makes_no_second_one() {
        let orphan = Owner::Netns(NETNS);
        let cases = [
            // what is seen, flows that come of it
            (vec![(key(orphan, Direction::Outgoing, "10.0.0.2:80"), 0)], 1),
            (
                vec![
                    (key(CURL, Direction::Outgoing, "10.0.0.2:80"), 1),
                    (key(orphan, Direction::Outgoing, "10.0.0.2:80"), 0),
                ],
                1,
            ),
            (
                vec![
                    (key(CURL, Direction::Outgoing, "10.0.0.2:80"), 1),
                    (key(orphan, Direction::Outgoing, "10.0.0.2:81"), 0),
                    (key(orphan, Direction::Incoming, "10.0.0.2:80"), 0),
                ],
                3,
            ),
        ];
        for (sockets, want) in cases {
            let mut followed = Flows::default();
            followed.follow(seen(&sockets), |_| true, moment(Instant::now(), 0));
            assert_eq!(followed.flows.len(), want, "{sockets:?}");
        }
    }

    #[test]
    fn what_lingers_keeps_the_flow_of_a_process_and_outlives_one_that_ended() {
        let echo = [(key(Owner::Netns(NETNS), Direction::Outgoing, "10.0.0.2:80"), 0)];
        let open = [(key(CURL, Direction::Outgoing, "10.0.0.2:80"), 1)];
        // second, what is seen, whether the process lives, serials of the flows told of
        let lives = [
            (0, &open[..], true, vec![1]),
            (30, &echo, true, vec![1]),
            (60, &echo, true, vec![1]),
            (76, &[], true, vec![]),
        ];
        let ends = [
            (0, &open[..], true, vec![1]),
            (1, &echo, false, vec![2]),
            (60, &echo, false, vec![2]),
            (76, &[], false, vec![]),
        ];
        for steps in [lives, ends] {
            let start = Instant::now();
            let mut followed = Flows::default();
            for (second, sockets, alive, want) in steps {
                followed.follow(seen(sockets), |_| alive, moment(start, second));
                let serials: Vec<u32> = followed.flows.values().map(|followed| followed.flow.serial).collect();
                assert_eq!(serials, want, "second {second}, alive {alive}");
            }
        }
    }

    #[test]
    fn there_is_room_for_a_bounded_number() {
        let start = Instant::now();
        let many: Vec<_> = (0..u32::try_from(FLOWS_MAX).expect("fits") + 5)
            .map(|number| {
                (
                    key(
                        CURL,
                        Direction::Outgoing,
                        &SocketAddr::new(IpAddr::from(number.to_be_bytes()), 80).to_string(),
                    ),
                    1,
                )
            })
            .collect();
        let mut followed = Flows::default();
        assert_eq!(followed.follow(seen(&many), |_| true, moment(start, 0)), 5);
        assert_eq!(followed.flows.len(), FLOWS_MAX);
        assert_eq!(followed.follow(Seen::default(), |_| true, moment(start, 60)), 0);
        assert_eq!(followed.flows.len(), 0);
    }
}
