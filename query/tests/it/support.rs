//! A storage with rows, an engine over it, and short ways to ask.

use std::{path::Path, sync::Arc};

use arrow::util::pretty::pretty_format_batches;
use assay_query::{
    Ask, QueryConfig, QueryEngine, QueryError,
    api::{ApiState, DemoStatus, router},
};
use assay_schemas::{
    ids::{Encoding, ProjectId, Signal},
    prices::PriceTable,
    table::Row,
    tables::{CorrectionRow, CostLineRow, LogRow, SpanRow, TableId},
};
use assay_storage::{Storage, StorageConfig, WalRecord};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use chrono::{TimeZone as _, Utc};
use serde_json::Value;
use tower::ServiceExt as _;

/// 2026-11-20T10:00:00Z, microseconds since 1970.
pub(crate) fn base_time() -> i64 {
    Utc.with_ymd_and_hms(2026, 11, 20, 10, 0, 0).unwrap().timestamp_micros()
}

pub(crate) struct Fixture {
    pub(crate) storage: Storage,
    pub(crate) engine: QueryEngine,
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(QueryConfig { threads: 2, ..QueryConfig::default() }).await
    }

    pub(crate) async fn with(config: QueryConfig) -> Self {
        Self::over(StorageConfig::default(), config).await
    }

    pub(crate) async fn over(storage_config: StorageConfig, config: QueryConfig) -> Self {
        Self::opened(tempfile::tempdir().unwrap(), storage_config, config).await
    }

    /// The same after a restart; `meanwhile` is given the data folder.
    pub(crate) async fn restarted(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { storage, engine, dir } = self;
        let config = engine.config().clone();
        drop(engine);
        storage.close().await.unwrap();
        meanwhile(&dir.path().join("data"));
        Self::opened(dir, StorageConfig::default(), config).await
    }

    async fn opened(dir: tempfile::TempDir, storage_config: StorageConfig, config: QueryConfig) -> Self {
        // Flushes happen when a test asks for them.
        let storage_config = StorageConfig {
            data_dir: dir.path().join("data"),
            flush_interval: std::time::Duration::from_secs(3600),
            ..storage_config
        };
        let storage = Storage::open(storage_config).await.unwrap();
        let engine = QueryEngine::new(storage.clone(), Arc::new(PriceTable::embedded()), config).unwrap();
        Self { storage, engine, dir }
    }

    pub(crate) async fn publish<R: Row>(&self, project: &str, rows: Vec<R>) {
        let record = WalRecord {
            project: ProjectId::new(project).unwrap(),
            signal: Signal::Traces,
            encoding: Encoding::Protobuf,
            received_at_unix_nano: base_time() * 1000,
            body: vec![0].into(),
        };
        let position = self.storage.append(record).await.unwrap();
        self.storage.publish(position, vec![(R::TABLE, R::batch(rows))]);
    }

    /// What SQL of the project `default` gives, as a table.
    pub(crate) async fn table(&self, sql: &str) -> String {
        self.table_of("default", sql).await
    }

    pub(crate) async fn table_of(&self, project: &str, sql: &str) -> String {
        let answer =
            self.engine.ask(&ProjectId::new(project).unwrap(), Ask::new(sql)).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let (batches, _) = answer.collect().await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        pretty_format_batches(&batches).unwrap().to_string()
    }

    /// The single value that SQL gives, as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        self.value_of("default", sql).await
    }

    pub(crate) async fn value_of(&self, project: &str, sql: &str) -> String {
        let table = self.table_of(project, sql).await;
        table.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned()).unwrap_or_default()
    }

    /// Why SQL is not answered.
    pub(crate) async fn error(&self, sql: &str) -> QueryError {
        match self.engine.ask(&ProjectId::default_project(), Ask::new(sql)).await {
            Err(error) => error,
            Ok(answer) => answer.collect().await.expect_err(sql),
        }
    }

    pub(crate) fn router(&self) -> Router {
        router(ApiState {
            document: Arc::new(assay_query::api::openapi()),
            engine: self.engine.clone(),
            registry: prometheus::Registry::new(),
            version: "0.0.0-test",
            started_at: Utc::now(),
            ready: Arc::new(|| true),
            demo: Arc::new(DemoStatus::default),
        })
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned())))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let response = self.router().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) async fn delete(&self, path: &str) -> StatusCode {
        self.router().oneshot(Request::delete(path).body(Body::empty()).unwrap()).await.unwrap().status()
    }

    /// The header `X-Assay-Query-Id` of the answer to a question.
    pub(crate) async fn query_id(&self, body: &Value) -> String {
        let request = Request::post("/api/v1/sql").header("content-type", "application/json");
        let response = self.router().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        response.headers()["x-assay-query-id"].to_str().unwrap().to_owned()
    }

    pub(crate) async fn post_sql(&self, accept: &str, body: &Value) -> (StatusCode, Vec<u8>) {
        let request = Request::post("/api/v1/sql").header("content-type", "application/json").header("accept", accept);
        let response = self.router().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    }
}

