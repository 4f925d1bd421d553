//! The map most tests look at: `client → web → api → redis` on a Docker network of their own.

use super::dockerd::Dockerd;
use super::sockets::Awaited;

/// The containers, in the direction of their connections.
pub(crate) const NAMES: [&str; 4] = ["client", "web", "api", "redis"];

/// All edges there are between them.
pub(crate) const EDGES: [(&str, &str); 3] = [("client", "web"), ("web", "api"), ("api", "redis")];

/// Starts the four; when it returns, three long-lived connections join them.
///
/// Each server forks a process per connection, inetd's way: the listener and the owner of the
/// connection are two processes of one container.
pub(crate) fn start(docker: &Dockerd) {
    docker.docker(&["network", "create", "shop"]);
    let network = ["--network", "shop"];
    docker.run_server("redis", &network, 6379);
    docker.run("api", &network, &["nc", "-ll", "-p", "9000", "-e", "nc", "redis", "6379"]);
    docker.wait_socket("api", Awaited::Listener(9000));
    docker.run("web", &network, &["nc", "-ll", "-p", "80", "-e", "nc", "api", "9000"]);
    docker.wait_socket("web", Awaited::Listener(80));
    docker.run_client("client", &network, "web", 80);
    docker.wait_socket("api", Awaited::ConnectionTo(6379));
}
