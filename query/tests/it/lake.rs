//! Hot rows and files are one table: every row once, corrections applied, and only what is needed is read.

use arrow::{array::AsArray as _, datatypes::Int64Type};
use assay_query::Ask;
use assay_schemas::ids::ProjectId;

use crate::support::{Fixture, call, correction, span, trace};

const NUMBERS: &str =
    "SELECT count(*) || ' ' || sum(input_tokens) || ' ' || count(DISTINCT trace_id) || ' ' || max(start_time) FROM spans";

#[tokio::test(flavor = "multi_thread")]
async fn hot_flushed_and_both_give_the_same_numbers() {
    let hot = Fixture::new().await;
    let flushed = Fixture::new().await;
    let both = Fixture::new().await;
    for number in 1..=6 {
        for fixture in [&hot, &flushed, &both] {
            fixture.publish("default", trace("default", number, number as i64 * 1000)).await;
        }
        if number == 3 {
            both.storage.flush().await.unwrap();
        }
    }
    flushed.storage.flush().await.unwrap();
    let expected = hot.value(NUMBERS).await;
    assert!(expected.starts_with("24 1200 6 "), "{expected}");
    for fixture in [&flushed, &both] {
        assert_eq!(fixture.value(NUMBERS).await, expected);
        let everything = "SELECT * FROM spans ORDER BY start_time, span_id";
        assert_eq!(fixture.table(everything).await, hot.table(everything).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_columns_can_be_filtered_and_read() {
    let f = Fixture::new().await;
    f.publish("default", trace("default", 1, 0)).await;
    f.publish("default", vec![span("default", 2, 20, 86_400_000)]).await;
    f.storage.flush().await.unwrap();
    assert_eq!(f.value("SELECT count(*) FROM spans WHERE date = DATE '2026-11-21'").await, "1");
    assert_eq!(
        f.value("SELECT project_id || ' ' || date FROM spans ORDER BY start_time DESC LIMIT 1").await,
        "default 2026-11-21"
    );
    let plan = f.table("EXPLAIN SELECT span_id FROM spans WHERE date = DATE '2026-11-21'").await;
    assert!(plan.contains("LakeScanExec: table=spans, files=1,"), "one of two files: {plan}");
    let plan = f.table("EXPLAIN SELECT span_id FROM spans WHERE start_time > '2026-11-21T00:00:00Z'").await;
    assert!(plan.contains("LakeScanExec: table=spans, files=1,"), "text is read as a time: {plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_rows_reads_no_file() {
    let f = Fixture::new().await;
    f.publish("default", trace("default", 1, 0)).await;
    f.storage.flush().await.unwrap();
    let scanned = async |sql: &str| {
        f.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await.unwrap().collect().await.unwrap().1.bytes_scanned
    };
    assert_eq!(scanned("SELECT count(*), min(start_time), max(start_time) FROM spans").await, 0);
    f.publish("default", trace("default", 2, 0)).await;
    assert_eq!(scanned("SELECT count(*) FROM spans").await, 0);
    let plan = f.table("EXPLAIN SELECT count(*) FROM spans").await;
    assert!(!plan.contains(".parquet"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_reads_only_its_rows() {
    let f = Fixture::new().await;
    let many: Vec<_> = (1..=400).flat_map(|number| trace("default", number, number as i64 * 1000)).collect();
    f.publish("default", many).await;
    f.storage.flush().await.unwrap();
    let id = format!("{:032x}", 200);
    let plan = f.table(&format!("EXPLAIN ANALYZE SELECT * FROM spans WHERE trace_id = '{id}'")).await;
    let source = &plan[plan.find("DataSourceExec").unwrap()..];
    assert!(source.contains("output_rows=4,"), "{source}");
    assert_eq!(f.value(&format!("SELECT count(*) FROM spans WHERE trace_id = '{id}'")).await, "4");
    assert_eq!(f.value("SELECT count(*) FROM spans WHERE trace_id = 'ffffffffffffffffffffffffffffffff'").await, "0");
    let ids = format!("'{:032x}', '{:032x}', '{:032x}', '{:032x}'", 7, 9, 300, 5000);
    assert_eq!(f.value(&format!("SELECT count(*) FROM spans WHERE trace_id IN ({ids}) AND name = 'agent'")).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_not_read_unless_asked_for() {
    let f = Fixture::new().await;
    let mut rows: Vec<_> = (0..50).map(|n| call("default", n, n, 0, 0)).collect();
    for (n, row) in rows.iter_mut().enumerate() {
        // Text that does not compress.
        row.genai.input_messages =
            Some((0..20_000_u64).map(|i| char::from(33 + ((i * i + n as u64 * 7919) * 2_654_435_761 % 90) as u8)).collect());
    }
    f.publish("default", rows).await;
    f.storage.flush().await.unwrap();
    let scanned = async |sql: &str| {
        f.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await.unwrap().collect().await.unwrap().1.bytes_scanned
    };
    let slim = scanned("SELECT sum(input_tokens), sum(cost_usd) FROM llm_calls").await;
    let wide = scanned("SELECT max(length(input_messages)) FROM llm_calls").await;
    assert!(slim * 5 < wide, "{slim} against {wide} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_change_what_is_read_hot_and_in_files() {
    for flushed in [false, true] {
        let f = Fixture::new().await;
        f.publish("default", trace("default", 1, 0)).await;
        if flushed {
            f.storage.flush().await.unwrap();
        }
        f.publish(
            "default",
            vec![correction("default", 1, 11, r#"{"counted":false,"uncounted_reason":"wrapper","session_id":"late"}"#)],
        )
        .await;
        assert_eq!(f.value("SELECT count(*) FROM spans WHERE counted").await, "1", "flushed: {flushed}");
        assert_eq!(f.value("SELECT sum(input_tokens) FROM llm_calls").await, "100");
        assert_eq!(f.value("SELECT uncounted_reason FROM spans WHERE session_id = 'late'").await, "wrapper");
        assert_eq!(f.value("SELECT count(*) FROM spans").await, "4");
        assert_eq!(f.value("SELECT count(*) FROM spans WHERE session_id = 'session-1' AND name LIKE 'chat%'").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_nowhere_reads_no_rows() {
    let f = Fixture::new().await;
    let mut rows: Vec<_> = (0..9000).map(|n| call("default", n, n, 0, n as i64)).collect();
    rows[8000].genai.output_preview = Some("Your REFUND is 100% on its way".into());
    f.publish("default", rows).await;
    f.storage.flush().await.unwrap();
    f.publish("default", vec![span("default", 9001, 9001, 0)]).await;
    let asked = async |condition: &str| {
        let sql = format!("SELECT count(*) AS n, max(trace_id) AS last FROM spans WHERE {condition}");
        let (batches, stats) = f.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await.unwrap().collect().await.unwrap();
        let n = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        (n, stats.bytes_scanned)
    };
    let anywhere = |text: &str| {
        ["name", "input_preview", "output_preview", "error_message"].map(|c| format!("{c} ILIKE '%{text}%'")).join(" OR ")
    };
    assert_eq!(asked(&anywhere("no such words")).await, (0, 0));
    assert_eq!(asked(&anywhere("gpt-4o")).await.0, 9000);
    assert_eq!(asked(&anywhere("refund is 100\\% on")).await.0, 1);
    assert_eq!(asked("name = 'span 9001' OR name = 'span 9002'").await.0, 1, "rows that are in no file yet");
    assert_eq!(asked(&format!("({}) IS NOT TRUE", anywhere("refund"))).await.0, 9000);
    // What an index says of a row that is being corrected is out of date.
    f.publish("default", vec![correction("default", 77, 77, r#"{"output_preview":"no such words as these"}"#)]).await;
    assert_eq!(asked(&anywhere("no such words")).await.0, 1);
    assert_eq!(asked(&anywhere("refund")).await.0, 1);
}
