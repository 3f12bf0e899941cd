//! The recent traces of one project, and what joins reports of one call across traces.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use assay_schemas::{
    genai::GenAi,
    table::Sparse,
    tables::{ScoreRow, Sender},
};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use twox_hash::XxHash3_128;

use super::{
    Correction, Dirty, FoundScore, Limits, SeedRow, Settled, hash,
    trace::{Call, Map as QuickMap, More, Report, SessionAndUser, Trace, Verdict},
    traces::{Slot, Traces},
};
use crate::{
    normalised::CallFacts,
    prepared::{LogDraft, Prepared, SpanDraft, SpanKey, hex64, hex128},
};

/// Reports of one response start within this time of each other.
const RESPONSE_WITHIN_NS: i64 = 10 * 60 * 1_000_000_000;
/// A response identifier reported more often identifies nothing: test doubles answer with a constant.
const REPORTS_MAX: usize = 12;
/// How long before its span's start and after its end a log record may report the same call.
const TWIN_WITHIN_NS: i64 = 10 * 1_000_000_000;
/// How far the times of a span and of the span around it may disagree.
const CLOCK_NS: i64 = 5_000_000;
/// Calls with the same usage looked through for a twin.
const TWINS_MAX: usize = 64;
/// Spans corrected in one request because a later row named session or user.
const INHERIT_MAX: usize = 10_000;
/// A trace changes its place in the queue of the forgettable at most this often.
const TOUCH_NS: i64 = 1_000_000_000;

/// A call: its trace and its index there.
type Member = (Slot, u32);

/// What a row with a certain usage is, as far as that alone rules out that it is the [twin](twins) of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    /// A log record: any row may be its twin.
    Log,
    /// A span of a call that failed and left nothing to identify it: logs and spans like it may be.
    NamelessFailure,
    /// Any other span: only a log record may be.
    Span,
}

impl Telling {
    fn of(call: &Call) -> Self {
        match call.is_log {
            true => Self::Log,
            false if is_nameless_failure(call) => Self::NamelessFailure,
            false => Self::Span,
        }
    }

    fn may_match(self, other: Self) -> bool {
        matches!((self, other), (Self::Log, _) | (_, Self::Log) | (Self::NamelessFailure, Self::NamelessFailure))
    }
}

#[derive(Debug, Default)]
pub(super) struct Project {
    traces: Traces,
    /// Calls by [`Report::response`], in the order they came: nearly always one.
    responses: QuickMap<u128, SmallVec<[Member; 2]>>,
    /// Calls by their usage, in the order they came, with what each is: thousands of calls have the same few tokens, and nearly all
    /// are passed over without a look into their traces.
    usages: QuickMap<u64, SmallVec<[(Member, Telling); 1]>>,
    /// Traces by when they were last written to, oldest first; an entry may be out of date.
    queue: VecDeque<(i64, Slot)>,
    spans: usize,
    bytes: usize,
}

impl Project {
    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    pub(super) fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Whether nothing refers to a forgotten trace, or to another in its place, and the totals are right.
    #[cfg(test)]
    pub(super) fn is_tidy(&self) -> bool {
        let reports = |member: &Member, response: u128| self.call(*member).response == Some(response);
        let uses = |member: &Member, usage: u64| self.call(*member).usage_hash == Some(usage);
        self.responses.iter().all(|(response, members)| members.iter().all(|member| reports(member, *response)))
            && self.usages.iter().all(|(usage, members)| members.iter().all(|(member, _)| uses(member, *usage)))
            && self.spans == self.traces.iter().map(Trace::spans).sum::<usize>()
            && self.bytes == self.traces.iter().map(Trace::bytes).sum::<usize>()
    }

