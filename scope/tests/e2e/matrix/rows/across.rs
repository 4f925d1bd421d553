//! The two ends on two hosts.

use super::visits;
use crate::harness::dockerd::Dockerd;
use crate::harness::host::Host;
use crate::harness::lab::{Lab, v6};
use crate::matrix::row::{CONFIRMED, Case, Processes, Row};
use crate::matrix::world::{World, run_server};

pub(crate) const EQUAL_SUBNETS: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        for (docker, [server, client]) in world.dockers.iter().zip([["server1", "client1"], ["server2", "client2"]]) {
            run_server(docker, server, &[], 80);
            let address = docker.address(server, "bridge", "IPAddress");
            docker.run_client(client, &[], &address, 80);
        }
        let [one, other] = [("server1", 0), ("server2", 1)]
            .map(|(name, host)| world.dockers[host].address(name, "bridge", "IPAddress"));
        assert_eq!(one, other, "the row is about equal addresses");
        world
    },
    &[Case {
        what: "two hosts whose containers have the same addresses, each its own connection",
        edges: &[("client1", "server1"), ("client2", "server2")],
        processes: Processes::Exactly(&[("client1/nc", "server1/traffic"), ("client2/nc", "server2/traffic")]),
        expected: CONFIRMED,
    }],
);

/// Weave Scope's 320.
pub(crate) const MASQUERADE: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        world.hosts.push(lab.host("beta"));
        world.dockers.push(Dockerd::start(&world.hosts[1]));
        let [alpha, beta] = [&world.dockers[0], &world.dockers[1]];
        run_server(beta, "server", &["--network", "host"], 7001);
        let address = world.address(1);
        alpha.run_client("client", &[], &address, 7001);
        alpha.run("visitor", &[], &visits(&format!("{address}:7001")));
        world
    },
    &[
        Case {
            what: "a container behind its host's masquerade to a server of another host",
            edges: &[("client", "server")],
            processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
            expected: CONFIRMED,
        },
        Case {
            what: "the same, connections of 1 ms",
            edges: &[("visitor", "server")],
            processes: Processes::ByEbpf(&[("visitor/traffic", "server/traffic")]),
            expected: CONFIRMED,
        },
    ],
);

/// Weave Scope's 340.
pub(crate) const PROCESSES: Row = Row::still(
    |lab| {
        let mut world = World::new(lab, &["alpha", "beta"]);
        world.flags = &["--no-docker"];
        world.serve(1, 7000);
        let address = world.address(1);
        world.connect(0, &address, 7000);
        world
    },
    &[Case {
        what: "processes of two hosts",
        edges: &[("alpha/uncontained", "beta/uncontained")],
        processes: Processes::Exactly(&[("alpha/nc", "beta/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const V6: Row = Row::still(
    |lab| {
        let mut world = World::new(lab, &["alpha", "beta"]);
        world.flags = &["--no-docker"];
        world.serve(1, 7000);
        let number = world.hosts[1].address().octets()[3];
        world.connect(0, &v6(number.into()).to_string(), 7000);
        world
    },
    &[Case {
        what: "processes of two hosts, over IPv6",
        edges: &[("alpha/uncontained", "beta/uncontained")],
        processes: Processes::Exactly(&[("alpha/nc", "beta/traffic")]),
        expected: CONFIRMED,
    }],
);

const CONTAINERS_OF_TWO_HOSTS: Case = Case {
    what: "containers of two hosts, by routes between their networks",
    edges: &[("client", "server")],
    processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
    expected: CONFIRMED,
};

pub(crate) const ROUTED: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        let [alpha, beta] = [&world.hosts[0], &world.hosts[1]];
        for (docker, subnet) in world.dockers.iter().zip(["10.9.1.0/24", "10.9.2.0/24"]) {
            let plain = [
                "--opt=com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected",
                "--opt=com.docker.network.bridge.enable_ip_masquerade=false",
            ];
            docker.docker(&[&["network", "create", "--subnet", subnet], &plain[..], &["routed"]].concat());
        }
        alpha.run("ip", &["route", "add", "10.9.2.0/24", "via", &world.address(1)]);
        beta.run("ip", &["route", "add", "10.9.1.0/24", "via", &world.address(0)]);
        for host in [alpha, beta] {
            host.run("iptables", &["--insert", "DOCKER-USER", "--source", "10.9.0.0/16", "--jump", "ACCEPT"]);
        }
        talk_on(&world, "routed", ["10.9.1.11", "10.9.2.12"]);
        world
    },
    &[CONTAINERS_OF_TWO_HOSTS],
);

pub(crate) const OVERLAY: Row = Row::still(
    |lab: &Lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        for docker in &world.dockers {
            // As Docker's own overlay networks are: the host has no address there.
            let overlay = [
                "--opt=com.docker.network.bridge.name=overlay0",
                "--opt=com.docker.network.bridge.inhibit_ipv4=true",
                "--opt=com.docker.network.bridge.enable_ip_masquerade=false",
            ];
            docker.docker(&[&["network", "create", "--subnet", "10.9.3.0/24"], &overlay[..], &["overlay"]].concat());
        }
        tunnel(&world.hosts[0], &world.hosts[1]);
        tunnel(&world.hosts[1], &world.hosts[0]);
        talk_on(&world, "overlay", ["10.9.3.11", "10.9.3.12"]);
        world
    },
    &[Case { what: "containers of two hosts on one overlay network (VXLAN)", ..CONTAINERS_OF_TWO_HOSTS }],
);

/// Joins the overlay's bridge of one host to that of another.
#[track_caller]
fn tunnel(host: &Host, other: &Host) {
    let (own, far) = (host.address().to_string(), other.address().to_string());
    let link = ["link", "add", "vxlan0", "type", "vxlan", "id", "42", "dstport", "4789", "dev", "eth0"];
    host.run("ip", &[&link[..], &["local", &own, "remote", &far]].concat());
    host.run("ip", &["link", "set", "vxlan0", "master", "overlay0", "up"]);
}

/// A client on the first host holds a connection to a server on the second, each on the network called so, by these addresses.
#[track_caller]
fn talk_on(world: &World, network: &str, [client, server]: [&str; 2]) {
    let [alpha, beta] = [&world.dockers[0], &world.dockers[1]];
    run_server(beta, "server", &["--network", network, "--ip", server], 80);
    alpha.run_client("client", &["--network", network, "--ip", client], server, 80);
}
