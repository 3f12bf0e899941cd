//! `GET /api/v1/export/otlp` and `GET /api/v1/traces/{trace_id}/otlp`: stored rows as the OTLP that came in.
//!
//! JSON is written as the OTLP file format has it, one request a line; protobuf as one message, whose parts follow each other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use assay_collector::{
    export::{self, PointRow},
    otlp::json,
};
use assay_query::{
    Ask, QueryEngine, QueryError, QueryErrorKind,
    api::{Problem, Project},
    time_range,
};
use assay_schemas::{
    ids::{ProjectId, Signal},
    table::Row,
    tables::{ExponentialHistogramRow, GaugeRow, HistogramRow, LogRow, SpanRow, SumRow, SummaryRow, TableId},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Chunks that wait for a slow reader.
const CHUNKS_WAITING: usize = 2;

/// What is said of these routes in the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(export, export_trace), components(schemas(SignalName)))]
pub(crate) struct Document;

/// The routes of OTLP export.
pub(crate) fn router(engine: QueryEngine) -> Router {
    Router::new()
        .route("/api/v1/export/otlp", get(export))
        .route("/api/v1/traces/{trace_id}/otlp", get(export_trace))
        .with_state(engine)
}

/// Which rows are exported.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    /// Default `traces`.
    #[serde(default)]
    signal: SignalName,
    /// Only this trace, 32 hex digits.
    trace_id: Option<String>,
    /// Begin of the range: RFC 3339, `now-15m` or `-3d`.
    from: Option<String>,
    /// End of the range, left out of it.
    to: Option<String>,
}

/// What OTLP carries.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SignalName {
    #[default]
    Traces,
    Logs,
    Metrics,
}

impl From<SignalName> for Signal {
    fn from(name: SignalName) -> Self {
        match name {
            SignalName::Traces => Self::Traces,
            SignalName::Logs => Self::Logs,
            SignalName::Metrics => Self::Metrics,
        }
    }
}

/// How the answer is written.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    fn accepted_by(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.contains("protobuf") { Self::Protobuf } else { Self::Json }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        })
    }
}

/// A trace as the OTLP that came in.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{trace_id}/otlp",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ("trace_id" = String, Path, description = "32 hex digits")),
    responses(
        (status = 200, description = "OTLP/JSON, one request a line; protobuf if `Accept` names it", body = String, content_type = "application/json"),
        (status = 400, body = Problem, content_type = "application/problem+json")
    )
)]
async fn export_trace(
    State(engine): State<QueryEngine>,
    Path(trace_id): Path<String>,
    Project(project): Project,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = ExportQuery { trace_id: Some(trace_id), ..ExportQuery::default() };
    respond(engine, project, query, &headers).await
}

/// Stored rows as the OTLP that came in.
#[utoipa::path(
    get,
    path = "/api/v1/export/otlp",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ExportQuery),
    responses(
        (status = 200, description = "OTLP/JSON, one request a line; protobuf if `Accept` names it", body = String, content_type = "application/json"),
        (status = 400, body = Problem, content_type = "application/problem+json")
    )
)]
async fn export(
    State(engine): State<QueryEngine>,
    query: Result<Query<ExportQuery>, QueryRejection>,
    Project(project): Project,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    respond(engine, project, query?.0, &headers).await
}

async fn respond(engine: QueryEngine, project: ProjectId, query: ExportQuery, headers: &HeaderMap) -> Result<Response, Problem> {
    let export = Export::new(engine, project, query, headers).map_err(|error| *error)?;
    let form = export.form;
    let (chunks, mut received) = mpsc::channel(CHUNKS_WAITING);
    // Ends when everything was sent or the reader went away.
    tokio::spawn(async move {
        if let Err(error) = export.run(&chunks).await {
            tracing::warn!(error = format!("{error:#}"), "export broke off");
            // An error in the stream cuts the connection: the reader sees that the answer is not whole.
            drop(chunks.send(Err(error.to_string())).await);
        }
    });
    let first = received.recv().await;
    if let Some(Err(detail)) = first {
        return Err(QueryError::new(QueryErrorKind::Internal, detail).into());
    }
    let rest = stream::unfold(received, async |mut received| received.recv().await.map(|chunk| (chunk, received)));
    let body = futures::StreamExt::chain(stream::iter(first), rest);
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, form.content_type());
    Ok(response)
}

type Chunks = mpsc::Sender<Result<Bytes, String>>;

struct Export {
    engine: QueryEngine,
    project: ProjectId,
    signal: Signal,
    form: Form,
    filter: String,
}

