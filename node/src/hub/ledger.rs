//! What each probe said last, and what of it others have not been told yet.

use std::collections::{BTreeMap, BTreeSet};

use topology::Key;
use topology::fact::{Container, Fact, Source, SourceState, Status};
use topology::gauges::{ContainerGauges, Gauges};
use topology::graph::Change;

use crate::probe::{Name, Update};

/// Runtime whose containers the docker probe knows better.
const DOCKER: &str = "docker";

/// The source that stands for publishing itself.
const FACTS: &str = "facts";

/// Keys of those there was no room for that are tried at first when there may be some.
const RELEASED_AT_FIRST: usize = 64;

/// What the probes said, merged.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    said: BTreeMap<Name, BTreeMap<Key, Fact>>,
    status: Status,
    costs: BTreeMap<Name, u32>,
    losses: BTreeMap<Name, u64>,
    /// Rows of containers that the process probe cannot measure.
    of_daemon: ContainerGauges,
    /// Keys whose winning fact may differ from what was told.
    touched: BTreeSet<Key>,
    /// Keys that there was no room for.
    withheld: BTreeSet<Key>,
    /// How many of those are tried next: twice as many as long as they fit, none once they do not.
    released: usize,
    gauges: Vec<Gauges>,
}

impl Ledger {
    /// Takes an update.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Facts(name, facts) => self.take_facts(name, facts),
            Update::Status(name, source) => self.take_status(name, source),
            Update::Cost(name, cost) => drop(self.costs.insert(name, cost)),
            Update::Lost(name, lost) => drop(self.losses.insert(name, lost)),
            Update::Gauges(Name::Docker, Gauges::Containers(block)) => self.of_daemon = block,
            Update::Gauges(_, Gauges::Containers(block)) => {
                self.gauges.push(Gauges::Containers(united(block, &self.of_daemon)));
            }
            Update::Gauges(_, Gauges::Host(mut block)) => {
                block.probe_cpu = self.costs.iter().map(|(name, cost)| (name.as_str().to_owned(), *cost)).collect();
                block.probe_lost = self.losses.iter().map(|(name, lost)| (name.as_str().to_owned(), *lost)).collect();
                self.gauges.push(Gauges::Host(block));
            }
            Update::Gauges(_, block) => self.gauges.push(block),
        }
    }

    fn take_facts(&mut self, name: Name, facts: BTreeMap<Key, Fact>) {
        let old = self.said.remove(&name).unwrap_or_default();
        let differs = facts.iter().filter(|(key, fact)| old.get(key) != Some(fact)).map(|(key, _)| key);
        let gone = old.keys().filter(|key| !facts.contains_key(key));
        self.touched.extend(differs.chain(gone).cloned());
        self.said.insert(name, facts);
    }

    fn take_status(&mut self, name: Name, source: Source) {
        let had = self.has_docker();
        if name == Name::Docker && source.state != SourceState::Ok {
            // Rows of a daemon that does not answer are not current.
            self.of_daemon = ContainerGauges::default();
        }
        self.status.sources.insert(name.as_str().to_owned(), source);
        self.touched.insert(Key::Status);
        if had != self.has_docker() {
            let of_cgroups = self.said.get(&Name::Process).into_iter().flat_map(BTreeMap::keys);
            self.touched.extend(of_cgroups.filter(|key| matches!(key, Key::Container(_))).cloned());
        }
    }

    /// Takes back what there was no room for: it is told once something else is gone.
    pub(super) fn withhold(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.withheld.extend(keys);
        self.released = 0;
        let reason = "too many facts: some of this host are left out".to_owned();
        let source = Source { state: SourceState::Degraded, mode: String::new(), reason };
        if self.status.sources.get(FACTS) != Some(&source) {
            self.status.sources.insert(FACTS.to_owned(), source);
            self.touched.insert(Key::Status);
        }
    }

    /// Tries again some of what was withheld, if something is gone. Not all: where things come and go all the time that
    /// would be all of it each time.
    fn release(&mut self) {
        if self.withheld.is_empty() {
            if self.status.sources.remove(FACTS).is_some() {
                self.touched.insert(Key::Status);
            }
            return;
        }
        let is_gone = |key: &Key| *key != Key::Status && self.winner(key).is_none();
        if self.released == 0 && self.touched.iter().any(is_gone) {
            self.released = RELEASED_AT_FIRST;
        }
        let tried = std::iter::from_fn(|| self.withheld.pop_first()).take(self.released);
        self.touched.extend(tried);
        self.released = self.released.saturating_mul(2);
    }

    fn has_docker(&self) -> bool {
        self.status.sources.get(Name::Docker.as_str()).is_some_and(|source| source.state != SourceState::Off)
    }

    /// The fact that counts: of the last probe, in the order of their names, that has one. A container known by its cgroup
    /// alone does not count while its runtime is asked: it is about to be described, or has just been removed.
    fn winner(&self, key: &Key) -> Option<&Fact> {
        let has_docker = self.has_docker();
        let counts = |name: Name, fact: &Fact| match fact {
            Fact::Container(Container { runtime, .. }) => name == Name::Docker || !(has_docker && runtime == DOCKER),
            _ => true,
        };
        let known = self.said.iter().rev().filter_map(|(name, facts)| Some((*name, facts.get(key)?)));
        known.filter(|(name, fact)| counts(*name, fact)).map(|(_, fact)| fact).next()
    }

    /// What may have changed since the last call, what people need first at the start: the host and its status, containers,
    /// processes, connections.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.release();
        let touched = std::mem::take(&mut self.touched);
        let change = |key: Key| match (&key, self.winner(&key)) {
            (Key::Status, _) => Change::put(Fact::Status(self.status.clone())),
            (_, Some(fact)) => Change::put(fact.clone()),
            (_, None) => Change::Remove(key),
        };
        let mut changes: Vec<Change> = touched.into_iter().map(change).collect();
        changes.sort_by_key(rank);
        changes.extend(self.gauges.drain(..).map(|block| Change::put(Fact::Gauges(block))));
        changes
    }
}

