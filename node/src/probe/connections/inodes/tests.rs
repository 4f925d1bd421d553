#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::os::unix::fs::symlink;

use topology::fact::Protocol;

use super::*;
use crate::probe::connections::netns::{EPHEMERAL_DEFAULT, Freshness, Source};
use crate::probe::connections::sock_diag::State;

/// A `/proc` of processes that hold sockets, made up.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Starts a process, or replaces it under the same pid.
    fn run(&self, pid: u32, start: u64, inodes: &[u64]) -> ProcessId {
        let dir = self.0.path().join(pid.to_string());
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("fd")).unwrap();
        std::fs::write(dir.join("stat"), format!("{pid} (web server) S{} {start} 0", " 0".repeat(18))).unwrap();
        symlink("/dev/null", dir.join("fd/0")).unwrap();
        for (fd, inode) in inodes.iter().enumerate() {
            symlink(format!("socket:[{inode}]"), dir.join(format!("fd/{}", fd + 1))).unwrap();
        }
        ProcessId { pid, start }
    }

    fn owners(&self) -> Owners {
        Owners::new(self.0.path())
    }
}

const NETNS: Netns = Netns(1);

fn namespaces(processes: &[ProcessId]) -> Namespaces {
    Namespaces::from([(NETNS, processes.to_vec())])
}

/// A namespace with listeners and connections of these inodes.
fn scan(listeners: &[u64], connections: &[u64]) -> Scan {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let socket = |state| {
        move |inode: &u64| Socket {
            local: nowhere,
            remote: nowhere,
            protocol: Protocol::Tcp,
            state,
            inode: *inode,
            uid: 0,
            figures: None,
        }
    };
    Scan {
        netns: NETNS,
        listeners: listeners.iter().map(socket(State::Listen { v6_only: false })).collect(),
        connections: connections.iter().map(socket(State::Established)).collect(),
        datagrams: Arc::default(),
        freshness: Freshness::Sockets,
        networks: Arc::default(),
        ephemeral: EPHEMERAL_DEFAULT,
        source: Source::SockDiag,
        looked_at: None,
        read_at: None,
    }
}

#[test]
fn where_the_holders_are_told_nobody_is_walked() {
    let [master, worker] = [1, 2].map(|pid| ProcessId { pid, start: pid.into() });
    let mut owners = Owners::new(Path::new("/nowhere"));
    let both = namespaces(&[master, worker]);
    owners.take_processes(&both);
    let mut asked = 0;
    let mut update = |listeners: &[u64], connections: &[u64], told: Option<Vec<(u64, ProcessId)>>| {
        owners.update_with(&[scan(listeners, connections)], &both, || {
            asked += 1;
            told
        })
    };
    let all = vec![(1, worker), (1, master), (2, worker), (2, worker), (9, master)];
    let walked = update(&[1], &[2, 3], Some(all));
    assert!(walked.is_told && walked.processes == 0, "{walked:?}");
    update(&[1], &[2], Some(Vec::new())); // nothing new: nobody is asked
    assert_eq!(asked, 1);
    assert_eq!((owners.of(1), owners.of(2), owners.of(9)), (&[master, worker][..], &[worker][..], &[][..]));
}

#[test]
fn the_holders_are_asked_for_again_soon_after_a_process_came_and_else_seldom() {
    let [master, worker] = [1, 2].map(|pid| ProcessId { pid, start: pid.into() });
    let mut owners = Owners::new(Path::new("/nowhere"));
    let mut asked_in = |processes: &[ProcessId], scans: u64| -> Vec<u64> {
        let processes = namespaces(processes);
        owners.take_processes(&processes);
        let mut is_asked = |_: &u64| {
            let mut asked = false;
            owners.update_with(&[scan(&[1], &[])], &processes, || {
                asked = true;
                Some(vec![(1, master)])
            });
            asked
        };
        (1..=scans).filter(&mut is_asked).collect()
    };
    assert_eq!(asked_in(&[master], 20), [1, 6], "at first all are new");
    assert_eq!(asked_in(&[master], 9), [0; 0], "nobody is new");
    assert_eq!(asked_in(&[master, worker], 20), [1, 6], "for the newcomer, and for what it got later");
    assert_eq!(asked_in(&[master], 9), [0; 0], "somebody ended");
    assert_eq!(asked_in(&[master, worker], 38), [1, 6, 36], "and every 30 scans");
    let young = ProcessId { pid: 3, start: 3 };
    assert_eq!(asked_in(&[master, worker, young], 9), [3, 8], "not at once: the last time was just now");
}

