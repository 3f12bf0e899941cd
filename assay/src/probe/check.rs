//! The questions that the prober asks, and the comparison of the answers with what was sent. Everything is compared for equality.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr as _,
};

use assay_schemas::prices::PriceTable;
use chrono::{DateTime, SecondsFormat};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

use super::{
    content::{KnownSpan, KnownTrace, Round, SERVICE, Sums, scope},
    target::{NoAnswer, Row, Target},
};

/// What is looked at; the label `check` of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Check {
    /// A round is there as soon as it is acknowledged, and once.
    Visible,
    /// A trace by id: its spans, tokens and costs.
    Trace,
    /// A trace by id as OTLP: every attribute of every span.
    Otlp,
    /// Searches find what they should and nothing else.
    Search,
    /// Counts and sums of the latest rounds, by model too.
    Window,
    /// Counts and sums of the whole run.
    Total,
    /// A request without an answer is stored whole or not at all, and once.
    Unanswered,
    /// Requests are taken.
    Send,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Something is not as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Inequality {
    /// What was looked at.
    pub(crate) check: Check,
    /// Where: which trace, span, field or query.
    pub(crate) place: String,
    /// What should be there.
    pub(crate) expected: String,
    /// What is there.
    pub(crate) found: String,
}

impl fmt::Display for Inequality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: expected {}, found {}", self.check, self.place, self.expected, self.found)
    }
}

/// The answers to one check, compared; empty if all is as it was sent.
pub(crate) type Compared = Result<Vec<Inequality>, NoAnswer>;

/// Asks and compares.
pub(crate) struct Checker<'a> {
    pub(crate) target: &'a Target,
    pub(crate) prices: &'a PriceTable,
}

