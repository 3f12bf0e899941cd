//! The scan of slim columns against DataFusion's own: both are asked the same, at random, over the same rows. A question that also looks at a
//! payload column is read by DataFusion's scan, which is how the second answer comes about.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{array::RecordBatch, compute::cast, datatypes::DataType, util::pretty::pretty_format_batches};
use assay_query::{Ask, QueryConfig, QueryEngine};
use assay_schemas::{ids::ProjectId, prices::PriceTable, tables::SpanRow};
use assay_storage::StorageConfig;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use crate::support::{Fixture, correction, span};

/// Always true, but a payload column must be read to know.
const WITH_PAYLOAD: &str = "(payload IS NULL OR length(payload) >= 0)";
const COLUMNS: [&str; 22] = [
    "name",
    "status_code",
    "status_message",
    "session_id",
    "user_id",
    "parent_span_id",
    "trace_id",
    "input_tokens",
    "cost_usd",
    "counted",
    "pending",
    "duration_ns",
    "start_time",
    "date",
    "project_id",
    "temperature",
    "streaming",
    "tags",
    "attributes",
    "error_type",
    "request_model",
    "flags",
];
const CONDITIONS: [&str; 43] = [
    "name = 'span 3'",
    "name <> 'span 3'",
    "name LIKE '%an 1%'",
    "name IN ('span 1', 'span 2', 'nowhere')",
    "name NOT IN ('span 1', NULL)",
    "upper(name) > 'SPAN 4'",
    "status_code = 'ERROR'",
    "status_code = 'nowhere'",
    "session_id IS NULL",
    "session_id IS NOT NULL",
    "session_id = 'session-5'",
    "session_id > 'session-3'",
    "session_id IS DISTINCT FROM 'session-2'",
    "coalesce(session_id, 'none') IN ('none', 'session-1')",
    "session_id = NULL",
    "user_id LIKE 'ü%7'",
    "user_id ILIKE 'Ü%'",
    "(user_id = 'ü 17') IS NOT TRUE",
    "status_message = ''",
    "length(status_message) > 10",
    "parent_span_id IS NULL",
    "parent_span_id < span_id",
    "span_id LIKE '%00a'",
    "input_tokens > 900",
    "input_tokens IS NULL",
    "input_tokens BETWEEN 100 AND 200",
    "input_tokens % 7 = 0",
    "cost_usd > 0.5",
    "cost_usd IS NULL OR cost_usd < 0.01",
    "counted",
    "NOT counted",
    "pending",
    "temperature = 0.5",
    "date = DATE '2026-11-20'",
    "date > DATE '2026-11-20'",
    "project_id = 'default'",
    "project_id = 'other'",
    "start_time >= '2026-11-20T10:10:00Z'",
    "start_time < '2026-11-20T10:01:00Z'",
    "error_type = request_model",
    "attributes ->> 'k' = '3'",
    "CASE WHEN counted THEN input_tokens > 500 ELSE session_id IS NULL END",
    "duration_ns > (SELECT avg(duration_ns) FROM spans)",
];

