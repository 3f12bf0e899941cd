//! `research-agent`: an agent that searches in parallel, asks a specialist agent, and writes a plan.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{call, label, say, serve};
use crate::demo::{
    calls::{Answer, Call, Conversation, evaluate, identify, nanos, run_tool},
    company::{Fault, GEMINI_FLASH, GPT_4_1, O4_MINI},
    texts::{
        Slots,
        research::{
            BUDGET_ANSWER, BUDGET_SYSTEM, BUDGET_TOOLS, FINDINGS, FOLLOW_UPS, PLANS, QUERIES, REQUESTS, SYSTEM, THOUGHTS, TOOLS,
        },
    },
    trace::Recorder,
};

const SCOPE: &str = "larkspur.agents";

pub(super) fn play(rec: &mut Recorder, turns: usize) {
    let slots = Slots::draw(&mut rec.dice);
    let model = rec.dice.weighted(&[(0.55, &O4_MINI), (0.45, &GPT_4_1)]);
    let mut talk = Conversation::new(model, SYSTEM);
    talk.tools = &TOOLS;
    talk.max_tokens = 6000;
    talk.prompt = Some(("trip-research", "4"));
    for turn in 0..turns {
        talk.user(slots.fill(rec.dice.pick(if turn == 0 { &REQUESTS[..] } else { &FOLLOW_UPS[..] })));
        serve(rec, "/api/research", |rec| {
            rec.span(SCOPE, SpanKind::Internal, "invoke_agent trip-researcher", |rec| {
                identify(rec, "invoke_agent");
                rec.set("gen_ai.agent.name", "trip-researcher");
                rec.set("gen_ai.agent.id", "agt_trip_researcher");
                label(
                    rec,
                    &["research", if turn == 0 { "first" } else { "follow-up" }],
                    json!({"destination": slots.get("{city}"), "turn": turn + 1}),
                );
                let result = research(rec, &mut talk, &slots);
                match result {
                    Ok(()) if rec.dice.chance(0.3) => grade(rec),
                    Ok(()) | Err(Fault::Filtered) => {}
                    Err(_) => rec.fail("AgentError", "the model did not answer"),
                }
                result
            })
        });
        let pause_s = rec.dice.log_normal(150.0, 0.6);
        rec.wait(nanos(pause_s));
    }
}

fn research(rec: &mut Recorder, talk: &mut Conversation, slots: &Slots) -> Result<(), Fault> {
    let calls = searches(rec, slots);
    let thought = slots.fill(rec.dice.pick(&THOUGHTS));
    talk.ask(rec, Answer { text: thought, calls: calls.clone(), ..Answer::default() })?;
    let mut results = vec![];
    rec.parallel(calls, |rec, call| results.push(search(rec, &call, slots)));
    let refused: Vec<Call> =
        results.iter().filter(|(_, result)| result["error"].is_string()).map(|(call, _)| call.clone()).collect();
    talk.results(results);
    if !refused.is_empty() {
        // The agent tries again what failed.
        let again: Vec<Call> = refused.into_iter().map(|old| call(rec, old.tool, old.arguments)).collect();
        talk.ask(rec, Answer::calls(&again))?;
        let results = again.iter().map(|call| found(rec, call, slots)).collect();
        talk.results(results);
    }
    let plan = slots
        .fill("{people} people, {city} from {date}, {days} days; flight EUR 148 each, stay EUR 92 a night, budget EUR {budget}");
    let ask = call(rec, &TOOLS[4], json!({"plan": plan}));
    talk.ask(rec, Answer::calls(std::slice::from_ref(&ask)))?;
    let answer = budget(rec, &ask, slots)?;
    talk.results(vec![(ask, answer)]);
    let text = slots.fill(rec.dice.pick(&PLANS));
    say(rec, talk, text)
}

