//! One recent trace: which spans it has, which of them report calls, and what each report is worth.
//!
//! [`Trace::analyse`] looks at the tree of one trace only; whether the same answer is reported elsewhere too is decided in
//! [`super::project`], and [`Call::verdict`] joins both. Nothing here depends on the order of arrival.

use std::{collections::HashMap, sync::Arc};

use super::messages::SpanMessages;

/// Keyed by what senders choose, for each span: quick, and seeded anew in every process, so that nobody can choose what collides.
pub(super) type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// No call: most spans are not one.
const NO_CALL: u32 = u32::MAX;

/// Parents looked at above a call. A deeper tree is a chain that no reader of costs needs resolved.
const DEPTH_MAX: usize = 1024;

/// A span of a recent trace. Kept small: there are millions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Zero for a root.
    pub(super) parent: u64,
    pub(super) start_ns: i64,
    /// Index into [`Trace::calls`], or [`NO_CALL`].
    call: u32,
    pub(super) says_session: bool,
    pub(super) says_user: bool,
    /// Whether its row has been written, so that only a correction can change it.
    pub(super) written: bool,
}

/// A span or log record that reports a call, or carries usage: what it says, and what was decided about it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) report: Report,
    /// What its row says.
    pub(super) told: Verdict,
    /// A better report of the same response exists.
    pub(super) outdone: bool,
    /// Another row without a common identifier reports the same call, and that one counts.
    pub(super) twin_counts: bool,
    /// This one counts and the other one, its twin, does not.
    pub(super) has_twin: bool,
    shape: Shape,
}

/// What a span or log record says of a call, before its trace is looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The span; of a log record, the span it was written in (zero if none).
    pub(super) span_id: u64,
    pub(super) is_log: bool,
    pub(super) is_call: bool,
    pub(super) has_usage: bool,
    pub(super) has_messages: bool,
    pub(super) says_session: bool,
    pub(super) native: bool,
    pub(super) repeats_parent: bool,
    pub(super) failed: bool,
    pub(super) has_parent: bool,
    /// Hash of the response's identifier, long enough to stand for it.
    pub(super) response: Option<u128>,
    /// Hash of the token counts; the same call has the same.
    pub(super) usage_hash: Option<u64>,
    pub(super) session_hash: Option<u64>,
    pub(super) service_hash: u64,
    pub(super) model_hash: Option<u64>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// Not yet told to anybody: the row is in the request being settled, at this index.
    pub(super) draft: Option<usize>,
}

impl std::ops::Deref for Call {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.report
    }
}

/// What the tree says about a call.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Another call is reported below.
    call_below: bool,
    /// The same response is reported below.
    same_below: bool,
    /// Usage, but no call, is reported below.
    usage_below: bool,
    /// Says once more what the call above says.
    absorbed: bool,
}

/// Whether a row counts, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Counts,
    Wrapper,
    Duplicate,
}

impl Verdict {
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Counts => None,
            Self::Wrapper => Some("wrapper"),
            Self::Duplicate => Some("duplicate"),
        }
    }
}

impl Call {
    pub(super) fn new(report: Report) -> Self {
        let (told, shape) = (Verdict::Counts, Shape::default());
        Self { report, told, outdone: false, twin_counts: false, has_twin: false, shape }
    }

    /// Repeats what another report says, by its nature.
    fn is_echo(&self) -> bool {
        self.native || self.repeats_parent
    }

    /// Says little more than that there was a call.
    fn is_weak(&self) -> bool {
        !self.has_usage && !self.failed
    }

    /// Whether it may stand for all reports of its response: one that has other calls below is a wrapper of them.
    pub(super) fn can_stand(&self) -> bool {
        !self.shape.call_below && !self.shape.absorbed
    }

    pub(super) fn verdict(&self) -> Verdict {
        let shape = self.shape;
        if shape.call_below || shape.usage_below || self.outdone && shape.same_below && !self.is_call {
            Verdict::Wrapper
        } else if shape.absorbed || self.outdone || self.twin_counts {
            Verdict::Duplicate
        } else {
            Verdict::Counts
        }
    }

    /// How good a report it is, compared with others of the same response: higher is better. Arrival plays no part, except that a log
    /// record that was stored as counting stays so, because corrections reach spans only.
    pub(super) fn worth(&self) -> impl Ord {
        let settled_log = self.is_log && self.draft.is_none() && self.told == Verdict::Counts;
        (
            (settled_log, self.can_stand(), self.is_call, self.has_usage, !self.is_echo()),
            (self.has_messages, self.has_parent, self.says_session, !self.is_log),
            (std::cmp::Reverse(self.start_ns), std::cmp::Reverse(self.span_id)),
        )
    }