/// A small generator of numbers: the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| value(self))
    }

    fn row(&mut self, id: u64) -> SpanRow {
        let mut row = span("default", id / 8, id, self.below(1_200_000) as i64);
        if self.below(6) == 0 {
            row.start_time += 86_400_000_000;
            row.origin.date += 1;
        }
        row.name = format!("span {}", self.below(7));
        row.status_code = self.one(&["UNSET", "OK", "ERROR"]).into();
        row.status_message = self.maybe(|r| r.one(&["", "a", "a longer message", "ß"]).into());
        row.parent_span_id = self.maybe(|r| format!("{:016x}", r.below(id + 1)));
        row.duration_ns = self.below(1_000_000) as i64 - 1000;
        row.flags = self.below(2) as i64;
        row.pending = self.maybe(|r| r.below(2) == 0);
        row.attributes.attributes = format!(r#"{{"k":"{}"}}"#, self.below(5));
        row.genai.session_id = self.maybe(|r| format!("session-{}", r.below(9)));
        row.genai.user_id = self.maybe(|r| format!("ü {}", r.below(2000)));
        row.genai.input_tokens = self.maybe(|r| r.below(1000) as i64);
        row.genai.cost_usd = self.maybe(|r| format!("0.{:04}", r.below(10_000)).parse().unwrap());
        row.genai.counted = self.below(2) == 0;
        row.genai.streaming = self.maybe(|r| r.below(2) == 0);
        row.genai.temperature = self.maybe(|r| r.below(4) as f64 / 4.0);
        row.genai.tags = self.maybe(|_| r#"["blue"]"#.into());
        row.genai.error_type = self.maybe(|r| r.one(&["a", "b", "c"]).into());
        row.genai.request_model = self.maybe(|r| r.one(&["b", "c", "d"]).into());
        row
    }

    fn condition(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 1 } else { 5 }) {
            0 | 1 => self.one(&CONDITIONS).to_owned(),
            2 => format!("({}) AND ({})", self.condition(depth - 1), self.condition(depth - 1)),
            3 => format!("({}) OR ({})", self.condition(depth - 1), self.condition(depth - 1)),
            _ => format!("NOT ({})", self.condition(depth - 1)),
        }
    }

    fn columns(&mut self) -> String {
        let mut columns: Vec<_> = (0..=self.below(6)).map(|_| self.one(&COLUMNS)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.join(", ")
    }

    /// A question whose answer is the same however it is found, with `{}` where a condition more may stand.
    fn question(&mut self) -> String {
        let (condition, columns) = (self.condition(3), self.columns());
        let (direction, nulls) = (self.one(&["ASC", "DESC"]), self.one(&["NULLS FIRST", "NULLS LAST"]));
        let (limit, offset) = (self.below(60), self.below(3) * 5);
        let of = format!("FROM spans WHERE ({condition}){{}}");
        let column = self.one(&COLUMNS);
        match self.below(7) {
            0 => format!("SELECT span_id, {columns} {of} ORDER BY span_id"),
            1 => format!("SELECT {columns} {of} ORDER BY {column} {direction} {nulls}, span_id LIMIT {limit} OFFSET {offset}"),
            // One key: the filter that moves with the first rows is on it alone.
            2 => format!("SELECT {column} {of} ORDER BY 1 {direction} {nulls} LIMIT {limit}"),
            3 => {
                format!("SELECT count(*), sum(input_tokens), min(name), max(start_time), count({column}), min(duration_ns) {of}")
            }
            4 => format!("SELECT {column} AS key, count(*), sum(cost_usd) {of} GROUP BY 1 ORDER BY 1 {direction} {nulls}"),
            5 => format!("SELECT count(*) FROM (SELECT {columns} {of} LIMIT {limit})"),
            _ => {
                let parents = format!("FROM spans WHERE ({}){{}}", self.condition(1));
                format!(
                    "SELECT count(*), sum(c.duration_ns) FROM (SELECT parent_span_id, duration_ns {of}) AS c \
                     JOIN (SELECT span_id AS id {parents}) AS p ON c.parent_span_id = p.id"
                )
            }
        }
    }
}

async fn answer(engine: &QueryEngine, sql: &str) -> String {
    let ask = Ask { row_limit: Some(usize::MAX), ..Ask::new(sql) };
    let answer = engine.ask(&ProjectId::default_project(), ask).await;
    match answer {
        Err(error) => format!("{:?}", error.kind),
        Ok(answer) => match answer.collect().await {
            Ok((batches, _)) => pretty_format_batches(&batches).unwrap().to_string(),
            Err(error) => format!("{:?}", error.kind),
        },
    }
}

/// Engines over the storage of `f` that keep decoded columns, few of them, and none.
fn engines(f: &Fixture) -> Vec<QueryEngine> {
    let engine = |cache_bytes_max| {
        let config = QueryConfig { threads: 2, cache_bytes_max, ..QueryConfig::default() };
        QueryEngine::new(f.storage.clone(), Arc::new(PriceTable::embedded()), config).unwrap()
    };
    vec![engine(64 << 20), engine(300 << 10), engine(0)]
}