/// What the agent looks up first, all at once.
fn searches(rec: &mut Recorder, slots: &Slots) -> Vec<Call> {
    let (city, month) = (slots.get("{city}"), slots.get("{month}"));
    let query = slots.fill(rec.dice.pick(&QUERIES));
    let travellers = slots.get("{people}");
    vec![
        call(rec, &TOOLS[0], json!({"from": "BER", "to": city, "date": slots.get("{date}"), "travellers": travellers})),
        call(rec, &TOOLS[1], json!({"city": city, "nights": slots.get("{days}"), "guests": travellers})),
        call(rec, &TOOLS[2], json!({"city": city, "month": month})),
        call(rec, &TOOLS[3], json!({"query": query})),
    ]
}

fn search(rec: &mut Recorder, call: &Call, slots: &Slots) -> (Call, Value) {
    if call.tool.name == "search_flights" && rec.dice.chance(0.07) {
        return run_tool(rec, call, 5_000.0, Err(("httpx.ReadTimeout", "flight provider did not answer within 5 s")));
    }
    if call.tool.name == "web_search" && rec.dice.chance(0.04) {
        return run_tool(rec, call, 210.0, Err(("SearchQuotaExceeded", "429: search quota exceeded, retry later")));
    }
    found(rec, call, slots)
}

fn found(rec: &mut Recorder, call: &Call, slots: &Slots) -> (Call, Value) {
    let (median_ms, result) = match call.tool.name {
        "search_flights" => (
            1_400.0,
            json!({"offers": [
                {"carrier": "TAP", "depart": "09:40", "arrive": "12:15", "stops": 0, "eur": 148.0, "cabin_bag": true},
                {"carrier": "Vueling", "depart": "06:10", "arrive": "11:55", "stops": 1, "eur": 96.0, "cabin_bag": false},
            ]}),
        ),
        "search_stays" => (
            820.0,
            json!({"stays": [
                {"name": "Casa do Pátio", "kind": "guest house", "eur_per_night": 92, "rating": 4.7, "free_cancellation_days": 7},
                {"name": "Market Apartments", "kind": "apartment", "eur_per_night": 118, "rating": 4.5, "kitchen": true},
            ]}),
        ),
        "get_weather" => {
            let (low, high, rain) = (rec.dice.between(4, 14), rec.dice.between(15, 27), rec.dice.between(2, 12));
            (
                160.0,
                json!({"city": slots.get("{city}"), "month": slots.get("{month}"), "low_c": low, "high_c": high, "rain_days": rain}),
            )
        }
        _ => {
            let finding = slots.fill(rec.dice.pick(&FINDINGS));
            (640.0, json!({"results": [{"title": format!("{} travel notes", slots.get("{city}")), "snippet": finding}]}))
        }
    };
    run_tool(rec, call, median_ms, Ok(result))
}

/// The specialist is an agent of its own, with its own model, inside the tool call.
fn budget(rec: &mut Recorder, ask: &Call, slots: &Slots) -> Result<Value, Fault> {
    rec.span(SCOPE, SpanKind::Internal, "invoke_agent budget-specialist", |rec| {
        identify(rec, "invoke_agent");
        rec.set("gen_ai.agent.name", "budget-specialist");
        rec.set("gen_ai.agent.id", "agt_budget_specialist");
        let mut talk = Conversation::new(&GEMINI_FLASH, BUDGET_SYSTEM);
        talk.tools = &BUDGET_TOOLS;
        talk.temperature = Some(0.2);
        talk.user(ask.arguments["plan"].as_str().unwrap_or_default());
        let amount = call(rec, &BUDGET_TOOLS[0], json!({"amount": "148.00", "currency": "USD"}));
        talk.ask(rec, Answer::calls(std::slice::from_ref(&amount)))?;
        let converted = run_tool(rec, &amount, 90.0, Ok(json!({"eur": 136.42, "rate": 0.9218})));
        talk.results(vec![converted]);
        let text = slots.fill(BUDGET_ANSWER);
        say(rec, &mut talk, text.clone())?;
        Ok(json!({"assessment": text, "fits": true}))
    })
}

fn grade(rec: &mut Recorder) {
    let score = (rec.dice.log_normal(0.82, 0.12).min(1.0) * 100.0).round() / 100.0;
    let label = if score >= 0.7 { "pass" } else { "fail" };
    evaluate(rec, "plan_quality", score, label, "Judged on feasibility, cost and completeness.");
}
