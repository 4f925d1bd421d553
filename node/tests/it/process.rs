use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::probe::pace::{Moment, Nudge};
use node::probe::process::{self, COMMAND_LINE_BYTES_MAX, Channels, Config, Scan, Scanned};
use node::probe::{InitPids, Name, Update};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topology::fact::{Container, ContainerState, Fact, Process, SourceState};
use topology::{ContainerId, Key, Netns, ProcessId, Timestamp};

use crate::tree::{Tree, debian};

const WEB: &str = "3f4d0a1b2c3d4e5f69780a1b2c3d4e5f69780a1b2c3d4e5f697877aa55cc0912";
const REDIS: &str = "9be15566778899aabbcc5566778899aabbcc5566778899aabbcc0102030405ff";
const JAVA: &str = "c0ffee1234567890abcdef1234567890abcdef1234567890abcdef9876543210";
const BEAT: Duration = Duration::from_secs(2);

fn scan(proc_root: &Path) -> Scan {
    Scan::new(Config { proc_root: proc_root.to_owned(), ticks_per_second: 100, page_bytes: 4096 })
}

fn id(text: &str) -> ContainerId {
    ContainerId::new(text).expect("an id")
}

fn none() -> InitPids {
    InitPids::default()
}

fn later(now: Moment, by: Duration) -> Moment {
    Moment { clock: now.clock + by, at: Timestamp(now.at.0 + 2000) }
}

fn processes(scanned: &Scanned) -> BTreeMap<u32, Process> {
    let facts = scanned.facts.iter().flatten();
    facts
        .filter_map(|(_, fact)| if let Fact::Process(it) = fact { Some((it.id.pid, it.clone())) } else { None })
        .collect()
}

fn containers(scanned: &Scanned) -> BTreeMap<String, Container> {
    let facts = scanned.facts.iter().flatten();
    let containers = facts.filter_map(|(_, fact)| if let Fact::Container(it) = fact { Some(it.clone()) } else { None });
    containers.map(|it| (it.id.to_string(), it)).collect()
}

