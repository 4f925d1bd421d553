//! Synthetic facts with the disorder of real ones: ids that are hashes, pids and times that follow no rule. What a
//! compressor makes of the plain synthetic ones, whose ids are mostly zeros, would be too good to be true.

use topology::fact::{Fact, Owner};
use topology::gauges::Gauges;
use topology::{ContainerId, ImageId, ProcessId, Timestamp};

/// A number's well-mixed double (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A host's own disorder.
#[derive(Clone, Copy, Debug)]
pub struct Disorder(
    /// Which host's: another one has other ids, pids and values.
    pub u64,
);

impl Disorder {
    /// The fact with disorder in it; equal facts stay equal.
    #[must_use]
    pub fn of(self, fact: Fact) -> Fact {
        match fact {
            Fact::Container(mut it) => {
                it.id = self.container(&it.id);
                it.image_id = it.image_id.as_ref().map(image);
                it.created_at = self.moment(it.created_at, it.id.prefix());
                it.started_at = it.started_at.map(|at| self.moment(at, it.id.prefix() + 1));
                it.init_pid = it.init_pid.map(|pid| self.process(ProcessId { pid, start: 1 }).pid);
                Fact::Container(it)
            }
            Fact::Image(mut it) => {
                it.id = image(&it.id);
                Fact::Image(it)
            }
            Fact::Process(mut it) => {
                it.id = self.process(it.id);
                it.container = it.container.as_ref().map(|id| self.container(id));
                Fact::Process(it)
            }
            Fact::Listener(mut it) => {
                it.owners = it.owners.into_iter().map(|id| self.process(id)).collect();
                Fact::Listener(it)
            }
            Fact::Flow(mut it) => {
                if let Owner::Process(id) = it.key.owner {
                    it.key.owner = Owner::Process(self.process(id));
                }
                it.first_seen = self.moment(it.first_seen, u64::from(it.serial));
                Fact::Flow(it)
            }
            Fact::Gauges(it) => Fact::Gauges(self.gauges(it)),
            same @ (Fact::Host(_) | Fact::Namespace(_) | Fact::RemoteName(_) | Fact::Services(_) | Fact::Status(_)) => {
                same
            }
        }
    }

    fn mix(self, number: u64) -> u64 {
        mix(mix(self.0) ^ number)
    }

    /// # Panics
    /// Never: hexadecimal digits make an id.
    fn container(self, id: &ContainerId) -> ContainerId {
        ContainerId::new(&digits(self.0, id.as_str())).expect("hexadecimal digits make an id")
    }

    fn process(self, id: ProcessId) -> ProcessId {
        let start = self.mix(u64::from(id.pid));
        ProcessId { pid: 300 + u32::try_from(start >> 44).expect("20 bits"), start: start % 100_000_000 }
    }

    fn moment(self, at: Timestamp, of: u64) -> Timestamp {
        Timestamp(at.0 + self.mix(of) % 1_000_000_000)
    }

    /// Values of at most so many bits, most of them small.
    fn spread(self, column: &mut [u64], of: u64, bits: u64) {
        for (row, value) in column.iter_mut().enumerate() {
            let random = self.mix(mix(of) ^ row as u64);
            *value = (random >> (64 - bits)) >> (random % bits);
        }
    }

    fn spread_u32(self, column: &mut [u32], of: u64, bits: u64) {
        let mut wide = vec![0; column.len()];
        self.spread(&mut wide, of, bits.min(31));
        for (narrow, wide) in column.iter_mut().zip(wide) {
            *narrow = u32::try_from(wide).expect("31 bits at most");
        }
    }

    fn gauges(self, block: Gauges) -> Gauges {
        match block {
            Gauges::Host(it) => Gauges::Host(it),
            Gauges::Containers(mut it) => {
                it.containers.iter_mut().for_each(|prefix| *prefix = self.mix(*prefix));
                it.containers.sort_unstable();
                self.spread_u32(&mut it.cpu, it.at.0, 13);
                self.spread(&mut it.memory_kib, it.at.0 + 1, 24);
                Gauges::Containers(it)
            }
            Gauges::Processes(mut it) => {
                it.pids = it.pids.iter().map(|pid| self.process(ProcessId { pid: *pid, start: 0 }).pid).collect();
                it.pids.sort_unstable();
                self.spread_u32(&mut it.cpu, it.at.0 + 2, 13);
                self.spread(&mut it.memory_kib, it.at.0 + 3, 22);
                self.spread_u32(&mut it.open_files, it.at.0 + 4, 10);
                Gauges::Processes(it)
            }
            Gauges::Flows(mut it) => {
                self.spread_u32(&mut it.open, it.at.0 + 5, 6);
                Gauges::Flows(it)
            }
        }
    }
}

/// An id in the place of another: 64 digits that follow from it.
fn digits(seed: u64, id: &str) -> String {
    let seed = id.bytes().fold(seed, |seed, byte| mix(seed ^ u64::from(byte)));
    (0..4).map(|word| format!("{:016x}", mix(seed ^ word))).collect()
}

/// Images are the same on all hosts.
///
/// # Panics
/// Never: hexadecimal digits make an id.
fn image(id: &ImageId) -> ImageId {
    ImageId::new(&digits(0, id.as_str())).expect("hexadecimal digits make an id")
}
