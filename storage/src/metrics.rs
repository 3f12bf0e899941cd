//! Storage as Prometheus metrics, read from its status when scraped.

use std::sync::{Arc, Weak};

use prometheus::{
    IntCounter, IntGauge, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{
    bucket::{Bucket, CacheCounts, RequestCounts},
    storage::{Inner, Storage},
};

impl Storage {
    /// Registers the gauges and counters of this store. They hold it no longer than its clones do.
    ///
    /// # Errors
    /// If metrics of the same names are registered already.
    pub fn metrics(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(StorageCollector::new(&self.inner)?))
    }
}

struct StorageCollector {
    store: Weak<Inner>,
    gauges: Vec<(IntGauge, Read)>,
    counters: Vec<(IntCounter, Read)>,
    table_files: IntGaugeVec,
    table_rows: IntGaugeVec,
    table_bytes: IntGaugeVec,
}

type Read = fn(&Reading) -> u64;

/// What one scrape reports.
struct Reading {
    status: crate::StorageStatus,
    last: crate::flush::LastFlush,
    requests: RequestCounts,
    cache: CacheCounts,
    waited: u64,
}

impl StorageCollector {
    fn new(inner: &Arc<Inner>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, read: Read| Ok((IntGauge::new(name, help)?, read));
        let counter = |name: &str, help: &str, read: Read| Ok((IntCounter::new(name, help)?, read));
        let by_table = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["table"]);
        let gauges: Vec<Result<_, prometheus::Error>> = vec![
            gauge("assay_storage_wal_bytes", "Bytes of the write-ahead log on disk", |r| r.status.wal.bytes),
            gauge("assay_storage_wal_segments", "Segments of the write-ahead log", |r| r.status.wal.segments),
            gauge("assay_storage_wal_failed", "1 if the write-ahead log has failed", |r| r.status.wal.failed.is_some().into()),
            gauge("assay_storage_uncommitted_age_milliseconds", "Age of the oldest row that is only in memory and log", |r| {
                r.status.wal.uncommitted_age_ms
            }),
            gauge("assay_storage_hot_bytes", "Bytes of rows in memory", |r| r.status.hot_bytes),
            gauge("assay_storage_hot_rows", "Rows in memory", |r| r.status.hot_rows),
            gauge("assay_storage_overloaded", "1 while requests are refused", |r| r.status.overload.is_some().into()),
            gauge("assay_storage_pending_corrections", "Corrections not yet folded into files", |r| {
                r.status.pending_corrections as u64
            }),
            gauge("assay_storage_flush_failing", "1 if the last flush failed", |r| r.status.flush_error.is_some().into()),
            gauge(
                "assay_storage_incomplete_milliseconds",
                "How long ago the moment is up to which answers are complete; 0 where no other node writes, and on collectors",
                |r| {
                    let now = crate::outside::wall_clock().timestamp_millis();
                    r.status.complete_until_unix_ms.map_or(0, |until| u64::try_from(now - until).unwrap_or(0))
                },
            ),
            gauge("assay_storage_follow_failing", "1 if what other nodes committed could not be read", |r| {
                r.status.follow_error.is_some().into()
            }),
            gauge("assay_storage_cache_bytes", "Bytes of what was read from the bucket lately, on the local disk", |r| {
                r.cache.bytes
            }),
            gauge("assay_storage_last_flush_milliseconds", "Duration of the last flush", |r| r.status.last_flush_ms.unwrap_or(0)),
        ];
        let counters: Vec<Result<_, prometheus::Error>> = vec![
            counter("assay_storage_wal_fsyncs_total", "fsyncs of the write-ahead log", |r| r.status.wal.fsyncs),
            counter("assay_storage_wal_records_total", "Records appended", |r| r.status.wal.appended_records),
            counter("assay_storage_wal_body_bytes_total", "Bytes of request bodies appended", |r| r.status.wal.appended_bytes),
            counter("assay_storage_waits_for_memory_total", "Waits of requests for memory; in vain, they were refused", |r| {
                r.waited
            }),
            counter("assay_storage_flushes_total", "Flushes committed", |r| r.last.flushes),
            counter("assay_storage_flushed_rows_total", "Rows committed by flushes", |r| r.last.rows),
            counter("assay_storage_flushed_file_bytes_total", "Bytes of Parquet committed by flushes", |r| r.last.file_bytes),
            counter("assay_storage_cache_hits_total", "Reads that the cache of the bucket answered", |r| r.cache.hits),
            counter("assay_storage_cache_misses_total", "Reads that it did not", |r| r.cache.misses),
            counter("assay_storage_bucket_gets_total", "Reads from the bucket: objects, ranges of them, or their sizes", |r| {
                r.requests.gets
            }),
            counter("assay_storage_bucket_get_bytes_total", "Bytes read from the bucket", |r| r.requests.get_bytes),
            counter("assay_storage_bucket_puts_total", "Writes to the bucket: objects, or parts of them", |r| r.requests.puts),
            counter("assay_storage_bucket_put_bytes_total", "Bytes written to the bucket", |r| r.requests.put_bytes),
            counter("assay_storage_bucket_lists_total", "Listings of the bucket, of any number of pages", |r| r.requests.lists),
            counter("assay_storage_bucket_deletes_total", "Deletions from the bucket, of any number of objects", |r| {
                r.requests.deletes
            }),
        ];
        Ok(Self {
            store: Arc::downgrade(inner),
            gauges: gauges.into_iter().collect::<Result<_, _>>()?,
            counters: counters.into_iter().collect::<Result<_, _>>()?,
            table_files: by_table("assay_storage_table_files", "Files of the table that are read")?,
            table_rows: by_table("assay_storage_table_rows", "Rows in the files of the table")?,
            table_bytes: by_table("assay_storage_table_bytes", "Bytes of the files of the table")?,
        })
    }
}