async fn compare(engines: &[QueryEngine], random: &mut Random, questions: usize) {
    for _ in 0..questions {
        let question = random.question();
        let by_datafusion = question.replace("{}", &format!(" AND {WITH_PAYLOAD}"));
        let expected = answer(&engines[0], &by_datafusion).await;
        let sql = question.replace("{}", "");
        for engine in engines {
            let found = answer(engine, &sql).await;
            assert_eq!(found, expected, "{sql}\nagainst {by_datafusion}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_questions_have_the_answers_of_another_scan() {
    let mut random = Random(7);
    let no_grace = StorageConfig { vacuum_grace: std::time::Duration::ZERO, ..StorageConfig::default() };
    let f = Fixture::over(no_grace, QueryConfig { threads: 2, ..QueryConfig::default() }).await;
    let mut id = 0;
    let mut rows = |random: &mut Random, n: u64| -> Vec<SpanRow> {
        id += n;
        (id - n..id).map(|id| random.row(id)).collect()
    };
    // More rows than a slice; several row groups; small files; rows that are in no file, in a large batch and in small ones.
    f.publish("default", rows(&mut random, 18_000)).await;
    f.storage.flush().await.unwrap();
    let large = "a long prompt ".repeat(5000);
    let with_prompts = |mut rows: Vec<SpanRow>| {
        rows.iter_mut().for_each(|row| row.genai.input_messages = Some(large.clone()));
        rows
    };
    f.publish("default", with_prompts(rows(&mut random, 2200))).await;
    f.storage.flush().await.unwrap();
    for _ in 0..2 {
        f.publish("default", rows(&mut random, 300)).await;
        f.storage.flush().await.unwrap();
    }
    f.publish("other", vec![span("other", 1, 1, 1)]).await;
    f.publish("default", rows(&mut random, 9000)).await;
    f.publish("default", rows(&mut random, 20)).await;
    f.publish("default", rows(&mut random, 1)).await;

    let engines = engines(&f);
    let plan = answer(&engines[0], "EXPLAIN SELECT name FROM spans WHERE counted").await;
    assert!(plan.contains("LakeScanExec") && !plan.contains("DataSourceExec"), "{plan}");
    let plan = answer(&engines[0], &format!("EXPLAIN SELECT name FROM spans WHERE counted AND {WITH_PAYLOAD}")).await;
    assert!(plan.contains("DataSourceExec") && !plan.contains("LakeScanExec"), "{plan}");
    let all = Ask::new("SELECT count(*) FROM spans WHERE counted OR name = 'nowhere'");
    let pruning = engines[0].explain(&ProjectId::default_project(), all, true).await.unwrap().pruning;
    assert!(pruning.row_groups > Some(pruning.files_read) && pruning.row_groups_read == pruning.row_groups, "{pruning:?}");
    compare(&engines, &mut random, 20).await;

    for span in [5, 900, 17_000, 20_100, 25_000] {
        f.publish(
            "default",
            vec![correction("default", span / 8, span, r#"{"counted":true,"session_id":"late","cost_usd":0.7}"#)],
        )
        .await;
    }
    compare(&engines, &mut random, 6).await;

    // Files are replaced while columns of them are kept, and while an answer is given.
    let ask = Ask { row_limit: Some(usize::MAX), ..Ask::new("SELECT span_id, name FROM spans") };
    let mut reading = engines[2].ask(&ProjectId::default_project(), ask).await.unwrap();
    let first = reading.next().await.unwrap().unwrap().num_rows();
    f.storage.flush().await.unwrap();
    f.storage.compact().await.unwrap();
    f.storage.vacuum().await.unwrap();
    let mut rest = 0;
    while let Some(batch) = reading.next().await.unwrap() {
        rest += batch.num_rows();
    }
    assert_eq!(first + rest, 29_821);
    drop(reading);
    f.storage.vacuum().await.unwrap();
    compare(&engines, &mut random, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_sees_only_rows_that_passed_those_before() {
    let f = Fixture::new().await;
    let mut rows: Vec<_> = (0..3000).map(|id| span("default", 1, id, 0)).collect();
    for (nth, row) in rows.iter_mut().enumerate() {
        row.genai.input_tokens = Some(nth as i64 % 500);
    }
    f.publish("default", rows.clone()).await;
    f.storage.flush().await.unwrap();
    f.publish("default", rows).await;
    for (condition, rows) in [
        ("input_tokens <> 0 AND 10000 / input_tokens >= 5000", "24"),
        ("input_tokens > 0 AND name = 'span 2' AND 10000 / input_tokens = 5000", "2"),
    ] {
        assert_eq!(f.value(&format!("SELECT count(*) FROM spans WHERE {condition}")).await, rows, "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_wherever_it_stands() {
    let f = Fixture::new().await;
    for part in 0..3_u64 {
        f.publish("default", (0..9000).map(|id| span("default", part, part * 9000 + id, 0)).collect()).await;
        if part < 2 {
            f.storage.flush().await.unwrap();
        }
    }
    for limit in [0_u64, 1, 7, 5000, 20_000, 30_000] {
        let n = limit.min(27_000);
        for of in ["FROM spans", "FROM spans WHERE flags = 0", "FROM (SELECT * FROM spans LIMIT 27000)"] {
            let sql = format!("SELECT count(*) || ' ' || count(DISTINCT id) FROM (SELECT span_id AS id {of} LIMIT {limit})");
            assert_eq!(f.value(&sql).await, format!("{n} {n}"), "{sql}");
        }
        let sql = format!("SELECT count(*) FROM (SELECT span_id FROM spans LIMIT {limit} OFFSET 26990)");
        assert_eq!(f.value(&sql).await, limit.min(10).to_string(), "{sql}");
        let sql =
            format!("SELECT count(*) FROM (SELECT name FROM (SELECT name, flags FROM spans LIMIT {limit}) WHERE flags = 0)");
        assert_eq!(f.value(&sql).await, n.to_string(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chance_is_asked_once_for_a_row() {
    let f = Fixture::new().await;
    f.publish("default", (0..9000).map(|id| span("default", 1, id, 0)).collect()).await;
    f.storage.flush().await.unwrap();
    let kept: f64 = f.value("SELECT count(*) FROM spans WHERE random() < 0.5 AND flags = 0").await.parse().unwrap();
    assert!((kept - 4500.0).abs() < 500.0, "{kept}");
}

/// Makes the files of spans in the data folder `data` such as an older version might have written: without the column `temperature`, and with
/// smaller numbers in `flags`.
fn as_an_older_version_wrote(data: &Path) {
    let spans = data.join("lake/spans");
    let log: Vec<_> = std::fs::read_dir(spans.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let commits: Vec<_> = log.iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    let days = std::fs::read_dir(spans.join("project_id=default")).unwrap().map(|entry| entry.unwrap().path());
    let files = days.flat_map(|day| std::fs::read_dir(day).unwrap()).map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|e| e == "parquet")) {
        let size = std::fs::metadata(&path).unwrap().len();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(|batch| older(&batch.unwrap())).collect();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batches[0].schema(), None).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
        let new_size = std::fs::metadata(&path).unwrap().len();
        for commit in &commits {
            let text = std::fs::read_to_string(commit).unwrap();
            std::fs::write(commit, text.replace(&format!("\"size\":{size},"), &format!("\"size\":{new_size},"))).unwrap();
        }
    }
}

fn older(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let kept = schema.fields().iter().map(|f| f.name().clone()).filter(|name| name != "temperature").map(|name| {
        let column = batch.column_by_name(&name).unwrap();
        let column = if name == "flags" { cast(column, &DataType::Int32).unwrap() } else { Arc::clone(column) };
        (name, column)
    });
    RecordBatch::try_from_iter(kept).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_older_version_are_read_too() {
    let f = Fixture::new().await;
    let mut random = Random(3);
    f.publish("default", (0..5000).map(|id| random.row(id)).collect()).await;
    f.storage.flush().await.unwrap();
    let flags = f.value("SELECT sum(flags) FROM spans").await;
    assert_ne!(f.value("SELECT count(temperature) FROM spans").await, "0");
    let f = f.restarted(as_an_older_version_wrote).await;
    assert_eq!(f.value("SELECT sum(flags) FROM spans").await, flags);
    assert_eq!(f.value("SELECT count(temperature) FROM spans").await, "0");
    f.publish("default", (5000..6000).map(|id| random.row(id)).collect()).await;
    for round in 0..2 {
        for condition in ["temperature IS NULL", "temperature = 0.5", "flags = 1 AND temperature IS NULL", "flags > 5"] {
            let sql = format!("SELECT count(*), sum(flags), min(span_id), max(temperature) FROM spans WHERE {condition}");
            let by_datafusion = f.table(&format!("{sql} AND {WITH_PAYLOAD}")).await;
            assert_eq!(f.table(&sql).await, by_datafusion, "{condition}, asked {round} times before");
        }
    }
}
