//! A small data centre for one test: a network, hosts on it, a Docker daemon and a `scope` on each.
//!
//! Every test builds its own and drops it at its end, so no test sees another's. All of it lives in
//! namespaces: nothing is added to the machine's own network, and one end of file takes it all down.
//!
//! ```text
//!   test thread, browser ── lab0 (bridge, 10.77.0.1) ──┬── eth0 of host "alpha" (10.77.0.2)
//!          the lab's network namespace                 └── eth0 of host "beta"  (10.77.0.3)
//! ```

pub(crate) mod api;
pub(crate) mod chain;
pub(crate) mod command;
pub(crate) mod cut;
pub(crate) mod dockerd;
pub(crate) mod engine;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod lab;
pub(crate) mod logs;
pub(crate) mod mesh;
pub(crate) mod named;
pub(crate) mod peer;
pub(crate) mod prerequisites;
pub(crate) mod process;
pub(crate) mod sockets;
pub(crate) mod wait;
pub(crate) mod watch;
