//! `scope`: flags to configuration, run, exit code.

mod args;
mod detach;
mod launch;
mod peer_address;
mod run_file;
mod status;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Launch(launch) if launch.detach => detach::detach(&launch),
        Command::Launch(launch) => launch::launch(*launch),
        Command::Stop(running) => stop::stop(&running.state_dir()),
        Command::Status(running) => status::status(&running.state_dir()),
        Command::Version => {
            println!("scope {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scope: {error:#}");
            ExitCode::FAILURE
        }
    }
}
