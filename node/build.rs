//! Compiles the BPF program with clang. Where that fails the build goes on without it, and says so: now in a warning, and
//! at run time in the status of the source.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::Command;

const SOURCES: &str = "src/probe/connections/ebpf";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(bpf_program)");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        println!("cargo::rustc-env=BPF_PROGRAM_MISSING=the feature `ebpf` was off");
        return Ok(());
    }
    for source in ["tracer.bpf.c", "kernel.h"] {
        println!("cargo::rerun-if-changed={SOURCES}/{source}");
    }
    let object = Path::new(&env::var("OUT_DIR")?).join("tracer.bpf.o");
    match compile(&object) {
        Ok(()) => println!("cargo::rustc-cfg=bpf_program"),
        Err(why) => {
            println!("cargo::warning=building without eBPF: {why}");
            println!("cargo::rustc-env=BPF_PROGRAM_MISSING={why}");
            // There is no such file, so cargo looks for clang again each time.
            println!("cargo::rerun-if-changed={SOURCES}/without-clang");
        }
    }
    Ok(())
}

/// Compiles the program to `object`, or says in one line why it cannot.
fn compile(object: &Path) -> Result<(), String> {
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    };
    let mut clang = Command::new("clang");
    // `-g` is for the types (BTF) the loader needs. No path of the machine that compiles goes into it.
    clang.args(["-O2", "-g", "-fdebug-compilation-dir=.", "-Wall", "-Wextra", "-target", target, "-c"]);
    let output = clang.current_dir(SOURCES).args(["tracer.bpf.c", "-o"]).arg(object).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "clang was not found".to_owned(),
        _ => format!("clang could not be started: {error}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("clang failed: {}", said.lines().next().unwrap_or("it did not say why")))
}
