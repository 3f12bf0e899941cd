//! `code-assistant`: long prompts with Anthropic's cache, thinking, tools that read, patch and test.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{call, label, say};
use crate::demo::{
    calls::{Answer, Conversation, evaluate, identify, nanos, run_tool},
    company::{Fault, HAIKU, SONNET},
    texts::code::{FOLLOW_UP_ANSWERS, FOLLOW_UPS, SYSTEM, TASKS, TESTS_FAILED, TESTS_PASSED, TOOLS, Task},
    trace::Recorder,
};

pub(super) fn play(rec: &mut Recorder, turns: usize) {
    let task = rec.dice.pick(&TASKS);
    let model = rec.dice.weighted(&[(0.8, &SONNET), (0.2, &HAIKU)]);
    let mut talk = Conversation::new(model, SYSTEM);
    talk.tools = &TOOLS;
    talk.stream = true;
    talk.max_tokens = 16_000;
    talk.prompt = Some(("code-assistant", "9"));
    for turn in 0..turns {
        // What was asked and has no answer in the texts: the engineer's turn decides, and a failure is on the spans of the turn.
        let _failed = rec
            .span("larkspur.agents", SpanKind::Internal, "invoke_agent code-assistant", |rec| {
                identify(rec, "invoke_agent");
                rec.set("gen_ai.agent.name", "code-assistant");
                label(
                    rec,
                    &["ide", "platform"],
                    json!({"repository": "larkspur/platform", "path": task.path, "editor": "zed", "turn": turn + 1}),
                );
                let result = if turn == 0 { work(rec, &mut talk, task) } else { follow_up(rec, &mut talk) };
                match result {
                    Ok(()) if rec.dice.chance(0.35) => verdict(rec),
                    Ok(()) | Err(Fault::Filtered) => {}
                    Err(_) => rec.fail("AgentError", "the model did not answer"),
                }
                result
            })
            .is_err();
        let pause_s = rec.dice.log_normal(120.0, 0.8);
        rec.wait(nanos(pause_s));
    }
}

/// Search, read, patch, test; if the tests fail, test again after another patch.
fn work(rec: &mut Recorder, talk: &mut Conversation, task: &Task) -> Result<(), Fault> {
    talk.user(task.asks);
    use_tool(
        rec,
        talk,
        "",
        (1, json!({"pattern": task.pattern, "path": "services/"})),
        45.0,
        json!(format!("{}:18\n{}:31", task.path, task.path)),
    )?;
    use_tool(rec, talk, "", (0, json!({"path": task.path})), 6.0, json!(task.file))?;
    use_tool(rec, talk, task.thought, (2, json!({"patch": task.patch})), 12.0, json!("patch applied: 1 file changed"))?;
    let tests = json!({"filter": task.path});
    if rec.dice.chance(0.3) {
        use_tool(rec, talk, "", (3, tests.clone()), 5_200.0, json!(TESTS_FAILED))?;
        let thought = "The failing test counted the calls of the old code path. Its claim still holds with one call fewer, so the expectation has to follow.";
        use_tool(
            rec,
            talk,
            thought,
            (2, json!({"patch": "-    assert len(calls) == 3\n+    assert len(calls) == 2\n"})),
            12.0,
            json!("patch applied: 1 file changed"),
        )?;
    }
    use_tool(rec, talk, "", (3, tests), 4_600.0, json!(TESTS_PASSED))?;
    say(rec, talk, task.summary.to_owned())
}

fn use_tool(
    rec: &mut Recorder,
    talk: &mut Conversation,
    thought: &str,
    (tool, arguments): (usize, Value),
    median_ms: f64,
    result: Value,
) -> Result<(), Fault> {
    let mut call = call(rec, &TOOLS[tool], arguments);
    call.id = call.id.replace("call_", "toolu_");
    talk.ask(rec, Answer { thought: thought.to_owned(), calls: vec![call.clone()], ..Answer::default() })?;
    let broken = call.tool.name == "run_tests" && rec.dice.chance(0.03);
    let result = if broken { Err(("ToolError", "the test container ran out of memory (exit status 137)")) } else { Ok(result) };
    let result = run_tool(rec, &call, median_ms, result);
    talk.results(vec![result]);
    Ok(())
}

fn follow_up(rec: &mut Recorder, talk: &mut Conversation) -> Result<(), Fault> {
    let idx = rec.dice.between(0, FOLLOW_UPS.len() as u64 - 1) as usize;
    talk.user(FOLLOW_UPS[idx]);
    say(rec, talk, FOLLOW_UP_ANSWERS[idx].to_owned())
}

fn verdict(rec: &mut Recorder) {
    let (score, label) = if rec.dice.chance(0.8) { (1.0, "accepted") } else { (0.0, "rejected") };
    evaluate(rec, "suggestion", score, label, "");
}
