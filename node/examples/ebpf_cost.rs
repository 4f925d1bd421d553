//! What the tracer of ended connections costs on this machine. Run it as root, optimised:
//!
//! ```text
//! cargo run --release --example ebpf_cost
//! ```

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use node::probe::connections::ebpf::{Ended, News, Tracer, watch};
use node::probe::pace::thread_cpu_time;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONNECTIONS: u32 = 20_000;
/// Each has two relations.
const CLIENTS: u32 = 5_000;
const RATE: u32 = 10_000;
const SECONDS: u32 = 10;
/// As often as the probe looks.
const BEAT: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = listener.local_addr()?;
    let untraced = short_connections(&listener, CONNECTIONS)?;
    println!("short connection, untraced: {:?}", untraced / CONNECTIONS);

    let before = resident()?;
    let start = Instant::now();
    let (mut tracer, news) = Tracer::load(Path::new("/proc"))?;
    println!("load: {:?}; resident {before} KiB before, {} KiB after", start.elapsed(), resident()?);

    let traced = short_connections(&listener, CONNECTIONS)?;
    println!("short connection, traced and measured: {:?}", traced / CONNECTIONS);
    let mut ended = Vec::new();
    let drained = tracer.drain(&mut ended)?;
    let (spent, events) = (drained.cpu_time.ok_or("the kernel does not measure BPF programs")?, drained.events);
    let per_event = spent / u32::try_from(events)?;
    println!("in the kernel: {:?} a connection, both ends; {events} events, {per_event:?} each", spent / CONNECTIONS);
    let counted: u64 = ended.iter().map(|row| row.count).sum();
    println!("counted {counted} of {} ends, lost {}", 2 * CONNECTIONS, drained.losses);

    drains(&mut tracer, &listener, server)?;
    holders(&mut tracer)?;
    steadily(&mut tracer, news, listener)
}

/// Time to open and close `count` connections, one after the other.
fn short_connections(listener: &TcpListener, count: u32) -> Result<Duration> {
    let server = listener.local_addr()?;
    let start = Instant::now();
    for _ in 0..count {
        drop((TcpStream::connect(server)?, listener.accept()?));
    }
    Ok(start.elapsed())
}

fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn drain(what: &str, tracer: &mut Tracer) -> Result<Vec<Ended>> {
    let (start, spent) = (Instant::now(), thread_cpu_time());
    let mut ended = Vec::new();
    tracer.drain(&mut ended)?;
    let (spent, waited) = (thread_cpu_time().saturating_sub(spent), start.elapsed());
    println!("drain of {what}: {} rows, {spent:?} of CPU, took {waited:?}", ended.len());
    Ok(ended)
}

/// To be held against the walk of `connections_cost`: as many processes, with as many sockets.
fn holders(tracer: &mut Tracer) -> Result<()> {
    const PROCESSES: usize = 110;
    const PAIRS: usize = 14;
    const RUNS: usize = 21;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let pair = (TcpStream::connect(listener.local_addr()?)?, listener.accept()?.0);
        fcntl_setfd(&pair.0, FdFlags::empty())?;
        fcntl_setfd(&pair.1, FdFlags::empty())?;
        pairs.push(pair);
    }
    let mut children = Vec::new();
    for _ in 0..PROCESSES {
        children.push(Command::new("sleep").arg("600").spawn()?);
    }
    let (mut times, mut found) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        found.clear();
        let start = thread_cpu_time();
        tracer.holders(&mut found)?;
        times.push(thread_cpu_time().saturating_sub(start));
    }
    for child in &mut children {
        child.kill()?;
        child.wait()?;
    }
    times.sort_unstable();
    println!("holders of all sockets: {} found, {:?} of CPU", found.len(), times[RUNS / 2]);
    Ok(())
}

fn drains(tracer: &mut Tracer, listener: &TcpListener, server: SocketAddr) -> Result<()> {
    drain("nothing new", tracer)?;
    short_connections(listener, 1000)?;
    drain("two relations", tracer)?;
    for client in 0..CLIENTS {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + client);
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::from((IpAddr::V4(source), 0)))?;
        connect(&socket, &server)?;
        drop((socket, listener.accept()?));
    }
    drain("as many as there are clients", tracer)?;
    Ok(())
}

/// Short connections at a rate, as the probe would see them.
fn steadily(tracer: &mut Tracer, news: News, listener: TcpListener) -> Result<()> {
    let (wakes, watching) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, spent) = (Arc::clone(&wakes), Arc::clone(&watching));
    let watcher = watch(news, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        spent.store(u64::try_from(thread_cpu_time().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    })?;
    let load = std::thread::spawn(move || at_a_rate(&listener).map_err(|error| error.to_string()));
    let (mut in_kernel, mut counted, mut losses) = (Duration::ZERO, 0, 0);
    let own = thread_cpu_time();
    for _ in 0..=SECONDS {
        std::thread::sleep(BEAT);
        let mut ended = Vec::new();
        let drained = tracer.drain(&mut ended)?;
        in_kernel += drained.cpu_time.unwrap_or_default();
        counted += ended.iter().map(|row| row.count).sum::<u64>();
        losses = drained.losses;
    }
    let draining = thread_cpu_time().saturating_sub(own);
    let took = load.join().map_err(|_| "the load panicked")??;
    drop(watcher);
    let share = |time: Duration| 100.0 * time.as_secs_f64() / took.as_secs_f64();
    println!(
        "{RATE} connections a second for {took:?}: counted {counted} of {} ends, lost {losses}",
        2 * RATE * SECONDS
    );
    println!("in the kernel: {:.2} % of a core", share(in_kernel));
    println!("draining each second: {:.3} % of a core", share(draining));
    let watching = Duration::from_nanos(watching.load(Ordering::Relaxed));
    println!("watching: {} wakes, {:.3} % of a core", wakes.load(Ordering::Relaxed), share(watching));
    Ok(())
}

fn at_a_rate(listener: &TcpListener) -> Result<Duration> {
    const BATCH: u32 = 100;
    let start = Instant::now();
    for batch in 1..=RATE * SECONDS / BATCH {
        short_connections(listener, BATCH)?;
        let due = start + Duration::from_secs(1) * (batch * BATCH) / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(start.elapsed())
}
