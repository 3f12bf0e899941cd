//! Fills a data folder with spans and says what that cost: `fill DIR SPANS [BODY_BYTES]`. For measuring and for looking at the lake with
//! other engines.

use std::time::Instant;

use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    table::Row as _,
    tables::{Origin, SpanRow},
};
use assay_storage::{Storage, StorageConfig, WalPosition, WalRecord};

const SPANS_PER_REQUEST: u64 = 500;
const SPANS_PER_TRACE: u64 = 10;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a folder");
    let spans: u64 = arguments.next().and_then(|n| n.parse().ok()).expect("a number of spans");
    let body_bytes: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(500);
    let storage = Storage::open(StorageConfig { data_dir: dir.into(), ..StorageConfig::default() }).await.expect("a free folder");

    let started = Instant::now();
    for (position, _) in storage.replay().map(|item| item.expect("an undamaged log")) {
        storage.publish(position, Vec::new());
    }
    println!("replay: {:?}", started.elapsed());

    let started = Instant::now();
    let mut building = std::time::Duration::ZERO;
    for first in (0..spans).step_by(usize::try_from(SPANS_PER_REQUEST).expect("small")) {
        let record = WalRecord {
            project: ProjectId::default_project(),
            signal: Signal::Traces,
            encoding: Encoding::Protobuf,
            received_at_unix_nano: 0,
            body: vec![7; body_bytes * usize::try_from(SPANS_PER_REQUEST).expect("small")].into(),
        };
        let position = storage.append(record).await.expect("room");
        let before = Instant::now();
        let batch = SpanRow::batch((first..first + SPANS_PER_REQUEST).map(|n| row(position, n, body_bytes)));
        building += before.elapsed();
        storage.publish(position, vec![(SpanRow::TABLE, batch)]);
    }
    storage.flush().await.expect("the lake takes it");
    println!("{spans} spans: {:?}, of which {building:?} built rows", started.elapsed());
    println!("{}", serde_json::to_string_pretty(&storage.status()).expect("a status is JSON"));
    storage.close().await.expect("a last flush");
}

fn row(position: WalPosition, n: u64, body_bytes: usize) -> SpanRow {
    let trace = n / SPANS_PER_TRACE;
    let now = chrono::Utc::now();
    let mut row = SpanRow {
        origin: Origin {
            project_id: "default".into(),
            date: now.date_naive().to_epoch_days(),
            received_at: now.timestamp_micros(),
            wal_position: i64::try_from(position.get()).expect("small"),
        },
        trace_id: format!("{:016x}{:016x}", trace.wrapping_mul(0x9e37_79b9_7f4a_7c15), trace.wrapping_mul(0xbf58_476d_1ce4_e5b9)),
        span_id: format!("{:016x}", n.wrapping_mul(0x94d0_49bb_1331_11eb)),
        name: ["chat", "tool", "retrieve"][usize::try_from(n % 3).expect("small")].into(),
        span_kind: "CLIENT".into(),
        start_time: now.timestamp_micros(),
        duration_ns: i64::try_from(n % 1_000_000).expect("small") * 1000,
        status_code: "OK".into(),
        ..SpanRow::default()
    };
    let sender = std::sync::Arc::make_mut(&mut row.sender);
    sender.service_name = Some("checkout".into());
    sender.resource_attributes = r#"{"service.name":"checkout"}"#.into();
    row.attributes.attributes = format!(r#"{{"http.route":"/chat","n":{n},"user":"user-{}"}}"#, n % 997);
    row.genai.operation = Some("chat".into());
    row.genai.provider = Some("openai".into());
    row.genai.request_model = Some("gpt-4o".into());
    row.genai.input_tokens = Some(i64::try_from(n % 4000).expect("small"));
    row.genai.cost_usd = Some("0.000123".parse().expect("a decimal"));
    row.genai.counted = true;
    if body_bytes > 1000 {
        let words: String =
            (0..body_bytes / 8).map(|w| format!("{:07x} ", (n + 1).wrapping_mul(w as u64 + 77) & 0xfff_ffff)).collect();
        row.genai.input_messages = Some(format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{words}"}}]}}]"#));
    }
    row
}
