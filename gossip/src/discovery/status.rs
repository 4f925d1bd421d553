//! What discovery found and did: plain data, for logs, the API and `scope status`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::resolve::{LookupError, Server};
use super::update::UpdateError;
use super::weave::WeaveError;

/// What became of each name and registration.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What is looked up: the peers of the command line in their order, then the mesh's name.
    pub names: Vec<NameStatus>,
    /// This peer's records in DNS (RFC 2136).
    pub dns: Registration<UpdateError>,
    /// This peer in weaveDNS.
    pub weave: Registration<WeaveError>,
}

/// What became of one name.
#[derive(Clone, Debug)]
pub struct NameStatus {
    /// As it was given, with its port; the mesh's name has none.
    pub name: String,
    /// Whether it is the name that all peers share. It is normal that nobody knows that.
    pub is_mesh: bool,
    /// What the last look-up gave.
    pub outcome: Outcome,
    /// When the next one is due. `None` before the first.
    pub next_lookup: Option<Instant>,
}

/// What a look-up gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Pending,
    /// It is an address itself.
    Literal,
    /// Addresses, with their ports.
    Found {
        /// None twice, in their order.
        addresses: Vec<SocketAddr>,
        /// Who said so.
        server: Server,
    },
    /// Nothing.
    Failed {
        /// Why.
        error: LookupError,
        /// How many look-ups failed since the last that did not.
        failures: u32,
    },
}

/// What became of a registration. `E` is why it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Registration<E> {
    /// Not asked for.
    #[default]
    Off,
    /// Not yet, or there is no address that others could reach.
    Pending,
    /// The server has these addresses of ours.
    Done {
        /// Which server.
        server: SocketAddr,
        /// In their order.
        addresses: Vec<SocketAddr>,
    },
    /// The server does not have them; it is tried again.
    Failed(E),
    /// Removed again, on the way out.
    Withdrawn,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Pending => f.write_str("being looked up"),
            Outcome::Literal => f.write_str("an address"),
            Outcome::Found { addresses, server } => {
                write_addresses(f, addresses)?;
                write!(f, " from {server}")
            }
            Outcome::Failed { error, .. } => error.fmt(f),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Registration<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Registration::Off => f.write_str("off"),
            Registration::Pending => f.write_str("not yet"),
            Registration::Done { server, addresses } => {
                write_addresses(f, addresses)?;
                write!(f, " at {server}")
            }
            Registration::Failed(error) => error.fmt(f),
            Registration::Withdrawn => f.write_str("withdrawn"),
        }
    }
}

/// The first few, and how many more there are.
fn write_addresses(f: &mut fmt::Formatter<'_>, addresses: &[SocketAddr]) -> fmt::Result {
    const SHOWN: usize = 4;
    for (index, address) in addresses.iter().take(SHOWN).enumerate() {
        let separator = if index > 0 { ", " } else { "" };
        write!(f, "{separator}{address}")?;
    }
    match addresses.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_text() {
        let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 4030));
        let server = at(1);
        let found = |count: u8| Outcome::Found { addresses: (2..2 + count).map(at).collect(), server: Server::System };
        let error = LookupError::UnknownName { server: Server::At(server) };
        let cases = [
            (Outcome::Pending.to_string(), "being looked up"),
            (found(1).to_string(), "10.0.0.2:4030 from the system's resolver"),
            (
                found(4).to_string(),
                "10.0.0.2:4030, 10.0.0.3:4030, 10.0.0.4:4030, 10.0.0.5:4030 from the system's resolver",
            ),
            (
                found(6).to_string(),
                "10.0.0.2:4030, 10.0.0.3:4030, 10.0.0.4:4030, 10.0.0.5:4030 and 2 more from the system's resolver",
            ),
            (Outcome::Failed { error, failures: 3 }.to_string(), "the DNS server 10.0.0.1:4030 knows no such name"),
            (
                Registration::<WeaveError>::Done { server, addresses: vec![at(2)] }.to_string(),
                "10.0.0.2:4030 at 10.0.0.1:4030",
            ),
            (Registration::Failed(WeaveError::Absent { server }).to_string(), "no weaveDNS answers at 10.0.0.1:4030"),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }
}
