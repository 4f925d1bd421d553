//! What the connection probe's parts cost on this machine. Run it as root, optimised:
//!
//! ```text
//! cargo run --release --example connections_cost
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use node::probe::connections::classify::Classifier;
use node::probe::connections::inodes::Owners;
use node::probe::connections::netns::{self, FIGURES_BEAT, Freshness, Namespaces, Scanner};
use node::probe::connections::sock_diag::{Reader, Socket, Wanted, destroyed};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};
use rustix::time::{ClockId, clock_gettime};
use topology::ProcessId;

/// Both ends of as many connections are in this process: 10,000 sockets.
const CONNECTIONS: usize = 5_000;
const PROCESSES: usize = 110;
const FDS: usize = 30;
const NAMESPACES: usize = 65;
/// In each namespace: of 65, some 2,000 sockets.
const CONNECTIONS_EACH: usize = 15;
const RUNS: usize = 21;
const SHORT_CONNECTIONS: usize = 10_000;
const END_RUNS: usize = 9;
/// Time between two scans, as the probe has it.
const SCAN_BEAT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    println!("a socket takes {} bytes", size_of::<Socket>());
    let proc = Path::new("/proc");
    dumps("no sockets but this machine's")?;
    let connections = connections(CONNECTIONS)?;
    dumps("10,000 more")?;
    let scanner = &mut Scanner::new(proc);
    steady(scanner, &ours(proc)?, "10,000 open in one namespace, none new")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let churn = || Ok((TcpStream::connect(listener.local_addr()?)?, listener.accept()?));
    churning(scanner, &ours(proc)?, "10,000 open in one namespace, new ones each scan", churn)?;
    classification(proc)?;
    drop(connections);
    datagrams()?;
    look_ups()?;
    walks(proc)?;
    namespaces(proc)?;
    ends(proc)
}

/// CPU time of this process, the kernel's work for it included: other load on the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The median of some runs, in CPU time.
fn median<T>(mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut times = Vec::new();
    loop {
        let start = cpu_time();
        let result = run();
        times.push(cpu_time().saturating_sub(start));
        if times.len() == RUNS {
            times.sort_unstable();
            return (times[RUNS / 2], result);
        }
    }
}

fn connections(count: usize) -> Result<Vec<(TcpStream, TcpStream)>, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    (0..count).map(|_| Ok((TcpStream::connect(address)?, listener.accept()?.0))).collect()
}

fn dumps(what: &str) -> Result<(), Box<dyn Error>> {
    let mut reader = Reader::default();
    let kinds = [
        Wanted::Listeners,
        Wanted::Connections { figures: false, remains: true },
        Wanted::Connections { figures: true, remains: true },
        Wanted::Datagrams,
    ];
    for wanted in kinds {
        let mut sockets = Vec::new();
        let (time, result) = median(|| {
            sockets.clear();
            reader.dump(wanted, netns::NETNS_SOCKETS_MAX, &mut sockets)
        });
        result?;
        println!("dump of {wanted:?} ({what}): {} sockets, {time:?}", sockets.len());
    }
    Ok(())
}

fn datagrams() -> Result<(), Box<dyn Error>> {
    let _kept = (0..1000).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let (mut reader, mut sockets) = (Reader::default(), Vec::new());
    let (time, dumped) = median(|| {
        sockets.clear();
        reader.dump(Wanted::Datagrams, netns::NETNS_SOCKETS_MAX, &mut sockets)
    });
    dumped?;
    println!("dump of Datagrams (1,000 more): {} sockets, {time:?}", sockets.len());
    Ok(())
}

