//! The eBPF source: loads the tracer, drains it, tells how it does, and loads it anew when it fails.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use topology::fact::{Protocol, Source, SourceState};
use topology::{Netns, ProcessId};

use super::LOSS_SHOWN;
use super::ebpf::{self, Tracer, Watcher};
use super::netns::{Attention, NAMESPACES_MAX};
use super::tracker::{Ended, Sums, Task};
use crate::probe::backoff::Backoff;
use crate::probe::pace::{Nudge, share};
use crate::probe::{Name, Update};

/// How often cost is told.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What the map lacks without it.
const LACK: &str = "connections shorter than a second are told of less surely, and whose they were mostly not";

/// Connections that ended, as the kernel tells.
#[derive(Debug)]
pub(super) struct KernelEnds {
    proc_root: PathBuf,
    is_wanted: bool,
    tracer: Option<(Tracer, Watcher)>,
    /// Namespaces with relations that are new, since they were last asked for.
    news: Arc<Mutex<HashSet<Netns>>>,
    /// Those of the last time.
    last_news: HashSet<Netns>,
    backoff: Backoff,
    told: Option<Source>,
    told_losses: Option<u64>,
    /// Losses of tracers that failed since.
    losses_before: u64,
    losses: u64,
    lost_at: Option<Instant>,
    /// What the last answer about who holds which socket lacked.
    holders_lack: Option<String>,
    cpu_time: Duration,
    reported_at: Option<Instant>,
}

impl KernelEnds {
    pub(super) fn new(proc_root: &Path, is_wanted: bool) -> Self {
        Self {
            proc_root: proc_root.to_owned(),
            is_wanted,
            tracer: None,
            news: Arc::default(),
            last_news: HashSet::new(),
            backoff: Backoff::default(),
            told: None,
            told_losses: None,
            losses_before: 0,
            losses: 0,
            lost_at: None,
            holders_lack: None,
            cpu_time: Duration::ZERO,
            reported_at: None,
        }
    }

    /// Whether it tells what ends.
    pub(super) fn is_active(&self) -> bool {
        self.tracer.is_some()
    }

    /// Where connections are worth a look: where something is new, as far as it tells, or was the last time. What it tells of
    /// is in the kernel's tables a moment later.
    pub(super) fn attention(&mut self) -> Attention {
        let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        let last = std::mem::replace(&mut self.last_news, news.clone());
        if self.is_active() { Attention::Only(&news | &last) } else { Attention::Everywhere }
    }

    /// Who holds which socket, by inode, of all processes of the host.
    pub(super) fn holders(&mut self) -> Option<Vec<(u64, ProcessId)>> {
        let (tracer, _) = self.tracer.as_mut()?;
        let mut holders = Vec::new();
        let answer = tracer.holders(&mut holders).map_err(|error| error.to_string());
        self.holders_lack = lack_of_holders(&answer);
        // Where it fails descriptors are read: that takes longer, and is as good.
        answer.is_ok().then_some(holders)
    }

    /// What ended since the last call; `updates` gets what there is to say. Where it does not run it is tried when it is
    /// time; `nudge` is called when there is news.
    pub(super) fn take(&mut self, now: Instant, nudge: &Nudge, updates: &mut Vec<Update>) -> Vec<Ended> {
        let mut source = Source { state: SourceState::Ok, mode: "tp_btf".to_owned(), reason: String::new() };
        if !self.is_wanted {
            source = off("disabled", format!("switched off by --no-ebpf: {LACK}"));
        } else if self.tracer.is_none() && self.backoff.is_due(now) {
            if let Err(reason) = self.load(now, nudge) {
                source = off("", format!("{reason}; {LACK}"));
            }
        } else if self.tracer.is_none() {
            // As it was said.
            source = self.told.clone().unwrap_or_else(|| off("", LACK.to_owned()));
        }
        let mut ended = Vec::new();
        if self.tracer.as_ref().is_some_and(|(_, watcher)| watcher.has_ended()) {
            self.fail(now);
            source = off("", format!("nobody waits for its news any more; {LACK}"));
        }
        if let Some((tracer, _)) = &mut self.tracer {
            match tracer.drain(&mut ended) {
                Ok(drained) => {
                    if drained.losses > self.losses {
                        self.lost_at = Some(now);
                    }
                    self.losses = drained.losses;
                    self.cpu_time += drained.cpu_time.unwrap_or_default();
                }
                Err(error) => {
                    self.fail(now);
                    source = off("", format!("{error}; {LACK}"));
                }
            }
        }
        if source.state == SourceState::Ok {
            self.degrade(now, &mut source);
        }
        self.report(now, source, updates);
        ended.into_iter().filter(|it| !it.is_guess).map(of_kernel).collect()
    }

