//! The filter language over HTTP: reading a filter, its keys, the values that can stand in it, and SQL back into a filter.

use axum::{
    Json,
    extract::{Query, State, rejection::JsonRejection, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{ApiState, Problem, Project, read::RangeParams};
use crate::{
    error::QueryError,
    filter::{self, Filter, KEYS, Key, KeyKind, KeyType, Target, quoted},
    time_range::span_range,
    traces::Reader,
};

const FACETS_DEFAULT: usize = 20;
const FACETS_MAX: usize = 1000;

/// A filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FilterParams {
    /// The filter as typed.
    #[serde(default)]
    q: String,
}

/// A filter, read.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilterRead {
    /// The filter in its one normal form; every filter with this meaning prints so.
    q: String,
    /// The condition over columns of `spans`; null if the filter lets everything through.
    sql: Option<String>,
}

/// Reads a filter: its normal form and its SQL, or what is wrong with it and where.
#[utoipa::path(get, path = "/api/v1/filter", params(FilterParams), responses((status = 200, body = FilterRead)))]
pub(crate) async fn filter(params: Result<Query<FilterParams>, QueryRejection>) -> Result<Json<FilterRead>, Problem> {
    let filter = Filter::parse(&params?.0.q)?;
    Ok(Json(FilterRead { q: filter.to_string(), sql: filter.sql() }))
}

/// The keys of the filter language.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilterKeys {
    /// The ones people reach for first come first.
    keys: Vec<FilterKey>,
}

/// A key of the filter language.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilterKey {
    /// What stands before the colon. A key that ends in a dot is followed by the name of an attribute.
    key: &'static str,
    /// Other names for it.
    aliases: &'static [&'static str],
    /// How its values are written.
    r#type: KeyType,
    /// What it is.
    doc: &'static str,
    /// Whether `/api/v1/facets` lists its values.
    facet: bool,
    /// Its only values, where there are few.
    values: Vec<&'static str>,
}

/// Every key that a filter can name.
#[utoipa::path(get, path = "/api/v1/filter/keys", responses((status = 200, body = FilterKeys)))]
pub(crate) async fn filter_keys() -> Json<FilterKeys> {
    let key = |key: &'static Key| FilterKey {
        key: key.name,
        aliases: key.aliases,
        r#type: key.kind.value_type(),
        doc: key.doc,
        facet: key.facet,
        values: match (key.name, key.kind) {
            ("status", _) => vec!["ERROR", "OK", "UNSET"],
            (_, KeyKind::Flag) => vec!["true", "false"],
            _ => Vec::new(),
        },
    };
    let has = FilterKey {
        key: "has",
        aliases: &[],
        r#type: KeyType::Flag,
        doc: "Whether the span has a value there; `has:error` is a failed span.",
        facet: false,
        values: std::iter::once("error").chain(KEYS.iter().filter(|k| k.kind != KeyKind::Flag).map(|k| k.name)).collect(),
    };
    let attributes = [
        ("attr.", "An attribute of the span, else of its resource: `attr.http.route:/chat`."),
        ("span.", "An attribute of the span itself."),
        ("resource.", "An attribute of the resource."),
        ("metadata.", "Metadata that the application attached."),
    ];
    let attribute = |(key, doc)| FilterKey { key, aliases: &[], r#type: KeyType::Text, doc, facet: true, values: Vec::new() };
    Json(FilterKeys { keys: KEYS.iter().map(key).chain([has]).chain(attributes.map(attribute)).collect() })
}

/// SQL that is to become a filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromSql {
    /// A condition over columns of `spans`, or `SELECT … FROM spans WHERE` such a condition.
    sql: String,
}

/// SQL as a filter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilterFromSql {
    /// The filter.
    q: String,
    /// Begin of the time range, RFC 3339, where the condition limits `start_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// End of the time range, left out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// Turns a SQL condition into a filter. Everything that a filter says in SQL comes back as the same filter.
