//! `support-chat`: customers write, the assistant looks things up and answers in a stream.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{call, json_of, label, say, serve};
use crate::demo::{
    calls::{Answer, Conversation, evaluate, identify, nanos, run_tool, run_tool_by},
    company::{DOCS_RAG, Fault, GPT_4_1, GPT_4O, HAIKU},
    openinference::{Found, retrieve},
    texts::{
        Slots,
        support::{COMPLAINTS, PRAISE, SYSTEM_V6, SYSTEM_V7, TOOLS, TOPICS, Topic, Turn},
    },
    trace::Recorder,
};

pub(super) fn play(rec: &mut Recorder, turns: usize) {
    let slots = Slots::draw(&mut rec.dice);
    let topic = &TOPICS[rec.dice.skewed(TOPICS.len())];
    let model = rec.dice.weighted(&[(0.6, &GPT_4O), (0.25, &GPT_4_1), (0.15, &HAIKU)]);
    let (version, system) = if rec.dice.chance(0.5) { ("7", SYSTEM_V7) } else { ("6", SYSTEM_V6) };
    let mut talk = Conversation::new(model, system);
    talk.tools = &TOOLS;
    talk.prompt = Some(("support-chat", version));
    talk.stream = true;
    talk.temperature = Some(0.3);
    for turn in 0..turns {
        serve(rec, "/api/chat", |rec| answer(rec, &mut talk, topic, turn, &slots));
        let pause_s = rec.dice.log_normal(45.0, 0.7);
        rec.wait(nanos(pause_s));
    }
}

fn answer(rec: &mut Recorder, talk: &mut Conversation, topic: &Topic, turn: usize, slots: &Slots) -> Result<(), Fault> {
    rec.span("larkspur.agents", SpanKind::Internal, "invoke_agent support-assistant", |rec| {
        identify(rec, "invoke_agent");
        rec.set("gen_ai.agent.name", "support-assistant");
        rec.set("gen_ai.provider.name", talk.model.provider);
        let channel = *rec.dice.pick(&["app", "web", "web", "e-mail"]);
        label(rec, &[topic.name, channel], json!({"topic": topic.name, "channel": channel, "turn": turn + 1, "plan": "b2c"}));
        let result = exchange(rec, talk, topic.turns.get(turn), slots);
        match result {
            Ok(()) => feedback(rec, talk),
            Err(Fault::Filtered) => {}
            Err(_) => rec.fail("AgentError", "the model did not answer"),
        }
        result
    })
}

fn exchange(rec: &mut Recorder, talk: &mut Conversation, turn: Option<&Turn>, slots: &Slots) -> Result<(), Fault> {
    let Some(turn) = turn else {
        talk.user(*rec.dice.pick(&["Thanks, that's all!", "Great, thank you.", "OK. Can you send me that by e-mail?"]));
        return say(rec, talk, format!("You're welcome, {}! Is there anything else I can do for you?", slots.get("{name}")));
    };
    talk.user(slots.fill(rec.dice.pick(turn.says)));
    if let Some((tool, arguments, result)) = turn.tool {
        let call = call(rec, &TOOLS[tool], json_of(slots, arguments));
        talk.ask(rec, Answer::calls(std::slice::from_ref(&call)))?;
        let result = json_of(slots, result);
        let failed = rec.dice.chance(0.025);
        let result = if failed {
            run_tool(rec, &call, 8_000.0, Err(("TimeoutError", "upstream did not answer within 8 s")))
        } else if call.tool.name == "search_help_center" {
            run_tool_by(rec, &call, |rec| Ok(searched(rec, &call.arguments, result)))
        } else {
            run_tool(rec, &call, 130.0, Ok(result))
        };
        talk.results(vec![result]);
        if failed {
            return say(
                rec,
                talk,
                "I'm sorry, I can't reach that system right now. Please try again in a few minutes.".to_owned(),
            );
        }
    }
    let text = slots.fill(rec.dice.pick(turn.answers));
    say(rec, talk, text)
}

/// The help centre is searched by another service, `docs-rag`, in the same trace.
fn searched(rec: &mut Recorder, arguments: &Value, result: Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let query = text(&arguments["query"]);
    let passages = result["passages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let passages: Vec<_> = passages.iter().map(|passage| (text(&passage["id"]), text(&passage["text"]))).collect();
    rec.span("opentelemetry.instrumentation.httpx", SpanKind::Client, "POST", |rec| {
        rec.set("http.request.method", "POST");
        rec.set("url.full", "https://docs-rag.larkspur.example/v1/search");
        rec.set("server.address", "docs-rag.larkspur.example");
        rec.wait_ms(2.0);
        let caller = std::mem::replace(&mut rec.service, &DOCS_RAG);
        serve(rec, "/v1/search", |rec| {
            let found = passages.iter().zip([0.86, 0.79]).map(|((id, content), score)| Found {
                id,
                title: "Help centre",
                content,
                score,
            });
            retrieve(rec, &query, &found.collect::<Vec<_>>());
            Ok(())
        });
        rec.service = caller;
        rec.set("http.response.status_code", 200_u64);
        rec.wait_ms(2.0);
    });
    result
}

/// One in six customers rates the answer; those who saw the newer prompt are happier.
fn feedback(rec: &mut Recorder, talk: &Conversation) {
    let happy = if talk.prompt.is_some_and(|(_, version)| version == "7") { 0.86 } else { 0.70 };
    if rec.dice.chance(0.17) {
        let (score, label, texts) =
            if rec.dice.chance(happy) { (1.0, "thumbs_up", &PRAISE[..]) } else { (0.0, "thumbs_down", &COMPLAINTS[..]) };
        let comment = *rec.dice.pick(texts);
        evaluate(rec, "user_feedback", score, label, comment);
    }
}
