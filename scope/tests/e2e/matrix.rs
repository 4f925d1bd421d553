//! The scenario matrix: who talks to whom by every road a connection can take, in every mode a peer can be in. A row is a world
//! of hosts, containers and connections; what each mode is to make of it is data (`row.rs`), from which the table in
//! `docs/edges.md` is made too. Every row asserts the exact edges of the map: none is missing and none is false.
//!
//! Numbers in names are those of Weave Scope's integration tests.
//!
//! IPVS has no row: the kernels these tests run on do not have it.

mod brief;
mod check;
mod mode;
mod row;
mod rows;
mod sources;
mod table;
mod time;
mod world;

use crate::harness::lab::lab;
use row::Row;
use rows::{across, beyond, one_host, published, udp};

/// A test for each row, and the list of all, in the table's order.
macro_rules! rows {
    ($($name:ident: $row:path,)+) => {
        $(
            #[test]
            fn $name() {
                check::check(&lab!(), &$row);
            }
        )+

        const ROWS: &[&Row] = &[$(&$row),+];
    };
}

rows! {
    bridge_330: one_host::BRIDGE,
    short_lived_310: one_host::SHORT_LIVED,
    user_network: one_host::USER_NETWORK,
    host_network: one_host::HOST_NETWORK,
    shared_network_namespace_312: one_host::SHARED_NETNS,
    accept_before_the_peer_314: one_host::ACCEPT,
    hand_over: one_host::HAND_OVER,
    ipv6: one_host::V6,
    link_local_ipv6: one_host::LINK_LOCAL,
    loopback_of_the_host: one_host::HOST_LOOPBACK,
    host_to_container: one_host::HOST_TO_CONTAINER,
    without_docker: one_host::NO_DOCKER,
    published_port_on_loopback: published::FROM_LOOPBACK,
    published_port_on_the_hosts_address: published::FROM_OWN_ADDRESS,
    published_port_from_another_host: published::FROM_OTHER_HOST,
    published_port_of_a_sidecar: published::SIDECAR,
    balanced_address: published::BALANCED,
    virtual_address: published::VIRTUAL,
    published_port_from_outside: published::FROM_OUTSIDE,
    hairpin_by_proxy: published::HAIRPIN_PROXY,
    hairpin_by_translation: published::HAIRPIN_KERNEL,
    published_port_without_docker: published::NO_DOCKER,
    equal_subnets: across::EQUAL_SUBNETS,
    masquerade_320: across::MASQUERADE,
    processes_of_two_hosts_340: across::PROCESSES,
    processes_of_two_hosts_over_ipv6: across::V6,
    routed_networks: across::ROUTED,
    overlay: across::OVERLAY,
    to_the_internet: beyond::TO_INTERNET,
    machine_without_a_peer: beyond::TO_BYSTANDER,
    connected_udp: udp::CONNECTED,
    unconnected_udp: udp::UNCONNECTED,
    published_udp: udp::PUBLISHED,
}
