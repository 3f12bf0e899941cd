//! The schema `system`: the store about itself, a project at a time.

use crate::support::{Fixture, span};

async fn flushed() -> Fixture {
    let f = Fixture::new().await;
    f.publish("default", vec![span("default", 1, 1, 0), span("default", 1, 2, 10)]).await;
    f.publish("other", vec![span("other", 2, 3, 0)]).await;
    f.storage.flush().await.unwrap();
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_sees_its_own_files() {
    let f = flushed().await;
    assert_eq!(f.value("SELECT count(*) FROM system.files WHERE path LIKE '%project_id=other%'").await, "0");
    for (project, rows) in [("default", "2"), ("other", "1"), ("third", "")] {
        let sql = "SELECT sum(rows) FROM system.files WHERE table_name = 'spans' AND bytes > 0 AND time_min <= time_max";
        assert_eq!(f.value_of(project, sql).await, rows, "{project}");
    }
    let same = "SELECT f.date = s.date AND f.time_min = s.first FROM system.files f \
                CROSS JOIN (SELECT min(date) AS date, min(start_time) AS first FROM spans) s WHERE f.table_name = 'spans'";
    assert_eq!(f.value(same).await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_add_up_to_most_of_the_file() {
    let f = flushed().await;
    let (columns, file) = ("SELECT sum(compressed_bytes) FROM system.columns", "SELECT sum(bytes) FROM system.files");
    let (columns, file): (u64, u64) = (f.value(columns).await.parse().unwrap(), f.value(file).await.parse().unwrap());
    assert!(columns > 0 && columns < file, "{columns} of {file}: the rest is the footer");
    let sql = "SELECT rows FROM system.columns WHERE table_name = 'spans' AND column_name = 'trace_id'";
    assert_eq!(f.value(sql).await, "2");
    // Columns that are folders are in no file.
    assert_eq!(f.value("SELECT count(*) FROM system.columns WHERE column_name = 'project_id'").await, "0");
    // Asked again, the footers are remembered: the same answer.
    assert_eq!(f.value("SELECT sum(compressed_bytes) FROM system.columns").await, columns.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_tables_and_wal_say_what_was_done() {
    let f = flushed().await;
    f.publish("default", vec![span("default", 4, 4, 0)]).await;
    let sql = "SELECT kind || ' ' || status || ' ' || cast(rows AS varchar) FROM system.jobs WHERE table_name = 'spans' \
               AND ended_at >= started_at AND duration_ms >= 0 AND bytes > 0";
    assert_eq!(f.value(sql).await, "flush ok 3", "jobs are those of all projects");
    let sql = "SELECT concat_ws(' ', files, rows, hot_rows, version > 0, last_flush_at IS NOT NULL, last_compaction_at IS NULL) \
               FROM system.tables WHERE table_name = 'spans'";
    assert_eq!(f.value(sql).await, "1 2 1 true true true");
    assert_eq!(f.value_of("third", "SELECT sum(files) + sum(rows) + sum(hot_rows) FROM system.tables").await, "0");
    let sql = "SELECT concat_ws(' ', segments, bytes > 0, bytes < bytes_max, last_position - flushed_position) FROM system.wal";
    assert_eq!(f.value(sql).await, "1 true true 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_described_and_read_only() {
    let f = flushed().await;
    let sql = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'system' AND comment <> ''";
    assert_eq!(f.value(sql).await, "6");
    let sql = "SELECT data_type FROM information_schema.columns WHERE table_schema = 'system' AND table_name = 'files' AND column_name = 'time_min'";
    assert_eq!(f.value(sql).await, "timestamp with time zone");
    let (_, schema) = f.get("/api/v1/schema").await;
    let names: Vec<_> = schema["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(
        names.ends_with(&["system.files", "system.columns", "system.jobs", "system.wal", "system.tables", "system.prices"]),
        "{names:?}"
    );
    assert_eq!(f.error("SELECT * FROM system.users").await.detail, "no table `users`");
    f.error("DELETE FROM system.jobs").await;
    // A projection, an order and a join work as with any table.
    let sql = "SELECT t.table_name FROM system.tables t JOIN system.files f ON f.table_name = t.table_name ORDER BY 1 LIMIT 1";
    assert_eq!(f.value(sql).await, "spans");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_looked_up() {
    let f = Fixture::new().await;
    let sql = "SELECT concat_ws(' ', price, source, usage_kind, rate_mode, CAST(usd_per_million AS DOUBLE)) FROM system.prices \
               WHERE provider = 'openai' AND model = 'gpt-4o' AND rate_mode = 'standard' AND usage_kind = 'output' \
               ORDER BY effective_from DESC NULLS LAST LIMIT 1";
    let rate = f.value(sql).await;
    assert!(rate.starts_with("openai/gpt-4o") && rate.ends_with("computed output standard 10.0"), "{rate}");
    // The same tokens by the function: a million of the answer.
    let sql = "SELECT llm_cost('openai', 'gpt-4o', 0, 1000000, 0, 0, now()) = usd_per_million FROM system.prices \
               WHERE provider = 'openai' AND model = 'gpt-4o' AND rate_mode = 'standard' AND usage_kind = 'output' \
               ORDER BY effective_from DESC NULLS LAST LIMIT 1";
    assert_eq!(f.value(sql).await, "true");
}
