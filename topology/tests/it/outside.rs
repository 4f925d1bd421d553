//! Known services outside the cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;

use insta::assert_snapshot;
use topology::cluster::Writer;
use topology::detail::Detail;
use topology::fact::{Fact, RemoteName};
use topology::graph::Change;
use topology::services::{Pattern, Rule};
use topology::{Kind, NodeId, Options, View};

use crate::edges::{SHOP, connections, know_bucket, told};
use crate::fixture::{NOW, container_id, draw, peer};

#[test]
fn a_known_service_is_a_node_of_every_view() {
    let mut writer = told(SHOP, "a 3 open=1 opened=9");
    know_bucket(&mut writer);
    let cluster = writer.cluster();
    assert_snapshot!(draw(&cluster, Kind::Hosts, ""), @r#"
    Buckets (Example Cloud) cloud
    The Internet (Outbound connections) cloud
    a circle -> a, The Internet (Outbound connections), Buckets (Example Cloud)
    "#);
    assert_snapshot!(draw(&cluster, Kind::ContainersByImage, "pseudo=show"), @r#"
    Buckets (Example Cloud) cloud
    The Internet (Outbound connections) cloud
    Uncontained (a) squares -> The Internet (Outbound connections), Buckets (Example Cloud)
    busybox (1 container) hexagons -> nginx (1 container)
    nginx (1 container) hexagons
    "#);
    let id = NodeId::Service("Buckets".into());
    for kind in Kind::ALL {
        let detail = Detail::of(&cluster, kind, &id, NOW).expect("a node of every view");
        let summary = &detail.summary;
        assert_eq!((summary.icon.as_deref(), summary.shape, summary.pseudo), (Some("storage"), "cloud", true));
        assert_eq!((summary.rank.as_str(), detail.children.len()), ("service-Buckets", 0), "{kind:?}");
        assert_eq!(NodeId::parse(kind, &id.to_string()).as_ref(), Some(&id), "{kind:?}");
    }
    assert_snapshot!(connections(&cluster, Kind::Hosts, &id), @r#"
    Inbound: port count opened remote name confirmed first_seen last_seen
      a: 443 1 9 203.0.113.5 backup.bucket.example one end 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z
    "#);
}

#[test]
fn unknown_addresses_of_a_network_are_a_node_of_every_view() {
    let text = "host a 10.0.0.1/24\nprocess 1 wget\nflow 1 -> 10.0.0.9:443\nflow 1 -> 10.0.0.8:443";
    let cluster = told(text, "a 1 open=1 opened=9\na 2 open=1 opened=2").cluster();
    let id = NodeId::Unknown([10, 0, 0, 0].into(), 24);
    for kind in Kind::ALL {
        let summary = Detail::of(&cluster, kind, &id, NOW).expect("a node of every view").summary;
        assert_eq!((&*summary.label, &*summary.label_minor), ("Unknown hosts", "10.0.0.0/24"), "{kind:?}");
        assert_eq!((summary.shape, summary.pseudo), ("cloud", true), "{kind:?}");
    }
    assert_snapshot!(connections(&cluster, Kind::Hosts, &id), @r#"
    Inbound: port count opened remote confirmed first_seen last_seen
      a: 443 1 2 10.0.0.8 one end 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z
      a: 443 1 9 10.0.0.9 one end 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z
    "#);
}

#[test]
fn of_an_address_few_names_of_dns_are_kept() {
    let address = IpAddr::from([203, 0, 113, 5]);
    let (long, longest) = ("a".repeat(254), "b".repeat(253));
    let cases = [
        (vec!["one", "two"], Some("three"), vec!["one", "two"], Some("three")),
        (vec!["1", "2", "3", "4", "5", "6"], None, vec!["1", "2", "3", "4"], None),
        (vec![&long, &longest, "x"], Some(long.as_str()), vec![&longest, "x"], None),
    ];
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    for (names, reverse, want, want_reverse) in cases {
        let fact = RemoteName { address, names: owned(names), reverse: reverse.map(str::to_owned) };
        let mut writer = Writer::default();
        writer.apply(&peer("a"), [Change::put(Fact::RemoteName(fact))]);
        let cluster = writer.cluster();
        let kept = cluster.host(&peer("a")).and_then(|entry| entry.graph.names.get(&address)).expect("told above");
        assert_eq!((&kept.names, kept.reverse.as_deref()), (&owned(want), want_reverse));
    }
}

#[test]
fn a_host_with_very_many_rules_leaves_others_theirs() {
    let named = |pattern, name: &str| Rule { pattern, name: Some(name.into()), icon: None, group: None };
    for bad in ["(", "x"] {
        let mut writer = told("host b 10.0.0.2/24\nprocess 1 wget\nflow 1 -> 203.0.113.5:443", "");
        let net = Pattern::Net { address: [203, 0, 113, 0].into(), prefix: 24 };
        writer.apply(&peer("b"), [Change::put(Fact::Services(vec![named(net, "Office")]))]);
        let regexes = (0..5000).map(|number| named(Pattern::Regex(format!("{bad}{number}")), "x"));
        let suffixes = (0..5000).map(|number| named(Pattern::Suffix(format!("x{number}")), "x"));
        writer.apply(&peer("a"), [Change::put(Fact::Services(regexes.chain(suffixes).collect()))]);
        let drawn = draw(&writer.cluster(), Kind::Hosts, "");
        assert!(drawn.contains("b circle -> Office"), "{drawn}");
    }
}

#[test]
fn rules_that_are_not_used_are_told_of_the_host_they_came_from() {
    let named = |pattern| Rule { pattern, name: Some("x".into()), icon: None, group: None };
    let suffix = |name: &str| named(Pattern::Suffix(name.into()));
    let regexes = |of: &str, count| (0..count).map(|n| named(Pattern::Regex(format!("{of}{n}")))).collect::<Vec<_>>();
    let suffixes = |of: &str, count| (0..count).map(|n| suffix(&format!("{of}{n}"))).collect::<Vec<_>>();
    let (of, together) = ("this host's rule", "as those of all hosts count together");
    let cases = [
        (vec![suffix("a")], vec![suffix("a"), suffix("b")], [None, None]),
        (
            vec![suffix("a"), suffix("..")],
            vec![suffix("b")],
            [Some("one of this host's rules is not used: rule 2: \"..\" is no suffix of a DNS name".to_owned()), None],
        ),
        (
            regexes("a", 150),
            regexes("b", 20),
            [
                Some(format!(
                    "70 of {of}s are not used, {together}; the first: rule 81: more than 100 regular expressions"
                )),
                None,
            ],
        ),
        (
            suffixes("a", 600),
            suffixes("b", 501),
            [
                Some(format!("100 of {of}s are not used, {together}; the first: rule 501: more than 1000 rules")),
                Some(format!("one of {of}s is not used, {together}: rule 501: more than 1000 rules")),
            ],
        ),
    ];
    for (of_a, of_b, want) in cases {
        let mut writer = Writer::default();
        for (host, rules) in [("a", &of_a), ("b", &of_b)] {
            writer.apply(&peer(host), [Change::put(Fact::Services(rules.clone()))]);
        }
        let cluster = writer.cluster();
        let got = ["a", "b"].map(|host| cluster.refused_services(&peer(host)).map(ToString::to_string));
        for (got, want) in got.into_iter().zip(want) {
            let is_so = match (&got, &want) {
                (Some(got), Some(want)) => got.starts_with(want),
                (got, want) => got == want,
            };
            assert!(is_so, "{got:?} is not {want:?}");
        }
        writer.forget(&peer("a"));
        assert_eq!(writer.cluster().refused_services(&peer("b")), None, "alone it has room");
    }
}

#[test]
fn ids_of_a_view_are_unique_whatever_things_are_called() {
    let names = [
        "nginx",
        "db;<host>",
        "db%3B<host>",
        "100%",
        "100%25",
        "service-",
        "service-db",
        "service-service-db",
        "name:service-db",
        "name:nginx",
        "name:",
        "in-theinternet",
        "out-theinternet",
        "pseudo:uncontained:peer-a",
        "pseudo:unknown:10.0.0.0/24",
        "peer-a;7",
        "nginx;<container_image>",
    ];
    for kind in Kind::ALL {
        let own: &[fn(&str) -> NodeId] = match kind {
            Kind::ProcessesByName => &[|name| NodeId::ProcessName(name.into())],
            Kind::ContainersByHostname => &[|name| NodeId::Hostname(name.into())],
            Kind::ContainersByImage => &[|name| NodeId::ImageName(name.into())],
            Kind::Processes => &[|_| NodeId::Process(peer("a"), 7)],
            Kind::Containers => &[|_| NodeId::Container(container_id("a", "web")), |_| NodeId::Uncontained(peer("a"))],
            Kind::Hosts => &[|_| NodeId::Host(peer("a"))],
        };
        let of_name =
            |name: &str| own.iter().map(|id| id(name)).chain([NodeId::Service(name.into())]).collect::<Vec<_>>();
        let ids = names.iter().flat_map(|name| of_name(name)).chain([NodeId::InternetIn, NodeId::InternetOut]);
        let ids = ids.chain([NodeId::Unknown([10, 0, 0, 0].into(), 24)]);
        let ids: BTreeSet<NodeId> = ids.collect();
        let texts: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), ids.len(), "{kind:?}");
        for id in ids {
            assert_eq!(NodeId::parse(kind, &id.to_string()).as_ref(), Some(&id), "{kind:?}");
        }
    }
    for text in ["pseudo:unknown:10.0.0.1/24", "pseudo:unknown:10.0.0.0/024", "pseudo:unknown:x", "pseudo:unknown:"] {
        assert_eq!(NodeId::parse(Kind::ProcessesByName, text), None, "{text:?}: no network");
    }
    for text in ["service-", "service-100%", "service-%3b", "name:nginx", "name:", "service-a;b"] {
        assert_eq!(NodeId::parse(Kind::ProcessesByName, text), None, "{text:?}: nobody writes that");
    }
}

#[test]
fn a_process_called_like_a_service_is_another_node() {
    let mut writer = told(&format!("{SHOP}\nprocess 7 service-Buckets"), "");
    know_bucket(&mut writer);
    let view = View::of(&writer.cluster(), Kind::ProcessesByName, Options::default());
    let (service, process) = (NodeId::Service("Buckets".into()), NodeId::ProcessName("service-Buckets".into()));
    for (text, id) in [("service-Buckets", service), ("name:service-Buckets", process)] {
        assert!(view.node(&id).is_some(), "{text}");
        assert_eq!(view.find(text), Some(id), "{text}");
    }
}
