//! One stretch of following: from opening the socket to a failure, or to a change that takes another socket.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use topology::fact::SourceState;

use super::schedule::{POLL_EVERY, REPAIR_EVERY, Repair};
use super::{Health, Shared};
use crate::probe::connections::LOSS_SHOWN;
use crate::probe::connections::conntrack::reader::{has_ipvs, setting};
use crate::probe::connections::conntrack::{Change, ENTRIES_MAX, Entry, Error, Filter, Listener, Options, Reader};
use crate::probe::connections::sock_diag::Extent;
use crate::probe::pace::thread_cpu_time;

/// After events were read, others are left to gather for so long: one wake-up for many. What happened is in the table that
/// much later.
const GATHER: Duration = Duration::from_millis(20);
/// How often the health is told if nothing but the CPU time changes.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is kept from one stretch to the next.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    proc_root: PathBuf,
    teller: &'a watch::Sender<Health>,
    told_at: Option<Instant>,
    /// The health is not quite what was told.
    is_behind: bool,
    reader: Reader,
    entries: Vec<Entry>,
    changes: Vec<Change>,
    losses: u64,
    resyncs: u64,
    lost_at: Option<Instant>,
    /// What the table had forgotten at the last dump.
    forgotten: u64,
    is_too_small: bool,
}

impl<'a> Session<'a> {
    /// Counts on from what was told.
    pub(super) fn new(shared: &'a Shared, proc_root: &Path, teller: &'a watch::Sender<Health>) -> Self {
        let told = teller.borrow();
        let (losses, resyncs) = (told.losses, told.resyncs);
        drop(told);
        Self {
            shared,
            proc_root: proc_root.to_owned(),
            teller,
            told_at: None,
            is_behind: false,
            reader: Reader::default(),
            entries: Vec::new(),
            changes: Vec::new(),
            losses,
            resyncs,
            lost_at: None,
            forgotten: 0,
            is_too_small: false,
        }
    }

    /// Follows until it is stopped, or until events are turned on or off.
    ///
    /// # Errors
    /// Whatever keeps it from going on.
    pub(super) fn run(&mut self) -> Result<(), Error> {
        if self.has_events()? { self.listen() } else { self.poll() }
    }

    fn has_events(&self) -> Result<bool, Error> {
        setting(&self.proc_root, "netfilter/nf_conntrack_count").ok_or(Error::Absent)?;
        // A kernel that has no events has no such setting.
        Ok(setting(&self.proc_root, "netfilter/nf_conntrack_events").is_some_and(|events| events > 0))
    }

    fn filter(&self) -> Filter {
        Filter { has_ipvs: has_ipvs(&self.proc_root) }
    }

    /// With events.
    fn listen(&mut self) -> Result<(), Error> {
        let mut filter = self.filter();
        let mut listener = Listener::open(Options::new(filter))?;
        let mut repair = Repair::new(REPAIR_EVERY, Instant::now());
        let mut has_caught_up = true;
        while !self.shared.is_stopped() {
            // Not before the queue is empty: after a loss the kernel adds nothing to it until then.
            if has_caught_up && repair.wait(Instant::now()).is_zero() {
                if !self.has_events()? {
                    return Ok(());
                }
                let wanted = self.filter();
                if wanted != filter {
                    listener.filter(wanted)?;
                    filter = wanted;
                }
                self.resync(&mut repair)?;
            }
            let received = listener.receive(&mut self.changes)?;
            self.apply();
            if received.lost {
                self.losses += 1;
                self.lost_at = Some(Instant::now());
                repair.lost();
            }
            self.tell(EVENTS);
            has_caught_up = !received.more;
            if received.datagrams == 0 {
                self.shared.wait(Some(listener.as_fd()), repair.wait(Instant::now()).min(self.until_told()));
            } else if has_caught_up {
                self.shared.wait(None, GATHER);
            }
        }
        Ok(())
    }

    /// Without events.
    fn poll(&mut self) -> Result<(), Error> {
        let mut repair = Repair::new(POLL_EVERY, Instant::now());
        while !self.shared.is_stopped() {
            if repair.wait(Instant::now()).is_zero() {
                if self.has_events()? {
                    return Ok(());
                }
                self.resync(&mut repair)?;
            }
            self.tell(DUMPS);
            self.shared.wait(None, repair.wait(Instant::now()).min(self.until_told()));
        }
        Ok(())
    }

    fn resync(&mut self, repair: &mut Repair) -> Result<(), Error> {
        let before = thread_cpu_time();
        self.entries.clear();
        let extent = self.reader.dump(ENTRIES_MAX, &mut self.entries)?;
        let mut table = self.shared.table();
        table.resync(&self.entries, extent, Instant::now());
        let forgotten = table.forgotten();
        drop(table);
        self.entries = Vec::new(); // as large as the table, and not needed for a minute
        self.is_too_small = extent == Extent::Truncated || forgotten > self.forgotten;
        self.forgotten = forgotten;
        self.resyncs += 1;
        repair.dumped(Instant::now(), thread_cpu_time().saturating_sub(before));
        Ok(())
    }

    fn apply(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut table = self.shared.table();
        for change in self.changes.drain(..) {
            table.apply(change, now);
        }
    }

    /// How long there is nothing new to tell, if nothing happens.
    fn until_told(&self) -> Duration {
        let until_forgiven = self.lost_at.map(|at| LOSS_SHOWN.saturating_sub(at.elapsed()));
        let until_forgiven = until_forgiven.filter(|left| !left.is_zero()).unwrap_or(Duration::MAX);
        if self.is_behind { TELL_EVERY.min(until_forgiven) } else { until_forgiven }
    }

    /// Says that it is off for now, and why.
    pub(super) fn say_off(&mut self, reason: String) {
        self.say(SourceState::Off, "", reason);
    }

    fn tell(&mut self, mode: &'static str) {
        let mut reasons = Vec::new();
        if mode == DUMPS {
            reasons.push("net.netfilter.nf_conntrack_events is 0: short flows are missing; set it to 2".to_owned());
        }
        if self.lost_at.is_some_and(|at| at.elapsed() < LOSS_SHOWN) {
            reasons.push("events came faster than they could be read: short flows are missing".to_owned());
        }
        if self.is_too_small {
            reasons.push(format!("too many connections are tracked: only {ENTRIES_MAX} are held"));
        }
        let state = if reasons.is_empty() { SourceState::Ok } else { SourceState::Degraded };
        self.say(state, mode, reasons.join("; "));
    }

    /// Tells the health, and the log what is new of it.
    fn say(&mut self, state: SourceState, mode: &'static str, reason: String) {
        let told = self.teller.borrow();
        let is_other = (told.state, told.mode, &told.reason) != (state, mode, &reason);
        let is_same = !is_other && (told.losses, told.resyncs) == (self.losses, self.resyncs);
        drop(told);
        self.is_behind = is_same && self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY);
        if self.is_behind {
            return;
        }
        self.told_at = Some(Instant::now());
        match state {
            _ if !is_other => {}
            SourceState::Ok => tracing::info!(mode, "conntrack is followed"),
            _ => tracing::warn!(?state, mode, reason, "conntrack is not followed as it should be"),
        }
        let (losses, resyncs, cpu) = (self.losses, self.resyncs, thread_cpu_time());
        self.teller.send_replace(Health { state, mode, reason, losses, resyncs, cpu });
    }
}

const EVENTS: &str = "events";
const DUMPS: &str = "dumps";