#[utoipa::path(
    post,
    path = "/api/v1/filter/from-sql",
    request_body = FromSql,
    responses(
        (status = 200, body = FilterFromSql),
        (status = 422, description = "A part that no filter can say: `found`, and where it is", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn filter_from_sql(request: Result<Json<FromSql>, JsonRejection>) -> Result<Json<FilterFromSql>, Problem> {
    let search = filter::from_sql(&request?.0.sql).map_err(|error| {
        let mut problem = Problem::from(*error.0);
        problem.status = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
        problem
    })?;
    Ok(Json(FilterFromSql { q: search.filter.to_string(), from: search.from, to: search.to }))
}

/// Which values are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FacetParams {
    /// A key of the filter language, an alias, or a column that a key stands for: `model`, `service`, `attr.http.route`, `user_id`.
    field: String,
    /// Only values that begin so, whatever their case.
    prefix: Option<String>,
    /// Values, 1 to 1000. Default 20.
    limit: Option<usize>,
}

/// Values of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Facets {
    /// The most frequent first.
    values: Vec<Facet>,
    /// SQL that gives these rows.
    sql: String,
}

/// A value of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Facet {
    /// The value.
    value: String,
    /// Spans for which `key:value` holds, the rest of the filter too.
    count: i64,
}

/// The most frequent values of a key among the spans that the rest of the filter lets through: what it says of this key itself is left
/// out, so that other values are offered.
#[utoipa::path(get, path = "/api/v1/facets", params(RangeParams, FacetParams), responses((status = 200, body = Facets)))]
pub(crate) async fn facets(
    State(state): State<ApiState>,
    Project(project): Project,
    range: Result<Query<RangeParams>, QueryRejection>,
    facet: Result<Query<FacetParams>, QueryRejection>,
) -> Result<Json<Facets>, Problem> {
    let (range, facet) = (range?.0.read()?, facet?.0);
    let target = facet_target(&facet.field)?;
    let limit = facet.limit.unwrap_or(FACETS_DEFAULT).clamp(1, FACETS_MAX);
    let conditions: Vec<String> =
        std::iter::once(span_range(range.from, range.to)).chain(range.filter.without(&target).sql()).collect();
    let values = facet_values(&target, &conditions.join(" AND "));
    let prefix = match facet.prefix.as_deref().filter(|p| !p.is_empty()) {
        Some(prefix) => format!(" AND starts_with(lower(value), {})", quoted(&prefix.to_lowercase())),
        None => String::new(),
    };
    let sql = format!(
        "SELECT value, count(*) AS n FROM (\n{values}\n) AS facet\nWHERE value IS NOT NULL{prefix}\nGROUP BY value ORDER BY n DESC, value LIMIT {limit}"
    );
    let rows = Reader::new(&state.engine, &project).rows(&sql, limit).await?;
    let value = |row: &serde_json::Map<String, Value>| Facet {
        value: row["value"].as_str().unwrap_or_default().to_owned(),
        count: row["n"].as_i64().unwrap_or(0),
    };
    Ok(Json(Facets { values: rows.iter().map(value).collect(), sql }))
}

fn facet_target(field: &str) -> Result<Target, Problem> {
    let facets = || KEYS.iter().filter(|key| key.facet);
    let column = || facets().find(|key| key.columns == [field]).map(Target::Key);
    let target = column().or_else(|| Target::named(field));
    match target {
        Some(Target::Key(key)) if !key.facet => Err(QueryError::invalid(format!("the values of `{field}` are not listed"))
            .found(field)
            .expected(format!("one of {}", facets().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>().join(", ")))
            .into()),
        Some(target) => Ok(target),
        None => {
            let error = QueryError::invalid(format!("no filter key `{field}`")).found(field);
            let names = facets().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
            Err(match crate::error::nearest(field, names) {
                Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                None => error,
            }
            .into())
        }
    }
}

/// SQL for a column `value` with one row for each span and value of the key.
fn facet_values(target: &Target, condition: &str) -> String {
    let select = |value: &str, more: &str| format!("SELECT {value} AS value FROM spans WHERE {condition}{more}");
    match target {
        Target::Json(place, key) => select(&filter::attribute(*place, key), ""),
        // An element is JSON text; as text it has lost its quotation marks.
        Target::Key(key) if key.kind == KeyKind::Element => format!(
            "SELECT json_as_text('[' || element || ']', 0) AS value FROM (SELECT unnest(json_get_array({})) AS element FROM spans WHERE {condition})",
            key.columns[0]
        ),
        Target::Key(key) => match key.columns {
            [column] => select(column, ""),
            columns => {
                // A span counts once for a value, in whichever column it stands.
                let each = columns.iter().enumerate().map(|(idx, column)| {
                    let before = columns[..idx].iter().map(|other| format!(" AND {column} IS DISTINCT FROM {other}"));
                    select(column, &before.collect::<String>())
                });
                each.collect::<Vec<_>>().join("\nUNION ALL\n")
            }
        },
    }
}
