//! What following conntrack costs on this machine. Run it as root, optimised, with nftables installed:
//!
//! ```text
//! cargo run --release --example conntrack_cost
//! ```

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use node::probe::connections::conntrack::{
    Change, ENTRIES_MAX, Entry, Filter, Listener, Options, Reader, Table, Tuple,
};
use node::probe::connections::sock_diag::Extent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, AddressFamily, SocketType, bind, socket};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use rustix::time::{ClockId, clock_gettime};
use topology::fact::Protocol;

/// Everything is tracked, and what goes to 10.9.9.9 comes to us.
const RULES: &str = "
table inet cost {
    chain redirected { type nat hook output priority -100; ip daddr 10.9.9.9 redirect; }
    chain tracked { type filter hook output priority 0; ct state new accept; }
}";
const RATE: u32 = 10_000;
const STORM: Duration = Duration::from_secs(4);
/// As the follower does after it has read.
const GATHER: Duration = Duration::from_millis(20);
const ENTRIES: u16 = 10_000;
const RUNS: usize = 21;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    // SAFETY: changes which network this thread sees, and nothing of its memory or descriptors. There are no others yet.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    run("ip", &["link", "set", "lo", "up"], "")?;
    run("ip", &["route", "add", "default", "dev", "lo"], "")?;
    dump("an empty namespace")?;
    run("nft", &["-f", "-"], RULES)?;
    let server = TcpListener::bind("0.0.0.0:80")?;
    for target in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 9, 9, 9)] {
        println!("\nshort connections to {target}");
        storm(&server, target, None)?;
        for filter in [None, Some(Filter { has_ipvs: false })] {
            storm(&server, target, Some(filter))?;
        }
    }
    println!();
    dump("what is left of these")?;
    forget_all()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for port in 1..=ENTRIES {
        socket.send_to(b"?", (Ipv4Addr::LOCALHOST, port))?;
    }
    dump("10,000 flows")?;
    for entries in [10_000, ENTRIES_MAX] {
        tables(entries)?;
    }
    Ok(())
}

fn cpu_time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// The median of some runs, in CPU time of this thread.
fn median<T>(mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut times = Vec::new();
    loop {
        let start = cpu_time(ClockId::ThreadCPUTime);
        let result = run();
        times.push(cpu_time(ClockId::ThreadCPUTime).saturating_sub(start));
        if times.len() == RUNS {
            times.sort_unstable();
            return (times[RUNS / 2], result);
        }
    }
}

fn dump(what: &str) -> Result<()> {
    let mut reader = Reader::default();
    let mut entries = Vec::new();
    let (time, result) = median(|| {
        entries.clear();
        reader.dump(ENTRIES_MAX, &mut entries)
    });
    result?;
    println!("dump of {what}: {} of interest, {time:?}", entries.len());
    Ok(())
}

/// Connections as fast as wanted, with a listener or without.
fn storm(server: &TcpListener, target: Ipv4Addr, filter: Option<Option<Filter>>) -> Result<()> {
    let options = |filter| Options { filter, buffer_bytes: Options::BUFFER_BYTES };
    let listener = filter.map(|filter| Listener::open(options(filter))).transpose()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = listener.map(|listener| scope.spawn(|| read(listener, &is_over)));
        let before = cpu_time(ClockId::ThreadCPUTime);
        let connections = connect(server, SocketAddr::from((target, 80)));
        let spent = cpu_time(ClockId::ThreadCPUTime).saturating_sub(before);
        is_over.store(true, Ordering::Relaxed);
        let connections = connections?;
        let rate = f64::from(connections) / STORM.as_secs_f64();
        let name = match filter {
            None => "nobody listens",
            Some(None) => "no filter",
            Some(Some(_)) => "filtered",
        };
        print!("{name:15} {rate:6.0}/s, {:?} each for who makes them", spent / connections);
        if let Some(reading) = reading {
            let seen = reading.join().map_err(|_| "the reader panicked")??;
            let share = seen.cpu.as_secs_f64() / STORM.as_secs_f64() * 100.0;
            let each = seen.cpu / u32::try_from(seen.events.max(1))?;
            print!("; {} events, {share:.2} % of a CPU to read and apply, {each:?} each", seen.events);
            print!(", {} in the table, {} losses", seen.entries, seen.losses);
        }
        println!();
        Ok(())
    })
}

