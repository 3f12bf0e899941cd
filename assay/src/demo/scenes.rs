//! What the services do. A scene plays one session: each of its turns is one trace. Which scenes there are, how often, by whom, is in
//! [`ROLES`].

mod chat;
mod classify;
mod code;
mod docs;
mod research;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{
    calls::{Answer, Call, Conversation, Tool},
    company::{BATCH_CLASSIFIER, CODE_ASSISTANT, DOCS_RAG, Fault, RESEARCH_AGENT, SUPPORT_CHAT, Service},
    texts::Slots,
    trace::Recorder,
};

/// Plays a session of so many turns.
pub(crate) type Scene = fn(&mut Recorder, usize);

/// Who starts a session.
pub(crate) enum User {
    Customer,
    Engineer,
    Nobody,
}

/// A scene with its part in the traffic.
pub(crate) struct Role {
    pub(crate) scene: Scene,
    pub(crate) service: &'static Service,
    pub(crate) user: User,
    /// Share of the sessions.
    pub(crate) sessions: f64,
    /// Turns of a session, at least and at most.
    pub(crate) turns: (u64, u64),
    /// Starts by the clock, not when people are awake.
    pub(crate) scheduled: bool,
}

pub(crate) static ROLES: [Role; 5] = [
    Role { scene: chat::play, service: &SUPPORT_CHAT, user: User::Customer, sessions: 0.36, turns: (1, 4), scheduled: false },
    Role { scene: docs::play, service: &DOCS_RAG, user: User::Customer, sessions: 0.22, turns: (1, 3), scheduled: false },
    Role {
        scene: classify::play,
        service: &BATCH_CLASSIFIER,
        user: User::Nobody,
        sessions: 0.20,
        turns: (1, 1),
        scheduled: true,
    },
    Role {
        scene: research::play,
        service: &RESEARCH_AGENT,
        user: User::Customer,
        sessions: 0.10,
        turns: (1, 2),
        scheduled: false,
    },
    Role { scene: code::play, service: &CODE_ASSISTANT, user: User::Engineer, sessions: 0.12, turns: (1, 4), scheduled: false },
];

const HTTP_SCOPE: &str = "opentelemetry.instrumentation.fastapi";

/// Does `work` inside the SERVER span of an HTTP request; the answer's status is 200 unless `work` failed.
fn serve(rec: &mut Recorder, route: &str, work: impl FnOnce(&mut Recorder) -> Result<(), Fault>) {
    rec.span(HTTP_SCOPE, SpanKind::Server, format!("POST {route}"), |rec| {
        rec.set("http.request.method", "POST");
        rec.set("http.route", route);
        rec.set("url.path", route);
        rec.set("url.scheme", "https");
        rec.set("server.address", format!("{}.larkspur.example", rec.service.name));
        rec.set("user_agent.original", "LarkspurApp/8.2 (iOS 19.1)");
        rec.wait_ms(3.0);
        let status: u64 = match work(rec) {
            Ok(()) | Err(Fault::Filtered) => 200,
            Err(Fault::RateLimited | Fault::Overloaded) => 503,
            Err(Fault::TimedOut) => 504,
        };
        rec.set("http.response.status_code", status);
        if status >= 500 {
            rec.fail(&status.to_string(), "the assistant is not available");
        }
        rec.wait_ms(2.0);
    });
}

/// Tags and metadata of the application, on the current span.
fn label(rec: &mut Recorder, tags: &[&str], metadata: serde_json::Value) {
    rec.set("tag.tags", tags);
    rec.set("metadata", metadata);
}

/// A call of `tool` as a model writes it; `arguments` is a JSON template.
fn call(rec: &mut Recorder, tool: &'static Tool, arguments: serde_json::Value) -> Call {
    Call { id: rec.id("call_", 20), tool, arguments }
}

/// The JSON that `template` makes with its slots filled.
fn json_of(slots: &Slots, template: &str) -> serde_json::Value {
    serde_json::from_str(&slots.fill(template)).expect("templates of tools are JSON, and slots hold nothing to escape")
}

/// Asks for the final answer of a turn.
fn say(rec: &mut Recorder, talk: &mut Conversation, text: String) -> Result<(), Fault> {
    talk.ask(rec, Answer::text(text))
}
