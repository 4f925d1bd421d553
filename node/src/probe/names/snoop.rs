//! Reads DNS answers as they pass, and the questions before them, within a share of a CPU. What there is no time for is
//! dropped in the kernel, where that is cheapest, and told.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::answer::Message;
use super::packets::{CAPTURE_MAX, OpenError, Packets};
use super::question::Questions;
use super::worker::Shared;
use crate::probe::pace::thread_cpu_time;

/// Share of one CPU reading may take: some 2,000 answers a second, each with its question. Bytes would not do as a measure: a
/// few can be made to take long.
pub(super) const BUDGET: f64 = 0.02;

/// CPU time saved up for a burst.
const SAVED_MAX: Duration = Duration::from_millis(100);

/// Rest after all was read: what comes meanwhile is one wake-up. The first answer after a while is read at once.
const GAP: Duration = Duration::from_millis(100);

/// Packets read before others get a turn.
const BATCH: usize = 64;

/// How often the kernel is asked whether it dropped any.
const DROPS_EVERY: Duration = Duration::from_secs(1);

/// Time until a socket that failed is opened again; twice as long after each failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// Reads answers in the network namespace of process `door`, for ever.
pub(super) async fn run(proc_root: &Path, door: u32, shared: &Shared) {
    let mut retry = RETRY_MIN;
    loop {
        let opened = Packets::open(proc_root, door).and_then(|(packets, cpu_time)| {
            shared.spend(cpu_time);
            packets.watched().map_err(OpenError::Failed)
        });
        let error = match opened {
            Ok(packets) => {
                shared.snoops();
                let began = Instant::now();
                let error = read(&packets, shared).await;
                if began.elapsed() > RETRY_MAX {
                    retry = RETRY_MIN;
                }
                OpenError::Failed(error)
            }
            Err(error) => error,
        };
        tracing::debug!(%error, ?retry, "no DNS answers are read");
        shared.fails_to_snoop(error.to_string());
        sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// Reads until the socket fails.
async fn read(packets: &AsyncFd<Packets>, shared: &Shared) -> io::Error {
    let mut buffer = vec![0; CAPTURE_MAX];
    let mut questions = Questions::new();
    let mut allowance = Allowance::new(Instant::now());
    let mut drops_at = Instant::now();
    loop {
        let mut ready = match packets.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let began = thread_cpu_time();
        let is_all = match read_batch(packets.get_ref(), &mut buffer, &mut questions, shared) {
            Ok(is_all) => is_all,
            Err(error) => return error,
        };
        if is_all {
            ready.clear_ready();
        }
        let now = Instant::now();
        if now.saturating_duration_since(drops_at) >= DROPS_EVERY {
            drops_at = now;
            if packets.get_ref().has_dropped() {
                shared.dropped(now);
            }
        }
        shared.account();
        let owed = allowance.spend(now, thread_cpu_time().saturating_sub(began));
        sleep(if is_all { owed.max(GAP) } else { owed }).await;
    }
}

/// Reads what is there, up to a batch. Returns whether that was all.
fn read_batch(packets: &Packets, buffer: &mut [u8], questions: &mut Questions, shared: &Shared) -> io::Result<bool> {
    for _ in 0..BATCH {
        let Some(packet) = packets.next(buffer)? else { return Ok(true) };
        hear(packet, Instant::now(), questions, shared);
    }
    Ok(false)
}

/// Takes down what is asked, and what it is answered: of answers nobody asked for, not even the records are read.
fn hear(packet: &[u8], now: Instant, questions: &mut Questions, shared: &Shared) {
    match Message::in_packet(packet) {
        Some(Message::Question(question)) => questions.asked(now, question),
        Some(Message::Answer(question, records)) if questions.answered(now, &question) => {
            if let Some(answer) = records.answer(question) {
                shared.with(|known| known.cache.hear(now, &answer));
            }
        }
        _ => {}
    }
}

/// CPU time that may be used. No clock: time is an argument.
#[derive(Debug)]
struct Allowance {
    /// In seconds; negative if more was used than there was.
    saved: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { saved: SAVED_MAX.as_secs_f64(), at: now }
    }

    /// Takes what was used up to `now`. Returns how long it takes to earn what is owed.
    fn spend(&mut self, now: Instant, used: Duration) -> Duration {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * BUDGET;
        self.saved = (self.saved + earned).min(SAVED_MAX.as_secs_f64()) - used.as_secs_f64();
        self.at = now;
        Duration::try_from_secs_f64(-self.saved / BUDGET).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_beyond_the_savings_is_waited_for() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let cases: [(&[(u64, u64)], u64); 6] = [
            // uses, each at a time and so long, in ms; then the wait, in ms
            (&[(0, 0)], 0),
            (&[(0, 100)], 0),
            (&[(0, 102)], 100),
            (&[(0, 100), (0, 1)], 50),
            // 50 ms earn one.
            (&[(0, 100), (50, 1)], 0),
            (&[(0, 0), (3_600_000, 101)], 50),
        ];
        for (uses, want) in cases {
            let mut allowance = Allowance::new(start);
            let waits: Vec<_> = uses.iter().map(|(at, used)| allowance.spend(start + ms(*at), ms(*used))).collect();
            let got = waits.last().map(|wait| (wait.as_secs_f64() * 1000.0).round());
            assert_eq!(got, Some(want as f64), "{uses:?}");
        }
    }
}