    /// Registers the rows of a request, decides, and fills the rows.
    pub(super) fn settle(&mut self, prepared: &mut Prepared) -> Settled {
        let now = prepared.receipt.received_at_unix_nano;
        let mut touched = Dirty::default();
        let mut dirty = Dirty::default();
        let mut settled = Settled::default();

        let n_received = prepared.spans.len();
        // Of each span that is kept, its trace.
        let mut slots = Vec::with_capacity(n_received);
        prepared.spans.retain(|draft| {
            let new = self.register_span(draft, now);
            slots.extend(new);
            new.is_some()
        });
        settled.n_resent = n_received - slots.len();
        for (idx, (slot, draft)) in slots.iter().zip(&prepared.spans).enumerate() {
            touched.add(*slot);
            if self.register_span_call(*slot, idx, draft) {
                dirty.add(*slot);
            }
        }
        for (idx, draft) in prepared.logs.iter_mut().enumerate() {
            let is_told = draft.facts.is_call || draft.facts.log_message.is_some() || !draft.scores.is_empty();
            let Some((slot, is_dirty)) = self.register_log(idx, draft, now) else { continue };
            if is_told {
                touched.add(slot);
            }
            if is_dirty {
                dirty.add(slot);
            }
        }
        self.decide(&dirty, prepared, &mut settled.corrections);
        self.complete_rows(&slots, prepared);
        self.correct_late(&touched, &mut settled.corrections);
        self.collect_scores(prepared, &mut settled.scores);
        self.recount(touched.order.iter().chain(&dirty.order));
        settled
    }

    /// Forgets what is idle, and the longest idle beyond the limits.
    pub(super) fn forget(&mut self, now: i64, limits: &Limits, share: usize) {
        while let Some(&(touched_at, slot)) = self.queue.front() {
            let full = self.spans > limits.spans_max / share || self.bytes > limits.bytes_max / share;
            if !full && touched_at > now - limits.idle_ns {
                break;
            }
            self.queue.pop_front();
            let last = self.traces[slot].touched_at;
            if last > touched_at {
                // Written to since: its turn comes later. Its place is by the new time, which may be in the middle.
                let at = self.queue.partition_point(|(touched_at, _)| *touched_at <= last);
                self.queue.insert(at, (last, slot));
                continue;
            }
            self.forget_trace(slot);
        }
    }

    /// Takes up a row written before a restart, as it was decided then. Returns its trace: see [`Project::seeded`].
    pub(super) fn seed(&mut self, row: SeedRow) -> Slot {
        const CALLS: [&str; 4] = ["chat", "text_completion", "embeddings", "rerank"];
        let span_id = row.span_id.as_deref().map_or(0, hex64);
        let key = match &row.trace_id {
            Some(trace_id) => hex128(trace_id),
            None => u128::from(hash(&row.session_id)),
        };
        let parent = row.parent_span_id.as_deref().map_or(0, hex64);
        let slot = self.touch(key, row.received_at_unix_nano);
        let trace = &mut self.traces[slot];
        if !row.is_log {
            trace.insert(span_id, parent, row.start_time_unix_nano, row.session_id.is_some(), row.user_id.is_some());
            let names = GenAi { session_id: row.session_id.clone(), user_id: row.user_id.clone(), ..GenAi::default() };
            trace.written(span_id, &names);
        }
        if row.session_id.is_some() || row.user_id.is_some() {
            let more = trace.more_mut();
            more.session = more.session.take().or_else(|| row.session_id.as_deref().map(Arc::from));
            more.user = more.user.take().or_else(|| row.user_id.as_deref().map(Arc::from));
        }
        let has_usage = row.input_tokens.is_some() || row.output_tokens.is_some();
        let is_call = row.operation.as_deref().is_some_and(|operation| CALLS.contains(&operation));
        if row.counted || row.uncounted_reason.is_some() {
            let mut call = Call::new(Report {
                span_id,
                is_log: row.is_log,
                is_call,
                has_usage,
                has_messages: row.has_messages,
                says_session: row.session_id.is_some(),
                failed: row.failed,
                has_parent: parent != 0,
                response: row.response_id.as_deref().map(response),
                usage_hash: usage_hash(row.input_tokens, row.output_tokens, row.failed),
                session_hash: row.session_id.as_deref().map(hash),
                start_ns: row.start_time_unix_nano,
                end_ns: row.start_time_unix_nano.saturating_add(row.duration_ns),
                ..Report::default()
            });
            call.told = match row.uncounted_reason.as_deref() {
                Some("wrapper") => Verdict::Wrapper,
                Some(_) => Verdict::Duplicate,
                None => Verdict::Counts,
            };
            self.register_call(slot, call);
        }
        slot
    }

    /// Looks at the traces that rows were taken up for, once for all of their rows.
    pub(super) fn seeded(&mut self, traces: &HashSet<Slot>) {
        for slot in traces {
            self.traces[*slot].analyse();
        }
        self.recount(traces.iter());
    }

