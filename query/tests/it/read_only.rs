//! Nothing that a caller writes can change anything, read a file, or see another project.

use assay_query::QueryErrorKind;

use crate::support::{Fixture, all_tables, correction, cost_line, log_call, trace};

const HOSTILE: &[&str] = &[
    "CREATE TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE UNBOUNDED EXTERNAL TABLE x STORED AS PARQUET LOCATION 's3://b/x'",
    "CREATE SCHEMA x",
    "CREATE DATABASE x",
    "CREATE FUNCTION f(int) RETURNS int RETURN 1",
    "CREATE INDEX i ON spans (trace_id)",
    "COPY spans TO '/tmp/x.parquet'",
    "COPY (SELECT 1) TO '/tmp/x.csv' STORED AS CSV",
    "INSERT INTO spans SELECT * FROM spans",
    "WITH x AS (INSERT INTO spans VALUES (1)) SELECT 1",
    "UPDATE spans SET name = 'x'",
    "DELETE FROM spans",
    "TRUNCATE TABLE spans",
    "MERGE INTO spans USING spans s ON true WHEN MATCHED THEN DELETE",
    "DROP TABLE spans",
    "DROP VIEW traces",
    "ALTER TABLE spans ADD COLUMN x INT",
    "SELECT * INTO x FROM spans",
    "SELECT 1 UNION SELECT * FROM (SELECT 1 INTO y) q",
    "SET datafusion.execution.batch_size = 1",
    "SET TIME ZONE 'UTC'",
    "RESET datafusion.execution.batch_size",
    "SHOW ALL",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "EXPLAIN INSERT INTO spans VALUES (1)",
    "EXPLAIN ANALYZE COPY spans TO '/tmp/x.parquet'",
    "ANALYZE TABLE spans",
    "KILL 1",
    "CALL f()",
    "LOAD DATA INPATH '/etc/passwd' INTO TABLE spans",
    "ATTACH DATABASE 'x' AS y",
    "GRANT SELECT ON spans TO x",
    "SELECT 1; DROP TABLE spans",
];

const NOT_THERE: &[&str] = &[
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/tmp/x.parquet'",
    "SELECT * FROM \"s3://bucket/x.parquet\"",
    "SELECT * FROM 'http://localhost/x.csv'",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/tmp/x.parquet')",
    "SELECT * FROM other.public.spans",
    "SELECT * FROM beta.spans",
    "SELECT * FROM assay.beta.spans",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM information_schema.df_settings",
    "TABLE '/etc/passwd'",
    "SELECT * FROM (SELECT * FROM '/etc/passwd') x",
    "SELECT (SELECT count(*) FROM '/etc/passwd')",
    "SELECT * FROM spans WHERE EXISTS (SELECT 1 FROM \"../beta/spans\")",
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_write_are_refused_by_their_kind() {
    let f = Fixture::new().await;
    f.publish("default", trace("default", 1, 0)).await;
    for sql in HOSTILE {
        let error = f.error(sql).await;
        assert!(matches!(error.kind, QueryErrorKind::ReadOnly | QueryErrorKind::Invalid), "{sql}: {error:?}");
    }
    assert_eq!(f.error("DROP TABLE spans").await.kind, QueryErrorKind::ReadOnly);
    assert_eq!(f.value("SELECT count(*) FROM spans").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_addresses_are_not_tables() {
    let f = Fixture::new().await;
    for sql in NOT_THERE {
        let error = f.error(sql).await;
        assert!(matches!(error.kind, QueryErrorKind::NotFound | QueryErrorKind::Invalid), "{sql}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_is_never_seen() {
    let f = Fixture::new().await;
    for (project, number) in [("alpha", 1), ("beta", 2)] {
        f.publish(project, trace(project, number, 0)).await;
        f.publish(project, vec![log_call(project, number, 0)]).await;
        f.publish(project, vec![cost_line(project, number, number * 10, "input", "1")]).await;
        if project == "alpha" {
            f.storage.flush().await.unwrap();
        }
    }
    f.publish("beta", vec![correction("beta", 2, 21, r#"{"session_id":"stolen"}"#)]).await;
    for hot_or_lake in ["alpha", "beta"] {
        for table in all_tables().chain(["llm_calls"]) {
            let sql = format!("SELECT count(*) FILTER (WHERE project_id <> '{hot_or_lake}') FROM {table}");
            assert_eq!(f.value_of(hot_or_lake, &sql).await, "0", "{table}");
        }
        for sql in [
            "SELECT count(DISTINCT project_id) FROM spans WHERE project_id IN ('alpha', 'beta') OR true",
            "SELECT count(DISTINCT project_id) FROM (SELECT project_id FROM spans UNION ALL SELECT project_id FROM assay.public.spans UNION ALL SELECT project_id FROM logs)",
            "SELECT count(DISTINCT a.project_id) FROM spans a JOIN spans b ON a.span_kind = b.span_kind",
            "WITH spans AS (SELECT * FROM public.spans) SELECT count(DISTINCT project_id) FROM spans",
        ] {
            assert_eq!(f.value_of(hot_or_lake, sql).await, "1", "{sql}");
        }
    }
    assert_eq!(f.value_of("alpha", "SELECT count(*) FROM spans WHERE project_id = 'beta'").await, "0");
    assert_eq!(f.value_of("alpha", "SELECT count(*) FROM traces").await, "1");
    assert_eq!(f.value_of("nobody", "SELECT count(*) FROM spans").await, "0");
}
