//! What connections add up to.

use crate::probe::connections::sock_diag::Figures;

/// What connections add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe::connections) struct Sums {
    pub(in crate::probe::connections) count: u64,
    pub(in crate::probe::connections) sent: u64,
    pub(in crate::probe::connections) received: u64,
    pub(in crate::probe::connections) retransmits: u64,
}

impl Sums {
    /// Of one connection.
    pub(super) fn one(figures: Figures) -> Self {
        let Figures { sent, received, retransmits, .. } = figures;
        Self { count: 1, sent, received, retransmits: retransmits.into() }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
            retransmits: self.retransmits.saturating_add(other.retransmits),
        }
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            sent: self.sent.saturating_sub(other.sent),
            received: self.received.saturating_sub(other.received),
            retransmits: self.retransmits.saturating_sub(other.retransmits),
        }
    }

    /// Of `count` of them, if all are alike.
    pub(super) fn share(self, count: u64) -> Self {
        let of = |sum: u64| {
            u64::try_from(u128::from(sum) * u128::from(count) / u128::from(self.count.max(1))).unwrap_or(sum)
        };
        Self { count, sent: of(self.sent), received: of(self.received), retransmits: of(self.retransmits) }
    }

    pub(super) fn min(self, other: Self) -> Self {
        Self {
            count: self.count.min(other.count),
            sent: self.sent.min(other.sent),
            received: self.received.min(other.received),
            retransmits: self.retransmits.min(other.retransmits),
        }
    }
}