    /// Returns its trace, or `None` if this very span is known: a client sent it again.
    fn register_span(&mut self, draft: &SpanDraft, now: i64) -> Option<Slot> {
        let genai = &draft.row.genai;
        let SpanKey { trace, span_id, parent, start_ns } = draft.key;
        let slot = self.touch(trace, now);
        let trace = &mut self.traces[slot];
        if trace.has(span_id, start_ns) {
            return None;
        }
        trace.insert(span_id, parent, start_ns, genai.session_id.is_some(), genai.user_id.is_some());
        trace.learn(span_id, genai);
        Some(slot)
    }

    /// Returns whether the tree of calls may look different now.
    fn register_span_call(&mut self, slot: Slot, idx: usize, draft: &SpanDraft) -> bool {
        let (row, facts) = (&draft.row, &draft.facts);
        if !facts.is_call && !facts.has_usage {
            return !self.traces[slot].calls().is_empty();
        }
        let failed = row.status_code == "ERROR" || row.genai.error_type.is_some();
        let SpanKey { span_id, parent, start_ns, .. } = draft.key;
        let end_ns = start_ns.saturating_add(row.duration_ns);
        let report = report(facts, &row.genai, failed, &row.sender);
        let report = Report { span_id, has_parent: parent != 0, start_ns, end_ns, draft: Some(idx), ..report };
        self.register_call(slot, Call::new(report));
        true
    }

    /// Returns its trace, if that is remembered, and whether the tree of calls may look different now.
    fn register_log(&mut self, idx: usize, draft: &mut LogDraft, now: i64) -> Option<(Slot, bool)> {
        let key = trace_of_log(draft);
        let (row, facts) = (&draft.row, &mut draft.facts);
        let span_id = row.span_id.as_deref().map_or(0, hex64);
        if row.trace_id.is_some()
            && span_id != 0
            && let Some(message) = facts.log_message.take()
        {
            let time = if row.time_unix_nano == 0 { row.observed_time_unix_nano } else { row.time_unix_nano };
            let slot = self.touch(key, now);
            self.traces[slot].more_mut().messages.entry(span_id).or_default().add(time, message);
        }
        if row.trace_id.is_some() && (row.genai.session_id.is_some() || row.genai.user_id.is_some()) {
            let slot = self.touch(key, now);
            self.traces[slot].learn(0, &row.genai);
        }
        if !facts.is_call {
            return Some((self.traces.slot(key)?, false));
        }
        let slot = self.touch(key, now);
        let failed = row.genai.error_type.is_some();
        let time = row.time.saturating_mul(1000);
        let report = report(facts, &row.genai, failed, &row.sender);
        let report = Report { span_id, is_log: true, start_ns: time, end_ns: time, draft: Some(idx), ..report };
        self.register_call(slot, Call::new(report));
        Some((slot, true))
    }

    fn register_call(&mut self, slot: Slot, call: Call) {
        let (response, usage_hash, telling) = (call.response, call.usage_hash, Telling::of(&call));
        let idx = self.traces[slot].insert_call(call);
        if let Some(response) = response {
            let members = self.responses.entry(response).or_default();
            if members.len() < REPORTS_MAX {
                members.push((slot, idx));
            }
        }
        if let Some(usage) = usage_hash {
            let members = self.usages.entry(usage).or_default();
            if members.len() == TWINS_MAX {
                members.remove(0);
            }
            members.push(((slot, idx), telling));
        }
    }

    fn call(&self, (slot, idx): Member) -> &Call {
        &self.traces[slot].calls()[idx as usize]
    }

    fn call_mut(&mut self, (slot, idx): Member) -> &mut Call {
        &mut self.traces[slot].calls_mut()[idx as usize]
    }

