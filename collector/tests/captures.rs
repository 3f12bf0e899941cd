//! Every capture must give what its `expected.json` says: the calls and their tokens, models, texts and tools, the sessions and users.
//!
//! What an SDK never sent is listed, with the reason at the source, in `captures/known_losses.toml`. A loss that is listed but does
//! not happen fails too: the list cannot rot. `docs/captures.md` is made from the same comparison
//! (`ASSAY_WRITE_DOCS=1 cargo test -p assay-collector --test captures`). With `ASSAY_CAPTURES=<folder>` the captures of that folder
//! are compared instead, and every difference is printed: how a new capture is looked at before it is kept.

#[path = "captures/compare.rs"]
mod compare;
#[path = "captures/load.rs"]
mod load;
#[path = "captures/report.rs"]
mod report;

use std::collections::BTreeMap;

use compare::{Mismatch, compare};
use load::{Scenario, scenarios};
use report::{KnownLosses, page};

#[tokio::test]
async fn every_capture_gives_what_really_happened() {
    let losses = KnownLosses::read();
    let mut outcomes: BTreeMap<(String, String), Vec<Mismatch>> = BTreeMap::new();
    let mut calls = 0;
    for Scenario { folder, name, expected, rows } in scenarios().await {
        calls += expected["calls"].as_array().map_or(0, Vec::len);
        let mismatches = compare(&expected, &rows);
        outcomes.insert((folder, name), mismatches);
    }
    let (unexplained, stale) = losses.explain(&outcomes);
    println!("{} scenarios, {calls} calls, {} mismatches unexplained", outcomes.len(), unexplained.len());
    for line in unexplained.iter().chain(&stale) {
        println!("{line}");
    }
    if load::own_folder().is_some() {
        assert!(unexplained.is_empty(), "{} values differ from what happened", unexplained.len());
        return;
    }
    let page = page(&outcomes, &losses);
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/captures.md");
    if std::env::var_os("ASSAY_WRITE_DOCS").is_some() {
        std::fs::write(place, &page).expect("docs is writable");
    }
    assert!(unexplained.is_empty(), "{} values differ from what happened", unexplained.len());
    assert!(stale.is_empty(), "{} known losses do not happen: remove them", stale.len());
    let written = std::fs::read_to_string(place).unwrap_or_default();
    assert!(written == page, "docs/captures.md is not current: run this test with ASSAY_WRITE_DOCS=1");
}
