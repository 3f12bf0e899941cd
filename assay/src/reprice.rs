//! `POST /api/v1/reprice`: what a past range would cost at today's prices, and, with `apply`, the rows that make it so.
//!
//! A day at a time, so that memory does not grow with the range, and some thousand calls at a time into the store, which gets to fold
//! corrections into files before it takes more. What was applied stays applied if the rest fails; asking again goes on.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use assay_collector::{
    Ingest,
    reprice::{ChangedCall, PastCall, Preview, reprice},
};
use assay_query::{
    Ask, QueryEngine, QueryError, QueryErrorKind,
    api::{Problem, Project},
    time_range,
};
use assay_schemas::{
    genai::GenAi,
    ids::ProjectId,
    table::{Bool, Field, Int, Label, Money, Opt, OptTime, Row as _, Text, Time},
    tables::{CorrectionRow, CostLineRow, Origin, TableId},
};
use assay_storage::Overloaded;
use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    routing::post,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use utoipa::{OpenApi, ToSchema};

/// Calls whose new prices are stored together: a small part of what the store holds of corrections.
const CHANGES_PER_RECORD: usize = 2000;

/// What is said of this route in the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(handle))]
pub(crate) struct Document;

/// The route of re-pricing.
pub(crate) fn router(engine: QueryEngine, ingest: Arc<Ingest>) -> Router {
    Router::new().route("/api/v1/reprice", post(handle)).with_state(Repricer::new(engine, ingest))
}

#[derive(Clone)]
struct Repricer {
    engine: QueryEngine,
    ingest: Arc<Ingest>,
    /// One re-pricing is applied at a time: a second one must see what the first has booked, or it takes the same lines back again.
    applying: Arc<Mutex<()>>,
    changes_per_record: usize,
}

/// A past range to price anew.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RepriceRequest {
    /// Begin of the range: RFC 3339, `now-15m` or `-3d`.
    from: String,
    /// End of the range, left out of it. Default: now.
    to: Option<String>,
    /// Changes the rows. Without it, the answer is a preview.
    #[serde(default)]
    apply: bool,
}

/// What re-pricing changes, or would change.
#[derive(Serialize, ToSchema)]
struct RepriceAnswer {
    /// By day, provider and model.
    preview: PreviewTable,
    /// Cost of all rows that count as it was, in US dollars, a decimal as text.
    old_cost_usd: String,
    /// As it is at today's prices.
    new_cost_usd: String,
    /// Rows whose price changes, rows that do not count included.
    changed_rows: u64,
    /// Whether the rows were changed.
    applied: bool,
}

/// Columns and rows, as the SQL endpoint answers.
#[derive(Serialize, ToSchema)]
struct PreviewTable {
    #[schema(value_type = Vec<Object>)]
    columns: Vec<Value>,
    #[schema(value_type = Vec<Vec<Object>>)]
    rows: Vec<Value>,
}

/// Prices the calls of a past range at today's prices: a preview, or with `apply` the change.
#[utoipa::path(
    post,
    path = "/api/v1/reprice",
    operation_id = "reprice",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")),
    request_body = RepriceRequest,
    responses((status = 200, body = RepriceAnswer), (status = 400, body = Problem, content_type = "application/problem+json"))
)]
async fn handle(
    State(repricer): State<Repricer>,
    Project(project): Project,
    request: Result<Json<RepriceRequest>, JsonRejection>,
) -> Result<Json<RepriceAnswer>, Problem> {
    let request = request?.0;
    let now = Utc::now();
    let from = instant(&request.from, now).map_err(|error| *error)?;
    let to = request.to.as_deref().map_or(Ok(now), |text| instant(text, now)).map_err(|error| *error)?;
    if from >= to {
        let detail = format!("found `from` `{from}` at or after `to` `{to}`: expected an earlier time");
        return Err(QueryError::new(QueryErrorKind::Invalid, detail).into());
    }
    let preview = repricer.run(&project, from, to, request.apply).await;
    let preview = preview.map_err(|error| QueryError::new(QueryErrorKind::Internal, format!("{error:#}")))?;
    Ok(Json(answer(&preview, request.apply)))
}

fn instant(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Box<QueryError>> {
    let micros = time_range::parse(text, now.timestamp_micros())?;
    let out_of_range = || Box::new(QueryError::new(QueryErrorKind::Invalid, format!("`{text}` is out of range")));
    DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)
}