    /// Decides which calls of `dirty` count, and of other traces that report the same responses.
    fn decide(&mut self, dirty: &Dirty, prepared: &mut Prepared, corrections: &mut Vec<Correction>) {
        let mut concerned = Dirty::default();
        for &slot in &dirty.order {
            concerned.add(slot);
            self.traces[slot].analyse();
            for member in self.rank_responses(slot) {
                concerned.add(member.0);
            }
        }
        for &slot in &dirty.order {
            for changed in self.pair_twins(slot) {
                concerned.add(changed);
                self.traces[changed].analyse();
            }
        }
        for slot in concerned.order {
            let trace = self.traces.key(slot);
            for call in self.traces[slot].calls_mut() {
                let verdict = call.verdict();
                match call.report.draft.take() {
                    Some(draft) => {
                        let genai =
                            if call.is_log { &mut prepared.logs[draft].row.genai } else { &mut prepared.spans[draft].row.genai };
                        genai.counted = verdict == Verdict::Counts;
                        genai.uncounted_reason = verdict.reason().map(str::to_owned);
                    }
                    // Log records stay as they were written.
                    None if call.is_log || call.told == verdict => continue,
                    None => {
                        let counted = verdict == Verdict::Counts;
                        let patch = [
                            ("counted".to_owned(), Value::Bool(counted)),
                            ("uncounted_reason".to_owned(), verdict.reason().map_or(Value::Null, Value::from)),
                        ];
                        let late_child = verdict == Verdict::Wrapper || counted && call.told == Verdict::Wrapper;
                        let reason = if late_child { "late_child" } else { "duplicate" };
                        corrections.push(Correction { trace, span_id: call.span_id, patch: patch.into_iter().collect(), reason });
                    }
                }
                call.told = verdict;
            }
        }
    }

    /// Among the reports of each response that the trace at `slot` reports, lets the best stand. Returns the reports.
    fn rank_responses(&mut self, slot: Slot) -> Vec<Member> {
        let reports = self.traces[slot].calls().iter().filter_map(|call| self.responses.get(&call.response?));
        let several: Vec<SmallVec<[Member; 2]>> = reports.filter(|members| members.len() > 1).cloned().collect();
        let mut concerned = Vec::new();
        for members in several {
            // Reports far apart in time are different calls of a sender that numbers them anew.
            let starts: Vec<i64> = members.iter().map(|member| self.call(*member).start_ns).collect();
            for (idx, member) in members.iter().enumerate() {
                let near = |other: &usize| starts[*other].abs_diff(starts[idx]) <= RESPONSE_WITHIN_NS.unsigned_abs();
                let rivals = (0..members.len()).filter(near).filter(|other| *other != idx);
                let call = self.call(*member);
                let outdone = rivals.map(|rival| self.call(members[rival])).any(|rival| rival.worth() > call.worth());
                self.call_mut(*member).outdone = outdone;
            }
            concerned.extend(members);
        }
        concerned
    }

    /// Pairs rows that report one call without a common identifier, see [`twins`]. Returns the traces in which that changes something.
    fn pair_twins(&mut self, slot: Slot) -> Vec<Slot> {
        let new = |call: &Call| call.draft.and(call.usage_hash);
        let calls = (0_u32..).zip(self.traces[slot].calls());
        let new: Vec<(Member, u64)> = calls.filter_map(|(idx, call)| Some(((slot, idx), new(call)?))).collect();
        let mut changed = Vec::new();
        for (member, usage) in new {
            let call = self.call(member);
            if call.has_twin || call.twin_counts || call.verdict() != Verdict::Counts {
                continue;
            }
            let telling = Telling::of(call);
            let is_twin = |other: &Member| *other != member && twins(call, self.call(*other), other.0 == member.0);
            let others = self.usages.get(&usage).into_iter().flatten().filter(|(_, other)| telling.may_match(*other));
            let Some(twin) = others.map(|(other, _)| *other).find(is_twin) else { continue };
            let (counts, repeats) = if self.call(twin).stands_for(call) { (twin, member) } else { (member, twin) };
            self.call_mut(counts).has_twin = true;
            self.call_mut(repeats).twin_counts = true;
            changed.extend([counts.0, repeats.0]);
        }
        changed
    }