/// What goes first where there is not room for all.
fn rank(change: &Change) -> u8 {
    match change {
        Change::Remove(_) => 0,
        Change::Put(fact) => match **fact {
            Fact::Host(_) | Fact::Status(_) | Fact::Services(_) => 1,
            Fact::Container(_) | Fact::Image(_) => 2,
            Fact::Process(_) => 3,
            Fact::Listener(_) | Fact::Flow(_) | Fact::Namespace(_) | Fact::RemoteName(_) | Fact::Gauges(_) => 4,
        },
    }
}

/// One block of two, by container; where both have a row the first counts.
fn united(first: ContainerGauges, second: &ContainerGauges) -> ContainerGauges {
    if second.containers.is_empty() {
        return first;
    }
    let mut rows = BTreeMap::new();
    for block in [second, &first] {
        let figures = block.cpu.iter().zip(&block.memory_kib).zip(&block.memory_max_kib);
        rows.extend(
            block.containers.iter().zip(figures).map(|(id, ((cpu, memory), max))| (*id, (*cpu, *memory, *max))),
        );
    }
    ContainerGauges {
        at: first.at,
        containers: rows.keys().copied().collect(),
        cpu: rows.values().map(|(cpu, _, _)| *cpu).collect(),
        memory_kib: rows.values().map(|(_, memory, _)| *memory).collect(),
        memory_max_kib: rows.values().map(|(_, _, max)| *max).collect(),
    }
}

#[cfg(test)]
mod tests {
    use topology::fact::Process;
    use topology::{ContainerId, ProcessId};

    use super::*;

    fn container(name: &str, runtime: &str) -> (Key, Fact) {
        let mut container = Container::new(ContainerId::new("4f5e").expect("an id"));
        container.name = name.into();
        container.runtime = runtime.into();
        let fact = Fact::Container(container);
        (fact.key(), fact)
    }

    fn docker(state: SourceState) -> Update {
        Update::Status(Name::Docker, Source { state, mode: String::new(), reason: String::new() })
    }

    /// The name of the container that is told of, `None` if it is gone.
    fn told(ledger: &mut Ledger) -> Vec<Option<String>> {
        let name = |change: Change| match change {
            Change::Put(fact) => match *fact {
                Fact::Container(container) => Some(Some(container.name)),
                _ => None,
            },
            Change::Remove(Key::Container(_)) => Some(None),
            Change::Remove(_) => None,
        };
        ledger.changes().into_iter().filter_map(name).collect()
    }

