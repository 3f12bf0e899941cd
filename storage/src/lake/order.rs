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

/// Rows in the order of the file, as (batch, row).
///
/// Tables of traces: conversations by their first start, in them traces by first start, the rows of a trace together and by time, rows
/// of no trace at their own time. Metrics: by name and service, then time. The rest: as received.
pub(super) fn sort_order(table: TableId, batches: &[RecordBatch]) -> Vec<(usize, usize)> {
    let rows = |batch: &RecordBatch| 0..batch.num_rows();
    let mut order: Vec<(usize, usize)> =
        batches.iter().enumerate().flat_map(|(b, batch)| rows(batch).map(move |r| (b, r))).collect();
    let Some(time) = time_column(table) else { return order };
    let times: Vec<&[i64]> =
        batches.iter().map(|b| &**column(b, time).as_primitive::<TimestampMicrosecondType>().values()).collect();
    if grouped_by_trace(table) {
        let traces = TraceOrder::of(batches, &order, &times);
        order.sort_by_cached_key(|&(b, r)| traces.key(b, r, times[b][r]));
    } else if table.columns().iter().any(|c| c.name == "metric_name") {
        let names: Vec<&StringArray> = batches.iter().map(|b| column(b, "metric_name").as_string::<i32>()).collect();
        let services: Vec<&StringArray> = batches.iter().map(|b| column(b, "service_name").as_string::<i32>()).collect();
        let service = |b: usize, r: usize| if services[b].is_null(r) { "" } else { services[b].value(r) };
        order.sort_by_key(|&(b, r)| (names[b].value(r), service(b, r), times[b][r]));
    } else {
        order.sort_by_key(|&(b, r)| times[b][r]);
    }
    order
}

/// Where the traces of some rows stand in a file, and the conversations they are part of.
struct TraceOrder<'a> {
    ids: Vec<&'a StringArray>,
    traces: HashMap<&'a str, Trace<'a>>,
    /// First start of each conversation in each span of [`SPAN_MICROS`], with a number to tell it from others.
    conversations: HashMap<(&'a str, i64), (i64, u32)>,
}

struct Trace<'a> {
    nth: u32,
    first_start: i64,
    session: Option<&'a str>,
}

/// First start and number of the conversation, then of the trace; time. A trace of no conversation is one of its own.
type TraceSortKey = (i64, u32, i64, u32, i64);

impl<'a> TraceOrder<'a> {
    fn of(batches: &'a [RecordBatch], rows: &[(usize, usize)], times: &[&[i64]]) -> Self {
        let ids: Vec<&StringArray> = batches.iter().map(|b| column(b, "trace_id").as_string::<i32>()).collect();
        let sessions: Vec<Option<&StringArray>> =
            batches.iter().map(|b| b.column_by_name("session_id").map(|c| c.as_string::<i32>())).collect();
        let mut traces: HashMap<&str, Trace<'a>> = HashMap::new();
        for &(b, r) in rows.iter().filter(|(b, r)| ids[*b].is_valid(*r)) {
            let nth = u32::try_from(traces.len()).expect("fewer traces than 32 bits");
            let trace = traces.entry(ids[b].value(r)).or_insert(Trace { nth, first_start: i64::MAX, session: None });
            trace.first_start = trace.first_start.min(times[b][r]);
            // Rows that came together are of one session; where they are not, any of them will do.
            trace.session = trace.session.or_else(|| sessions[b].filter(|s| s.is_valid(r)).map(|s| s.value(r)));
        }
        let mut conversations: HashMap<(&str, i64), (i64, u32)> = HashMap::new();
        for trace in traces.values() {
            if let Some(session) = trace.session {
                let conversation =
                    conversations.entry((session, span_of_time(trace.first_start))).or_insert((i64::MAX, u32::MAX));
                *conversation = (conversation.0.min(trace.first_start), conversation.1.min(trace.nth));
            }
        }
        Self { ids, traces, conversations }
    }

    fn key(&self, batch: usize, row: usize, time: i64) -> TraceSortKey {
        if self.ids[batch].is_null(row) {
            return (time, u32::MAX, time, u32::MAX, time);
        }
        let Trace { nth, first_start, session } = self.traces[self.ids[batch].value(row)];
        let alone = (first_start, nth);
        let (start, conversation) = session.map_or(alone, |session| self.conversations[&(session, span_of_time(first_start))]);
        (start, conversation, first_start, nth, time)
    }
}

fn span_of_time(micros: i64) -> i64 {
    micros.div_euclid(SPAN_MICROS)
}
