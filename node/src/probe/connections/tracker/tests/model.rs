//! The tracker against a model of a namespace: connections come and go, what is told of them comes early, late or again, and
//! still each is counted once.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Who connects: a shell of a container, and its child, which may end.
const PARENT: u32 = 7;
const CHILD: u32 = 8;
const REMOTES: [&str; 2] = ["10.9.9.1:80", "10.9.9.2:80"];

/// What a round sees of the sockets.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// As they are.
    Now,
    /// As they were at the look before.
    Earlier,
    /// Nothing: nothing seems to differ.
    Not,
}

#[derive(Clone, Debug)]
enum Step {
    /// A process connects; whose the connection is takes so many looks to find out.
    Open { pid: u32, remote: usize, unknown: u8 },
    /// One of those open ends.
    Close(prop::sample::Index),
    /// The child ends with all it has open.
    EndChild,
    /// Translations are others than they were, though not of these.
    Translate,
    /// A round, so many tenths of a second later. What ended is told, then one more ends, if any does, then sockets are seen.
    Round { tenths: u8, last: Option<prop::sample::Index>, look: Look },
}

/// Processes of new connections are found after so many looks at most.
fn steps(unknown_max: u8) -> impl Strategy<Value = Vec<Step>> {
    let pid = prop_oneof![Just(PARENT), Just(CHILD)];
    let look = prop_oneof![3 => Just(Look::Now), 2 => Just(Look::Earlier), 2 => Just(Look::Not)];
    let step = prop_oneof![
        6 => (pid, 0..REMOTES.len(), 0..=unknown_max).prop_map(|(pid, remote, unknown)| Step::Open { pid, remote, unknown }),
        4 => any::<prop::sample::Index>().prop_map(Step::Close),
        1 => Just(Step::EndChild),
        1 => Just(Step::Translate),
        8 => (1..12_u8, any::<Option<prop::sample::Index>>(), look)
            .prop_map(|(tenths, last, look)| Step::Round { tenths, last, look }),
    ];
    vec(step, 1..40)
}

#[derive(Clone, Debug)]
struct Connection {
    pid: u32,
    port: u16,
    remote: usize,
    /// Looks for which its process is not found.
    unknown: u8,
}

impl Connection {
    /// As [`snapshot`] reads it.
    fn line(&self, processes: &ProcessTable) -> String {
        let Self { pid, port, remote, unknown } = self;
        let is_known = *unknown == 0 && processes.rows.contains_key(pid);
        let holder = if is_known { pid.to_string() } else { "-".to_owned() };
        format!("{holder} 172.17.0.2:{port} > {} 1000 5000", REMOTES[*remote])
    }
}

/// A namespace as it is, and what the tracker was told of it.
struct Model {
    world: World,
    open: Vec<Connection>,
    /// Ended, not told yet: whose, where to.
    untold: Vec<(Vec<u32>, Connection)>,
    /// How many were ever opened, by where to.
    opened: [u64; REMOTES.len()],
    /// The sockets at the last look, and when that was, in seconds.
    looked: Option<(Vec<Connection>, f64)>,
    /// As the tracker was told last.
    shown: String,
    next_port: u16,
}

impl Model {
    fn new(ends_by: EndsBy) -> Self {
        let world = World::new(ends_by);
        let opened = [0; REMOTES.len()];
        Self {
            world,
            open: Vec::new(),
            untold: Vec::new(),
            opened,
            looked: None,
            shown: String::new(),
            next_port: 4000,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Open { pid, remote, unknown } => {
                self.next_port += 1;
                self.opened[*remote] += 1;
                let pid = if self.world.table.rows.contains_key(pid) { *pid } else { PARENT };
                let (port, remote, unknown) = (self.next_port, *remote, *unknown);
                self.open.push(Connection { pid, port, remote, unknown });
            }
            Step::Close(which) => self.close(*which),
            Step::EndChild if self.world.table.rows.contains_key(&CHILD) => {
                let (its, others) = self.open.drain(..).partition(|it| it.pid == CHILD);
                self.open = others;
                self.untold.extend(its.into_iter().map(|it: Connection| (vec![CHILD, PARENT], it)));
                self.world.end(CHILD);
            }
            Step::EndChild => {}
            Step::Translate => self.world.nat.generation += 1,
            Step::Round { tenths, last, look } => {
                self.round(f64::from(*tenths) / 10.0, *last, *look);
            }
        }
    }

