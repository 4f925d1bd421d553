//! The scenarios, played.

use std::collections::BTreeSet;
use std::time::Duration;

use super::figure::Figure;
use super::ledger::Spread;
use super::meter::{Reading, Usage};
use super::network::address;
use super::relay::Misdeed;
use super::scenario::{Outcome, Scenario};
use super::workload::{Facts, Pace};
use super::world::World;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// How often each host publishes when all do: what a probe finds new.
const PUBLISH_EVERY: Duration = Duration::from_secs(3);

/// Bits a second of the slow peer's line, half of what all others publish meanwhile.
const SLOW_LINE: u64 = 1_000_000;

/// How long anything may take to become equal before it is a failure.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs one scenario in a world of its own.
#[must_use]
pub fn run(scenario: Scenario, hosts: u32, seed: u64) -> Outcome {
    let mut stage = Stage::open(scenario, hosts, seed);
    stage.play();
    stage.close()
}

struct Stage {
    scenario: Scenario,
    world: World,
    figures: Vec<Figure>,
    violations: Vec<String>,
}

impl Stage {
    fn open(scenario: Scenario, hosts: u32, seed: u64) -> Stage {
        let world = World::new(scenario.settings(hosts, seed));
        Stage { scenario, world, figures: Vec::new(), violations: Vec::new() }
    }

    fn play(&mut self) {
        match self.scenario {
            Scenario::Join => self.join(),
            Scenario::Storm => self.storm(),
            scenario => {
                self.gather();
                self.play_gathered(scenario);
            }
        }
        self.finish();
    }

    fn play_gathered(&mut self, scenario: Scenario) {
        match scenario {
            Scenario::Join | Scenario::Storm => {}
            Scenario::Idle => self.idle(),
            Scenario::One => self.steady(Pace::One(self.world.settings.hosts / 2, 100 * MS), 20 * SECOND),
            Scenario::Rotating => self.steady(Pace::Rotating(100 * MS), 20 * SECOND),
            Scenario::All | Scenario::Wan => self.steady(Pace::All(PUBLISH_EVERY), self.steady_for()),
            Scenario::Churn => self.churn(),
            Scenario::Crash => self.crash(World::kill),
            Scenario::PowerLoss => self.crash(World::cut_power),
            Scenario::Flap => self.flap(),
            Scenario::Silence => self.silence(),
            Scenario::Partition => self.partition(),
            Scenario::Slow => self.slow(),
            Scenario::Liars(misdeed) => self.liars(misdeed),
            Scenario::Restart => self.restart(),
            Scenario::Forget => self.forget(),
        }
    }

    /// Everybody is there, and nothing is new to anybody.
    fn gather(&mut self) {
        let joined = self.world.gather(PATIENCE);
        self.demand(joined.is_some(), || "the hosts do not come to hold the same at the start".to_owned());
        self.world.run_for(15 * SECOND);
    }

    /// As many publications from a large mesh in a short time as from a small one in a long time.
    fn steady_for(&self) -> Duration {
        match self.world.settings.hosts {
            ..=20 => MINUTE,
            21..=200 => 30 * SECOND,
            _ => 6 * SECOND,
        }
    }

    fn join(&mut self) {
        let joiner = self.world.settings.hosts - 1;
        self.world.gather_but(joiner, PATIENCE);
        self.world.run_for(10 * SECOND);
        let joined = self.world.time_to_join(&[joiner], PATIENCE);
        let target = self.by_size([0.5, 1.5, 10.0]);
        self.duration("until all hold all", joined, target);
    }

    fn storm(&mut self) {
        self.world.start(0, Vec::new());
        self.world.run_for(5 * SECOND);
        let rest: Vec<u32> = (1..self.world.settings.hosts).collect();
        let joined = self.world.time_to_join(&rest, PATIENCE);
        let target = self.by_size([0.5, 1.5, 10.0]);
        self.duration("until all hold all", joined, target);
        self.world.run_for(20 * SECOND);
    }

