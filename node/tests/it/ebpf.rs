//! The BPF program in this machine's kernel. Each test has a network namespace of its own, so that nothing but its own
//! connections is in it, and a tracer of its own. They need root, and a build with clang: else they fail.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use node::probe::connections::ebpf::{Drained, Ended, News, Tracer, watch};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use topology::fact::Direction::{self, Incoming, Outgoing};
use topology::{Netns, ProcessId};

const PROC: &str = "/proc";

/// Long enough for a busy machine: what is waited for takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test at a time: a process that another one starts has our sockets too, for a moment, and may be the last to close
/// them. And a storm of connections would be news to all.
static ALONE: Mutex<()> = Mutex::new(());

fn in_new_netns(test: impl FnOnce(Netns) + Send) {
    let _others_wait = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect("these tests make network namespaces: run them as root");
            let is_up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2 is there");
            assert!(is_up.success());
            let here = std::fs::metadata("/proc/thread-self/ns/net").expect("a namespace");
            test(Netns(here.ino()));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn load() -> (Tracer, News) {
    Tracer::load(Path::new(PROC)).expect("these tests load BPF programs: run them as root, built with clang")
}

/// What ended in `netns`, one row a relation, drained until there are `count` connections of it.
fn ended(tracer: &mut Tracer, netns: Netns, count: u64) -> (Vec<Ended>, Drained) {
    let mut rows = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut more = Vec::new();
        let drained = tracer.drain(&mut more).expect("readable");
        for row in more.into_iter().filter(|row| row.netns == netns) {
            add(&mut rows, row);
        }
        let seen: u64 = rows.iter().map(|row| row.count).sum();
        if seen >= count {
            return (rows, drained);
        }
        assert!(Instant::now() < deadline, "{seen} of {count} connections ended: {drained:?}, {rows:#?}");
        std::thread::yield_now();
    }
}

fn add(rows: &mut Vec<Ended>, more: Ended) {
    let relation = |row: &Ended| (row.direction, row.local, row.remote, row.port, row.process.clone());
    match rows.iter_mut().find(|row| relation(row) == relation(&more)) {
        None => rows.push(more),
        Some(row) => {
            row.count += more.count;
            row.sent += more.sent;
            row.received += more.received;
        }
    }
}

/// The largest relation in that direction.
fn find(rows: &[Ended], direction: Direction) -> &Ended {
    let rows_of_it = rows.iter().filter(|row| row.direction == direction);
    rows_of_it.max_by_key(|row| row.count).unwrap_or_else(|| panic!("nothing {direction:?}: {rows:#?}"))
}

fn listen(address: impl Into<IpAddr>, port: u16) -> TcpListener {
    TcpListener::bind((address.into(), port)).expect("a free port")
}

fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("bound")
}

fn connect_to(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(local(listener)).expect("accepted");
    (client, listener.accept().expect("connected").0)
}

/// Parent and start time of a process.
fn stat(pid: u32) -> (u32, ProcessId) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = text.rsplit_once(')').expect("a name");
    let number = |index| fields.split_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
    let (parent, start) = (number(1).expect("a parent"), number(19).expect("a start"));
    (u32::try_from(parent).expect("a pid"), ProcessId { pid, start })
}

fn us() -> ProcessId {
    stat(std::process::id()).1
}

/// At most three, nearest first.
fn ancestors(pid: u32) -> Vec<ProcessId> {
    let parents = std::iter::successors(Some(stat(pid).0), |parent| Some(stat(*parent).0));
    parents.take_while(|pid| *pid != 0).take(3).map(|pid| stat(pid).1).collect()
}

