//! SQL, and addresses of the API with whatever stands in their query strings. Hostile text neither ends the process nor
//! takes its stack; what it asks of memory is refused.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use assay_query::{
    Ask, QueryConfig, QueryEngine, QueryError, QueryErrorKind,
    api::{ApiState, DemoStatus, ROUTES, openapi, router},
};
use assay_schemas::{ids::ProjectId, prices::PriceTable};
use assay_storage::{Storage, StorageConfig};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Uri},
};
use tower::ServiceExt as _;

use super::text;

/// An engine over an empty store.
struct Asked {
    runtime: tokio::runtime::Runtime,
    engine: QueryEngine,
    router: Router,
    _folder: tempfile::TempDir,
}

fn asked() -> &'static Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    ASKED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let day = Duration::from_secs(24 * 3600);
        let storage = StorageConfig { data_dir: folder.path().join("data"), flush_interval: day, ..StorageConfig::default() };
        let storage = runtime.block_on(Storage::open(storage)).expect("a new store");
        let config = QueryConfig { threads: 1, timeout_max: Duration::from_secs(5), ..QueryConfig::default() };
        let engine = QueryEngine::new(storage, Arc::new(PriceTable::embedded()), config).expect("an engine");
        let state = ApiState {
            document: Arc::new(openapi()),
            engine: engine.clone(),
            registry: prometheus::Registry::new(),
            version: "fuzz",
            started_at: chrono::Utc::now(),
            ready: Arc::new(|| true),
            demo: Arc::new(DemoStatus::default),
        };
        Asked { runtime, engine, router: router(state), _folder: folder }
    })
}

/// Any text as a question over no rows; it is answered or refused, and a refusal is not our fault.
pub(super) fn ask(input: &[u8]) {
    let Asked { runtime, engine, .. } = asked();
    let sql = text(input);
    let answer = runtime.block_on(async {
        let ask = Ask { row_limit: Some(100), bytes_max: Some(1 << 20), ..Ask::new(&sql) };
        let mut answer = engine.ask(&ProjectId::default_project(), ask).await?;
        while answer.next().await?.is_some() {}
        Ok::<_, QueryError>(())
    });
    if let Err(error) = answer {
        assert!(error.kind != QueryErrorKind::Internal, "`{sql}`: {error}");
    }
}

/// Any text as the address of something under `/api/v1`; it is answered, and never with status 500.
pub(super) fn url(input: &[u8]) {
    let Asked { runtime, router, .. } = asked();
    let Ok(uri) = text(input).trim().parse::<Uri>() else { return };
    if !uri.path().starts_with('/') {
        return;
    }
    let Ok(request) = Request::get(uri.clone()).body(Body::empty()) else { return };
    let (status, body) = runtime.block_on(async {
        let response = router.clone().oneshot(request).await.expect("the router does not fail");
        let status = response.status();
        (status, to_bytes(response.into_body(), 64 << 20).await)
    });
    assert!(status != 500, "{uri} is answered {status}: {body:?}");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    const DOCS: [&str; 5] = [
        include_str!("../../../docs/sql.md"),
        include_str!("../../../docs/search.md"),
        include_str!("../../../docs/cost.md"),
        include_str!("../../../docs/operations.md"),
        include_str!("../../../docs/ingest.md"),
    ];
    let blocks = DOCS.iter().flat_map(|page| page.split("```sql\n").skip(1)).filter_map(|block| block.split("```").next());
    let mut seeds: Vec<Vec<u8>> = blocks.map(|block| block.as_bytes().to_vec()).collect();
    for own in [
        "SELECT repeat('x', 1000000000)",
        "SELECT 1 + 1 + 1 + 1 + 1 + 1 + 1",
        "SELECT ((((((((((1))))))))))",
        "SELECT * FROM generate_series(1, 9223372036854775807)",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "SELECT CASE WHEN name LIKE '%a%' THEN CAST(duration_ns AS DECIMAL(38, 15)) / 0 END FROM spans",
        "SELECT date_trunc('hour', start_time), time_bucket(INTERVAL '5 minutes', start_time), approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY duration_ns) FROM spans GROUP BY 1, 2",
        "SELECT row_number() OVER (PARTITION BY trace_id ORDER BY start_time DESC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM spans",
        "EXPLAIN SELECT * FROM traces t JOIN llm_calls USING (trace_id) WHERE t.trace_id IN (SELECT trace_id FROM logs)",
        "SELECT regexp_replace(name, '((a+)+)+$', 'x'), lpad('a', 2147483647, 'b'), array_repeat(1, 1000000000) FROM spans",
        "SELECT make_array(1, [2, NULL]), {'a': 1}, INTERVAL '1' YEAR, DATE '2026-02-30', '1e400'::double, -9223372036854775808 FROM spans",
        "DROP TABLE spans; COPY spans TO '/etc/passwd'",
    ] {
        seeds.push(own.as_bytes().to_vec());
    }
    seeds.push(format!("SELECT {}1{}", "(".repeat(2000), ")".repeat(2000)).into_bytes());
    seeds.push(format!("SELECT 1{}", " + 1".repeat(2000)).into_bytes());
    seeds.push(format!("SELECT {}true", "NOT ".repeat(3000)).into_bytes());
    seeds.push(format!("SELECT attributes{} FROM spans", " -> 'a'".repeat(60)).into_bytes());
    seeds.push(format!("SELECT * FROM spans WHERE name = 'a'{}", " OR name = 'b'".repeat(100)).into_bytes());
    seeds
}

pub(super) fn url_seeds() -> Vec<Vec<u8>> {
    let paths = ROUTES.iter().filter(|(method, _)| *method == "get").map(|(_, path)| {
        path.replace("{trace_id}", "0af7651916cd43dd8448eb211c80319c")
            .replace("{span_id}", "00f067aa0ba902b7")
            .replace("{session_id}", "s-1")
    });
    let query = "?from=-3d&to=now&q=service:api%20cost:%3E0.01&limit=2&sort=start_time&order=asc&cursor=WyIyMDI2IiwiMDAiXQ";
    let mut seeds: Vec<_> = paths.flat_map(|path| [path.clone().into_bytes(), format!("{path}{query}").into_bytes()]).collect();
    for own in [
        "/api/v1/series?measure=cost&by=model&buckets=7&from=2026-01-01T00:00:00Z",
        "/api/v1/facets?field=model&prefix=g",
        "/api/v1/traces/strip?buckets=0",
    ] {
        seeds.push(own.as_bytes().to_vec());
    }
    seeds
}
