//! A published port, from everywhere.

use super::{one_sided, visits};
use crate::harness::dockerd::Dockerd;
use crate::harness::host::Host;
use crate::harness::lab::Lab;
use crate::harness::sockets::Awaited;
use crate::matrix::row::{CONFIRMED, Case, Edge, Expect, Processes, Row};
use crate::matrix::world::{World, run_server};

const PUBLISH: [&str; 2] = ["--publish", "8080:80"];

pub(crate) const FROM_LOOPBACK: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &PUBLISH, 80);
        world.connect(0, "127.0.0.1", 8080);
        world.docker().wait_socket("server", Awaited::ConnectionAt(80));
        world
    },
    &[Case {
        what: "a published port from the same host, on loopback (Docker's proxy)",
        edges: &[("alpha/uncontained", "server")],
        processes: Processes::Exactly(&[("alpha/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const FROM_OWN_ADDRESS: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &PUBLISH, 80);
        let address = world.address(0);
        world.connect(0, &address, 8080);
        world.docker().wait_socket("server", Awaited::ConnectionAt(80));
        world
    },
    &[Case {
        what: "a published port from the same host, by its address (translated)",
        edges: &[("alpha/uncontained", "server")],
        processes: Processes::Exactly(&[("alpha/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const FROM_OTHER_HOST: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        let [alpha, beta] = [&world.dockers[0], &world.dockers[1]];
        run_server(beta, "server", &PUBLISH, 80);
        let address = world.address(1);
        alpha.run_client("client", &[], &address, 8080);
        alpha.run("visitor", &[], &visits(&format!("{address}:8080")));
        world
    },
    &[
        Case {
            what: "a published port from a container of another host",
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

pub(crate) const SIDECAR: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        let [alpha, beta] = [&world.dockers[0], &world.dockers[1]];
        beta.run("pod", &PUBLISH, &["sleep", "100000"]);
        run_server(beta, "sidecar", &["--network", "container:pod"], 80);
        alpha.run_client("client", &[], &world.address(1), 8080);
        world
    },
    &[Case {
        what: "a published port behind which a sidecar serves, in the network namespace of another container",
        edges: &[("client", "sidecar")],
        processes: Processes::Exactly(&[("client/nc", "sidecar/traffic")]),
        expected: CONFIRMED,
    }],
);

const BALANCED_BY: &str = "only connection tracking knows whom an address led to";

const BALANCED_EDGES: &[Edge] = &[("visitor", "one"), ("visitor", "two")];
const BALANCED_PROCESSES: Processes =
    Processes::ByEbpf(&[("visitor/traffic", "one/traffic"), ("visitor/traffic", "two/traffic")]);

/// Two servers on a host, which share what comes to `address` at port 8090. As kube-proxy balances services by iptables.
fn balance(docker: &Dockerd, host: &Host, address: &str) {
    let servers = ["one", "two"].map(|name| {
        run_server(docker, name, &[], 80);
        format!("{}:80", docker.address(name, "bridge", "IPAddress"))
    });
    let half = ["-m", "statistic", "--mode", "random", "--probability", "0.5"];
    for (server, share) in servers.iter().zip([&half[..], &[]]) {
        let rule = ["-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", address, "--dport", "8090"];
        host.run("iptables", &[&rule[..], share, &["-j", "DNAT", "--to-destination", server]].concat());
    }
    host.run("iptables", &["-I", "FORWARD", "-p", "tcp", "--dport", "80", "-j", "ACCEPT"]);
}

pub(crate) const BALANCED: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        let address = world.address(1);
        balance(&world.dockers[1], &world.hosts[1], &address);
        world.dockers[0].run("visitor", &[], &visits(&format!("{address}:8090")));
        world
    },
    &[Case {
        what: "an address that iptables balances at random over two containers",
        edges: BALANCED_EDGES,
        processes: BALANCED_PROCESSES,
        expected: [
            Expect::Confirmed,
            Expect::Confirmed,
            Expect::Unseen { because: BALANCED_BY, instead: [&[], &[]] },
            Expect::Unseen { because: BALANCED_BY, instead: [&[], &[]] },
        ],
    }],
);

const VIRTUAL_BY: &str = "a virtual address leads somewhere on its client's host alone, and only connection tracking knows \
                          where";
const VIRTUAL_INSTEAD: &[Edge] = &[("visitor", "The Internet"), ("visitor", "one"), ("visitor", "two")];

pub(crate) const VIRTUAL: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        balance(world.docker(), &world.hosts[0], "203.0.113.80");
        world.docker().run("visitor", &[], &visits("203.0.113.80:8090"));
        world
    },
    &[Case {
        what: "a virtual address that the client's own host balances at random over two containers",
        edges: BALANCED_EDGES,
        processes: BALANCED_PROCESSES,
        expected: [
            Expect::Confirmed,
            Expect::Confirmed,
            Expect::Unseen { because: VIRTUAL_BY, instead: [VIRTUAL_INSTEAD, &[("visitor/traffic", "The Internet")]] },
            Expect::Unseen { because: VIRTUAL_BY, instead: [VIRTUAL_INSTEAD, &[]] },
        ],
    }],
);

pub(crate) const FROM_OUTSIDE: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &PUBLISH, 80);
        world.stranger(lab);
        let address = world.address(0);
        world.connect_stranger(&address, 8080);
        world.docker().wait_socket("server", Awaited::ConnectionAt(80));
        world
    },
    &[Case {
        what: "a published port from outside",
        edges: &[("The Internet", "server")],
        processes: Processes::Exactly(&[("The Internet", "server/traffic")]),
        expected: one_sided("no peer runs at the other end"),
    }],
);

pub(crate) const HAIRPIN_PROXY: Row = Row::still(
    |lab| hairpin(World::with_docker(lab, &["alpha"])),
    &[Case {
        what: "hairpin: a container to a published port of its own host (Docker's proxy)",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const HAIRPIN_KERNEL: Row = Row::still(
    |lab: &Lab| {
        let mut world = World::new(lab, &["alpha"]);
        world.dockers.push(Dockerd::start_with(&world.hosts[0], r#"{"userland-proxy": false}"#));
        hairpin(world)
    },
    &[Case {
        what: "the same where Docker has no proxy (translated)",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

fn hairpin(world: World) -> World {
    let docker = world.docker();
    run_server(docker, "server", &PUBLISH, 80);
    docker.run_client("client", &[], &world.address(0), 8080);
    docker.wait_socket("server", Awaited::ConnectionAt(80));
    world
}

pub(crate) const NO_DOCKER: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha", "beta"]);
        world.flags = &["--no-docker"];
        run_server(&world.dockers[1], "server", &PUBLISH, 80);
        let address = world.address(1);
        world.dockers[0].run_client("client", &[], &address, 8080);
        world.know_by_id(&[(0, "client"), (1, "server")]);
        world
    },
    &[Case {
        what: "a published port from a container of another host, without Docker's API",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);