    fn load(&mut self, now: Instant, nudge: &Nudge) -> Result<(), String> {
        let (nudge, news) = (nudge.clone(), Arc::clone(&self.news));
        let loaded = Tracer::load(&self.proc_root).map_err(|error| error.to_string());
        let watched = loaded.and_then(|(tracer, told)| {
            let watched = ebpf::watch(told, move |namespaces| {
                let mut news = news.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody asks for more.
                let room = NAMESPACES_MAX.saturating_sub(news.len());
                news.extend(namespaces.iter().take(room));
                drop(news);
                nudge.nudge();
            });
            let watcher = watched.map_err(|error| error.to_string())?;
            Ok((tracer, watcher))
        });
        match watched {
            Ok(tracer) => {
                self.tracer = Some(tracer);
                self.backoff.began(now);
                Ok(())
            }
            Err(reason) => {
                self.backoff.failed(now);
                Err(reason)
            }
        }
    }

    /// Says what it lacks where it runs. No reason has a count: each new one would be a new fact (I3).
    fn degrade(&self, now: Instant, source: &mut Source) {
        let has_lost = self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < LOSS_SHOWN);
        let lost = has_lost.then_some("more connections ended than it could tell of: counts are too low");
        let reasons: Vec<&str> = lost.into_iter().chain(self.holders_lack.as_deref()).collect();
        if !reasons.is_empty() {
            source.state = SourceState::Degraded;
            source.reason = reasons.join("; ");
        }
    }

    fn fail(&mut self, now: Instant) {
        self.tracer = None;
        self.holders_lack = None;
        self.losses_before += std::mem::take(&mut self.losses);
        self.backoff.failed(now);
    }

    fn report(&mut self, now: Instant, source: Source, updates: &mut Vec<Update>) {
        if self.told.as_ref() != Some(&source) {
            if source.state == SourceState::Off && self.is_wanted {
                tracing::warn!(source = Name::Ebpf.as_str(), reason = source.reason, "off; tried again later");
            }
            self.told = Some(source.clone());
            updates.push(Update::Status(Name::Ebpf, source));
        }
        let losses = self.losses_before + self.losses;
        if Some(losses) != self.told_losses {
            self.told_losses = Some(losses);
            updates.push(Update::Lost(Name::Ebpf, losses));
        }
        let reported_at = *self.reported_at.get_or_insert(now);
        let elapsed = now.saturating_duration_since(reported_at);
        if elapsed >= REPORT_EVERY {
            self.reported_at = Some(now);
            updates.push(Update::Cost(Name::Ebpf, share(std::mem::take(&mut self.cpu_time), elapsed)));
        }
    }
}

fn off(mode: &str, reason: String) -> Source {
    Source { state: SourceState::Off, mode: mode.to_owned(), reason }
}

/// What is lacking in an answer about who holds which socket: whether it was all, or why there is none.
fn lack_of_holders(answer: &Result<bool, String>) -> Option<String> {
    match answer {
        Ok(true) => None,
        Ok(false) => Some("more sockets are held than it lists: whose some connections are is not known".to_owned()),
        Err(error) => Some(format!("{error}: whose connections are is read from /proc, which takes longer")),
    }
}

fn of_kernel(ended: ebpf::Ended) -> Ended {
    let task = ended.process.map(|task| Task { id: task.id, ancestors: task.ancestors.clone() });
    Ended {
        netns: ended.netns,
        task,
        protocol: Protocol::Tcp,
        direction: ended.direction,
        local: ended.local,
        remote: ended.remote,
        port: ended.port,
        sums: Sums { count: ended.count, sent: ended.sent, received: ended.received, retransmits: ended.retransmits },
        rtt_micros: ended.rtt_micros.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_lacks_is_told_as_long_as_it_does() {
        let start = Instant::now();
        let refused = || Err("refused".to_owned());
        let cases = [
            // seconds since a loss, the last answer about holders, words of the reason
            (None, Ok(true), vec![]),
            (Some(29), Ok(true), vec!["counts"]),
            (Some(30), Ok(true), vec![]),
            (None, Ok(false), vec!["more sockets"]),
            (None, refused(), vec!["refused: whose"]),
            (Some(0), refused(), vec!["counts", "refused: whose"]),
        ];
        for (lost, answer, want) in cases {
            let mut kernel = KernelEnds::new(Path::new("/proc"), true);
            kernel.lost_at = lost.map(|_| start);
            kernel.holders_lack = lack_of_holders(&answer);
            let mut source = Source { state: SourceState::Ok, mode: String::new(), reason: String::new() };
            kernel.degrade(start + Duration::from_secs(lost.unwrap_or(0)), &mut source);
            let state = if want.is_empty() { SourceState::Ok } else { SourceState::Degraded };
            assert_eq!(source.state, state, "{lost:?} {answer:?}");
            assert!(want.iter().all(|words| source.reason.contains(words)), "{lost:?} {answer:?}: {}", source.reason);
        }
    }
}