fn connect(server: &TcpListener, target: SocketAddr) -> std::io::Result<u32> {
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < STORM {
        let due = start.elapsed().as_millis() as u32 * RATE / 1000;
        while made < due {
            let client = dial(target)?;
            drop(server.accept()?); // the server's port waits, not the client's
            drop(client);
            made += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(made)
}

/// From one of many addresses: conntrack holds on to the ports of each for two minutes.
fn dial(target: SocketAddr) -> std::io::Result<TcpStream> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [_, high, low, _] = COUNT.fetch_add(32, Ordering::Relaxed).to_be_bytes();
    let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&client, &SocketAddr::from(([127, 1 + high, low, 1], 0)))?;
    net::connect(&client, &target)?;
    Ok(client.into())
}

struct Seen {
    events: usize,
    entries: usize,
    losses: u32,
    cpu: Duration,
}

fn read(mut listener: Listener, is_over: &AtomicBool) -> Result<Seen> {
    let mut table = Table::default();
    let (mut events, mut losses) = (0, 0);
    let mut changes = Vec::new();
    let before = cpu_time(ClockId::ThreadCPUTime);
    let timeout = Timespec::try_from(GATHER)?;
    while !is_over.load(Ordering::Relaxed) {
        let received = listener.receive(&mut changes)?;
        events += received.datagrams;
        losses += u32::from(received.lost);
        let now = Instant::now();
        for change in changes.drain(..) {
            table.apply(change, now);
        }
        if received.datagrams == 0 {
            let _ = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&timeout));
        } else if !received.more {
            std::thread::sleep(GATHER);
        }
    }
    let cpu = cpu_time(ClockId::ThreadCPUTime).saturating_sub(before);
    Ok(Seen { events, entries: table.len(), losses, cpu })
}

/// A connection from the `n`th client to a published port.
fn translated(n: usize) -> Entry {
    let client = SocketAddr::from(([10, 40, (n >> 16) as u8, (n >> 8) as u8], n as u16));
    let protocol = Protocol::Tcp;
    let original = Tuple { protocol, source: client, destination: SocketAddr::from(([10, 40, 0, 1], 8080)) };
    let reply = Tuple { protocol, source: SocketAddr::from(([10, 41, 0, 2], 80)), destination: client };
    Entry { original, reply, zone: 0, replied: true, assured: true, closed: false, bytes: None }
}

fn tables(count: usize) -> Result<()> {
    let entries: Vec<Entry> = (0..count).map(translated).collect();
    let before = resident()?;
    let mut table = Table::default();
    let start = cpu_time(ClockId::ThreadCPUTime);
    for entry in &entries {
        table.apply(Change::Seen(*entry), Instant::now());
    }
    let applied = cpu_time(ClockId::ThreadCPUTime).saturating_sub(start) / u32::try_from(count)?;
    let bytes = resident()?.saturating_sub(before) * 1024 / count;
    let (resynced, ()) = median(|| table.resync(&entries, Extent::Whole, Instant::now()));
    let (looked, found) = median(|| {
        let ends = entries.iter().map(|entry| (entry.original, entry.reply));
        ends.filter(|(there, back)| {
            table.outgoing(Protocol::Tcp, there.source, there.destination).is_some()
                && table.incoming(Protocol::Tcp, back.source, back.destination).is_some()
        })
        .count()
    });
    let per_second = 2.0 * found as f64 / looked.as_secs_f64();
    println!(
        "{count} entries: {applied:?} to add one, {bytes} B each; resync {resynced:?}; {per_second:.0} look-ups/s"
    );
    Ok(())
}

/// Resident memory of this process in KiB.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Deletes every entry.
fn forget_all() -> Result<()> {
    let netlink = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?;
    let mut message = [0; 20];
    message[..4].copy_from_slice(&20_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&0x102_u16.to_ne_bytes()); // delete
    message[6..8].copy_from_slice(&5_u16.to_ne_bytes()); // a request to be acknowledged
    netlink.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    netlink.recv_from_full()?;
    Ok(())
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"; // not in everybody's
    let mut child = Command::new(program).args(arguments).env("PATH", path).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("{program} failed").into()) }
}
