//! What is known of a neighbour, and what it is still to be told.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::peers::{At, Ix};
use super::{Time, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, WINDOW_FOR};
use crate::Epoch;
use crate::message::{From, Handle, Message};

/// A connection to a neighbour.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) dialed: bool,
    pub(super) since: Time,
    /// In which run the neighbour is; known once it has said hello.
    pub(super) greeted: Option<Epoch>,
    pub(super) keep_ours: bool,
    pub(super) keep_theirs: bool,
    pub(super) unwanted_since: Option<Time>,

    /// By our rows: what is between this neighbour and each origin.
    of: Vec<Of>,
    /// By the neighbour's handles: which row of ours, in which run.
    named: Vec<Option<Named>>,

    /// What to say first, whatever else there is.
    pub(super) control: Vec<Message>,
    /// Rows of which there may be something to push, to announce, a beat to pass on.
    pub(super) pushes: VecDeque<Ix>,
    pub(super) haves: VecDeque<Ix>,
    pub(super) beats: VecDeque<Ix>,
    /// When the announcements, or the beats, do not wait for company any more.
    pub(super) due: Option<Time>,

    /// Handed over and not yet on the wire.
    in_flight: usize,
    /// What may be, at most, but for one frame.
    window_bytes: usize,
    /// Since when something has been in flight without a break, and how much has left since then.
    busy: Option<(Time, usize)>,
    /// Open questions to this neighbour.
    pub(super) pulls: usize,
    /// Intervals that were new to us, and parts of them.
    pub(super) useful: u64,
    /// Origins of which it brought beats that are not theirs; a few at most.
    pub(super) forged: BTreeSet<Ix>,
    /// When its digest was last compared with ours.
    pub(super) compared: Time,
    /// When the last question was asked that it has answered. It answers in order.
    pub(super) answered: Time,
    /// Since when it has been asked and has not answered, nor been of any other use.
    pub(super) mute_since: Option<Time>,
    /// Questions it did not answer, and versions it was late with, lately.
    pub(super) faults: u32,
    /// Messages without use in this second.
    pub(super) useless: u32,

    pub(super) rtt: Option<Duration>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// What is between a neighbour and one origin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Of {
    /// What the neighbour holds, at least, as far as it was said or sent.
    pub(super) at: At,
    /// Where it wants an answer from, once.
    pub(super) wants: Option<From>,
    /// Whether it is sent what is new.
    pub(super) is_child: bool,
    /// Whether it was told our handle, and in which run of the origin.
    pub(super) told: Option<Epoch>,
    /// Whether it was sent a part, and will ask for the next.
    pub(super) is_cut: bool,
    /// Whether it is told the version whatever it is thought to hold.
    pub(super) must_tell: bool,
    pub(super) in_pushes: bool,
    pub(super) in_haves: bool,
    pub(super) in_beats: bool,
}

/// What a neighbour's handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A row, in this run.
    Row(Ix, Epoch),
    /// A peer there is no row for.
    Refused,
}

impl Link {
    pub(super) fn new(address: SocketAddr, dialed: bool, now: Time) -> Link {
        Link {
            address,
            dialed,
            since: now,
            greeted: None,
            keep_ours: true,
            keep_theirs: true,
            unwanted_since: None,
            of: Vec::new(),
            named: Vec::new(),
            control: Vec::new(),
            pushes: VecDeque::new(),
            haves: VecDeque::new(),
            beats: VecDeque::new(),
            due: None,
            in_flight: 0,
            window_bytes: WINDOW_BYTES_MAX,
            busy: None,
            pulls: 0,
            useful: 0,
            forged: BTreeSet::new(),
            compared: Time::ZERO,
            answered: Time::ZERO,
            mute_since: None,
            faults: 0,
            useless: 0,
            rtt: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(super) fn was_useful(&mut self) {
        self.useful += 1;
        self.mute_since = None;
    }

    pub(super) fn has_credit(&self) -> bool {
        self.in_flight < self.window_bytes
    }

    pub(super) fn hand_over(&mut self, now: Time, bytes: usize) {
        self.in_flight += bytes;
        self.bytes_out += bytes as u64;
        self.busy.get_or_insert((now, 0));
    }

    /// So much is on the wire. What the line takes in [`WINDOW_FOR`] is the window from then on.
    pub(super) fn left(&mut self, now: Time, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let Some((since, before)) = self.busy else { return };
        let (time, total) = (now.saturating_sub(since), before + bytes);
        if time >= WINDOW_FOR {
            let in_time = total as f64 * WINDOW_FOR.as_secs_f64() / time.as_secs_f64();
            self.window_bytes = (in_time as usize).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
            self.busy = Some((now, 0));
        } else {
            self.busy = Some((since, total));
        }
        if self.in_flight == 0 {
            self.busy = None;
            if time < WINDOW_FOR {
                self.window_bytes = WINDOW_BYTES_MAX; // not the line, but we had nothing more
            }
        }
    }

    pub(super) fn of(&self, ix: Ix) -> Of {
        self.of.get(ix.0 as usize).copied().unwrap_or_default()
    }

    pub(super) fn of_mut(&mut self, ix: Ix) -> &mut Of {
        let row = ix.0 as usize;
        if row >= self.of.len() {
            self.of.resize(row + 1, Of::default());
        }
        &mut self.of[row]
    }

    /// What a handle of the neighbour stands for.
    pub(super) fn meant(&self, handle: Handle) -> Option<Named> {
        self.named.get(handle.0 as usize).copied().flatten()
    }

    /// Takes a handle, unless it is beyond `handles_max`.
    pub(super) fn name(&mut self, handle: Handle, named: Named, handles_max: usize) -> bool {
        let row = handle.0 as usize;
        if row >= handles_max {
            return false;
        }
        if row >= self.named.len() {
            self.named.resize(row + 1, None);
        }
        self.named[row] = Some(named);
        true
    }

    /// Another peer has this row now.
    pub(super) fn forget(&mut self, ix: Ix) {
        let Of { in_pushes, in_haves, in_beats, .. } = self.of(ix);
        *self.of_mut(ix) = Of { in_pushes, in_haves, in_beats, ..Of::default() };
        for named in &mut self.named {
            if matches!(named, Some(Named::Row(row, _)) if *row == ix) {
                *named = Some(Named::Refused);
            }
        }
    }

    pub(super) fn queue_push(&mut self, ix: Ix) {
        if !std::mem::replace(&mut self.of_mut(ix).in_pushes, true) {
            self.pushes.push_back(ix);
        }
    }

    /// Notes an announcement, which leaves at `due` or with anything that leaves before. Returns
    /// whether the link's next time to send is another now.
    pub(super) fn queue_have(&mut self, ix: Ix, due: Time) -> bool {
        if !std::mem::replace(&mut self.of_mut(ix).in_haves, true) {
            self.haves.push_back(ix);
        }
        self.hasten(due)
    }

    /// The same for a beat.
    pub(super) fn queue_beat(&mut self, ix: Ix, due: Time) -> bool {
        if !std::mem::replace(&mut self.of_mut(ix).in_beats, true) {
            self.beats.push_back(ix);
        }
        self.hasten(due)
    }

    fn hasten(&mut self, due: Time) -> bool {
        let is_sooner = self.due.is_none_or(|before| due < before);
        if is_sooner {
            self.due = Some(due);
        }
        is_sooner
    }

    /// Whether something is to be said that does not wait for company.
    pub(super) fn is_urgent(&self, now: Time) -> bool {
        !self.control.is_empty() || !self.pushes.is_empty() || self.due.is_some_and(|due| due <= now)
    }
}