impl Collector for StorageCollector {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(|(gauge, _)| gauge.desc());
        let counters = self.counters.iter().flat_map(|(counter, _)| counter.desc());
        let tables = [&self.table_files, &self.table_rows, &self.table_bytes].into_iter().flat_map(|vec| vec.desc());
        gauges.chain(counters).chain(tables).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(inner) = self.store.upgrade() else { return Vec::new() };
        let reading = Reading {
            status: inner.status(),
            last: inner.flusher.last.lock().clone(),
            requests: inner.bucket.as_ref().map(Bucket::counts).unwrap_or_default(),
            cache: inner.bucket.as_ref().map(Bucket::cache_counts).unwrap_or_default(),
            waited: inner.gate.waited(),
        };
        for (gauge, read) in &self.gauges {
            gauge.set(read(&reading).cast_signed());
        }
        for (counter, read) in &self.counters {
            counter.inc_by(read(&reading).saturating_sub(counter.get()));
        }
        for (name, table) in &reading.status.tables {
            for (vec, value) in
                [(&self.table_files, table.files), (&self.table_rows, table.rows), (&self.table_bytes, table.bytes)]
            {
                vec.with_label_values(&[*name]).set(value.cast_signed());
            }
        }
        let gauges = self.gauges.iter().flat_map(|(gauge, _)| gauge.collect());
        let counters = self.counters.iter().flat_map(|(counter, _)| counter.collect());
        let tables = [&self.table_files, &self.table_rows, &self.table_bytes].into_iter().flat_map(|vec| vec.collect());
        gauges.chain(counters).chain(tables).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::{config, ingest};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_scrape_reports_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(config(&dir)).await.unwrap();
        let registry = prometheus::Registry::new();
        storage.metrics(&registry).unwrap();
        ingest(&storage, 1, 1).await;
        storage.flush().await.unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for expected in [
            "assay_storage_wal_records_total 1",
            "assay_storage_flushed_rows_total 1",
            "assay_storage_table_files{table=\"spans\"} 1",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        drop(storage);
        assert!(registry.gather().is_empty());
    }
}
