//! Events of the driver that the consumer has not taken yet, so that the driver never waits for it.

use std::collections::VecDeque;

use super::Event;
use crate::PeerId;

/// Dials that are under way or not reported yet. What would exceed it is dropped.
pub(super) const DIALS_MAX: usize = 256;

/// Failed handshakes of strangers not reported yet. What exceeds it is dropped.
const STRANGERS_MAX: usize = 16;

/// Events in order.
///
/// Bounded: dials by [`DIALS_MAX`], strangers by [`STRANGERS_MAX`]; and of links that came up and went down while nobody
/// looked nothing is said, so there is one event at most for each link that is up or that the consumer believes is.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<Event>,
    dials: usize,
    strangers: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Failed dials that wait here.
    pub(super) fn dials(&self) -> usize {
        self.dials
    }

    pub(super) fn push(&mut self, event: Event) {
        match event {
            Event::HandshakeFailed { .. } if self.strangers >= STRANGERS_MAX => return,
            Event::HandshakeFailed { .. } => self.strangers += 1,
            Event::DialFailed { .. } => self.dials += 1,
            _ => {}
        }
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        match event {
            Event::HandshakeFailed { .. } => self.strangers -= 1,
            Event::DialFailed { .. } => self.dials -= 1,
            _ => {}
        }
        Some(event)
    }

    /// Takes back that a link is up, which nobody has heard yet.
    pub(super) fn retract_up(&mut self, of: PeerId) {
        self.events.retain(|event| !matches!(event, Event::Up { peer, .. } if *peer == of));
    }
}