/// A span of trace number `trace`, `at_ms` after [`base_time`].
pub(crate) fn span(project: &str, trace: u64, span: u64, at_ms: i64) -> SpanRow {
    let mut row = SpanRow::default();
    let start = base_time() + at_ms * 1000;
    row.origin.project_id = project.into();
    row.origin.date = i32::try_from(start.div_euclid(86_400_000_000)).unwrap();
    row.origin.received_at = start + 1_000_000;
    row.trace_id = format!("{trace:032x}");
    row.span_id = format!("{span:016x}");
    row.name = format!("span {span}");
    row.span_kind = "INTERNAL".into();
    row.status_code = "UNSET".into();
    row.start_time = start;
    row.start_time_ns_part = 7;
    row.duration_ns = 1_000_000;
    row.attributes.attributes = "{}".into();
    std::sync::Arc::make_mut(&mut row.sender).resource_attributes = "{}".into();
    std::sync::Arc::make_mut(&mut row.sender).service_name = Some("api".into());
    std::sync::Arc::make_mut(&mut row.sender).scope_name = "test".into();
    row
}

/// A counted call of a model under `parent`.
pub(crate) fn call(project: &str, trace: u64, id: u64, parent: u64, at_ms: i64) -> SpanRow {
    let mut row = span(project, trace, id, at_ms);
    row.parent_span_id = Some(format!("{parent:016x}"));
    row.name = "chat gpt-4o".into();
    row.duration_ns = 2_000_000_000;
    row.genai.operation = Some("chat".into());
    row.genai.provider = Some("openai".into());
    row.genai.request_model = Some("gpt-4o".into());
    row.genai.response_model = Some("gpt-4o-2024-08-06".into());
    row.genai.input_tokens = Some(100);
    row.genai.output_tokens = Some(20);
    row.genai.counted = true;
    row.genai.cost_usd = Some("0.00045".parse().unwrap());
    row.genai.cost_source = Some("computed".into());
    row.genai.session_id = Some(format!("session-{}", trace % 2));
    row.genai.user_id = Some("ada".into());
    row.genai.input_messages = Some(r#"[{"role":"user","parts":[{"type":"text","content":"hi"}]}]"#.into());
    row.genai.input_preview = Some("hi".into());
    row.genai.output_preview = Some("hello".into());
    row
}

/// Trace number `trace` of `project`: a root and two calls, the second inside a tool.
pub(crate) fn trace(project: &str, trace: u64, at_ms: i64) -> Vec<SpanRow> {
    let id = |n: u64| trace * 10 + n;
    let mut root = span(project, trace, id(0), at_ms);
    root.name = "agent".into();
    root.duration_ns = 5_000_000_000;
    root.genai.operation = Some("invoke_agent".into());
    root.genai.tags = Some(r#"["blue","green"]"#.into());
    let mut tool = span(project, trace, id(2), at_ms + 2000);
    tool.parent_span_id = Some(format!("{:016x}", id(0)));
    tool.name = "search".into();
    tool.genai.operation = Some("execute_tool".into());
    tool.genai.tool_name = Some("search".into());
    tool.status_code = "ERROR".into();
    tool.genai.error_type = Some("Timeout".into());
    vec![root, call(project, trace, id(1), id(0), at_ms + 100), tool, call(project, trace, id(3), id(2), at_ms + 2100)]
}

/// A call that only a log record reported.
pub(crate) fn log_call(project: &str, log: u64, at_ms: i64) -> LogRow {
    let mut row = LogRow::default();
    let time = base_time() + at_ms * 1000;
    row.origin.project_id = project.into();
    row.origin.date = i32::try_from(time.div_euclid(86_400_000_000)).unwrap();
    row.origin.received_at = time;
    row.log_id = format!("{log:016x}");
    row.time = time;
    row.event_name = Some("api_request".into());
    row.attributes.attributes = r#"{"duration_ms":1500}"#.into();
    std::sync::Arc::make_mut(&mut row.sender).resource_attributes = "{}".into();
    row.genai.operation = Some("chat".into());
    row.genai.request_model = Some("claude-sonnet-4".into());
    row.genai.input_tokens = Some(7);
    row.genai.output_tokens = Some(3);
    row.genai.counted = true;
    row.genai.cost_source = Some("unpriced".into());
    row.genai.session_id = Some("session-log".into());
    row
}

pub(crate) fn cost_line(project: &str, trace: u64, span: u64, kind: &str, cost: &str) -> CostLineRow {
    let mut row = CostLineRow::default();
    row.origin.project_id = project.into();
    row.origin.date = i32::try_from(base_time().div_euclid(86_400_000_000)).unwrap();
    row.trace_id = Some(format!("{trace:032x}"));
    row.span_id = Some(format!("{span:016x}"));
    row.start_time = base_time();
    row.usage_kind = kind.into();
    row.units = 100;
    row.cost_usd = Some(cost.parse().unwrap());
    row.source = "computed".into();
    row.counted = true;
    row
}

pub(crate) fn correction(project: &str, trace: u64, span: u64, patch: &str) -> CorrectionRow {
    let mut row = CorrectionRow::default();
    row.origin.project_id = project.into();
    row.origin.date = i32::try_from(base_time().div_euclid(86_400_000_000)).unwrap();
    row.origin.wal_position = 1_000;
    row.trace_id = format!("{trace:032x}");
    row.span_id = format!("{span:016x}");
    row.patch = patch.into();
    row.reason = "late_child".into();
    row
}

/// Every table has rows somewhere, so that a join of all of them is not trivially empty.
pub(crate) fn all_tables() -> impl Iterator<Item = &'static str> {
    TableId::ALL.iter().map(|t| t.name())
}