    fn idle(&mut self) {
        let before = self.world.read_meters();
        self.world.run_for(self.steady_for().max(20 * SECOND));
        let usage = self.world.used_since(&before);
        let mean = usage.rates.iter().sum::<f64>() / usage.rates.len() as f64;
        let target = self.by_size([500.0, 2_000.0, 20_000.0]);
        self.figure("in and out, mean", "B/s", mean, target, 5.0);
        self.figure("in and out, busiest", "B/s", usage.rates.last().copied().unwrap_or(0.0), None, 20.0);
        let both_ways = 2.0 / (usage.seconds * f64::from(self.world.settings.hosts));
        for (name, bytes) in usage.classes() {
            self.figure(name, "B/s", bytes * both_ways, None, 5.0);
        }
        self.links();
    }

    fn links(&mut self) {
        let (most, mean) = self.world.degrees();
        self.figure("links, mean", "", mean, None, 0.1);
        self.figure("links, most", "", most as f64, Some(16.0), 1.0);
    }

    fn steady(&mut self, pace: Pace, duration: Duration) {
        self.world.set_pace(pace);
        self.world.run_for(2 * PUBLISH_EVERY);
        let (spread, usage) = self.measure(|stage| stage.world.run_for(duration));
        self.spreading(&spread);
        self.copies(&spread, &usage, self.by_size([1.05, 1.05, 1.05]), self.by_size([1.3, 1.3, 1.4]));
    }

    /// Measures what happens in `during`.
    fn measure(&mut self, during: impl FnOnce(&mut Stage)) -> (Spread, Usage) {
        self.world.ledger.measure(true);
        let before: Reading = self.world.read_meters();
        during(self);
        self.world.ledger.measure(false);
        let usage = self.world.used_since(&before);
        self.world.run_for(3 * SECOND);
        (self.world.ledger.take_spread(), usage)
    }

    fn spreading(&mut self, spread: &Spread) {
        let target = match self.scenario {
            Scenario::Wan => self.by_size([150.0, 250.0, 400.0]),
            Scenario::One | Scenario::Rotating | Scenario::All => self.by_size([20.0, 30.0, 60.0]),
            _ => None,
        };
        self.figure("to another, p50", "ms", percentile_ms(&spread.delays_us, 50), None, 0.3);
        self.figure("to another, p99", "ms", percentile_ms(&spread.delays_us, 99), None, 1.0);
        self.figure("to all, p50", "ms", percentile_ms(&spread.full_us, 50), None, 0.5);
        self.figure("to all, p99", "ms", percentile_ms(&spread.full_us, 99), target, 2.0);
        self.figure("to all, slowest", "ms", percentile_ms(&spread.full_us, 100), None, 50.0);
    }

    fn copies(&mut self, spread: &Spread, usage: &Usage, copies_max: Option<f64>, wire_max: Option<f64>) {
        let due = spread.due_bytes as f64;
        self.figure("payload copies A", "", usage.tally.payload_received as f64 / due, copies_max, 0.01);
        self.figure("all bytes W", "", usage.sent_bytes as f64 / due, wire_max, 0.01);
        for (name, bytes) in usage.classes() {
            self.figure(name, "", bytes / due, None, 0.01);
        }
        self.figure("duplicate pushes", "", usage.tally.duplicates as f64, None, 10.0);
    }

    fn churn(&mut self) {
        let hosts = self.world.settings.hosts;
        self.world.set_pace(Pace::All(PUBLISH_EVERY));
        self.world.run_for(2 * PUBLISH_EVERY);
        let duration = match hosts {
            ..=20 => 15 * MINUTE,
            21..=200 => MINUTE,
            _ => 12 * SECOND,
        };
        let (spread, usage) = self.measure(|stage| stage.world.churn(100 * MINUTE, 5 * SECOND, duration));
        self.spreading(&spread);
        self.copies(&spread, &usage, self.by_size([1.15, 1.2, 1.3]), None);
    }

    fn crash(&mut self, end: fn(&mut World, u32)) {
        let count = (self.world.settings.hosts as usize / 10).max(1);
        for host in self.world.some_hosts(count) {
            end(&mut self.world, host);
            self.world.witness.died(host, self.world.now);
        }
        self.world.run_for(30 * SECOND);
        let noticed = self.world.witness.noticed_after(&self.world.live());
        let target = self.by_size([5.0, 5.0, 10.0]);
        let at = |percent: usize| noticed.get((noticed.len() - 1) * percent / 100).copied().flatten();
        self.duration("noticed, p50", at(50), None);
        self.duration("noticed, last", at(100), target);
    }

