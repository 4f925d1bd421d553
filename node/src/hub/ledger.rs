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
    /// Keys that there was no room for, by what goes first: some of those that the probes know.
    withheld: BTreeSet<(u8, Key)>,
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

    /// Takes back what there was no room for: it is told once there is. Gauges are not kept, as newer ones follow.
    pub(super) fn withhold(&mut self, keys: impl IntoIterator<Item = Key>) {
        let lasting = keys.into_iter().filter(|key| !matches!(key, Key::Gauges(_)));
        self.withheld.extend(lasting.map(|key| (rank(&key), key)));
    }

    /// Whether there was no room for something.
    pub(super) fn is_withholding(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// Takes out so many of the withheld, first what goes first: how they are now, to be told or withheld again.
    pub(super) fn release(&mut self, count: usize) -> Vec<Change> {
        let mut released = Vec::new();
        while released.len() < count
            && let Some((_, key)) = self.withheld.pop_first()
        {
            released.push(self.change(key));
        }
        released
    }

    /// Has the status say, with the next changes, whether something is withheld.
    pub(super) fn note_withheld(&mut self) {
        let is_said = self.status.sources.contains_key(FACTS);
        if is_said == self.is_withholding() {
            return;
        }
        if is_said {
            self.status.sources.remove(FACTS);
        } else {
            let reason = "too many facts: some of this host are left out".to_owned();
            tracing::warn!(source = FACTS, reason, "degraded");
            let source = Source { state: SourceState::Degraded, mode: String::new(), reason };
            self.status.sources.insert(FACTS.to_owned(), source);
        }
        self.touched.insert(Key::Status);
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

    /// What may have changed since the last call: what is gone, then what people need first at the start: the host and
    /// its status, containers, processes, connections, gauges. None of it is withheld any more.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let touched = std::mem::take(&mut self.touched);
        let mut changes: Vec<Change> = touched.into_iter().map(|key| self.change(key)).collect();
        changes.extend(self.gauges.drain(..).map(|block| Change::put(Fact::Gauges(block))));
        if self.is_withholding() {
            for change in &changes {
                let key = key(change);
                self.withheld.remove(&(rank(&key), key));
            }
        }
        changes.sort_by_cached_key(|change| match change {
            Change::Remove(_) => 0,
            Change::Put(fact) => rank(&fact.key()),
        });
        changes
    }

    fn change(&self, key: Key) -> Change {
        match (&key, self.winner(&key)) {
            (Key::Status, _) => Change::put(Fact::Status(self.status.clone())),
            (_, Some(fact)) => Change::put(fact.clone()),
            (_, None) => Change::Remove(key),
        }
    }
}

fn key(change: &Change) -> Key {
    match change {
        Change::Remove(key) => key.clone(),
        Change::Put(fact) => fact.key(),
    }
}

/// What goes first where there is not room for all; from 1.
fn rank(key: &Key) -> u8 {
    match key {
        Key::Host | Key::Status | Key::Services => 1,
        Key::Container(_) | Key::Image(_) => 2,
        Key::Process(_) => 3,
        Key::Listener(_) | Key::Flow(_) | Key::Namespace(_) | Key::RemoteName(_) => 4,
        Key::Gauges(_) => 5, // the next beat has them again
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
    use topology::gauges::Kind;
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
    fn only_what_differs_is_told_again() {
        let mut ledger = Ledger::default();
        let facts: BTreeMap<_, _> = [container("web", DOCKER)].into();
        ledger.take(Update::Facts(Name::Docker, facts.clone()));
        assert_eq!(ledger.changes().len(), 1);
        ledger.take(Update::Facts(Name::Docker, facts));
        assert_eq!(ledger.changes().len(), 0);
    }

    #[test]
    fn what_is_withheld_is_released_by_rank_as_it_is_now() {
        let process = |pid| Fact::Process(Process::new(ProcessId { pid, start: 1 }));
        let (container, old) = container("old", "");
        let facts = |facts: Vec<Fact>| facts.into_iter().map(|fact| (fact.key(), fact)).collect();
        let keys = [process(1).key(), process(2).key(), container.clone()];
        let mut ledger = Ledger::default();
        ledger.take(Update::Facts(Name::Process, facts(vec![old, process(1), process(2)])));
        assert_eq!(ledger.changes().len(), 3);
        ledger.withhold(keys.into_iter().chain([Key::Gauges(Kind::Host)]));
        assert_eq!(ledger.release(2), [container, process(1).key()].map(|key| ledger.change(key)));
        assert_eq!(ledger.release(9), [Change::put(process(2))], "gauges are not kept");

        ledger.withhold([process(1).key(), process(2).key()]);
        ledger.take(Update::Facts(Name::Process, facts(vec![process(1)])));
        assert_eq!(ledger.changes().len(), 2, "two are gone");
        assert_eq!(ledger.release(9), [Change::put(process(1))], "what is gone is not kept");
        assert!(!ledger.is_withholding());
    }
}
