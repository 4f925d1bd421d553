//! What both ends tell, joined: each way two parties can be connected, with address translation seen and not seen.

use topology::cluster::Writer;

use crate::drawn::wrong;
use crate::fixture::{cluster, peer, relations, write};

/// Compares the relations of a text with what they should be, a line each.
fn check(scenario: &str, text: &str, want: &str) {
    let lines = |text: &str| {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let got = relations(&cluster(text));
    assert!(lines(&got) == lines(want), "{scenario}\n--- got\n{got}\n--- want{want}");
    assert_eq!(wrong(&cluster(text)), Vec::<String>::new(), "{scenario}");
}

#[test]
fn on_one_host_both_ends_are_one_relation() {
    let cases = [
        (
            "two containers of a bridge",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client 172.17.0.2 init=20
            container web 172.17.0.3 init=30
            process 20 curl in client
            process 30 nginx in web listen 80
            flow 20 -> 172.17.0.3:80
            flow 30:80 <- 172.17.0.2",
            "client/curl@a -> web/nginx@a tcp 80 at 172.17.0.3 [a1|a2|] confirmed",
        ),
        (
            "the same, of no runtime that tells: addresses are the namespaces'",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client
            container web
            namespace client 172.17.0.2/16 fe80::2/64
            namespace web 172.17.0.3/16 fe80::3/64
            process 20 curl in client
            process 30 nginx in web listen 80
            flow 20 -> 172.17.0.3:80
            flow 30:80 <- 172.17.0.2
            flow 20 -> [fe80::3]:80
            flow 30:80 <- fe80::2
            flow net:client -> [fe80::9]:80",
            "client/curl@a -> web/nginx@a tcp 80 at 172.17.0.3 [a1 a3|a2 a4|] confirmed",
        ),
        (
            "a server that has not accepted yet, or whose process was not found",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client 172.17.0.2 init=20
            container web 172.17.0.3 init=30
            process 20 curl in client
            process 30 nginx in web
            flow 20 -> 172.17.0.3:80
            flow net:web:80 <- 172.17.0.2",
            "client/curl@a -> web@a tcp 80 at 172.17.0.3 [a1|a2|] confirmed",
        ),
        (
            "loopback of the host, of a container and of two that share a namespace",
            "host a 10.0.0.1/24
            container web init=30
            container side network=web
            process 20 psql
            process 21 postgres listen 5432
            process 30 nginx in web listen 5432
            process 31 agent in side
            flow 20 -> 127.0.0.1:5432
            flow 21:5432 <- 127.0.0.1
            flow 31 -> [::1]:5432
            flow 30:5432 <- ::1",
            "psql@a -> postgres@a tcp 5432 at 127.0.0.1 [a1|a2|] confirmed
            side/agent@a -> web/nginx@a tcp 5432 at ::1 [a3|a4|] confirmed",
        ),
        (
            "a container of the host's network, and a process of none",
            "host a 10.0.0.1/24 172.17.0.1/16
            container edge network=host
            container web 172.17.0.3 init=30
            process 20 envoy in edge listen 8000
            process 21 curl
            process 30 nginx in web listen 80
            flow 20 -> 172.17.0.3:80
            flow 30:80 <- 172.17.0.1
            flow 21 -> 10.0.0.1:8000
            flow 20:8000 <- 10.0.0.1",
            "edge/envoy@a -> web/nginx@a tcp 80 at 172.17.0.3 [a1|a2|] confirmed
            curl@a -> edge/envoy@a tcp 8000 at 10.0.0.1 [a3|a4|] confirmed",
        ),
        (
            "a namespace that is no container's",
            "host a 10.0.0.1/24
            namespace red 10.9.0.1/30
            namespace blue 10.9.0.2/30
            process 20 nc at red
            process 30 nc-l at blue listen 7000
            flow 20 -> 10.9.0.2:7000
            flow 30:7000 <- 10.9.0.1",
            "nc@a -> nc-l@a tcp 7000 at 10.9.0.2 [a1|a2|] confirmed",
        ),
        (
            "UDP beside TCP on one port",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client 172.17.0.2 init=20
            process 20 dig in client
            process 30 dns listen udp/53
            process 31 dns-tcp listen 53
            flow 20 -> 10.0.0.1:53/udp
            flow 30:53/udp <- 172.17.0.2
            flow 20 -> 10.0.0.1:53",
            "client/dig@a -> dns-tcp@a tcp 53 at 10.0.0.1 [a3||]
            client/dig@a -> dns@a udp 53 at 10.0.0.1 [a1|a2|] confirmed",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

#[test]
fn a_published_port_is_one_relation_whoever_comes_through_it() {
    let cases = [
        (
            "from the same host, by its proxy",
            "host a 10.0.0.1/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 20 curl
            process 30 nginx in web listen 80
            process 40 docker-proxy listen 8080
            flow 20 -> 127.0.0.1:8080
            flow 30:80 <- 172.17.0.1
            flow 40:8080 <- 127.0.0.1
            flow 40 -> 172.17.0.3:80",
            "curl@a -> web/nginx@a tcp 8080 at 127.0.0.1 [a1|a3|] confirmed",
        ),
        (
            "from the same host, translated, and connection tracking seen",
            "host a 10.0.0.1/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 20 curl
            process 30 nginx in web listen 80
            process 40 docker-proxy listen 8080
            flow 20 -> 172.17.0.3:80 via 10.0.0.1:8080
            flow 30:80 <- 10.0.0.1 via 10.0.0.1:8080",
            "curl@a -> web/nginx@a tcp 80 at 172.17.0.3 [a1|a2|] confirmed",
        ),
        (
            "hairpin: a container by its host's address to another and to itself, connection tracking seen",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client 172.17.0.2 init=20
            container web 172.17.0.3 publish=8080:80 init=30
            process 20 curl in client
            process 30 nginx in web listen 80
            flow 20 -> 172.17.0.3:80 via 10.0.0.1:8080
            flow 30 -> 172.17.0.3:80 via 10.0.0.1:8080 as 172.17.0.1
            flow 30:80 <- 172.17.0.2 via 10.0.0.1:8080
            flow 30:80 <- 172.17.0.3 via 10.0.0.1:8080",
            "client/curl@a -> web/nginx@a tcp 80 at 172.17.0.3 [a1|a3|] confirmed
            web/nginx@a -> web/nginx@a tcp 80 at 172.17.0.3 [a2|a4|] confirmed",
        ),
        (
            "hairpin, not seen: the web server sees the bridge",
            "host a 10.0.0.1/24 172.17.0.1/16
            container client 172.17.0.2 init=20
            container web 172.17.0.3 publish=8080:80 init=30
            process 20 curl in client
            process 30 nginx in web listen 80
            flow 20 -> 10.0.0.1:8080
            flow 30:80 <- 172.17.0.1",
            "client/curl@a -> web/nginx@a tcp 8080 at 10.0.0.1 [a1|a2|] confirmed",
        ),
        (
            "from another host, with connection tracking",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:8080
            host b 10.0.0.2/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 30 nginx in web listen 80
            flow 30:80 <- 10.0.0.1 via 10.0.0.2:8080",
            "curl@a -> web/nginx@b tcp 8080 at 10.0.0.2 [a1|b1|] confirmed",
        ),
        (
            "from another host, without connection tracking",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:8080
            host b 10.0.0.2/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 30 nginx in web listen 80
            flow 30:80 <- 10.0.0.1",
            "curl@a -> web/nginx@b tcp 8080 at 10.0.0.2 [a1|b1|] confirmed",
        ),
        (
            "from another host, by the proxy alone",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:8080
            host b 10.0.0.2/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 30 nginx in web listen 80
            process 40 docker-proxy listen 8080
            flow 30:80 <- 172.17.0.1
            flow 40:8080 <- 10.0.0.1
            flow 40 -> 172.17.0.3:80",
            "curl@a -> web/nginx@b tcp 8080 at 10.0.0.2 [a1|b2|] confirmed",
        ),
        (
            "Docker says nothing: those who came tell what is published, and where a port is not theirs the proxy's command",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:8080
            flow 20 -> 10.0.0.2:8081
            host b 10.0.0.2/24 172.17.0.1/16
            container web
            container api
            namespace web 172.17.0.3/16
            namespace api 172.17.0.4/16
            process 30 nginx in web listen 80
            process 31 api in api listen 80
            process 40 docker-proxy args -proto,tcp,-host-ip,0.0.0.0,-host-port,8081,-container-ip,172.17.0.4,-container-port,80
            flow 30:80 <- 10.0.0.1 via 10.0.0.2:8080",
            "curl@a -> web/nginx@b tcp 8080 at 10.0.0.2 [a1|b1|] confirmed
            curl@a -> api/api@b tcp 8081 at 10.0.0.2 [a2||]",
        ),
        (
            "from outside",
            "host b 10.0.0.2/24 172.17.0.1/16
            container web 172.17.0.3 publish=8080:80 init=30
            process 30 nginx in web listen 80
            flow 30:80 <- 203.0.113.9 via 10.0.0.2:8080
            flow 30:80 <- 203.0.113.10",
            "Internet -> web/nginx@b tcp 8080 at 203.0.113.9 [|b1|]
            Internet -> web/nginx@b tcp 80 at 203.0.113.10 [|b2|]",
        ),
        (
            "UDP",
            "host a 10.0.0.1/24
            process 20 dig
            flow 20 -> 10.0.0.2:53/udp
            host b 10.0.0.2/24 172.17.0.1/16
            container dns init=30
            namespace dns 172.17.0.3/16
            process 30 dns in dns listen udp/5353
            flow 30:5353/udp <- 10.0.0.1 via 10.0.0.2:53",
            "dig@a -> dns/dns@b udp 53 at 10.0.0.2 [a1|b1|] confirmed",
        ),
        (
            "one port of a host that it balances to two containers: who came from whom is told by the servers",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:80
            host c 10.0.0.3/24
            process 20 curl
            flow 20 -> 10.0.0.2:80
            host b 10.0.0.2/24 172.17.0.1/16
            container one
            container two
            process 30 nginx in one listen 80
            process 31 nginx in two listen 80
            flow 30:80 <- 10.0.0.1 via 10.0.0.2:80
            flow 31:80 <- 10.0.0.1 via 10.0.0.2:80
            flow 31:80 <- 10.0.0.3 via 10.0.0.2:80",
            "curl@a -> one/nginx@b tcp 80 at 10.0.0.2 [|b1|a1] confirmed
            curl@a -> two/nginx@b tcp 80 at 10.0.0.2 [|b2|a1] confirmed
            curl@c -> two/nginx@b tcp 80 at 10.0.0.2 [c1|b3|] confirmed",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

/// Two clients on host a, a server on host b.
fn behind_masquerade(flows: &str) -> String {
    let (of_a, of_b) = flows.split_once('/').expect("flows of a / flows of b");
    let lines = |flows: &str| flows.split(',').map(|flow| format!("\n{}", flow.trim())).collect::<String>();
    format!(
        "host a 10.0.0.1/24 172.17.0.1/16
        container one 172.17.0.2 init=20
        container two 172.17.0.3 init=21
        process 20 curl in one
        process 21 wget in two
        process 22 ssh
        {}
        host b 10.0.0.2/24 172.17.0.1/16
        container near 172.17.0.2 init=40
        process 30 nginx listen 80
        {}",
        lines(of_a),
        lines(of_b)
    )
}

#[test]
fn a_client_behind_its_hosts_masquerade_is_that_client() {
    let cases = [
        (
            "known to be masqueraded",
            "flow 20 -> 10.0.0.2:80 as 10.0.0.1 / flow 30:80 <- 10.0.0.1",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1|b1|] confirmed",
        ),
        (
            "not known",
            "flow 20 -> 10.0.0.2:80 / flow 30:80 <- 10.0.0.1",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1|b1|] confirmed",
        ),
        (
            "one of two",
            "flow 20 -> 10.0.0.2:80, flow 21 -> 10.0.0.2:80 / flow 30:80 <- 10.0.0.1",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1||b1] confirmed
            two/wget@a -> nginx@b tcp 80 at 10.0.0.2 [a2||b1] confirmed",
        ),
        (
            "one of two that are masqueraded as different addresses, one of which no interface has",
            "flow 20 -> 10.0.0.2:80 as 10.0.0.1, flow 21 -> 10.0.0.2:80 as 192.0.2.7 / flow 30:80 <- 10.0.0.1, flow 30:80 <- 192.0.2.7",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1|b1|] confirmed
            two/wget@a -> nginx@b tcp 80 at 10.0.0.2 [a2|b2|] confirmed",
        ),
        (
            "nobody there explains it",
            "flow 20 -> 10.0.0.2:443 as 10.0.0.1 / flow 30:80 <- 10.0.0.1",
            "one/curl@a -> @b tcp 443 at 10.0.0.2 [a1||]
            @a -> nginx@b tcp 80 at 10.0.0.1 [|b1|]",
        ),
        (
            "masqueraded as another address",
            "flow 20 -> 10.0.0.2:80 as 192.0.2.7 / flow 30:80 <- 10.0.0.1",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1||]
            @a -> nginx@b tcp 80 at 10.0.0.1 [|b1|]",
        ),
        (
            "only the client tells",
            "flow 20 -> 10.0.0.2:80 as 10.0.0.1 /",
            "one/curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1||]",
        ),
        (
            "neither masqueraded nor in a bridge that looks like ours",
            "flow 22 -> 10.0.0.2:80 / flow 30:80 <- 10.0.0.1, flow 30:80 <- 172.17.0.2",
            "ssh@a -> nginx@b tcp 80 at 10.0.0.2 [a1|b1|] confirmed
            near@b -> nginx@b tcp 80 at 172.17.0.2 [|b2|]",
        ),
    ];
    for (scenario, flows, want) in cases {
        check(scenario, &behind_masquerade(flows), want);
    }
}

#[test]
fn across_hosts_an_address_is_who_has_it() {
    let cases = [
        (
            "an overlay's addresses, beside equal bridges and equal gateways",
            "host a 10.0.0.1/24 172.18.0.1/16
            container client 10.0.9.3 init=20
            namespace client 10.0.9.3/24 172.18.0.3/16
            namespace overlay 10.0.9.1/24
            process 20 curl in client
            flow 20 -> 10.0.9.4:80
            flow 20 -> 10.0.9.9:80
            flow 20 -> 10.0.9.1:80
            flow 20 -> 172.18.0.4:80
            host b 10.0.0.2/24 172.18.0.1/16
            container web 10.0.9.4 init=30
            namespace web 10.0.9.4/24 172.18.0.4/16
            namespace overlay 10.0.9.1/24
            process 30 nginx in web listen 80
            flow 30:80 <- 10.0.9.3",
            "client/curl@a -> web/nginx@b tcp 80 at 10.0.9.4 [a1|b1|] confirmed",
        ),
        (
            "networks between namespaces that look alike",
            "host a 10.0.0.1/24
            namespace red 10.9.0.1/24
            process 20 nc at red
            flow 20 -> 10.9.0.2:80
            host b 10.0.0.2/24
            namespace red 10.9.0.1/24
            namespace blue 10.9.0.2/24
            process 30 nginx at blue listen 80
            flow 30:80 <- 10.9.0.1",
            "@b -> nginx@b tcp 80 at 10.9.0.1 [|b1|]",
        ),
        (
            "a Docker in a container numbers its containers as the one outside",
            "host a 10.0.0.1/24 172.17.0.1/16
            container web 172.17.0.2 init=20
            container client 172.17.0.3 init=21
            namespace web 172.17.0.2/16
            namespace client 172.17.0.3/16
            namespace inner-web 172.17.0.2/16
            namespace inner-client 172.17.0.3/16
            process 20 nginx in web listen 80
            process 21 curl in client
            process 30 nginx at inner-web listen 80
            process 31 curl at inner-client
            flow 21 -> 172.17.0.2:80
            flow 20:80 <- 172.17.0.3
            flow 31 -> 172.17.0.2:80
            flow 31 -> 172.17.0.1:80
            flow 30:80 <- 172.17.0.3",
            "client/curl@a -> web/nginx@a tcp 80 at 172.17.0.2 [a1|a2|] confirmed",
        ),
        (
            "unique local v6, by a listener of both families; v4 addresses as v6 sockets write them",
            "host a fd00::1/64 10.0.0.1/24
            process 20 curl
            flow 20 -> [fd00::2]:80
            flow 20 -> [::ffff:10.0.0.2]:80
            host b fd00::2/64 10.0.0.2/24
            process 30 nginx listen [::]:80
            flow 30:80 <- fd00::1
            flow 30:80 <- ::ffff:10.0.0.1",
            "curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1 a2|b1 b2|] confirmed",
        ),
        (
            "an address of the link that both hosts have, and one that only the other has",
            "host a 10.0.0.1/24 fe80::1/64
            process 20 curl
            process 21 sshd listen [::]:22
            flow 20 -> [fe80::1]:22
            flow 20 -> [fe80::2]:22
            flow 20 -> 169.254.169.254:80
            host b 10.0.0.2/24 fe80::1/64 fe80::2/64
            process 30 sshd listen [::]:22
            flow 30:22 <- fe80::9",
            "curl@a -> sshd@a tcp 22 at fe80::1 [a1||]",
        ),
        (
            "v6 published",
            "host a fd00::1/64
            process 20 curl
            flow 20 -> [fd00::2]:8080
            host b fd00::2/64 fd01::1/64
            container web fd01::2 publish=[::]:8080:80 init=30
            process 30 nginx in web listen [::]:80
            flow 30:80 <- fd00::1 via [fd00::2]:8080",
            "curl@a -> web/nginx@b tcp 8080 at fd00::2 [a1|b1|] confirmed",
        ),
        (
            "a balancer between: each end names what it sees",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.100:80
            host balancer 10.0.0.5/24 10.0.0.100/32
            host b 10.0.0.2/24
            process 30 nginx listen 80
            flow 30:80 <- 10.0.0.1",
            "curl@a -> @balancer tcp 80 at 10.0.0.100 [a1||]
            @a -> nginx@b tcp 80 at 10.0.0.1 [|b1|]",
        ),
        (
            "a balancer on the client's own host: the flow names the real server, and the service's address is nobody's",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:8080 via 10.96.0.1:80
            host b 10.0.0.2/24
            process 30 nginx listen 8080
            process 31 wget
            flow 30:8080 <- 10.0.0.1
            flow 31 -> 10.0.0.2:8080 via 10.96.0.1:80
            flow 30:8080 <- 10.0.0.2 via 10.96.0.1:80
            host c 10.0.0.3/24
            process 20 curl
            flow 20 -> 10.96.0.1:80",
            "curl@a -> nginx@b tcp 8080 at 10.0.0.2 [a1|b1|] confirmed
            wget@b -> nginx@b tcp 8080 at 10.0.0.2 [b2|b3|] confirmed",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

#[test]
fn what_is_outside_is_a_known_service_or_the_internet() {
    let cases = [
        (
            "by the names its host asked for, by a network, by neither",
            "host a 10.0.0.1/24
            process 20 curl
            process 30 nginx listen 80
            name 203.0.113.9 files.example.com,cdn.example.net
            name 203.0.113.10 sqs.eu-west-1.amazonaws.com
            name 203.0.113.11 reverse=db.example.com
            service .example.com Example
            service 192.0.2.0/24 Office
            service 169.254.169.254/32 metadata
            service 10.0.0.99/32 printer
            flow 20 -> 203.0.113.9:443
            flow 20 -> 203.0.113.10:443
            flow 20 -> 203.0.113.11:5432
            flow 20 -> 203.0.113.12:443
            flow 20 -> 192.0.2.1:443
            flow 20 -> 192.0.2.2:443
            flow 20 -> 169.254.169.254:80
            flow 20 -> 10.0.0.99:631
            flow 20 -> 10.0.0.98:631
            flow 30:80 <- 203.0.113.9
            flow 30:80 <- 192.0.2.1",
            "curl@a -> unknown 10.0.0.0/24 tcp 631 at 10.0.0.98 [a9||]
            curl@a -> service printer tcp 631 at 10.0.0.99 [a8||]
            curl@a -> service metadata tcp 80 at 169.254.169.254 [a7||]
            curl@a -> service Office tcp 443 at 192.0.2.1 [a5||]
            curl@a -> service Office tcp 443 at 192.0.2.2 [a6||]
            curl@a -> service Example tcp 443 at 203.0.113.9 [a1||]
            curl@a -> service sqs.eu-west-1.amazonaws.com tcp 443 at 203.0.113.10 [a2||]
            curl@a -> service Example tcp 5432 at 203.0.113.11 [a3||]
            curl@a -> Internet tcp 443 at 203.0.113.12 [a4||]
            service Office -> nginx@a tcp 80 at 192.0.2.1 [|a11|]
            Internet -> nginx@a tcp 80 at 203.0.113.9 [|a10|]",
        ),
        (
            "rules are everybody's, names are of the host that asked",
            "host a 10.0.0.1/24
            name 203.0.113.9 files.example.com
            service .example.com Example
            host b 10.0.0.2/24
            process 20 curl
            name 203.0.113.10 www.example.com
            flow 20 -> 203.0.113.9:443
            flow 20 -> 203.0.113.10:443",
            "curl@b -> Internet tcp 443 at 203.0.113.9 [b1||]
            curl@b -> service Example tcp 443 at 203.0.113.10 [b2||]",
        ),
        (
            "what a host has is no service",
            "host a 10.0.0.1/24
            process 20 curl
            service 10.0.0.0/8 Office
            name 10.0.0.2 db.example.com
            flow 20 -> 10.0.0.2:80
            flow 20 -> 10.0.0.3:80
            host b 10.0.0.2/24
            process 30 nginx listen 80",
            "curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1||]
            curl@a -> service Office tcp 80 at 10.0.0.3 [a2||]",
        ),
        (
            "a translation outside our hosts: what each end sees is all there is",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 203.0.113.2:80
            host b 10.1.0.2/24
            process 30 nginx listen 80
            flow 30:80 <- 198.51.100.1",
            "curl@a -> Internet tcp 80 at 203.0.113.2 [a1||]
            Internet -> nginx@b tcp 80 at 198.51.100.1 [|b1|]",
        ),
        (
            "an address two hosts have is neither's, and not the Internet's",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.7.0.9:80
            host b 10.0.0.2/24
            container web 10.7.0.9
            host c 10.0.0.3/24
            container web 10.7.0.9",
            "",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

#[test]
fn a_proxy_of_which_it_is_not_known_where_it_leads_is_no_server() {
    let text = "host a 10.0.0.1/24
        process 20 curl
        flow 20 -> 10.0.0.2:8080
        host b 10.0.0.2/24
        process 40 docker-proxy
        flow 40:8080 <- 10.0.0.1";
    check("its container was not found", text, "curl@a -> @b tcp 8080 at 10.0.0.2 [a1||]");
}

#[test]
fn who_is_unknown_is_so_by_network() {
    let cases = [
        (
            "to and from machines without a peer, of the smallest network there is; each address is a relation",
            "host a 10.0.0.1/24 fd00::1/64
            process 20 curl
            process 30 nginx listen 80
            flow 20 -> 10.0.0.98:631
            flow 20 -> 10.0.0.99:631
            flow 20 -> 10.0.7.7:631
            flow 20 -> [fd00::9]:631
            flow 30:80 <- 10.0.0.98
            host b 10.0.0.2/16",
            "curl@a -> unknown 10.0.0.0/24 tcp 631 at 10.0.0.98 [a1||]
            curl@a -> unknown 10.0.0.0/24 tcp 631 at 10.0.0.99 [a2||]
            curl@a -> unknown 10.0.0.0/16 tcp 631 at 10.0.7.7 [a3||]
            curl@a -> unknown fd00::/64 tcp 631 at fd00::9 [a4||]
            unknown 10.0.0.0/24 -> nginx@a tcp 80 at 10.0.0.98 [|a5|]",
        ),
        (
            "a network's own address and that of all in it are no machine's, one of the link has no owner we could look up",
            "host a 10.0.0.1/24 fe80::1/64
            process 20 curl
            flow 20 -> 10.0.0.0:80
            flow 20 -> 10.0.0.255:137/udp
            flow 20 -> 255.255.255.255:67/udp
            flow 20 -> [fe80::9]:80
            flow 20 -> 169.254.9.9:80",
            "",
        ),
        (
            "a container or a namespace that starts or has gone: nobody, on its host and on others",
            "host a 10.0.0.1/24 172.17.0.1/16 172.18.0.1/16
            container web 172.17.0.3 init=30
            namespace red 172.18.0.9/16 10.9.0.1/30
            process 20 curl
            process 30 nginx in web listen 80
            flow 20 -> 172.17.0.4:80
            flow 20 -> 172.18.0.4:80
            flow 20 -> 10.9.0.2:80
            flow 30:80 <- 172.17.0.4
            host b 10.0.0.2/24
            process 20 curl
            flow 20 -> 172.17.0.4:80",
            "",
        ),
        (
            "the asking host's own network comes before a smaller one of another",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.200:80
            host b 10.0.0.130/25",
            "curl@a -> unknown 10.0.0.0/24 tcp 80 at 10.0.0.200 [a1||]",
        ),
        (
            "where containers live in a part of a network, the rest is machines' and a smaller network elsewhere too",
            "host a 192.168.1.1/24 192.168.0.1/16 192.168.16.1/20
            container web 192.168.16.2
            process 20 curl
            flow 20 -> 192.168.1.9:80
            flow 20 -> 192.168.99.9:80
            flow 20 -> 192.168.17.9:80",
            "curl@a -> unknown 192.168.1.0/24 tcp 80 at 192.168.1.9 [a1||]
            curl@a -> unknown 192.168.0.0/16 tcp 80 at 192.168.99.9 [a2||]",
        ),
        (
            "a private address of no network we know is of its block; half the Internet is nobody's network",
            "host a 10.0.0.1/32 128.0.0.1/1 2001::1/16 172.17.0.1/16@docker0
            process 20 curl
            flow 20 -> 10.9.0.7:80
            flow 20 -> 100.64.1.1:80
            flow 20 -> [fd00::9]:80
            flow 20 -> 203.0.113.9:80
            flow 20 -> [2001:db8::9]:80
            flow 20 -> 172.17.0.9:80",
            "curl@a -> unknown 10.0.0.0/8 tcp 80 at 10.9.0.7 [a1||]
            curl@a -> unknown 100.64.0.0/10 tcp 80 at 100.64.1.1 [a2||]
            curl@a -> Internet tcp 80 at 203.0.113.9 [a4||]
            curl@a -> Internet tcp 80 at 2001:db8::9 [a5||]
            curl@a -> unknown fc00::/7 tcp 80 at fd00::9 [a3||]",
        ),
        (
            "two hosts have it, or a balancer stands before it: nobody",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.9:80
            flow 20 -> 10.0.0.100:80
            host b 10.0.0.2/24 10.0.0.9/24
            process 30 nginx listen 80
            flow 30:80 <- 203.0.113.9 via 10.0.0.100:80
            host c 10.0.0.3/24 10.0.0.9/24",
            "Internet -> nginx@b tcp 80 at 203.0.113.9 [|b1|]",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

/// Somebody starts, and what tells of it comes in any order: the edge moves to whom it is of, and is never two.
#[test]
fn an_edge_moves_when_it_becomes_known_whose_an_address_is() {
    let a = "host a 10.0.0.1/24 172.17.0.1/16
        process 20 curl
        flow 20 -> 10.0.0.2:80
        flow 20 -> 172.17.0.3:80";
    let unknown = "curl@a -> unknown 10.0.0.0/24 tcp 80 at 10.0.0.2 [a1||]\n";
    let steps = [
        ("host c 10.0.0.3/24", "unknown 10.0.0.0/24", "unknown 172.17.0.0/16"),
        ("host c 10.0.0.3/24\n namespace red 172.17.0.9/16", "unknown 10.0.0.0/24", ""),
        ("host b 10.0.0.2/24", "@b", ""),
        ("host b 10.0.0.2/24\n process 30 nginx listen 80", "nginx@b", ""),
        ("host a 10.0.0.1/24 172.17.0.1/16\n container web 172.17.0.3", "nginx@b", "web@a"),
    ];
    let mut writer = Writer::default();
    write(&mut writer, a);
    assert!(relations(&writer.cluster()).starts_with(unknown));
    for (told, host_is, container_is) in steps {
        write(&mut writer, told);
        let cluster = writer.cluster();
        let drawn = relations(&cluster);
        let leads_to = |address: &str| {
            let mut lines = drawn.lines().filter(|line| line.contains(&format!(" at {address} ")));
            let line = lines.next().unwrap_or_default();
            assert_eq!(lines.next(), None, "{told}: one edge");
            line.split(" -> ").nth(1).and_then(|it| it.split(" tcp ").next()).unwrap_or_default()
        };
        assert_eq!((leads_to("10.0.0.2"), leads_to("172.17.0.3")), (host_is, container_is), "{told}");
    }
    writer.forget(&peer("b"));
    assert!(relations(&writer.cluster()).starts_with(unknown));
}

/// What others made of a host follows what that host says later.
#[test]
fn what_one_host_says_changes_the_edges_of_another() {
    let a = "host a 10.0.0.1/24
        process 20 curl
        flow 20 -> 10.0.0.2:8080
        flow 20 -> 203.0.113.9:443";
    let b = "host b 10.0.0.2/24
        container web
        namespace web 172.17.0.3/16
        process 30 nginx in web listen 80";
    let cases = [
        ("flow 30:80 <- 198.51.100.7", "@b", "Internet"),
        ("flow 30:80 <- 198.51.100.7 via 10.0.0.2:8080", "web/nginx@b", "Internet"),
        ("flow 30:80 <- 198.51.100.7 via 10.0.0.2:8081", "@b", "Internet"),
        ("flow 30:80 <- 198.51.100.7 \n service 203.0.113.0/24 Office", "@b", "service Office"),
        ("flow 30:80 <- 198.51.100.7 via 203.0.113.9:443", "@b", ""),
        ("flow 30:80 <- 198.51.100.7", "@b", "Internet"),
    ];
    let mut writer = Writer::default();
    write(&mut writer, a);
    for (told, port_leads_to, outside_is) in cases {
        write(&mut writer, &format!("{b}\n{told}"));
        let cluster = writer.cluster();
        let of_a: Vec<String> = relations(&cluster).lines().filter(|it| it.contains("[a")).map(str::to_owned).collect();
        let leads_to = |port: &str| {
            let line = of_a.iter().find(|line| line.contains(&format!(" tcp {port} at ")));
            line.and_then(|line| line.split(" -> ").nth(1)?.split(" tcp ").next()).unwrap_or_default()
        };
        assert_eq!((leads_to("8080"), leads_to("443")), (port_leads_to, outside_is), "{told}");
    }
}

/// As the workers of one host at a database with a process for each connection: nobody can tell whose is whose.
#[test]
fn many_clients_of_many_processes_are_a_relation_each() {
    const MANY: u32 = 500;
    let numbers = || 1000..1000 + MANY;
    let clients = numbers().map(|it| format!("process {it} php-fpm\nflow {it} -> 10.0.0.2:5432\n"));
    let servers = numbers().map(|it| format!("process {it} postgres\nflow {it}:5432 <- 10.0.0.1\n"));
    let text = format!(
        "host a 10.0.0.1/24\n{}host b 10.0.0.2/24\nprocess 30 postgres listen 5432\n{}",
        clients.collect::<String>(),
        servers.collect::<String>()
    );
    let cluster = cluster(&text);
    let all = cluster.relations();
    assert_eq!(all.len(), 500);
    let mut told = Vec::new();
    for relation in all.iter() {
        assert!(relation.is_confirmed());
        assert_eq!(
            (relation.told_by_client.len(), relation.told_by_server.len()),
            (1, 0),
            "a server's flow is of several"
        );
        assert_eq!(relation.together_by_client, []);
        assert!(relation.together_by_server.is_sorted());
        told.extend(relation.together_by_server.iter().map(|told| told.serial));
    }
    assert!(told.len() < 80_000, "{} pairs are told of 250,000", told.len());
    told.sort_unstable();
    assert!(told.chunk_by(PartialEq::eq).all(|same| same.len() > 1), "each is told of several");
    assert_eq!(told.chunk_by(PartialEq::eq).count(), 500, "none is left out");
}

#[test]
fn a_relation_both_ends_tell_of_is_confirmed_if_both_tell_of_several() {
    let text = "host a 10.0.0.1/24
        process 20 curl
        process 21 wget
        flow 20 -> 10.0.0.2:80
        flow 21 -> 10.0.0.2:80
        host b 10.0.0.2/24 172.17.0.1/16
        container one
        container two
        process 30 nginx in one listen 80
        process 31 nginx in two listen 80
        flow 30:80 <- 10.0.0.1 via 10.0.0.2:80
        flow 31:80 <- 10.0.0.1 via 10.0.0.2:80";
    let one_client =
        text.replace("flow 21", "flow 20").replace("10.0.0.2:80\n        host", "10.0.0.2:443\n        host");
    let want = "curl@a -> one/nginx@b tcp 80 at 10.0.0.2 [|b1|a1] confirmed
        curl@a -> two/nginx@b tcp 80 at 10.0.0.2 [|b2|a1] confirmed
        curl@a -> @b tcp 443 at 10.0.0.2 [a2||]";
    check("one client at a balanced port", &one_client, want);
    // Whose of whom is not known: curl may have reached the one alone, and wget the other.
    let want = "curl@a -> @b tcp 80 at 10.0.0.2 [a1||]
        wget@a -> @b tcp 80 at 10.0.0.2 [a2||]
        @a -> one/nginx@b tcp 80 at 10.0.0.1 [|b1|]
        @a -> two/nginx@b tcp 80 at 10.0.0.1 [|b2|]";
    check("two clients at a balanced port", text, want);
    let servers = text.replace("in two", "in one");
    let want = "curl@a -> one/nginx@b tcp 80 at 10.0.0.2 [a1||b1 b2] confirmed
        wget@a -> one/nginx@b tcp 80 at 10.0.0.2 [a2||b1 b2] confirmed";
    check("two clients of two workers of one container", &servers, want);
}

#[test]
fn what_a_namespace_has_takes_nothing_from_others() {
    let cases = [
        (
            "an address of a host elsewhere, and of its container",
            "host a 10.0.0.1/24
            process 20 curl
            flow 20 -> 10.0.0.2:80
            flow 20 -> 10.1.0.2:80
            host b 10.0.0.2/24
            container web 10.1.0.2 init=31
            process 30 nginx listen 80
            process 31 nginx in web listen 80
            flow 30:80 <- 10.0.0.1
            host c 10.0.0.3/24
            namespace red 10.0.0.2/24 10.0.0.1/24 10.1.0.2/24
            process 40 nginx at red listen 80",
            "curl@a -> nginx@b tcp 80 at 10.0.0.2 [a1|b1|] confirmed
            curl@a -> web/nginx@b tcp 80 at 10.1.0.2 [a2||]",
        ),
        (
            "networks half as large as the Internet",
            "host a 10.0.0.1/24 fd00::1/64
            process 20 curl
            flow 20 -> 203.0.113.9:443
            flow 20 -> [2606:4700::1]:443
            flow 20 -> 44.1.2.3:443
            host c 10.0.0.3/24
            namespace red 1.2.3.4/0 129.0.0.1/1 2000::1/3
            namespace wide 44.0.0.1/8",
            "curl@a -> Internet tcp 443 at 203.0.113.9 [a1||]
            curl@a -> Internet tcp 443 at 2606:4700::1 [a2||]",
        ),
        (
            "an address of the Internet's, one of a network that some host has, and one of a container",
            "host a 10.0.0.1/24 198.51.100.1/24
            process 20 curl
            flow 20 -> 8.8.8.8:53
            flow 20 -> 198.51.100.9:53
            flow 20 -> 203.0.113.9:53
            flow 20 -> 100.64.0.9:53
            host c 10.0.0.3/24
            container web
            namespace red 8.8.8.8/32 198.51.100.9/32 100.64.0.9/32
            namespace web 203.0.113.9/32
            process 40 dns at red listen 53
            process 41 web in web listen 53",
            "curl@a -> Internet tcp 53 at 8.8.8.8 [a1||]
            curl@a -> dns@c tcp 53 at 100.64.0.9 [a2 a4||]
            curl@a -> web/web@c tcp 53 at 203.0.113.9 [a3||]",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, text, want);
    }
}

#[test]
fn a_docker_proxy_is_what_docker_runs_on_the_host() {
    const WEB: &str = "-container-ip,172.17.0.3,-container-port,80";
    let cases = [
        (
            "Docker in Docker: the proxy is of the inner Docker's ports",
            format!(
                "host a 10.0.0.1/24 172.17.0.1/16
                container dind 172.17.0.2 init=20
                container web 172.17.0.3 init=30
                process 20 dockerd in dind
                process 21 docker-proxy in dind listen 8080
                process 22 docker-proxy in dind args -proto,tcp,-host-ip,0.0.0.0,-host-port,22,{WEB}
                process 30 nginx in web listen 80
                process 40 curl
                process 41 sshd listen 22
                flow 40 -> 172.17.0.2:8080
                flow 21:8080 <- 172.17.0.1
                flow 40 -> 10.0.0.1:22"
            ),
            "curl@a -> sshd@a tcp 22 at 10.0.0.1 [a3||]
            curl@a -> dind/docker-proxy@a tcp 8080 at 172.17.0.2 [a1|a2|] confirmed",
        ),
        (
            "one in a container that has the host's network, and one in a namespace of its own",
            format!(
                "host a 10.0.0.1/24 172.17.0.1/16
                container liar network=host
                container web 172.17.0.3 init=30
                process 20 docker-proxy in liar args -proto,tcp,-host-ip,0.0.0.0,-host-port,22,{WEB}
                process 21 docker-proxy at red args -proto,tcp,-host-ip,0.0.0.0,-host-port,22,{WEB}
                process 30 nginx in web listen 80
                process 40 curl
                process 41 sshd listen 22
                flow 40 -> 10.0.0.1:22
                flow 20 -> 172.17.0.3:80"
            ),
            "liar/docker-proxy@a -> web/nginx@a tcp 80 at 172.17.0.3 [a2||]
            curl@a -> sshd@a tcp 22 at 10.0.0.1 [a1||]",
        ),
        (
            "Docker's own word comes before the proxy's",
            format!(
                "host a 10.0.0.1/24 172.17.0.1/16
                container db 172.17.0.2 publish=8080:80 init=20
                container web 172.17.0.3 init=30
                process 19 docker-proxy args -proto,tcp,-host-ip,0.0.0.0,-host-port,8080,{WEB}
                process 20 postgres in db listen 80
                process 30 nginx in web listen 80
                process 40 curl
                flow 40 -> 10.0.0.1:8080"
            ),
            "curl@a -> db/postgres@a tcp 8080 at 10.0.0.1 [a1||]",
        ),
    ];
    for (scenario, text, want) in cases {
        check(scenario, &text, want);
    }
}
