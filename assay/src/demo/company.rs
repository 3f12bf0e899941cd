//! Who sends the traffic: Larkspur, a small travel company with five LLM services, about sixty users and the models it pays for.

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{dice::Dice, trace::attribute};

/// A deployed service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    version: &'static str,
    language: &'static str,
}

pub(crate) static SUPPORT_CHAT: Service = Service { name: "support-chat", version: "2.14.1", language: "python" };
pub(crate) static RESEARCH_AGENT: Service = Service { name: "research-agent", version: "0.9.3", language: "python" };
pub(crate) static DOCS_RAG: Service = Service { name: "docs-rag", version: "1.6.0", language: "python" };
pub(crate) static BATCH_CLASSIFIER: Service = Service { name: "batch-classifier", version: "3.2.0", language: "nodejs" };
pub(crate) static CODE_ASSISTANT: Service = Service { name: "code-assistant", version: "1.1.4", language: "nodejs" };

impl Service {
    /// The OTLP resource of the service.
    pub(crate) fn resource(&self) -> Resource {
        let attributes = vec![
            attribute("service.name", self.name),
            attribute("service.version", self.version),
            attribute("service.namespace", "larkspur"),
            attribute("service.instance.id", format!("{}-7d9c5b6f4-x2k8p", self.name)),
            attribute("deployment.environment.name", "production"),
            attribute("cloud.region", "eu-central-1"),
            attribute("telemetry.sdk.language", self.language),
            attribute("telemetry.sdk.name", "opentelemetry"),
            attribute("telemetry.sdk.version", if self.language == "python" { "1.39.0" } else { "2.2.0" }),
        ];
        Resource { attributes, ..Resource::default() }
    }
}

/// How a provider caches prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cache {
    None,
    /// By itself, from 1024 tokens on, in steps of 128; writes are not reported.
    Automatic,
    /// Where the request marks it; writes are reported and cost extra.
    Marked,
}

/// A model as its users know it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) provider: &'static str,
    pub(crate) name: &'static str,
    pub(crate) response_name: &'static str,
    pub(crate) server: &'static str,
    pub(crate) scope: &'static str,
    /// Median milliseconds to the first chunk of a short prompt.
    pub(crate) first_chunk_ms: f64,
    pub(crate) tokens_per_second: f64,
    pub(crate) cache: Cache,
    /// Median of reasoning tokens that are billed but not shown; 0 if the model does not reason.
    pub(crate) hidden_reasoning: f64,
}

const OPENAI: Model = Model {
    provider: "openai",
    name: "",
    response_name: "",
    server: "api.openai.com",
    scope: "opentelemetry.instrumentation.genai.openai",
    first_chunk_ms: 420.0,
    tokens_per_second: 85.0,
    cache: Cache::Automatic,
    hidden_reasoning: 0.0,
};
const ANTHROPIC: Model = Model {
    provider: "anthropic",
    server: "api.anthropic.com",
    scope: "opentelemetry.instrumentation.genai.anthropic",
    first_chunk_ms: 900.0,
    tokens_per_second: 70.0,
    cache: Cache::Marked,
    ..OPENAI
};

pub(crate) static GPT_4O: Model = Model { name: "gpt-4o", response_name: "gpt-4o-2024-08-06", ..OPENAI };
pub(crate) static GPT_4O_MINI: Model = Model {
    name: "gpt-4o-mini",
    response_name: "gpt-4o-mini-2024-07-18",
    first_chunk_ms: 330.0,
    tokens_per_second: 110.0,
    ..OPENAI
};
pub(crate) static GPT_4_1: Model =
    Model { name: "gpt-4.1", response_name: "gpt-4.1-2025-04-14", first_chunk_ms: 480.0, tokens_per_second: 95.0, ..OPENAI };
pub(crate) static O4_MINI: Model =
    Model { name: "o4-mini", response_name: "o4-mini-2025-04-16", tokens_per_second: 130.0, hidden_reasoning: 520.0, ..OPENAI };
pub(crate) static SONNET: Model = Model { name: "claude-sonnet-4-5", response_name: "claude-sonnet-4-5-20250929", ..ANTHROPIC };
pub(crate) static HAIKU: Model = Model {
    name: "claude-haiku-4-5",
    response_name: "claude-haiku-4-5-20251001",
    first_chunk_ms: 450.0,
    tokens_per_second: 150.0,
    ..ANTHROPIC
};
pub(crate) static GEMINI_FLASH: Model = Model {
    provider: "gcp.gemini",
    name: "gemini-2.5-flash",
    response_name: "gemini-2.5-flash",
    server: "generativelanguage.googleapis.com",
    scope: "opentelemetry.instrumentation.google_genai",
    first_chunk_ms: 380.0,
    tokens_per_second: 190.0,
    cache: Cache::Automatic,
    hidden_reasoning: 90.0,
};
/// Runs on the company's own machines: no price list knows it.
pub(crate) static TRIAGE: Model = Model {
    provider: "vllm",
    name: "larkspur/triage-8b-v3",
    response_name: "larkspur/triage-8b-v3",
    server: "triage.ml.larkspur.internal",
    first_chunk_ms: 45.0,
    tokens_per_second: 140.0,
    cache: Cache::None,
    ..OPENAI
};

/// How well the providers are doing while a session takes place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// The provider `openai` is slow and refuses many requests.
    pub(crate) openai_incident: bool,
}

/// Why a model did not answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    RateLimited,
    Overloaded,
    TimedOut,
    Filtered,
}

impl Weather {
    /// What goes wrong with the next call of `model`, mostly nothing.
    pub(crate) fn fault(self, dice: &mut Dice, model: &Model) -> Option<Fault> {
        let badly = if self.hits(model) { 14.0 } else { 1.0 };
        let busy = if model.provider == "anthropic" { Fault::Overloaded } else { Fault::RateLimited };
        let faults = [(0.011 * badly, Some(busy)), (0.004 * badly, Some(Fault::TimedOut)), (0.003, Some(Fault::Filtered))];
        let bad: f64 = faults.iter().map(|(p, _)| p).sum();
        if dice.chance(bad) { dice.weighted(&faults) } else { None }
    }

    /// How many times slower than usual `model` is.
    pub(crate) fn slowdown(self, model: &Model) -> f64 {
        if self.hits(model) { 2.4 } else { 1.0 }
    }

    fn hits(self, model: &Model) -> bool {
        self.openai_incident && model.provider == "openai"
    }
}

const FIRST_NAMES: [&str; 15] = [
    "maya", "jonas", "priya", "leo", "amira", "tomas", "sofia", "ken", "ines", "daniel", "hanna", "omar", "chloe", "marek",
    "yuki",
];
const LAST_NAMES: [&str; 4] = ["lindqvist", "okafor", "moreau", "hart"];

/// One of sixty customers, the same few most of the time.
pub(crate) fn customer(dice: &mut Dice) -> String {
    let idx = dice.skewed(FIRST_NAMES.len() * LAST_NAMES.len());
    format!("{}.{}", FIRST_NAMES[idx % FIRST_NAMES.len()], LAST_NAMES[idx / FIRST_NAMES.len()])
}

/// One of the company's eight engineers.
pub(crate) fn engineer(dice: &mut Dice) -> String {
    const ENGINEERS: [&str; 8] = ["nadia", "pavel", "grace", "elif", "mateo", "bram", "lucia", "soren"];
    format!("{}@larkspur", ENGINEERS[dice.skewed(ENGINEERS.len())])
}
