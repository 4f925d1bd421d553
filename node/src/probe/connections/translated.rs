//! The conntrack source, as the tracker asks it: where connections really lead, and flows that no socket tells of.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use topology::fact::{Protocol, Source, SourceState};

use super::conntrack::{self, Entry, Follower, Table};
use super::tracker::Tracked;
use super::tracker::translation::{Likely, Translation, Translations, Untranslated};
use crate::probe::pace::share;
use crate::probe::{Name, Update};

/// What the map lacks without it.
const LACK: &str = "connections through published ports, services and masquerades are resolved by guess or not at all, and \
                    UDP is seen from connected sockets alone";

/// How often flows without a socket are listed.
const UNSOCKETED_BEAT: Duration = Duration::from_secs(2);

/// How often the index by address alone is made where the table is large.
const LIKELY_BEAT: Duration = Duration::from_secs(2);

/// A table of this size or less is indexed whenever it is asked.
const SMALL: usize = 2_000;

/// Most ways that connections of one pair of addresses are told to go: the backends of one service.
const WAYS_MAX: usize = 64;

/// How often cost is told.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Address translation on this host, and what is told of the source of it.
#[derive(Debug)]
pub(super) struct Translated {
    proc_root: PathBuf,
    is_wanted: bool,
    stop: CancellationToken,
    runtime: Handle,
    follower: Option<Follower>,
    told: Option<Source>,
    told_losses: Option<u64>,
    told_cpu: Duration,
    reported_at: Option<Instant>,
    listed_at: Option<Instant>,
    likely: Likelies,
    generation: u64,
    resyncs: u64,
}

impl Translated {
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn new(proc_root: &Path, is_wanted: bool, stop: &CancellationToken) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            is_wanted,
            stop: stop.clone(),
            runtime: Handle::current(),
            follower: None,
            told: None,
            told_losses: None,
            told_cpu: Duration::ZERO,
            reported_at: None,
            listed_at: None,
            likely: Likelies::default(),
            generation: 0,
            resyncs: 0,
        }
    }

    /// Grows when connections may be translated otherwise than was answered.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Says how the source does, and starts it at first.
    pub(super) fn attend(&mut self, now: Instant, updates: &mut Vec<Update>) {
        let mut source = Source { state: SourceState::Off, mode: "disabled".to_owned(), reason: String::new() };
        if !self.is_wanted {
            source.reason = format!("switched off by --no-conntrack: {LACK}");
        } else if let Err(error) = self.start() {
            source = Source { mode: String::new(), reason: format!("{error}; {LACK}"), ..source };
        } else if let Some(follower) = &self.follower {
            let health = follower.health().borrow().clone();
            let lack = if health.state == SourceState::Off { format!("; {LACK}") } else { String::new() };
            source = Source {
                state: health.state,
                mode: health.mode.to_owned(),
                reason: if health.reason.is_empty() { String::new() } else { format!("{}{lack}", health.reason) },
            };
            if health.resyncs != std::mem::replace(&mut self.resyncs, health.resyncs) {
                self.generation += 1;
            }
            self.report(now, health.losses, health.cpu, updates);
        }
        if self.told.as_ref() != Some(&source) {
            self.told = Some(source.clone());
            updates.push(Update::Status(Name::Conntrack, source));
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        if self.follower.is_none() {
            let _in_runtime = self.runtime.enter();
            self.follower = Some(conntrack::spawn(&self.proc_root, &self.stop)?);
        }
        Ok(())
    }

    fn report(&mut self, now: Instant, losses: u64, cpu: Duration, updates: &mut Vec<Update>) {
        if self.told_losses.replace(losses) != Some(losses) {
            updates.push(Update::Lost(Name::Conntrack, losses));
        }
        let elapsed = now.saturating_duration_since(*self.reported_at.get_or_insert(now));
        if elapsed >= REPORT_EVERY {
            self.reported_at = Some(now);
            let spent = cpu.saturating_sub(std::mem::replace(&mut self.told_cpu, cpu));
            updates.push(Update::Cost(Name::Conntrack, share(spent, elapsed)));
        }
    }

    /// Calls `take` with the translations as they are, and the flows without a socket if it is time. Whatever comes meanwhile
    /// waits.
    pub(super) fn with<R>(
        &mut self,
        now: Instant,
        needs_likely: bool,
        take: impl FnOnce(&dyn Translations, Option<Vec<Tracked>>) -> R,
    ) -> R {
        let Some(follower) = &self.follower else { return take(&Untranslated, None) };
        let table = follower.table();
        if needs_likely && self.likely.is_due(now, table.len()) {
            self.likely = Likelies::of(&table, now);
        }
        let is_listed = self.listed_at.is_none_or(|at| now.saturating_duration_since(at) >= UNSOCKETED_BEAT);
        let unsocketed = is_listed.then(|| {
            self.listed_at = Some(now);
            table.entries().filter(|entry| entry.original.protocol != Protocol::Tcp).map(tracked).collect()
        });
        let is_stale = self.likely.is_stale(now, table.len());
        take(&Now { table: &table, likely: &self.likely, is_stale, generation: self.generation }, unsocketed)
    }
}

