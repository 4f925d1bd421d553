//! Both ends on one host, each by its own address.

use std::time::Duration;

use super::visits;
use crate::harness::sockets::Awaited;
use crate::harness::wait::{ensure, wait_for};
use crate::matrix::row::{CONFIRMED, Case, Processes, Row};
use crate::matrix::world::{World, run_server};

/// Weave Scope's 350, 330 and, by the short connections, 310.
pub(crate) const BRIDGE: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        let docker = world.docker();
        run_server(docker, "server", &[], 80);
        let address = docker.address("server", "bridge", "IPAddress");
        docker.run_client("client", &[], &address, 80);
        docker.run("visitor", &[], &visits(&format!("{address}:80")));
        world
    },
    &[
        Case {
            what: "containers on the default bridge; the connection is older than the peer",
            edges: &[("client", "server")],
            processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
            expected: CONFIRMED,
        },
        Case {
            what: "containers on the default bridge; connections of 1 ms",
            edges: &[("visitor", "server")],
            processes: Processes::ByEbpf(&[("visitor/traffic", "server/traffic")]),
            expected: CONFIRMED,
        },
    ],
);

/// Weave Scope's 310 and 311; `brief.rs` counts them.
pub(crate) const SHORT_LIVED: Row = Row {
    world: |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &[], 80);
        world
    },
    once_launched: |world| {
        let docker = world.docker();
        let to = format!("{}:80", docker.address("server", "bridge", "IPAddress"));
        docker.docker(&["rm", "--force", "client"]);
        docker.run("client", &[], &["traffic", "connect", &to, "1000", "1", "5"]);
    },
    cases: &[Case {
        what: "a thousand connections a second of 1 ms",
        edges: &[("client", "server")],
        processes: Processes::ByEbpf(&[("client/traffic", "server/traffic")]),
        expected: CONFIRMED,
    }],
};

/// As inetd and PostgreSQL do it.
pub(crate) const HAND_OVER: Row = Row {
    world: |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        world.docker().run("server", &[], &["traffic", "hand-over", "80", "3"]);
        world.docker().wait_socket("server", Awaited::Listener(80));
        world
    },
    once_launched: connect_anew,
    cases: &[Case {
        what: "a server that hands a connection over to a child",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/cat")]),
        expected: CONFIRMED,
    }],
};

pub(crate) const USER_NETWORK: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        let docker = world.docker();
        docker.docker(&["network", "create", "shop"]);
        run_server(docker, "server", &["--network", "shop"], 80);
        docker.run_client("client", &["--network", "shop"], "server", 80);
        world
    },
    &[Case {
        what: "containers on a network of their own, by name",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const HOST_NETWORK: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        let address = world.address(0);
        let docker = world.docker();
        run_server(docker, "server", &["--network", "host"], 7001);
        docker.run_client("client", &[], &address, 7001);
        world.connect(0, "127.0.0.1", 7001);
        world
    },
    &[
        Case {
            what: "a container to one of the host's network",
            edges: &[("client", "server")],
            processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
            expected: CONFIRMED,
        },
        Case {
            what: "a process of the host to a container of the host's network, on loopback",
            edges: &[("alpha/uncontained", "server")],
            processes: Processes::Exactly(&[("alpha/nc", "server/traffic")]),
            expected: CONFIRMED,
        },
    ],
);

/// Weave Scope's 312.
pub(crate) const SHARED_NETNS: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        let docker = world.docker();
        run_server(docker, "server", &[], 80);
        docker.run_client("client", &["--network", "container:server"], "127.0.0.1", 80);
        world
    },
    &[Case {
        what: "containers that share a network namespace, on loopback",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

/// Weave Scope's 314.
pub(crate) const ACCEPT: Row = Row {
    world: |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &[], 80);
        world
    },
    once_launched: connect_anew,
    cases: &[Case {
        what: "a server that has waited in accept(2) since before the peer; the client comes later",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
};

/// A client that was not there before.
#[track_caller]
fn connect_anew(world: &mut World) {
    let docker = world.docker();
    let address = docker.address("server", "bridge", "IPAddress");
    docker.docker(&["rm", "--force", "client"]);
    docker.run_client("client", &[], &address, 80);
}

pub(crate) const V6: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        let docker = world.docker();
        docker.docker(&["network", "create", "--ipv6", "--subnet", "fd00:6::/64", "six"]);
        run_server(docker, "server", &["--network", "six"], 80);
        let address = docker.address("server", "six", "GlobalIPv6Address");
        docker.run_client("client", &["--network", "six"], &address, 80);
        world
    },
    &[Case {
        what: "containers over IPv6",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const LINK_LOCAL: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha"]);
        let docker = world.docker();
        docker.docker(&["network", "create", "--ipv6", "--subnet", "fd00:6::/64", "six"]);
        run_server(docker, "server", &["--network", "six"], 80);
        let address = link_local(&world, "server");
        // Its own such address takes a moment before it can be used.
        let attempts = format!("until nc {address}%eth0 80; do sleep 0.2; done");
        docker.run("client", &["--interactive", "--network", "six"], &["sh", "-c", &attempts]);
        docker.wait_socket("client", Awaited::ConnectionTo(80));
        world
    },
    &[Case {
        what: "containers of one bridge over link-local IPv6",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

/// The link-local address of a container's `eth0`, once it can be used.
#[track_caller]
fn link_local(world: &World, container: &str) -> String {
    let pid = world.docker().engine().inspect(container)["State"]["Pid"].to_string();
    wait_for("a link-local address", Duration::from_secs(30), || {
        let scope = ["-6", "-oneline", "address", "show", "dev", "eth0", "scope", "link", "-tentative"];
        let shown = world.hosts[0].run("nsenter", &[&["--target", &pid, "--net", "ip"], &scope[..]].concat());
        let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/64"));
        ensure(address.is_some(), || shown.clone())?;
        Ok(address.unwrap_or_default().to_owned())
    })
}

pub(crate) const HOST_LOOPBACK: Row = Row::still(
    |lab| {
        let mut world = World::new(lab, &["alpha"]);
        world.flags = &["--no-docker"];
        world.serve(0, 7000);
        world.connect(0, "127.0.0.1", 7000);
        world
    },
    &[Case {
        what: "processes of the host, on loopback",
        edges: &[("alpha/uncontained", "alpha/uncontained")],
        processes: Processes::Exactly(&[("alpha/nc", "alpha/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const HOST_TO_CONTAINER: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        run_server(world.docker(), "server", &[], 80);
        let address = world.docker().address("server", "bridge", "IPAddress");
        world.connect(0, &address, 80);
        world
    },
    &[Case {
        what: "a process of the host to a container's own address",
        edges: &[("alpha/uncontained", "server")],
        processes: Processes::Exactly(&[("alpha/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);

pub(crate) const NO_DOCKER: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        world.flags = &["--no-docker"];
        run_server(world.docker(), "server", &[], 80);
        let address = world.docker().address("server", "bridge", "IPAddress");
        world.docker().run_client("client", &[], &address, 80);
        world.know_by_id(&[(0, "server"), (0, "client")]);
        world
    },
    &[Case {
        what: "containers on the default bridge, without Docker's API",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/nc", "server/traffic")]),
        expected: CONFIRMED,
    }],
);
