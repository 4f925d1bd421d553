//! What the suites measure: a synthetic cluster of fifty hosts with 511 facts each, as a busy Docker host has them.

pub mod lifelike;
pub mod origins;
pub mod whole_state;

use topology::cluster::Writer;
use topology::graph::Change;
use topology::synthetic::SyntheticHost;
use topology::{Kind, Options, Timestamp, View};

/// Hosts of the cluster that is rendered.
pub const HOSTS: u32 = 50;

/// The cluster of that many hosts, gauges included.
#[must_use]
pub fn writer(hosts: u32) -> Writer {
    let mut writer = Writer::default();
    for number in 0..hosts {
        let host = SyntheticHost::new(number, hosts);
        let gauges = host.gauges(Timestamp(1_800_000_000_000)).into_iter().map(topology::fact::Fact::Gauges);
        writer.apply(&host.peer(), host.changes().into_iter().chain(gauges.map(Change::put)));
    }
    writer
}

/// Every view with the options people see first, following nothing yet.
#[must_use]
pub fn views() -> Vec<View> {
    Kind::ALL.into_iter().map(|kind| View::new(kind, Options::defaults(kind))).collect()
}
