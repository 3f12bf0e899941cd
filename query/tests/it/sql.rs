//! What SQL gives: views, functions, information_schema, parameters, limits, errors.

use std::time::{Duration, Instant};

use arrow::{array::AsArray as _, datatypes::Int64Type};
use assay_query::{Ask, Params, QueryConfig, QueryErrorKind, views::VIEWS};
use assay_schemas::ids::ProjectId;
use axum::http::StatusCode;
use datafusion::common::ScalarValue;

use crate::support::{Fixture, log_call, span, trace};

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.publish("default", trace("default", 1, 0)).await;
    fixture.publish("default", vec![log_call("default", 1, 60_000)]).await;
    fixture.storage.flush().await.unwrap();
    fixture.publish("default", trace("default", 2, 10_000)).await;
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_once_from_spans_and_logs() {
    let f = filled().await;
    let sql = "SELECT source, count(*) AS n, sum(input_tokens) AS input, sum(cost_usd) AS cost, max(duration_ns) AS ns FROM llm_calls GROUP BY 1 ORDER BY 1";
    insta::assert_snapshot!(f.table(sql).await, @r"
    +--------+---+-------+-------------------+------------+
    | source | n | input | cost              | ns         |
    +--------+---+-------+-------------------+------------+
    | log    | 1 | 7     |                   | 1500000000 |
    | span   | 4 | 400   | 0.001800000000000 | 2000000000 |
    +--------+---+-------+-------------------+------------+
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_sessions_and_users_add_up() {
    let f = filled().await;
    let sql = "SELECT right(trace_id, 2) AS t, name, span_count, llm_call_count AS calls, tool_call_count AS tools, error_count AS errors, input_tokens, cost_usd, duration_ns, has_root, models FROM traces ORDER BY start_time";
    insta::assert_snapshot!(f.table(sql).await, @r"
    +----+-------+------------+-------+-------+--------+--------------+-------------------+-------------+----------+---------------------+
    | t  | name  | span_count | calls | tools | errors | input_tokens | cost_usd          | duration_ns | has_root | models              |
    +----+-------+------------+-------+-------+--------+--------------+-------------------+-------------+----------+---------------------+
    | 01 | agent | 4          | 2     | 1     | 1      | 200          | 0.000900000000000 | 5000000000  | true     | [gpt-4o-2024-08-06] |
    | 02 | agent | 4          | 2     | 1     | 1      | 200          | 0.000900000000000 | 5000000000  | true     | [gpt-4o-2024-08-06] |
    +----+-------+------------+-------+-------+--------+--------------+-------------------+-------------+----------+---------------------+
    ");
    let sql =
        "SELECT session_id, trace_count, span_count, llm_call_count AS calls, unpriced_calls, user_id FROM sessions ORDER BY 1";
    insta::assert_snapshot!(f.table(sql).await, @r"
    +-------------+-------------+------------+-------+----------------+---------+
    | session_id  | trace_count | span_count | calls | unpriced_calls | user_id |
    +-------------+-------------+------------+-------+----------------+---------+
    | session-0   | 1           | 2          | 2     | 0              | ada     |
    | session-1   | 1           | 2          | 2     | 0              | ada     |
    | session-log | 0           | 0          | 1     | 1              |         |
    +-------------+-------------+------------+-------+----------------+---------+
    ");
    assert_eq!(f.value("SELECT session_count FROM users WHERE user_id = 'ada'").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_without_a_root_is_named_after_its_earliest_span() {
    let f = Fixture::new().await;
    let mut orphans = vec![span("default", 9, 91, 50), span("default", 9, 92, 10)];
    for orphan in &mut orphans {
        orphan.parent_span_id = Some("00000000000000ff".into());
    }
    f.publish("default", orphans).await;
    assert_eq!(f.value("SELECT name || ' ' || has_root FROM traces").await, "span 92 false");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_a_view_is_documented() {
    let f = filled().await;
    for view in VIEWS.iter() {
        let sql = format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{}' AND (comment IS NULL OR comment = '')",
            view.name
        );
        let answer = f.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await.unwrap().collect().await.unwrap();
        assert_eq!(answer.1.rows, 0, "{}: {:?}", view.name, answer.0);
        let documented: Vec<_> = view.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let tables = f.engine.tables(&ProjectId::default_project()).await.unwrap();
        let columns =
            tables.iter().find(|t| t.name == view.name).unwrap().columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(columns, documented, "{}", view.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn information_schema_has_comments() {
    let f = filled().await;
    let sql = "SELECT data_type, is_nullable, comment FROM information_schema.columns WHERE table_name = 'spans' AND column_name = 'cost_usd'";
    insta::assert_snapshot!(f.table(sql).await, @r"
    +----------------+-------------+-----------------------------------------------------------------------------------------------+
    | data_type      | is_nullable | comment                                                                                       |
    +----------------+-------------+-----------------------------------------------------------------------------------------------+
    | numeric(28,15) | YES         | Cost in US dollars, computed from the price table; NULL if the model or its usage is unknown. |
    +----------------+-------------+-----------------------------------------------------------------------------------------------+
    ");
    assert_eq!(f.value("SELECT count(*) FROM information_schema.tables WHERE table_type = 'VIEW'").await, "5");
    assert!(f.table("SHOW TABLES").await.contains("llm_calls"));
    assert!(f.table("DESCRIBE spans").await.contains("W3C trace state."));
    assert!(f.table("SHOW COLUMNS FROM traces").await.contains("llm_call_count"));
    assert!(f.table("SHOW FUNCTIONS").await.contains("time_bucket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_people_expect_are_there() {
    let f = filled().await;
    assert_eq!(f.value("SELECT time_bucket('5 minutes', TIMESTAMP '2026-11-20T10:07:03Z')").await, "2026-11-20T10:05:00");
    assert_eq!(f.value("SELECT time_bucket(INTERVAL '1 week', TIMESTAMP '2026-11-20T10:07:03')").await, "2026-11-16T00:00:00");
    assert_eq!(f.value("SELECT time_bucket(INTERVAL '1 month', start_time) FROM spans LIMIT 1").await, "2026-11-01T00:00:00Z");
    assert_eq!(f.value(r#"SELECT '{"a":{"b":"c"}}' -> 'a' ->> 'b'"#).await, "c");
    assert_eq!(f.value(r#"SELECT json_get_int('{"a":[1,2]}', 'a', 1)"#).await, "2");
    assert_eq!(f.value("SELECT approx_percentile(duration_ns, 0.5) IS NOT NULL FROM spans").await, "true");
    assert_eq!(f.value("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY input_tokens) FROM llm_calls").await, "100.0");
    assert_eq!(
        f.value("SELECT llm_cost('openai', 'gpt-4o', 1000000, 0, 0, 0, TIMESTAMP '2025-06-01T00:00:00Z')").await,
        "2.500000000000000"
    );
    assert_eq!(f.value("SELECT llm_cost('nobody', 'no-such-model', 1, 1) IS NULL").await, "true");
    let undocumented: Vec<_> = f.engine.functions().into_iter().filter(|d| d.doc.is_empty()).map(|d| d.name).collect();
    assert_eq!(undocumented, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_values_and_never_text() {
    let f = filled().await;
    let ask = |sql: &str, params| Ask { params: Some(params), ..Ask::new(sql) };
    let hostile = ScalarValue::from("api' OR '1'='1");
    let project = ProjectId::default_project();
    let list = ask("SELECT count(*) AS n FROM spans WHERE service_name = $1", Params::List(vec![hostile]));
    let (batches, _) = f.engine.ask(&project, list).await.unwrap().collect().await.unwrap();
    assert_eq!(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string().lines().nth(3).unwrap(), "| 0 |");
    let named =
        vec![("svc".to_owned(), ScalarValue::from("api")), ("since".to_owned(), ScalarValue::from("2026-11-20T10:00:09Z"))];
    let named = ask("SELECT count(*) AS n FROM spans WHERE service_name = $svc AND start_time > $since", Params::Named(named));
    let (batches, _) = f.engine.ask(&project, named).await.unwrap().collect().await.unwrap();
    assert_eq!(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string().lines().nth(3).unwrap(), "| 4 |");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_limit_truncates_and_says_so() {
    let f = filled().await;
    let ask = |limit| Ask { row_limit: Some(limit), ..Ask::new("SELECT span_id FROM spans") };
    let (_, stats) = f.engine.ask(&ProjectId::default_project(), ask(3)).await.unwrap().collect().await.unwrap();
    assert_eq!((stats.rows, stats.truncated), (3, true));
    let (_, stats) = f.engine.ask(&ProjectId::default_project(), ask(8)).await.unwrap().collect().await.unwrap();
    assert_eq!((stats.rows, stats.truncated), (8, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn date_trunc_keeps_its_meaning_and_its_zone() {
    let f = filled().await;
    for (granularity, expected) in [
        ("second", "2026-11-20T10:00:12Z"),
        ("hour", "2026-11-20T10:00:00Z"),
        ("day", "2026-11-20T00:00:00Z"),
        ("week", "2026-11-16T00:00:00Z"),
        ("month", "2026-11-01T00:00:00Z"),
        ("quarter", "2026-10-01T00:00:00Z"),
    ] {
        let sql = format!("SELECT max(date_trunc('{granularity}', start_time)) FROM spans");
        assert_eq!(f.value(&sql).await, expected, "{granularity}");
    }
    let naive = "date_trunc('day', arrow_cast(start_time, 'Timestamp(Microsecond, None)'))";
    let zoned = "date_trunc('day', arrow_cast(start_time, 'Timestamp(Microsecond, Some(\"Asia/Tokyo\"))'))";
    assert_eq!(f.value(&format!("SELECT max({naive}) FROM spans")).await, "2026-11-20T00:00:00");
    assert_eq!(
        f.value(&format!("SELECT CAST(max(arrow_cast({zoned}, 'Int64')) AS VARCHAR) FROM spans")).await,
        "1795100400000000"
    );
}

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000000000) a CROSS JOIN generate_series(1, 1000000) b";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_its_deadline() {
    let f = Fixture::new().await;
    let started = Instant::now();
    let ask = Ask { timeout: Some(Duration::from_millis(300)), ..Ask::new(ENDLESS) };
    let error = match f.engine.ask(&ProjectId::default_project(), ask).await {
        Ok(answer) => answer.collect().await.expect_err("endless"),
        Err(error) => error,
    };
    assert_eq!(error.kind, QueryErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_gives_its_place_back() {
    let f = Fixture::with(QueryConfig { threads: 2, concurrency: 1, ..QueryConfig::default() }).await;
    let endless = f.engine.ask(&ProjectId::default_project(), Ask::new(ENDLESS)).await.unwrap();
    drop(endless);
    // With one place, this is answered only because the first query has stopped.
    assert_eq!(f.value("SELECT 1").await, "1");
}

/// Each would run for days: by what it reads, or by what one of its operators makes of little.
const HOSTILE: [&str; 7] = [
    ENDLESS,
    "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "SELECT count(*) FROM (SELECT unnest(range(0, 500)) AS n FROM generate_series(1, 1000000000000))",
    "SELECT max(n) FROM (SELECT unnest(range(0, 500)) AS n FROM generate_series(1, 20000) a CROSS JOIN generate_series(1, 1000000000)) WHERE n < 0",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "SELECT count(*) FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value % 2 = b.value % 2",
    "SELECT count(*) FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value > b.value",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_query_stops_working_at_its_deadline() {
    let f = Fixture::with(QueryConfig { threads: 1, concurrency: 1, ..QueryConfig::default() }).await;
    for sql in HOSTILE {
        let ask = Ask { timeout: Some(Duration::from_millis(300)), ..Ask::new(sql) };
        let error = match f.engine.ask(&ProjectId::default_project(), ask).await {
            Ok(answer) => answer.collect().await.expect_err(sql),
            Err(error) => error,
        };
        assert!(matches!(error.kind, QueryErrorKind::Timeout | QueryErrorKind::TooLarge), "{sql}: {error}");
        // With one place and one thread, this is answered only because the query before has left both.
        assert_eq!(f.value("SELECT 1").await, "1", "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn little_text_cannot_ask_for_all_memory() {
    let f = filled().await;
    for sql in [
        "SELECT array_length(range(0, 10000000000))",
        "SELECT max(array_length(generate_series(0, 50000000))) FROM spans",
        "SELECT length(repeat('x', 2000000000))",
        "SELECT length(lpad('x', 1000000000, 'y'))",
        "SELECT array_length(array_repeat(1, 1000000000))",
        "SELECT array_length(range(TIMESTAMP '2000-01-01', TIMESTAMP '2030-01-01', INTERVAL '1 microsecond'))",
    ] {
        assert_eq!(f.error(sql).await.kind, QueryErrorKind::TooLarge, "{sql}");
    }
    assert_eq!(f.value("SELECT sum(n) FROM (SELECT unnest(generate_series(1, 1000)) AS n)").await, "500500");
    assert_eq!(f.value("SELECT array_length(range(DATE '2026-01-01', DATE '2026-02-01', INTERVAL '1 day'))").await, "31");
    assert_eq!(f.value("SELECT max(length(lpad(name, 40, '.'))) FROM spans").await, "40");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stays_within_its_bytes() {
    let f = Fixture::with(QueryConfig { threads: 1, answer_bytes_max: 1 << 20, ..QueryConfig::default() }).await;
    let ask = |rows: usize| format!("SELECT repeat('x', 1000) AS text FROM generate_series(1, {rows})");
    for (rows, expected) in [(900, StatusCode::OK), (1100, StatusCode::UNPROCESSABLE_ENTITY)] {
        let (status, body) = f.post_sql("application/json", &serde_json::json!({"query": ask(rows)})).await;
        assert_eq!(status, expected, "{}", String::from_utf8_lossy(&body));
    }
    // What our own read models ask is not an answer over HTTP.
    assert_eq!(
        f.engine.ask(&ProjectId::default_project(), Ask::new(ask(2000))).await.unwrap().collect().await.unwrap().1.rows,
        2000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_queries_are_refused_at_once() {
    let f = Fixture::with(QueryConfig { threads: 2, concurrency: 1, waiting_max: 1, ..QueryConfig::default() }).await;
    let project = ProjectId::default_project();
    let _running = f.engine.ask(&project, Ask::new(ENDLESS)).await.unwrap();
    let mut waiting = Box::pin(f.engine.ask(&project, Ask::new("SELECT 1")));
    assert!(futures::poll!(&mut waiting).is_pending());
    let refused = f.engine.ask(&project, Ask::new("SELECT 1")).await.expect_err("no place to wait");
    assert_eq!(refused.kind, QueryErrorKind::Overloaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_limit_of_ordered_rows_spills() {
    let f = Fixture::with(QueryConfig { threads: 1, memory_bytes_max: 96 << 20, ..QueryConfig::default() }).await;
    let rows = "SELECT value, lpad(CAST(value AS VARCHAR), 400, '.') AS text FROM generate_series(1, 300000) ORDER BY text DESC";
    for (sql, row_limit) in [(rows.to_owned(), Some(250_000)), (format!("{rows} LIMIT 250000"), Some(usize::MAX))] {
        let ask = Ask { row_limit, ..Ask::new(sql) };
        let answer = f.engine.ask(&ProjectId::default_project(), ask).await.unwrap();
        let (batches, stats) = answer.collect().await.unwrap();
        assert_eq!(stats.rows, 250_000);
        let first = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        let last = batches.last().unwrap();
        let last = last.column(0).as_primitive::<Int64Type>().value(last.num_rows() - 1);
        assert_eq!((first, last), (300_000, 50_001));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_stays_within_its_memory() {
    let f = Fixture::with(QueryConfig { threads: 1, memory_bytes_max: 1 << 20, ..QueryConfig::default() }).await;
    let sql = "SELECT max(array_length(l)) FROM (SELECT array_agg(a.value) AS l FROM generate_series(1, 1000000) a GROUP BY a.value % 2)";
    assert_eq!(f.error(sql).await.kind, QueryErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_was_meant() {
    let f = Fixture::new().await;
    let say = async |sql: &str| {
        let e = f.error(sql).await;
        let place = e.position.map_or("-".to_owned(), |p| format!("{}:{}", p.line, p.column));
        format!("{place} {} | {}", e.detail, e.hint.or(e.expected).unwrap_or_default())
    };
    insta::assert_snapshot!(say("SELECT\n  inptu_tokens FROM spans").await, @"2:3 no column `inptu_tokens` | did you mean `input_tokens`?");
    insta::assert_snapshot!(say("SELECT s.modle FROM spans s").await, @"1:8 no column `modle` | did you mean `request_model`?");
    insta::assert_snapshot!(say("SELECT * FROM span").await, @"1:15 no table `span` | did you mean `spans`?");
    insta::assert_snapshot!(say("SELECT time_buket('1h', start_time) FROM spans").await, @"1:8 no function `time_buket` | did you mean `time_bucket`?");
    insta::assert_snapshot!(say("SELECT 1 +\n* FROM spans").await, @"2:1 syntax error: expected an expression, found `*` | an expression");
    insta::assert_snapshot!(say("SELECT (1").await, @"1:10 syntax error: expected ), found `the end of the query` | )");
    insta::assert_snapshot!(say("").await, @"- the query is empty | a `SELECT`");
    insta::assert_snapshot!(say("SELECT 1; SELECT 2").await, @"- more than one statement | one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subquery_that_says_the_same_many_times_is_made_distinct() {
    let f = filled().await;
    let many = "SELECT CAST(nullif(value % 3, 2) AS BIGINT) AS key FROM generate_series(0, 29) AS t(value)";
    for (condition, count) in [
        ("value IN (SELECT key FROM many)", "2"),
        // NULL among them: nothing is known to be absent.
        ("value NOT IN (SELECT key FROM many)", "0"),
        ("value NOT IN (SELECT key FROM many WHERE key IS NOT NULL)", "8"),
        ("EXISTS (SELECT 1 FROM many WHERE key = value)", "2"),
        ("NOT EXISTS (SELECT 1 FROM many WHERE key = value)", "8"),
        ("EXISTS (SELECT 1 FROM many WHERE key = value AND key + value > 0)", "1"),
        ("value + 1 IN (SELECT key + 1 FROM many)", "2"),
    ] {
        let sql = format!("WITH many AS ({many}) SELECT count(*) FROM generate_series(0, 9) AS t(value) WHERE {condition}");
        assert_eq!(f.value(&sql).await, count, "{condition}");
    }
    let plan =
        f.table("EXPLAIN SELECT count(*) FROM spans WHERE user_id IN (SELECT user_id FROM spans WHERE error_type IS NOT NULL)");
    let plan = plan.await;
    let (join, keys) =
        (plan.find("LeftSemi Join").expect("a semi join"), plan.find("Aggregate: groupBy=[[").expect("an aggregate"));
    let grouped = plan.find("groupBy=[[__correlated_sq").expect("the keys of the subquery, each once");
    assert!(join < grouped && keys < grouped, "{plan}");
    // All rows equal: a join that looks at every pair of them would not come to its end.
    let equal = "SELECT 1 AS one FROM generate_series(1, 400000)";
    let sql = format!("SELECT count(*) FROM ({equal}) AS a WHERE one IN (SELECT one FROM ({equal}) AS b)");
    assert_eq!(f.value(&sql).await, "400000");
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_texts_are_counted_beside_other_aggregates() {
    let f = Fixture::new().await;
    let rows = "(SELECT value AS n, CASE WHEN value % 10 = 0 THEN NULL ELSE concat('session ', value % 700) END AS session, \
                concat('user ', value % 90) AS user, concat('model ', value % 4001) AS model FROM generate_series(1, 40000)) AS rows";
    let asked = [
        ("count(DISTINCT session)", "session IS NOT NULL", "session"),
        ("count(DISTINCT user)", "true", "user"),
        ("count(DISTINCT session) FILTER (WHERE n % 3 = 1)", "n % 3 = 1 AND session IS NOT NULL", "session"),
    ];
    // Few groups, many groups, and a single one.
    for key in ["user", "model", "n % 2", "'all'"] {
        for (counted, condition, text) in asked {
            let direct =
                format!("SELECT {key} AS k, {counted} AS c, count(DISTINCT model) AS m, sum(n) AS s FROM {rows} GROUP BY 1");
            let by_groups = format!(
                "SELECT a.k, count({text}) AS c, m, s FROM (SELECT k, count(*) AS m FROM (SELECT DISTINCT {key} AS k, model FROM {rows}) AS models GROUP BY k) AS a \
                 JOIN (SELECT {key} AS k, sum(n) AS s FROM {rows} GROUP BY 1) AS b ON a.k = b.k \
                 LEFT JOIN (SELECT DISTINCT {key} AS k, {text} FROM {rows} WHERE {condition}) AS c ON c.k = a.k GROUP BY a.k, m, s"
            );
            let differ = format!("SELECT count(*) FROM (({direct}) EXCEPT ({by_groups})) AS differ");
            assert_eq!(f.value(&differ).await, "0", "{key} {counted}");
        }
    }
    let plain = format!(
        "SELECT concat_ws(' ', count(DISTINCT session), count(DISTINCT user), count(DISTINCT model), count(*)) FROM {rows}"
    );
    assert_eq!(f.value(&plain).await, "630 90 4001 40000");
    assert_eq!(f.value(&format!("SELECT count(DISTINCT session) + count(DISTINCT user) FROM {rows} WHERE n < 0")).await, "0");
    let name = format!(
        "SELECT \"count(DISTINCT rows.user)\" + \"count(DISTINCT rows.model)\" FROM (SELECT count(DISTINCT user), count(DISTINCT model) FROM {rows}) AS c"
    );
    assert_eq!(f.value(&name).await, "4091");
}
