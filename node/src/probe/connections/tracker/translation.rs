//! Address translation as the tracker asks for it.

use std::net::{IpAddr, SocketAddr};

use topology::fact::{Direction, Protocol};

pub(in crate::probe::connections) use crate::probe::connections::conntrack::Translation;

/// What is known of a connection whose client's port is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe::connections) enum Likely {
    /// It was not translated.
    Untranslated,
    /// As all of those were.
    As(Translation),
    /// Some one way, some another, each so often lately: not 0 times.
    Several(Vec<(Translation, u32)>),
    /// It seems untranslated, but what is new is not looked through yet.
    NotYet,
}

/// Where connections really go and come from.
pub(in crate::probe::connections) trait Translations {
    /// Of a connection as its client's socket has it.
    fn outgoing(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation>;

    /// Of a connection as its server's socket has it.
    fn incoming(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation>;

    /// Of connections from `local`, whatever their ports, to `remote`.
    fn likely_outgoing(&self, protocol: Protocol, local: IpAddr, remote: SocketAddr) -> Likely;

    /// Of connections to `local` from `remote`, whatever their ports there.
    fn likely_incoming(&self, protocol: Protocol, local: SocketAddr, remote: IpAddr) -> Likely;

    /// Grows when what was answered before may be otherwise now.
    fn generation(&self) -> u64;
}

/// Nothing is translated, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::probe::connections) struct Untranslated;

impl Translations for Untranslated {
    fn outgoing(&self, _: Protocol, _: SocketAddr, _: SocketAddr) -> Option<Translation> {
        None
    }

    fn incoming(&self, _: Protocol, _: SocketAddr, _: SocketAddr) -> Option<Translation> {
        None
    }

    fn likely_outgoing(&self, _: Protocol, _: IpAddr, _: SocketAddr) -> Likely {
        Likely::Untranslated
    }

    fn likely_incoming(&self, _: Protocol, _: SocketAddr, _: IpAddr) -> Likely {
        Likely::Untranslated
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// The far end of a flow with its translation undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FarEnd {
    pub(super) remote: IpAddr,
    /// Of the serving side.
    pub(super) port: u16,
    /// What the client named, where that is not where the connection goes.
    pub(super) via: Option<SocketAddr>,
    /// The owner's address as the far end sees it, where that is another.
    pub(super) masquerade: Option<IpAddr>,
}

impl FarEnd {
    /// Of a connection with both ends as its socket has them.
    pub(super) fn of(
        direction: Direction,
        local: SocketAddr,
        remote: SocketAddr,
        translation: Option<Translation>,
    ) -> Self {
        match (direction, translation) {
            (Direction::Outgoing, None) => {
                Self { remote: remote.ip(), port: remote.port(), via: None, masquerade: None }
            }
            (Direction::Incoming, None) => {
                Self { remote: remote.ip(), port: local.port(), via: None, masquerade: None }
            }
            (Direction::Outgoing, Some(Translation { source, destination })) => Self {
                remote: destination.ip(),
                port: destination.port(),
                via: (destination != remote).then_some(remote),
                masquerade: (source.ip() != local.ip()).then_some(source.ip()),
            },
            (Direction::Incoming, Some(Translation { source, destination })) => Self {
                remote: source.ip(),
                port: local.port(),
                via: (destination != local).then_some(destination),
                masquerade: None,
            },
        }
    }
}
