//! Who may join: those who have the secret, and nobody else.

use std::fs;
use std::time::Duration;

use crate::harness::host::Host;
use crate::harness::lab::lab;
use crate::harness::mesh::MEET_BOUND;
use crate::harness::peer::{self, BINARY, Peer};
use crate::harness::wait::{ensure, wait_for};

/// From a launch to the complaint about it.
const COMPLAINT_BOUND: Duration = Duration::from_secs(20);

/// On each host.
const SECRET_FILE: &str = "/run/secret";

#[test]
fn only_who_has_the_secret_joins_and_both_ends_say_why_the_others_do_not() {
    let lab = lab!();
    let [alpha, beta, gamma, delta] = ["alpha", "beta", "gamma", "delta"].map(|name| lab.host(name));
    let secret = alpha.run(BINARY, &["secret", "new"]);
    let other_secret = alpha.run(BINARY, &["secret", "new"]);
    assert_ne!(secret, other_secret);
    fs::write(alpha.namespaces().path(SECRET_FILE), format!("{secret}\n")).expect("a host's own /run is writable");

    let at_alpha = alpha.address().to_string();
    let a = Peer::launch(&alpha, &["--no-docker", "--secret-file", SECRET_FILE]);
    let mut with_variable = peer::command(&beta, "launch");
    with_variable.env("SCOPE_SECRET", &secret).args(["--no-docker", &at_alpha]);
    let mut b = Peer::start(&beta, with_variable);
    b.wait_serving();
    let c = Peer::launch(&gamma, &["--no-docker", "--secret", &other_secret, &at_alpha]);
    let d = Peer::launch(&delta, &["--no-docker", &at_alpha]);

    for peer in [&a, &b] {
        peer.api().wait_view("hosts", |view| {
            ensure(view.labels() == ["alpha", "beta"].into(), || format!("{:?}", view.labels()))
        });
    }
    for (peer, host) in [(&c, "gamma"), (&d, "delta")] {
        wait_complaint(peer, &at_alpha);
        peer.api().wait_view("hosts", |view| ensure(view.labels() == [host].into(), || format!("{:?}", view.labels())));
    }
    for stranger in [&gamma, &delta] {
        wait_complaint(&a, &stranger.address().to_string());
    }

    let known = [&a, &b].map(|peer| peer.api().wait_member("alpha").id);
    assert_eq!(known[0], known[1]);
    for (peer, host) in [(&c, "gamma"), (&d, "delta")] {
        peer.api().wait_member(host);
        let members = peer.api().members().expect("it serves");
        assert_eq!(members.iter().map(|member| &*member.host).collect::<Vec<_>>(), [host], "{members:?}");
        for path in ["/api/report", "/api/peers", "/api/probes", "/api/topology/processes?unconnected=show"] {
            let (_, body) = peer.api().get(path).expect("it serves");
            for secret in [&known[0], "alpha", "beta"] {
                assert!(!body.contains(secret), "{host} tells of {secret} at {path}");
            }
        }
    }
    for (host, open) in [(&alpha, false), (&beta, false), (&gamma, false), (&delta, true)] {
        assert_status(host, open);
    }
    for (peer, members) in [(&a, 2), (&b, 2), (&c, 1), (&d, 1)] {
        let (_, about) = peer.api().get("/api").expect("it serves");
        assert!(!about.contains(&secret) && !peer.output().contains(&secret), "the secret is told to nobody");
        assert_eq!(peer.api().members().expect("it serves").len(), members);
    }
}

#[test]
fn what_is_no_secret_is_refused_with_the_way_to_one() {
    let lab = lab!();
    let host = lab.host("alpha");
    let secret = host.run(BINARY, &["secret", "new"]);
    let short = &secret[..secret.len() - 5];
    let file = host.namespaces().path(SECRET_FILE);
    let cases = [
        // what is given, and what the answer names
        ("correct horse battery staple", "scope secret new"),
        ("hunter2", "scope secret new"),
        (short, "cut"),
        ("", "scope secret new"),
    ];
    for (text, wanted) in cases {
        fs::write(&file, text).expect("a host's own /run is writable");
        for arguments in [["--secret", text], ["--secret-file", SECRET_FILE]] {
            let output = peer::run(&host, "launch", &arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{arguments:?}: {said}");
            assert!(said.contains(wanted) && said.contains(arguments[0]), "{arguments:?} of {text:?}: {said}");
        }
    }
    let missing = peer::run(&host, "launch", &["--secret-file", "/run/no-such-file"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("/run/no-such-file"), "{said}");
}

/// Returns once the log has its one line about who cannot join at `address`, or from there.
#[track_caller]
fn wait_complaint(peer: &Peer, address: &str) {
    let complaints = || {
        let output = peer.output();
        let about = |line: &&str| line.contains("cannot join") && line.contains(&format!("{address}:"));
        output.lines().filter(about).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    wait_for(&format!("a complaint about {address}"), COMPLAINT_BOUND, || {
        ensure(!complaints().is_empty(), || peer.output())
    });
    let complaints = complaints();
    assert_eq!(complaints.len(), 1, "once is enough: {complaints:#?}");
    assert!(complaints[0].contains("--secret"), "it names what to do: {complaints:?}");
}

/// Whether `scope status` says that the mesh is open, and what to do, or that it is closed.
#[track_caller]
fn assert_status(host: &Host, open: bool) {
    wait_for("the mesh in `scope status`", MEET_BOUND, || {
        let status = peer::run(host, "status", &[]);
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        let wanted = if open { "scope secret new" } else { "closed by its secret" };
        ensure(status.status.success() && text.contains(wanted) && open == text.contains("mesh   open"), || text)
    });
}
