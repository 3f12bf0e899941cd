//! The Assay that is probed, through its public ports, as a stranger would: OTLP in, the HTTP API out.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use reqwest::{Client, RequestBuilder, StatusCode, Url, header};
use serde_json::{Map, Value, json};

/// A request that takes longer has no answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that is quoted.
const QUOTED_BYTES_MAX: usize = 500;

/// Where to write and where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    client: Client,
    api: Url,
    otlp: Url,
    project: String,
    token: Option<String>,
}

/// No answer that could be right or wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nobody there, the connection broke, or the server asks for patience: ask again.
    #[error("{0}")]
    Away(String),
    /// The server refused: asking again does not help.
    #[error("the server answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
}

/// A row of a SQL answer by column, values as the JSON answer has them.
pub(crate) type Row = Map<String, Value>;

impl Target {
    /// A target whose API is at `api` and whose OTLP/HTTP endpoint is at `otlp`.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub(crate) fn new(api: Url, otlp: Url, project: String, token: Option<String>) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(Duration::from_secs(5)).build();
        Ok(Self { client: client.context("could not set up the HTTP client")?, api, otlp, project, token })
    }

    /// Sends `request` once; gives how long the acknowledgement took.
    ///
    /// # Errors
    /// [`NoAnswer::Away`] leaves open whether the request was stored.
    pub(crate) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<Duration, NoAnswer> {
        let started = Instant::now();
        let post = self.client.post(join(&self.otlp, "v1/traces")?).header(header::CONTENT_TYPE, "application/x-protobuf");
        let answer = self.answer(post.body(request.encode_to_vec())).await?;
        let took = started.elapsed();
        let refused = |text: String| NoAnswer::Refused { status: StatusCode::OK, text };
        let answer = ExportTraceServiceResponse::decode(answer).map_err(|error| refused(format!("no OTLP: {error}")))?;
        match answer.partial_success {
            Some(partial) if partial.rejected_spans != 0 => {
                Err(refused(format!("{} spans rejected: {}", partial.rejected_spans, partial.error_message)))
            }
            _ => Ok(took),
        }
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// If there is no answer, or not all of it.
    pub(crate) async fn sql(&self, query: &str) -> Result<Vec<Row>, NoAnswer> {
        let post = self.client.post(join(&self.api, "api/v1/sql")?).json(&json!({ "query": query, "row_limit": 100_000 }));
        let answer = json_of(&self.answer(post).await?)?;
        if answer["stats"]["truncated"] == true {
            return Err(odd(format!("more rows than asked for: {}", answer["stats"])));
        }
        let columns: Vec<&str> = answer["columns"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
        let rows = answer["rows"].as_array().ok_or_else(|| odd("no `rows`".to_owned()))?;
        let row = |row: &Value| {
            let values = row.as_array().into_iter().flatten().cloned();
            columns.iter().map(|name| (*name).to_owned()).zip(values).collect()
        };
        Ok(rows.iter().map(row).collect())
    }

    /// A resource of the API as JSON.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, NoAnswer> {
        json_of(&self.answer(self.client.get(join(&self.api, path)?).query(query)).await?)
    }

    /// A trace as the OTLP that came in.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn otlp(&self, trace_id: &str) -> Result<ExportTraceServiceRequest, NoAnswer> {
        let get = self.client.get(join(&self.api, &format!("api/v1/traces/{trace_id}/otlp"))?);
        let answer = self.answer(get.header(header::ACCEPT, "application/x-protobuf")).await?;
        ExportTraceServiceRequest::decode(answer).map_err(|error| odd(format!("no OTLP: {error}")))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<bytes::Bytes, NoAnswer> {
        let mut request = request.header("X-Assay-Project", &self.project);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let away = |error: reqwest::Error| NoAnswer::Away(format!("{:#}", anyhow::Error::new(error)));
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let body = response.bytes().await.map_err(away)?;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED_BYTES_MAX)]).into_owned();
        // OTLP's list of answers that are worth a retry.
        match status.as_u16() {
            429 | 502 | 503 | 504 => Err(NoAnswer::Away(format!("the server answered {status}: {text}"))),
            _ => Err(NoAnswer::Refused { status, text }),
        }
    }
}

fn join(base: &Url, path: &str) -> Result<Url, NoAnswer> {
    base.join(path).map_err(|error| NoAnswer::Away(format!("`{base}` is not the address of a server: {error}")))
}

fn json_of(body: &[u8]) -> Result<Value, NoAnswer> {
    serde_json::from_slice(body).map_err(|error| odd(format!("no JSON: {error}")))
}

/// An answer with status 200 that cannot be read.
fn odd(text: String) -> NoAnswer {
    NoAnswer::Refused { status: StatusCode::OK, text }
}
