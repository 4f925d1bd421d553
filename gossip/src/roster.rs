//! What the mesh says of a peer, in the peer's own origin beside what its host says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::encode::{self, Encoder, Write};

use crate::wire::{Fields, Malformed};

/// The key of the one entry that the mesh writes into its origin.
pub const ROSTER_KEY: &[u8] = b"peer";

/// The longest [`Roster::agent`].
pub const AGENT_BYTES_MAX: usize = 64;

/// The most [`Roster::addresses`].
pub const ADDRESSES_MAX: usize = 16;

/// A change that older peers would misread gets another number. A new field is none: it goes to the
/// end, where they do not look.
const FORMAT: u32 = 1;

const IPV4_BYTES: usize = 4 + 2;
const IPV6_BYTES: usize = 16 + 2;

/// How others reach a peer, and how they see that it is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Name and version of the program.
    pub agent: String,
    /// Where it listens, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// Number of its chain of beats, see [`BeatChain`](crate::head::BeatChain).
    pub chain: u32,
    /// The chain's anchor.
    pub anchor: [u8; 8],
    /// Time between two beats, in milliseconds.
    pub beat_ms: u32,
}

/// Why an entry is no roster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Of a release that this one cannot read.
    #[error("peer entry of format {0}, this is {FORMAT}")]
    Format(u32),
    /// Not CBOR, or not these fields.
    #[error("peer entry malformed at byte {at}")]
    Malformed {
        /// How many bytes were read before.
        at: usize,
    },
    /// The agent is longer than [`AGENT_BYTES_MAX`].
    #[error("agent of {bytes} bytes, at most {AGENT_BYTES_MAX} are taken")]
    AgentTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// More than [`ADDRESSES_MAX`].
    #[error("{addresses} addresses, at most {ADDRESSES_MAX} are taken")]
    TooManyAddresses {
        /// How many.
        addresses: u64,
    },
}

impl From<Malformed> for RosterError {
    fn from(malformed: Malformed) -> RosterError {
        RosterError::Malformed { at: malformed.at }
    }
}

impl Roster {
    /// The bytes of the entry: an array of CBOR. What exceeds the bounds is left out. Of a link-local
    /// address the interface is not said, which means something else on every host.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.write(&mut Encoder::new(&mut bytes)).expect("memory takes whatever is written to it");
        bytes.into()
    }

    fn write<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), encode::Error<W::Error>> {
        let Roster { agent, addresses, chain, anchor, beat_ms } = self;
        let agent = &agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)];
        let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
        e.array(6)?.u32(FORMAT)?.str(agent)?.array(addresses.len() as u64)?;
        for address in addresses {
            e.bytes(&address_bytes(address))?;
        }
        e.u32(*chain)?.bytes(anchor)?.u32(*beat_ms)?.ok()
    }

    /// The roster of these bytes. Addresses of a kind we do not know are left out.
    ///
    /// # Errors
    /// [`RosterError`]
    pub fn decode(bytes: &[u8]) -> Result<Roster, RosterError> {
        let mut decoder = Decoder::new(bytes);
        let mut fields = Fields::open(&mut decoder)?;
        match fields.u32()? {
            FORMAT => {}
            format => return Err(RosterError::Format(format)),
        }
        let agent = match fields.str()? {
            agent if agent.len() > AGENT_BYTES_MAX => return Err(RosterError::AgentTooLong { bytes: agent.len() }),
            agent => agent.to_owned(),
        };
        let addresses = read_addresses(fields.array()?)?;
        let (chain, anchor, beat_ms) = (fields.u32()?, fields.fixed()?, fields.u32()?);
        fields.skip()?;
        match decoder.position() {
            at if at < bytes.len() => Err(RosterError::Malformed { at }),
            _ => Ok(Roster { agent, addresses, chain, anchor, beat_ms }),
        }
    }
}

fn read_addresses(mut fields: Fields<'_, '_>) -> Result<Vec<SocketAddr>, RosterError> {
    if fields.left() > ADDRESSES_MAX as u64 {
        return Err(RosterError::TooManyAddresses { addresses: fields.left() });
    }
    let mut addresses = Vec::new();
    while fields.left() > 0 {
        addresses.extend(address(fields.bytes()?));
    }
    Ok(addresses)
}