#[test]
fn a_recorded_host_has_its_processes_by_name_user_and_container() {
    let scanned = scan(&debian()).round(Moment::now(), &none());
    let got = processes(&scanned);
    let rows: Vec<_> = got
        .values()
        .map(|it| {
            (it.id.pid, it.name.as_str(), it.parent, it.user.as_str(), it.container.as_ref().map(ContainerId::short))
        })
        .collect();
    let (web, redis, java) = (Some(&WEB[..12]), Some(&REDIS[..12]), Some(&JAVA[..12]));
    let want = [
        (1, "init", 0, "root", None),
        (2, "[kthreadd]", 0, "root", None),
        (15, "[kworker/0:1]", 2, "root", None),
        (640, "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 1, "root", None),
        (812, "(sd-pam)", 640, "ann", None),
        (1200, "tmux", 1, "ann", None),
        (2000, "nginx: master process nginx -g daemon off;", 640, "0", web),
        (2031, "nginx: worker process", 2000, "101", web),
        (3000, "redis-server", 640, "999", redis),
        (3100, "java", 1, "1000", java),
        (4000, "sh", 640, "root", None),
        (4001, "sleep", 4000, "root", None),
    ];
    assert_eq!(rows, want, "the zombie 900 is not among them");
    assert_eq!(scanned.status.state, SourceState::Ok, "{}", scanned.status.reason);
}

#[test]
fn a_recorded_process_has_all_its_details() {
    let scanned = scan(&debian()).round(Moment::now(), &none());
    let got = processes(&scanned);
    let want = Process {
        name: "nginx: worker process".to_owned(),
        command_line: "nginx: worker process".to_owned(),
        parent: 2000,
        container: Some(id(WEB)),
        user: "101".to_owned(),
        threads: 1,
        netns: Some(Netns(4_026_532_501)),
        open_files_max: Some(1_048_576),
        ..Process::new(ProcessId { pid: 2031, start: 20010 })
    };
    assert_eq!(got[&2031], want);
    assert_eq!(got[&1200].open_files_max, None, "unlimited");
    assert_eq!(got[&4000].command_line, "sh -c while true; do  date  done");
    assert!(got[&3100].command_line.len() > COMMAND_LINE_BYTES_MAX - 4, "cut, at a character's end");
    let table = scanned.table.expect("a table");
    assert_eq!(table.rows.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    let row = &table.rows[&3000];
    assert_eq!(
        (&*row.name, row.netns, row.container.clone()),
        ("redis-server", Some(Netns(4_026_532_602)), Some(id(REDIS)))
    );
}

#[test]
fn containers_are_found_and_measured_by_their_cgroups() {
    let scanned = scan(&debian()).round(Moment::now(), &none());
    let found = containers(&scanned);
    let rows: Vec<_> = found.values().map(|it| (it.id.as_str(), it.runtime.as_str(), it.init_pid, it.state)).collect();
    let running = ContainerState::Running;
    let want = [
        (WEB, "docker", Some(2000), running),
        (REDIS, "docker", Some(3000), running),
        (JAVA, "podman", Some(3100), running),
    ];
    assert_eq!(rows, want);
    assert_eq!(found[WEB].started_at, Some(Timestamp(1_795_339_800_000 + 200_000)));
    let (_, gauges) = scanned.gauges.expect("gauges");
    assert_eq!(gauges.containers, [id(WEB).prefix(), id(REDIS).prefix()]);
    assert_eq!(gauges.memory_kib, [(20_971_520 - 10_485_760) / 1024, (33_554_432 - 2_097_152) / 1024]);
    assert_eq!(gauges.memory_max_kib, [262_144, 8_000_000], "the host's memory where there is no limit");
    let unmeasured = scanned.unmeasured.expect("java's cgroup is not recorded");
    assert_eq!(*unmeasured, [id(JAVA)].into());
}

/// The tree, with the cgroup hierarchies of its containers in it.
fn tree_with_cgroups() -> Tree {
    let tree = Tree::of_debian();
    tree.copy_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cgroup"), "cgroup");
    let point = tree.root().join("cgroup").display().to_string();
    let mountinfo = std::fs::read_to_string(debian().join("self/mountinfo")).expect("readable");
    tree.write("self/mountinfo", mountinfo.replace("tests/fixtures/cgroup", &point).as_bytes());
    tree
}

#[test]
fn without_a_memory_controller_the_cpu_is_still_measured() {
    let tree = tree_with_cgroups();
    let of_web = format!("cgroup/unified/system.slice/docker-{WEB}.scope");
    for file in ["memory.current", "memory.stat", "memory.max"] {
        std::fs::remove_file(tree.root().join(&of_web).join(file)).expect("was there");
    }
    let mut scan = scan(tree.root());
    let now = Moment::now();
    scan.round(now, &none());
    tree.write(&format!("{of_web}/cpu.stat"), b"usage_usec 9000000000\n");
    let (_, gauges) = scan.round(later(now, BEAT), &none()).gauges.expect("gauges");
    let row = gauges.containers.binary_search(&id(WEB).prefix()).expect("a row");
    assert_eq!((gauges.cpu[row], gauges.memory_kib[row]), (10_000, 0));
}

#[test]
fn a_container_whose_cgroups_move_is_measured_where_they_are() {
    let tree = tree_with_cgroups();
    let whole = std::fs::read(tree.root().join("3000/cgroup")).expect("readable");
    // Seen while its runtime was still moving it from one hierarchy into the next.
    tree.write("3000/cgroup", format!("5:memory:/docker/{REDIS}\n3:cpu,cpuacct:/\n0::/\n").as_bytes());
    let mut scan = scan(tree.root());
    let mut now = Moment::now();
    let mut measured = || {
        now = later(now, BEAT);
        let (_, gauges) = scan.round(now, &none()).gauges.expect("gauges");
        gauges.containers.contains(&id(REDIS).prefix())
    };
    assert!(!measured(), "its CPU time is not to be found");
    tree.write("3000/cgroup", &whole);
    assert!(measured());
}

#[test]
fn a_process_is_in_the_container_of_its_nearest_known_ancestor() {
    let mut scan = scan(&debian());
    let now = Moment::now();
    let inits: InitPids = Arc::new(BTreeMap::from([(4000, id("by-init")), (2000, id("not-by-cgroup"))]));
    let scanned = scan.round(now, &inits);
    let got = processes(&scanned);
    let container = |pid: u32| got[&pid].container.clone();
    assert_eq!((container(4000), container(4001)), (Some(id("by-init")), Some(id("by-init"))));
    assert_eq!((container(2000), container(640)), (Some(id(WEB)), None), "a cgroup's name knows best");
    assert_eq!(got[&4001].user, "0", "users of a container are numbers");
    let missing = scanned.unmeasured.expect("some");
    assert_eq!(*missing, [id(JAVA), id("by-init"), id("not-by-cgroup")].into());
    let scanned = scan.round(later(now, BEAT), &none());
    let after = processes(&scanned);
    assert_eq!((after[&4001].container.clone(), after[&4001].user.as_str()), (None, "root"));
}

#[test]
fn figures_are_rates_since_the_last_beat() {
    let tree = Tree::of_debian();
    let mut scan = scan(tree.root());
    let now = Moment::now();
    let (first, _) = scan.round(now, &none()).gauges.expect("gauges");
    let row = |gauges: &topology::gauges::ProcessGauges, pid: u32| {
        let row = gauges.pids.binary_search(&pid).expect("a row");
        (gauges.cpu[row], gauges.memory_kib[row], gauges.open_files[row])
    };
    assert_eq!((row(&first, 3000), row(&first, 15)), ((0, 10_400, 8), (0, 0, 0)));
    tree.edit("3000/stat", " 700 300 0 0 ", " 760 320 0 0 ");
    let early = scan.round(later(now, BEAT / 10), &none());
    assert!(early.gauges.is_none() && early.facts.is_none(), "an early scan without news says nothing");
    let scanned = scan.round(later(now, BEAT), &none());
    assert!(scanned.facts.is_none() && scanned.table.is_none(), "figures are no facts");
    let (second, _) = scanned.gauges.expect("gauges");
    assert_eq!(row(&second, 3000), (2000, 10_400, 8), "0.8 s in 2 s on two CPUs");
}

#[test]
fn what_ends_execs_or_takes_an_old_pid_is_seen() {
    let tree = Tree::of_debian();
    let mut scan = scan(tree.root());
    let mut now = Moment::now();
    scan.round(now, &none());
    let mut next = |what: &str| {
        now = later(now, BEAT / 10);
        let scanned = scan.round(now, &none());
        assert!(scanned.facts.is_some() && scanned.table.is_some(), "{what}");
        scanned
    };
    tree.remove("2000");
    tree.remove("2031");
    let scanned = next("an end");
    assert!(!processes(&scanned).contains_key(&2031) && !containers(&scanned).contains_key(WEB));

    tree.edit("4001/stat", "(sleep)", "(date)");
    tree.write("4001/cmdline", b"/bin/date\0-u\0");
    let scanned = next("an exec");
    assert_eq!(processes(&scanned)[&4001].command_line, "/bin/date -u");

    tree.edit("4001/stat", " 140720000000000 ", " 140729999999999 ");
    tree.write("4001/cmdline", b"date\0");
    let scanned = next("an exec under the same name");
    assert_eq!(processes(&scanned)[&4001].command_line, "date");

    tree.edit("4001/stat", " 40900 ", " 50900 ");
    let scanned = next("a pid used again");
    let key = |start| Key::Process(ProcessId { pid: 4001, start });
    let facts = scanned.facts.expect("facts");
    assert!(facts.contains_key(&key(50900)) && !facts.contains_key(&key(40900)));

    tree.edit("4001/stat", ") S ", ") Z ");
    assert!(!processes(&next("a zombie")).contains_key(&4001));
}

#[test]
fn a_pool_that_breathes_says_so_once_a_minute() {
    let tree = Tree::of_debian();
    let mut scan = scan(tree.root());
    let mut now = Moment::now();
    let mut beat = |threads: &str| {
        tree.edit("3100/stat", " 20 0 42 0 ", &format!(" 20 0 {threads} 0 "));
        now = later(now, BEAT);
        let told = processes(&scan.round(now, &none())).get(&3100).map(|it| it.threads);
        tree.edit("3100/stat", &format!(" 20 0 {threads} 0 "), " 20 0 42 0 ");
        told
    };
    assert_eq!((beat("42"), beat("41"), beat("40")), (Some(42), Some(41), Some(40)), "while it is young");
    let told = (0..30).filter_map(|round| beat(if round % 2 == 0 { "50" } else { "51" })).count();
    assert_eq!(told, 1);
    assert_eq!(beat("100"), Some(100), "much more than before");
}

#[tokio::test]
async fn the_probe_reports_what_it_scans_and_scans_when_a_container_starts() {
    let (updates, mut hub) = mpsc::channel(16);
    let (table, scanned) = watch::channel(Arc::default());
    let (unmeasured, missing) = watch::channel(Arc::default());
    let (inits, init_pids) = watch::channel(InitPids::default());
    let stop = CancellationToken::new();
    let channels = Channels { updates, table, unmeasured, init_pids };
    let probe = process::spawn(debian(), channels, Nudge::default(), stop.clone());
    let mut said = Vec::new();
    while said.len() < 4 {
        said.push(match hub.recv().await.expect("the probe runs") {
            Update::Facts(Name::Process, facts) => format!("{} facts", facts.len()),
            Update::Gauges(_, gauges) => format!("{:?}", gauges.kind()),
            Update::Status(Name::Process, source) => format!("{:?}", source.state),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, ["15 facts", "Processes", "Containers", "Ok"]);
    assert_eq!((scanned.borrow().rows.len(), missing.borrow().len()), (12, 1));

    let started = Instant::now();
    inits.send_replace(Arc::new(BTreeMap::from([(4000, id("started"))])));
    let Some(Update::Facts(_, facts)) = hub.recv().await else { panic!("facts") };
    assert!(started.elapsed() < BEAT, "before the next beat");
    let key = Key::Process(ProcessId { pid: 4001, start: 40900 });
    assert!(matches!(&facts[&key], Fact::Process(it) if it.container == Some(id("started"))));
    stop.cancel();
    probe.await.expect("no panic");
}

#[test]
fn titles_written_after_the_first_look_are_seen_and_slices_come_round() {
    let tree = Tree::of_debian();
    let mut scan = scan(tree.root());
    let mut now = Moment::now();
    let mut beat = || {
        now = later(now, BEAT);
        scan.round(now, &none())
    };
    beat();
    tree.write("3000/cmdline", b"redis-server 0.0.0.0:6379\0");
    assert_eq!(processes(&beat())[&3000].command_line, "redis-server 0.0.0.0:6379", "young");
    for _ in 0..3 {
        beat();
    }
    tree.write("3000/cmdline", b"redis-server [saving]\0");
    let seen = (1..=30).find(|_| beat().facts.is_some());
    assert!(seen.is_some(), "within a minute");
    tree.edit("1/root/etc/passwd", "ann", "anna");
    let passwd = std::fs::File::options().append(true).open(tree.root().join("1/root/etc/passwd")).expect("opened");
    passwd.set_modified(std::time::SystemTime::now() + BEAT).expect("set");
    assert_eq!(processes(&beat())[&1200].user, "anna", "a renamed user");
}

#[test]
fn what_is_missing_or_garbage_never_ends_the_scan() {
    let tree = Tree::of_debian();
    let files = ["stat", "cmdline", "status", "limits", "cgroup"];
    let bytes: [&[u8]; 5] = [b"", b"\0", b"\xff\xfe(\n)) :::\0", b"9999999999999999999999 (x) S 1", &[b'('; 70_000]];
    let mut now = Moment::now();
    let mut scan = scan(tree.root());
    for file in files {
        for garbage in bytes {
            tree.write(&format!("640/{file}"), garbage);
            tree.write("stat", garbage);
            tree.write("meminfo", garbage);
            tree.write("self/mountinfo", garbage);
            now = later(now, BEAT);
            let scanned = scan.round(now, &none());
            assert_eq!(scanned.status.state, SourceState::Ok, "{file}: {}", scanned.status.reason);
            let again = Scan::new(Config::new(tree.root().to_owned())).round(now, &none());
            assert!(processes(&again).contains_key(&1200), "the others are still there");
        }
    }
}

#[test]
fn no_proc_is_a_reason_and_coming_back_starts_anew() {
    let tree = Tree::of_debian();
    let mut scan = scan(tree.root());
    let now = Moment::now();
    scan.round(now, &none());
    let gone = tree.root().with_extension("gone");
    std::fs::rename(tree.root(), &gone).expect("renamed");
    let mut missing = Scan::new(Config::new(tree.root().to_owned()));
    let scanned = missing.round(now, &none());
    assert_eq!((scanned.status.state, scanned.facts.is_some()), (SourceState::Off, false));
    assert!(scanned.status.reason.contains("cannot read"), "{}", scanned.status.reason);
    std::fs::rename(&gone, tree.root()).expect("renamed");
    assert_eq!(processes(&missing.round(later(now, BEAT), &none())).len(), 12);
}

#[test]
fn this_process_finds_itself() {
    let mut scan = Scan::new(Config::new(PathBuf::from("/proc")));
    let now = Moment::now();
    let first = scan.round(now, &none());
    let us = processes(&first)[&std::process::id()].clone();
    assert_eq!(us.parent, std::os::unix::process::parent_id());
    let arguments: Vec<String> = std::env::args().collect();
    assert!(us.command_line.starts_with(&arguments[0]), "{us:?}");
    assert!(us.threads >= 1 && us.netns.is_some() && us.open_files_max.is_some() && !us.user.is_empty(), "{us:?}");
    let booted_at = node::probe::host::Kernel::read(Path::new("/proc")).booted_at.0;
    let started_at = booted_at + us.id.start * 1000 / Config::new(PathBuf::new()).ticks_per_second;
    assert!(started_at.abs_diff(Moment::now().at.0) < 600_000, "started at {started_at}");
    let (gauges, _) = first.gauges.expect("gauges");
    let row = gauges.pids.binary_search(&us.id.pid).expect("a row");
    assert!(gauges.memory_kib[row] > 500 && gauges.open_files[row] >= 3, "{} KiB", gauges.memory_kib[row]);

    let held: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").expect("opened")).collect();
    let counted = (1..=15).any(|beat| {
        let (gauges, _) = scan.round(later(now, BEAT * beat), &none()).gauges.expect("gauges");
        gauges.open_files[gauges.pids.binary_search(&us.id.pid).expect("a row")] >= 53
    });
    assert!(counted, "{} more open files", held.len());

    let mut child = std::process::Command::new("sleep").arg("3600").spawn().expect("a child");
    let pid = child.id();
    let found = (0..10_000).find_map(|_| {
        let scanned = scan.round(later(now, BEAT * 16), &none());
        // In the middle of an exec a program has its name, but no arguments yet.
        processes(&scanned).get(&pid).filter(|it| it.name == "sleep" && !it.command_line.is_empty()).cloned()
    });
    child.kill().expect("ended");
    child.wait().expect("reaped");
    let found = found.expect("the child");
    assert_eq!((found.parent, found.command_line.as_str()), (us.id.pid, "sleep 3600"));
}