impl Export {
    fn new(engine: QueryEngine, project: ProjectId, query: ExportQuery, headers: &HeaderMap) -> Result<Self, Box<QueryError>> {
        let invalid = |detail: String| Box::new(QueryError::new(QueryErrorKind::Invalid, detail));
        let signal = Signal::from(query.signal);
        let mut conditions = vec!["true".to_owned()];
        if let Some(trace_id) = query.trace_id {
            if signal == Signal::Metrics {
                return Err(invalid("found `trace_id` with `signal=metrics`: data points have no trace".to_owned()));
            }
            if trace_id.len() != 32 || !trace_id.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid(format!("found trace id `{trace_id}`, expected 32 hex digits")));
            }
            conditions.push(format!("trace_id = '{}'", trace_id.to_ascii_lowercase()));
        }
        let now = chrono::Utc::now().timestamp_micros();
        for (operator, value) in [(">=", query.from), ("<", query.to)] {
            if let Some(value) = value {
                let instant = time_range::literal(time_range::parse(&value, now)?);
                conditions.push(format!("received_at {operator} {instant}"));
            }
        }
        Ok(Self { engine, project, signal, form: Form::accepted_by(headers), filter: conditions.join(" AND ") })
    }

    async fn run(&self, chunks: &Chunks) -> anyhow::Result<()> {
        let tables: &[TableId] = match self.signal {
            Signal::Traces => &[TableId::Spans],
            Signal::Logs => &[TableId::Logs],
            Signal::Metrics => &[
                TableId::MetricsGauge,
                TableId::MetricsSum,
                TableId::MetricsHistogram,
                TableId::MetricsExponentialHistogram,
                TableId::MetricsSummary,
            ],
        };
        // One view for all of them, so that the export is of one moment.
        let view = self.engine.storage().view();
        for &table in tables {
            let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
            let sql = format!("SELECT {} FROM {} WHERE {}", columns.join(", "), table.name(), self.filter);
            let row_limit = Some(self.engine.config().row_limit_max);
            let ask = Ask { row_limit, ..Ask::new(sql) };
            let mut answer = self.engine.ask_view(&self.project, Arc::clone(&view), ask).await?;
            while let Some(batch) = answer.next().await? {
                let chunk = self.request(table, &batch).await?;
                if chunks.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
            }
            let stats = answer.stats();
            anyhow::ensure!(!stats.truncated, "found more than `{}` rows: expected a shorter range (`from`, `to`)", stats.rows);
        }
        Ok(())
    }

    /// The rows of `batch` as one encoded request.
    async fn request(&self, table: TableId, batch: &RecordBatch) -> anyhow::Result<Bytes> {
        let blobs = self.engine.storage().blobs().of(&self.project);
        Ok(match table {
            TableId::Spans => {
                let rows: Vec<SpanRow> = rows(batch).collect();
                let columns: Vec<_> = rows.iter().map(|row| (&row.attributes, &*row.genai)).collect();
                let blobs = export::fetch_blobs(columns, &blobs).await?;
                self.encode(&export::spans(rows, &blobs)?)
            }
            TableId::Logs => {
                let rows: Vec<LogRow> = rows(batch).collect();
                let columns: Vec<_> = rows.iter().map(|row| (&row.attributes, &*row.genai)).collect();
                let blobs = export::fetch_blobs(columns, &blobs).await?;
                self.encode(&export::logs(rows, &blobs)?)
            }
            TableId::MetricsGauge => self.encode(&export::metrics(rows::<GaugeRow>(batch).map(PointRow::Gauge))?),
            TableId::MetricsSum => self.encode(&export::metrics(rows::<SumRow>(batch).map(PointRow::Sum))?),
            TableId::MetricsHistogram => self.encode(&export::metrics(rows::<HistogramRow>(batch).map(PointRow::Histogram))?),
            TableId::MetricsExponentialHistogram => {
                self.encode(&export::metrics(rows::<ExponentialHistogramRow>(batch).map(PointRow::ExponentialHistogram))?)
            }
            TableId::MetricsSummary => self.encode(&export::metrics(rows::<SummaryRow>(batch).map(PointRow::Summary))?),
            other => anyhow::bail!("the table `{}` holds no OTLP records", other.name()),
        })
    }

    fn encode<M: json::Message + prost::Message>(&self, request: &M) -> Bytes {
        match self.form {
            Form::Json => (json::encode(request) + "\n").into(),
            Form::Protobuf => request.encode_to_vec().into(),
        }
    }
}

fn rows<R: Row>(batch: &RecordBatch) -> impl Iterator<Item = R> {
    (0..batch.num_rows()).map(|row| R::read(batch, row))
}