    #[test]
    fn a_runtimes_own_word_counts_before_what_the_cgroup_says() {
        let by_cgroup = |runtime| Update::Facts(Name::Process, [container("", runtime)].into());
        let by_docker =
            |facts: &[&str]| Update::Facts(Name::Docker, facts.iter().map(|name| container(name, DOCKER)).collect());
        let steps = [
            (by_cgroup(DOCKER), vec![Some("")]),           // docker has not been heard of
            (docker(SourceState::Ok), vec![None]),         // it is there, and will say
            (by_docker(&["web"]), vec![Some("web")]),      // it says
            (docker(SourceState::Off), vec![Some("web")]), // it is gone, its word stands
            (by_docker(&[]), vec![Some("")]),              // until the probe takes it back
            (docker(SourceState::Degraded), vec![None]),
            (by_cgroup("containerd"), vec![Some("")]), // another runtime's
            (docker(SourceState::Ok), vec![]),
        ];
        let mut ledger = Ledger::default();
        for (step, (update, want)) in steps.into_iter().enumerate() {
            ledger.take(update);
            let want: Vec<Option<String>> = want.into_iter().map(|name| name.map(str::to_owned)).collect();
            assert_eq!(told(&mut ledger), want, "step {step}");
        }
    }

    #[test]
    fn figures_of_containers_come_from_cgroups_and_else_from_the_daemon() {
        let block = |containers: &[u64], cpu: u32| ContainerGauges {
            containers: containers.to_vec(),
            cpu: containers.iter().map(|_| cpu).collect(),
            memory_kib: containers.to_vec(),
            memory_max_kib: containers.to_vec(),
            ..ContainerGauges::default()
        };
        let mut ledger = Ledger::default();
        ledger.take(Update::Gauges(Name::Docker, Gauges::Containers(block(&[2, 3], 7))));
        assert!(ledger.changes().is_empty(), "they wait for the beat of the others");
        ledger.take(Update::Gauges(Name::Process, Gauges::Containers(block(&[1, 2], 5))));
        let changes = ledger.changes();
        let [Change::Put(fact)] = changes.as_slice() else { panic!("one block: {changes:?}") };
        let want = ContainerGauges { cpu: vec![5, 5, 7], ..block(&[1, 2, 3], 0) };
        assert_eq!(**fact, Fact::Gauges(Gauges::Containers(want)));

        ledger.take(docker(SourceState::Degraded));
        ledger.take(Update::Gauges(Name::Process, Gauges::Containers(block(&[1], 5))));
        let want = Fact::Gauges(Gauges::Containers(block(&[1], 5)));
        assert!(ledger.changes().contains(&Change::put(want)), "a daemon that is away measures nothing");
    }

    #[test]
    fn what_was_withheld_is_tried_a_few_at_a_time_and_all_of_it_while_there_is_room() {
        const COUNT: usize = 10_000;
        let process = |pid: usize| {
            let pid = u32::try_from(pid).expect("a pid");
            let fact = Fact::Process(Process::new(ProcessId { pid, start: 1 }));
            (fact.key(), fact)
        };
        let said = |pids: std::ops::Range<usize>| Update::Facts(Name::Process, pids.map(process).collect());
        let key = |change| match change {
            Change::Put(fact) => fact.key(),
            Change::Remove(key) => key,
        };
        let mut ledger = Ledger::default();
        ledger.take(said(0..COUNT));
        ledger.changes();
        ledger.withhold((1..COUNT).map(|pid| process(pid).0));
        assert_eq!(ledger.changes().len(), 1, "the status");
        // One goes, and there is room for none.
        ledger.take(said(1..COUNT));
        let tried = ledger.changes();
        assert_eq!(tried.len(), 1 + RELEASED_AT_FIRST);
        ledger.withhold(tried.into_iter().map(key));
        assert_eq!(ledger.changes().len(), 0, "nothing has gone since");
        // One goes, and there is room for all.
        ledger.take(said(2..COUNT));
        let mut rounds = Vec::new();
        while ledger.status.sources.contains_key(FACTS) {
            rounds.push(ledger.changes().len());
        }
        assert_eq!(rounds[..3], [RELEASED_AT_FIRST, 2 * RELEASED_AT_FIRST, 4 * RELEASED_AT_FIRST]);
        assert!(rounds.len() < 12 && rounds.iter().sum::<usize>() >= COUNT, "{rounds:?}");
    }

    #[test]
    fn only_what_differs_is_told_again() {
        let mut ledger = Ledger::default();
        let facts: BTreeMap<_, _> = [container("web", DOCKER)].into();
        ledger.take(Update::Facts(Name::Docker, facts.clone()));
        assert_eq!(ledger.changes().len(), 1);
        ledger.take(Update::Facts(Name::Docker, facts));
        assert_eq!(ledger.changes().len(), 0);
    }
}
