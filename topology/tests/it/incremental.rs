//! A view that follows the cluster is the view drawn from scratch, whatever happened in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use topology::cluster::Writer;
use topology::fact::Fact;
use topology::graph::Change;
use topology::synthetic::SyntheticHost;
use topology::view::options::{Options, Stopped, System, Unconnected};
use topology::{Cluster, Kind, Life, Node, NodeId, PeerId, Timestamp, View};

const HOSTS: u32 = 3;

/// One more, that says what the first says: a peer that lost its key and came back as another.
const TWIN: u32 = HOSTS;

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
enum Event {
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

fn event() -> impl Strategy<Value = Event> {
    let some = (0..=TWIN, 0_usize..511, 1_usize..400);
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

fn happen(writer: &mut Writer, event: &Event) {
    let some = |host: &SyntheticHost, from: &usize, count: &usize| -> Vec<Fact> {
        host.facts().into_iter().cycle().skip(*from).take(*count).collect()
    };
    match event {
        Event::Say { host: number, from, count } => {
            let (host, peer) = host(*number);
            writer.apply(&peer, some(&host, from, count).into_iter().map(Change::put));
        }
        Event::Unsay { host: number, from, count } => {
            let (host, peer) = host(*number);
            writer.apply(&peer, some(&host, from, count).iter().map(|fact| Change::Remove(fact.key())));
        }
        Event::Replace { host: number, from, count } => {
            let (host, peer) = host(*number);
            let old = host.facts().into_iter().map(|fact| Change::Remove(fact.key()));
            writer.apply(&peer, old.chain(some(&host, from, count).into_iter().map(Change::put)));
        }
        Event::Churn { host: number, step } => {
            let (host, peer) = host(*number);
            writer.apply(&peer, host.churn(*step));
        }
        Event::Life { host: number, life } => writer.set_life(&host(*number).1, *life),
        Event::Forget { host: number } => writer.forget(&host(*number).1),
        Event::Look => {}
    }
}

fn views() -> Vec<View> {
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
            .chain(graph.flows.values().map(|it| Fact::Flow((**it).clone())));
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
        let afresh = afresh(&writer.cluster());
        let scratch = self::views();
        for (view, mut scratch) in views.iter().zip(scratch) {
            scratch.update(&afresh);
            prop_assert_eq!(nodes(view), nodes(&scratch), "{:?}", view.kind());
            prop_assert_eq!(view.stats(), scratch.stats(), "{:?}", view.kind());
        }
    }
}