#[test]
fn a_thousand_short_connections_are_counted_with_both_their_processes() {
    const COUNT: u64 = 1000;
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        for _ in 0..COUNT {
            let (mut client, mut server) = connect_to(&listener);
            client.write_all(&[b'?'; 10]).expect("sent");
            server.read_exact(&mut [0; 10]).expect("received");
            server.write_all(&[b'!'; 500]).expect("sent");
            client.read_exact(&mut [0; 500]).expect("received");
        }
        let (rows, drained) = ended(&mut tracer, netns, 2 * COUNT * 99 / 100);
        for (direction, sent, received) in [(Outgoing, 10, 500), (Incoming, 500, 10)] {
            let row = find(&rows, direction);
            assert!((COUNT * 99 / 100..=COUNT).contains(&row.count), "{row:#?}, {drained:?}");
            let ends = (row.local, row.remote, row.port, row.is_guess);
            let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
            assert_eq!(ends, (localhost, localhost, local(&listener).port(), false));
            let process = row.process.as_ref().expect("seen");
            assert_eq!((process.id, &process.ancestors), (us(), &ancestors(us().pid)));
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", us().pid)).expect("readable");
            assert_eq!(process.name, comm.trim_end());
            // SYN and FIN count for one each, depending on who is first.
            let each = |bytes: u64| bytes * row.count..=(bytes + 2) * row.count;
            assert!(each(sent).contains(&row.sent) && each(received).contains(&row.received), "{row:#?}");
            assert!(row.rtt_micros.is_some(), "{row:#?}");
        }
        assert!(drained.events >= 10 * COUNT * 99 / 100, "{drained:?}");
        assert!(drained.cpu_time.is_some_and(|time| !time.is_zero()), "{drained:?}");
    });
}

#[test]
fn addresses_are_v6_where_the_network_is() {
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let cases = [("::1", "::1", "::1"), ("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1", "127.0.0.1")];
        for (listening, connecting, want) in cases {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            let listener = listen(parse(listening), 0);
            let port = local(&listener).port();
            let client = TcpStream::connect((parse(connecting), port)).expect("accepted");
            drop((client, listener.accept().expect("connected")));
            let (rows, _) = ended(&mut tracer, netns, 2);
            for direction in [Incoming, Outgoing] {
                let row = find(&rows, direction);
                assert_eq!((row.local, row.remote, row.port), (parse(want), parse(want), port), "{listening}");
                assert_eq!(row.process.as_ref().map(|process| process.id), Some(us()));
            }
        }
    });
}

/// A shell that connects, and is gone.
fn connecting(port: u16, wrapped_in: &[&str]) -> Child {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let words: Vec<&str> = [wrapped_in, &["bash", "-c", &script]].concat();
    Command::new(words[0]).args(&words[1..]).spawn().expect("it starts")
}

#[test]
fn a_process_that_connects_and_exits_has_its_name_and_ancestors() {
    let cases: [&[&str]; 2] = [&[], &["unshare", "--pid", "--fork", "--kill-child"]];
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        for wrapped_in in cases {
            let mut child = connecting(local(&listener).port(), wrapped_in);
            let child_id = stat(child.id()).1;
            drop(listener.accept().expect("connected"));
            assert!(child.wait().expect("it ended").success());
            let (rows, _) = ended(&mut tracer, netns, 2);
            let task = find(&rows, Outgoing).process.as_ref().expect("seen");
            assert_eq!(task.name, "bash");
            if wrapped_in.is_empty() {
                assert_eq!((task.id, task.ancestors[0]), (child_id, us()));
            } else {
                assert_ne!(task.id.pid, 1, "its pid as we see it, not its own");
                assert_eq!(task.ancestors[..2], [child_id, us()]);
            }
            let server = find(&rows, Incoming).process.as_ref().expect("seen");
            assert_eq!(server.id, us());
        }
    });
}

