//! Who is at the ends of an edge.

use insta::assert_snapshot;
use topology::Kind;
use topology::cluster::Writer;

use crate::fixture::{cluster, draw, write};

fn containers(text: &str) -> String {
    draw(&cluster(text), Kind::Containers, "stopped=both&pseudo=show")
}

#[test]
fn a_loopback_address_means_the_own_namespace() {
    let text = "
        host a 10.0.0.1/24
        container web 172.17.0.2 init=20
        container side network=web
        container other 172.17.0.3 init=40
        process 20 nginx in web listen 80
        process 30 curl in side
        process 40 nginx in other listen 80
        process 50 sshd listen 80
        flow 30 -> 127.0.0.1:80
        flow 20:80 <- 127.0.0.1
    ";
    assert_snapshot!(containers(text), @r#"
    other (a) hexagon
    side (a) hexagon -> web (a)
    web (a) hexagon
    "#);
}

#[test]
fn a_published_port_is_its_container_and_the_proxy_is_nobody() {
    let text = "
        host a 10.0.0.1/24 172.17.0.1/16
        container web 172.17.0.2 publish=8080:80 init=20
        container client 172.17.0.3 init=30
        process 20 nginx in web listen 80
        process 30 curl in client
        process 40 docker-proxy listen 8080
        process 50 wget
        flow 50 -> 127.0.0.1:8080
        flow 40:8080 <- 127.0.0.1
        flow 40 -> 172.17.0.2:80
        flow 20:80 <- 172.17.0.1
        flow 30 -> 10.0.0.1:8080
        flow 40:8080 <- 203.0.113.77
    ";
    assert_snapshot!(containers(text), @r#"
    The Internet (Inbound connections) cloud -> web (a)
    Uncontained (a) squares -> web (a)
    client (a) hexagon -> web (a)
    web (a) hexagon
    "#);
    assert_snapshot!(draw(&cluster(text), Kind::Processes, "t=1s"), @r#"
    The Internet (Inbound connections) cloud -> nginx (a (web:20))
    curl (a (client:30)) square -> nginx (a (web:20))
    nginx (a (web:20)) square
    wget (a (50)) square -> nginx (a (web:20))
    "#);
}

#[test]
fn a_worker_that_holds_the_connection_comes_before_the_master_that_listens() {
    let text = "
        host a 10.0.0.1/24
        container client 172.17.0.2 init=20
        container web 172.17.0.3 init=30
        process 20 nc in client
        process 30 master in web listen 80
        process 31 worker in web
        flow 20 -> 172.17.0.3:80
        flow 31:80 <- 172.17.0.2
    ";
    assert_snapshot!(draw(&cluster(text), Kind::Processes, "t=1s"), @r#"
    nc (a (client:20)) square -> worker (a (web:31))
    worker (a (web:31)) square
    "#);
}

#[test]
fn behind_a_published_port_is_who_holds_the_connections_even_if_nobody_listens_any_more() {
    let text = "
        host a 10.0.0.1/24 172.17.0.1/16
        container once 172.17.0.2 publish=9000:9000 init=30
        process 20 nc
        process 30 nc-l in once
        flow 20 -> 172.17.0.1:9000
        flow 30:9000 <- 172.17.0.1
    ";
    assert_snapshot!(draw(&cluster(text), Kind::Processes, "t=1s"), @r#"
    nc (a (20)) square -> nc-l (a (once:30))
    nc-l (a (once:30)) square
    "#);
}

#[test]
fn of_several_workers_with_connections_none_is_picked() {
    let text = "
        host a 10.0.0.1/24
        container web 172.17.0.3 init=30
        process 20 psql
        process 21 psql
        process 30 postgres listen 5432
        process 31 backend
        process 32 backend
        flow 20 -> 127.0.0.1:5432
        flow 21 -> 127.0.0.1:5432
        flow 31:5432 <- 127.0.0.1
        flow 32:5432 <- 127.0.0.1
    ";
    assert_snapshot!(draw(&cluster(text), Kind::Processes, "t=1s"), @r#"
    postgres (a (30)) square
    psql (a (20)) square -> postgres (a (30))
    psql (a (21)) square -> postgres (a (30))
    "#);
}

#[test]
fn an_address_that_containers_share_is_that_of_the_one_that_used_it() {
    let text = "
        host a 10.0.0.1/24
        container web 172.17.0.2 init=20
        container side network=web
        container api 172.17.0.3 init=40
        process 20 nginx in web
        process 30 agent in side
        process 40 api in api listen 8000
        flow 30 -> 172.17.0.3:8000
        flow 40:8000 <- 172.17.0.2
        flow 40 -> 172.17.0.2:9100
    ";
    assert_snapshot!(containers(text), @r#"
    api (a) hexagon
    side (a) hexagon -> api (a)
    web (a) hexagon
    "#);
}

#[test]
fn a_port_published_twice_on_different_addresses_makes_no_edge_from_the_proxy() {
    let text = "
        host a 10.0.0.1/24 10.0.0.2/24
        container one 172.17.0.2 publish=10.0.0.1:8080:80 init=20
        container two 172.17.0.3 publish=10.0.0.2:8080:80 init=30
        process 20 nginx in one listen 80
        process 30 nginx in two listen 80
        process 40 docker-proxy listen 8080
        process 50 wget
        flow 40:8080 <- 203.0.113.77
        flow 50 -> 10.0.0.2:8080
    ";
    assert_snapshot!(containers(text), @r#"
    Uncontained (a) squares -> two (a)
    one (a) hexagon
    two (a) hexagon
    "#);
}

#[test]
fn a_server_without_a_known_process_is_its_container() {
    let text = "
        host a 10.0.0.1/24
        container client 172.17.0.2
        container web 172.17.0.3
        process 20 nc in client
        flow 20 -> 172.17.0.3:80
        flow net:client -> 172.17.0.3:443
    ";
    assert_snapshot!(containers(text), @r#"
    client (a) hexagon -> web (a)
    web (a) hexagon
    "#);
}

#[test]
fn an_address_two_parties_have_makes_no_edge() {
    let text = "
        host a 10.0.0.1/24 172.17.0.1/16
        container one 172.17.0.2
        container two 172.17.0.2
        process 20 nc
        flow 20 -> 172.17.0.2:80
        flow 20 -> 10.0.0.77:80
        flow 20 -> 169.254.169.254:80
    ";
    assert_snapshot!(containers(text), @r#"
    Uncontained (a) squares -> Unknown hosts (10.0.0.0/24)
    Unknown hosts (10.0.0.0/24) cloud
    one (a) hexagon
    two (a) hexagon
    "#);
}

#[test]
fn ipv6_is_resolved_like_v4() {
    let text = "
        host a 2001:db8::1/64 fd00::1/64
        container client fd00::2 init=20
        container web fd00::3 init=30
        process 20 nc in client
        process 30 nginx in web listen [::]:80
        flow 20 -> [fd00::3]:80
        flow 30:80 <- fd00::2
        flow 20 -> [2606:4700::1]:443
        flow 20 -> [::1]:80
    ";
    assert_snapshot!(containers(text), @r#"
    The Internet (Outbound connections) cloud
    client (a) hexagon -> web (a), The Internet (Outbound connections)
    web (a) hexagon
    "#);
}

const TWO_HOSTS: &str = "
    host a 10.0.0.1/24 172.17.0.1/16
    container client 172.17.0.2 init=20
    process 20 curl in client
    flow 20 -> 10.0.0.2:8080
    flow 20 -> 10.0.0.2:22
    flow 20 -> 172.17.0.9:80
    host b 10.0.0.2/24 172.17.0.1/16
    container web 172.17.0.2 publish=8080:80 init=30
    container hidden 172.17.0.9 init=40
    process 30 nginx in web listen 80
    process 40 nginx in hidden listen 80
    process 50 sshd listen 22
    flow 30:80 <- 10.0.0.1
    flow 50:22 <- 10.0.0.1
";

#[test]
fn a_host_finds_the_containers_of_another_behind_its_address_alone() {
    let cluster = cluster(TWO_HOSTS);
    assert_snapshot!(draw(&cluster, Kind::Containers, "pseudo=show"), @r#"
    Uncontained (b) squares
    client (a) hexagon -> web (b), Uncontained (b)
    hidden (b) hexagon
    web (b) hexagon
    "#);
    assert_snapshot!(draw(&cluster, Kind::Hosts, ""), @r#"
    a circle -> b
    b circle
    "#);
}

#[test]
fn hosts_may_come_in_any_order_and_leave() {
    let (a, b) = TWO_HOSTS.split_at(TWO_HOSTS.find("host b").expect("two hosts"));
    let mut writer = Writer::default();
    for text in [b, a] {
        write(&mut writer, text);
    }
    let want = draw(&cluster(TWO_HOSTS), Kind::Containers, "");
    assert_eq!(draw(&writer.cluster(), Kind::Containers, ""), want);
    writer.forget(&crate::fixture::peer("b"));
    assert_snapshot!(draw(&writer.cluster(), Kind::Containers, ""), @r#"
    Unknown hosts (10.0.0.0/24) cloud
    client (a) hexagon -> Unknown hosts (10.0.0.0/24)
    "#);
}

#[test]
fn who_comes_through_a_proxy_does_not_come_from_the_host_too() {
    let text = "
        host a 10.0.0.1/24
        process 20 curl
        flow 20 -> 10.0.0.2:8080
        host b 10.0.0.2/24 172.17.0.1/16
        container web 172.17.0.2 publish=8080:80 init=30
        process 30 nginx in web listen 80
        process 40 docker-proxy listen 8080
        flow 40:8080 <- 10.0.0.1
        flow 40:8080 <- 203.0.113.77
        flow 40 -> 172.17.0.2:80
        flow 30:80 <- 172.17.0.1
    ";
    assert_snapshot!(draw(&cluster(text), Kind::Hosts, ""), @r#"
    The Internet (Inbound connections) cloud -> b
    a circle -> b
    b circle
    "#);
}