    fn flap(&mut self) {
        self.world.set_pace(Pace::All(PUBLISH_EVERY));
        self.world.run_for(2 * PUBLISH_EVERY);
        let (spread, usage) = self.measure(|stage| stage.world.flap(20 * SECOND, stage.steady_for()));
        self.spreading(&spread);
        self.copies(&spread, &usage, None, None);
    }

    fn silence(&mut self) {
        self.world.set_pace(Pace::All(PUBLISH_EVERY));
        self.world.run_for(2 * PUBLISH_EVERY);
        let (spread, usage) = self.measure(|stage| {
            let tenth = stage.world.standing_links() / 10;
            for link in stage.world.some_links(tenth.max(1)) {
                stage.world.silence(link);
            }
            stage.world.run_for(15 * SECOND);
        });
        self.spreading(&spread);
        self.copies(&spread, &usage, None, None);
    }

    fn partition(&mut self) {
        let hosts = self.world.settings.hosts;
        self.world.set_pace(Pace::All(PUBLISH_EVERY));
        self.world.run_for(2 * PUBLISH_EVERY);
        let half: Vec<u32> = (0..hosts).filter(|host| host % 2 == 1).collect();
        self.world.part(&half, 1);
        self.world.run_for(MINUTE);
        self.world.heal();
        let healed = self.world.run_until_equal(PATIENCE);
        self.duration("until all hold all", healed, self.by_size([1.0, 2.0, 5.0]));
        self.world.run_for(20 * SECOND);
        self.links();
    }

    fn slow(&mut self) {
        let hosts = self.world.settings.hosts;
        let slow = hosts / 2;
        let Facts { value_bytes, changed, .. } = self.world.settings.facts;
        let published_bits = f64::from(hosts) * f64::from(changed) * value_bytes as f64 * 8.0;
        let every = Duration::from_secs_f64(published_bits / (2.0 * SLOW_LINE as f64));
        self.world.ledger.leave_out(slow);
        self.world.narrow(slow, SLOW_LINE);
        self.world.set_pace(Pace::All(every));
        self.world.run_for(20 * SECOND);
        let (spread, usage) = self.measure(|stage| stage.world.run_for(stage.steady_for() / 2));
        self.spreading(&spread);
        self.copies(&spread, &usage, None, None);
        self.world.set_pace(Pace::Idle);
        let caught_up = self.world.run_until_equal(PATIENCE);
        self.duration("slow peer up to date", caught_up, None);
    }

    fn liars(&mut self, misdeed: Misdeed) {
        let count = (self.world.settings.hosts as usize / 10).max(1);
        let liars: BTreeSet<u32> = self.world.some_hosts(count).into_iter().collect();
        for &liar in &liars {
            self.world.corrupt(liar, misdeed);
        }
        self.world.set_pace(Pace::All(PUBLISH_EVERY));
        self.world.run_for(2 * PUBLISH_EVERY);
        let (spread, usage) = self.measure(|stage| stage.world.run_for(stage.steady_for() / 2));
        self.spreading(&spread);
        self.copies(&spread, &usage, None, None);
        let witness = &self.world.witness;
        let wronged: u64 =
            witness.accusations.iter().filter(|((host, _), _)| !liars.contains(host)).map(|(_, n)| n).sum();
        let unaccused = liars.iter().filter(|liar| !witness.accusers.contains_key(liar)).count();
        self.figure("honest hosts accused", "", wronged as f64, Some(0.0), 0.0);
        let cut_off = if misdeed.is_provable() { Some(0.0) } else { None };
        self.figure("liars not accused", "", unaccused as f64, cut_off, 0.0);
        // Nobody need keep up with who was hung up on; the others must.
        self.world.set_pace(Pace::Idle);
        for liar in liars {
            self.world.kill(liar);
        }
    }

    fn restart(&mut self) {
        let host = self.world.settings.hosts / 2;
        self.world.kill(host);
        self.world.run_for(5 * SECOND);
        self.world.restart(host);
        let known = self.world.run_until_equal(PATIENCE);
        self.duration("until all hold all", known, None);
    }