#[test]
fn a_client_is_who_connected_and_a_server_who_closed_last() {
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let (client, server) = connect_to(&listen(Ipv4Addr::LOCALHOST, 0));
        for inherited in [&client, &server] {
            fcntl_setfd(inherited, FdFlags::empty()).expect("set");
        }
        let mut child = Command::new("sleep").arg("600").spawn().expect("it starts");
        let child_id = stat(child.id()).1;
        drop((client, server));
        child.kill().and_then(|()| child.wait()).expect("ended");
        let (rows, _) = ended(&mut tracer, netns, 2);
        for (direction, want) in [(Outgoing, us()), (Incoming, child_id)] {
            assert_eq!(find(&rows, direction).process.as_ref().map(|process| process.id), Some(want), "{direction:?}");
        }
    });
}

#[test]
fn a_reset_is_the_doing_of_who_sent_it_and_nobody_elses() {
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        let cases = [
            // who resets; the owners of the client's and of the server's connection
            ("client", Some(us()), None), // the server's end is reset in passing, while we are the current process
            ("server", Some(us()), Some(us())),
        ];
        for (who, of_client, of_server) in cases {
            let (client, server) = connect_to(&listener);
            let (resets, other) = if who == "client" { (client, server) } else { (server, client) };
            set_socket_linger(&resets, Some(Duration::ZERO)).expect("set");
            drop(resets);
            let (rows, _) = ended(&mut tracer, netns, 2);
            drop(other);
            for (direction, want) in [(Outgoing, of_client), (Incoming, of_server)] {
                let got = find(&rows, direction).process.as_ref().map(|process| process.id);
                assert_eq!(got, want, "{who} resets, {direction:?}");
            }
        }
    });
}

#[test]
fn a_connection_that_was_never_established_counts_for_nothing() {
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let gone = local(&listen(Ipv4Addr::LOCALHOST, 0));
        for _ in 0..10 {
            assert!(TcpStream::connect(gone).is_err(), "refused");
        }
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        drop(connect_to(&listener));
        let (rows, _) = ended(&mut tracer, netns, 2);
        let counts: Vec<_> = rows.iter().map(|row| (row.port, row.count)).collect();
        let port = local(&listener).port();
        assert_eq!(counts, [(port, 1), (port, 1)]);
    });
}

#[test]
fn a_connection_from_before_us_ends_with_who_closes_it_and_a_guess() {
    in_new_netns(|netns| {
        let listener = listen(Ipv4Addr::LOCALHOST, 80);
        let connection = connect_to(&listener);
        let (mut tracer, _news) = load();
        drop(connection);
        let (rows, _) = ended(&mut tracer, netns, 2);
        for direction in [Incoming, Outgoing] {
            let row = find(&rows, direction);
            assert_eq!((row.port, row.count, row.is_guess), (80, 1, true));
            assert_eq!(row.process.as_ref().map(|process| process.id), Some(us()));
        }
    });
}

#[test]
fn processes_and_connections_of_another_host_are_not_told() {
    let proc = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(proc.path().join("1/ns")).expect("made");
    std::fs::write(proc.path().join("1/ns/pid"), "").expect("written"); // no pid namespace has its inode
    in_new_netns(|netns| {
        let (mut tracer, _) = Tracer::load(proc.path()).expect("loaded");
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        drop(connect_to(&listener));
        let (client, server) = connect_to(&listener);
        set_socket_linger(&client, Some(Duration::ZERO)).expect("set");
        drop(client);
        let (rows, _) = ended(&mut tracer, netns, 1);
        // Of an end that a packet closed nobody was seen.
        let seen: Vec<_> = rows.iter().map(|row| (row.direction, row.count, row.process.is_none())).collect();
        assert_eq!(seen, [(Incoming, 1, true)]);
        drop(server);
    });
}

