//! What each view shows of one small host.

use insta::assert_snapshot;
use topology::Kind;

use crate::fixture::{cluster, draw};

const SHOP: &str = "
    host shop.example.org 192.0.2.10/24 172.17.0.1/16
    container client 172.17.0.2 init=20
    container web 172.17.0.3 image=nginx:1.27 publish=8080:80 init=30
    container api 172.17.0.4 image=registry:5000/team/api:v2 init=40
    container old 172.17.0.9 image=nginx:1.25 state=exited
    container agent network=host image=weaveworks/scope:1.13
    process 1 init
    process 20 curl in client
    process 30 nginx in web listen 80
    process 31 nginx in web
    process 40 api in api listen 8000
    process 50 sshd listen 22
    process 60 backup
    flow 20 -> 172.17.0.3:80
    flow 31:80 <- 172.17.0.2
    flow 31 -> 172.17.0.4:8000
    flow 40:8000 <- 172.17.0.3
    flow 40 -> 203.0.113.5:443
    flow 50:22 <- 198.51.100.7
    flow 60 -> 172.17.0.4:8000
    flow 40:8000 <- 172.17.0.1
";

#[test]
fn containers_show_running_applications_by_default() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Containers, "t=1s"), @r#"
    The Internet (Outbound connections) cloud
    api (shop.example.org) hexagon -> The Internet (Outbound connections)
    client (shop.example.org) hexagon -> web (shop.example.org)
    web (shop.example.org) hexagon -> api (shop.example.org)
    "#);
}

#[test]
fn containers_without_a_query_are_not_filtered() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Containers, ""), @r#"
    The Internet (Inbound connections) cloud -> Uncontained (shop.example.org)
    The Internet (Outbound connections) cloud
    Uncontained (shop.example.org) squares -> api (shop.example.org)
    agent (shop.example.org) hexagon
    api (shop.example.org) hexagon -> The Internet (Outbound connections)
    client (shop.example.org) hexagon -> web (shop.example.org)
    old (shop.example.org) hexagon
    web (shop.example.org) hexagon -> api (shop.example.org)
    "#);
}

#[test]
fn containers_can_be_those_that_stopped() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Containers, "stopped=stopped"), @"old (shop.example.org) hexagon");
}

#[test]
fn containers_can_be_those_of_the_system() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Containers, "system=system"), @"agent (shop.example.org) hexagon");
}

#[test]
fn containers_group_by_image_and_by_host_name() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::ContainersByImage, "stopped=both"), @r#"
    The Internet (Outbound connections) cloud
    busybox (1 container) hexagons -> nginx (2 containers)
    nginx (2 containers) hexagons -> registry:5000/team/api (1 container)
    registry:5000/team/api (1 container) hexagons -> The Internet (Outbound connections)
    "#);
    assert_snapshot!(draw(&cluster(SHOP), Kind::ContainersByHostname, "t=1s"), @r#"
    The Internet (Outbound connections) cloud
    api (1 container) hexagons -> The Internet (Outbound connections)
    client (1 container) hexagons -> web (1 container)
    web (1 container) hexagons -> api (1 container)
    "#);
}

#[test]
fn processes_show_those_with_connections() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Processes, "t=1s"), @r#"
    The Internet (Inbound connections) cloud -> sshd (shop.example.org (50))
    The Internet (Outbound connections) cloud
    api (shop.example.org (api:40)) square -> The Internet (Outbound connections)
    backup (shop.example.org (60)) square -> api (shop.example.org (api:40))
    curl (shop.example.org (client:20)) square -> nginx (shop.example.org (web:31))
    nginx (shop.example.org (web:31)) square -> api (shop.example.org (api:40))
    sshd (shop.example.org (50)) square
    "#);
}

#[test]
fn processes_group_by_name() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::ProcessesByName, ""), @r#"
    The Internet (Inbound connections) cloud -> sshd (1 process)
    The Internet (Outbound connections) cloud
    api (1 process) squares -> The Internet (Outbound connections)
    backup (1 process) squares -> api (1 process)
    curl (1 process) squares -> nginx (2 processes)
    init (1 process) squares
    nginx (2 processes) squares -> api (1 process)
    sshd (1 process) squares
    "#);
}

#[test]
fn hosts_show_what_comes_from_and_goes_outside() {
    assert_snapshot!(draw(&cluster(SHOP), Kind::Hosts, ""), @r#"
    The Internet (Inbound connections) cloud -> shop (example.org)
    The Internet (Outbound connections) cloud
    shop (example.org) circle -> shop (example.org), The Internet (Outbound connections)
    "#);
}

#[test]
fn containers_without_an_image_or_host_name_are_in_no_group() {
    let text = "
        host a 10.0.0.1/24
        container web 172.17.0.2 image= hostname=
        container api 172.17.0.3
    ";
    assert_snapshot!(draw(&cluster(text), Kind::ContainersByImage, ""), @"busybox (1 container) hexagons");
    assert_snapshot!(draw(&cluster(text), Kind::ContainersByHostname, ""), @"api (1 container) hexagons");
}
