//! Datagrams.

use crate::harness::dockerd::Dockerd;
use crate::harness::sockets::Awaited;
use crate::matrix::row::{Case, Expect, Processes, Row};
use crate::matrix::world::World;

/// Of a client whose socket is connected.
const BY_ITS_SOCKET: [Expect; 4] = {
    let alone = Expect::OneSided { because: "a server's UDP socket does not name its clients" };
    [Expect::Confirmed, Expect::Confirmed, alone, alone]
};

/// Of a client that names its server with each datagram.
const BY_CONNTRACK: [Expect; 4] = {
    let unseen = Expect::Unseen {
        because: "a UDP socket that is not connected does not say where its datagrams go: connection tracking alone does",
        instead: [&[], &[]],
    };
    [Expect::Confirmed, Expect::Confirmed, unseen, unseen]
};

pub(crate) const CONNECTED: Row = Row::still(
    |lab| one_host(World::with_docker(lab, &["alpha"]), "connected"),
    &[Case {
        what: "UDP between containers of one bridge, the client's socket connected",
        edges: &[("client", "server")],
        processes: Processes::Exactly(&[("client/traffic", "server/traffic")]),
        expected: BY_ITS_SOCKET,
    }],
);

pub(crate) const UNCONNECTED: Row = Row::still(
    |lab| one_host(World::with_docker(lab, &["alpha"]), "unconnected"),
    &[Case {
        what: "UDP between containers of one bridge, the client's socket not connected",
        edges: &[("client", "server")],
        processes: Processes::Perhaps(&[("client/traffic", "server/traffic")]),
        expected: BY_CONNTRACK,
    }],
);

pub(crate) const PUBLISHED: Row = Row::still(
    |lab| {
        let world = World::with_docker(lab, &["alpha", "beta"]);
        let [alpha, beta] = [&world.dockers[0], &world.dockers[1]];
        serve(beta, &["--publish", "5300:53/udp"]);
        let address = format!("{}:5300", world.address(1));
        alpha.run("client", &[], &["traffic", "ask", &address, "unconnected"]);
        world
    },
    &[Case {
        what: "UDP to a published port of another host, the client's socket not connected",
        edges: &[("client", "server")],
        processes: Processes::Perhaps(&[("client/traffic", "server/traffic")]),
        expected: BY_CONNTRACK,
    }],
);

#[track_caller]
fn serve(docker: &Dockerd, options: &[&str]) {
    docker.run("server", options, &["traffic", "serve-udp", "53"]);
    docker.wait_socket("server", Awaited::Datagrams(53));
}

fn one_host(world: World, socket: &str) -> World {
    let docker = world.docker();
    serve(docker, &[]);
    let address = format!("{}:53", docker.address("server", "bridge", "IPAddress"));
    docker.run("client", &[], &["traffic", "ask", &address, socket]);
    world
}
