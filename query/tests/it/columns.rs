//! Slim columns that are kept between questions: answers are those of files that are read anew, and of rows that are not in files.

use assay_query::{Ask, QueryConfig};
use assay_schemas::{ids::ProjectId, tables::SpanRow};

use crate::support::{Fixture, correction, log_call, span, trace};

const QUESTIONS: [&str; 16] = [
    "SELECT name, count(*), sum(cost_usd), avg(duration_ns) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT name, status_code, date_trunc('minute', start_time) AS m, count(user_id), sum(input_tokens) FILTER (WHERE counted) FROM spans GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    "SELECT session_id, user_id, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT counted, min(name), max(span_id), count(DISTINCT session_id) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT upper(name) AS n, CASE WHEN status_code = 'ERROR' THEN 1 END AS e, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT input_tokens, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT trace_id, count(*), min(start_time) FROM spans GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 7",
    "SELECT date, project_id, count(*) FROM spans WHERE project_id = 'default' GROUP BY 1, 2",
    "SELECT span_id, name, session_id FROM spans WHERE session_id IS NULL OR user_id LIKE '%a' ORDER BY start_time DESC, span_id LIMIT 5",
    "SELECT span_id, start_time FROM spans WHERE name LIKE '%a%' AND duration_ns > 0 ORDER BY duration_ns DESC, span_id LIMIT 9",
    "SELECT span_id FROM spans WHERE start_time >= '2026-11-20T10:05:00Z' AND start_time < '2026-11-20T10:06:00Z' ORDER BY 1",
    "SELECT count(*) FROM spans WHERE span_id LIKE '%1%'",
    "SELECT count(*) FROM spans",
    "SELECT sum(input_tokens), max(start_time), min(start_time) FROM llm_calls",
    "SELECT s.name, count(*) FROM spans s JOIN spans p ON s.parent_span_id = p.span_id WHERE p.name = 'agent' GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM spans WHERE span_id = 'none' AND CAST(name AS VARCHAR) = 'x'",
];

fn rows(first: u64) -> Vec<SpanRow> {
    (first..first + 300).flat_map(|number| trace("default", number, number as i64 * 1000)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_columns_give_the_same_answers() {
    let keeps = Fixture::new().await;
    let keeps_nothing = Fixture::with(QueryConfig { threads: 2, cache_bytes_max: 0, ..QueryConfig::default() }).await;
    let keeps_little = Fixture::with(QueryConfig { threads: 2, cache_bytes_max: 100 << 10, ..QueryConfig::default() }).await;
    let hot = Fixture::new().await;
    for fixture in [&keeps, &keeps_nothing, &keeps_little, &hot] {
        for part in 0..3 {
            fixture.publish("default", rows(part * 300 + 1)).await;
            fixture.publish("default", vec![span("default", 10_000 + part, 77, 5)]).await;
            fixture.publish("default", vec![log_call("default", 20_000 + part, 9)]).await;
            // The last part stays in memory.
            if part < 2 && !std::ptr::eq(fixture, &raw const hot) {
                fixture.storage.flush().await.unwrap();
            }
        }
    }
    for sql in QUESTIONS {
        let expected = hot.table(sql).await;
        for round in 0..2 {
            assert_eq!(keeps.table(sql).await, expected, "{sql}, asked {round} times before");
            assert_eq!(keeps_nothing.table(sql).await, expected, "{sql}, nothing kept");
            assert_eq!(keeps_little.table(sql).await, expected, "{sql}, little kept");
        }
    }
    assert!((1..=64 << 20).contains(&kept_bytes(&keeps)) && kept_bytes(&keeps_nothing) == 0);
    assert!((1..=100 << 10).contains(&kept_bytes(&keeps_little)));
}

/// Memory of columns that are kept, as a metric says.
fn kept_bytes(f: &Fixture) -> u64 {
    let registry = prometheus::Registry::new();
    f.engine.metrics().register(&registry).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = text.lines().find(|line| line.starts_with("assay_query_column_cache_bytes ")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_decoded_once() {
    let f = Fixture::new().await;
    f.publish("default", rows(1)).await;
    f.storage.flush().await.unwrap();
    let scanned = async |sql: &str| {
        f.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await.unwrap().collect().await.unwrap().1.bytes_scanned
    };
    let sql = "SELECT name, sum(duration_ns) FROM spans GROUP BY 1";
    assert!(scanned(sql).await > 0);
    assert_eq!(scanned(sql).await, 0);
    assert!(scanned("SELECT name, sum(flags) FROM spans GROUP BY 1").await > 0, "another column");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_changes_what_was_kept() {
    let f = Fixture::new().await;
    f.publish("default", trace("default", 1, 0)).await;
    f.storage.flush().await.unwrap();
    let sql = "SELECT session_id, count(*) FILTER (WHERE counted) FROM spans GROUP BY 1 ORDER BY 1";
    let before = f.table(sql).await;
    f.publish("default", vec![correction("default", 1, 11, r#"{"counted":false,"session_id":"late"}"#)]).await;
    let after = f.table(sql).await;
    assert_ne!(before, after);
    assert!(after.contains("late"), "{after}");
}