    /// Fills into the rows of the request what other rows said before: session and user where they name none, and their messages.
    fn complete_rows(&mut self, slots: &[Slot], prepared: &mut Prepared) {
        for (slot, draft) in slots.iter().zip(&mut prepared.spans) {
            let (trace, span_id) = (&mut self.traces[*slot], draft.key.span_id);
            fill(&mut draft.row.genai, || trace.inherited(span_id));
            // The row leaves as it is now: from here on it is what a later row corrects.
            trace.written(span_id, &draft.row.genai);
            let has_messages = trace.more().is_some_and(|more| more.messages.contains_key(&span_id));
            // Only call-like spans are described by log records; the others must not cost memory.
            if draft.facts.is_call || draft.facts.has_usage || has_messages {
                trace.more_mut().messages.entry(span_id).or_default().fill(&mut draft.row.genai);
            }
        }
        for draft in &mut prepared.logs {
            let Some(slot) = draft.row.trace_id.as_deref().and_then(|trace_id| self.traces.slot(hex128(trace_id))) else {
                continue;
            };
            let span_id = draft.row.span_id.as_deref().map_or(0, hex64);
            fill(&mut draft.row.genai, || self.traces[slot].inherited(span_id));
        }
    }

    /// Corrects spans written before a row named their session or user, or told their messages.
    fn correct_late(&mut self, touched: &Dirty, corrections: &mut Vec<Correction>) {
        for &slot in &touched.order {
            let (key, trace) = (self.traces.key(slot), &mut self.traces[slot]);
            let Some(more) = trace.more() else { continue };
            if trace.n_without_session > 0 && more.session.is_some() || trace.n_without_user > 0 && more.user.is_some() {
                trace.tell_late(key, corrections);
            }
        }
        for &slot in &touched.order {
            let key = self.traces.key(slot);
            let Some(more) = self.traces[slot].existing_more_mut() else { continue };
            let mut spans: Vec<_> = more.messages.iter_mut().filter(|(_, messages)| messages.is_fresh()).collect();
            spans.sort_by_key(|(span_id, _)| **span_id);
            for (span_id, messages) in spans {
                if let Some(patch) = messages.patch() {
                    corrections.push(Correction { trace: key, span_id: *span_id, patch, reason: "log_events" });
                }
            }
        }
    }

    fn collect_scores(&mut self, prepared: &mut Prepared, rows: &mut Vec<ScoreRow>) {
        for draft in prepared.spans.iter_mut().filter(|draft| !draft.scores.is_empty()) {
            let row = &draft.row;
            let found = FoundScore {
                origin: &row.origin,
                time: row.start_time.saturating_add(row.duration_ns / 1000),
                trace_id: Some(&row.trace_id),
                span_id: Some(&row.span_id),
                session_id: row.genai.session_id.as_deref(),
            };
            let scores = std::mem::take(&mut draft.scores);
            rows.extend(scores.into_iter().map(|score| found.row(score)).filter(|score| self.is_new_score(score)));
        }
        for draft in prepared.logs.iter_mut().filter(|draft| !draft.scores.is_empty()) {
            let row = &draft.row;
            let found = FoundScore {
                origin: &row.origin,
                time: row.time,
                trace_id: row.trace_id.as_deref(),
                span_id: row.span_id.as_deref(),
                session_id: row.genai.session_id.as_deref(),
            };
            for score in std::mem::take(&mut draft.scores) {
                let answered = score.response_id.clone();
                let mut score = found.row(score);
                if score.span_id.is_none() && score.trace_id.is_none() {
                    self.find_scored(answered.as_deref(), &mut score);
                }
                if self.is_new_score(&score) {
                    rows.push(score);
                }
            }
        }
    }

    /// The span that gave the response which a result is about.
    fn find_scored(&self, response_id: Option<&str>, score: &mut ScoreRow) {
        let members = response_id.and_then(|response_id| self.responses.get(&response(response_id)));
        let calls = members.into_iter().flatten().map(|member| (member.0, self.call(*member)));
        let spans = calls.filter(|(_, call)| !call.is_log);
        if let Some((slot, call)) = spans.max_by_key(|(_, call)| call.verdict() == Verdict::Counts) {
            score.trace_id = Some(format!("{:032x}", self.traces.key(slot)));
            score.span_id = Some(format!("{:016x}", call.span_id));
        }
    }

    fn is_new_score(&mut self, score: &ScoreRow) -> bool {
        let Some(slot) = score.trace_id.as_deref().and_then(|trace_id| self.traces.slot(hex128(trace_id))) else {
            return true;
        };
        let value = score.value.map(f64::to_bits);
        let seen = hash(&(&score.span_id, &score.name, value, &score.label, &score.explanation));
        let scores = &mut self.traces[slot].more_mut().scores;
        let new = !scores.contains(&seen);
        if new {
            scores.push(seen);
        }
        new
    }

