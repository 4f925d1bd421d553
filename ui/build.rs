//! Embeds the page: lists the files of `web/dist` for `src/assets.rs`. Builds nothing and asks no network; where the page
//! was not built, a note that says so is embedded in its place, so that Rust alone builds and checks this crate.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

const DIST: &str = "web/dist";
const UNBUILT: &str = "src/unbuilt.html";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let dist = root.join(DIST);
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={DIST}");
    println!("cargo:rerun-if-changed={UNBUILT}");
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        walk(&dist, &dist, &mut files)?;
        files.sort();
    } else {
        println!("cargo:warning={DIST}/index.html is missing: the page is not embedded (run `make page`)");
        files.push(("index.html".to_owned(), root.join(UNBUILT)));
    }
    let target = PathBuf::from(std::env::var("OUT_DIR")?).join("assets.rs");
    fs::write(target, list(&files)?)?;
    Ok(())
}

/// Adds all files below `dir` with their paths as URLs have them.
fn walk(dist: &Path, dir: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(dist, &path, files)?;
        } else {
            let name = path.strip_prefix(dist)?.to_str().ok_or("a file name is not UTF-8")?;
            files.push((name.replace('\\', "/"), path));
        }
    }
    Ok(())
}

fn list(files: &[(String, PathBuf)]) -> Result<String, Box<dyn Error>> {
    let mut code = "static ASSETS: &[Asset] = &[\n".to_owned();
    for (name, path) in files {
        let mut hasher = DefaultHasher::new();
        fs::read(path)?.hash(&mut hasher);
        let etag = format!("W/\"{:016x}\"", hasher.finish());
        let media_type = media_type(name);
        writeln!(
            code,
            "    Asset {{ path: {name:?}, media_type: {media_type:?}, etag: {etag:?}, bytes: include_bytes!({path:?}) }},"
        )?;
    }
    code.push_str("];\n");
    Ok(code)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
