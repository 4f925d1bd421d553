//! What the connection probe's parts cost on this machine. Run it as root, optimised:
//!
//! ```text
//! cargo run --release --example connections_cost
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use node::probe::connections::classify::Classifier;
use node::probe::connections::inodes::Owners;
use node::probe::connections::netns::{self, Namespaces, Scanner};
use node::probe::connections::sock_diag::{Reader, Wanted};
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
const RUNS: usize = 21;

fn main() -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let proc = Path::new("/proc");
    dumps("no sockets but this machine's")?;
    let connections = connections(CONNECTIONS)?;
    dumps("10,000 more")?;
    classification(proc)?;
    drop(connections);
    walks(proc)?;
    quiet_namespaces(proc)
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
    for wanted in [Wanted::Listeners, Wanted::Connections] {
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

fn classification(proc: &Path) -> Result<(), Box<dyn Error>> {
    let scans = Scanner::new(proc).scan(&ours(proc)?);
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
    let scans = Scanner::new(proc).scan(&namespaces);
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

fn quiet_namespaces(proc: &Path) -> Result<(), Box<dyn Error>> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut namespaces = Namespaces::new();
        for _ in 0..NAMESPACES {
            let (ready, is_ready) = mpsc::channel();
            let (finish, is_finished) = mpsc::channel::<()>();
            scope.spawn(move || {
                // SAFETY: changes which network the thread sees, and nothing of its memory or descriptors.
                let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
                let _ = ready.send(unshared.map(|()| gettid().as_raw_nonzero().get().cast_unsigned()));
                let _ = is_finished.recv();
            });
            let thread = is_ready.recv()??;
            namespaces.insert(netns::of(proc, thread)?, vec![process(thread)?]);
            threads.push(finish);
        }
        let (time, scans) = median(|| Scanner::new(proc).scan(&namespaces));
        println!("first scan of {NAMESPACES} namespaces: {} dumped, {time:?}", scans.dumped);
        let mut scanner = Scanner::new(proc);
        let (time, scans) = median(|| scanner.scan(&namespaces));
        println!("next scan of {} quiet namespaces: {} dumped, {time:?}", scans.namespaces.len(), scans.dumped);
        Ok(())
    })
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