#[test]
fn a_holder_who_is_not_among_the_processes_is_a_newcomer_once() {
    let [old, young] = [1, 2].map(|pid| ProcessId { pid, start: pid.into() });
    let of_old = namespaces(&[old]);
    let told = || Some(vec![(1, old), (2, young)]);
    let mut owners = Owners::new(Path::new("/nowhere"));
    let mut meets =
        |connections: &[u64], processes: &Namespaces, holders: &dyn Fn() -> Option<Vec<(u64, ProcessId)>>| {
            owners.take_processes(processes);
            owners.update_with(&[scan(&[], connections)], processes, holders);
            owners.met_newcomer()
        };
    assert!(!meets(&[1], &of_old, &told), "who holds it is known");
    assert!(meets(&[1, 2], &of_old, &told));
    assert!(!meets(&[1, 2], &of_old, &told), "it was said: the list may leave it out for good");
    assert!(!meets(&[1, 2], &namespaces(&[old, young]), &told));
    // Where descriptors are read, those of the processes in the list: who is not in it is not found.
    let proc = Proc::new();
    let (old, young) = (proc.run(10, 1, &[1]), proc.run(11, 2, &[2]));
    let mut owners = proc.owners();
    let mut meets = |processes: &[ProcessId]| {
        owners.update(&[scan(&[], &[1, 2])], &namespaces(processes));
        owners.met_newcomer()
    };
    assert_eq!([meets(&[old]), meets(&[old]), meets(&[old, young])], [true, false, false]);
}

#[test]
fn for_sockets_of_our_own_nobody_is_asked() {
    let proc = Proc::new();
    let (us, other) = (proc.run(10, 1, &[2, 3]), ProcessId { pid: 11, start: 2 });
    symlink("10", proc.0.path().join("self")).unwrap();
    let both = namespaces(&[us, other]);
    let mut owners = proc.owners();
    owners.take_processes(&both);
    let mut is_asked = |connections: &[u64]| {
        let mut asked = false;
        owners.update_with(&[scan(&[1], connections)], &both, || {
            asked = true;
            Some(vec![(1, other), (4, other)])
        });
        (asked, connections.iter().map(|inode| owners.of(*inode).to_vec()).collect::<Vec<_>>())
    };
    assert_eq!(is_asked(&[]), (true, vec![]), "for the listener");
    assert_eq!(is_asked(&[2]), (false, vec![vec![us]]));
    assert_eq!(is_asked(&[2, 3, 4]), (true, vec![vec![us], vec![us], vec![other]]));
}

#[test]
fn a_listener_belongs_to_all_who_hold_it_and_a_connection_to_the_youngest() {
    let proc = Proc::new();
    let master = proc.run(10, 100, &[1, 2, 3]);
    let worker = proc.run(12, 300, &[1, 2, 2]); // one of them twice
    let other = proc.run(11, 300, &[1]);
    let mut owners = proc.owners();
    let walked = owners.update(&[scan(&[1], &[2, 3, 0, 99])], &namespaces(&[master, worker, other]));
    assert_eq!(walked, Walked { processes: 3, fds: 10, denied: 0, is_told: false, exhausted: false });
    let cases = [
        (1, vec![master, other, worker]),
        (2, vec![worker]),
        (3, vec![master]),
        (0, vec![]),  // no inode, no owner
        (99, vec![]), // nobody holds it
        (4, vec![]),  // no socket of the scan
    ];
    for (inode, want) in cases {
        assert_eq!(owners.of(inode), want, "inode {inode}");
    }
}

#[test]
fn of_many_owners_the_first_to_start_are_kept() {
    let proc = Proc::new();
    let workers: Vec<_> = (0..40).map(|at| proc.run(100 - at, u64::from(at), &[1])).collect();
    let mut owners = proc.owners();
    owners.update(&[scan(&[1], &[])], &namespaces(&workers));
    let mut oldest = workers[..OWNERS_MAX].to_vec();
    oldest.sort_unstable();
    assert_eq!(owners.of(1), oldest);
}

#[test]
fn processes_are_walked_only_for_what_is_not_known() {
    let proc = Proc::new();
    let (a, b) = (proc.run(10, 1, &[1]), proc.run(11, 2, &[2]));
    let both = namespaces(&[a, b]);
    let mut owners = proc.owners();
    // Each row: sockets of the scan, processes there are, and how many are walked.
    let steps = [
        (scan(&[1], &[2]), &both, 2),
        (scan(&[1], &[2]), &both, 0),
        (scan(&[1], &[]), &both, 0),                 // one gone
        (scan(&[1], &[2]), &both, 2),                // and back: what goes is forgotten
        (scan(&[1], &[2]), &namespaces(&[a]), 1),    // its owner ended
        (scan(&[1], &[2, 0]), &namespaces(&[a]), 1), // and now it is nobody's: tried once more, everywhere
        (scan(&[1], &[2, 0]), &namespaces(&[a]), 0),
    ];
    for (at, (scan, namespaces, want)) in steps.into_iter().enumerate() {
        assert_eq!(owners.update(&[scan], namespaces).processes, want, "step {at}");
    }
}

