//! A UDP datagram in an IP packet (RFC 768, 791, 8200).

use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const IPV4_HEADER_MIN: usize = 20;
const IPV6_HEADER: usize = 40;

/// What was sent from where to where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// As much of it as was captured, or as there is in the first fragment.
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram in `packet`, which begins with its IP header. `None` if there is none: not UDP, a fragment that is not
    /// the first, IPv6 with extension headers, or nonsense.
    pub(super) fn in_packet(packet: &'a [u8]) -> Option<Self> {
        let (from, to, datagram) = match packet.first()? >> 4 {
            4 => ipv4(packet)?,
            6 => ipv6(packet)?,
            _ => return None,
        };
        let [from_port, to_port, length] = [0, 2, 4].map(|at| Some(u16::from_be_bytes(array(datagram, at)?)));
        // Of a fragment, and of more than was captured, there is less than it says.
        let payload = datagram.get(UDP_HEADER..usize::from(length?).min(datagram.len()))?;
        Some(Self { from: SocketAddr::new(from, from_port?), to: SocketAddr::new(to, to_port?), payload })
    }
}

fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_first = u16::from_be_bytes(array(packet, 6)?) & 0x1fff == 0;
    if header < IPV4_HEADER_MIN || *packet.get(9)? != UDP || !is_first {
        return None;
    }
    Some((array::<4>(packet, 12)?.into(), array::<4>(packet, 16)?.into(), packet.get(header..)?))
}

fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if *packet.get(6)? != UDP {
        return None;
    }
    Some((array::<16>(packet, 8)?.into(), array::<16>(packet, 24)?.into(), packet.get(IPV6_HEADER..)?))
}

/// The `N` bytes at `at`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Packets as they are on the wire, for tests.
#[cfg(test)]
pub(super) mod packets {
    use super::{UDP, UDP_HEADER};

    /// UDP, from port `from` to port `to`.
    pub(in crate::probe::names) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(UDP_HEADER + payload.len()).unwrap();
        [from, to, length, 0].into_iter().flat_map(u16::to_be_bytes).chain(payload.iter().copied()).collect()
    }

    /// IPv4 from 192.0.2.53 to 192.0.2.7, with so many bytes of options, and flags and offset of a fragment.
    pub(in crate::probe::names) fn ipv4(options: usize, protocol: u8, fragment: u16, datagram: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45 + u8::try_from(options / 4).unwrap(), 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 192, 0, 2, 53, 192, 0, 2, 7]);
        packet.extend(std::iter::repeat_n(1, options));
        packet.extend(datagram);
        packet
    }

    /// IPv6 from 2001:db8::53 to 2001:db8::7.
    pub(in crate::probe::names) fn ipv6(next: u8, datagram: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        for last in [0x53, 7] {
            packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(datagram);
        packet
    }

    /// The usual one: UDP over IPv4.
    pub(in crate::probe::names) fn plain(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        ipv4(0, UDP, 0, &udp(from, to, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::packets::{ipv4, ipv6, udp};
    use super::*;

    #[test]
    fn datagrams_are_found_in_packets_of_both_versions() {
        let datagram = udp(53, 4000, b"payload");
        let (v4, v6) = ("192.0.2.53:53 192.0.2.7:4000", "[2001:db8::53]:53 [2001:db8::7]:4000");
        let cases = [
            ("v4", ipv4(0, UDP, 0, &datagram), Some((v4, "payload"))),
            ("v4 with options", ipv4(8, UDP, 0, &datagram), Some((v4, "payload"))),
            ("v4, more fragments follow", ipv4(0, UDP, 0x2000, &datagram), Some((v4, "payload"))),
            ("v4, a later fragment", ipv4(0, UDP, 100, &datagram), None),
            ("v4, TCP", ipv4(0, 6, 0, &datagram), None),
            ("v4, cut", ipv4(0, UDP, 0, &datagram[..UDP_HEADER + 3]), Some((v4, "pay"))),
            ("v4, cut in its header", ipv4(0, UDP, 0, &datagram[..UDP_HEADER - 1]), None),
            ("v4, padded", ipv4(0, UDP, 0, &[&datagram[..], &[0; 20]].concat()), Some((v4, "payload"))),
            ("v6", ipv6(UDP, &datagram), Some((v6, "payload"))),
            ("v6 with an extension", ipv6(0, &datagram), None),
            ("v5", [&[0x50], &ipv4(0, UDP, 0, &datagram)[1..]].concat(), None),
            ("nothing", Vec::new(), None),
        ];
        for (what, packet, want) in cases {
            let got = Datagram::in_packet(&packet).map(|it| (format!("{} {}", it.from, it.to), it.payload));
            assert_eq!(got, want.map(|(way, payload)| (way.to_owned(), payload.as_bytes())), "{what}");
        }
    }
}
