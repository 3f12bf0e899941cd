//! `POST /api/v1/demo` and `GET /api/v1/demo`: demo traffic at the press of a button, sent to this server's own OTLP endpoint.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use assay_query::api;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::demo::{self, DemoOptions, Progress};

/// What one press of the button may ask for.
const TRACES_MAX: usize = 100_000;
const DAYS_MAX: u32 = 90;

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DemoRequest {
    seed: u64,
    traces: usize,
    days: u32,
}

impl Default for DemoRequest {
    fn default() -> Self {
        Self { seed: 7, traces: 2_000, days: 7 }
    }
}

#[derive(Serialize)]
struct DemoStatus {
    running: bool,
    traces: u64,
    traces_wanted: usize,
    spans: u64,
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

    fn status(&self) -> DemoStatus {
        let last = self.shared.last.lock();
        DemoStatus {
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

async fn status(State(runner): State<DemoRunner>) -> Json<DemoStatus> {
    Json(runner.status())
}

async fn start(State(runner): State<DemoRunner>, headers: HeaderMap, body: String) -> Response {
    let asked = if body.trim().is_empty() { Ok(DemoRequest::default()) } else { serde_json::from_str(&body) };
    let asked = match asked {
        Ok(asked) if asked.traces <= TRACES_MAX && asked.days <= DAYS_MAX => asked,
        Ok(asked) => {
            let (traces, days) = (asked.traces, asked.days);
            let detail = format!("found `{traces}` traces over `{days}` days, expected at most `{TRACES_MAX}` over `{DAYS_MAX}`");
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("the body is not a demo request: {error}")),
    };
    let project = match headers.get("x-assay-project").map(|value| value.to_str()) {
        None => "default",
        Some(Ok(project)) => project,
        Some(Err(_)) => return problem(StatusCode::BAD_REQUEST, "header `X-Assay-Project` is not text"),
    };
    if runner.shared.running.swap(true, Ordering::AcqRel) {
        return problem(StatusCode::CONFLICT, "demo traffic is already being sent");
    }
    let endpoint = format!("http://{}", runner.shared.address).parse().expect("a socket address makes a URL");
    let options = DemoOptions { endpoint, project: project.to_owned(), seed: asked.seed, traces: asked.traces, days: asked.days };
    let progress = Arc::new(Progress::default());
    *runner.shared.last.lock() = Last { progress: Arc::clone(&progress), traces_wanted: asked.traces, error: None };
    // Ends with the traffic, or with the server through `stop`.
    tokio::spawn(runner.clone().run(options, progress));
    (StatusCode::ACCEPTED, Json(runner.status())).into_response()
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}
