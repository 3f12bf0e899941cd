//! The seeds of the targets: what real SDKs sent (`tests/captures`), and what the targets' own files say. Nothing of it is committed twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use assay_schemas::ids::Signal;
use sha2::{Digest as _, Sha256};

use crate::Target;

/// Larger seeds make fuzzing slow and find no more.
const SEED_BYTES_MAX: usize = 16 << 10;

/// One captured request.
pub struct Captured {
    /// Its signal.
    pub signal: Signal,
    /// Whether it is JSON; protobuf otherwise.
    pub json: bool,
    /// Its body, inflated.
    pub body: Vec<u8>,
}

/// The captured requests of at most 16 KiB, in a stable order.
///
/// # Panics
/// If the captures cannot be read.
#[must_use]
pub fn captures() -> Vec<Captured> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures"));
    let mut found = Vec::new();
    for folder in sorted(root) {
        for path in sorted(&folder) {
            let Some(stem) = path.to_str().and_then(|path| path.strip_suffix(".meta.json")) else { continue };
            let meta: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a capture")).expect("JSON");
            let json = meta["content_type"].as_str().is_some_and(|media_type| media_type.contains("json"));
            let body = fs::read(format!("{stem}.{}", if json { "json" } else { "pb" })).expect("the body of a capture");
            let signal = match meta["signal"].as_str() {
                Some("logs") => Signal::Logs,
                Some("metrics") => Signal::Metrics,
                _ => Signal::Traces,
            };
            if body.len() <= SEED_BYTES_MAX {
                found.push(Captured { signal, json, body });
            }
        }
    }
    assert!(found.len() > 50, "the captures are where they were");
    found
}

/// Inputs that once failed, `fuzz/regressions/TARGET-*`.
///
/// # Panics
/// If they cannot be read.
#[must_use]
pub fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"));
    let name =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{}-", target.name)));
    sorted(folder).iter().filter(|path| name(path)).map(|path| fs::read(path).expect("a regression")).collect()
}

/// Writes the seeds of `target` to `folder`, named by what they hold.
///
/// # Errors
/// If the folder cannot be written.
pub fn write(target: &Target, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for seed in (target.seeds)().into_iter().chain(regressions(target)) {
        fs::write(folder.join(&hex::encode(Sha256::digest(&seed))[..16]), seed)?;
    }
    Ok(())
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
