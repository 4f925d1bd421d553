//! The real program on real hosts: its own Docker daemon, containers that talk, a browser.
//!
//! Each test makes its own network and hosts out of namespaces (`harness`), which needs root and what
//! `make setup` installs. `cargo test` leaves this binary out; `make e2e` and `make test` run it, and
//! `make e2e NAME=published` runs the tests with that in their names.
//! Logs and pictures of a run stay in `target/e2e/`.

mod harness;

mod clock;
mod command_line;
mod containers;
mod cross_host;
mod daemon;
mod discovery;
mod edges;
mod launch;
mod matrix;
mod mesh;
mod page;
mod partition;
mod scale;
mod secret;