    fn forget(&mut self) {
        let [dead, sleeper] = self.world.two_hosts();
        self.world.kill(dead);
        self.world.run_for(2 * SECOND);
        self.world.freeze(sleeper);
        self.world.run_for(2 * MINUTE);
        let others: Vec<u32> = self.world.live();
        let forgot = others.iter().filter(|at| self.world.holds(**at, dead)).count();
        self.figure("hold the dead after two minutes", "", forgot as f64, Some(0.0), 0.0);
        self.world.thaw(sleeper);
        self.world.run_for(20 * SECOND);
        let again = others.iter().filter(|at| self.world.holds(**at, dead)).count();
        self.figure("hold the dead again", "", again as f64, Some(0.0), 0.0);
        let lost = others.iter().filter(|at| !self.world.holds(**at, sleeper)).count();
        self.figure("lack the sleeper", "", lost as f64, Some(0.0), 0.0);
        self.world.run_for(2 * MINUTE);
    }

    /// At the end of each scenario nobody says anything new, and all must come to hold the same.
    fn finish(&mut self) {
        self.world.set_pace(Pace::Idle);
        let settled = self.world.run_until_equal(PATIENCE);
        let missing = self.world.ledger.missing();
        self.demand(settled.is_some(), || format!("{missing} states were missed for good"));
        // What the dead said last may take another exchange of digests.
        self.world.run_for(if self.world.settings.hosts <= 200 { MINUTE } else { 10 * SECOND });
        let unequal = self.world.unequal_origins();
        self.demand(unequal == 0, || format!("{unequal} origins are not the same everywhere"));
        let forgotten = self.world.witness.forgotten_alive;
        let may_forget = self.scenario == Scenario::Forget;
        self.demand(forgotten == 0 || may_forget, || format!("the living were forgotten {forgotten} times"));
        let (most, _) = self.world.degrees();
        self.demand(most <= 16, || format!("a host ends with {most} links"));
        let alarms = self.world.witness.false_alarms;
        if !matches!(self.scenario, Scenario::Join | Scenario::Storm) {
            self.figure("false alarms", "", alarms as f64, None, 3.0);
        }
    }

    fn close(mut self) -> Outcome {
        let (count, cases) = self.world.ledger.violations();
        if count > 0 {
            self.violations.push(format!("{count} invariants broken"));
            self.violations.extend(cases.iter().cloned());
        }
        let events = self.world.queue.added();
        Outcome { figures: self.figures, violations: self.violations, events }
    }

    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    fn figure(&mut self, name: &'static str, unit: &'static str, value: f64, target: Option<f64>, slack: f64) {
        let (scenario, hosts) = (self.scenario.name(), self.world.settings.hosts);
        self.figures.push(Figure { scenario, hosts, name, unit, value, target, slack });
    }

    /// What did not happen took as long as one had patience.
    fn duration(&mut self, name: &'static str, took: Option<Duration>, target: Option<f64>) {
        let seconds = took.unwrap_or(PATIENCE).as_secs_f64();
        self.figure(name, "s", seconds, target, 0.05);
    }

    /// The target for so many hosts, if there is one.
    fn by_size(&self, targets: [f64; 3]) -> Option<f64> {
        let size = [10, 100, 1000].into_iter().position(|size| size == self.world.settings.hosts)?;
        Some(targets[size])
    }
}

/// Of values in rising order.
fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    let last = sorted_us.len().saturating_sub(1);
    let rank = (sorted_us.len() * percent).div_ceil(100).saturating_sub(1);
    sorted_us.get(rank.min(last)).map_or(0.0, |us| f64::from(*us) / 1000.0)
}

impl World {
    /// Starts all hosts but one.
    fn gather_but(&mut self, absent: u32, longest: Duration) {
        for host in (0..self.settings.hosts).filter(|host| *host != absent) {
            let names = (0..3).filter(|named| *named != host).map(address).collect();
            self.start(host, names);
            self.run_for(SECOND / self.settings.hosts);
        }
        self.run_until_equal(longest);
    }

    /// Starts hosts that are told of the first one. How long it takes until all hold the same.
    fn time_to_join(&mut self, hosts: &[u32], longest: Duration) -> Option<Duration> {
        for &host in hosts {
            self.start(host, vec![address(0)]);
        }
        self.run_until_equal(longest)
    }

    fn two_hosts(&mut self) -> [u32; 2] {
        let some = self.some_hosts(2);
        [some[0], some[1]]
    }
}
