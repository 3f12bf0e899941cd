//! `batch-classifier`: every hour, tickets are sorted by small models that answer in JSON.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use super::{label, say};
use crate::demo::{
    calls::{Conversation, identify},
    company::{Fault, GEMINI_FLASH, GPT_4O_MINI, Model, TRIAGE},
    texts::{
        Slots,
        tickets::{SYSTEM, TICKETS},
    },
    trace::Recorder,
};

pub(super) fn play(rec: &mut Recorder, turns: usize) {
    rec.conversation = String::new(); // Jobs are not conversations.
    let model = rec.dice.weighted(&[(0.45, &GEMINI_FLASH), (0.3, &GPT_4O_MINI), (0.25, &TRIAGE)]);
    for _ in 0..turns {
        let tickets = rec.dice.between(3, 9);
        rec.span("larkspur.jobs", SpanKind::Internal, "classify_tickets", |rec| {
            identify(rec, "invoke_workflow");
            rec.set("gen_ai.workflow.name", "classify_tickets");
            label(rec, &["batch", "triage"], json!({"queue": "inbound", "tickets": tickets, "model": model.name}));
            let mut failed = 0_u64;
            rec.parallel(0..tickets, |rec, _| failed += u64::from(classify(rec, model).is_err()));
            rec.set("larkspur.tickets.failed", failed);
            rec.wait_ms(12.0);
        });
    }
}

/// Sorts one ticket; an answer that is not JSON is asked for again, once.
fn classify(rec: &mut Recorder, model: &'static Model) -> Result<(), Fault> {
    let slots = Slots::draw(&mut rec.dice);
    let (text, category, sentiment, urgent, language) = *rec.dice.pick(&TICKETS);
    let mut talk = Conversation::new(model, SYSTEM);
    talk.max_tokens = 120;
    talk.temperature = Some(0.0);
    talk.schema = Some("ticket");
    talk.prompt = Some(("ticket-triage", "12"));
    talk.user(slots.fill(text));
    let answer = json!({"category": category, "sentiment": sentiment, "urgent": urgent, "language": language}).to_string();
    let broken = rec.dice.chance(if model.provider == "vllm" { 0.06 } else { 0.01 });
    if broken {
        say(rec, &mut talk, answer[..answer.len() - 14].to_owned())?;
        rec.span("larkspur.jobs", SpanKind::Internal, "parse_answer", |rec| {
            let message = format!("Unterminated string in JSON at position {}", answer.len() - 14);
            rec.raise(
                "SyntaxError",
                &message,
                &format!(
                    "SyntaxError: {message}\n    at JSON.parse (<anonymous>)\n    at parseAnswer (/app/dist/classify.js:71:22)"
                ),
            );
        });
        talk.user("That was not valid JSON. Answer with the JSON object only.");
    }
    say(rec, &mut talk, answer)
}