    /// Of two rows that report one call without a common identifier, whether this one counts. What came first does, since a log record
    /// cannot be corrected, unless the other one is only an echo, or no call.
    pub(super) fn stands_for(&self, other: &Self) -> bool {
        if self.is_call != other.is_call {
            return self.is_call;
        }
        if self.native != other.native {
            return other.native;
        }
        self.draft.is_none() || !self.is_log && other.is_log
    }

    fn same_response(&self, other: &Self) -> bool {
        self.response.is_some() && self.response == other.response
    }
}

/// Session and end user, where known.
pub(super) type SessionAndUser = (Option<Arc<str>>, Option<Arc<str>>);

/// A trace that was written to not long ago. Kept small: a service that calls no model sends millions of one span each, and the table
/// they lie in is moved whole when it grows.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The span that came first; the others are in `more`.
    first: Option<(u64, Node)>,
    more: Option<Box<More>>,
    pub(super) touched_at: i64,
    /// Spans stored without a session, or without a user, which a later row may name.
    pub(super) n_without_session: u32,
    pub(super) n_without_user: u32,
    /// Its part of the totals of the project.
    pub(super) counted_spans: u32,
    pub(super) counted_bytes: usize,
}

/// What not every trace has.
#[derive(Debug, Default)]
pub(super) struct More {
    others: Map<u64, Node>,
    pub(super) calls: Vec<Call>,
    /// Session of the first row that names one.
    pub(super) session: Option<Arc<str>>,
    /// End user of the first row that names one.
    pub(super) user: Option<Arc<str>>,
    /// Spans that name another session or user than the trace: their descendants inherit from them.
    pub(super) own: Map<u64, SessionAndUser>,
    pub(super) messages: Map<u64, SpanMessages>,
    /// Hashes of the evaluation results seen: some senders report one as a span event and as a log record.
    pub(super) scores: Vec<u64>,
}

impl Trace {
    /// An empty one, written to at `now`.
    pub(super) fn touched(now: i64) -> Self {
        Self { touched_at: now, ..Self::default() }
    }

    /// What not every trace has, if this one has some of it.
    pub(super) fn more(&self) -> Option<&More> {
        self.more.as_deref()
    }

    /// The same, made if need be.
    pub(super) fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The same, only if there is some of it.
    pub(super) fn existing_more_mut(&mut self) -> Option<&mut More> {
        self.more.as_deref_mut()
    }

    /// Its calls, in the order they came.
    pub(super) fn calls(&self) -> &[Call] {
        self.more().map_or(&[], |more| &more.calls)
    }

    /// The same, to be changed.
    pub(super) fn calls_mut(&mut self) -> &mut [Call] {
        self.existing_more_mut().map_or(&mut [], |more| &mut more.calls)
    }

