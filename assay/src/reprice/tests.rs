//! Claims about re-pricing over a real store: calls told by logs too, within the store's limits, and once however many ask.

use assay_collector::normalise::Normaliser;
use assay_query::QueryConfig;
use assay_schemas::{
    ids::{Encoding, Signal},
    prices::{PriceOverride, PriceTable},
};
use assay_storage::{Storage, StorageConfig, WalRecord};

use super::*;

struct Fixture {
    storage: Storage,
    repricer: Repricer,
    project: ProjectId,
    _dir: tempfile::TempDir,
}

impl Fixture {
    /// A store with what `requests` say, priced by the table that ships, and a re-pricing at one dollar per million tokens.
    async fn new(requests: &[(Signal, String)], corrections_max: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = StorageConfig { data_dir: dir.path().join("data"), corrections_max, ..StorageConfig::default() };
        let storage = Storage::open(config).await.unwrap();
        let project = ProjectId::default_project();
        let shipped = Arc::new(PriceTable::embedded());
        let ingest = Arc::new(Ingest::new(storage.clone(), Normaliser::embedded(), Arc::clone(&shipped)));
        for (signal, body) in requests {
            let record = WalRecord {
                project: project.clone(),
                signal: *signal,
                encoding: Encoding::Json,
                received_at_unix_nano: Utc::now().timestamp_nanos_opt().unwrap(),
                body: body.clone().into(),
            };
            assert_eq!(ingest.accept(record).await.unwrap().rejected, 0);
        }
        let own: PriceOverride =
            serde_json::from_str(r#"{"model": "*", "input_usd_per_million": "1", "output_usd_per_million": "1"}"#).unwrap();
        let prices = Arc::new(PriceTable::embedded().with_overrides(&[own]).unwrap());
        let engine = QueryEngine::new(storage.clone(), Arc::clone(&prices), QueryConfig { threads: 2, ..QueryConfig::default() });
        let ingest = Arc::new(Ingest::new(storage.clone(), Normaliser::embedded(), prices));
        let repricer = Repricer { changes_per_record: 10, ..Repricer::new(engine.unwrap(), ingest) };
        Self { storage, repricer, project, _dir: dir }
    }

    async fn apply(&self) -> Preview {
        let now = Utc::now();
        self.repricer.run(&self.project, now - TimeDelta::hours(1), now + TimeDelta::hours(1), true).await.unwrap()
    }

    /// The only value that `sql` gives, as text.
    async fn value(&self, sql: &str) -> String {
        let (batches, _) = self.repricer.engine.ask(&self.project, Ask::new(sql)).await.unwrap().collect().await.unwrap();
        let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
        arrow::util::display::array_value_to_string(batch.column(0), 0).unwrap()
    }

    async fn check_sums(&self, cost: &str) {
        let same = |expected: &str, found: String| {
            let number = |text: &str| text.parse::<rust_decimal::Decimal>().unwrap().normalize();
            assert_eq!(number(&found), number(expected));
        };
        same(cost, self.value("SELECT sum(cost_usd) FROM llm_calls").await);
        same(cost, self.value("SELECT sum(cost_usd) FROM cost_lines WHERE counted").await);
    }
}

/// A request with `n` calls of gpt-4o, 1000 tokens in and 1000 out each.
fn calls(n: usize) -> (Signal, String) {
    let now = Utc::now().timestamp_nanos_opt().unwrap();
    let attributes = json!([
        { "key": "gen_ai.operation.name", "value": { "stringValue": "chat" } },
        { "key": "gen_ai.provider.name", "value": { "stringValue": "openai" } },
        { "key": "gen_ai.request.model", "value": { "stringValue": "gpt-4o" } },
        { "key": "gen_ai.usage.input_tokens", "value": { "intValue": "1000" } },
        { "key": "gen_ai.usage.output_tokens", "value": { "intValue": "1000" } },
    ]);
    let span = |nth: usize| {
        json!({
            "traceId": format!("{:032x}", nth + 1), "spanId": format!("{:016x}", nth + 1), "name": "chat",
            "startTimeUnixNano": now.to_string(), "endTimeUnixNano": now.to_string(), "attributes": attributes,
        })
    };
    let spans: Vec<Value> = (0..n).map(span).collect();
    (Signal::Traces, json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string())
}

/// A request with one call that only a log record reports, in no trace.
fn logged_call() -> (Signal, String) {
    let now = Utc::now().timestamp_nanos_opt().unwrap();
    let record = json!({
        "timeUnixNano": now.to_string(), "eventName": "claude_code.api_request",
        "attributes": [
            { "key": "model", "value": { "stringValue": "claude-sonnet-4-5" } },
            { "key": "input_tokens", "value": { "intValue": "1000" } },
            { "key": "output_tokens", "value": { "intValue": "1000" } },
        ],
    });
    let scope = json!({ "name": "com.anthropic.claude_code.events" });
    (Signal::Logs, json!({ "resourceLogs": [{ "scopeLogs": [{ "scope": scope, "logRecords": [record] }] }] }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_told_by_a_log_record_is_priced_anew() {
    let f = Fixture::new(&[logged_call()], 1000).await;
    f.check_sums("0.018").await;
    let preview = f.apply().await;
    assert_eq!((preview.changed_rows, preview.new_cost_usd.normalize().to_string()), (1, "0.002".to_owned()));
    f.check_sums("0.002").await;
    assert_eq!(f.value("SELECT cost_source FROM logs").await, "configured");
    // In files too: with the correction beside the record, then folded into it.
    f.storage.flush().await.unwrap();
    f.check_sums("0.002").await;
    assert_eq!(f.value("SELECT count(*) FROM span_corrections").await, "0", "a flush folds what it holds of both");
    assert_eq!(f.apply().await.changed_rows, 0, "there is nothing left to change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_record_in_a_file_is_corrected_by_reads_and_by_compaction() {
    let f = Fixture::new(&[logged_call()], 1000).await;
    f.storage.flush().await.unwrap();
    f.apply().await;
    f.check_sums("0.002").await;
    f.storage.flush().await.unwrap();
    assert_eq!(f.value("SELECT count(*) FROM span_corrections").await, "1", "the record lies in an older file");
    f.check_sums("0.002").await;
    f.storage.compact().await.unwrap();
    assert_eq!(f.value("SELECT count(*) FROM span_corrections").await, "0");
    f.check_sums("0.002").await;
    assert_eq!(f.storage.status().pending_corrections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_repricing_stays_within_what_the_store_holds() {
    let f = Fixture::new(&[calls(200)], 50).await;
    f.storage.flush().await.unwrap();
    let most = std::sync::atomic::AtomicUsize::new(0);
    let watch = async {
        loop {
            most.fetch_max(f.storage.status().pending_corrections, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    };
    let preview = tokio::select! {
        preview = f.apply() => preview,
        () = watch => unreachable!("it watches for ever"),
    };
    assert_eq!(preview.changed_rows, 200);
    let most = most.into_inner();
    assert!((10..=60).contains(&most), "the limit of 50 and one record of 10: found {most}");
    f.check_sums("0.4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_book_the_new_price_once() {
    let f = Fixture::new(&[calls(30), logged_call()], 1000).await;
    let (first, second) = tokio::join!(f.apply(), f.apply());
    let mut changed = [first.changed_rows, second.changed_rows];
    changed.sort_unstable();
    assert_eq!(changed, [0, 31]);
    f.check_sums("0.062").await;
}