    fn touch(&mut self, key: u128, now: i64) -> Slot {
        let (slot, is_new) = self.traces.slot_or_insert(key, || Trace::touched(now));
        if is_new {
            self.queue.push_back((now, slot));
        }
        let trace = &mut self.traces[slot];
        if now - trace.touched_at > TOUCH_NS {
            trace.touched_at = now;
        }
        slot
    }

    /// Brings the totals up to date after `slots` changed.
    fn recount<'a>(&mut self, slots: impl Iterator<Item = &'a Slot>) {
        for slot in slots {
            let trace = &mut self.traces[*slot];
            let (spans, bytes) = (trace.spans(), trace.bytes());
            let counted = u32::try_from(spans).expect("the index holds far fewer spans");
            self.spans = self.spans + spans - std::mem::replace(&mut trace.counted_spans, counted) as usize;
            self.bytes = self.bytes + bytes - std::mem::replace(&mut trace.counted_bytes, bytes);
        }
    }

    fn forget_trace(&mut self, slot: Slot) {
        let trace = self.traces.remove(slot);
        self.spans -= trace.counted_spans as usize;
        self.bytes -= trace.counted_bytes;
        for call in trace.calls() {
            if let Some(response) = &call.response
                && let Some(members) = self.responses.get_mut(response)
            {
                members.retain(|member| member.0 != slot);
                if members.is_empty() {
                    self.responses.remove(response);
                }
            }
            if let Some(usage) = call.usage_hash
                && let Some(members) = self.usages.get_mut(&usage)
            {
                members.retain(|(member, _)| member.0 != slot);
                if members.is_empty() {
                    self.usages.remove(&usage);
                }
            }
        }
    }
}

impl Trace {
    /// Takes note of the session and user that a row of span `span_id` (zero for a log record) names.
    fn learn(&mut self, span_id: u64, genai: &GenAi) {
        let intern = |known: &mut Option<Arc<str>>, named: &Option<String>| -> Option<Arc<str>> {
            let named = named.as_deref()?;
            match known {
                Some(known) if **known == *named => Some(Arc::clone(known)),
                Some(_) => Some(named.into()),
                None => Some(Arc::clone(known.insert(named.into()))),
            }
        };
        if genai.session_id.is_none() && genai.user_id.is_none() {
            return;
        }
        let More { session, user, own, .. } = self.more_mut();
        let named = (intern(session, &genai.session_id), intern(user, &genai.user_id));
        let differs = |own: &Option<Arc<str>>, known: &Option<Arc<str>>| own.is_some() && own != known;
        if span_id != 0 && (differs(&named.0, session) || differs(&named.1, user)) {
            own.insert(span_id, named);
        }
    }

    /// Spans written without session or user learn them from rows that came later.
    fn tell_late(&mut self, key: u128, corrections: &mut Vec<Correction>) {
        let mut late: Vec<u64> =
            self.nodes().filter(|(_, node)| node.written && !(node.says_session && node.says_user)).map(|(id, _)| id).collect();
        late.sort_unstable();
        for span_id in late.into_iter().take(INHERIT_MAX) {
            let (session, user) = self.inherited(span_id);
            let Some(node) = self.node_mut(span_id) else { continue };
            let session = session.filter(|_| !node.says_session);
            let user = user.filter(|_| !node.says_user);
            node.says_session |= session.is_some();
            node.says_user |= user.is_some();
            self.n_without_session -= u32::from(session.is_some());
            self.n_without_user -= u32::from(user.is_some());
            let mut patch = Map::new();
            patch.extend(session.map(|session| ("session_id".to_owned(), Value::from(&*session))));
            patch.extend(user.map(|user| ("user_id".to_owned(), Value::from(&*user))));
            if !patch.is_empty() {
                corrections.push(Correction { trace: key, span_id, patch, reason: "inherited" });
            }
        }
    }

    /// The row of span `span_id` leaves as it is now.
    fn written(&mut self, span_id: u64, genai: &GenAi) {
        let Some(node) = self.node_mut(span_id).filter(|node| !node.written) else { return };
        node.written = true;
        let (says_session, says_user) = (genai.session_id.is_some(), genai.user_id.is_some());
        (node.says_session, node.says_user) = (says_session, says_user);
        self.n_without_session += u32::from(!says_session);
        self.n_without_user += u32::from(!says_user);
    }
}

