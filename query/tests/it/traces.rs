//! The read models of the UI.

use std::collections::BTreeSet;

use assay_query::traces::{SpanSummary, TraceSummary};
use assay_schemas::{genai::GenAi, tables::SpanRow};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Fixture, correction, cost_line, log_call, span, trace};

const RANGE: &str = "from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z";

fn ids(list: &Value) -> Vec<u64> {
    let id = |t: &Value| u64::from_str_radix(t["trace_id"].as_str().unwrap().trim_start_matches('0'), 16).unwrap();
    list["traces"].as_array().unwrap().iter().map(id).collect()
}

async fn list(f: &Fixture, query: &str) -> Value {
    let (status, list) = f.get(&format!("/api/v1/traces?{RANGE}&{query}")).await;
    assert_eq!(status, StatusCode::OK, "{query}: {list}");
    list
}

/// Nine traces, half of them in files; trace 9 began first and is still going on.
async fn nine() -> Fixture {
    let f = Fixture::new().await;
    f.publish("default", vec![span("default", 9, 90, -1000)]).await;
    for number in 1..=8 {
        f.publish("default", trace("default", number, number as i64 * 60_000)).await;
        if number == 4 {
            f.storage.flush().await.unwrap();
        }
    }
    let mut late = span("default", 9, 91, 500_000);
    late.parent_span_id = Some(format!("{:016x}", 90));
    f.publish("default", vec![late]).await;
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_without_gap_or_repetition() {
    let f = nine().await;
    for (order, sort) in
        [("desc", "start_time"), ("asc", "start_time"), ("desc", "cost_usd"), ("asc", "span_count"), ("desc", "duration_ns")]
    {
        let all = ids(&list(&f, &format!("limit=100&order={order}&sort={sort}")).await);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 9, "{sort} {order}");
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&f, &format!("limit=2&order={order}&sort={sort}{cursor}")).await;
            paged.extend(ids(&page));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, all, "{sort} {order}");
    }
    assert_eq!(ids(&list(&f, "limit=100").await), [8, 7, 6, 5, 4, 3, 2, 1, 9], "a trace belongs where it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_look_widens_until_the_page_is_right() {
    let f = Fixture::new().await;
    // Enough spans that the first look covers only some of them, and a long trace whose last span is the newest of all.
    let mut rows: Vec<_> = (1..=60_000_u64).map(|n| span("default", n, n, n as i64 * 10)).collect();
    let mut last = span("default", 1, 70_000, 700_000);
    last.parent_span_id = Some(format!("{:016x}", 1));
    rows.push(last);
    f.publish("default", rows).await;
    f.storage.flush().await.unwrap();
    assert_eq!(ids(&list(&f, "limit=3").await), [60_000, 59_999, 59_998]);
    assert_eq!(ids(&list(&f, "limit=3&q=span:0000000000000002").await), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_its_sql() {
    let f = nine().await;
    for query in ["limit=3", "limit=3&sort=cost_usd", "limit=2&order=asc&q=tool:search%20has:error"] {
        let list = list(&f, query).await;
        let (status, rows) = f.post_sql("application/x-ndjson", &json!({"query": list["sql"]})).await;
        let rows = String::from_utf8(rows).unwrap();
        assert_eq!(status, StatusCode::OK, "{rows}");
        let rows: Vec<Value> = rows.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let traces = list["traces"].as_array().unwrap();
        assert_eq!(rows.len(), traces.len());
        for (row, trace) in rows.iter().zip(traces) {
            for field in ["trace_id", "name", "start_time", "cost_usd", "span_count", "duration_ns", "models"] {
                if !trace[field].as_array().is_some_and(Vec::is_empty) {
                    assert_eq!(row[field], trace[field], "{query} {field}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_has_the_fields_promised() {
    let f = nine().await;
    let list = list(&f, "limit=1&q=service:api%20name:agent%20tag:blue").await;
    let summary: TraceSummary = serde_json::from_value(list["traces"][0].clone()).unwrap();
    assert_eq!(summary.start_time, "2026-11-20T10:08:00.000000007Z");
    assert_eq!(summary.end_time, "2026-11-20T10:08:05.000000007Z");
    assert_eq!((summary.span_count, summary.llm_call_count, summary.tool_call_count, summary.error_count), (4, 2, 1, 1));
    assert_eq!((summary.input_tokens, summary.cost_usd.as_deref()), (Some(200), Some("0.0009")));
    assert_eq!(summary.models, ["gpt-4o-2024-08-06"]);
    assert_eq!(summary.tags, [json!("blue"), json!("green")]);
    assert_eq!(summary.input_preview.as_deref(), Some("hi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_traces_by_any_of_their_spans() {
    let f = nine().await;
    assert_eq!(list(&f, "limit=100&q=has:error").await["traces"].as_array().unwrap().len(), 8);
    assert_eq!(ids(&list(&f, "limit=100&q=-name:agent%20-tool:search%20-model:gpt*").await), [9]);
    assert_eq!(list(&f, "limit=100&q=cost:%3E0.01").await["traces"], json!([]));
    let (status, problem) = f.get("/api/v1/traces?q=modle:x").await;
    assert_eq!(
        (status, &problem["hint"], &problem["position"]["column"]),
        (StatusCode::BAD_REQUEST, &json!("did you mean `model`?"), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_page_gives_every_span_in_order() {
    let f = nine().await;
    let (status, page) = f.get(&format!("/api/v1/traces/{:032x}", 3)).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let spans: Vec<SpanSummary> = serde_json::from_value(page["spans"].clone()).unwrap();
    assert_eq!(spans.iter().map(|s| s.start_ns).collect::<Vec<_>>(), [0, 100_000_000, 2_000_000_000, 2_100_000_000]);
    assert_eq!(spans[1].cost_usd.as_deref(), Some("0.00045"));
    assert_eq!(page["trace"]["name"], "agent");
    assert_eq!((&page["truncated"], &page["logs_count"]), (&json!(false), &json!(0)));
    let (status, _) = f.get(&format!("/api/v1/traces/{:032x}", 77)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_shows_what_was_received() {
    let f = Fixture::new().await;
    let mut rows = trace("default", 1, 0);
    rows[1].attributes.attributes = r#"{"z":1,"a":1.0,"prompt":{"$payload":5},"messages":{"$column":"input_messages"}}"#.into();
    rows[1].attributes.payload = Some(r#"{"prompt":"hello"}"#.into());
    rows[1].genai.rules = Some(r#"{"input_tokens":"otel.usage"}"#.into());
    rows[1].events = Some(r#"[{"name":"e"}]"#.into());
    f.publish("default", rows).await;
    f.publish("default", vec![cost_line("default", 1, 11, "input", "0.00025"), cost_line("default", 1, 11, "output", "0.0002")])
        .await;
    f.storage.flush().await.unwrap();
    f.publish("default", vec![correction("default", 1, 11, r#"{"session_id":"late"}"#)]).await;
    let (status, detail) = f.get(&format!("/api/v1/traces/{:032x}/spans/{:016x}", 1, 11)).await;
    assert_eq!(status, StatusCode::OK, "{detail}");
    let messages = r#"[{"role":"user","parts":[{"type":"text","content":"hi"}]}]"#;
    assert_eq!(detail["attributes"].to_string(), json!({"z": 1, "a": 1.0, "prompt": "hello", "messages": messages}).to_string());
    assert_eq!(detail["input_messages"][0]["role"], "user");
    assert_eq!(detail["rules"]["input_tokens"], "otel.usage");
    assert_eq!(detail["events"][0]["name"], "e");
    assert_eq!(detail["session_id"], "late");
    assert_eq!(detail["start_ns"], 100_000_000);
    assert_eq!(detail["cost_lines"][1]["cost_usd"], "0.0002");
    assert!(detail.get("payload").is_none() && detail.get("wal_position").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strip_adds_up_to_the_list() {
    let f = nine().await;
    let (status, strip) = f.get(&format!("/api/v1/traces/strip?{RANGE}&buckets=48")).await;
    assert_eq!(status, StatusCode::OK, "{strip}");
    let buckets = strip["buckets"].as_array().unwrap();
    assert_eq!((buckets.len(), strip["bucket_ns"].as_i64().unwrap()), (48, 3_600_000_000_000));
    assert_eq!(buckets.iter().map(|b| b["traces"].as_i64().unwrap()).sum::<i64>(), 9);
    assert_eq!(buckets[10]["start"], "2026-11-20T10:00:00.000000000Z");
    assert_eq!((&buckets[10]["cost_usd"], &buckets[10]["p50_ns"]), (&json!("0.0072"), &json!(5_000_000_000.0)));
}

/// Traces that are cut by flushes, by compaction and by the ends of a range, in files and in memory, some without a root, some corrected.
async fn woven() -> Fixture {
    let f = Fixture::new().await;
    let mut rows: Vec<_> = (1..=40).flat_map(|number| trace("default", number, number as i64 * 900)).collect();
    // Spans come as they end, so that neighbouring traces mix.
    rows.sort_by_key(|row| row.start_time + row.duration_ns / 1000);
    rows.retain(|row| !(row.parent_span_id.is_none() && row.trace_id.ends_with('7')));
    // Some SDKs name the error and leave the status unset, and some announce spans before they end.
    for row in rows.iter_mut().filter(|row| row.genai.error_type.is_some() && row.trace_id.ends_with(['2', '5'])) {
        row.status_code = "UNSET".into();
    }
    let announced: Vec<_> = rows.iter().filter(|row| row.trace_id.ends_with('6')).map(announcement).collect();
    rows.extend(announced);
    for row in rows.iter_mut().filter(|row| row.genai.counted && row.span_id.ends_with('3')) {
        row.genai.cost_usd = Some(format!("0.{}", u64::from_str_radix(&row.trace_id, 16).unwrap() % 5).parse().unwrap());
        row.duration_ns += 12_345;
    }
    let parts: Vec<_> = rows.chunks(11).map(<[_]>::to_vec).collect();
    let (last, flushed) = parts.split_last().unwrap();
    for (nth, part) in flushed.iter().enumerate() {
        f.publish("default", part.clone()).await;
        f.storage.flush().await.unwrap();
        if nth == 9 {
            f.storage.compact().await.unwrap();
        }
    }
    f.publish("default", last.clone()).await;
    let patches = [(5, 51, r#"{"counted":false}"#), (39, 393, r#"{"cost_usd":"0.7"}"#), (40, 403, r#"{"counted":false}"#)];
    f.publish("default", patches.map(|(trace, span, patch)| correction("default", trace, span, patch)).to_vec()).await;
    f
}

/// What the Logfire SDK sends when `row` begins.
fn announcement(row: &SpanRow) -> SpanRow {
    let mut announced = row.clone();
    announced.parent_span_id = Some(std::mem::replace(&mut announced.span_id, format!("f{}", &row.span_id[1..])));
    announced.duration_ns = 0;
    announced.pending = Some(true);
    announced.status_code = "UNSET".into();
    *announced.genai = GenAi { operation: row.genai.operation.clone(), ..GenAi::default() };
    announced.attributes.attributes =
        r#"{"logfire.span_type":"pending_span","logfire.pending_parent_id":"0000000000000000"}"#.into();
    announced
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_was_announced_counts_once() {
    let f = Fixture::new().await;
    let rows = trace("default", 1, 0);
    f.publish("default", rows.iter().map(announcement).collect()).await;
    let running = list(&f, "").await;
    assert_eq!((ids(&running), &running["traces"][0]["span_count"]), (vec![1], &json!(0)), "none has ended");
    f.publish("default", rows).await;
    for flushed in [false, true] {
        if flushed {
            f.storage.flush().await.unwrap();
        }
        let listed = list(&f, "sort=span_count").await;
        let (_, page) = f.get(&format!("/api/v1/traces/{:032x}", 1)).await;
        for trace in [&listed["traces"][0], &page["trace"]] {
            assert_eq!((&trace["span_count"], &trace["tool_call_count"]), (&json!(4), &json!(1)), "flushed: {flushed}");
        }
        let (_, totals) = f.get(&format!("/api/v1/traces/totals?{RANGE}")).await;
        assert_eq!((&totals["spans"], &totals["traces"]), (&json!(4), &json!(1)));
        let (_, tools) = f.get(&format!("/api/v1/lists/tools?{RANGE}")).await;
        assert_eq!(tools["rows"][0]["calls"], json!(1));
        assert_eq!(f.value("SELECT sum(span_count) FROM sessions").await, "2");
        assert_eq!(f.value("SELECT span_count || ' ' || tool_call_count FROM traces").await, "4 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_names_an_error_failed() {
    let f = Fixture::new().await;
    let mut rows = trace("default", 1, 0);
    rows[2].status_code = "UNSET".into();
    f.publish("default", rows).await;
    f.storage.flush().await.unwrap();
    let shown = list(&f, "q=has:error&sort=error_count").await;
    assert_eq!((ids(&shown), &shown["traces"][0]["error_count"]), (vec![1], &json!(1)));
    assert_eq!(ids(&list(&f, "q=status:error").await), [] as [u64; 0]);
    let (_, errors) = f.get(&format!("/api/v1/lists/errors?{RANGE}")).await;
    assert_eq!((&errors["rows"][0]["error_type"], &errors["totals"]["spans"]), (&json!("Timeout"), &json!(1)));
    let (_, strip) = f.get(&format!("/api/v1/traces/strip?{RANGE}&buckets=1")).await;
    assert_eq!(strip["buckets"][0]["errors"], json!(1));
    let (_, totals) = f.get(&format!("/api/v1/traces/totals?{RANGE}&q=has:error")).await;
    assert_eq!(totals["errors"], json!(1));
    let (_, series) = f.get(&format!("/api/v1/series?{RANGE}&measure=errors&buckets=1")).await;
    assert_eq!(series["series"][0]["points"], json!([1]));
    let (_, tools) = f.get(&format!("/api/v1/lists/tools?{RANGE}")).await;
    assert_eq!(tools["rows"][0]["errors"], json!(1));
    assert_eq!(f.value("SELECT error_count FROM traces").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_made_from_sums_are_their_sql() {
    let f = woven().await;
    let mut log = log_call("default", 1, 20_000);
    log.trace_id = Some(format!("{:032x}", 3));
    f.publish("default", vec![log]).await;
    for range in CUTS {
        for q in ["", "has:error", "name:agent", "user:nobody"] {
            let (status, totals) = f.get(&format!("/api/v1/traces/totals?{range}&q={q}")).await;
            assert_eq!(status, StatusCode::OK, "{totals}");
            for (name, value) in shown(&f, &totals["sql"]).await[0].as_object().unwrap() {
                assert_eq!(*value, totals[name], "{range} {q} {name}");
            }
        }
    }
}

/// The answer of SQL that a read model showed.
async fn shown(f: &Fixture, sql: &Value) -> Vec<Value> {
    let (status, rows) = f.post_sql("application/x-ndjson", &json!({"query": sql})).await;
    let rows = String::from_utf8(rows).unwrap();
    assert_eq!(status, StatusCode::OK, "{rows}");
    rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ranges that cut through traces at both ends, and one that holds all.
const CUTS: [&str; 3] = [
    "from=2026-11-20T10:00:04Z&to=2026-11-20T10:00:21.5Z",
    "from=2026-11-20T10:00:02.7Z&to=2026-11-20T10:00:38Z",
    "from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z",
];

#[tokio::test(flavor = "multi_thread")]
async fn lists_made_from_sums_are_their_sql() {
    let f = woven().await;
    let orders = [
        ("cost_usd", "desc"),
        ("cost_usd", "asc"),
        ("duration_ns", "desc"),
        ("input_tokens", "asc"),
        ("error_count", "desc"),
        ("span_count", "desc"),
        ("start_time", "asc"),
        ("start_time", "desc"),
    ];
    for (nth, (sort, order)) in orders.into_iter().enumerate() {
        for q in ["", "has:error", "name:agent"] {
            let query = format!("/api/v1/traces?{}&sort={sort}&order={order}&q={q}&limit=15", CUTS[nth % CUTS.len()]);
            let (mut cursor, mut listed) = (String::new(), Vec::new());
            loop {
                let (status, list) = f.get(&format!("{query}{cursor}")).await;
                assert_eq!(status, StatusCode::OK, "{query}: {list}");
                let ids = |rows: &[Value]| rows.iter().map(|r| r["trace_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
                let page = ids(list["traces"].as_array().unwrap());
                let of_sql: BTreeSet<_> = ids(&shown(&f, &list["sql"]).await).into_iter().collect();
                assert_eq!(page.iter().cloned().collect::<BTreeSet<_>>(), of_sql, "{query}{cursor}");
                listed.extend(page);
                match list["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strip_is_its_sql() {
    let f = woven().await;
    for range in CUTS {
        for q in ["", "-has:error", "name:agent"] {
            let (status, strip) = f.get(&format!("/api/v1/traces/strip?{range}&buckets=9&q={q}")).await;
            assert_eq!(status, StatusCode::OK, "{strip}");
            let rows = shown(&f, &strip["sql"]).await;
            assert!(!rows.is_empty(), "{range} {q}");
            let filled: Vec<_> = strip["buckets"].as_array().unwrap().iter().filter(|b| b["traces"] != 0).collect();
            assert_eq!(filled.len(), rows.len(), "{range} {q}");
            for (row, bucket) in rows.iter().zip(filled) {
                for field in ["traces", "errors", "cost_usd", "p50_ns", "p95_ns"] {
                    assert_eq!(row[field], bucket[field], "{range} {q} {field}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_whose_root_never_came_is_on_the_strip() {
    let f = Fixture::new().await;
    let mut orphan = span("default", 1, 10, 0);
    orphan.parent_span_id = Some("00000000000000ff".into());
    f.publish("default", vec![orphan]).await;
    let (_, strip) = f.get(&format!("/api/v1/traces/strip?{RANGE}&buckets=48")).await;
    assert_eq!((&strip["buckets"][10]["traces"], &strip["buckets"][10]["p50_ns"]), (&json!(1), &json!(1_000_000.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_of_a_trace_say_what_its_rows_say() {
    let f = nine().await;
    let path = format!("/api/v1/traces/{:032x}", 3);
    let (_, page) = f.get(&path).await;
    let (status, got) = f.get(&format!("{path}/columns")).await;
    assert_eq!(status, StatusCode::OK, "{got}");
    let (rows, columns) = (page["spans"].as_array().unwrap(), &got["spans"]);
    assert_eq!(columns["count"], rows.len());
    let ids: Vec<&str> = rows.iter().map(|row| row["span_id"].as_str().unwrap()).collect();
    assert_eq!(columns["span_ids"], ids.concat());
    assert_eq!(columns["parents"], json!([-1, 0, 0, 2]));
    for column in ["name", "service_name", "operation", "cost_usd", "input_tokens", "status_code"] {
        let column_of = &columns[column];
        let places: Vec<usize> = column_of["rows"].as_array().map_or_else(
            || (0..rows.len()).collect(),
            |places| places.iter().map(|at| usize::try_from(at.as_u64().unwrap()).unwrap()).collect(),
        );
        let mut values = vec![json!(null); rows.len()];
        for (at, value) in places.into_iter().zip(column_of["values"].as_array().unwrap()) {
            let word = column_of.get("words").map(|words| words[usize::try_from(value.as_u64().unwrap()).unwrap()].clone());
            values[at] = word.unwrap_or_else(|| value.clone());
        }
        assert_eq!(values, rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>(), "{column}");
    }
    assert_eq!(columns["start_ns"], rows.iter().map(|row| row["start_ns"].clone()).collect::<serde_json::Value>());
    assert_eq!(got["trace"], page["trace"]);
    assert_eq!(f.get(&format!("/api/v1/traces/{:032x}/columns", 77)).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_span_is_shown_until_it_arrives() {
    let f = Fixture::new().await;
    let mut rows = trace("default", 1, 0);
    let path = format!("/api/v1/traces/{:032x}", 1);
    // The root is announced and has not ended.
    rows[0].parent_span_id = Some(rows[0].span_id.clone());
    let root = std::mem::replace(&mut rows[0].span_id, format!("{:016x}", 99));
    rows[0].duration_ns = 0;
    rows[0].attributes.attributes =
        r#"{"logfire.span_type":"pending_span","logfire.pending_parent_id":"0000000000000000"}"#.into();
    f.publish("default", rows).await;
    let (_, got) = f.get(&format!("{path}/columns")).await;
    assert_eq!((&got["spans"]["running"], &got["spans"]["parents"]), (&json!([0]), &json!([-1, 0, 0, 2])));
    let (status, detail) = f.get(&format!("{path}/spans/{root}")).await;
    assert_eq!((status, &detail["running"]), (StatusCode::OK, &json!(true)));
    // Now it has.
    f.publish("default", trace("default", 1, 0).into_iter().take(1).collect()).await;
    let (_, got) = f.get(&format!("{path}/columns")).await;
    assert_eq!((&got["spans"]["running"], &got["spans"]["count"]), (&json!([]), &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_value_is_cut_if_asked_and_can_be_had_whole() {
    let f = Fixture::new().await;
    let mut rows = trace("default", 1, 0);
    let long = "word ".repeat(50_000);
    rows[1].genai.output_messages =
        Some(json!([{"role": "assistant", "parts": [{"type": "text", "content": long}]}]).to_string());
    f.publish("default", rows).await;
    let path = format!("/api/v1/traces/{:032x}/spans/{:016x}", 1, 11);
    let (_, whole) = f.get(&path).await;
    assert_eq!(whole["output_messages"][0]["parts"][0]["content"], long);
    let (_, cut) = f.get(&format!("{path}?text_bytes_max=65536")).await;
    let said = &cut["output_messages"][0]["parts"][0]["content"]["$cut"];
    assert_eq!((&said["bytes"], &said["path"]), (&json!(250_000), &json!("/output_messages/0/parts/0/content")));
    let (status, _) = f.get(&format!("{path}/value?path=/output_messages/0/parts/0")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(f.get(&format!("{path}/value?path=/nothing")).await.0, StatusCode::NOT_FOUND);
}
