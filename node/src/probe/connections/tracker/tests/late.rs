//! What becomes known late, or was known and is not told any more: of translations, processes, figures and namespaces.

use super::*;

const VIRTUAL: &str = "7 172.17.0.2:4000 > 10.9.9.9:80 1000 0";

fn to_server() -> (SocketAddr, Translation) {
    let real = Translation { source: at("172.17.0.2:4000"), destination: at("172.17.0.3:8000") };
    (at("10.9.9.9:80"), real)
}

fn udp(client: &str, server: &str) -> Tracked {
    let (client, server) = (at(client), at(server));
    Tracked { protocol: Protocol::Udp, client, named: server, server, visitor: client, has_reply: true }
}

#[test]
fn a_connection_that_is_gone_before_its_translation_was_heard_of_leads_to_its_server() {
    for ends_by in [EndsBy::Kernel, EndsBy::Absence] {
        let mut world = World::new(ends_by);
        world.round(0.0, &[(WEB, VIRTUAL)], Vec::new());
        world.expect("7.70/to/10.9.9.9/80 1/1");
        world.nat.outgoing.push(to_server());
        let told = ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1);
        let ends = if ends_by == EndsBy::Kernel { vec![told] } else { Vec::new() };
        world.round(0.1, &[(WEB, "")], ends);
        world.expect("7.70/to/172.17.0.3/8000 0/1 via 10.9.9.9:80");
        for beat in 1..4 {
            world.round(5.0 * f64::from(beat), &[], Vec::new());
        }
        world.expect("7.70/to/172.17.0.3/8000 0/1 via 10.9.9.9:80 fading");
    }
}

#[test]
fn an_end_is_that_of_the_server_a_connection_was_seen_to_lead_to() {
    // Both servers are one name's; who goes where is seen of what is open, and of what ended it is not told.
    let mut world = World::new(EndsBy::Kernel);
    let (named, first) = to_server();
    let second = Translation { destination: at("172.17.0.4:8000"), ..first };
    world.nat.outgoing = vec![(named, first), (named, second)];
    world.round(0.0, &[(WEB, VIRTUAL)], Vec::new());
    world.expect("7.70/to/172.17.0.3/8000 1/1 via 10.9.9.9:80");
    world.round(1.0, &[(WEB, "")], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    for beat in 1..3 {
        world.round(5.0 * f64::from(beat), &[], Vec::new());
        world.expect("7.70/to/172.17.0.3/8000 0/1 via 10.9.9.9:80");
    }
}

#[test]
fn a_new_generation_of_translations_takes_nothing_from_a_rate() {
    let mut world = World::new(EndsBy::Kernel);
    let carried = |megabytes: u64| format!("7 172.17.0.2:4000 > 10.9.9.9:80 {megabytes}000000 0");
    world.round(0.0, &[(WEB, &carried(0))], Vec::new());
    world.round(5.0, &[(WEB, &carried(5))], Vec::new());
    world.round(9.0, &[(WEB, &carried(9))], Vec::new());
    world.nat.generation += 1;
    world.round(10.0, &[(WEB, &carried(10))], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1 1000000+0B/s");
}

#[test]
fn figures_that_are_not_told_for_once_are_what_they_were() {
    let mut world = World::new(EndsBy::Absence);
    for (at, figures) in [(0.0, "1000000000 0"), (5.0, "?"), (10.0, "1000000000 0")] {
        world.round(at, &[(WEB, &format!("7 172.17.0.2:4000 > 10.9.9.9:80 {figures}"))], Vec::new());
        world.expect("7.70/to/10.9.9.9/80 1/1");
    }
}

#[test]
fn a_tracked_flow_stays_whose_it_was_when_its_socket_is_closed() {
    let dns = udp("172.17.0.2:5000", "10.0.0.1:53");
    let mut world = World::new(EndsBy::Kernel);
    world.full_round(0.0, &[(WEB, "udp 7 *:5000")], vec![], vec![], Some(vec![dns]));
    let want = "7.70/outgoing/udp/10.0.0.1/53 1/1\nnet.1/incoming/udp/172.17.0.2/53 1/1";
    world.expect(want);
    world.full_round(1.0, &[(WEB, "")], vec![], vec![], Some(vec![dns]));
    world.expect(want);
}

#[test]
fn a_socket_that_is_seen_later_than_it_was_tracked_is_one_flow() {
    let dns = udp("172.17.0.2:5000", "10.9.9.9:53");
    let mut world = World::new(EndsBy::Kernel);
    world.full_round(0.0, &[(WEB, "")], vec![], vec![], Some(vec![dns]));
    world.expect("net.2/outgoing/udp/10.9.9.9/53 1/1");
    let connected = &[(WEB, "udp 7 172.17.0.2:5000 > 10.9.9.9:53")];
    world.full_round(1.0, connected, vec![], vec![], Some(vec![dns]));
    world.expect("7.70/outgoing/udp/10.9.9.9/53 1/1");
}

#[test]
fn what_a_namespace_held_is_closed_with_it_though_the_process_lives() {
    let mut world = World::new(EndsBy::Absence);
    let on_host = "7 10.0.0.1:4000 > 10.9.9.9:80";
    world.round(0.0, &[(HOST, on_host)], Vec::new());
    world.round(1.0, &[(WEB, OPEN)], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 2/2");
    world.namespaces.retain(|(netns, _)| *netns != WEB);
    world.round(2.0, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/2");
}

#[test]
fn another_namespace_of_the_same_number_has_none_of_the_flows() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, &format!("7 *:80\n{OPEN}"))], Vec::new());
    world.tracker.forget(WEB);
    world.round(1.0, &[(WEB, "")], Vec::new());
    world.expect("");
}

#[test]
fn an_end_that_is_nobodys_is_that_of_whoever_lost_a_connection() {
    let mut world = World::new(EndsBy::Kernel);
    let both = "7 172.17.0.2:80 < 10.9.9.9:1\n8 172.17.0.2:80 < 10.9.9.9:2";
    world.round(0.0, &[(WEB, both)], Vec::new());
    // The clients reset their connections, the second worker's first: the kernel does not say whose they were.
    let reset = || vec![ended(WEB, &[], "172.17.0.2:80 < 10.9.9.9:0", 1)];
    world.round(1.0, &[(WEB, "7 172.17.0.2:80 < 10.9.9.9:1")], reset());
    world.expect("7.70/from/10.9.9.9/80 1/1\n8.80/from/10.9.9.9/80 0/1");
    world.round(2.0, &[(WEB, "")], reset());
    world.round(7.0, &[], Vec::new());
    world.round(12.0, &[], Vec::new());
    world.round(12.5, &[], Vec::new());
    world.expect("7.70/from/10.9.9.9/80 0/1\n8.80/from/10.9.9.9/80 0/1");
}
