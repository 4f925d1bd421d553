//! The lines about the mesh: what `/api/peers` says, for a terminal.

use serde_json::Value;

use super::{list, plain, text};

/// How each life is counted, in the order it is listed.
const LIVES: [&str; 3] = ["live", "suspect", "gone"];

/// Characters of a peer's id that are shown: the last ones, as all begin alike.
const ID_CHARS: usize = 6;

/// A peer's line, cell by cell.
type Row = [String; 6];

/// What to print of the answer of `/api/peers`; nothing of a peer that is on no mesh.
pub(super) fn lines(answer: &Value) -> Vec<String> {
    let mesh = &answer["mesh"];
    let listen: Vec<String> = list(&mesh["listen"]).filter_map(Value::as_str).map(plain).collect();
    if listen.is_empty() {
        return Vec::new();
    }
    let is_open = mesh["open"] == true;
    let door = if is_open { "open" } else { "closed by its secret" };
    let mut lines = vec![format!("mesh   {door}, on {}; {}", listen.join(" "), counts(answer))];
    if is_open {
        lines.push("    whoever reaches that port can join: `scope secret new` makes a secret for all hosts".into());
    }
    lines.extend(list(&mesh["problems"]).filter_map(Value::as_str).map(|problem| format!("    {}", plain(problem))));
    let others = || list(&answer["peers"]).filter(|peer| peer["isSelf"] != true);
    lines.extend(aligned(&others().map(row).collect::<Vec<_>>()));
    for name in list(&answer["discovery"]) {
        lines.push(format!("  found by {}: {}", text(name, "name"), text(name, "state")));
    }
    lines
}

/// `3 peers live, 1 gone`, this one included.
fn counts(answer: &Value) -> String {
    let of = |life: &&str| list(&answer["peers"]).filter(|peer| peer["life"] == **life).count();
    let counted: Vec<_> = LIVES.iter().map(|life| (life, of(life))).filter(|(_, count)| *count > 0).collect();
    let words = counted.iter().enumerate().map(|(at, (life, count))| match (at, count) {
        (0, 1) => format!("1 peer {life}"),
        (0, _) => format!("{count} peers {life}"),
        _ => format!("{count} {life}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn row(peer: &Value) -> Row {
    let id = text(peer, "id");
    let skipped = id.chars().count().saturating_sub(ID_CHARS);
    let host = text(peer, "host");
    let link = &peer["link"];
    let address = text(link, "address");
    let first = list(&peer["addresses"]).next().and_then(Value::as_str).map(plain);
    let life = match (text(peer, "life"), peer["lastHeardMs"].as_u64().unwrap_or(0)) {
        (life, _) if life == "live" => life,
        (life, ms) => format!("{life}, heard {} ago", age(ms)),
    };
    let lag = match peer["lag"].as_u64() {
        None | Some(0) => "in step".to_owned(),
        Some(lag) => format!("{lag} behind"),
    };
    [
        if host.is_empty() { "?".into() } else { host },
        format!("…{}", id.chars().skip(skipped).collect::<String>()),
        if address.is_empty() { first.unwrap_or_default() } else { address },
        life,
        lag,
        link["rttMs"].as_f64().map(|ms| format!("{ms:.1} ms")).unwrap_or_default(),
    ]
}

/// Rows with each cell as wide as the widest of its column.
fn aligned(rows: &[Row]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &Row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A length of time in its largest unit.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peer(host: &str, life: &str, ms: u64, more: &Value) -> Value {
        let mut peer = json!({
            "id": format!("12D3KooWexample{host:x>8}"), "host": host, "addresses": ["192.0.2.7:4030"], "life": life,
            "lastHeardMs": ms, "lag": 0, "link": null, "isSelf": false,
        });
        let fields = peer.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        peer
    }

    #[test]
    fn the_mesh_is_a_line_and_each_other_peer_is_one() {
        let link = json!({ "lag": 12, "link": { "address": "192.0.2.2:4030", "rttMs": 0.42 } });
        let answer = json!({
            "mesh": { "open": true, "listen": ["0.0.0.0:4030", "[::]:4030"], "problems": ["another machine uses this key"] },
            "discovery": [{ "name": "scope.weave.local", "state": "no such name" }],
            "peers": [
                peer("alpha", "live", 0, &json!({ "isSelf": true })),
                peer("beta", "live", 900, &link),
                peer("gamma-long", "suspect", 12_300, &json!({})),
                peer("evil\u{1b}[2J", "gone", 190_000, &json!({})),
            ],
        });
        let want = [
            "mesh   open, on 0.0.0.0:4030 [::]:4030; 2 peers live, 1 suspect, 1 gone",
            "    whoever reaches that port can join: `scope secret new` makes a secret for all hosts",
            "    another machine uses this key",
            "  beta        …xxbeta  192.0.2.2:4030  live                      12 behind  0.4 ms",
            "  gamma-long  …a-long  192.0.2.7:4030  suspect, heard 12 s ago   in step",
            "  evil\u{fffd}[2J   …il\u{fffd}[2J  192.0.2.7:4030  gone, heard 3 min ago     in step",
            "  found by scope.weave.local: no such name",
        ];
        let got = lines(&answer);
        assert_eq!(got.len(), want.len(), "{got:#?}");
        for (got, want) in got.iter().zip(want) {
            let squeezed = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(squeezed(got), squeezed(want));
        }
        let columns: Vec<_> = got[3..6].iter().map(|line| line.chars().position(|c| c == '…')).collect();
        assert!(columns.iter().all(|at| *at == columns[0]), "aligned: {got:#?}");
    }

    #[test]
    fn a_closed_mesh_says_so_and_none_says_nothing() {
        let closed = json!({ "mesh": { "open": false, "listen": ["0.0.0.0:4030"], "problems": [] },
            "peers": [peer("alpha", "live", 0, &json!({ "isSelf": true }))] });
        assert_eq!(lines(&closed), ["mesh   closed by its secret, on 0.0.0.0:4030; 1 peer live"]);
        for nothing in [json!(null), json!({}), json!({ "mesh": { "open": false, "listen": [] }, "peers": [] })] {
            assert_eq!(lines(&nothing), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn an_age_is_in_its_largest_unit() {
        let cases = [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_600_000, "1 h"), (90_000_000, "1 d")];
        for (ms, want) in cases {
            assert_eq!(age(ms), want, "{ms} ms");
        }
    }
}
