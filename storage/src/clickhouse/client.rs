//! Talking to ClickHouse: statements and insertions over its HTTP interface, answers as record batches, errors by its codes.
//!
//! The HTTP client is the one that the rest of Assay uses. Whatever the status line says, an answer counts only when it is whole: ClickHouse can
//! fail in the middle of one and write its complaint where rows were expected.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    compute::concat_batches,
    error::ArrowError,
    ipc::{reader::StreamDecoder, writer::StreamWriter},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use reqwest::{RequestBuilder, Response};
use tokio::sync::Semaphore;

use super::{ClickHouseConfig, ClickHouseError};
use crate::tasks::blocking;

/// A request that failed for a moment is sent again so often; what takes longer is an error, and flushes have their own patience.
const ATTEMPTS_MAX: u32 = 3;
/// Before the second attempt; four times as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How an Arrow stream ends.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// An exception is quoted up to here.
const MESSAGE_BYTES_MAX: usize = 2000;

/// A connection pool to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClickHouseClient {
    http: reqwest::Client,
    config: Arc<ClickHouseConfig>,
    /// Insertions on their way.
    inserts: Arc<Semaphore>,
}

/// Settings of one statement.
pub type Settings = Vec<(&'static str, String)>;

impl ClickHouseClient {
    pub(crate) fn new(config: ClickHouseConfig) -> Result<Self, ClickHouseError> {
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            // ClickHouse closes idle connections after ten seconds, older ones after three.
            .pool_idle_timeout(Duration::from_secs(2))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ClickHouseError::Request { url: config.url.clone(), source })?;
        Ok(Self { http, inserts: Arc::new(Semaphore::new(config.inserts_in_flight.get())), config: Arc::new(config) })
    }

    /// Where it talks to.
    pub(crate) fn config(&self) -> &ClickHouseConfig {
        &self.config
    }

    /// Runs a statement whose answer does not matter.
    pub(crate) async fn execute(&self, sql: &str, settings: Settings) -> Result<(), ClickHouseError> {
        self.with_patience(|| async {
            let response = self.send(self.request(&settings).timeout(self.config.request_timeout).body(sql.to_owned())).await?;
            response.bytes().await.map(drop).map_err(|source| self.no_answer(source))
        })
        .await
    }

    /// As [`ClickHouseClient::execute`] for what takes as long as `timeout`; not sent again.
    pub(crate) async fn execute_once(&self, sql: &str, settings: Settings, timeout: Duration) -> Result<(), ClickHouseError> {
        let response = self.send(self.request(&settings).timeout(timeout).body(sql.to_owned())).await?;
        response.bytes().await.map(drop).map_err(|source| self.no_answer(source))
    }

    /// All rows of the answer to `sql`, which must be known to be few.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>, ClickHouseError> {
        self.rows_with(sql, Settings::new()).await
    }

    /// The same with `settings`.
    pub(crate) async fn rows_with(&self, sql: &str, mut settings: Settings) -> Result<Vec<RecordBatch>, ClickHouseError> {
        settings.push(("max_execution_time", self.config.request_timeout.as_secs().max(1).to_string()));
        self.with_patience(|| async {
            let stream = self.query(sql.to_owned(), settings.clone(), self.config.request_timeout).await?;
            let batches: Vec<Result<RecordBatch, ClickHouseError>> = stream.collect().await;
            batches.into_iter().collect()
        })
        .await
    }

    /// Asks `sql` (without a `FORMAT`) and gives the rows as they arrive, for as long as `timeout`.
    ///
    /// # Errors
    /// [`ClickHouseError`] if the server does not answer, or refuses; the stream fails where the answer does.
    pub async fn query(
        &self,
        sql: String,
        settings: Settings,
        timeout: Duration,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ClickHouseError>>, ClickHouseError> {
        let request = self.request(&settings).query(&ANSWER_FORMAT).timeout(timeout).body(sql);
        let response = self.send(request).await?;
        let url = self.config.url.clone();
        let failed = move |source: reqwest::Error| ClickHouseError::Request { url: url.clone(), source: source.without_url() };
        Ok(decoded(response.bytes_stream().map(move |chunk| chunk.map_err(&failed))).boxed())
    }

    /// Inserts `batches`, which have one schema, as one block into `table` (as statements name it). Sent again under the same `token`, nothing
    /// happens: so this is tried again while it is unclear whether the first time did something.
    pub(crate) async fn insert(&self, table: &str, token: &str, batches: Vec<RecordBatch>) -> Result<(), ClickHouseError> {
        let Some(first) = batches.first() else { return Ok(()) };
        let names: Vec<_> = first.schema_ref().fields().iter().map(|f| assay_schemas::clickhouse::identifier(f.name())).collect();
        let sql = format!("INSERT INTO {table} ({}) FORMAT ArrowStream", names.join(", "));
        let mut settings: Settings = ONE_BLOCK.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        settings.push(("insert_deduplication_token", token.to_owned()));
        let _permit = self.inserts.acquire().await.expect("the semaphore is never closed");
        let body = blocking(move || one_block(&batches)).await.map_err(ClickHouseError::Encode)?;
        self.with_patience(|| async {
            let request =
                self.request(&settings).query(&[("query", &sql)]).timeout(self.config.request_timeout).body(body.clone());
            self.send(request).await?.bytes().await.map(drop).map_err(|source| self.no_answer(source))
        })
        .await
    }

    /// Tells the server to stop what runs as `query_id`, without waiting for it. What it answers changes nothing for us.
    pub fn kill(&self, query_id: &str) {
        let sql = format!("KILL QUERY WHERE query_id = {} ASYNC", assay_schemas::clickhouse::text(query_id));
        let request = self.request(&Vec::new()).timeout(self.config.connect_timeout).body(sql);
        tokio::spawn(async move {
            if let Err(error) = request.send().await {
                tracing::debug!(%error, "a query could not be stopped in ClickHouse; its own time limit ends it");
            }
        });
    }

    fn request(&self, settings: &Settings) -> RequestBuilder {
        let mut request = self.http.post(&self.config.url).header("X-ClickHouse-User", &self.config.user).query(settings);
        if let Some(password) = &self.config.password {
            request = request.header("X-ClickHouse-Key", password.expose());
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClickHouseError> {
        let response = request.send().await.map_err(|source| self.no_answer(source))?;
        let code = response.headers().get("X-ClickHouse-Exception-Code").and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
        let status = response.status().as_u16();
        if response.status().is_success() && code.is_none() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let mut message = text.trim().to_owned();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Err(ClickHouseError::Refused { url: self.config.url.clone(), status, code, message })
    }

    fn no_answer(&self, source: reqwest::Error) -> ClickHouseError {
        // The settings in it are long, and say nothing new.
        ClickHouseError::Request { url: self.config.url.clone(), source: source.without_url() }
    }

    async fn with_patience<T, F: Future<Output = Result<T, ClickHouseError>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, ClickHouseError> {
        let mut pause = PAUSE;
        for nth in 1.. {
            match attempt().await {
                Err(error) if error.is_transient() && nth < ATTEMPTS_MAX => {
                    tracing::warn!(error = %crate::flush::chain(&error), nth, "ClickHouse did not do what it was asked; trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 4;
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// Rows as our own types, without compression, which the Arrow of this build does not read.
const ANSWER_FORMAT: [(&str, &str); 5] = [
    ("default_format", "ArrowStream"),
    ("output_format_arrow_compression_method", "none"),
    ("output_format_arrow_string_as_string", "1"),
    ("output_format_arrow_low_cardinality_as_dictionary", "0"),
    ("wait_end_of_query", "0"),
];

/// An insertion is one block, which is there as a whole or not at all, and known by its token.
const ONE_BLOCK: [(&str, &str); 8] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", "1000000000"),
    ("min_insert_block_size_rows", "1000000000"),
    ("min_insert_block_size_bytes", "100000000000"),
    ("max_insert_threads", "1"),
    // In a cluster: the answer comes when the shards have the rows.
    ("distributed_foreground_insert", "1"),
];

/// `batches` as an Arrow stream of one record batch. Each record batch is a block to the server, and the token of an insertion that it puts
/// together from several says how many: the same rows in other batches would be another insertion.
fn one_block(batches: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let block = concat_batches(&batches[0].schema(), batches)?;
    let mut writer = StreamWriter::try_new(Vec::with_capacity(block.get_array_memory_size()), &block.schema())?;
    writer.write(&block)?;
    drop(block);
    writer.into_inner().map(Bytes::from)
}

/// The batches of an Arrow stream that arrives in pieces. Fails if it ends before its end.
fn decoded(
    chunks: impl Stream<Item = Result<Bytes, ClickHouseError>> + Send + 'static,
) -> impl Stream<Item = Result<RecordBatch, ClickHouseError>> + Send + 'static {
    struct State<S> {
        chunks: std::pin::Pin<Box<S>>,
        decoder: StreamDecoder,
        buffer: Buffer,
        tail: Vec<u8>,
        ended: bool,
    }
    let buffer = Buffer::from(Vec::<u8>::new());
    let state = State { chunks: Box::pin(chunks), decoder: StreamDecoder::new(), buffer, tail: Vec::new(), ended: false };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if !state.buffer.is_empty() {
                let decoded = state.decoder.decode(&mut state.buffer);
                if let Some(batch) = decoded.map_err(|_| state_failed(&state.tail))? {
                    return Ok(Some((batch, state)));
                }
                continue;
            }
            if state.ended {
                return Ok(None);
            }
            match state.chunks.next().await {
                Some(chunk) => {
                    let chunk = chunk?;
                    keep_tail(&mut state.tail, &chunk);
                    state.buffer = Buffer::from(chunk);
                }
                None if state.tail.ends_with(&END_OF_STREAM) || state.tail.is_empty() => state.ended = true,
                None => return Err(state_failed(&state.tail)),
            }
        }
    })
}

/// What the server wrote where rows were expected.
fn state_failed(tail: &[u8]) -> ClickHouseError {
    let text = String::from_utf8_lossy(tail);
    let message =
        text.find("Code: ").map_or_else(|| "the answer ends before its end".to_owned(), |at| text[at..].trim().to_owned());
    ClickHouseError::Incomplete { message }
}

/// Remembers the end of what arrived: long enough for a complaint.
fn keep_tail(tail: &mut Vec<u8>, chunk: &[u8]) {
    tail.extend_from_slice(&chunk[chunk.len().saturating_sub(MESSAGE_BYTES_MAX)..]);
    let excess = tail.len().saturating_sub(MESSAGE_BYTES_MAX);
    tail.drain(..excess);
}

#[cfg(test)]
mod tests {
    use assay_schemas::{
        table::Row as _,
        tables::{SpanRow, TableId},
    };

    use super::*;

    fn batches() -> Vec<RecordBatch> {
        let row = |n: usize| SpanRow { name: format!("span {n}"), ..SpanRow::default() };
        (0..3).map(|n| SpanRow::batch((0..=n).map(row))).collect()
    }

    fn bytes() -> Vec<u8> {
        one_block(&batches()).unwrap().to_vec()
    }

    async fn read(bytes: Vec<u8>, chunk: usize) -> Result<usize, ClickHouseError> {
        let chunks: Vec<_> = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let read: Vec<_> = decoded(stream::iter(chunks)).collect().await;
        read.into_iter().map(|batch| batch.map(|b| b.num_rows())).sum()
    }

    #[tokio::test]
    async fn what_is_sent_is_read_however_it_is_cut() {
        assert_eq!(batches()[0].schema().fields(), TableId::Spans.schema().fields());
        let bytes = bytes();
        for chunk in [1, 7, 64, 100_000] {
            assert_eq!(read(bytes.clone(), chunk).await.unwrap(), 6, "in pieces of {chunk} bytes");
        }
    }

    #[test]
    fn the_same_rows_are_the_same_insertion_however_they_are_put_together() {
        let rows = concat_batches(&batches()[0].schema(), &batches()).unwrap();
        let parts = [0, 1, 3, 5].windows(2).map(|ends| rows.slice(ends[0], ends[1] - ends[0])).chain([rows.slice(5, 1)]);
        assert_eq!(one_block(&parts.collect::<Vec<_>>()).unwrap(), bytes());
        let read: Vec<_> = arrow::ipc::reader::StreamReader::try_new(&bytes()[..], None).unwrap().collect();
        assert_eq!(read.len(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error() {
        let bytes = bytes();
        let whole = bytes.len();
        for cut in [whole - 1, whole - 8, whole - 9, whole / 2, 4] {
            assert!(read(bytes[..cut].to_vec(), 1000).await.is_err(), "cut at {cut} of {whole}");
        }
        let complaint = b"Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n";
        let mut broken = bytes[..whole - 8].to_vec();
        broken.extend_from_slice(complaint);
        let error = read(broken, 1000).await.expect_err("a complaint is no row").to_string();
        assert!(error.contains("Memory limit exceeded"), "{error}");
    }
}
