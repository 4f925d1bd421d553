//! Known services: what addresses outside the cluster are, by their names or networks.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One rule by which an address outside the cluster is a known service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is about.
    pub pattern: Pattern,
    /// What people read; without it each DNS name is a service of its own.
    #[serde(default)]
    pub name: Option<String>,
    /// Picture the page draws it with.
    #[serde(default)]
    pub icon: Option<String>,
    /// What it belongs to, such as a provider.
    #[serde(default)]
    pub group: Option<String>,
}

/// Which addresses a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Those with a DNS name that is this or ends in a dot and this.
    Suffix(String),
    /// Those with a DNS name that this matches as a whole.
    Regex(String),
    /// Those of a network.
    Net {
        /// Any address of it.
        address: IpAddr,
        /// Length of its prefix, in bits.
        prefix: u8,
    },
}

/// A known service outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What people read, and what names its node.
    pub name: Arc<str>,
    /// Picture the page draws it with.
    pub icon: Option<Arc<str>>,
    /// What it belongs to.
    pub group: Option<Arc<str>>,
}
