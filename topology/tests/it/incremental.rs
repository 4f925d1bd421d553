//! A view that follows the cluster is the view drawn from scratch, whatever happened in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use topology::cluster::Writer;
use topology::fact::{
    Direction, Fact, Flow, FlowKey, Listener, ListenerKey, Namespace, Network, Owner, Protocol, RemoteName,
};
use topology::gauges::{FlowGauges, Gauges};
use topology::graph::Change;
use topology::services::{Pattern, Rule};
use topology::synthetic::SyntheticHost;
use topology::view::options::{Options, Stopped, System, Unconnected};
use topology::{Cluster, Kind, Life, Netns, Node, NodeId, PeerId, ProcessId, Timestamp, View};

const HOSTS: u32 = 3;

/// One more, that says what the first says: a peer that lost its key and came back as another.
const TWIN: u32 = HOSTS;

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A host says some of its facts.
    Say { host: u32, from: usize, count: usize },
    /// A host takes some of its facts back.
    Unsay { host: u32, from: usize, count: usize },
    /// A busy host goes on.
    Churn { host: u32, step: u32 },
    /// A host says other things than before: what differs comes at once, removals first.
    Replace { host: u32, from: usize, count: usize },
    /// A host is heard of, or not.
    Life { host: u32, life: Life },
    /// A host is forgotten.
    Forget { host: u32 },
    /// Somebody looks. What happened in between is seen at once.
    Look,
}

