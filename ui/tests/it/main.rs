//! The HTTP side as clients meet it: a server on a port of its own, real connections, a cluster built from facts.

mod api;
mod edges;
mod harness;
mod page;
mod peers;
mod shutdown;
mod sockets;
