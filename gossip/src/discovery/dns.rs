//! The name that all peers share, and who is asked and told about it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use hickory_client::proto::rr::Name;

use super::key_file::TsigKey;
use super::peer_address::{MESH_PORT, is_host_name};

/// The mesh's name, where no other is given.
const DEFAULT_NAME: &str = "scope.weave.local";

/// What is put in front of the mesh's name by ourselves has at most 41 bytes ([`super::records`]); a
/// name has at most 253 (RFC 1035 §2.3.4, without its length and root bytes).
const NAME_BYTES_MAX: usize = 253 - 41;

/// How peers find each other in DNS.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name all peers are registered under.
    pub name: MeshName,
    /// Who is asked for it, and told, in place of the system's resolver and the zone's primary.
    pub server: Option<SocketAddr>,
    /// What updates are signed with. Without one nothing is registered by RFC 2136.
    pub update_key: Option<TsigKey>,
    /// Where weaveDNS is, asked when nobody else knows the name. `None`: it is not used.
    pub weave: Option<WeaveConfig>,
    /// Port of peers of which an address alone is known: [`MESH_PORT`] unless the whole mesh uses another.
    pub port: u16,
}

/// The weaveDNS of this host.
#[derive(Clone, Debug)]
pub struct WeaveConfig {
    /// Where it answers queries, by TCP.
    pub dns: SocketAddr,
    /// Where it takes registrations.
    pub http: SocketAddr,
    /// What it knows this peer by, in place of a container's id: the same from one run to the next,
    /// and no other's. Letters, digits, `-` and `_`; others are left out.
    pub id: String,
}

/// A domain name, short enough for the names below it that a registration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshName(Name);

/// A text that is no name for a mesh.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name: give one of at most {NAME_BYTES_MAX} letters, digits, dots and dashes, e.g. `{DEFAULT_NAME}`"
)]
pub struct BadName(String);

impl Config {
    /// The defaults: `scope.weave.local`, asked of the system's resolver, else of weaveDNS, which is
    /// told of this peer too, as `id` ([`WeaveConfig::id`]).
    #[must_use]
    pub fn new(id: String) -> Config {
        Config {
            name: MeshName::default(),
            server: None,
            update_key: None,
            weave: Some(WeaveConfig::new(id)),
            port: MESH_PORT,
        }
    }
}

impl WeaveConfig {
    /// Where weaveDNS is by default: on Docker's default bridge, its control port on the loopback.
    #[must_use]
    pub fn new(id: String) -> WeaveConfig {
        WeaveConfig {
            dns: SocketAddr::from((Ipv4Addr::new(172, 17, 0, 1), 53)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 6784)),
            id,
        }
    }
}

impl MeshName {
    /// As the library has it, with the root.
    pub(super) fn as_name(&self) -> &Name {
        &self.0
    }
}

impl Default for MeshName {
    fn default() -> MeshName {
        DEFAULT_NAME.parse().expect("the default is a name")
    }
}

impl FromStr for MeshName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<MeshName, BadName> {
        let bad = || BadName(text.to_owned());
        if text.len() > NAME_BYTES_MAX || !is_host_name(text) {
            return Err(bad());
        }
        let mut name = Name::from_ascii(text).map_err(|_| bad())?;
        name.set_fqdn(true);
        Ok(MeshName(name.to_lowercase()))
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_ascii().trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_has_a_host_name_that_leaves_room() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(NAME_BYTES_MAX - 3 * 64));
        let cases = [
            ("scope.weave.local", Some("scope.weave.local")),
            ("Scope.Example.COM.", Some("scope.example.com")),
            ("scope", Some("scope")),
            (&longest, Some(&*longest)),
            (&format!("{longest}a"), None),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b", None),
            ("10.0.0.1", None),
            ("scope.local:53", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<MeshName>().ok().map(|name| name.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
        assert_eq!(MeshName::default().to_string(), DEFAULT_NAME);
    }
}