    fn close(&mut self, which: prop::sample::Index) {
        if !self.open.is_empty() {
            let it = self.open.swap_remove(which.index(self.open.len()));
            let ancestors = if it.pid == CHILD { vec![CHILD, PARENT] } else { vec![PARENT] };
            self.untold.push((ancestors, it));
        }
    }

    fn round(&mut self, seconds: f64, last: Option<prop::sample::Index>, look: Look) {
        let told = std::mem::take(&mut self.untold);
        if let Some(which) = last {
            self.close(which);
        }
        let seconds = self.world.seconds + seconds;
        let sockets = match (look, &self.looked) {
            (Look::Now, _) => {
                self.looked = Some((self.open.clone(), seconds));
                self.open.iter_mut().for_each(|it| it.unknown = it.unknown.saturating_sub(1));
                self.looked.clone()
            }
            (Look::Earlier, earlier) => earlier.clone(),
            (Look::Not, _) => None,
        };
        let at = self.looked.as_ref().map(|(_, at)| *at);
        (self.world.looked_at, self.world.read_at) = (at, at);
        let lines: Option<String> =
            sockets.map(|(sockets, _)| sockets.iter().map(|it| it.line(&self.world.table) + "\n").collect());
        // A look that finds all as it was tells nothing.
        let lines = lines.filter(|lines| !matches!(look, Look::Now) || *lines != self.shown);
        lines.iter().for_each(|lines| self.shown.clone_from(lines));
        let ended =
            told.iter().map(|(pids, it)| ended(WEB, pids, &format!("172.17.0.2:0 > {}", REMOTES[it.remote]), 1));
        let ended = ended.collect();
        let seen: Vec<_> = lines.iter().map(|lines| (WEB, lines.as_str())).collect();
        self.world.round(seconds, &seen, ended);
    }

    /// Open and opened connections by where to, as the tracker has it.
    fn counted(&mut self) -> BTreeMap<IpAddr, (u64, u64)> {
        let now = self.world.now();
        let ledger = &mut self.world.tracker.ledger;
        let told = ledger.gauges_if_changed(now);
        let gauges = told.or_else(|| ledger.told_for_tests()).unwrap_or_default();
        let mut counted = BTreeMap::new();
        for flow in ledger.flows() {
            let figures = gauges.figures(flow.serial).expect("every flow has a row");
            let (open, opened) = counted.entry(flow.key.remote).or_insert((0, 0));
            (*open, *opened) = (*open + u64::from(figures.open), *opened + u64::from(figures.opened));
        }
        counted
    }

    fn truth(&self) -> BTreeMap<IpAddr, (u64, u64)> {
        let of = |(at, remote): (usize, &&str)| {
            let open = self.open.iter().filter(|it| it.remote == at).count() as u64;
            (remote.parse::<SocketAddr>().expect("an address").ip(), (open, self.opened[at]))
        };
        REMOTES.iter().enumerate().map(of).filter(|(_, (_, opened))| *opened > 0).collect()
    }
}

impl Model {
    /// All is told, and nothing happens any more.
    fn come_to_rest(&mut self) {
        for _ in 0..4 {
            self.round(3.0, None, Look::Now);
        }
    }
}

proptest! {
    #[test]
    fn each_connection_is_counted_once_whenever_it_is_told_of(steps in steps(0)) {
        let mut model = Model::new(EndsBy::Kernel);
        for step in &steps {
            model.take(step);
            let truth = model.truth();
            for (remote, (_, opened)) in model.counted() {
                prop_assert!(opened <= truth[&remote].1, "{opened} to {remote} of {:?} after {step:?}", truth[&remote]);
            }
        }
        model.come_to_rest();
        prop_assert_eq!(model.counted(), model.truth());
    }

    /// Of two that are mistaken for each other at the same time one may be counted twice.
    #[test]
    fn connections_whose_process_is_found_late_are_counted_once_but_for_a_few(steps in steps(2)) {
        let mut model = Model::new(EndsBy::Kernel);
        steps.iter().for_each(|step| model.take(step));
        model.come_to_rest();
        for (remote, (open, opened)) in model.truth() {
            let counted = model.counted()[&remote];
            prop_assert_eq!(counted.0, open, "to {}", remote);
            prop_assert!((opened..=opened + 1).contains(&counted.1), "{} to {remote} of {opened}", counted.1);
        }
    }
}
