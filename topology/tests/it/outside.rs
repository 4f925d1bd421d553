//! Known services outside the cluster.

use insta::assert_snapshot;
use topology::detail::Detail;
use topology::{Kind, NodeId, Options, View};

use crate::edges::{SHOP, connections, know_bucket, told};
use crate::fixture::{NOW, draw};

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
    Inbound: remote port count name opened last_seen
      a: 203.0.113.5 443 1 backup.bucket.example 9 2027-01-15T08:00:00Z
    "#);
}

#[test]
fn a_process_called_like_a_service_is_found_unless_there_is_the_service() {
    let cluster = told("host a 10.0.0.1/24\nprocess 7 service-discovery", "").cluster();
    let view = View::of(&cluster, Kind::ProcessesByName, Options::default());
    assert_eq!(view.find("service-discovery"), Some(NodeId::ProcessName("service-discovery".into())));
    let mut writer = told(SHOP, "");
    know_bucket(&mut writer);
    let view = View::of(&writer.cluster(), Kind::ProcessesByName, Options::default());
    assert_eq!(view.find("service-Buckets"), Some(NodeId::Service("Buckets".into())));
}
