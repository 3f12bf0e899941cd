//! Runs one target under libFuzzer: `ASSAY_FUZZ_TARGET=NAME assay-fuzz CORPUS… -max_total_time=60`. With `ASSAY_FUZZ_SEEDS=FOLDER` the
//! seeds of the target are written there first. `run.py` runs all of them.

#![no_main]

use std::sync::OnceLock;

use assay_fuzz::{TARGETS, Target, corpus, memory::Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(init: { target(); }, |input: &[u8]| target().check(input));

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("ASSAY_FUZZ_TARGET").unwrap_or_default();
        let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join("`, `");
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("found `ASSAY_FUZZ_TARGET={name}`, expected one of `{}`", names()));
        if let Some(folder) = std::env::var_os("ASSAY_FUZZ_SEEDS") {
            corpus::write(target, folder.as_ref()).expect("the seeds can be written");
        }
        target
    })
}
