//! Whose a connection is when its process is not there to be asked: a process that ended is stood for by the nearest of its
//! ancestors that lives in the same network namespace, as a shell stands for the commands of its loop.

use std::collections::HashMap;

use topology::fact::{FlowKey, Owner};
use topology::{Netns, ProcessId};

use crate::probe::ProcessTable;

/// Ancestors that are remembered of a process.
pub(super) const ANCESTORS_MAX: usize = 4;

/// The host's first process adopts everyone's orphans, and stands for none.
const INIT: u32 = 1;

/// Programs that start the processes of containers from outside: they stand for none of them.
const RUNTIMES: [&str; 4] = ["containerd-shim", "conmon", "runc", "crun"];

/// Processes as of a round, and the ancestors of those that have flows.
#[derive(Default)]
pub(super) struct Ownership {
    ancestors: HashMap<ProcessId, Vec<ProcessId>>,
}

impl Ownership {
    /// Remembers the ancestors of processes that have flows, while they can be told. Forgets those of processes that have none.
    pub(super) fn remember<'a>(&mut self, flows: impl Iterator<Item = &'a FlowKey>, processes: &ProcessTable) {
        let mut known = std::mem::take(&mut self.ancestors);
        for key in flows {
            let Owner::Process(id) = key.owner else { continue };
            let of_process = || known.remove(&id).unwrap_or_else(|| ancestors(id, processes));
            self.ancestors.entry(id).or_insert_with(of_process);
        }
    }

    /// Who stands for a process that ended.
    pub(super) fn heir(&self, id: ProcessId, netns: Netns, host: Option<Netns>, processes: &ProcessTable) -> Owner {
        let ancestors = self.ancestors.get(&id).map_or(&[][..], Vec::as_slice);
        stand_in(ancestors, netns, host, processes).map_or(Owner::Netns(netns), Owner::Process)
    }
}

/// Whether a process is still there.
pub(super) fn is_alive(id: ProcessId, processes: &ProcessTable) -> bool {
    processes.rows.get(&id.pid).is_some_and(|row| row.id == id)
}

/// The first of `ancestors` that can stand for a process of `netns`.
pub(super) fn stand_in(
    ancestors: &[ProcessId],
    netns: Netns,
    host: Option<Netns>,
    processes: &ProcessTable,
) -> Option<ProcessId> {
    let stands = |id: &&ProcessId| {
        let row = processes.rows.get(&id.pid).filter(|row| row.id == **id);
        let is_runtime = |name: &str| RUNTIMES.iter().any(|runtime| name.starts_with(runtime));
        row.is_some_and(|row| row.netns == Some(netns) && !is_runtime(&row.name))
            && !(id.pid == INIT && host == Some(netns))
    };
    ancestors.iter().find(stands).copied()
}

/// Those in the same container, or like it in none.
fn ancestors(id: ProcessId, processes: &ProcessTable) -> Vec<ProcessId> {
    let parent = |pid: &u32| processes.rows.get(pid).map(|row| row.parent);
    let container = processes.rows.get(&id.pid).and_then(|row| row.container.as_ref());
    let rows = std::iter::successors(parent(&id.pid), parent).map_while(|pid| processes.rows.get(&pid));
    let alike = rows.take_while(|row| row.container.as_ref() == container);
    alike.map(|row| row.id).take(ANCESTORS_MAX).collect()
}