impl Checker<'_> {
    /// What the spans that meet `condition` add up to, and how many different spans they are.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) async fn sums(&self, condition: &str) -> Result<(Sums, i64), NoAnswer> {
        let sql = format!(
            "SELECT count(DISTINCT trace_id) AS traces, count(*) AS spans, count(DISTINCT span_id) AS different, \
             count(*) FILTER (WHERE counted) AS calls, count(*) FILTER (WHERE status_code = 'ERROR') AS errors, \
             sum(input_tokens) FILTER (WHERE counted) AS input_tokens, sum(output_tokens) FILTER (WHERE counted) AS output_tokens, \
             sum(cache_read_tokens) FILTER (WHERE counted) AS cache_read_tokens, sum(cost_usd) FILTER (WHERE counted) AS cost_usd \
             FROM spans WHERE service_name = '{SERVICE}' AND {condition}"
        );
        let row = self.target.sql(&sql).await?.into_iter().next().unwrap_or_default();
        let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(0);
        let sums = Sums {
            traces: number("traces"),
            spans: number("spans"),
            calls: number("calls"),
            errors: number("errors"),
            input_tokens: number("input_tokens"),
            output_tokens: number("output_tokens"),
            cache_read_tokens: number("cache_read_tokens"),
            cost_usd: money(row.get("cost_usd")).unwrap_or_default(),
        };
        Ok((sums, number("different")))
    }

    /// Whether the spans that meet `condition` add up to `expected`, each once.
    pub(crate) async fn adds_up(&self, check: Check, condition: &str, expected: &Sums) -> Compared {
        let (found, different) = self.sums(condition).await?;
        let mut compare = Comparison::new(check, format!("spans where {condition}"));
        compare.equal("different span ids", &expected.spans, &different);
        compare.equal("sums", expected, &found);
        Ok(compare.unequal)
    }

    /// A trace of `round` by id, as the trace page shows it.
    pub(crate) async fn trace(&self, round: &Round, trace: &KnownTrace) -> Compared {
        let page = match self.target.get(&format!("api/v1/traces/{}", trace.trace_id), &[]).await {
            Err(NoAnswer::Refused { status, text }) => return Ok(refused(Check::Trace, &trace.trace_id, status, &text)),
            answer => answer?,
        };
        let mut compare = Comparison::new(Check::Trace, format!("trace {}", trace.trace_id));
        compare_page(&mut compare, round, trace, &page);
        Ok(compare.unequal)
    }

    /// A trace by id as OTLP, equal to what was sent.
    pub(crate) async fn otlp(&self, round: &Round, trace: &KnownTrace) -> Compared {
        let found = self.target.otlp(&trace.trace_id).await?;
        let mut compare = Comparison::new(Check::Otlp, format!("trace {}", trace.trace_id));
        compare_otlp(&mut compare, round, trace, found);
        Ok(compare.unequal)
    }

    /// A trace of an older round, whose time is not remembered: the trace itself says it, and must say it everywhere.
    pub(crate) async fn older(&self, round: Round, idx: usize) -> Compared {
        let timeless = round.traces(self.prices).swap_remove(idx);
        let found = self.target.otlp(&timeless.trace_id).await?;
        let root = timeless.spans[0].span_id();
        let offset = timeless.spans[0].span.start_time_unix_nano - round.base_unix_nano;
        let found_root = spans_of(found).find(|span| hex::encode(&span.span_id) == root);
        let Some(found_root) = found_root else {
            let mut compare = Comparison::new(Check::Otlp, format!("trace {} of round {}", timeless.trace_id, round.number));
            compare.equal("root span", &root, &"none".to_owned());
            return Ok(compare.unequal);
        };
        let round = Round { base_unix_nano: found_root.start_time_unix_nano.saturating_sub(offset), ..round };
        let trace = round.traces(self.prices).swap_remove(idx);
        let mut unequal = self.otlp(&round, &trace).await?;
        unequal.extend(self.trace(&round, &trace).await?);
        Ok(unequal)
    }

    /// Searches of the trace and call lists within `round`: by session, number, word and model.
    pub(crate) async fn search(&self, round: &Round, traces: &[KnownTrace]) -> Compared {
        let session = format!("session:\"{}\"", round.session());
        let ids = |traces: &[KnownTrace]| traces.iter().map(|trace| trace.trace_id.clone()).collect::<BTreeSet<_>>();
        let mut compare = Comparison::new(Check::Search, format!("traces, q = {session}"));
        let list = self.list("api/v1/traces", round, &session).await?;
        let rows = rows(&list, "traces");
        compare.equal("trace ids", &ids(traces), &column(&rows, "trace_id"));
        compare.equal("rows", &traces.len(), &rows.len());
        for trace in traces {
            if let Some(row) = rows.iter().find(|row| row["trace_id"] == trace.trace_id.as_str()) {
                compare_summary(&mut compare, trace, row);
            }
        }
        let mut unequal = compare.unequal;
        let one = &traces[round.number as usize % traces.len()];
        let number = one.spans[0].span.attributes.iter().find(|a| a.key == "assay.probe.trace");
        let number = number.and_then(|a| a.value.as_ref()).and_then(|v| match v.value {
            Some(opentelemetry_proto::tonic::common::v1::any_value::Value::IntValue(number)) => Some(number),
            _ => None,
        });
        let by_number = format!("attr.assay.probe.trace:={} user:\"{}\"", number.unwrap_or(-1), round.run);
        for q in [by_number, format!("\"{}\"", one.word)] {
            let mut compare = Comparison::new(Check::Search, format!("traces, q = {q}"));
            let list = self.list("api/v1/traces", round, &q).await?;
            compare.equal("trace ids", &ids(std::slice::from_ref(one)), &column(&self::rows(&list, "traces"), "trace_id"));
            unequal.extend(compare.unequal);
        }
        let calls = |model: &str| {
            let spans = traces.iter().flat_map(|trace| &trace.spans);
            spans.filter(|span| span.call.as_ref().is_some_and(|call| call.model == model)).map(KnownSpan::span_id).collect()
        };
        let models: BTreeSet<_> =
            traces.iter().flat_map(|trace| &trace.spans).filter_map(|span| Some(span.call.as_ref()?.model)).collect();
        for model in models {
            let q = format!("{session} model:{model}");
            let mut compare = Comparison::new(Check::Search, format!("calls, q = {q}"));
            let list = self.list("api/v1/lists/calls", round, &q).await?;
            compare.equal("span ids", &calls(model), &column(&self::rows(&list, "rows"), "span_id"));
            unequal.extend(compare.unequal);
        }
        Ok(unequal)
    }

    /// Counts and sums of the rounds of the window, three ways.
    pub(crate) async fn window(&self, rounds: &[Round], uncertain: &[String]) -> Compared {
        let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { return Ok(vec![]) };
        let traces: Vec<KnownTrace> = rounds.iter().flat_map(|round| round.traces(self.prices)).collect();
        let condition = format!(
            "{} AND start_time >= '{}' AND start_time < '{}'",
            of_run(&first.run, uncertain),
            time(first.base_unix_nano),
            time(last.base_unix_nano + super::content::ROUND_NANOS)
        );
        let expected = Sums::of(&traces);
        let mut unequal = self.adds_up(Check::Window, &condition, &expected).await?;
        let mut by_model = BTreeMap::<String, (i64, Decimal)>::new();
        for call in traces.iter().flat_map(|trace| &trace.spans).filter_map(|known| known.call.as_ref()) {
            let sums = by_model.entry(call.model.to_owned()).or_default();
            *sums = (sums.0 + 1, sums.1 + call.cost_usd);
        }
        let condition = format!("service_name = '{SERVICE}' AND {condition}");
        let sql =
            format!("SELECT request_model, count(*) AS n, sum(cost_usd) AS cost_usd FROM llm_calls WHERE {condition} GROUP BY 1");
        let model = |row: &Row| {
            let name = row.get("request_model").and_then(Value::as_str).unwrap_or_default().to_owned();
            let n = row.get("n").and_then(Value::as_i64).unwrap_or(0);
            (name, (n, money(row.get("cost_usd")).unwrap_or_default()))
        };
        let found: BTreeMap<_, _> = self.target.sql(&sql).await?.iter().map(model).collect();
        let mut compare = Comparison::new(Check::Window, sql);
        compare.equal("calls and cost by model", &by_model, &found);
        unequal.extend(compare.unequal);
        let lines = format!(
            "SELECT sum(cost_usd) AS cost_usd FROM cost_lines WHERE counted AND trace_id IN (SELECT trace_id FROM spans WHERE {condition})"
        );
        let found = self.target.sql(&lines).await?.first().and_then(|row| money(row.get("cost_usd"))).unwrap_or_default();
        let mut compare = Comparison::new(Check::Window, lines);
        compare.equal("sum of cost lines", &expected.cost_usd, &found);
        unequal.extend(compare.unequal);
        Ok(unequal)
    }

    async fn list(&self, path: &str, round: &Round, q: &str) -> Result<Value, NoAnswer> {
        const SECOND: u64 = 1_000_000_000;
        let (from, to) = (time(round.base_unix_nano - SECOND), time(round.base_unix_nano + SECOND));
        self.target.get(path, &[("q", q), ("from", &from), ("to", &to), ("limit", "500")]).await
    }
}