impl Repricer {
    fn new(engine: QueryEngine, ingest: Arc<Ingest>) -> Self {
        Self { engine, ingest, applying: Arc::default(), changes_per_record: CHANGES_PER_RECORD }
    }

    async fn run(&self, project: &ProjectId, from: DateTime<Utc>, to: DateTime<Utc>, apply: bool) -> anyhow::Result<Preview> {
        let _turn = if apply { Some(self.applying.lock().await) } else { None };
        let mut whole = Preview::default();
        // Days before the first row are many and empty.
        let mut start = self.first_row(project).await?.map_or(to, |first| from.max(first));
        while start < to {
            let end = (start + TimeDelta::days(1)).min(to);
            let day =
                self.day(project, start, end, apply).await.with_context(|| format!("could not price the day from `{start}`"))?;
            whole.models.extend(day.models);
            whole.old_cost_usd += day.old_cost_usd;
            whole.new_cost_usd += day.new_cost_usd;
            whole.changed_rows += day.changed_rows;
            start = end;
        }
        Ok(whole)
    }

    /// Start of the earliest row, if there is any.
    async fn first_row(&self, project: &ProjectId) -> anyhow::Result<Option<DateTime<Utc>>> {
        let mut first = None;
        for sql in ["SELECT min(start_time) FROM spans", "SELECT min(time) FROM logs"] {
            let (batches, _) = self.engine.ask(project, Ask::new(sql)).await?.collect().await?;
            let earliest = batches.iter().filter(|batch| batch.num_rows() > 0);
            first = earliest.filter_map(|batch| OptTime::take(&mut batch.columns().iter(), 0)).chain(first).min();
        }
        Ok(first.and_then(DateTime::from_timestamp_micros))
    }

    async fn day(&self, project: &ProjectId, from: DateTime<Utc>, to: DateTime<Utc>, apply: bool) -> anyhow::Result<Preview> {
        let now = Utc::now();
        let origin = Origin {
            project_id: project.as_str().into(),
            date: i32::try_from(now.timestamp().div_euclid(86_400)).context("the clock is far off")?,
            received_at: now.timestamp_micros(),
            wal_position: 0,
        };
        let calls = self.past_calls(project, from, to).await?;
        let repriced = reprice(calls, self.ingest.prices(), &origin);
        if apply {
            for changes in repriced.changes.chunks(self.changes_per_record) {
                self.store(project, changes).await?;
            }
        }
        Ok(repriced.preview)
    }

    /// Stores the rows that change the prices of some calls, once there is room for them.
    async fn store(&self, project: &ProjectId, changes: &[ChangedCall]) -> anyhow::Result<()> {
        while let Err(Overloaded { retry_after, .. }) = self.ingest.admit(project).await {
            // What fills the store is likely what was stored here a moment ago: have it folded into the files.
            let storage = self.engine.storage();
            storage.flush().await.context("could not flush")?;
            storage.compact().await.context("could not fold corrections into files")?;
            if self.ingest.admit(project).await.is_err() {
                tokio::time::sleep(retry_after).await;
            }
        }
        let corrections = changes.iter().map(|change| change.correction.clone());
        let cost_lines = changes.iter().flat_map(|change| change.cost_lines.iter().cloned());
        let rows = vec![
            (TableId::SpanCorrections, CorrectionRow::batch(corrections)),
            (TableId::CostLines, CostLineRow::batch(cost_lines)),
        ];
        Ok(self.ingest.store(project.clone(), rows).await?)
    }

