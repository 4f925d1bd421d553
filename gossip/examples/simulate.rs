//! Runs the mesh in the simulator and prints what came of it, the targets beside it.
//!
//! `cargo run --release -p gossip --example simulate -- [--peers 10,100,1000] [--scenario all|NAME,…] [--seed N]
//! [--check FILE] [--accept FILE]`
//!
//! It ends with an error if an invariant was broken, or a figure is worse than in the file to check; a target that is
//! missed is only marked. `--accept` writes the figures to a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{fs, io};

use gossip::sim::{self, Figure, Scenario};

struct Arguments {
    peers: Vec<u32>,
    scenarios: Vec<Scenario>,
    seed: u64,
    check: Option<PathBuf>,
    accept: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\nscenarios: {}", names().join(", "));
            return ExitCode::from(2);
        }
    };
    let mut figures = Vec::new();
    let mut violations = 0;
    for &peers in &arguments.peers {
        for &scenario in &arguments.scenarios {
            let began = Instant::now();
            let outcome = sim::run(scenario, peers, arguments.seed);
            let (name, seconds) = (scenario.name(), began.elapsed().as_secs_f32());
            eprintln!("{peers} peers, {name}: {} events in {seconds:.1} s", outcome.events);
            for violation in &outcome.violations {
                eprintln!("  {violation}");
            }
            violations += outcome.violations.len();
            figures.extend(outcome.figures);
        }
    }
    print!("{}", sim::table(&figures));
    match compare(&arguments, &figures) {
        Ok(worse) => {
            worse.iter().for_each(|line| eprintln!("worse: {line}"));
            if violations + worse.len() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What is worse than in the file to check, after writing the one to be accepted.
fn compare(arguments: &Arguments, figures: &[Figure]) -> io::Result<Vec<String>> {
    if let Some(path) = &arguments.accept {
        fs::write(path, sim::baseline(figures))?;
    }
    match &arguments.check {
        Some(path) => Ok(sim::worse_than(&fs::read_to_string(path)?, figures)),
        None => Ok(Vec::new()),
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (peers, scenarios) = (vec![10, 100], Scenario::ALL.to_vec());
    let mut arguments = Arguments { peers, scenarios, seed: 1, check: None, accept: None };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is not a number"));
        match flag.as_str() {
            "--peers" => arguments.peers = value.split(',').map(number).collect::<Result<_, _>>()?,
            "--seed" => arguments.seed = number(&value)?.into(),
            "--check" => arguments.check = Some(value.into()),
            "--accept" => arguments.accept = Some(value.into()),
            "--scenario" if value == "all" => {}
            "--scenario" => arguments.scenarios = value.split(',').map(scenario).collect::<Result<_, _>>()?,
            _ => return Err(format!("{flag} is not known")),
        }
    }
    match arguments.peers.iter().find(|peers| !(5..=4000).contains(*peers)) {
        Some(peers) => Err(format!("{peers} peers are too few or too many, take 5 to 4000")),
        None => Ok(arguments),
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name.trim());
    found.ok_or_else(|| format!("there is no scenario {name:?}"))
}

fn names() -> Vec<&'static str> {
    Scenario::ALL.into_iter().map(Scenario::name).collect()
}
