//! Content follows from seed and number, and the ledger remembers what is needed and no more.

use std::collections::BTreeSet;

use super::{content::*, ledger::*, *};

fn sums(round: &Round) -> Sums {
    static PRICES: std::sync::LazyLock<PriceTable> = std::sync::LazyLock::new(PriceTable::embedded);
    Sums::of(&round.traces(&PRICES))
}

#[test]
fn content_follows_from_seed_run_and_number() {
    let prices = PriceTable::embedded();
    let round = |seed, number| Round { run: "r".to_owned(), seed, number, base_unix_nano: 1_763_692_800_000_000_000 };
    let request = |round: &Round| round.request(&round.traces(&prices));
    assert_eq!(request(&round(1, 5)), request(&round(1, 5)));
    assert_ne!(request(&round(1, 5)), request(&round(2, 5)));
    let mut ids = BTreeSet::new();
    for number in 0..300 {
        let round = round(1, number);
        for known in round.traces(&prices).iter().flat_map(|trace| &trace.spans) {
            assert!(ids.insert(known.span.span_id.clone()), "an id is drawn twice");
            let start = known.span.start_time_unix_nano - round.base_unix_nano;
            assert!(start < ROUND_NANOS, "a span begins `{start}` ns after its round");
            assert!(known.span.end_time_unix_nano - round.base_unix_nano <= SPAN_NANOS_MAX);
        }
    }
    let other = Round { run: "s".to_owned(), ..round(1, 5) };
    assert_ne!(
        request(&other).resource_spans[0].scope_spans[0].spans[0].span_id,
        request(&round(1, 5)).resource_spans[0].scope_spans[0].spans[0].span_id
    );
}

#[test]
fn every_model_has_a_price() {
    let prices = PriceTable::embedded();
    for (provider, model) in MODELS {
        let cost = assay_schemas::prices::llm_cost(&prices, Some(provider), model, (1000, 1000, 400, 0), 1_763_692_800_000_000);
        assert!(cost.is_some_and(|cost| !cost.is_zero()), "{provider}/{model}");
    }
}

#[test]
fn a_prober_that_starts_again_goes_on_with_the_same_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.json");
    assert_eq!(Ledger::read(&path, "p", None).expect("nothing there"), None);
    let mut ledger = Ledger::new("p", 9, 1_763_692_800_000_000_000);
    let first = ledger.begin_round(1_763_692_801_000_000_000);
    ledger.acknowledged(&sums(&first));
    let second = ledger.begin_round(1_763_692_802_000_000_000);
    ledger.write(&path).expect("written");
    let mut again = Ledger::read(&path, "p", Some(9)).expect("readable").expect("there");
    assert_eq!(again, ledger);
    assert!(again.has_in_flight());
    assert_eq!(again.begin_round(1_763_692_999_000_000_000), second);
    assert!(Ledger::read(&path, "q", None).is_err(), "another project");
    assert!(Ledger::read(&path, "p", Some(1)).is_err(), "another seed");
}

#[test]
fn the_ledger_stays_small_and_its_window_in_order() {
    let mut ledger = Ledger::new("p", 9, 0);
    let mut total = Sums::default();
    let now = 1_763_692_800_000_000_000;
    for number in 0..400 {
        let round = ledger.begin_round(now);
        assert_eq!(round.number, number);
        if number % 50 == 3 {
            ledger.unanswered(now);
        } else {
            ledger.acknowledged(&sums(&round));
            total += &sums(&round);
        }
    }
    // The first is stored, the second is not.
    let uncertain = ledger.uncertain().to_vec();
    let late = sums(&ledger.round(uncertain[0].sent));
    ledger.settle(uncertain[0].sent, Some(&late));
    ledger.settle(uncertain[1].sent, None);
    total += &late;
    assert_eq!(ledger.total(), &total);
    assert_eq!(ledger.uncertain().len(), 6);
    let window: Vec<Round> = ledger.window().collect();
    assert_eq!(window.len(), 100);
    assert!(window.is_sorted_by(|a, b| a.number < b.number && a.base_unix_nano + ROUND_NANOS <= b.base_unix_nano));
    assert_eq!(window[0].number, 298, "the last hundred that are stored: two of them are uncertain");
    assert_eq!(ledger.older(53), Some(54), "53 is not stored");
    assert_eq!(ledger.older(3), Some(3), "3 turned out to be");
    assert!(serde_json::to_vec(&ledger).expect("JSON").len() < 16 << 10);
}