#[test]
fn what_does_not_fit_is_counted_as_lost() {
    const CLIENTS: u32 = 9000; // two relations each, and there is room for 16,384
    in_new_netns(|netns| {
        let (mut tracer, _news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        for client in 0..CLIENTS {
            let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + client);
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            bind(&socket, &SocketAddr::from((source, 0))).expect("all of 127/8 is local");
            connect(&socket, &local(&listener)).expect("accepted");
            drop((socket, listener.accept().expect("connected")));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut rows = Vec::new();
        loop {
            let drained = tracer.drain(&mut rows).expect("readable");
            let told: u64 = rows.iter().map(|row| row.count).sum();
            if drained.losses > 0 && told + drained.losses >= u64::from(2 * CLIENTS) {
                break;
            }
            assert!(Instant::now() < deadline, "{told} and {drained:?}");
        }
        drop(connect_to(&listener));
        ended(&mut tracer, netns, 2); // there is room again
    });
}

#[test]
fn the_first_connection_of_a_relation_is_news_and_the_next_ones_are_not() {
    in_new_netns(|netns| {
        let (mut tracer, mut news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        let has_news = |news: &mut News, connections| {
            for _ in 0..connections {
                drop(connect_to(&listener));
            }
            news.clear().contains(&netns)
        };
        assert!(has_news(&mut news, 1));
        assert!(!has_news(&mut news, 100));
        ended(&mut tracer, netns, 202);
        assert!(!has_news(&mut news, 100), "a drain makes no news of it");
        ended(&mut tracer, netns, 200);
        for _ in 0..16 {
            tracer.drain(&mut Vec::new()).expect("readable");
        }
        news.clear();
        assert!(has_news(&mut news, 1), "after a long silence it is");
    });
}

#[test]
fn a_server_that_comes_or_goes_is_news() {
    in_new_netns(|netns| {
        let (_tracer, mut news) = load();
        let bound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&bound, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        assert!(!news.clear().contains(&netns), "it does not listen yet");
        rustix::net::listen(&bound, 1).expect("bound");
        assert!(news.clear().contains(&netns), "it listens");
        drop(bound);
        assert!(news.clear().contains(&netns), "it does not listen any more");
    });
}

#[test]
fn a_watcher_tells_where_there_is_news_until_it_is_dropped() {
    in_new_netns(|netns| {
        let (_tracer, news) = load();
        let (tell, told) = mpsc::channel();
        let watcher = watch(news, move |namespaces| {
            // The test may have seen enough.
            let _ = tell.send(namespaces.to_vec());
        });
        let deadline = Instant::now() + PATIENCE;
        drop(connect_to(&listen(Ipv4Addr::LOCALHOST, 0)));
        while !told.recv_timeout(deadline - Instant::now()).expect("told").contains(&netns) {}
        drop(watcher.expect("a thread"));
        assert!(told.iter().all(|_| true), "what it called is gone with it");
    });
}

#[test]
fn holders_are_all_processes_that_have_a_socket_open() {
    in_new_netns(|_| {
        let (mut tracer, _news) = load();
        let listener = listen(Ipv4Addr::LOCALHOST, 0);
        let (client, server) = connect_to(&listener);
        fcntl_setfd(&listener, FdFlags::empty()).expect("set");
        let mut child = Command::new("sleep").arg("600").spawn().expect("it starts");
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).expect("open").st_ino;
        let child_id = stat(child.id()).1;
        let cases = [
            (listener.as_fd(), BTreeSet::from([us(), child_id])),
            (client.as_fd(), BTreeSet::from([us()])),
            (server.as_fd(), BTreeSet::from([us()])),
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut holders = Vec::new();
            tracer.holders(&mut holders).expect("readable");
            let got = cases.each_ref().map(|(fd, _)| {
                let rows = holders.iter().filter(|(of, _)| *of == inode(*fd));
                rows.map(|(_, process)| *process).collect::<BTreeSet<_>>()
            });
            // Until it executes its program the child has all we have.
            if got == cases.each_ref().map(|(_, want)| want.clone()) {
                break;
            }
            assert!(Instant::now() < deadline, "{got:?}");
        }
        child.kill().and_then(|()| child.wait()).expect("ended");
    });
}