#[test]
fn a_pid_taken_over_by_another_process_owns_nothing_under_its_old_name() {
    let proc = Proc::new();
    let old = proc.run(10, 1, &[1]);
    let mut owners = proc.owners();
    let new = proc.run(10, 2, &[1]);
    owners.update(&[scan(&[], &[1])], &namespaces(&[old])); // the list of processes is older than the process
    assert_eq!(owners.of(1), []);
    owners.update(&[scan(&[], &[1])], &namespaces(&[new]));
    assert_eq!(owners.of(1), [new]);
}

#[test]
fn a_socket_nobody_holds_is_looked_for_ever_more_rarely() {
    let proc = Proc::new();
    let processes = namespaces(&[proc.run(10, 1, &[])]);
    let mut owners = proc.owners();
    let walks = (0..300).filter(|_| owners.update(&[scan(&[], &[7])], &processes).processes > 0);
    assert_eq!(walks.collect::<Vec<_>>(), [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]);
    assert_eq!(owners.entries.len(), 1);
    owners.update(&[scan(&[], &[])], &processes);
    assert_eq!(owners.entries.len(), 0);
}

#[test]
fn a_socket_passed_to_another_namespace_is_found_there() {
    let proc = Proc::new();
    let (inside, outside) = (proc.run(10, 1, &[1]), proc.run(20, 2, &[2]));
    let namespaces = Namespaces::from([(NETNS, vec![inside]), (Netns(2), vec![outside])]);
    let mut owners = proc.owners();
    let mut walked = || owners.update(&[scan(&[1], &[2])], &namespaces).processes;
    assert_eq!([walked(), walked(), walked(), walked(), walked()], [1, 1, 0, 2, 0]); // twice where it should be
    assert_eq!(owners.of(2), [outside]);
}

#[test]
fn an_owner_that_ends_leaves_a_listener_to_those_in_other_namespaces() {
    let proc = Proc::new();
    let (inside, outside) = (proc.run(10, 1, &[]), proc.run(20, 2, &[1]));
    let mut owners = proc.owners();
    let both = Namespaces::from([(NETNS, vec![inside]), (Netns(2), vec![outside])]);
    for _ in 0..4 {
        owners.update(&[scan(&[1], &[])], &both);
    }
    assert_eq!(owners.of(1), [outside]);
    owners.update(&[scan(&[1], &[7])], &both); // a walk for another socket does not lose it
    assert_eq!(owners.of(1), [outside]);
}

#[test]
fn a_worker_forked_later_becomes_an_owner_of_its_masters_listener() {
    let proc = Proc::new();
    let master = proc.run(10, 1, &[1]);
    let mut owners = proc.owners();
    owners.update(&[scan(&[1], &[])], &namespaces(&[master]));
    let worker = proc.run(11, 2, &[1]);
    let updates = (0..REWALK_SCANS).take_while(|_| {
        owners.update(&[scan(&[1], &[])], &namespaces(&[master, worker]));
        owners.of(1) != [master, worker]
    });
    assert_eq!(updates.count() as u64, REWALK_SCANS - 1);
}

#[test]
fn a_walk_out_of_budget_goes_on_where_it_stopped() {
    let proc = Proc::new();
    let processes: Vec<_> = (1..=3).map(|pid| proc.run(pid, 1, &[u64::from(pid)])).collect();
    let find = |start_at| {
        let mut walk = Walk::new(proc.0.path().into(), start_at, 3); // of two descriptors each
        let mut found = Vec::new();
        walk.find(&processes, |_| true, |inode, _| found.push(inode));
        (found, walk.stopped_at(), walk.walked().exhausted)
    };
    assert_eq!(find(None), (vec![1, 2], Some(processes[2]), true));
    assert_eq!(find(Some(processes[2])), (vec![3, 1], Some(processes[1]), true));
    assert_eq!(find(Some(ProcessId { pid: 9, start: 9 })).0, [1, 2]); // it ended: from the start
}

#[test]
fn processes_that_end_or_were_never_there_are_no_error() {
    let mut owners = Proc::new().owners(); // its directory is gone again
    let walked = owners.update(&[scan(&[1], &[2])], &namespaces(&[ProcessId { pid: 1, start: 1 }]));
    assert_eq!((walked.denied, walked.fds), (0, 0));
    assert_eq!(owners.of(1), []);
}
