//! How much of a host's processes a scan sees, and what to do where that is not all.

use topology::fact::{Source, SourceState};

use super::PROCESSES_MAX;

/// What a scan saw, and could not see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// Processes beyond [`PROCESSES_MAX`].
    pub(super) left_out: usize,
    /// The first process of all is not listed: `/proc` shows us our own only.
    pub(super) hidden: bool,
    /// Programs, unlike kernel threads.
    pub(super) programs: u32,
    /// Those of them that we may not look into.
    pub(super) denied: u32,
    /// Whether we run as root.
    pub(super) is_root: bool,
}

impl Coverage {
    /// As it is said to people.
    pub(super) fn source(self) -> Source {
        let reasons: Vec<String> =
            [self.too_many(), self.not_shown(), self.not_looked_into()].into_iter().flatten().collect();
        let state = if reasons.is_empty() { SourceState::Ok } else { SourceState::Degraded };
        Source { state, mode: "procfs".to_owned(), reason: reasons.join("; ") }
    }

    fn too_many(self) -> Option<String> {
        let left_out = self.left_out;
        (left_out > 0).then(|| format!("{left_out} processes are left out: {PROCESSES_MAX} are shown at most"))
    }

    fn not_shown(self) -> Option<String> {
        self.hidden.then(|| {
            "other users' processes are hidden (/proc is mounted with hidepid): run as root or in the group of its gid= option"
                .to_owned()
        })
    }

    fn not_looked_into(self) -> Option<String> {
        let Self { programs, denied, .. } = self;
        // A process or two that even root may not look into is no matter of ours; many mean that we lack a capability.
        if self.is_root {
            return (denied > programs / 10).then(|| {
                format!(
                    "open files and sockets of {denied} of {programs} processes are not visible; \
                     run with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"
                )
            });
        }
        (denied > 0).then(|| {
            "not root: open files and sockets of other users' processes are not visible; \
             run as root or with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_has_a_reason_that_names_the_way_out() {
        let all = Coverage { programs: 50, is_root: true, ..Coverage::default() };
        let cases = [
            ("all seen", all, vec![]),
            ("one refuses root", Coverage { denied: 1, ..all }, vec![]),
            ("root in a container", Coverage { denied: 40, ..all }, vec!["40 of 50 processes", "CAP_SYS_PTRACE"]),
            ("not root", Coverage { denied: 1, is_root: false, ..all }, vec!["not root", "run as root"]),
            ("not root, all its own", Coverage { is_root: false, ..all }, vec![]),
            ("hidepid", Coverage { hidden: true, ..all }, vec!["hidepid", "run as root"]),
            (
                "too many",
                Coverage { left_out: 7, hidden: true, ..all },
                vec!["7 processes are left out", "; other users'"],
            ),
        ];
        for (what, coverage, parts) in cases {
            let source = coverage.source();
            assert_eq!(source.state == SourceState::Ok, parts.is_empty(), "{what}: {}", source.reason);
            assert!(parts.iter().all(|part| source.reason.contains(part)), "{what}: {}", source.reason);
        }
    }
}
