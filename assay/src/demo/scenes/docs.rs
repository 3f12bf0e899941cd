//! `docs-rag`: answers about the partner API from its documentation; instrumented with OpenInference.

use serde_json::json;

use super::{label, serve};
use crate::demo::{
    calls::nanos,
    company::{Fault, GPT_4O_MINI},
    openinference::{Found, Question, chat, rerank, retrieve, step},
    texts::docs::{PASSAGES, QUESTIONS, SYSTEM},
    trace::Recorder,
};

pub(super) fn play(rec: &mut Recorder, turns: usize) {
    for _ in 0..turns {
        let question = rec.dice.pick(&QUESTIONS);
        let text = *rec.dice.pick(question.asks);
        if rec.dice.chance(0.7) {
            serve(rec, "/v1/ask", |rec| answer(rec, question, text));
        } else {
            // Asked from the command line: its trace begins with the chain, and a failure is on its spans.
            let _failed = answer(rec, question, text).is_err();
        }
        let pause_s = rec.dice.log_normal(70.0, 0.8);
        rec.wait(nanos(pause_s));
    }
}

fn answer(rec: &mut Recorder, question: &crate::demo::texts::docs::Question, text: &str) -> Result<(), Fault> {
    step(rec, "CHAIN", "RetrieverQueryEngine.query", text, |rec| {
        label(rec, &["docs", "partner-api"], json!({"index": "partner-docs-2026-11", "top_k": 5}));
        let found = candidates(rec, question.passages);
        let best = best(question.passages);
        retrieve(rec, text, &found);
        rerank(rec, text, &found, &best);
        let passages: Vec<String> = best.iter().map(|doc| format!("[{}] {}: {}", doc.id, doc.title, doc.content)).collect();
        let system = format!("{SYSTEM}\n\n{}", passages.join("\n\n"));
        let version = if rec.dice.chance(0.5) { "3" } else { "2" };
        let variables = json!({"question": text, "passages": best.iter().map(|doc| doc.id).collect::<Vec<_>>()});
        let asked = Question { system: &system, text, prompt_version: version, variables };
        let result = chat(rec, &GPT_4O_MINI, &asked, question.answer);
        if result.is_ok() {
            rec.set("output.value", question.answer);
            grade(rec);
        } else {
            rec.broken("llama_index.core.QueryEngineError", "the model did not answer");
        }
        result
    })
}

/// What the vector store returns: the right passages among others, by similarity.
fn candidates(rec: &mut Recorder, right: [usize; 3]) -> Vec<Found<'static>> {
    let mut idx = vec![right[1], right[0]];
    while idx.len() < 5 {
        let other = rec.dice.between(0, PASSAGES.len() as u64 - 1) as usize;
        if !idx.contains(&other) && other != right[2] {
            idx.push(other);
        }
    }
    idx.push(right[2]);
    let mut score = 0.83;
    let mut found = vec![];
    for idx in idx {
        score -= rec.dice.unit() * 0.05;
        found.push(passage(idx, score));
    }
    found
}

fn best(right: [usize; 3]) -> Vec<Found<'static>> {
    right.iter().zip([0.97, 0.71, 0.32]).map(|(idx, score)| passage(*idx, score)).collect()
}

fn passage(idx: usize, score: f64) -> Found<'static> {
    let (id, title, content) = PASSAGES[idx];
    Found { id, title, content, score }
}

/// A third of the answers are graded by a judge.
fn grade(rec: &mut Recorder) {
    if rec.dice.chance(0.33) {
        let score = (1.0 - rec.dice.log_normal(0.07, 0.9)).clamp(0.0, 1.0);
        rec.set("evaluations.0.evaluation.name", "groundedness");
        rec.set("evaluations.0.evaluation.score", (score * 100.0).round() / 100.0);
        rec.set("evaluations.0.evaluation.label", if score >= 0.8 { "grounded" } else { "partly" });
        rec.set("evaluations.0.evaluation.annotator_kind", "LLM");
    }
}
