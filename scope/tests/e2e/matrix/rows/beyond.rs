//! One end on a machine without a peer.

use super::one_sided;
use crate::matrix::row::{Case, Processes, Row};
use crate::matrix::world::World;

/// Weave Scope's 300, the other way round.
pub(crate) const TO_INTERNET: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        let address = world.stranger(lab);
        world.serve_stranger(7000);
        world.docker().run_client("client", &[], address, 7000);
        world
    },
    &[Case {
        what: "a container to a server outside",
        edges: &[("client", "The Internet")],
        processes: Processes::Exactly(&[("client/nc", "The Internet")]),
        expected: one_sided("no peer runs at the other end"),
    }],
);

pub(crate) const TO_BYSTANDER: Row = Row::still(
    |lab| {
        let mut world = World::with_docker(lab, &["alpha"]);
        let address = world.bystander(lab).address().to_string();
        world.serve_stranger(7000);
        world.docker().run_client("client", &[], &address, 7000);
        world
    },
    &[Case {
        what: "a container to a machine of the hosts' own network that runs no peer",
        edges: &[("client", "Unknown hosts")],
        processes: Processes::Exactly(&[("client/nc", "Unknown hosts")]),
        expected: one_sided("no peer runs at the other end"),
    }],
);