/// The IP address, then the port, each with the highest byte first.
fn address_bytes(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let ip = match bytes.len() {
        IPV4_BYTES => Ipv4Addr::from_octets(ip.try_into().ok()?).into(),
        IPV6_BYTES => Ipv6Addr::from_octets(ip.try_into().ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_survives_its_bytes_within_its_bounds() {
        let v4: SocketAddr = "192.0.2.1:4030".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:4030".parse().unwrap();
        let scoped: SocketAddr = "[fe80::1%7]:4030".parse().unwrap();
        let unscoped: SocketAddr = "[fe80::1]:4030".parse().unwrap();
        let long = "ä".repeat(40);
        // as it is; as it is read
        let cases = [
            (roster("scope/0.1.0", &[v4, v6]), roster("scope/0.1.0", &[v4, v6])),
            (roster("", &[]), roster("", &[])),
            (roster("", &[scoped]), roster("", &[unscoped])),
            (roster("", &[v4; 17]), roster("", &[v4; 16])),
            (roster(&long, &[]), roster(&"ä".repeat(32), &[])),
            (roster(&format!("x{long}"), &[]), roster(&format!("x{}", "ä".repeat(31)), &[])),
        ];
        for (roster, want) in cases {
            assert_eq!(Roster::decode(&roster.encode()), Ok(want), "{roster:?}");
        }
    }

    /// Peers of different releases must agree on it.
    #[test]
    fn a_roster_keeps_its_bytes() {
        let roster = roster("s", &["192.0.2.1:4030".parse().unwrap()]);
        assert_eq!(roster.encode(), bytes(&[], 6));
    }

    #[test]
    fn what_is_no_roster_is_refused() {
        let long = [&[0x86, 1, 0x78, 65], [b'a'; 65].as_slice()].concat();
        let malformed = |at| Err(RosterError::Malformed { at });
        let cases: [(&str, Vec<u8>, Result<(), RosterError>); 15] = [
            ("as it is", bytes(&[], 6), Ok(())),
            ("of a newer peer", bytes(&[0x82, 1, 0x80, 0xa1, 1, 2], 8), Ok(())),
            (
                "an address of another kind",
                vec![0x86, 1, 0x60, 0x82, 0x40, 0x43, 1, 2, 3, 7, 0x48, 8, 8, 8, 8, 8, 8, 8, 8, 3],
                Ok(()),
            ),
            ("of another format", vec![0x81, 2], Err(RosterError::Format(2))),
            ("with something behind", bytes(&[0], 6), malformed(25)),
            ("nothing", vec![], malformed(0)),
            ("no array", vec![1], malformed(0)),
            ("without end", vec![0x9f, 1, 0x60], malformed(0)),
            ("cut", bytes(&[], 6)[..20].to_vec(), malformed(13)),
            ("a field too few", bytes(&[], 5), malformed(22)),
            ("an agent that is no text", vec![0x86, 1, 0x62, 0xff, 0xff], malformed(2)),
            ("an agent too long", long, Err(RosterError::AgentTooLong { bytes: 65 })),
            ("too many addresses", vec![0x86, 1, 0x60, 0x91], Err(RosterError::TooManyAddresses { addresses: 17 })),
            (
                "far too many addresses",
                vec![0x86, 1, 0x60, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
                Err(RosterError::TooManyAddresses { addresses: u64::MAX }),
            ),
            ("a number for an address", vec![0x86, 1, 0x60, 0x81, 1], malformed(4)),
        ];
        for (case, bytes, want) in cases {
            assert_eq!(Roster::decode(&bytes).map(|_| ()), want, "{case}");
        }
    }

    fn roster(agent: &str, addresses: &[SocketAddr]) -> Roster {
        Roster { agent: agent.to_owned(), addresses: addresses.to_vec(), chain: 7, anchor: [8; 8], beat_ms: 3000 }
    }

    /// A roster that says it has so many fields, and more bytes behind it.
    fn bytes(more: &[u8], fields: u8) -> Vec<u8> {
        let head = [0x80 | fields, 1, 0x61, b's', 0x81, 0x46, 192, 0, 2, 1, 15, 190, 7, 0x48];
        [&head, [8; 8].as_slice(), &[0x19, 11, 184], more].concat()
    }
}
