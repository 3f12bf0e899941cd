//! `GET /api/v1/mappings` and `POST /api/v1/mappings/try`: the mapping rules in use, and what they make of a span.

use std::sync::Arc;

use assay_collector::{
    Ingest,
    trial::{self, Trial, TrialError, TrialSpan},
};
use assay_query::{QueryError, QueryErrorKind, api::Problem};
use assay_schemas::tables::CostLineRow;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    routing::{get, post},
};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{OpenApi, ToSchema};

/// Largest span that is tried.
const BODY_BYTES_MAX: usize = 4 << 20;

/// What is said of these routes in the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(list, try_span))]
pub(crate) struct Document;

/// The routes of mappings.
pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/api/v1/mappings", get(list))
        .route("/api/v1/mappings/try", post(try_span).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
        .with_state(ingest)
}

/// The mapping in use.
#[derive(Serialize, ToSchema)]
struct Mappings {
    /// In the order in which they are asked for a value; those for every record come last.
    dialects: Vec<MappedDialect>,
}

/// One mapping file.
#[derive(Serialize, ToSchema)]
struct MappedDialect {
    /// Name, as in the column `dialect`.
    name: String,
    /// What it is.
    doc: String,
    /// By column, in the order in which they are asked.
    rules: Vec<MappingRule>,
}

/// One way to fill a column.
#[derive(Serialize, ToSchema)]
struct MappingRule {
    /// Name, as in the column `rules`.
    name: String,
    /// The column it fills; `request_parameters.…` for a request parameter.
    column: String,
    /// Where it looks: an attribute's key, `…*` for all that begin so, `resource/…`, `span_name`; `#` and a path inside of it.
    from: Vec<String>,
    /// What it does with what it finds, and when it applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    doc: Option<String>,
}

/// A span to try: as OTLP/JSON, or only its attributes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TryRequest {
    /// The span as OTLP/JSON. Identifiers and times may be left out.
    #[schema(value_type = Option<Object>)]
    span: Option<Box<RawValue>>,
    /// Its resource as OTLP/JSON.
    #[schema(value_type = Option<Object>)]
    resource: Option<Box<RawValue>>,
    /// Its instrumentation scope as OTLP/JSON.
    #[schema(value_type = Option<Object>)]
    scope: Option<Box<RawValue>>,
    /// In the place of `span`: its attributes as a plain JSON object.
    #[schema(value_type = Option<Object>)]
    attributes: Option<Box<RawValue>>,
    /// Its name, beside `attributes`.
    name: Option<String>,
}

/// What the span would become.
#[derive(Serialize, ToSchema)]
struct TryAnswer {
    /// Dialect that gave most, if any was seen.
    dialect: Option<String>,
    /// Canonical columns that are known. JSON columns are JSON, money is decimal text.
    #[schema(value_type = Object)]
    columns: Map<String, Value>,
    /// Column → the rule that filled it.
    #[schema(value_type = Object)]
    rules: Map<String, Value>,
    /// Whether it reports a call of a model.
    is_call: bool,
    /// What the call costs, kind by kind.
    cost_lines: Vec<TriedCostLine>,
}

/// A line of the cost, as in the table `cost_lines`.
#[derive(Serialize, ToSchema)]
struct TriedCostLine {
    /// `input`, `cache_read`, `output`, …
    usage_kind: String,
    /// Tokens.
    units: i64,
    /// US dollars per million tokens; null if unpriced.
    usd_per_million: Option<String>,
    /// Units × price; null if unpriced.
    cost_usd: Option<String>,
    /// `computed`, `configured` or `unpriced`.
    source: String,
    /// The price row.
    price: Option<String>,
    /// Rate set used.
    rate_mode: Option<String>,
    /// Long-context tier: the rates apply above so many input tokens.
    tier_above_tokens: Option<i64>,
    /// Version of the price table.
    price_table: String,
}

/// The mapping rules in use, dialect by dialect.
#[utoipa::path(get, path = "/api/v1/mappings", operation_id = "mappings", responses((status = 200, body = Mappings)))]
async fn list(State(ingest): State<Arc<Ingest>>) -> Json<Mappings> {
    let rule = |rule: assay_collector::normalise::RuleDoc| MappingRule {
        name: rule.name,
        column: rule.column,
        from: vec![rule.source],
        doc: rule.doc,
    };
    let dialects = ingest.normaliser().mappings().into_iter().map(|dialect| MappedDialect {
        name: dialect.name,
        doc: dialect.title,
        rules: dialect.rules.into_iter().map(rule).collect(),
    });
    Json(Mappings { dialects: dialects.collect() })
}

/// What would become of a span: dialect, canonical values, the rule behind each, and its price. Nothing is stored.
#[utoipa::path(
    post,
    path = "/api/v1/mappings/try",
    operation_id = "try_mapping",
    request_body = TryRequest,
    responses((status = 200, body = TryAnswer), (status = 400, body = Problem, content_type = "application/problem+json"))
)]
async fn try_span(
    State(ingest): State<Arc<Ingest>>,
    request: Result<Json<TryRequest>, JsonRejection>,
) -> Result<Json<TryAnswer>, Problem> {
    let request = request?.0;
    // A span of megabytes takes a while to read.
    let tried = tokio::task::spawn_blocking(move || tried(&ingest, &request)).await.expect("trying a span does not panic");
    tried.map(|trial| Json(answer(trial))).map_err(|error| (*error).into())
}

fn tried(ingest: &Ingest, request: &TryRequest) -> Result<Trial, Box<QueryError>> {
    let invalid = |detail: &str| Box::new(QueryError::new(QueryErrorKind::Invalid, detail));
    let refused = |error: TrialError| {
        let TrialError { detail, found, expected } = error;
        Box::new(QueryError { found, expected, ..*invalid(&detail) })
    };
    let now = u64::try_from(Utc::now().timestamp_nanos_opt().unwrap_or_default()).unwrap_or_default();
    let (normaliser, prices) = (ingest.normaliser(), ingest.prices());
    match (&request.span, &request.attributes) {
        (Some(span), None) => {
            let (resource, scope) = (request.resource.as_deref().map(RawValue::get), request.scope.as_deref().map(RawValue::get));
            let trial = TrialSpan { span: span.get(), resource, scope };
            trial::try_span(normaliser, prices, trial, now).map_err(refused)
        }
        (None, Some(attributes)) => {
            let name = request.name.as_deref().unwrap_or_default();
            trial::try_attributes(normaliser, prices, name, attributes.get(), now).map_err(refused)
        }
        (Some(_), Some(_)) => Err(invalid("found both `span` and `attributes`, expected one of them")),
        (None, None) => Err(invalid("found neither `span` nor `attributes`, expected one of them")),
    }
}

fn answer(trial: Trial) -> TryAnswer {
    let Trial { dialect, columns, rules, is_call, cost_lines } = trial;
    let line = |line: CostLineRow| TriedCostLine {
        usage_kind: line.usage_kind,
        units: line.units,
        usd_per_million: line.usd_per_million.map(|price| price.to_string()),
        cost_usd: line.cost_usd.map(|cost| cost.to_string()),
        source: line.source,
        price: line.price,
        rate_mode: line.rate_mode,
        tier_above_tokens: line.tier_above_tokens,
        price_table: line.price_table,
    };
    TryAnswer { dialect, columns, rules, is_call, cost_lines: cost_lines.into_iter().map(line).collect() }
}
