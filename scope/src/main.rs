//! `scope`: flags to configuration, run, exit code.

mod args;
mod detach;
mod launch;
mod run_file;
mod say;
mod secret;
mod status;
mod stop;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, SecretCommand};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Launch(launch) if launch.detach => detach::detach(&launch),
        Command::Launch(launch) => launch::launch(*launch),
        Command::Stop(running) => stop::stop(&running),
        Command::Status(wanted) => status::status(&wanted),
        Command::Secret(SecretCommand::New) => secret::new(),
        Command::Version => say::say(concat!("scope ", env!("CARGO_PKG_VERSION"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody can be told, the exit code says it.
            let _ = writeln!(io::stderr(), "scope: {error:#}");
            ExitCode::FAILURE
        }
    }
}
