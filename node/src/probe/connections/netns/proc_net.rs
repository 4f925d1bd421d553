//! Sockets from `/proc/PID/net/{tcp,udp}{,6}`: what is left where sock_diag is refused. A line of text for a socket, so
//! slower, and without figures; readable without privileges, and without entering the namespace.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::io::Errno;
use topology::fact::Protocol;

use crate::probe::connections::sock_diag::{Extent, Socket, State, address};

/// Longest line taken: the kernel's have 150 bytes for v4, about 180 for v6.
const LINE_BYTES_MAX: u64 = 512;

/// The sockets of `protocol` in `net`, a process's directory of its network namespace; at most `limit`.
///
/// # Errors
/// The process ended, or its files cannot be read. A missing `tcp6` is none: the kernel may have no IPv6.
pub(super) fn read(net: &Path, protocol: Protocol, limit: usize) -> Result<(Extent, Vec<Socket>), Errno> {
    let mut sockets = Vec::new();
    let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let v4 = net.join(protocol.as_str());
    let v6 = net.join(format!("{}6", protocol.as_str()));
    let mut extent = read_file(&v4, protocol, limit, &mut sockets).map_err(failed)?;
    if extent == Extent::Whole {
        extent = match read_file(&v6, protocol, limit, &mut sockets) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Extent::Whole,
            read => read.map_err(failed)?,
        };
    }
    Ok((extent, sockets))
}

fn read_file(path: &Path, protocol: Protocol, len_max: usize, sockets: &mut Vec<Socket>) -> io::Result<Extent> {
    let mut file = BufReader::with_capacity(64 * 1024, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(Extent::Whole);
        }
        let Some(socket) = parse(&line, protocol) else { continue };
        if sockets.len() == len_max {
            return Ok(Extent::Truncated);
        }
        sockets.push(socket);
    }
}

/// Reads a line of such a file. `None` for the heading, for states that [`State`] leaves out, and for what is no such line.
fn parse(line: &[u8], protocol: Protocol) -> Option<Socket> {
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
    let local = endpoint(words.next()?)?;
    let remote = endpoint(words.next()?)?;
    let state = State::from_kernel(protocol, u8::from_str_radix(words.next()?, 16).ok()?)?;
    let mut words = words.skip(3);
    let uid = words.next()?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(Socket { local, remote, protocol, state, inode, uid, figures: None })
}

/// `0100007F:1F90`: an address as the kernel's memory has it, in words of 32 bits printed as numbers, so of the machine's
/// byte order; the port as a number.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(address(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_in_both_families() {
        let cases = [
            ("0100007F:1F90", Some("127.0.0.1:8080")),
            ("0700200A:9C43", Some("10.32.0.7:40003")),
            ("00000000:0000", Some("0.0.0.0:0")),
            ("320000FD000000000000000007000000:1538", Some("[fd00:32::7]:5432")),
            ("00000000000000000000000001000000:9C44", Some("[::1]:40004")),
            ("0000000000000000FFFF00000700200A:2382", Some("10.32.0.7:9090")), // v4-mapped
            ("0100007F", None),
            ("0100007:1F90", None),
            ("0100007F:11F90", None),
            ("0100007G:1F90", None),
            ("0100007F0000:1F90", None),
            ("€€:1F90", None),
        ];
        for (text, want) in cases {
            assert_eq!(
                endpoint(text),
                want.map(|address| address.parse().expect("an address of this table")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_line_cut_off_anywhere_is_a_socket_or_nothing() {
        let lines = include_str!("../../../../tests/fixtures/sock_diag/tcp.txt").lines();
        let line = lines.into_iter().find(|line| line.contains("1F90 0700200A:9C41")).expect("a recorded line");
        let whole = parse(line.as_bytes(), Protocol::Tcp).expect("a socket");
        assert_eq!((whole.local.port(), whole.remote.port(), whole.state), (8080, 40001, State::Established));
        for end in 0..line.len() {
            let cut = parse(&line.as_bytes()[..end], Protocol::Tcp);
            assert!(cut.is_none_or(|socket| (socket.local, socket.remote) == (whole.local, whole.remote)), "{end}");
        }
    }
}