/// What it costs to hear of ended connections, each of which is two sockets here. The kernel tells of them from workers of its
/// own, so theirs is counted too: run it on a quiet machine.
fn ends(proc: &Path) -> Result<(), Box<dyn Error>> {
    let namespaces = ours(proc)?;
    let (mut heard, mut lost, mut thread) = (0, 0, Duration::ZERO);
    let (mut alone, mut with_feed) = (Vec::new(), Vec::new());
    for run in 1..=END_RUNS {
        alone.push(short_connections()?);
        let mut feed = destroyed::spawn(proc);
        with_feed.push(short_connections()?);
        // Most are here by now; the machine may be slow.
        for _ in 0..50 {
            let batch = feed.drain(&namespaces);
            heard += batch.destroyed.len();
            lost += batch.dropped + batch.overruns;
            thread += batch.cpu_time;
            if heard >= 2 * SHORT_CONNECTIONS * run {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let least = |runs: Vec<Duration>| runs.into_iter().min().unwrap_or_default();
    let (alone, with_feed) = (least(alone), least(with_feed));
    println!("{SHORT_CONNECTIONS} short connections: {alone:?} of CPU time, {with_feed:?} if their ends are heard");
    println!(
        "  {} ends heard a run, {lost} losses, {:?} of our thread",
        heard / END_RUNS,
        thread / u32::try_from(END_RUNS)?
    );
    Ok(())
}

/// CPU time that as many take.
fn short_connections() -> Result<Duration, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let start = time_with_workers()?;
    for _ in 0..SHORT_CONNECTIONS {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let server = listener.accept()?.0;
        drop(server); // so that its port is what waits, not one of the client's
        drop(client);
    }
    std::thread::sleep(Duration::from_millis(300)); // until the last end is heard of
    Ok(time_with_workers()?.saturating_sub(start))
}

/// CPU time of this process and of the kernel's workers, `/proc/PID/schedstat`.
fn time_with_workers() -> Result<Duration, Box<dyn Error>> {
    let mut nanos = 0;
    for entry in fs::read_dir("/proc")? {
        let dir = entry?.path();
        if fs::read_to_string(dir.join("comm")).is_ok_and(|name| name.starts_with("kworker/")) {
            let times = fs::read_to_string(dir.join("schedstat")).unwrap_or_default(); // it may have ended
            nanos += times.split_whitespace().next().map_or(Ok(0), str::parse::<u64>)?;
        }
    }
    Ok(cpu_time() + Duration::from_nanos(nanos))
}

/// Look-ups against dumps: up to how many connections are they cheaper?
fn look_ups() -> Result<(), Box<dyn Error>> {
    for pairs in [15, 250, 500, 1000, 2000] {
        let _kept = connections(pairs)?;
        let mut reader = Reader::default();
        let mut sockets = Vec::new();
        let (dump_time, dumped) = median(|| {
            sockets.clear();
            reader.dump(Wanted::Connections { figures: true, remains: true }, netns::NETNS_SOCKETS_MAX, &mut sockets)
        });
        dumped?;
        sockets.retain(node::probe::connections::sock_diag::Socket::is_open);
        let (time, refreshed) = median(|| reader.refresh(&mut sockets));
        println!("figures of {} connections: by look-ups {time:?}, by a dump {dump_time:?}", refreshed?);
    }
    Ok(())
}

/// Twenty scans of a second each, in which nothing but figures changes.
fn steady(scanner: &mut Scanner, namespaces: &Namespaces, what: &str) -> Result<(), Box<dyn Error>> {
    churning(scanner, namespaces, what, || Ok(()))
}

/// Twenty scans, with `change` before each.
fn churning<T>(
    scanner: &mut Scanner,
    namespaces: &Namespaces,
    what: &str,
    mut change: impl FnMut() -> std::io::Result<T>,
) -> Result<(), Box<dyn Error>> {
    let mut now = Instant::now();
    for _ in 0..3 {
        scanner.scan(namespaces, now); // until it has settled
    }
    let scans_count = 4 * u32::try_from(FIGURES_BEAT.as_secs())?;
    let (mut total, mut most) = (Duration::ZERO, Duration::ZERO);
    let (mut dumped, mut refreshed, mut sockets) = (0, 0, 0);
    for _ in 0..scans_count {
        now += SCAN_BEAT;
        let _kept = change()?;
        let start = cpu_time();
        let scans = scanner.scan(namespaces, now);
        let time = cpu_time().saturating_sub(start);
        total += time;
        most = most.max(time);
        dumped += scans.dumped;
        refreshed += scans.namespaces.iter().filter(|scan| scan.freshness == Freshness::Figures).count();
        sockets = scans.namespaces.iter().map(|scan| scan.connections.len()).sum();
    }
    let mean = total / scans_count;
    let share = 100.0 * mean.as_secs_f64() / SCAN_BEAT.as_secs_f64();
    println!(
        "{what}: {sockets} sockets, {mean:?} a scan, {most:?} at most, {share:.2} % of a core at one a second \
         ({scans_count} scans: {dumped} dumps, figures alone of {refreshed} namespaces)"
    );
    Ok(())
}

fn classification(proc: &Path) -> Result<(), Box<dyn Error>> {
    let scans = Scanner::new(proc).scan(&ours(proc)?, Instant::now());
    let scan = scans.namespaces.first().ok_or("our own namespace was not scanned")?;
    let mut classifier = Classifier::default();
    let (time, classified) = median(|| classifier.classify(&scan.listeners, &scan.connections, &scan.ephemeral).len());
    println!("directions of {classified} connections: {time:?}");
    Ok(())
}

fn walks(proc: &Path) -> Result<(), Box<dyn Error>> {
    // All children share these: the dearest case, each descriptor is one that is wanted.
    let pairs = connections((FDS - 3) / 2)?;
    for (client, server) in &pairs {
        fcntl_setfd(client, FdFlags::empty())?;
        fcntl_setfd(server, FdFlags::empty())?;
    }
    let mut children = Children(Vec::new());
    for _ in 0..PROCESSES {
        children.0.push(Command::new("sleep").arg("600").spawn()?);
    }
    let mut namespaces = ours(proc)?;
    for child in &children.0 {
        namespaces.entry(netns::of(proc, child.id())?).or_default().push(process(child.id())?);
    }
    let scans = Scanner::new(proc).scan(&namespaces, Instant::now());
    let (time, walked) = median(|| Owners::new(proc).update(&scans.namespaces, &namespaces));
    println!("walk: {walked:?}, {time:?}");
    let mut owners = Owners::new(proc);
    let (time, walked) = median(|| owners.update(&scans.namespaces, &namespaces));
    println!("update without a new socket: {walked:?}, {time:?}");
    Ok(())
}

struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // They end by themselves in ten minutes.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// What a namespace of the comparison has in it.
type Inhabitants = (Vec<(TcpStream, TcpStream)>, Vec<UdpSocket>);

fn namespaces(proc: &Path) -> Result<(), Box<dyn Error>> {
    in_namespaces(
        proc,
        || Ok((Vec::new(), Vec::new())),
        |namespaces| {
            let (time, scans) = median(|| Scanner::new(proc).scan(namespaces, Instant::now()));
            println!("first scan of {NAMESPACES} empty namespaces: {} dumped, {time:?}", scans.dumped);
            steady(&mut Scanner::new(proc), namespaces, "65 empty namespaces")
        },
    )?;
    let inhabit = || {
        loopback_up()?;
        Ok((connections(CONNECTIONS_EACH)?, vec![UdpSocket::bind("127.0.0.1:0")?]))
    };
    in_namespaces(proc, inhabit, |namespaces| {
        let (time, scans) = median(|| Scanner::new(proc).scan(namespaces, Instant::now()));
        println!("first scan of {NAMESPACES} namespaces with 30 sockets each: {} dumped, {time:?}", scans.dumped);
        let first = namespaces.iter().next().and_then(|(netns, processes)| Some((*netns, processes.first()?.pid)));
        let (netns, pid) = first.ok_or("no namespace")?;
        in_one(proc, netns, pid)?;
        steady(&mut Scanner::new(proc), namespaces, "65 namespaces with 30 sockets each")
    })
}

/// The parts, in one namespace of the 65.
fn in_one(proc: &Path, netns: topology::Netns, pid: u32) -> Result<(), Box<dyn Error>> {
    netns::inside(proc, netns, pid, || -> Result<(), String> {
        let mut reader = Reader::default();
        let mut sockets = Vec::new();
        for wanted in [Wanted::Listeners, Wanted::Connections { figures: true, remains: true }, Wanted::Datagrams] {
            sockets.clear();
            let (time, result) = median(|| reader.dump(wanted, netns::NETNS_SOCKETS_MAX, &mut sockets));
            result.map_err(|error| error.to_string())?;
            println!("  in one of them, dump of {wanted:?}: {time:?}");
            if wanted == (Wanted::Connections { figures: true, remains: true }) {
                sockets.truncate(2 * CONNECTIONS_EACH);
                let (time, refreshed) = median(|| reader.refresh(&mut sockets));
                println!("  in one of them, look-ups of {refreshed:?}: {time:?}");
            }
        }
        let (time, count) = median(|| nix::ifaddrs::getifaddrs().map(Iterator::count));
        println!("  in one of them, its addresses: {count:?}, {time:?}");
        Ok(())
    })?
    .0?;
    Ok(())
}

/// Makes 65 namespaces, has `inhabit` run in each, and `look` see them all.
fn in_namespaces(
    proc: &Path,
    inhabit: impl Fn() -> Result<Inhabitants, Box<dyn Error>> + Sync,
    look: impl FnOnce(&Namespaces) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut namespaces = Namespaces::new();
        let inhabit = &inhabit;
        for _ in 0..NAMESPACES {
            let (ready, is_ready) = mpsc::channel();
            let (finish, is_finished) = mpsc::channel::<()>();
            scope.spawn(move || {
                // SAFETY: changes which network the thread sees, and nothing of its memory or descriptors.
                let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
                let inhabited = unshared.map_err(Box::from).and_then(|()| inhabit());
                let thread = gettid().as_raw_nonzero().get().cast_unsigned();
                let _ = ready.send(inhabited.as_ref().map(|_| thread).map_err(ToString::to_string));
                let _ = is_finished.recv();
            });
            let thread = is_ready.recv()??;
            namespaces.insert(netns::of(proc, thread)?, vec![process(thread)?]);
            threads.push(finish);
        }
        look(&namespaces)
    })
}

fn loopback_up() -> Result<(), Box<dyn Error>> {
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if status.success() { Ok(()) } else { Err("ip link set lo up failed".into()) }
}

fn ours(proc: &Path) -> Result<Namespaces, Box<dyn Error>> {
    let pid = std::process::id();
    Ok(BTreeMap::from([(netns::of(proc, pid)?, vec![process(pid)?])]))
}

fn process(pid: u32) -> Result<ProcessId, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    Ok(ProcessId { pid, start: fields.split_whitespace().nth(19).ok_or("no start time in stat")?.parse()? })
}
