//! Queries while they run: the list of them, stopping one, and how one is answered.

use std::time::{Duration, Instant};

use assay_query::{Ask, QueryConfig, QueryErrorKind, QuerySource};
use assay_schemas::ids::ProjectId;
use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Fixture, trace};

/// Counts for hours.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000000) AS a CROSS JOIN generate_series(1, 100000000) AS b";

async fn filled() -> Fixture {
    let f = Fixture::new().await;
    for number in 1..=6 {
        f.publish("default", trace("default", number, number as i64 * 86_400_000)).await;
        if number % 2 == 0 {
            f.storage.flush().await.unwrap();
        }
    }
    f
}

/// Waits until a query runs that has a plan.
async fn running(f: &Fixture) -> Value {
    for _ in 0..1000 {
        let (_, list) = f.get("/api/v1/sql/running").await;
        if !list["queries"].as_array().unwrap().is_empty() {
            return list["queries"][0].clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_query_is_listed_and_stops_when_told() {
    let f = filled().await;
    let id = Uuid::new_v4();
    let (engine, project) = (f.engine.clone(), ProjectId::default_project());
    let asked = tokio::spawn(async move {
        let ask = Ask { query_id: Some(id), source: QuerySource::Sql, ..Ask::new(ENDLESS) };
        match engine.ask(&project, ask).await {
            Ok(answer) => answer.collect().await.map(|_| ()),
            Err(error) => Err(error),
        }
    });
    let query = running(&f).await;
    assert_eq!((&query["query_id"], &query["query"], &query["source"]), (&json!(id), &json!(ENDLESS), &json!("sql")));
    let twice = f.engine.ask(&ProjectId::default_project(), Ask { query_id: Some(id), ..Ask::new("SELECT 1") }).await;
    assert_eq!(twice.unwrap_err().kind, QueryErrorKind::Conflict);

    let other = ProjectId::new("other").unwrap();
    assert!(f.engine.running(&other).is_empty() && !f.engine.cancel(&other, id), "a project sees its own queries only");
    let stopped = Instant::now();
    assert_eq!(f.delete(&format!("/api/v1/sql/running/{id}")).await, StatusCode::NO_CONTENT);
    assert_eq!(asked.await.unwrap().unwrap_err().kind, QueryErrorKind::Cancelled);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert_eq!(f.get("/api/v1/sql/running").await.1, json!({"queries": []}));
    assert_eq!(f.delete(&format!("/api/v1/sql/running/{id}")).await, StatusCode::NOT_FOUND);
    assert_eq!(f.delete("/api/v1/sql/running/nonsense").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_nobody_reads_stops_too() {
    let f = filled().await;
    let ask = Ask { row_limit: Some(10_000_000), ..Ask::new("SELECT * FROM generate_series(1, 9000000)") };
    let mut answer = f.engine.ask(&ProjectId::default_project(), ask).await.unwrap();
    answer.next().await.unwrap();
    let query = running(&f).await;
    assert!(query["rows"].as_u64().unwrap() > 0, "{query}");
    assert!(f.engine.cancel(&ProjectId::default_project(), answer.query_id()));
    assert_eq!(answer.next().await.unwrap_err().kind, QueryErrorKind::Cancelled);
    drop(answer);
    assert_eq!(f.get("/api/v1/sql/running").await.1, json!({"queries": []}));
}

/// Joins that compare for minutes and find nothing, so that nothing comes out of them.
const FRUITLESS: [&str; 3] = [
    "SELECT count(*) FROM generate_series(1, 400000) AS a(x) JOIN generate_series(1, 400000) AS b(y) ON a.x + b.y < 0",
    "SELECT count(*) FROM generate_series(1, 400000) AS a(x) JOIN generate_series(1, 400000) AS b(y) ON a.x % 1 = b.y % 1 AND a.x + b.y < 0",
    "SELECT count(*) FROM generate_series(1, 400000) AS a(x) LEFT JOIN generate_series(1, 400000) AS b(y) ON a.x % 1 = b.y % 1 AND a.x + b.y < 0",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_finds_nothing_stops_and_lets_others_run() {
    let f = Fixture::with(QueryConfig { threads: 1, concurrency: 2, ..QueryConfig::default() }).await;
    let project = ProjectId::default_project();
    let ask = |sql: &str| {
        let (engine, project) = (f.engine.clone(), project.clone());
        let ask = Ask { timeout: Some(Duration::from_secs(50)), ..Ask::new(sql) };
        tokio::spawn(async move { engine.ask(&project, ask).await?.collect().await })
    };
    for sql in FRUITLESS {
        // More often than there are places: one that goes on would keep its place.
        for _ in 0..3 {
            let asked = ask(sql);
            let query = running(&f).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(ask("SELECT 1").await.unwrap().unwrap().0[0].num_rows(), 1);
            assert!(f.engine.cancel(&project, query["query_id"].as_str().unwrap().parse().unwrap()), "it still runs: {sql}");
            assert_eq!(asked.await.unwrap().unwrap_err().kind, QueryErrorKind::Cancelled);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_query() {
    let f = filled().await;
    let id = Uuid::new_v4();
    assert_eq!(f.query_id(&json!({"query": "SELECT 1", "query_id": id})).await, id.to_string());
    for body in [json!({"query": "SELECT 1"}), json!({"query": "SELEC"}), json!({"nonsense": 1})] {
        f.query_id(&body).await.parse::<Uuid>().unwrap();
    }
}

async fn explain(f: &Fixture, query: &str, analyze: bool) -> Value {
    let (status, explained) = f.post("/api/v1/sql/explain", &json!({"query": query, "analyze": analyze})).await;
    assert_eq!(status, StatusCode::OK, "{explained}");
    explained
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_a_tree_with_what_each_operator_did() {
    let f = filled().await;
    let sql = "SELECT name, count(*) AS n FROM spans GROUP BY name ORDER BY n DESC";
    let explained = explain(&f, &format!("EXPLAIN ANALYZE {sql}"), true).await;
    let nodes = explained["plan"].as_array().unwrap();
    assert_eq!((&nodes[0]["parent"], &nodes[0]["rows"]), (&Value::Null, &json!(3)), "{explained}");
    for node in &nodes[1..] {
        assert!(node["parent"].as_u64().unwrap() < node["id"].as_u64().unwrap());
    }
    let scans: Vec<_> = nodes.iter().filter(|n| n["operator"] == "LakeScanExec").collect();
    assert_eq!(scans.iter().map(|n| n["rows"].as_u64().unwrap_or(0)).sum::<u64>(), 24, "{explained}");
    assert!(nodes.iter().any(|n| n["elapsed_ns"].as_u64() > Some(0)));
    assert!(explained["pruning"]["bytes_read"].as_u64().unwrap() > 0);
    assert!(explained["text"].as_str().unwrap().contains("LakeScanExec"));

    let planned = explain(&f, sql, false).await;
    assert!(planned["plan"].as_array().unwrap().iter().all(|n| n.get("rows").is_none()));
    assert_eq!(planned["pruning"]["bytes_read"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_left_out_are_told() {
    let f = filled().await;
    let all = explain(&f, "SELECT count(name) FROM spans", true).await;
    let one_day = "SELECT count(name) FROM spans WHERE start_time < TIMESTAMP '2026-11-22T00:00:00Z'";
    for analyze in [false, true] {
        let some = explain(&f, one_day, analyze).await;
        assert_eq!(some["pruning"]["files"], all["pruning"]["files"]);
        assert!(some["pruning"]["files_read"].as_u64() < all["pruning"]["files_read"].as_u64(), "{some} {all}");
    }
    // A view that reads a table, and a table that is read twice, count as often as they read.
    let twice = explain(&f, "SELECT count(a.name) FROM spans AS a JOIN spans AS b ON a.span_id = b.parent_span_id", false).await;
    assert_eq!(twice["pruning"]["files"].as_u64(), all["pruning"]["files"].as_u64().map(|n| n * 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_an_explanation_are_given_by_its_sql() {
    let f = filled().await;
    let twice = "SELECT count(a.name) FROM spans AS a JOIN spans AS b ON a.span_id = b.parent_span_id";
    for analyze in [false, true] {
        let explained = explain(&f, &format!("EXPLAIN {twice}"), analyze).await;
        let (status, files) = f.post("/api/v1/sql", &json!({"query": explained["pruning"]["files_sql"]})).await;
        assert_eq!(status, StatusCode::OK, "{files}");
        assert_eq!(files["rows"], json!([[explained["pruning"]["files"], explained["pruning"]["bytes"]]]), "{files}");
        let (status, plan) = f.post("/api/v1/sql", &json!({"query": explained["sql"]})).await;
        assert_eq!(status, StatusCode::OK, "{plan}");
        let (text, scan) = (plan["rows"].to_string(), explained["plan"].as_array().unwrap().last().unwrap());
        assert!(text.contains(scan["detail"].as_str().unwrap()), "{text} {scan}");
        assert_eq!(text.contains("output_rows="), analyze, "{text}");
    }
    assert_eq!(explain(&f, "SELECT 1", false).await["pruning"]["files_sql"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_said() {
    let f = filled().await;
    for (query, status) in [
        ("DROP TABLE spans", StatusCode::FORBIDDEN),
        ("SELECT * FROM nowhere", StatusCode::NOT_FOUND),
        ("SELECT nme FROM spans", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(f.post("/api/v1/sql/explain", &json!({"query": query})).await.0, status, "{query}");
    }
    let (status, explained) =
        f.post("/api/v1/sql/explain", &json!({"query": "SELECT $1 + 1", "params": [2], "analyze": true})).await;
    assert_eq!(status, StatusCode::OK, "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_access_means_what_it_means_in_postgresql() {
    let f = Fixture::new().await;
    let mut rows = trace("default", 1, 0);
    rows[0].attributes.attributes = r#"{"k":"x","n":"41","deep":{"er":"y"}}"#.into();
    f.publish("default", rows).await;
    for condition in [
        "attributes ->> 'k' IS NOT NULL",
        "attributes ->> 'k' = 'x'",
        "'x' = attributes ->> 'k'",
        "attributes ->> 'k' LIKE 'x%' AND attributes ->> 'k' NOT LIKE 'y%'",
        "attributes ->> 'k' IN ('x', 'z')",
        "attributes ->> 'k' BETWEEN 'w' AND 'y'",
        "attributes -> 'deep' ->> 'er' = 'y'",
        "(attributes ->> 'n')::int + 1 = 42",
        "attributes ->> 'k' || 'y' = 'xy'",
        "NOT attributes ->> 'k' IS NULL",
    ] {
        assert_eq!(f.value(&format!("SELECT count(*) FROM spans WHERE {condition}")).await, "1", "{condition}");
    }
    assert_eq!(f.value("SELECT count(*) FROM spans WHERE attributes ->> 'k' IS NULL").await, "3");
    assert_eq!(f.value("SELECT count(*) FROM spans WHERE attributes ->> 'k' <> 'z'").await, "1");
}
