//! What the kernel says of the whole machine: `/proc/stat`, `/proc/meminfo`, `/proc/loadavg` (proc(5)).

use std::fs;
use std::path::Path;

use procfs::{FromRead, LoadAverage};
use topology::Timestamp;

/// What the machine has, and since when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// When it booted. Read once: the kernel derives it from the wall clock, so it moves when that is set.
    pub booted_at: Timestamp,
    /// Online CPUs, one at least.
    pub cpus: u32,
    /// Memory it can use, in bytes; zero if unknown.
    pub memory_bytes: u64,
}

impl Kernel {
    /// Reads it; what cannot be read is zero, or one CPU.
    #[must_use]
    pub fn read(proc_root: &Path) -> Self {
        let stat = fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
        let mut kernel = Self { booted_at: booted_at(&stat).unwrap_or_default(), cpus: 1, memory_bytes: 0 };
        kernel.take_capacity(&stat, proc_root);
        kernel
    }

    /// Reads CPUs and memory again: they can be plugged in and out of virtual machines.
    pub fn refresh_capacity(&mut self, proc_root: &Path) {
        let stat = fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
        self.take_capacity(&stat, proc_root);
    }

    fn take_capacity(&mut self, stat: &str, proc_root: &Path) {
        let meminfo = fs::read_to_string(proc_root.join("meminfo")).unwrap_or_default();
        self.cpus = cpus(stat).unwrap_or(self.cpus);
        self.memory_bytes =
            Memory::parse(&meminfo).map_or(self.memory_bytes, |memory| memory.total_kib.saturating_mul(1024));
    }
}

fn booted_at(stat: &str) -> Option<Timestamp> {
    let seconds: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Timestamp(seconds.saturating_mul(1000)))
}

/// Number of `cpuN` lines; `None` if there is none.
fn cpus(stat: &str) -> Option<u32> {
    let of_one =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    u32::try_from(stat.lines().filter(of_one).count()).ok().filter(|count| *count > 0)
}

/// CPU time of the whole machine since boot, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// All of it.
    pub total: u64,
    /// Not spent in programs or the kernel: idle, and idle while a disk is waited for.
    pub idle: u64,
}

impl CpuTimes {
    /// Parses `/proc/stat`. Guests' time is in `user` and `nice` too, so what follows `steal` is left out.
    #[must_use]
    pub fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_ascii_whitespace();
        let times = fields.take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let idle = times.get(3)?.saturating_add(times.get(4).copied().unwrap_or(0));
        Some(Self { total: times.into_iter().fold(0, u64::saturating_add), idle })
    }

    /// Share not idle since `before`, in hundredths of a percent. Zero if no time has passed; the kernel's idle time may
    /// even step back a little.
    #[must_use]
    pub fn busy_since(self, before: Self) -> u32 {
        let total = self.total.saturating_sub(before.total);
        let idle = self.idle.saturating_sub(before.idle).min(total);
        let share = u128::from(total - idle) * 10_000 / u128::from(total.max(1));
        u32::try_from(share).unwrap_or(10_000)
    }
}

/// The machine's memory, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the kernel can use.
    pub total_kib: u64,
    /// What programs could get without swapping.
    pub available_kib: u64,
}

impl Memory {
    /// Parses `/proc/meminfo`. Kernels before 3.14 do not say what is available: free and cached pages stand for it.
    #[must_use]
    pub fn parse(meminfo: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let older = || ["MemFree", "Buffers", "Cached"].into_iter().filter_map(field).fold(0, u64::saturating_add);
        Some(Self { total_kib: field("MemTotal")?, available_kib: field("MemAvailable").unwrap_or_else(older) })
    }
}

/// The load average over one minute of `/proc/loadavg`, in hundredths.
#[must_use]
pub fn load1_hundredths(loadavg: &str) -> Option<u32> {
    let load = LoadAverage::from_read(loadavg.as_bytes()).ok()?;
    let hundredths = (load.one * 100.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within its bounds")]
    (0.0..=1e9).contains(&hundredths).then_some(hundredths as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "\
cpu  100 10 50 800 40 5 5 10 30 3
cpu0 50 5 25 400 20 3 2 5 0 0
cpu1 50 5 25 400 20 2 3 5 0 0
intr 1 2 3
ctxt 4
btime 1795339800
";

    #[test]
    fn stat_tells_boot_time_cpus_and_times() {
        assert_eq!(booted_at(STAT), Some(Timestamp(1_795_339_800_000)));
        assert_eq!(cpus(STAT), Some(2));
        assert_eq!(CpuTimes::parse(STAT), Some(CpuTimes { total: 1020, idle: 840 }));
        for text in ["", "cpu", "cpu ", "cpu  1 2", "cpu  1 2 x 4", "cpu  -1 2 3 4"] {
            assert_eq!((CpuTimes::parse(text), booted_at(text), cpus(text)), (None, None, None), "{text:?}");
        }
    }

    #[test]
    fn busy_is_what_was_not_idle() {
        let cases = [
            // (total, idle) before and now, hundredths of a percent
            ((1000, 800), (1200, 900), 5000),
            ((1000, 800), (1200, 800), 10_000),
            ((1000, 800), (1200, 1000), 0),
            ((1000, 800), (1200, 799), 10_000),
            ((1000, 800), (1000, 800), 0),
            ((1000, 800), (500, 100), 0),
            ((0, 0), (u64::MAX, u64::MAX / 2), 5000),
        ];
        for ((total, idle), now, want) in cases {
            let before = CpuTimes { total, idle };
            assert_eq!(CpuTimes { total: now.0, idle: now.1 }.busy_since(before), want, "{before:?} to {now:?}");
        }
    }

    #[test]
    fn memory_and_load_are_parsed() {
        let memory = |total_kib, available_kib| Some(Memory { total_kib, available_kib });
        let cases = [
            ("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:   600 kB\n", memory(1000, 600)),
            ("MemTotal:  1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 3 kB\nSwapCached: 7 kB", memory(1000, 123)),
            ("MemTotal: x kB", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(Memory::parse(text), want, "{text:?}");
        }
        let loads = [
            ("0.52 0.58 0.59 1/97 4711\n", Some(52)),
            ("12.05 1.00 1.00 1/97 4711", Some(1205)),
            ("1.5", None),
            ("x.yz", None),
            ("", None),
            ("99999999999.00 0.58 0.59 1/97 4711", None),
        ];
        for (text, want) in loads {
            assert_eq!(load1_hundredths(text), want, "{text:?}");
        }
    }
}
