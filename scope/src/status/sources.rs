//! The lines about sources: what `/api/probes` says, for a terminal.

use serde_json::Value;

use super::{count, list, text};

/// All sources of the host `own`, those of others that lack something, and how many others lack nothing.
pub(super) fn lines(probes: &Value, own: &Value) -> Vec<String> {
    let is_quiet = |probe: &&Value| probe["id"] != *own && !list(&probe["sources"]).any(lacks_something);
    let mut lines: Vec<String> = list(probes)
        .filter(|probe| !is_quiet(probe))
        .flat_map(|probe| host_lines(probe, |source| probe["id"] == *own || lacks_something(source)))
        .collect();
    let quiet = list(probes).filter(is_quiet).count();
    if quiet > 0 {
        lines.push(format!("hosts  {quiet} more, which lack nothing"));
    }
    lines
}

fn host_lines(probe: &Value, is_shown: impl Fn(&Value) -> bool) -> Vec<String> {
    let host = format!("host   {}", text(probe, "hostname"));
    let sources = list(&probe["sources"]).filter(|source| is_shown(source)).flat_map(source_lines);
    std::iter::once(host).chain(sources).collect()
}

/// Whether a source does not give all it should; one that was switched off does.
fn lacks_something(source: &Value) -> bool {
    source["state"] != "ok" && source["mode"] != "disabled"
}

fn source_lines(source: &Value) -> impl Iterator<Item = String> {
    let cpu = source["cpuPercent"].as_f64().map(|cpu| format!("{cpu:.2} % of a core"));
    let lost = source["lost"].as_u64().filter(|lost| *lost > 0).map(|lost| format!("{} lost", count(lost, "event")));
    let figures: Vec<String> = cpu.into_iter().chain(lost).collect();
    let [name, state, mode] = ["name", "state", "mode"].map(|field| text(source, field));
    let line = format!("  {name:<12} {state:<9} {mode:<10} {}", figures.join(", "));
    let reason = Some(text(source, "reason")).filter(|reason| !reason.is_empty());
    std::iter::once(line.trim_end().to_owned()).chain(reason.map(|reason| format!("    {reason}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_the_own_host_all_sources_are_told_and_of_others_what_they_lack() {
        let source = |name: &str, state: &str| json!({ "name": name, "state": state, "mode": "events" });
        let off =
            json!({ "name": "ebpf", "state": "off", "mode": "", "reason": "no BTF", "lost": 1, "cpuPercent": 0.5 });
        let disabled = json!({ "name": "docker", "state": "off", "mode": "disabled", "reason": "--no-docker" });
        let host = |id: &str, sources: Value| json!({ "id": id, "hostname": id, "sources": sources });
        let probes = json!([
            host("a", json!([source("docker", "ok")])),
            host("b", json!([source("docker", "ok"), off])),
            host("c", json!([source("process", "ok"), disabled])),
            host("d", json!([source("conntrack", "degraded")])),
            host("e", json!([])),
        ]);
        let want = [
            "host   b",
            "  ebpf         off                  0.50 % of a core, 1 event lost",
            "    no BTF",
            "host   c",
            "  process      ok        events",
            "  docker       off       disabled",
            "    --no-docker",
            "host   d",
            "  conntrack    degraded  events",
            "hosts  2 more, which lack nothing",
        ];
        assert_eq!(lines(&probes, &json!("c")), want);
    }
}