/// The condition on spans of `run` that leaves out sessions of which nobody knows whether they are stored.
pub(crate) fn of_run(run: &str, uncertain: &[String]) -> String {
    let sessions: Vec<String> = uncertain.iter().map(|session| format!("'{session}'")).collect();
    match sessions.as_slice() {
        [] => format!("user_id = '{run}'"),
        _ => format!("user_id = '{run}' AND session_id NOT IN ({})", sessions.join(", ")),
    }
}

/// The condition on spans of `round`.
pub(crate) fn of_round(round: &Round) -> String {
    format!("session_id = '{}'", round.session())
}

/// What the server said instead of an answer.
pub(crate) fn refused(check: Check, place: &str, status: reqwest::StatusCode, text: &str) -> Vec<Inequality> {
    vec![Inequality { check, place: place.to_owned(), expected: "an answer".to_owned(), found: format!("{status}: {text}") }]
}

/// Collects what is unequal at one place.
struct Comparison {
    check: Check,
    place: String,
    unequal: Vec<Inequality>,
}

impl Comparison {
    fn new(check: Check, place: String) -> Self {
        Self { check, place, unequal: vec![] }
    }

    fn equal<T: PartialEq + fmt::Debug>(&mut self, field: &str, expected: &T, found: &T) {
        if expected != found {
            let place = format!("{}, {field}", self.place);
            let (expected, found) = (format!("`{expected:?}`"), format!("`{found:?}`"));
            self.unequal.push(Inequality { check: self.check, place, expected, found });
        }
    }
}

