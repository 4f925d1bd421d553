//! The figures as people read them.

use crate::cost::Cost;
use crate::load::Load;

/// Of the whole peer, under each load.
const MEMORY_BAR: &str = "60 MB";

/// Columns that follow the load and the flags.
const COLUMNS: [&str; 8] = [
    "CPU of the peer",
    "bar",
    "BPF in the kernel",
    "memory, mean / most",
    "bar",
    "Weave Scope's probe",
    "lost",
    "machine's load",
];

pub(crate) fn head() {
    println!("| load | peer | {} |", COLUMNS.join(" | "));
    println!("|{}", " --- |".repeat(COLUMNS.len() + 2));
}

/// A line of the table, and one of what each source costs.
pub(crate) fn row(load: &Load, flags: &[&str], cost: &Cost) {
    let peer = if flags.is_empty() { "default".to_owned() } else { flags.join(" ") };
    let rate = if cost.opened > 0.0 { format!(" ({:.0}/s)", cost.opened) } else { String::new() };
    let bpf = cost.sources.get("ebpf").copied().unwrap_or_default();
    let cells = [
        percent(cost.cpu_percent),
        load.cpu_bar.map_or_else(String::new, |bar| format!("{bar} %")),
        percent(bpf),
        format!("{} / {}", megabytes(cost.resident_bytes), megabytes(cost.peak_bytes)),
        MEMORY_BAR.to_owned(),
        load.ancestor.map_or_else(String::new, |(cpu, memory)| format!("{cpu} %, {memory} MB")),
        cost.lost.to_string(),
        cost.machine_load.clone(),
    ];
    println!("| {}{rate} | {peer} | {} |", load.title, cells.join(" | "));
    let sources: Vec<String> = cost.sources.iter().map(|(name, share)| format!("{name} {}", percent(*share))).collect();
    println!("    its sources: {}", sources.join(", "));
}

/// Of one core.
pub(crate) fn percent(percent: f64) -> String {
    format!("{percent:.2} %")
}

pub(crate) fn megabytes(bytes: u64) -> String {
    // Precise enough for a figure of three digits.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}
