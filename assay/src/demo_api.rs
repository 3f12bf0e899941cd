//! `POST /api/v1/demo` and `GET /api/v1/demo`: demo traffic at the press of a button, sent to this server's own OTLP endpoint.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use assay_query::{
    QueryError, QueryErrorKind,
    api::{self, Problem, Project},
};
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa::{OpenApi, ToSchema};

use crate::demo::{self, DemoOptions, Progress};

/// What one press of the button may ask for.
const TRACES_MAX: usize = 100_000;
const DAYS_MAX: u32 = 90;

/// What is said of these routes in the OpenAPI document.
#[derive(OpenApi)]
#[openapi(paths(status, start))]
pub(crate) struct Document;

/// Runs demo traffic, one run at a time.
#[derive(Clone)]
pub(crate) struct DemoRunner {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    running: AtomicBool,
    stop: CancellationToken,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    progress: Arc<Progress>,
    traces_wanted: usize,
    error: Option<String>,
}

/// Which traffic to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct DemoRequest {
    /// The same seed gives the same traffic. Default 7.
    seed: u64,
    /// Traces, at most 100 000. Default 2000.
    traces: usize,
    /// Days up to now over which they are spread, at most 90. Default 7.
    days: u32,
}

impl Default for DemoRequest {
    fn default() -> Self {
        Self { seed: 7, traces: 2_000, days: 7 }
    }
}

/// Progress of the last run.
#[derive(Serialize, ToSchema)]
struct DemoProgress {
    /// Whether it is being sent now.
    running: bool,
    /// Traces sent so far.
    traces: u64,
    /// Traces asked for.
    traces_wanted: usize,
    /// Spans sent so far.
    spans: u64,
    /// Why it broke off, if it did.
    error: Option<String>,
}

impl DemoRunner {
    /// A runner that sends to the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let (running, stop, last) = (AtomicBool::new(false), CancellationToken::new(), Mutex::default());
        Self { shared: Arc::new(Shared { address, running, stop, last }) }
    }

    pub(crate) fn router(&self) -> Router {
        Router::new().route("/api/v1/demo", get(status).post(start)).with_state(self.clone())
    }

    /// Stops a run in progress.
    pub(crate) fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// The short form of the progress, for the server's status document.
    pub(crate) fn status_source(&self) -> Arc<dyn Fn() -> api::DemoStatus + Send + Sync> {
        let runner = self.clone();
        Arc::new(move || {
            let status = runner.status();
            api::DemoStatus { running: status.running, sent: status.spans }
        })
    }

    fn status(&self) -> DemoProgress {
        let last = self.shared.last.lock();
        DemoProgress {
            running: self.shared.running.load(Ordering::Acquire),
            traces: last.progress.traces(),
            traces_wanted: last.traces_wanted,
            spans: last.progress.spans(),
            error: last.error.clone(),
        }
    }

    async fn run(self, options: DemoOptions, progress: Arc<Progress>) {
        let result = tokio::select! {
            () = self.shared.stop.cancelled() => Ok(()),
            result = demo::run(&options, &progress) => result,
        };
        match result {
            Ok(()) => info!(spans = progress.spans(), traces = progress.traces(), "demo traffic sent"),
            Err(error) => {
                warn!(error = format!("{error:#}"), "demo traffic stopped");
                self.shared.last.lock().error = Some(format!("{error:#}"));
            }
        }
        self.shared.running.store(false, Ordering::Release);
    }
}

/// Progress of the demo traffic.
#[utoipa::path(get, path = "/api/v1/demo", operation_id = "demo_status", responses((status = 200, body = DemoProgress)))]
async fn status(State(runner): State<DemoRunner>) -> Json<DemoProgress> {
    Json(runner.status())
}

/// Sends demo traffic to this server, in the background.
#[utoipa::path(
    post,
    path = "/api/v1/demo",
    operation_id = "start_demo",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")),
    request_body(content = Option<DemoRequest>, description = "May be empty"),
    responses(
        (status = 202, body = DemoProgress),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is already being sent", body = Problem, content_type = "application/problem+json")
    )
)]
async fn start(
    State(runner): State<DemoRunner>,
    Project(project): Project,
    body: String,
) -> Result<(StatusCode, Json<DemoProgress>), Problem> {
    let asked = asked(&body).map_err(|error| *error)?;
    if runner.shared.running.swap(true, Ordering::AcqRel) {
        return Err(QueryError::new(QueryErrorKind::Conflict, "demo traffic is already being sent").into());
    }
    let endpoint = format!("http://{}", runner.shared.address).parse().expect("a socket address makes a URL");
    let project = project.as_str().to_owned();
    let options = DemoOptions { endpoint, project, seed: asked.seed, traces: asked.traces, days: asked.days };
    let progress = Arc::new(Progress::default());
    *runner.shared.last.lock() = Last { progress: Arc::clone(&progress), traces_wanted: asked.traces, error: None };
    // Ends with the traffic, or with the server through `stop`.
    tokio::spawn(runner.clone().run(options, progress));
    Ok((StatusCode::ACCEPTED, Json(runner.status())))
}

fn asked(body: &str) -> Result<DemoRequest, Box<QueryError>> {
    let invalid = |detail: String| Box::new(QueryError::new(QueryErrorKind::Invalid, detail));
    let asked = if body.trim().is_empty() { Ok(DemoRequest::default()) } else { serde_json::from_str(body) };
    let asked = asked.map_err(|error| invalid(format!("the body is not a demo request: {error}")))?;
    let DemoRequest { traces, days, .. } = asked;
    if traces <= TRACES_MAX && days <= DAYS_MAX {
        return Ok(asked);
    }
    Err(Box::new(QueryError {
        found: Some(format!("{traces} traces over {days} days")),
        expected: Some(format!("at most {TRACES_MAX} over {DAYS_MAX}")),
        ..*invalid("more traffic than one run may send".to_owned())
    }))
}
