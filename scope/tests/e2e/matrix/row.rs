//! A row of the matrix: one world, what happens in it, and what each mode is to make of it. Data: the tests and the table in
//! `docs/edges.md` are made of the same.

use super::mode::Mode;
use super::world::World;
use crate::harness::lab::Lab;

/// Who connects to whom, by name: a container's, `host/uncontained`, `The Internet` or `Unknown hosts`; of processes `container/process` or
/// `host/process`.
pub(super) type Edge = (&'static str, &'static str);

/// One world, looked at in every mode.
pub(super) struct Row {
    pub(super) world: fn(&Lab) -> World,
    /// What happens once the peers run, in every mode anew.
    pub(super) once_launched: fn(&mut World),
    /// All that can be seen there.
    pub(super) cases: &'static [Case],
}

/// One thing to see: a line of the table.
pub(super) struct Case {
    /// As the table has it.
    pub(super) what: &'static str,
    /// Its edges in the view of containers, pseudo nodes shown.
    pub(super) edges: &'static [Edge],
    /// Its edges in the view of processes.
    pub(super) processes: Processes,
    /// What is to be seen, by [`Mode::ALL`].
    pub(super) expected: [Expect; 4],
}

/// What the view of processes shows of a case, where it is seen at all.
#[derive(Clone, Copy)]
pub(super) enum Processes {
    /// Exactly these edges.
    Exactly(&'static [Edge]),
    /// These where the eBPF program runs, which sees who connects. Elsewhere a connection may have ended before anybody could
    /// look whose it was, so they may be missing.
    ByEbpf(&'static [Edge]),
    /// These or none: datagrams name no process.
    Perhaps(&'static [Edge]),
}

/// What a mode makes of a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Its edges, told by both ends.
    Confirmed,
    /// Its edges, told by one end.
    OneSided { because: &'static str },
    /// Not its edges.
    Unseen {
        because: &'static str,
        /// What is seen in their place, in the view of containers and in that of processes.
        instead: [&'static [Edge]; 2],
    },
}

/// In every mode.
pub(super) const CONFIRMED: [Expect; 4] = [Expect::Confirmed; 4];

impl Row {
    /// A row where all is set up before the peers run.
    pub(super) const fn still(world: fn(&Lab) -> World, cases: &'static [Case]) -> Self {
        Self { world, once_launched: |_| {}, cases }
    }
}

impl Case {
    pub(super) fn expect(&self, mode: Mode) -> Expect {
        self.expected[mode as usize]
    }

    /// The edges of the view of containers in a mode.
    pub(super) fn seen(&self, mode: Mode) -> &'static [Edge] {
        match self.expect(mode) {
            Expect::Confirmed | Expect::OneSided { .. } => self.edges,
            Expect::Unseen { instead: [containers, _], .. } => containers,
        }
    }

    /// The edges that must be, and those that may be, in the view of processes.
    pub(super) fn processes(&self, mode: Mode) -> (&'static [Edge], &'static [Edge]) {
        match (self.expect(mode), self.processes) {
            (Expect::Unseen { instead: [_, processes], .. }, _) => (processes, &[]),
            (_, Processes::Exactly(edges)) => (edges, &[]),
            (_, Processes::ByEbpf(edges)) if mode.has_ebpf() => (edges, &[]),
            (_, Processes::ByEbpf(edges) | Processes::Perhaps(edges)) => (&[], edges),
        }
    }
}