fn tracked(entry: &Entry) -> Tracked {
    Tracked {
        protocol: entry.original.protocol,
        client: entry.original.source,
        named: entry.original.destination,
        server: entry.reply.source,
        visitor: entry.reply.destination,
        has_reply: entry.replied,
    }
}

impl Now<'_> {
    fn unknown(&self) -> Likely {
        if self.is_stale { Likely::NotYet } else { Likely::Untranslated }
    }
}

/// The table as it is now.
struct Now<'a> {
    table: &'a Table,
    likely: &'a Likelies,
    is_stale: bool,
    generation: u64,
}

impl Translations for Now<'_> {
    fn outgoing(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        self.table.outgoing(protocol, local, remote)
    }

    fn incoming(&self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        self.table.incoming(protocol, local, remote)
    }

    fn likely_outgoing(&self, protocol: Protocol, local: IpAddr, remote: SocketAddr) -> Likely {
        self.likely.outgoing.get(&(protocol, local, remote)).map_or_else(|| self.unknown(), Ways::likely)
    }

    fn likely_incoming(&self, protocol: Protocol, local: SocketAddr, remote: IpAddr) -> Likely {
        self.likely.incoming.get(&(protocol, remote, local)).map_or_else(|| self.unknown(), Ways::likely)
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

/// Translations by what is left of a connection when its client's port is not known: protocol, the other end's address, and
/// the server's address as this end has it.
type Index = HashMap<(Protocol, IpAddr, SocketAddr), Ways>;

/// How connections are translated that are alike but for their client's port: most of them one way.
#[derive(Debug)]
struct Ways {
    first: (Translation, u32),
    others: Vec<(Translation, u32)>,
}

impl Ways {
    fn note(&mut self, translation: Translation) {
        let mut known = std::iter::once(&mut self.first).chain(&mut self.others);
        if let Some((_, count)) = known.find(|(way, _)| *way == translation) {
            *count = count.saturating_add(1);
        } else if self.others.len() + 1 < WAYS_MAX {
            self.others.push((translation, 1));
        }
    }

    fn likely(&self) -> Likely {
        if self.others.is_empty() {
            return Likely::As(self.first.0);
        }
        let mut ways: Vec<_> = std::iter::once(&self.first).chain(&self.others).copied().collect();
        // The table has them in no order.
        ways.sort_unstable_by_key(|(way, _)| (way.destination, way.source));
        Likely::Several(ways)
    }
}

#[derive(Debug, Default)]
struct Likelies {
    made_at: Option<Instant>,
    outgoing: Index,
    incoming: Index,
}

impl Likelies {
    fn is_due(&self, now: Instant, entries: usize) -> bool {
        let age = self.made_at.map(|at| now.saturating_duration_since(at));
        entries <= SMALL || age.is_none_or(|age| age >= LIKELY_BEAT)
    }

    /// Whether what is not in it may be in the table by now.
    fn is_stale(&self, now: Instant, entries: usize) -> bool {
        entries > SMALL && self.made_at.is_none_or(|at| at != now)
    }

    fn of(table: &Table, now: Instant) -> Self {
        let mut all = Self { made_at: Some(now), ..Self::default() };
        for entry in table.entries().filter(|entry| entry.is_translated()) {
            let Entry { original, reply, .. } = entry;
            // Ports of clients are left out: that is what these are asked for without.
            let clientless = |address: SocketAddr| SocketAddr::new(address.ip(), 0);
            let goes = Translation { source: clientless(reply.destination), destination: reply.source };
            note(&mut all.outgoing, (original.protocol, original.source.ip(), original.destination), goes);
            let comes = Translation { source: clientless(original.source), destination: original.destination };
            note(&mut all.incoming, (reply.protocol, reply.destination.ip(), reply.source), comes);
        }
        all
    }
}

fn note(index: &mut Index, key: (Protocol, IpAddr, SocketAddr), translation: Translation) {
    let ways = index.entry(key).or_insert(Ways { first: (translation, 0), others: Vec::new() });
    ways.note(translation);
}

#[cfg(test)]
mod tests {
    use super::*;
    use conntrack::{Change, Tuple};

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A masqueraded, redirected connection: client, what it names, who serves, as whom the client comes.
    fn entry(client: &str, named: &str, server: &str, visitor: &str) -> Entry {
        let tuple = |source: &str, destination: &str| Tuple {
            protocol: Protocol::Tcp,
            source: at(source),
            destination: at(destination),
        };
        Entry {
            original: tuple(client, named),
            reply: tuple(server, visitor),
            zone: 0,
            replied: true,
            assured: true,
            closed: false,
            bytes: None,
        }
    }

    #[test]
    fn connections_without_their_clients_port_are_translated_if_all_such_are_alike() {
        let now = Instant::now();
        let mut table = Table::default();
        let entries = [
            entry("172.17.0.2:4000", "10.0.0.9:80", "172.17.0.9:8000", "172.17.0.1:4000"),
            entry("172.17.0.2:4001", "10.0.0.9:80", "172.17.0.9:8000", "172.17.0.1:4001"),
            // One service, two servers.
            entry("172.17.0.2:4002", "10.96.0.1:443", "172.17.0.5:443", "172.17.0.2:4002"),
            entry("172.17.0.2:4004", "10.96.0.1:443", "172.17.0.5:443", "172.17.0.2:4004"),
            entry("172.17.0.2:4003", "10.96.0.1:443", "172.17.0.6:443", "172.17.0.2:4003"),
            // Another client that comes as the same visitor.
            entry("172.17.0.3:4000", "10.0.0.9:81", "172.17.0.9:8001", "172.17.0.1:4000"),
            entry("172.17.0.4:4000", "10.0.0.9:81", "172.17.0.9:8001", "172.17.0.1:4001"),
        ];
        for entry in entries {
            table.apply(Change::Seen(entry), now);
        }
        let likely = Likelies::of(&table, now);
        let now = Now { table: &table, likely: &likely, is_stale: false, generation: 0 };
        let way = |source: &str, destination: &str| Translation { source: at(source), destination: at(destination) };
        let translation = |source: &str, destination: &str| Likely::As(way(source, destination));
        let several = |ways: [(&str, &str, u32); 2]| {
            Likely::Several(ways.map(|(source, destination, count)| (way(source, destination), count)).into())
        };
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let outgoing = [
            ("172.17.0.2", "10.0.0.9:80", translation("172.17.0.1:0", "172.17.0.9:8000")),
            (
                "172.17.0.2",
                "10.96.0.1:443",
                several([("172.17.0.2:0", "172.17.0.5:443", 2), ("172.17.0.2:0", "172.17.0.6:443", 1)]),
            ),
            ("172.17.0.8", "10.0.0.9:80", Likely::Untranslated),
        ];
        for (local, remote, want) in outgoing {
            assert_eq!(now.likely_outgoing(Protocol::Tcp, ip(local), at(remote)), want, "{local} to {remote}");
        }
        let incoming = [
            ("172.17.0.9:8000", "172.17.0.1", translation("172.17.0.2:0", "10.0.0.9:80")),
            (
                "172.17.0.9:8001",
                "172.17.0.1",
                several([("172.17.0.3:0", "10.0.0.9:81", 1), ("172.17.0.4:0", "10.0.0.9:81", 1)]),
            ),
            ("172.17.0.9:8000", "10.1.1.1", Likely::Untranslated),
        ];
        for (local, remote, want) in incoming {
            assert_eq!(now.likely_incoming(Protocol::Tcp, at(local), ip(remote)), want, "{remote} to {local}");
        }
    }

    #[test]
    fn a_large_table_is_indexed_now_and_then() {
        let start = Instant::now();
        let made = Likelies { made_at: Some(start), ..Likelies::default() };
        let cases = [(0, SMALL, true), (0, SMALL + 1, false), (2, SMALL + 1, true)];
        for (seconds, entries, want) in cases {
            assert_eq!(made.is_due(start + Duration::from_secs(seconds), entries), want, "{entries} after {seconds} s");
        }
        assert!(Likelies::default().is_due(start, SMALL + 1), "never made");
        let later = start + Duration::from_millis(1);
        assert!(made.is_stale(later, SMALL + 1) && !made.is_stale(start, SMALL + 1) && !made.is_stale(later, SMALL));
    }
}
