//! `/proc/PID/stat` (proc_pid_stat(5)): the one file read of every process in every round.

/// `PF_KTHREAD` of the kernel's `sched.h`, in the `flags` field.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What is used of a process's stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Name of the executable or what the thread calls itself; any bytes but NUL.
    pub comm: &'a [u8],
    /// One letter; `Z` is a zombie.
    pub state: u8,
    /// Pid of its parent.
    pub parent: u32,
    /// Whether it runs in the kernel only.
    pub is_kernel_thread: bool,
    /// CPU time in user and kernel mode, in clock ticks.
    pub cpu_ticks: u64,
    /// Number of threads.
    pub threads: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Resident set, in pages.
    pub resident_pages: u64,
    /// Where its stack began. Every exec picks another address, so a new one shows an exec that kept the name. Zero where
    /// we may not look.
    pub stack_start: u64,
}

impl<'a> Stat<'a> {
    /// Parses the line; `None` if it is malformed. The name may hold spaces, parentheses and newlines: it ends at the
    /// last `)`, since all that follows is numbers.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let open = line.iter().position(|b| *b == b'(')?;
        let close = line.iter().rposition(|b| *b == b')')?;
        let comm = line.get(open + 1..close)?;
        // Fields by their number in the manual; the state is the third.
        let mut fields = Fields { rest: line.get(close + 1..)?, next: 3 };
        let state = *fields.skip_to(3)?.first()?;
        let parent = number(fields.skip_to(4)?)?;
        let flags = u32::try_from(number(fields.skip_to(9)?)?).ok()?;
        let user_ticks = number(fields.skip_to(14)?)?;
        let kernel_ticks = number(fields.skip_to(15)?)?;
        let threads = number(fields.skip_to(20)?)?;
        let start = number(fields.skip_to(22)?)?;
        let resident_pages = number(fields.skip_to(24)?)?;
        let stack_start = number(fields.skip_to(28)?)?;
        Some(Self {
            comm,
            state,
            parent: u32::try_from(parent).ok()?,
            is_kernel_thread: flags & KERNEL_THREAD != 0,
            cpu_ticks: user_ticks.saturating_add(kernel_ticks),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            start,
            resident_pages,
            stack_start,
        })
    }

    /// Whether it has ended: it is a row in its parent's books only.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Fields between spaces.
struct Fields<'a> {
    rest: &'a [u8],
    next: u32,
}

impl<'a> Fields<'a> {
    fn skip_to(&mut self, field: u32) -> Option<&'a [u8]> {
        loop {
            let start = self.rest.iter().position(|b| !b.is_ascii_whitespace())?;
            let text = &self.rest[start..];
            let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
            let (found, rest) = text.split_at(end);
            self.rest = rest;
            self.next += 1;
            if self.next > field {
                return Some(found);
            }
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(comm: &str) -> String {
        format!(
            "4711 ({comm}) S 17 4711 17 0 -1 4194304 100 0 0 0 75 25 0 0 20 0 3 0 88301 45174784 512 18446744073709551615 \
             1 2 140731 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        )
    }

    #[test]
    fn a_name_may_hold_anything() {
        for comm in ["sh", "tmux: server", "(sd-pam)", "a) S 1 (b", ")", "", "new\nline", "ünï"] {
            let line = line(comm);
            let want = Stat {
                comm: comm.as_bytes(),
                state: b'S',
                parent: 17,
                is_kernel_thread: false,
                cpu_ticks: 100,
                threads: 3,
                start: 88301,
                resident_pages: 512,
                stack_start: 140_731,
            };
            assert_eq!(Stat::parse(line.as_bytes()), Some(want), "{comm:?}");
        }
    }

    #[test]
    fn kernel_threads_and_zombies_are_told_apart() {
        let kernel = line("kthreadd").replace("4194304", "2129984");
        assert!(Stat::parse(kernel.as_bytes()).is_some_and(|stat| stat.is_kernel_thread && !stat.has_ended()));
        let zombie = line("sh").replace(" S ", " Z ");
        assert!(Stat::parse(zombie.as_bytes()).is_some_and(|stat| stat.has_ended()));
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        let whole = line("sh");
        let short = whole.split(" 18446744073709551615").next().expect("a part");
        let cases: [&[u8]; 8] = [
            b"",
            b"(",
            b")(",
            b"1 (sh",
            b"1 (sh)",
            b"1 (sh) S x",
            short.as_bytes(),
            b"1 (\xff) S 99999999999 1 1 0 -1 1",
        ];
        for case in cases {
            assert_eq!(Stat::parse(case), None, "{:?}", String::from_utf8_lossy(case));
        }
        for cut in 0..whole.len() {
            let _ = Stat::parse(&whole.as_bytes()[..cut]);
        }
    }
}