fn life() -> impl Strategy<Value = Life> {
    let since = (0_u64..3).prop_map(Timestamp);
    prop_oneof![
        Just(Life::Live),
        since.clone().prop_map(|since| Life::Suspect { since }),
        since.prop_map(|since| Life::Gone { since }),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let some = (0..=TWIN, 0_usize..540, 1_usize..400);
    prop_oneof![
        4 => some.clone().prop_map(|(host, from, count)| Event::Say { host, from, count }),
        3 => some.clone().prop_map(|(host, from, count)| Event::Unsay { host, from, count }),
        1 => some.prop_map(|(host, from, count)| Event::Replace { host, from, count }),
        3 => (0..=TWIN, life()).prop_map(|(host, life)| Event::Life { host, life }),
        3 => (0..=TWIN, 0_u32..9).prop_map(|(host, step)| Event::Churn { host, step }),
        1 => (0..=TWIN).prop_map(|host| Event::Forget { host }),
        4 => Just(Event::Look),
    ]
}

fn host(number: u32) -> (SyntheticHost, PeerId) {
    let host = SyntheticHost::new(number % HOSTS, HOSTS);
    let twin = || PeerId::new("twin").expect("an id");
    let peer = if number == TWIN { twin() } else { host.peer() };
    (host, peer)
}

/// What a host says of namespaces, translated flows, names and services: hosts translate to each other, their namespaces
/// share an address, and some addresses are nobody's until a rule names them.
fn translated(number: u32) -> Vec<Fact> {
    let (own, next) = (format!("10.0.0.{}", number + 1), format!("10.0.0.{}", (number + 1) % HOSTS + 1));
    let (inside, next_inside) = (format!("10.0.9.{}", number + 1), format!("10.0.9.{}", (number + 1) % HOSTS + 1));
    let (mask, next_mask) = (format!("192.0.2.{}", number + 1), format!("192.0.2.{}", (number + 1) % HOSTS + 1));
    let [out, incoming] = [Direction::Outgoing, Direction::Incoming];
    let flows = [
        (0, out, &*next_inside, 8000, None, None),
        (0, incoming, &*next_inside, 8000, None, None),
        (2, out, &*next, 9999, None, Some(&*mask)),
        (2, out, "192.0.2.2", 80, None, None),
        (0, incoming, &*next_mask, 8000, Some(format!("{own}:9999")), None),
        (4, incoming, &*next_mask, 8000, Some(format!("{own}:9998")), None),
        (2, out, &*next, 9998, None, None),
        (2, out, "10.96.0.1", 80, None, None),
        (4, incoming, &*next, 8000, Some("10.96.0.1:80".to_owned()), None),
        (2, out, "172.17.0.2", 8000, None, None),
        (2, out, "10.0.9.77", 8000, None, None),
        (2, out, "fe80::2", 8000, None, None),
        (4, out, "127.0.0.1", 8000, None, None),
        (4, incoming, "127.0.0.1", 8000, None, None),
        (2, out, "203.0.113.77", 443, None, None),
        (2, out, "10.0.200.1", 443, None, None),
    ];
    let mut facts: Vec<Fact> = (1000..).zip(flows).map(|(serial, it)| Fact::Flow(flow(serial, it))).collect();
    let namespaces = [
        (0, vec!["172.17.0.2/16", "fe80::2/64"], Some(&inside)),
        (1, vec!["10.0.9.77/24", "203.0.113.77/32"], None),
        (2, vec!["172.17.0.4/16"], None),
        (90, vec!["172.17.0.2/16", "172.17.0.1/16", "fe80::2/64"], None),
    ];
    facts.extend(namespaces.map(|(namespace, networks, inside)| {
        let inside = inside.map(|inside| network(&format!("{inside}/24")));
        let networks = networks.into_iter().map(network).chain(inside).collect();
        Fact::Namespace(Namespace { netns: netns(namespace), networks })
    }));
    let key = ListenerKey { netns: netns(90), protocol: Protocol::Tcp, address: ip("0.0.0.0"), port: 8000 };
    facts.push(Fact::Listener(Listener { key, v6_only: false, owners: vec![process(100)] }));
    let names = vec![format!("www-{number}.example.com")];
    facts.push(Fact::RemoteName(RemoteName { address: ip("203.0.113.77"), names, reverse: None }));
    let patterns = [
        Pattern::Net { address: ip("10.0.200.0"), prefix: 24 },
        Pattern::Suffix("example.com".into()),
        Pattern::Net { address: ip("203.0.113.0"), prefix: 24 },
    ];
    let rules = patterns.into_iter().skip(number as usize);
    let name = Some(format!("rule of {number}"));
    facts.push(Fact::Services(
        rules.map(|pattern| Rule { pattern, name: name.clone(), icon: None, group: None }).collect(),
    ));
    facts
}

/// The namespace of the synthetic container of that number; none has the last.
fn netns(container: u32) -> Netns {
    Netns(4_026_532_000 + u64::from(container))
}

fn process(number: u32) -> ProcessId {
    ProcessId { pid: 100 + number, start: 5000 + u64::from(number) }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

fn network(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').expect("a prefix");
    Network { interface: "eth0".into(), address: ip(address), prefix: prefix.parse().expect("bits") }
}

type Told<'a> = (u32, Direction, &'a str, u16, Option<String>, Option<&'a str>);

/// A flow of a synthetic process in a container, of which each has two.
fn flow(serial: u32, (owner, direction, remote, port, via, masquerade): Told<'_>) -> Flow {
    let key =
        FlowKey { owner: Owner::Process(process(owner)), direction, protocol: Protocol::Tcp, remote: ip(remote), port };
    let mut flow = Flow::new(key, serial, netns(owner / 2), Timestamp(0));
    flow.via = via.map(|via| via.parse::<SocketAddr>().expect("address and port"));
    flow.masquerade = masquerade.map(ip);
    flow
}

fn facts(number: u32) -> Vec<Fact> {
    let number = number % HOSTS;
    let mut facts = SyntheticHost::new(number, HOSTS).facts();
    facts.extend(translated(number));
    facts
}

pub(crate) fn happen(writer: &mut Writer, event: &Event) {
    let some = |host: &u32, from: &usize, count: &usize| -> Vec<Fact> {
        facts(*host).into_iter().cycle().skip(*from).take(*count).collect()
    };
    match event {
        Event::Say { host: number, from, count } => {
            let (_, peer) = host(*number);
            writer.apply(&peer, some(number, from, count).into_iter().map(Change::put));
        }
        Event::Unsay { host: number, from, count } => {
            let (_, peer) = host(*number);
            writer.apply(&peer, some(number, from, count).iter().map(|fact| Change::Remove(fact.key())));
        }
        Event::Replace { host: number, from, count } => {
            let (_, peer) = host(*number);
            let old = facts(*number).into_iter().map(|fact| Change::Remove(fact.key()));
            writer.apply(&peer, old.chain(some(number, from, count).into_iter().map(Change::put)));
        }
        Event::Churn { host: number, step } => {
            let (host, peer) = host(*number);
            // A port is published, and later another one leads there.
            let publisher = translated(number % HOSTS).into_iter().find_map(|fact| match fact {
                Fact::Flow(mut flow) if flow.via.is_some_and(|via| via.port() == 9998) => {
                    flow.via = flow.via.filter(|_| step % 2 == 0);
                    Some(Change::put(Fact::Flow(flow)))
                }
                _ => None,
            });
            writer.apply(&peer, host.churn(*step).into_iter().chain(publisher));
        }
        Event::Life { host: number, life } => writer.set_life(&host(*number).1, *life),
        Event::Forget { host: number } => writer.forget(&host(*number).1),
        Event::Look => {}
    }
}

pub(crate) fn views() -> Vec<View> {
    let strict = Options {
        system: System::Application,
        stopped: Stopped::Running,
        hide_uncontained: true,
        unconnected: Unconnected::Hide,
    };
    let kinds = Kind::ALL.into_iter();
    kinds.flat_map(|kind| [Options::default(), strict].map(|options| View::new(kind, options))).collect()
}

fn nodes(view: &View) -> BTreeMap<NodeId, Arc<Node>> {
    view.nodes().map(|node| (node.id.clone(), node.clone())).collect()
}

/// A cluster with the same facts and lives, resolved from scratch.
fn afresh(cluster: &Cluster) -> Cluster {
    let mut writer = Writer::default();
    for (peer, entry) in cluster.hosts() {
        let graph = &entry.graph;
        let facts = [Fact::Host((*graph.host).clone())].into_iter();
        let facts = facts
            .chain(graph.containers.values().map(|it| Fact::Container((**it).clone())))
            .chain(graph.processes.values().map(|it| Fact::Process((**it).clone())))
            .chain(graph.listeners.values().map(|it| Fact::Listener((**it).clone())))
            .chain(graph.flows.values().map(|it| Fact::Flow((**it).clone())))
            .chain(graph.namespaces.values().map(|it| Fact::Namespace((**it).clone())))
            .chain(graph.names.values().map(|it| Fact::RemoteName((**it).clone())))
            .chain([Fact::Services((*graph.services).clone())]);
        writer.set_life(peer, entry.life);
        writer.apply(peer, facts.map(Change::put));
    }
    writer.cluster()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn following_is_drawing_from_scratch(events in prop::collection::vec(event(), 1..20)) {
        let mut writer = Writer::default();
        let mut views = views();
        let mut shown: Vec<BTreeMap<NodeId, Arc<Node>>> = vec![BTreeMap::new(); views.len()];
        for event in events.iter().chain([&Event::Look]) {
            happen(&mut writer, event);
            if !matches!(event, Event::Look) {
                continue;
            }
            let cluster = writer.cluster();
            for (view, shown) in views.iter_mut().zip(&mut shown) {
                let diff = view.update(&cluster);
                for node in diff.added {
                    prop_assert!(shown.insert(node.id.clone(), node).is_none(), "added twice");
                }
                for node in diff.updated {
                    let old = shown.insert(node.id.clone(), node.clone());
                    prop_assert!(old.is_some_and(|old| old != node), "updated to what it was");
                }
                for id in diff.removed {
                    prop_assert!(shown.remove(&id).is_some(), "removed twice");
                }
                prop_assert_eq!(&nodes(view), &*shown, "diffs add up to the view");
            }
        }
        let cluster = writer.cluster();
        let afresh = afresh(&cluster);
        for ((peer, entry), (_, scratch)) in cluster.hosts().zip(afresh.hosts()) {
            prop_assert_eq!(&entry.edges, &scratch.edges, "edges of {}", peer);
        }
        prop_assert_eq!(cluster.relations(), afresh.relations());
        let scratch = self::views();
        for (view, mut scratch) in views.iter().zip(scratch) {
            scratch.update(&afresh);
            prop_assert_eq!(nodes(view), nodes(&scratch), "{:?}", view.kind());
            prop_assert_eq!(view.stats(), scratch.stats(), "{:?}", view.kind());
        }
    }
}

#[test]
fn relations_are_made_once_for_all_that_differ_in_gauges_only() {
    let hosts = [SyntheticHost::new(0, 2), SyntheticHost::new(1, 2)];
    let mut writer = Writer::default();
    for host in &hosts {
        writer.apply(&host.peer(), host.facts().into_iter().map(Change::put));
    }
    let first = writer.cluster();
    let shared = |a: &Cluster, b: &Cluster| Arc::ptr_eq(&a.relations(), &b.relations());
    assert!(shared(&first, &first.clone()));
    let fact = hosts[0].facts().into_iter().find(|fact| matches!(fact, Fact::Flow(_))).expect("it has flows");
    let key = fact.key();
    writer.apply(&hosts[0].peer(), [Change::put(Fact::Gauges(Gauges::Flows(FlowGauges::default())))]);
    assert!(shared(&first, &writer.cluster()), "gauges");
    writer.apply(&hosts[0].peer(), [Change::Remove(key)]);
    let second = writer.cluster();
    assert!(!shared(&first, &second), "facts");
    writer.forget(&hosts[1].peer());
    assert!(!shared(&second, &writer.cluster()), "hosts");
}
