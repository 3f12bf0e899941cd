//! The HTTP API: formats, problems, the OpenAPI document, and the small endpoints.

use arrow::ipc::reader::StreamReader;
use assay_query::api::{ROUTES, openapi};
use axum::http::StatusCode;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{Fixture, log_call, trace};

const EVERY_TYPE: &str = "SELECT 9007199254740993 AS int, CAST('0.000123' AS DECIMAL(28,15)) AS money, 'a \"b\", c' AS text, \
    TIMESTAMP '2026-11-20T10:00:00.000001' AS time, CAST(start_time AS TIMESTAMP WITH TIME ZONE) AS zoned, CAST('nan' AS DOUBLE) AS nan, 1.5 AS double, true AS bool, \
    NULL AS nothing, [1, 2] AS list, '{\"k\":[1]}' -> 'k' AS json, date FROM spans LIMIT 1";

async fn filled() -> Fixture {
    let f = Fixture::new().await;
    f.publish("default", trace("default", 1, 0)).await;
    f.publish("default", vec![log_call("default", 1, 0)]).await;
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn json_keeps_every_digit() {
    let f = filled().await;
    let (status, body) = f.post_sql("application/json", &json!({"query": EVERY_TYPE})).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    let answer: Value = serde_json::from_slice(&body).unwrap();
    insta::assert_snapshot!(answer["rows"][0], @r#"[9007199254740993,"0.000123","a \"b\", c","2026-11-20T10:00:00.000001000","2026-11-20T10:00:00.000000000Z","NaN",1.5,true,null,[1,2],"[1]","2026-11-20"]"#);
    insta::assert_snapshot!(answer["columns"].as_array().unwrap().iter().map(|c| format!("{} {}", c["name"].as_str().unwrap(), c["type"].as_str().unwrap())).collect::<Vec<_>>().join(", "), @"int bigint, money numeric(28,15), text text, time timestamp, zoned timestamp with time zone, nan double precision, double double precision, bool boolean, nothing unknown, list bigint[], json text, date date");
    assert_eq!((&answer["stats"]["rows"], &answer["stats"]["truncated"]), (&json!(1), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_reads_back() {
    let f = filled().await;
    let query = json!({"query": "SELECT span_id, input_tokens, cost_usd, start_time FROM spans ORDER BY span_id"});
    let (_, body) = f.post_sql("application/x-ndjson", &query).await;
    let rows: Vec<Value> = String::from_utf8(body).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["cost_usd"], &rows[0]["input_tokens"]), (4, &json!("0.00045"), &Value::Null));

    let (_, body) = f.post_sql("text/csv", &query).await;
    let text = String::from_utf8(body).unwrap();
    insta::assert_snapshot!(text.replace('\r', ""), @r"
    span_id,input_tokens,cost_usd,start_time
    000000000000000a,,,2026-11-20T10:00:00.000000Z
    000000000000000b,100,0.00045,2026-11-20T10:00:00.100000Z
    000000000000000c,,,2026-11-20T10:00:02.000000Z
    000000000000000d,100,0.00045,2026-11-20T10:00:02.100000Z
    ");

    let (_, body) = f.post_sql("application/vnd.apache.arrow.stream", &query).await;
    let batches: Vec<_> = StreamReader::try_new(body.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 4);

    let (_, body) = f.post_sql("application/vnd.apache.parquet", &query).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(body)).unwrap().build().unwrap();
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), 4);

    for accept in [
        "application/json",
        "application/x-ndjson",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    ] {
        let (status, body) = f.post_sql(accept, &json!({"query": "SELECT span_id FROM spans WHERE false"})).await;
        assert_eq!(status, StatusCode::OK, "an empty answer as {accept}: {}", String::from_utf8_lossy(&body));
    }
    let (status, _) = f.post_sql("image/png", &query).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_have_the_form_of_rfc_9457() {
    let f = filled().await;
    let (status, body) = f.post_sql("application/json", &json!({"query": "SELECT inptu_tokens FROM spans"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    insta::assert_snapshot!(String::from_utf8(body).unwrap(), @r#"{"type":"https://assay.dev/problems/invalid-request","title":"the request cannot be understood","status":400,"detail":"no column `inptu_tokens`","found":"inptu_tokens","hint":"did you mean `input_tokens`?","position":{"line":1,"column":8}}"#);
    let (status, _) = f.post_sql("application/json", &json!({"query": "DROP TABLE spans"})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = f.post_sql("application/json", &json!({"query": "SELECT * FROM nowhere"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, body) = f.post_sql("application/json", &json!({"qeury": "SELECT 1"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(String::from_utf8(body).unwrap().contains("unknown field `qeury`"));
    let (status, body) = f.post_sql("application/json", &json!({"query": "SELECT $1 AS x, $2 AS y", "params": [1, "two"]})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8(body).unwrap().contains(r#""rows":[[1,"two"]]"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_endpoints_answer() {
    let f = filled().await;
    let (status, facets) = f.get("/api/v1/facets?field=service_name&prefix=A").await;
    assert_eq!((status, &facets["values"]), (StatusCode::OK, &json!([{"value": "api", "count": 4}])));
    let (_, schema) = f.get("/api/v1/schema").await;
    let spans = schema["tables"].as_array().unwrap().iter().find(|t| t["name"] == "spans").unwrap();
    assert_eq!((&spans["kind"], &spans["columns"][0]["name"]), (&json!("table"), &json!("project_id")));
    assert!(schema["functions"].as_array().unwrap().iter().any(|d| d["name"] == "llm_cost"));
    let (_, status) = f.get("/api/v1/status").await;
    assert_eq!((&status["spans"], &status["project"]), (&json!(4), &json!("default")), "{status}");
    assert!(status["last_received_at"].as_str().unwrap().starts_with("2026-11-20T10:00:03"), "{status}");
    let (_, unpriced) = f.get("/api/v1/unpriced").await;
    assert_eq!(
        (&unpriced["models"][0]["model"], &unpriced["models"][0]["calls"]),
        (&json!("claude-sonnet-4"), &json!(1)),
        "{unpriced}"
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(f.get(path).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_document_and_answers() {
    let f = Fixture::new().await;
    let document = serde_json::to_value(openapi()).unwrap();
    let listed: Vec<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone())))
        .collect();
    let mut expected: Vec<(String, String)> = ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    let mut found = listed.clone();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for (method, path) in ROUTES {
        let status = match *method {
            "post" if *path == "/api/v1/sql" => f.post_sql("*/*", &json!({"query": "SELECT 1"})).await.0,
            "post" => f.post(path, &json!({})).await.0,
            "delete" => f.delete(path).await,
            _ => f.get(path).await.0,
        };
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let missing = status == StatusCode::NOT_FOUND && !path.contains('{');
        assert!(!missing, "{path}");
    }
}

/// The committed document has the endpoints of this crate as they are. `UPDATE_OPENAPI=1` puts them in; what the binary adds, and what
/// is gone, is settled by `UPDATE_OPENAPI=1 cargo test -p assay openapi`.
#[test]
fn the_committed_openapi_document_has_this_crates_endpoints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let mut committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let current = serde_json::to_value(openapi()).unwrap();
    let mut stale = Vec::new();
    for pointer in ["/paths", "/components/schemas"] {
        let committed = committed.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        for (name, part) in current.pointer(pointer).unwrap().as_object().unwrap() {
            if committed.get(name) != Some(part) {
                committed.insert(name.clone(), part.clone());
                stale.push(name);
            }
        }
        committed.sort_keys();
    }
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&committed).unwrap() + "\n").unwrap();
        return;
    }
    let help = "run `UPDATE_OPENAPI=1 cargo test -p assay openapi` and review the difference";
    assert!(stale.is_empty(), "query/openapi.json is stale in {stale:?}: {help}");
}