    async fn past_calls(&self, project: &ProjectId, from: DateTime<Utc>, to: DateTime<Utc>) -> anyhow::Result<Vec<PastCall>> {
        let view = self.engine.storage().view();
        let range = |column: &str| {
            let literal = |at: DateTime<Utc>| time_range::literal(at.timestamp_micros());
            format!("{column} >= {} AND {column} < {}", literal(from), literal(to))
        };
        let ask = async |sql: String| {
            let ask = Ask { row_limit: Some(self.engine.config().row_limit_max), ..Ask::new(sql) };
            let (batches, stats) = self.engine.ask_view(project, Arc::clone(&view), ask).await?.collect().await?;
            anyhow::ensure!(!stats.truncated, "found more than `{}` rows in a day: expected a shorter range", stats.rows);
            Ok(batches)
        };
        let columns: Vec<&str> = TableId::CostLines.columns().iter().map(|column| column.name).collect();
        let columns = columns.join(", ");
        let mut lines: LinesByCall = HashMap::new();
        for batch in ask(format!("SELECT {columns} FROM cost_lines WHERE {}", range("start_time"))).await? {
            for row in 0..batch.num_rows() {
                let line = CostLineRow::read(&batch, row);
                let id = line.log_id.clone().or_else(|| line.span_id.clone());
                lines.entry((line.trace_id.clone(), id)).or_default().push(line);
            }
        }
        let mut calls = Vec::new();
        for (table, identity, time, used) in [
            (
                "spans",
                "span_id, cast(NULL AS varchar), start_time, duration_ns",
                "start_time",
                "(input_tokens IS NOT NULL OR output_tokens IS NOT NULL OR cost_source IS NOT NULL)",
            ),
            // Of log records, only those that report a call have a price.
            ("logs", "cast(NULL AS varchar), log_id, time, cast(0 AS bigint)", "time", "cost_source IS NOT NULL"),
        ] {
            let sql = format!("SELECT trace_id, {identity}, {GENAI_COLUMNS} FROM {table} WHERE {} AND {used}", range(time));
            for batch in ask(sql).await? {
                calls.extend((0..batch.num_rows()).map(|row| past_call(&batch, row, &mut lines)));
            }
        }
        Ok(calls)
    }
}

/// Cost lines by trace and by span or log record.
type LinesByCall = HashMap<(Option<String>, Option<String>), Vec<CostLineRow>>;

/// In the order in which [`past_call`] takes them.
const GENAI_COLUMNS: &str = "provider, request_model, response_model, service_tier, input_tokens, output_tokens, cache_read_tokens, \
    cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, counted, cost_usd, \
    cost_source";

fn past_call(batch: &RecordBatch, row: usize, lines: &mut LinesByCall) -> PastCall {
    let arrays = &mut batch.columns().iter();
    let trace_id = Opt::<Text>::take(arrays, row);
    let span_id = Opt::<Text>::take(arrays, row);
    let log_id = Opt::<Text>::take(arrays, row);
    let id = log_id.clone().or_else(|| span_id.clone());
    PastCall {
        lines: lines.remove(&(trace_id.clone(), id)).unwrap_or_default(),
        trace_id,
        span_id,
        log_id,
        start_time: Time::take(arrays, row),
        duration_ns: <Int as Field>::take(arrays, row),
        genai: GenAi {
            provider: Opt::<Label>::take(arrays, row),
            request_model: Opt::<Label>::take(arrays, row),
            response_model: Opt::<Label>::take(arrays, row),
            service_tier: Opt::<Label>::take(arrays, row),
            input_tokens: Opt::<Int>::take(arrays, row),
            output_tokens: Opt::<Int>::take(arrays, row),
            cache_read_tokens: Opt::<Int>::take(arrays, row),
            cache_write_tokens: Opt::<Int>::take(arrays, row),
            cache_write_1h_tokens: Opt::<Int>::take(arrays, row),
            reasoning_tokens: Opt::<Int>::take(arrays, row),
            audio_input_tokens: Opt::<Int>::take(arrays, row),
            audio_output_tokens: Opt::<Int>::take(arrays, row),
            counted: <Bool as Field>::take(arrays, row),
            cost_usd: Opt::<Money>::take(arrays, row),
            cost_source: Opt::<Label>::take(arrays, row),
            ..GenAi::default()
        },
    }
}

/// The preview with its lines as columns and rows, as the SQL endpoint answers.
fn answer(preview: &Preview, applied: bool) -> RepriceAnswer {
    let names = [
        "day",
        "provider",
        "model",
        "calls",
        "changed_calls",
        "unpriced_before",
        "unpriced_after",
        "old_cost_usd",
        "new_cost_usd",
        "difference_usd",
    ];
    let columns: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let rows: Vec<Value> = preview
        .models
        .iter()
        .map(|line| {
            json!([
                line.day,
                line.provider,
                line.model,
                line.calls,
                line.changed_calls,
                line.unpriced_before,
                line.unpriced_after,
                line.old_cost_usd.to_string(),
                line.new_cost_usd.to_string(),
                line.difference_usd.to_string(),
            ])
        })
        .collect();
    RepriceAnswer {
        preview: PreviewTable { columns, rows },
        old_cost_usd: preview.old_cost_usd.to_string(),
        new_cost_usd: preview.new_cost_usd.to_string(),
        changed_rows: preview.changed_rows,
        applied,
    }
}

#[cfg(test)]
mod tests;
