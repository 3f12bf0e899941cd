//! The lists, the session page, the series and the totals: what they show, that their SQL gives it, and that pages join.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Fixture, call, log_call, span, trace};

const RANGE: &str = "from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z";
const LISTS: [&str; 6] = ["calls", "sessions", "users", "models", "tools", "errors"];

async fn get(f: &Fixture, path: &str) -> Value {
    let (status, body) = f.get(path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn list(f: &Fixture, name: &str, query: &str) -> Value {
    get(f, &format!("/api/v1/lists/{name}?{RANGE}&{query}")).await
}

/// Rows that SQL gives, as the SQL API gives them.
async fn rows(f: &Fixture, sql: &Value) -> Vec<Value> {
    let (status, body) = f.post_sql("application/x-ndjson", &json!({"query": sql})).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, StatusCode::OK, "{sql}: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows as they can be compared: lists are in no order, and none is an empty one.
fn comparable(rows: &Value) -> Value {
    let mut rows = rows.clone();
    for row in rows.as_array_mut().unwrap() {
        if let Some(models) = row.get_mut("models") {
            let mut names: Vec<_> = models.as_array().cloned().unwrap_or_default();
            names.sort_by_key(ToString::to_string);
            *models = names.into();
        }
    }
    rows
}

/// Ten traces in two sessions of ada and one of bob, half of them in files, a dear call, an unpriced one, and a call from a log.
async fn filled() -> Fixture {
    let f = Fixture::new().await;
    for number in 1..=10 {
        let mut rows = trace("default", number, number as i64 * 60_000);
        rows[2].genai.error_message = Some(format!("timeout after {number}s calling 'tool {number}'"));
        if number == 10 {
            for row in &mut rows {
                row.genai.user_id = Some("bob".into());
                row.genai.session_id = Some("session-bob".into());
            }
            rows[1].genai.cost_usd = Some("1.5".parse().unwrap());
            rows[3].genai.cost_usd = None;
            rows[3].genai.cost_source = Some("unpriced".into());
            rows[3].genai.response_model = None;
            rows[3].genai.request_model = Some("secret-model".into());
            rows[3].duration_ns = 9_000_000_000;
        }
        f.publish("default", rows).await;
        if number == 5 {
            f.storage.flush().await.unwrap();
        }
    }
    f.publish("default", vec![log_call("default", 1, 30_000)]).await;
    let mut other = call("other", 77, 770, 7, 0);
    other.genai.cost_usd = Some("1000".parse().unwrap());
    f.publish("other", vec![other]).await;
    f
}

/// Asserts that a list is what its SQL gives, and returns it.
async fn is_its_sql(f: &Fixture, name: &str, query: &str) -> Value {
    let list = list(f, name, query).await;
    let from_sql = Value::from(rows(f, &list["sql"]).await);
    assert_eq!(comparable(&from_sql), comparable(&list["rows"]), "{name} {query}");
    assert_eq!(rows(f, &list["totals_sql"]).await, [list["totals"].clone()], "{name} {query}");
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_its_sql() {
    let f = filled().await;
    for name in LISTS {
        for query in ["limit=3&order=asc", "limit=100&q=user:bob%20OR%20has:error", "q=user:nobody"] {
            let list = is_its_sql(&f, name, query).await;
            let columns: Vec<_> = list["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
            for row in list["rows"].as_array().unwrap() {
                let fields: BTreeSet<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
                assert_eq!(fields, columns.iter().copied().collect(), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_steps_are_their_sql_in_any_order() {
    let f = Fixture::new().await;
    // More sessions than are looked for by their names, with what makes groups hard to tell apart: traces in two files, traces of two
    // sessions, sessions of two users, and steps without any of these.
    for part in 0..2_u64 {
        let mut all = Vec::new();
        for number in 1..=70 {
            let mut rows = trace("default", number, (number * 1000 + part) as i64);
            for (nth, row) in (0_u64..).zip(&mut rows) {
                row.span_id = format!("{:016x}", number * 100 + part * 10 + nth + 1);
                row.genai.session_id = (nth != 1).then(|| format!("session-{}", (number + nth / 3) % 60));
                row.genai.user_id = (nth != 0).then(|| format!("user-{}", (number + part) % 7));
                row.genai.cost_usd = (number % 3 == nth % 3).then(|| format!("0.{number}").parse().unwrap());
                row.genai.counted = nth != 2;
            }
            rows[2].genai.tool_name = (part == 0).then(|| format!("tool-{}", number % 5));
            rows[2].genai.error_type = (number % 9 != 0).then(|| "Timeout".into());
            rows[2].status_code = "UNSET".into();
            rows[2].duration_ns = (number * 7_919 % 101) as i64;
            all.extend(rows);
        }
        f.publish("default", all).await;
        if part == 0 {
            f.storage.flush().await.unwrap();
        }
    }
    f.publish("default", vec![log_call("default", 1, 30_000)]).await;
    for name in ["sessions", "users", "tools"] {
        let columns = list(&f, name, "limit=1").await["columns"].clone();
        let sortable = columns.as_array().unwrap().iter().filter(|column| column["sortable"] == true);
        // Every column once, by each way of filtering in turn: each list is compared with two queries.
        let queries = ["limit=500&order=asc", "limit=7&q=has:error", "limit=7&order=asc&q=user:user-1"];
        for (column, query) in sortable.zip(queries.iter().cycle()) {
            is_its_sql(&f, name, &format!("{query}&sort={}", column["name"].as_str().unwrap())).await;
        }
    }
}

/// The rows of a list, in an order of their own.
fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = rows.as_array().unwrap().iter().map(ToString::to_string).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_whatever_the_order() {
    let f = filled().await;
    for name in LISTS {
        let all = list(&f, name, "limit=500").await;
        let size = all["rows"].as_array().unwrap().len().div_ceil(2);
        let sortable = all["columns"].as_array().unwrap().iter().filter(|c| c["sortable"] == true);
        for (idx, column) in sortable.enumerate() {
            // Every column once, one way round and the other in turn: each page is a query.
            let order = if idx % 2 == 0 { "asc" } else { "desc" };
            let query = format!("limit={size}&sort={}&order={order}", column["name"].as_str().unwrap());
            let (mut paged, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = list(&f, name, &format!("{query}{cursor}")).await;
                paged.extend(page["rows"].as_array().unwrap().clone());
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let paged = Value::from(paged);
            assert_eq!(sorted(&paged), sorted(&all["rows"]), "{name} {query}");
            ordered(&paged, column["name"].as_str().unwrap(), order);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_percentile_join() {
    let f = Fixture::new().await;
    // Few groups of many calls, in several parts: approximate percentiles would depend on which part is read first.
    for part in 0..4_u64 {
        let mut rows: Vec<_> = (0..400).map(|n| call("default", part * 400 + n, n, 0, n as i64)).collect();
        for (nth, row) in (0_u64..).zip(&mut rows) {
            row.genai.response_model = Some(format!("model-{}", nth % 4));
            row.duration_ns = ((part * 400 + nth) * 2_654_435_761 % 1_000_003) as i64 * 1_000;
        }
        f.publish("default", rows).await;
        f.storage.flush().await.unwrap();
    }
    for column in ["p50_ns", "p95_ns"] {
        let all = list(&f, "models", &format!("sort={column}")).await;
        assert_eq!(all["rows"].as_array().unwrap().len(), 4);
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&f, "models", &format!("limit=1&sort={column}{cursor}")).await;
            paged.extend(page["rows"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(Value::from(paged), all["rows"], "{column}");
    }
}

/// Known values in order, unknown ones last.
fn ordered(rows: &Value, column: &str, order: &str) {
    let values: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row[column]).collect();
    let unknown = values.iter().position(|v| v.is_null()).unwrap_or(values.len());
    assert!(values[unknown..].iter().all(|v| v.is_null()), "{column} {order}: {values:?}");
    let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse().ok());
    for pair in values[..unknown].windows(2) {
        let (a, b) = if order == "asc" { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
        let fine = match (number(a), number(b)) {
            (Some(a), Some(b)) => a <= b,
            _ => a.as_str() <= b.as_str(),
        };
        assert!(fine, "{column} {order}: {values:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_the_rows_that_count() {
    let f = filled().await;
    let calls = list(&f, "calls", "limit=100").await;
    assert_eq!(
        calls["totals"],
        json!({"rows": 21, "errors": 0, "input_tokens": 2007, "output_tokens": 403, "cache_read_tokens": null, "reasoning_tokens": null,
               "cost_usd": "1.5081", "unpriced_calls": 2})
    );
    assert_eq!(calls["rows"][0]["input_preview"], json!("hi"));
    let users = list(&f, "users", "").await;
    assert_eq!(users["rows"][0]["user_id"], json!("bob"), "the dearest first: {users}");
    assert_eq!(users["rows"][0]["cost_usd"], json!("1.5"));
    assert_eq!(users["rows"][0]["unpriced_calls"], json!(1));
    assert_eq!(
        users["rows"][1],
        json!({"user_id": "ada", "first_time": "2026-11-20T10:01:00.100000Z", "last_time": "2026-11-20T10:09:02.100000Z",
        "sessions": 2, "traces": 9, "llm_calls": 18, "errors": 0, "input_tokens": 1800, "output_tokens": 360, "cost_usd": "0.0081", "unpriced_calls": 0})
    );
    let models = list(&f, "models", "sort=llm_calls").await;
    let named: Vec<_> = models["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["model"].as_str().unwrap(), m["llm_calls"].as_i64().unwrap()))
        .collect();
    assert_eq!(named[0], ("gpt-4o-2024-08-06", 19));
    assert_eq!(models["totals"]["rows"], json!(3));
    assert_eq!(models["rows"][0]["tokens_per_second"], json!(10.0));
    let tools = list(&f, "tools", "").await;
    assert_eq!(tools["rows"][0]["cost_usd"], json!("1.5081"), "the cost of every trace that used it: {tools}");
    assert_eq!(
        (&tools["rows"][0]["calls"], &tools["rows"][0]["errors"], &tools["rows"][0]["traces"]),
        (&json!(10), &json!(10), &json!(10))
    );
    let sessions = list(&f, "sessions", "q=cost:%3E1").await;
    assert_eq!(sessions["totals"]["rows"], json!(1));
    assert_eq!(sessions["rows"][0]["models"], json!(["gpt-4o-2024-08-06", "secret-model"]));
    assert_eq!(sessions["rows"][0]["duration_ns"], json!(11_100_000_000_i64));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_differ_in_numbers_are_one() {
    let f = filled().await;
    let errors = list(&f, "errors", "").await;
    assert_eq!(errors["rows"].as_array().unwrap().len(), 1, "{errors}");
    let error = &errors["rows"][0];
    assert_eq!((&error["message"], &error["error_type"]), (&json!("timeout after <n>s calling <text>"), &json!("Timeout")));
    assert_eq!((&error["spans"], &error["traces"], &error["cost_usd"]), (&json!(10), &json!(10), &json!("1.5081")));
    assert_eq!(error["last_trace_id"], json!(format!("{:032x}", 10)));
    assert_eq!(errors["totals"], json!({"rows": 1, "spans": 10, "traces": 10, "users": 1, "cost_usd": "1.5081"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_traces_are_their_sql() {
    let f = filled().await;
    for (q, traces, cost) in [("", 10, json!("1.5081")), ("&q=cost:%3E1", 1, json!("1.5")), ("&q=user:nobody", 0, Value::Null)] {
        let totals = get(&f, &format!("/api/v1/traces/totals?{RANGE}{q}")).await;
        assert_eq!((&totals["traces"], &totals["cost_usd"]), (&json!(traces), &cost), "{totals}");
        for (name, value) in rows(&f, &totals["sql"]).await[0].as_object().unwrap() {
            assert_eq!(*value, totals[name], "{q} {name}");
        }
        let shown = get(&f, &format!("/api/v1/traces?{RANGE}&limit=500{q}")).await;
        let sum: i64 = shown["traces"].as_array().unwrap().iter().map(|t| t["span_count"].as_i64().unwrap()).sum();
        assert_eq!(totals["spans"], json!(sum));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_its_conversation_in_order() {
    let f = filled().await;
    let page = get(&f, "/api/v1/sessions/session-1?limit=3").await;
    assert_eq!((&page["session"]["session_id"], &page["session"]["traces"]), (&json!("session-1"), &json!(5)));
    let ids = |page: &Value| {
        page["traces"].as_array().unwrap().iter().map(|t| t["trace_id"].as_str().unwrap()[30..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&page), ["01", "03", "05"]);
    assert_eq!(page["traces"][0]["input_messages"][0]["parts"][0]["content"], json!("hi"));
    assert_eq!(rows(&f, &page["sql"]).await[0]["cost_usd"], page["session"]["cost_usd"]);
    assert_eq!(rows(&f, &page["traces_sql"]).await.len(), 3);
    let next = get(&f, &format!("/api/v1/sessions/session-1?limit=3&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!((ids(&next), &next["next_cursor"]), (vec!["07".to_owned(), "09".to_owned()], &Value::Null));
    let log_only = get(&f, "/api/v1/sessions/session-log").await;
    assert_eq!((&log_only["session"]["llm_calls"], &log_only["traces"]), (&json!(1), &json!([])));
    assert_eq!(f.get("/api/v1/sessions/nobody").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_their_sql() {
    let f = filled().await;
    let range = "from=2026-11-20T10:00:00Z&to=2026-11-20T10:12:00Z&buckets=12";
    let calls = get(&f, &format!("/api/v1/series?{range}&measure=llm_calls")).await;
    assert_eq!(calls["series"][0]["points"], json!([1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0]));
    assert_eq!((&calls["start"], &calls["bucket_ns"]), (&json!("2026-11-20T10:00:00.000000000Z"), &json!(60_000_000_000_i64)));
    for measure in ["cost_usd", "llm_calls", "errors", "tokens", "p95_ns"] {
        for by in ["none", "model", "service_name", "user_id"] {
            let series = get(&f, &format!("/api/v1/series?{range}&measure={measure}&by={by}&q=-user:nobody")).await;
            for row in rows(&f, &series["sql"]).await {
                let name = row.get("name").cloned().unwrap_or_default();
                let one = series["series"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
                assert_eq!(one["points"][row["bucket"].as_u64().unwrap() as usize], row["value"], "{measure} {by}");
            }
        }
    }
    let users = get(&f, &format!("/api/v1/series?{range}&measure=cost_usd&by=user_id")).await;
    let names: Vec<_> = users["series"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, [json!("bob"), json!("ada"), Value::Null]);
    assert_eq!(users["series"][0]["points"][10], json!("1.5"));
    let (status, problem) = f.get("/api/v1/series?measure=fun").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_listed_is_said() {
    let f = filled().await;
    let (status, problem) = f.get("/api/v1/lists/users?sort=cost").await;
    assert_eq!((status, &problem["hint"]), (StatusCode::BAD_REQUEST, &json!("did you mean `cost_usd`?")), "{problem}");
    let cursor = list(&f, "users", "limit=1").await["next_cursor"].as_str().unwrap().to_owned();
    for wrong in [
        format!("/api/v1/lists/users?limit=1&sort=errors&cursor={cursor}"),
        format!("/api/v1/lists/models?cursor={cursor}"),
        "/api/v1/lists/users?cursor=00".to_owned(),
    ] {
        let (status, problem) = f.get(&wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
    assert_eq!(f.get("/api/v1/lists/cats").await.0, StatusCode::NOT_FOUND);
    assert_eq!(list(&f, "errors", "q=user:nobody").await["totals"]["spans"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_read_and_written_over_http() {
    let f = filled().await;
    let read = get(&f, "/api/v1/filter?q=service_name:api%20AND%20(cost:%3E0.010)").await;
    assert_eq!(read, json!({"q": "service:api cost:>0.01", "sql": "service_name = 'api' AND cost_usd > 0.01"}));
    assert_eq!(get(&f, "/api/v1/filter").await, json!({"q": "", "sql": null}));
    let (status, problem) = f.get("/api/v1/filter?q=service:api%20modle:x").await;
    assert_eq!(
        (status, &problem["position"], &problem["hint"]),
        (StatusCode::BAD_REQUEST, &json!({"line": 1, "column": 13}), &json!("did you mean `model`?"))
    );
    let keys = get(&f, "/api/v1/filter/keys").await;
    assert_eq!(
        keys["keys"][0],
        json!({"key": "service", "aliases": ["service_name"], "type": "text", "doc": "Service that sent the span.", "facet": true, "values": []})
    );
    let (status, back) = f.post("/api/v1/filter/from-sql", &json!({"sql": read["sql"]})).await;
    assert_eq!((status, back), (StatusCode::OK, json!({"q": "service:api cost:>0.01"})));
    let (status, problem) = f.post("/api/v1/filter/from-sql", &json!({"sql": "name = 'a' AND\nupper(name) = 'A'"})).await;
    assert_eq!(
        (status, &problem["position"], &problem["found"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!({"line": 2, "column": 1}), &json!("upper(name) = 'A'"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn facets_leave_out_what_the_filter_says_of_their_own_key() {
    let f = filled().await;
    let facets = async |query: &str| {
        let answer = get(&f, &format!("/api/v1/facets?{RANGE}&{query}")).await;
        let n: Vec<_> = rows(&f, &answer["sql"]).await;
        let values: Vec<_> = answer["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| (v["value"].as_str().unwrap().to_owned(), v["count"].as_i64().unwrap()))
            .collect();
        assert_eq!(n.len(), values.len());
        values
    };
    assert_eq!(facets("field=user&q=user:bob%20has:cost").await, [("ada".to_owned(), 18), ("bob".to_owned(), 1)]);
    assert_eq!(facets("field=user_id&prefix=B").await, [("bob".to_owned(), 4)]);
    assert_eq!(facets("field=tag").await, [("blue".to_owned(), 10), ("green".to_owned(), 10)]);
    let models = [("gpt-4o".to_owned(), 19), ("gpt-4o-2024-08-06".to_owned(), 19), ("secret-model".to_owned(), 1)];
    assert_eq!(facets("field=model").await, models);
    assert_eq!(facets("field=attr.nothing").await, []);
    // Every value offered finds as many spans as it says.
    for (value, count) in facets("field=model").await {
        let read = get(&f, &format!("/api/v1/filter?q=model:{value}")).await;
        let n = f.value(&format!("SELECT count(*) FROM spans WHERE {}", read["sql"].as_str().unwrap())).await;
        assert_eq!(n, count.to_string(), "{value}");
    }
    let (status, problem) = f.get("/api/v1/facets?field=modle").await;
    assert_eq!((status, &problem["hint"]), (StatusCode::BAD_REQUEST, &json!("did you mean `model`?")));
    for key in get(&f, "/api/v1/filter/keys").await["keys"].as_array().unwrap().iter().filter(|k| k["facet"] == true) {
        let name =
            key["key"].as_str().unwrap().replace("r.", "r.x").replace("n.", "n.x").replace("e.", "e.x").replace("a.", "a.x");
        facets(&format!("field={name}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_can_be_asked_of_every_list() {
    let f = filled().await;
    let mut rows = vec![span("default", 50, 500, 700_000)];
    rows[0].attributes.attributes = r#"{"http.route":"/x","n":5}"#.into();
    f.publish("default", rows).await;
    for q in [
        "kind:internal scope:test attr.http.route:* resource.a:b",
        "-(parent:* OR root:true) call:true streaming:false",
        "tokens:>1 duration:1ms..1h attr.n:>=5 tag:bl* finish:stop \"hi\"",
        "has:error OR has:model version:1 env:x workflow:a prompt:b dialect:otel cost_source:unpriced",
    ] {
        let q = q.replace(' ', "%20").replace('>', "%3E").replace('"', "%22");
        for name in LISTS {
            list(&f, name, &format!("q={q}")).await;
        }
        get(&f, &format!("/api/v1/traces/totals?{RANGE}&q={q}")).await;
        get(&f, &format!("/api/v1/traces?{RANGE}&q={q}")).await;
    }
    assert_eq!(get(&f, &format!("/api/v1/traces/totals?{RANGE}&q=attr.n:5..6%20attr.http.route:/x*")).await["traces"], json!(1));
}
