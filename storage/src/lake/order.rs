//! The order of the rows of a file. What is read together lies together: the rows of a trace, and the traces of a conversation, whose
//! prompts repeat each other and then cost next to nothing.

use std::collections::HashMap;

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch, StringArray},
    datatypes::TimestampMicrosecondType,
};
use assay_schemas::tables::TableId;

use super::{
    encode::{column, grouped_by_trace},
    file::time_column,
};

/// Within a file the rows of one conversation lie together as far as their traces began within the same span of so many microseconds:
/// far enough for a conversation at work, and pages still cover little time.
const SPAN_MICROS: i64 = 3600 * 1_000_000;

/// How the rows of a file lie in it.
pub(super) struct FileOrder {
    /// (batch, row), in the order of the file.
    pub(super) rows: Vec<(usize, usize)>,
    /// Distinct traces, for tables that keep the rows of a trace together.
    pub(super) traces: Option<u64>,
}

/// How the rows of `batches` lie in one file of `table`.
///
/// Tables of traces: conversations by their first start, in them traces by first start, the rows of a trace together and by time, rows
/// of no trace at their own time. Metrics: by name and service, then time. The rest: as received.
pub(super) fn sort_order(table: TableId, batches: &[RecordBatch]) -> FileOrder {
    let rows = |batch: &RecordBatch| 0..batch.num_rows();
    let mut order: Vec<(usize, usize)> =
        batches.iter().enumerate().flat_map(|(b, batch)| rows(batch).map(move |r| (b, r))).collect();
    let Some(time) = time_column(table) else { return FileOrder { rows: order, traces: None } };
    let times: Vec<&[i64]> =
        batches.iter().map(|b| &**column(b, time).as_primitive::<TimestampMicrosecondType>().values()).collect();
    if grouped_by_trace(table) {
        let traces = TraceOrder::of(batches, &order, &times);
        let mut keyed: Vec<(TraceSortKey, usize)> =
            order.iter().zip(&traces.of_rows).map(|(&(b, r), trace)| traces.key(*trace, times[b][r])).zip(0..).collect();
        keyed.sort_unstable();
        let rows = keyed.into_iter().map(|(_, nth)| order[nth]).collect();
        return FileOrder { rows, traces: Some(traces.places.len() as u64) };
    }
    if table.columns().iter().any(|c| c.name == "metric_name") {
        let names: Vec<&StringArray> = batches.iter().map(|b| column(b, "metric_name").as_string::<i32>()).collect();
        let services: Vec<&StringArray> = batches.iter().map(|b| column(b, "service_name").as_string::<i32>()).collect();
        let service = |b: usize, r: usize| if services[b].is_null(r) { "" } else { services[b].value(r) };
        order.sort_by_key(|&(b, r)| (names[b].value(r), service(b, r), times[b][r]));
    } else {
        order.sort_by_key(|&(b, r)| times[b][r]);
    }
    FileOrder { rows: order, traces: None }
}

/// Where the traces of some rows stand in a file.
struct TraceOrder {
    /// The trace of each row, as an index of `places`; `None` for a row of no trace.
    of_rows: Vec<Option<u32>>,
    places: Vec<Place>,
}

/// First start and number of the conversation, then of the trace. A trace of no conversation is one of its own.
type Place = (i64, u32, i64, u32);
/// The place of the trace; time.
type TraceSortKey = (Place, i64);

struct Trace<'a> {
    first_start: i64,
    session: Option<&'a str>,
}

impl<'a> Trace<'a> {
    fn conversation(&self) -> Option<(&'a str, i64)> {
        self.session.map(|session| (session, span_of_time(self.first_start)))
    }
}

impl TraceOrder {
    fn of(batches: &[RecordBatch], rows: &[(usize, usize)], times: &[&[i64]]) -> Self {
        let ids: Vec<&StringArray> = batches.iter().map(|b| column(b, "trace_id").as_string::<i32>()).collect();
        let sessions: Vec<Option<&StringArray>> =
            batches.iter().map(|b| b.column_by_name("session_id").map(|c| c.as_string::<i32>())).collect();
        let mut known: HashMap<&str, u32, ahash::RandomState> = HashMap::default();
        let mut traces: Vec<Trace<'_>> = Vec::new();
        let mut of_rows = Vec::with_capacity(rows.len());
        let mut before: Option<(&str, u32)> = None;
        for &(b, r) in rows {
            if ids[b].is_null(r) {
                of_rows.push(None);
                continue;
            }
            let id = ids[b].value(r);
            // Rows of a trace mostly come together.
            let nth = match before {
                Some((same, nth)) if same == id => nth,
                _ => *known.entry(id).or_insert_with(|| {
                    traces.push(Trace { first_start: i64::MAX, session: None });
                    u32::try_from(traces.len() - 1).expect("fewer traces than 32 bits")
                }),
            };
            before = Some((id, nth));
            of_rows.push(Some(nth));
            let trace = &mut traces[nth as usize];
            trace.first_start = trace.first_start.min(times[b][r]);
            // Rows that came together are of one session; where they are not, any of them will do.
            trace.session = trace.session.or_else(|| sessions[b].filter(|s| s.is_valid(r)).map(|s| s.value(r)));
        }
        Self { of_rows, places: places(&traces) }
    }

    fn key(&self, trace: Option<u32>, time: i64) -> TraceSortKey {
        (trace.map_or((time, u32::MAX, time, u32::MAX), |trace| self.places[trace as usize]), time)
    }
}

fn places(traces: &[Trace<'_>]) -> Vec<Place> {
    // First start of each conversation in each span of `SPAN_MICROS`, with a number to tell it from others.
    let mut conversations: HashMap<(&str, i64), (i64, u32), ahash::RandomState> = HashMap::default();
    for (nth, trace) in (0..).zip(traces) {
        if let Some(conversation) = trace.conversation() {
            let first = conversations.entry(conversation).or_insert((i64::MAX, nth));
            first.0 = first.0.min(trace.first_start);
        }
    }
    let place = |(nth, trace): (u32, &Trace<'_>)| {
        let alone = (trace.first_start, nth);
        let (start, number) = trace.conversation().map_or(alone, |conversation| conversations[&conversation]);
        (start, number, trace.first_start, nth)
    };
    (0..).zip(traces).map(place).collect()
}

fn span_of_time(micros: i64) -> i64 {
    micros.div_euclid(SPAN_MICROS)
}