fn compare_page(compare: &mut Comparison, round: &Round, trace: &KnownTrace, page: &Value) {
    compare_summary(compare, trace, &page["trace"]);
    let rows = rows(page, "spans");
    let ids: BTreeSet<String> = trace.spans.iter().map(KnownSpan::span_id).collect();
    compare.equal("span ids", &ids, &column(&rows, "span_id"));
    compare.equal("spans", &trace.spans.len(), &rows.len());
    let start = trace.spans[0].span.start_time_unix_nano;
    for known in &trace.spans {
        let (id, span) = (known.span_id(), &known.span);
        let Some(row) = rows.iter().find(|row| row["span_id"] == id.as_str()) else { continue };
        let parent = (!span.parent_span_id.is_empty()).then(|| hex::encode(&span.parent_span_id));
        let call = known.call.as_ref();
        let tokens = |of: fn(&assay_schemas::prices::Usage) -> Option<i64>| Value::from(call.and_then(|call| of(&call.usage)));
        let expected = [
            ("parent_span_id", Value::from(parent)),
            ("name", span.name.as_str().into()),
            ("service_name", SERVICE.into()),
            ("start_ns", (span.start_time_unix_nano - start).into()),
            ("duration_ns", (span.end_time_unix_nano - span.start_time_unix_nano).into()),
            ("status_code", if known.failed() { "ERROR" } else { "UNSET" }.into()),
            ("session_id", round.session().into()),
            ("user_id", round.run.as_str().into()),
            ("provider", Value::from(call.map(|call| call.provider))),
            ("request_model", Value::from(call.map(|call| call.model))),
            ("counted", call.is_some().into()),
            ("input_tokens", tokens(|usage| usage.input)),
            ("output_tokens", tokens(|usage| usage.output)),
            ("cache_read_tokens", tokens(|usage| Some(usage.cache_read))),
            ("event_count", span.events.len().into()),
        ];
        for (field, expected) in &expected {
            compare.equal(&format!("span {id}, {field}"), expected, &row[*field]);
        }
        compare.equal(&format!("span {id}, cost_usd"), &call.map(|call| call.cost_usd), &money(row.get("cost_usd")));
    }
}

/// What the list and the page say of a trace as a whole.
fn compare_summary(compare: &mut Comparison, trace: &KnownTrace, row: &Value) {
    let sums = Sums::of(std::slice::from_ref(trace));
    let id = &trace.trace_id;
    for (field, expected) in [("span_count", sums.spans), ("llm_call_count", sums.calls), ("error_count", sums.errors)] {
        compare.equal(&format!("trace {id}, {field}"), &Some(expected), &row[field].as_i64());
    }
    // Sums over no call are unknown, not zero.
    let some = |value: i64| (sums.calls > 0).then_some(value);
    let tokens = [
        ("input_tokens", sums.input_tokens),
        ("output_tokens", sums.output_tokens),
        ("cache_read_tokens", sums.cache_read_tokens),
    ];
    for (field, expected) in tokens {
        compare.equal(&format!("trace {id}, {field}"), &some(expected), &row[field].as_i64());
    }
    let cost = (sums.calls > 0).then_some(sums.cost_usd);
    compare.equal(&format!("trace {id}, cost_usd"), &cost, &money(row.get("cost_usd")));
}

fn compare_otlp(compare: &mut Comparison, round: &Round, trace: &KnownTrace, found: ExportTraceServiceRequest) {
    for resource_spans in &found.resource_spans {
        compare.equal("resource", &Some(round.resource()), &resource_spans.resource);
        for scope_spans in &resource_spans.scope_spans {
            compare.equal("scope", &Some(scope()), &scope_spans.scope);
        }
    }
    let by_id = |mut spans: Vec<Span>| {
        spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        spans
    };
    let found = by_id(spans_of(found).collect());
    let expected = by_id(trace.spans.iter().map(|known| known.span.clone()).collect());
    compare.equal("spans", &expected.len(), &found.len());
    for (expected, found) in expected.iter().zip(&found) {
        compare.equal(&format!("span {}", hex::encode(&expected.span_id)), expected, found);
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
}

fn rows<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    answer[name].as_array().into_iter().flatten().collect()
}

fn column(rows: &[&Value], name: &str) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row[name].as_str()).map(str::to_owned).collect()
}

/// Money as the API writes it; `None` for unknown.
pub(crate) fn money(value: Option<&Value>) -> Option<Decimal> {
    Decimal::from_str(value?.as_str()?).ok().map(|value| value.normalize())
}

/// A moment as SQL and the API read it, to the microsecond.
fn time(unix_nano: u64) -> String {
    DateTime::from_timestamp_nanos(unix_nano as i64).to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests;