    /// Its spans.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, &Node)> {
        let first = self.first.as_ref().map(|(span_id, node)| (*span_id, node));
        first.into_iter().chain(self.more().into_iter().flat_map(|more| &more.others).map(|(span_id, node)| (*span_id, node)))
    }

    /// How many spans it has.
    pub(super) fn spans(&self) -> usize {
        usize::from(self.first.is_some()) + self.more().map_or(0, |more| more.others.len())
    }

    fn node(&self, span_id: u64) -> Option<&Node> {
        match &self.first {
            Some((first, node)) if *first == span_id => Some(node),
            _ => self.more()?.others.get(&span_id),
        }
    }

    /// The span `span_id`, to be changed.
    pub(super) fn node_mut(&mut self, span_id: u64) -> Option<&mut Node> {
        match &mut self.first {
            Some((first, node)) if *first == span_id => Some(node),
            _ => self.more.as_deref_mut()?.others.get_mut(&span_id),
        }
    }

    /// Whether this very span is known.
    pub(super) fn has(&self, span_id: u64, start_ns: i64) -> bool {
        self.node(span_id).is_some_and(|node| node.start_ns == start_ns)
    }

    pub(super) fn insert(&mut self, span_id: u64, parent: u64, start_ns: i64, says_session: bool, says_user: bool) {
        let call = self.node(span_id).map_or(NO_CALL, |node| node.call);
        let node = Node { parent, start_ns, call, says_session, says_user, written: false };
        if let Some(known) = self.node_mut(span_id) {
            *known = node;
        } else if self.first.is_none() {
            self.first = Some((span_id, node));
        } else {
            self.more_mut().others.insert(span_id, node);
        }
    }

    pub(super) fn insert_call(&mut self, call: Call) -> u32 {
        let idx = u32::try_from(self.calls().len()).expect("the index holds far fewer calls");
        if !call.is_log
            && let Some(node) = self.node_mut(call.span_id)
        {
            node.call = idx;
        }
        let calls = &mut self.more_mut().calls;
        if calls.is_empty() {
            // Most traces of a chat service have one call, and a `Vec` would begin with room for four.
            calls.reserve_exact(1);
        }
        calls.push(call);
        idx
    }

    /// The span itself and what is above it, nearest first.
    pub(super) fn lineage(&self, span_id: u64) -> impl Iterator<Item = (u64, &Node)> {
        let mut at = span_id;
        std::iter::from_fn(move || {
            let node = self.node(at)?;
            let here = at;
            at = node.parent;
            Some((here, node))
        })
        .take(DEPTH_MAX)
    }

    /// Calls reported above call `idx`, nearest first.
    fn above(&self, idx: usize) -> Vec<usize> {
        let call = &self.calls()[idx];
        let spans = self.lineage(call.span_id).skip(usize::from(!call.is_log));
        let calls = spans.filter(|(_, node)| node.call != NO_CALL).map(|(_, node)| node.call as usize);
        calls.filter(|above| *above != idx).collect()
    }

    /// Looks at the tree anew and notes the shape of each call.
    pub(super) fn analyse(&mut self) {
        let calls = self.calls();
        let above: Vec<Vec<usize>> = (0..calls.len()).map(|idx| self.above(idx)).collect();
        let mut shapes = vec![Shape::default(); calls.len()];

        // Calls below that are no echo of another report.
        let mut n_real_below = vec![0_u32; calls.len()];
        for (idx, call) in calls.iter().enumerate() {
            if call.is_call && !call.is_echo() && !call.is_log {
                above[idx].iter().for_each(|&above| n_real_below[above] += 1);
            }
        }
        // An echo below a call says the same as the call; a report without usage below one with usage too, if it is the only one.
        for (idx, call) in calls.iter().enumerate().filter(|(_, call)| call.is_call && !call.is_log) {
            let Some(&parent) = above[idx].iter().find(|above| calls[**above].is_call) else { continue };
            let says_as_much = calls[parent].has_usage || !call.has_usage;
            shapes[idx].absorbed = if call.is_echo() {
                n_real_below[parent] == 0 && says_as_much && (call.repeats_parent || !calls[parent].is_echo())
            } else {
                call.is_weak() && calls[parent].has_usage && n_real_below[parent] == 1
            };
        }
        for (idx, call) in calls.iter().enumerate() {
            if call.is_log {
                // A log record below an agent reports a call of that agent; below a call it is another matter: see `twin`.
                if call.is_call && !call.twin_counts {
                    above[idx].iter().filter(|above| !calls[**above].is_call).for_each(|&above| shapes[above].call_below = true);
                }
            } else if call.is_call {
                if !shapes[idx].absorbed {
                    for &above in &above[idx] {
                        let same = calls[above].same_response(call);
                        shapes[above].same_below |= same;
                        shapes[above].call_below |= !same;
                    }
                }
            } else if above[idx].iter().any(|above| calls[*above].is_call && calls[*above].has_usage) {
                shapes[idx].absorbed = true;
            } else {
                above[idx].iter().for_each(|&above| shapes[above].usage_below = true);
            }
        }
        for (call, shape) in self.calls_mut().iter_mut().zip(shapes) {
            call.shape = shape;
        }
    }

    /// Session and user that a row in span `span_id` inherits: from the nearest span above that names its own, else from the trace.
    pub(super) fn inherited(&self, span_id: u64) -> SessionAndUser {
        let Some(more) = self.more() else { return (None, None) };
        if more.own.is_empty() {
            return (more.session.clone(), more.user.clone());
        }
        let above: Vec<_> = self.lineage(span_id).filter_map(|(span_id, _)| more.own.get(&span_id)).collect();
        let session = above.iter().find_map(|(session, _)| session.clone());
        let user = above.iter().find_map(|(_, user)| user.clone());
        (session.or_else(|| more.session.clone()), user.or_else(|| more.user.clone()))
    }

    /// Roughly what it costs to remember it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let more = self.more().map_or(0, |more| {
            more.calls.len() * 320 + more.messages.values().map(SpanMessages::bytes).sum::<usize>() + more.scores.len() * 8
        });
        200 + self.spans() * 48 + more
    }
}
