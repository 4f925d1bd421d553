//! Modes: which sources of connections a peer uses. A host may lack one for want of a kernel feature or a privilege; the tests
//! take them away by flags.

/// The sources a peer uses besides sockets, which are always read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All of them: the default.
    Full,
    /// No eBPF program.
    NoEbpf,
    /// No connection tracking.
    NoConntrack,
    /// Neither.
    Bare,
}

/// A source that can be off, with the flag that takes it away.
pub(super) const SWITCHES: [(&str, &str); 2] = [("ebpf", "--no-ebpf"), ("conntrack", "--no-conntrack")];

impl Mode {
    /// In the order of the table's columns, and of [`super::row::Case::expected`].
    pub(super) const ALL: [Self; 4] = [Self::Full, Self::NoEbpf, Self::NoConntrack, Self::Bare];

    /// As the table calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Full => "all sources",
            Self::NoEbpf => "no eBPF",
            Self::NoConntrack => "no conntrack",
            Self::Bare => "sockets alone",
        }
    }

    /// Flags of `scope launch`.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[],
            Self::NoEbpf => &["--no-ebpf"],
            Self::NoConntrack => &["--no-conntrack"],
            Self::Bare => &["--no-ebpf", "--no-conntrack"],
        }
    }

    /// Whether it uses the eBPF program.
    pub(super) fn has_ebpf(self) -> bool {
        matches!(self, Self::Full | Self::NoConntrack)
    }
}
