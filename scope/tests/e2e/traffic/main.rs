//! What the containers of the end-to-end tests run where busybox does not do: connections by the thousand, datagrams, and
//! what ends when it is told to. Linked statically, so that it runs in an image that has nothing else.
//!
//! ```text
//! traffic serve PORT                       takes every connection, reads it to its end and closes it
//! traffic hand-over PORT SECONDS           takes a connection, and gives it to a child of its own after SECONDS
//! traffic serve-udp PORT                   answers every datagram
//! traffic connect TO RATE LIFE_MS SECONDS  opens RATE connections a second that live LIFE_MS each; says how many it made
//! traffic every TO SECONDS                 opens a connection and closes it at once, every so many SECONDS
//! traffic once TO SECONDS                  opens one connection, closes it after SECONDS, and stays
//! traffic ask TO connected|unconnected     sends a datagram a second from one socket
//! traffic answer PORT                      takes every connection, and answers once a second what came on it
//! traffic hold COUNT TO...                 opens COUNT connections to each, and sends a byte on each of them every second
//! traffic push TO BYTES                    opens one connection, and sends so many bytes a second on it, evenly
//! traffic storm TO COUNT                   sends a datagram from each of COUNT ports
//! ```
//! `TO` is an address with a port: `10.0.0.2:80`, `[fe80::1%2]:80`.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections served, or made, at the same time.
const THREADS: usize = 32;

/// Seconds that never pass.
const FOREVER: Duration = Duration::from_secs(100_000);

/// Between two messages on each connection that is held.
const BEAT: Duration = Duration::from_secs(1);

/// What is sent evenly is sent so many times a beat.
const PORTIONS: u32 = 50;

/// Before another attempt at a server that is not there yet.
const RETRY: Duration = Duration::from_millis(50);

/// Where a [`storm`] begins to take local ports.
const FIRST_PORT: u16 = 1024;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", port] => serve(port.parse()?),
        ["hand-over", port, seconds] => hand_over(port.parse()?, Duration::from_secs(seconds.parse()?)),
        ["serve-udp", port] => serve_udp(port.parse()?),
        ["connect", to, rate, life_ms, seconds] => {
            let life = Duration::from_millis(life_ms.parse()?);
            connect(to.parse()?, rate.parse()?, life, Duration::from_secs(seconds.parse()?))
        }
        ["every", to, seconds] => every(to.parse()?, Duration::from_secs(seconds.parse()?)),
        ["once", to, seconds] => once(to.parse()?, Duration::from_secs(seconds.parse()?)),
        ["ask", to, "connected"] => ask(to.parse()?, true),
        ["ask", to, "unconnected"] => ask(to.parse()?, false),
        ["answer", port] => answer(port.parse()?),
        ["hold", count, ref servers @ ..] => hold(count.parse()?, servers),
        ["push", to, bytes] => push(to.parse()?, bytes.parse()?),
        ["storm", to, count] => storm(to.parse()?, count.parse()?),
        _ => Err(format!("what is {arguments:?}").into()),
    }
}

fn serve(port: u16) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Ok((mut stream, _)) = listener.accept() else { continue };
                    // A client that resets has ended too.
                    while stream.read(&mut [0; 256]).is_ok_and(|length| length > 0) {}
                }
            });
        }
    });
    Ok(())
}

fn hand_over(port: u16, after: Duration) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let mut children = Vec::new();
    loop {
        let (stream, _) = listener.accept()?;
        thread::sleep(after);
        let (input, output) = (OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream));
        children.push(Command::new("cat").stdin(input).stdout(output).spawn()?);
    }
}

fn serve_udp(port: u16) -> Outcome {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let mut datagram = [0; 256];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        // Who asked may be gone already.
        let _ = socket.send_to(&datagram[..length], from);
    }
}

/// Connection `n` opens `n / rate` seconds after the start, whichever thread makes it.
fn connect(to: SocketAddr, rate: u64, life: Duration, length: Duration) -> Outcome {
    let (start, next, made) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let total = rate * length.as_secs();
    thread::scope(|scope| {
        for _ in 0..THREADS.min(usize::try_from(rate).unwrap_or(THREADS)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if let Ok(stream) = TcpStream::connect(to) {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(life);
                        drop(stream);
                    }
                }
            });
        }
    });
    println!("made {}", made.load(Ordering::Relaxed));
    thread::sleep(FOREVER);
    Ok(())
}

fn every(to: SocketAddr, pause: Duration) -> Outcome {
    loop {
        drop(TcpStream::connect(to)?);
        thread::sleep(pause);
    }
}

fn once(to: SocketAddr, length: Duration) -> Outcome {
    let stream = TcpStream::connect(to)?;
    thread::sleep(length);
    drop(stream);
    thread::sleep(FOREVER);
    Ok(())
}

fn ask(to: SocketAddr, connected: bool) -> Outcome {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    if connected {
        socket.connect(to)?;
    }
    loop {
        // A server that is not there yet refuses.
        let _ = if connected { socket.send(b"ping") } else { socket.send_to(b"ping", to) };
        thread::sleep(Duration::from_secs(1));
    }
}

/// A thread for each connection would be most of what the machine does.
fn answer(port: u16) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let streams = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming().flatten().filter(|stream| stream.set_nonblocking(true).is_ok()) {
                streams.lock().expect("no thread panics").push(stream);
            }
        });
        loop {
            streams.lock().expect("no thread panics").retain_mut(echo);
            thread::sleep(BEAT);
        }
    })
}

/// Answers what came; whether the connection is still open.
fn echo(stream: &mut TcpStream) -> bool {
    let mut message = [0; 256];
    match stream.read(&mut message) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&message[..length]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn hold(count: usize, servers: &[&str]) -> Outcome {
    let mut streams = Vec::new();
    for server in servers {
        let server: SocketAddr = server.parse()?;
        for _ in 0..count {
            streams.push(open(server)?);
        }
    }
    println!("holds {}", streams.len());
    loop {
        for stream in &mut streams {
            // Nothing has come if the server is slow.
            let _ = stream.read(&mut [0; 256]);
            stream.write_all(b".")?;
        }
        thread::sleep(BEAT);
    }
}

fn push(to: SocketAddr, bytes: usize) -> Outcome {
    let mut stream = TcpStream::connect(to)?;
    let (load, start) = (vec![b'.'; bytes / PORTIONS as usize], Instant::now());
    for portion in 1.. {
        stream.write_all(&load)?;
        thread::sleep((start + BEAT * portion / PORTIONS).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// A connection that is not waited on, as soon as there is a server.
fn open(server: SocketAddr) -> Result<TcpStream, Box<dyn Error>> {
    loop {
        if let Ok(stream) = TcpStream::connect(server) {
            stream.set_nonblocking(true)?;
            return Ok(stream);
        }
        thread::sleep(RETRY);
    }
}

fn storm(to: SocketAddr, count: u16) -> Outcome {
    for port in (FIRST_PORT..).take(count.into()) {
        // One that is taken is left out.
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) else { continue };
        let _ = socket.send_to(b"ping", to);
    }
    println!("sent");
    Ok(())
}