/// Whether two rows with the same usage report one call:
/// * a log record of a call, and a span of the same trace or session at the same time (coding agents); the span may also be one that
///   carries usage without being a call, of the same service (Codex);
/// * a record and the same record resent;
/// * the failure of a call as an instrumentation and the provider's own SDK tell it, in traces of their own and without an answer
///   that would identify it: one span lies within the other.
fn twins(call: &Call, other: &Call, same_trace: bool) -> bool {
    let settled = other.draft.is_some() || other.told == Verdict::Counts;
    if other.has_twin || other.twin_counts || !settled {
        return false;
    }
    let (log, span) = match (call.is_log, other.is_log) {
        (true, false) => (call, other),
        (false, true) => (other, call),
        (true, true) => return same_trace && call.start_ns == other.start_ns && call.span_id == other.span_id,
        (false, false) => return !same_trace && same_failure(call, other),
    };
    let same_session = log.session_hash.is_some() && log.session_hash == span.session_hash;
    let same_service = !span.is_call && log.service_hash == span.service_hash;
    let from = span.start_ns.saturating_sub(TWIN_WITHIN_NS);
    let at_the_time = (from..=span.end_ns.saturating_add(TWIN_WITHIN_NS)).contains(&log.start_ns);
    (same_trace || same_session || same_service) && at_the_time
}

fn same_failure(call: &Call, other: &Call) -> bool {
    let (native, told) = if call.native { (call, other) } else { (other, call) };
    let same_model = native.model_hash == told.model_hash || native.model_hash.is_none() || told.model_hash.is_none();
    let within =
        native.start_ns >= told.start_ns.saturating_sub(CLOCK_NS) && native.end_ns <= told.end_ns.saturating_add(CLOCK_NS);
    native.native && !told.native && is_nameless_failure(native) && is_nameless_failure(told) && same_model && within
}

fn is_nameless_failure(call: &Call) -> bool {
    call.is_call && call.failed && !call.has_usage && call.response.is_none()
}

fn report(facts: &CallFacts, genai: &GenAi, failed: bool, sender: &Sender) -> Report {
    Report {
        is_call: facts.is_call,
        has_usage: facts.has_usage,
        has_messages: facts.has_messages,
        says_session: genai.session_id.is_some(),
        native: facts.native,
        repeats_parent: facts.repeats_parent,
        failed,
        response: facts.response_id.as_deref().filter(|id| !id.is_empty()).map(response),
        usage_hash: usage_hash(genai.input_tokens, genai.output_tokens, failed),
        service_hash: hash(&sender.service_name),
        model_hash: genai.request_model.as_ref().map(hash),
        session_hash: genai.session_id.as_deref().map(hash),
        ..Report::default()
    }
}

/// What stands for the identifier of a response: two are the same if this is.
fn response(response_id: &str) -> u128 {
    XxHash3_128::oneshot(response_id.as_bytes())
}

/// What log record and span of one call have in common. Without tokens only a failure is telling.
fn usage_hash(input: Option<i64>, output: Option<i64>, failed: bool) -> Option<u64> {
    (input.is_some() || output.is_some() || failed).then(|| hash(&(input, output)))
}

fn fill(genai: &mut Sparse<GenAi>, inherited: impl Fn() -> SessionAndUser) {
    if genai.session_id.is_some() && genai.user_id.is_some() {
        return;
    }
    let (session, user) = inherited();
    if session.is_none() && user.is_none() {
        return;
    }
    genai.session_id = genai.session_id.take().or_else(|| session.map(|session| session.to_string()));
    genai.user_id = genai.user_id.take().or_else(|| user.map(|user| user.to_string()));
}

/// Records without a trace are kept together by session, or stand alone.
fn trace_of_log(draft: &LogDraft) -> u128 {
    match (&draft.row.trace_id, &draft.row.genai.session_id) {
        (Some(trace_id), _) => hex128(trace_id),
        (None, Some(_)) => u128::from(hash(&draft.row.genai.session_id)),
        (None, None) => u128::from(hash(&draft.row.log_id)),
    }
}
