//! The write path over a real store: acknowledged is durable and visible, and a crash in between changes nothing.

use std::{fs, path::Path, sync::Arc};

use assay_collector::{Ingest, export, normalise::Normaliser};
use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    prices::PriceTable,
    table::Row,
    tables::{CorrectionRow, LedgerRow, QuarantineRow, SpanRow},
};
use assay_storage::{Storage, StorageConfig, WalRecord};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

const NOW: i64 = 1_763_700_000_000_000_000;

async fn open(data_dir: &Path) -> (Storage, Arc<Ingest>) {
    let config = StorageConfig { data_dir: data_dir.to_owned(), ..StorageConfig::default() };
    let storage = Storage::open(config).await.expect("a store");
    let ingest = Ingest::new(storage.clone(), Normaliser::embedded(), Arc::new(PriceTable::embedded()));
    (storage, Arc::new(ingest))
}

fn span(id: u8) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        name: format!("span {id}"),
        start_time_unix_nano: 1_763_699_999_000_000_001,
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(Resource::default()), scope_spans, ..ResourceSpans::default() }],
    }
}

fn record(request: &ExportTraceServiceRequest) -> WalRecord {
    WalRecord {
        project: ProjectId::default_project(),
        signal: Signal::Traces,
        encoding: Encoding::Protobuf,
        received_at_unix_nano: NOW,
        body: request.encode_to_vec().into(),
    }
}

fn hot<R: Row>(storage: &Storage) -> Vec<R> {
    let batches = storage.view().hot(R::TABLE, &ProjectId::default_project());
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| R::read(batch, row)).collect::<Vec<_>>()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_visible_and_accounted_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let (storage, ingest) = open(dir.path()).await;
    let batch = request(vec![span(1), Span { span_id: vec![], ..span(2) }, span(3)]);
    let outcome = ingest.accept(record(&batch)).await.expect("accepted");
    assert_eq!(outcome.rejected, 1);
    assert_eq!(hot::<SpanRow>(&storage).len(), 2);
    assert_eq!(hot::<QuarantineRow>(&storage)[0].reason, "bad_span_id");
    // A client that lost the acknowledgement sends the same again.
    ingest.accept(record(&batch)).await.expect("accepted");
    assert_eq!(hot::<SpanRow>(&storage).len(), 2, "resent spans are not stored twice");
    let ledger = hot::<LedgerRow>(&storage);
    assert_eq!(
        ledger.iter().map(|row| row.accepted).sum::<i64>(),
        ledger.iter().map(|row| row.stored + row.quarantined).sum::<i64>()
    );
    assert_eq!(ledger.iter().map(|row| row.resent).sum::<i64>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_all_visible_after_their_acknowledgements() {
    let dir = tempfile::tempdir().expect("a folder");
    let (storage, ingest) = open(dir.path()).await;
    let requests = (1..=60).map(|id| {
        let ingest = Arc::clone(&ingest);
        async move { ingest.accept(record(&request(vec![span(id)]))).await.expect("accepted") }
    });
    futures::future::join_all(requests).await;
    let mut positions: Vec<_> = hot::<SpanRow>(&storage).iter().map(|row| row.origin.wal_position).collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 60, "each span once, each with the position of its own request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_acknowledgement_loses_and_repeats_nothing() {
    let (dir, crashed) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (storage, ingest) = open(dir.path()).await;
    let image = KeyValue {
        key: "image".into(),
        value: Some(AnyValue { value: Some(Value::StringValue(format!("data:image/png;base64,{}", "QUJD".repeat(50_000)))) }),
        key_strindex: 0,
    };
    let first = request(vec![Span { attributes: vec![image], ..span(1) }]);
    ingest.accept(record(&first)).await.expect("accepted");
    for id in 2..40 {
        ingest.accept(record(&request(vec![span(id)]))).await.expect("accepted");
    }
    let before = hot::<SpanRow>(&storage);

    // What a disk holds when the power fails now.
    copy(dir.path(), crashed.path());
    let (storage, ingest) = open(crashed.path()).await;
    assert_eq!(ingest.recover().await.expect("recovered"), 39);
    assert_eq!(hot::<SpanRow>(&storage), before, "the same rows, in the same order");
    ingest.accept(record(&request(vec![span(9)]))).await.expect("accepted");
    assert_eq!(hot::<SpanRow>(&storage).len(), before.len(), "the index of resent spans recovered too");

    let row = before.into_iter().find(|row| row.name == "span 1").expect("the first span");
    assert!(row.attributes.payload.as_ref().is_some_and(|payload| payload.contains("$blob") && payload.len() < 1000));
    let blobs = export::fetch_blobs([(&row.attributes, &*row.genai)], &storage.blobs().of(&ProjectId::default_project()))
        .await
        .expect("the blob");
    let out = export::spans([row], &blobs).expect("own rows");
    assert_eq!(out.resource_spans[0].scope_spans[0].spans, first.resource_spans[0].scope_spans[0].spans);
}

/// Agents with usage, the calls in them, and the same calls told once more: what counts depends on the order of the requests.
fn told_many_times(trace: u8) -> Vec<ExportTraceServiceRequest> {
    let text = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        key_strindex: 0,
    };
    let tokens =
        |key: &str| KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::IntValue(7)) }), key_strindex: 0 };
    let told = |id: u8, parent: u8, operation: &str| Span {
        trace_id: vec![trace; 16],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        attributes: vec![
            text("gen_ai.operation.name", operation.to_owned()),
            text("gen_ai.provider.name", "openai".to_owned()),
            text("gen_ai.request.model", "gpt-4o".to_owned()),
            text("gen_ai.response.id", format!("resp-{trace}-{}", id / 3)),
            text("gen_ai.conversation.id", format!("session-{id}")),
            tokens("gen_ai.usage.input_tokens"),
            tokens("gen_ai.usage.output_tokens"),
        ],
        ..span(id)
    };
    let spans = [told(1, 0, "invoke_agent"), told(2, 1, "chat"), told(3, 2, "chat"), told(4, 1, "chat"), told(5, 4, "chat")];
    spans.into_iter().map(|span| request(vec![span])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_concurrent_requests_decide_is_what_a_replay_decides() {
    let (dir, crashed) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (storage, ingest) = open(dir.path()).await;
    let requests = (1..=40).flat_map(told_many_times).map(|request| {
        let ingest = Arc::clone(&ingest);
        tokio::spawn(async move { ingest.accept(record(&request)).await.expect("accepted") })
    });
    futures::future::join_all(requests).await;
    let decided = |storage: &Storage| {
        let mut rows: Vec<_> = hot::<SpanRow>(storage)
            .into_iter()
            .map(|row| {
                (row.origin.wal_position, row.trace_id, row.span_id, row.genai.counted, row.genai.into_inner().uncounted_reason)
            })
            .collect();
        let mut corrections: Vec<_> = hot::<CorrectionRow>(storage)
            .into_iter()
            .map(|row| (row.origin.wal_position, row.trace_id, row.span_id, row.patch))
            .collect();
        rows.sort();
        corrections.sort();
        (rows, corrections)
    };
    let live = decided(&storage);
    assert_eq!(live.0.len(), 200);
    assert!(!live.1.is_empty(), "some are corrected by later requests");
    copy(dir.path(), crashed.path());
    let (replayed, ingest) = open(crashed.path()).await;
    ingest.recover().await.expect("recovered");
    assert_eq!(decided(&replayed), live);
}
