//! From the provider and model that telemetry names to a row of the price table.
//!
//! The order is the table's own (`schemas/prices/README.md`): exact id, alias, pattern (longest literal first), the same without a
//! trailing date; otherwise unpriced. Around it stand the ways in which names are dressed up: router prefixes (`openai/…`,
//! `azure/eu/…`, `models/…`), Bedrock ids, profiles and ARNs, Vertex resource names, Azure deployments. Each rewriting is tried after
//! the plainer reading has failed, and none invents a model.

use std::{collections::HashMap, sync::Arc};

use super::{PriceTable, pattern::Pattern};

/// The rows of one provider by name, all names in lower case.
pub(super) struct ProviderIndex {
    pub(super) provider: Arc<str>,
    exact: HashMap<Box<str>, Vec<u32>>,
    aliases: HashMap<Box<str>, u32>,
    /// Longest literal first.
    patterns: Vec<(Pattern, u32)>,
}

impl ProviderIndex {
    pub(super) fn new(provider: &str) -> Self {
        Self { provider: provider.into(), exact: HashMap::new(), aliases: HashMap::new(), patterns: Vec::new() }
    }

    pub(super) fn insert(&mut self, row: u32, model: &str, aliases: &[String], patterns: Vec<Pattern>) {
        self.exact.entry(model.to_ascii_lowercase().into()).or_default().push(row);
        for alias in aliases {
            self.aliases.insert(alias.to_ascii_lowercase().into(), row);
        }
        self.patterns.extend(patterns.into_iter().map(|pattern| (pattern, row)));
    }

    pub(super) fn finish(&mut self) {
        self.patterns.sort_by_cached_key(|(pattern, _)| std::cmp::Reverse(pattern.literal_len()));
    }
}

const OPENAI: &str = "openai";
const ANTHROPIC: &str = "anthropic";
const AZURE_OPENAI: &str = "azure.ai.openai";
const AZURE_INFERENCE: &str = "azure.ai.inference";
const BEDROCK: &str = "aws.bedrock";
const GEMINI: &str = "gcp.gemini";
const VERTEX: &str = "gcp.vertex_ai";
const FIREWORKS: &str = "fireworks_ai";

/// Providers that sell models of their own: where a model is looked for if no provider is named.
const FIRST_PARTY: [&str; 9] = [OPENAI, ANTHROPIC, GEMINI, "mistral_ai", "cohere", "deepseek", "x_ai", "perplexity", "voyage"];

/// Sellers whose models nobody else can run, so that an OpenAI-compatible client that names one can only mean theirs.
const CLOSED_WEIGHTS: [&str; 3] = [ANTHROPIC, GEMINI, "x_ai"];

const BEDROCK_VENDORS: [&str; 17] = [
    "anthropic",
    "amazon",
    "meta",
    "mistral",
    "cohere",
    "ai21",
    "deepseek",
    "openai",
    "qwen",
    "writer",
    "stability",
    "twelvelabs",
    "moonshotai",
    "moonshot",
    "minimax",
    "zai",
    "nvidia",
];

/// The table's name of a provider; `None` for one it has no prices of.
pub(super) fn canonical_provider(provider: &str) -> Option<&'static str> {
    Some(match provider.trim().to_ascii_lowercase().replace(['-', ' '], "_").as_str() {
        "openai"
        | "openai.chat"
        | "openai.responses"
        | "openai.completion"
        | "openai.embeddings"
        | "openai_chat"
        | "openai_responses"
        | "text_completion_openai" => OPENAI,
        "anthropic" | "anthropic.messages" | "anthropic_text" | "claude" => ANTHROPIC,
        "azure"
        | "azure.openai"
        | "azure_openai"
        | "azureopenai"
        | "az.ai.openai"
        | "azure.ai.openai"
        | "azure_openai.chat"
        | "azure_openai.responses"
        | "azure.chat"
        | "azure.responses" => AZURE_OPENAI,
        "azure_ai" | "azureai" | "az.ai.inference" | "azure.ai.inference" | "azure_ai_inference" | "azure_ai_foundry" => {
            AZURE_INFERENCE
        }
        "aws" | "aws.bedrock" | "aws_bedrock" | "bedrock" | "amazon_bedrock" | "bedrock_converse" | "amazon"
        | "amazonbedrock" => BEDROCK,
        "gemini"
        | "google"
        | "gcp.gemini"
        | "gcp.gen_ai"
        | "google_genai"
        | "google_gla"
        | "google_ai_studio"
        | "google.generative_ai"
        | "google_generativeai"
        | "google_ai"
        | "googleai"
        | "google_gemini" => GEMINI,
        "vertex"
        | "vertex_ai"
        | "vertexai"
        | "gcp.vertex_ai"
        | "google_vertex"
        | "google_vertexai"
        | "google_vertex_ai"
        | "google.vertex"
        | "google.vertex.chat"
        | "vertex_ai_beta"
        | "anthropic_vertex"
        | "google_vertex_anthropic" => VERTEX,
        "mistral" | "mistralai" | "mistral_ai" | "mistral.chat" | "codestral" => "mistral_ai",
        "cohere" | "cohere_chat" | "cohere.chat" => "cohere",
        "deepseek" | "deepseek.chat" => "deepseek",
        "groq" | "groq.chat" => "groq",
        "xai" | "x_ai" | "x.ai" | "xai.chat" | "grok" => "x_ai",
        "perplexity" | "perplexity_ai" | "perplexityai" => "perplexity",
        "together" | "together_ai" | "togetherai" => "together_ai",
        "fireworks" | "fireworks_ai" | "fireworksai" => FIREWORKS,
        "voyage" | "voyageai" | "voyage_ai" => "voyage",
        "cerebras" | "cerebras.chat" => "cerebras",
        _ => return None,
    })
}

/// Frameworks, routers and clients that telemetry names where a provider should stand.
fn is_no_provider(provider: &str) -> bool {
    const NAMES: [&str; 26] = [
        "",
        "unknown",
        "langchain",
        "langgraph",
        "strands_agents",
        "strands",
        "autogen",
        "crewai",
        "litellm",
        "litellm_proxy",
        "openrouter",
        "portkey",
        "helicone",
        "vercel",
        "gateway",
        "vercel_ai_gateway",
        "pydantic_ai",
        "haystack",
        "llamaindex",
        "llama_index",
        "dspy",
        "semantic_kernel",
        "agents",
        "openai_agents",
        "mlflow",
        "custom",
    ];
    NAMES.contains(&provider.trim().to_ascii_lowercase().replace(['-', ' '], "_").as_str())
}

pub(super) fn is_bedrock(provider: Option<&str>) -> bool {
    provider.and_then(canonical_provider) == Some(BEDROCK)
}

/// The row for `model` at `provider`, as an index into the table; `None` is "unpriced".
pub(super) fn resolve(table: &PriceTable, provider: Option<&str>, model: &str, region: Option<&str>) -> Option<u32> {
    let given = match provider {
        Some(provider) => match canonical_provider(provider) {
            Some(known) => Some(known),
            None if is_no_provider(provider) => None,
            // Somebody else's machine, e.g. `ollama`: the model's name says nothing about the price there.
            None => return None,
        },
        None => None,
    };
    let name = model.trim().to_ascii_lowercase();
    // An ARN is never a listed name, but a pattern may match its tail and miss its region.
    if !name.starts_with("arn:")
        && let Some(row) = given.and_then(|given| table.at(given, &name, region))
    {
        return Some(row);
    }

    let peeled = Peeled::new(&name);
    let region = region.or(peeled.region);
    // What a name says of itself beats a client that speaks everybody's protocol, and yields to any other provider.
    let places = if given == Some(OPENAI) { [peeled.host, given] } else { [given, peeled.host] };
    if let Some(row) = places.into_iter().flatten().find_map(|place| table.at(place, peeled.id, region)) {
        return Some(row);
    }
    match (given, peeled.host) {
        (Some(OPENAI), None) => table.only(&CLOSED_WEIGHTS, peeled.id),
        (None, None) => table.only(&FIRST_PARTY, peeled.id),
        _ => None,
    }
}

impl PriceTable {
    /// The row of `name` (lower case) at `provider`, in the order of the module's documentation.
    fn at(&self, provider: &str, name: &str, region: Option<&str>) -> Option<u32> {
        let index = self.providers.iter().find(|index| &*index.provider == provider)?;
        // A fine-tuned model is listed by its base with its date; the patterns know less.
        let name = base_of_fine_tuned(name).unwrap_or(name);
        self.listed(index, name, region).or_else(|| match provider {
            GEMINI | VERTEX if stable_version(name).is_some() => self.listed(index, stable_version(name)?, region),
            ANTHROPIC | VERTEX => name.contains('.').then(|| self.listed(index, &name.replace('.', "-"), region)).flatten(),
            AZURE_OPENAI | AZURE_INFERENCE => self.azure(provider, index, name, region),
            BEDROCK => self.bedrock(index, name, region),
            FIREWORKS if !name.contains('/') => self.listed(index, &format!("accounts/fireworks/models/{name}"), region),
            _ => None,
        })
    }

    /// Exact, alias, pattern; then the same without a trailing date.
    fn listed(&self, index: &ProviderIndex, name: &str, region: Option<&str>) -> Option<u32> {
        let listed = |name: &str| {
            let exact = index.exact.get(name).and_then(|rows| self.in_region(rows, region));
            exact
                .or_else(|| index.aliases.get(name).copied())
                .or_else(|| index.patterns.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, row)| *row))
        };
        listed(name).or_else(|| undated(name).and_then(listed))
    }

    /// Of the rows of one model: the one of the region, else the one without a region, else the only one.
    fn in_region(&self, rows: &[u32], region: Option<&str>) -> Option<u32> {
        let of = |wanted: Option<&str>| {
            let same = |row: &&u32| match (self.rows[**row as usize].region.as_deref(), wanted) {
                (Some(region), Some(wanted)) => region.eq_ignore_ascii_case(wanted),
                (region, wanted) => region == wanted,
            };
            rows.iter().find(same).copied()
        };
        let only = || if let [row] = rows { Some(*row) } else { None };
        region.and_then(|region| of(Some(region))).or_else(|| of(None)).or_else(only)
    }

    /// The row of `name` if exactly one of `providers` has one.
    fn only(&self, providers: &[&str], name: &str) -> Option<u32> {
        let mut rows = providers.iter().filter_map(|provider| self.at(provider, name, None));
        let row = rows.next()?;
        rows.next().is_none().then_some(row)
    }

    /// Azure names a deployment, which people call after the model: `gpt-4o-prod`, `my-gpt4o-mini`. And its two services share models.
    fn azure(&self, provider: &str, index: &ProviderIndex, name: &str, region: Option<&str>) -> Option<u32> {
        let sibling = if provider == AZURE_OPENAI { AZURE_INFERENCE } else { AZURE_OPENAI };
        let sibling = self.providers.iter().find(|index| &*index.provider == sibling)?;
        let plain = |name: &str| self.listed(index, name, region).or_else(|| self.listed(sibling, name, region));
        let spelled = azure_spelling(name);
        plain(name).or_else(|| plain(&spelled)).or_else(|| {
            let models = index.exact.iter().map(|entry| (true, entry)).chain(sibling.exact.iter().map(|entry| (false, entry)));
            let named = models.filter(|(_, (model, _))| is_deployment_of(&spelled, model));
            let (_, (_, rows)) = named.max_by_key(|(own, (model, _))| (model.len(), *own, *model))?;
            self.in_region(rows, region)
        })
    }

    /// Bedrock ids have a profile, a vendor and a version around the model; tools leave out one or the other.
    fn bedrock(&self, index: &ProviderIndex, name: &str, region: Option<&str>) -> Option<u32> {
        let unprofiled = without_profile(name).unwrap_or(name);
        if let Some(row) = self.listed(index, unprofiled, region) {
            return Some(row);
        }
        // Without the vendor; then without the version too, if that leaves one model.
        let reduced = |reduce: fn(&str) -> &str| {
            let wanted = reduce(unprofiled);
            let plain = |key: &str| without_profile(key).is_none() && !key.starts_with("regional.") && !key.contains('/');
            let mut found = index.exact.iter().filter(|(key, _)| plain(key) && reduce(key) == wanted);
            let (_, rows) = found.next()?;
            if found.next().is_none() { self.in_region(rows, region) } else { None }
        };
        reduced(without_vendor).or_else(|| reduced(bedrock_core))
    }
}

/// A model name without its wrapping, and what the wrapping said.
struct Peeled<'a> {
    id: &'a str,
    host: Option<&'static str>,
    region: Option<&'a str>,
}

impl<'a> Peeled<'a> {
    fn new(name: &'a str) -> Self {
        let mut peeled = Self { id: name, host: None, region: None };
        peeled.peel_arn();
        while peeled.peel_segment() {}
        peeled.host = peeled.host.or_else(|| host_of_shape(peeled.id));
        peeled
    }

    /// `arn:aws:bedrock:<region>:<account>:<kind>/<id>`. Application profiles and provisioned models have ids that name no model.
    fn peel_arn(&mut self) {
        let mut parts = self.id.splitn(6, ':');
        if parts.next() != Some("arn")
            || !parts.next().is_some_and(|partition| partition.starts_with("aws"))
            || parts.next() != Some("bedrock")
        {
            return;
        }
        let (region, _account, resource) = (parts.next(), parts.next(), parts.next());
        self.host = Some(BEDROCK);
        if let Some((_, id)) = resource.and_then(|resource| resource.split_once('/')) {
            self.id = id;
            self.region = region.filter(|region| !region.is_empty());
        }
    }

    /// Takes one leading segment off; false if there is none that is understood.
    fn peel_segment(&mut self) -> bool {
        let Some((segment, rest)) = self.id.split_once('/') else { return false };
        let routed = match segment {
            "models" | "publishers" | "openrouter" | "litellm_proxy" | "litellm" | "converse" | "invoke" | "responses"
            | "chat" | "gateway" => true,
            // `projects/<p>/locations/<l>/publishers/<vendor>/models/<id>`
            "projects" | "locations" => {
                self.host = Some(VERTEX);
                return self.skip_pair(rest);
            }
            "accounts" => {
                // Fireworks lists its models under the full path.
                self.host = Some(FIREWORKS);
                return false;
            }
            _ => {
                self.host.is_some() && is_region(segment) && {
                    self.region = Some(segment);
                    true
                }
            }
        };
        if !routed {
            match canonical_provider(segment) {
                // Under a host, what follows is the maker: `vertex_ai/anthropic/…`, `openrouter/anthropic/…` keep the first host.
                Some(host) => self.host = self.host.or(Some(host)),
                None => return false,
            }
        }
        self.id = rest;
        true
    }

    fn skip_pair(&mut self, rest: &'a str) -> bool {
        match rest.split_once('/') {
            Some((_, rest)) => {
                self.id = rest;
                true
            }
            None => false,
        }
    }
}

/// The place that only a name of this shape can mean.
fn host_of_shape(id: &str) -> Option<&'static str> {
    let bare = without_profile(id).unwrap_or(id);
    if bare.split_once('.').is_some_and(|(vendor, _)| BEDROCK_VENDORS.contains(&vendor)) {
        return Some(BEDROCK);
    }
    let vertex = id.split_once('@').is_some_and(|(model, version)| !model.is_empty() && !version.is_empty());
    vertex.then_some(VERTEX)
}

/// An AWS region, or a zone of the table.
fn is_region(segment: &str) -> bool {
    let aws = segment.split('-').count() >= 3
        && segment.ends_with(|c: char| c.is_ascii_digit())
        && segment.split('-').next().is_some_and(|area| area.len() == 2);
    aws || matches!(segment, "eu" | "us" | "global" | "global-standard" | "apac" | "us-gov")
}

fn without_profile(id: &str) -> Option<&str> {
    ["us-gov.", "us.", "eu.", "apac.", "global.", "jp.", "au.", "ca.", "in."]
        .into_iter()
        .find_map(|profile| id.strip_prefix(profile))
}

/// `anthropic.claude-3-haiku-20240307-v1:0` → `claude-3-haiku-20240307-v1:0`.
fn without_vendor(id: &str) -> &str {
    id.split_once('.').filter(|(vendor, _)| BEDROCK_VENDORS.contains(vendor)).map_or(id, |(_, model)| model)
}

/// `anthropic.claude-3-haiku-20240307-v1:0:200k` → `claude-3-haiku-20240307`.
fn bedrock_core(id: &str) -> &str {
    let id = without_vendor(id);
    let id = id.split(':').next().unwrap_or(id);
    match id.rsplit_once("-v") {
        Some((model, version)) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => model,
        _ => id,
    }
}

/// `ft:gpt-4o-mini-2024-07-18:org:name:id` → `ft:gpt-4o-mini-2024-07-18`.
fn base_of_fine_tuned(name: &str) -> Option<&str> {
    let (model, _) = name.strip_prefix("ft:")?.split_once(':')?;
    Some(&name[..3 + model.len()])
}

/// The name without a trailing `-YYYY-MM-DD`, `-YYYYMMDD` or `@…`.
fn undated(name: &str) -> Option<&str> {
    if let Some((model, _)) = name.split_once('@') {
        return Some(model).filter(|model| !model.is_empty());
    }
    let shaped = |date: &str, shape: &str| {
        date.len() == shape.len()
            && date
                .bytes()
                .zip(shape.bytes())
                .all(|(byte, shape)| if shape == b'9' { byte.is_ascii_digit() } else { byte == shape })
    };
    for shape in ["-9999-99-99", "-99999999"] {
        let Some(at) = name.len().checked_sub(shape.len()).filter(|at| *at > 0 && name.is_char_boundary(*at)) else { continue };
        if shaped(&name[at..], shape) && is_year(&name[at + 1..at + 5]) {
            return Some(&name[..at]);
        }
    }
    None
}

/// A Gemini model without the number of its stable version: `gemini-2.0-flash-001`, as answers name it.
fn stable_version(name: &str) -> Option<&str> {
    let (model, version) = name.rsplit_once('-').filter(|(model, _)| model.starts_with("gemini-"))?;
    (version.len() == 3 && version.bytes().all(|byte| byte.is_ascii_digit())).then_some(model)
}

fn is_year(text: &str) -> bool {
    matches!(text.as_bytes(), [b'2', b'0', _, _])
}

/// Azure allows no dot in some names: `gpt-35-turbo`, `gpt-41-mini`; and people leave out hyphens: `gpt4o`.
fn azure_spelling(name: &str) -> String {
    let name = name.replace(['_', ' '], "-");
    let mut spelled = String::with_capacity(name.len() + 2);
    for (idx, word) in name.split('-').enumerate() {
        if idx > 0 {
            spelled.push('-');
        }
        match word.strip_prefix("gpt") {
            Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => {
                spelled.push_str("gpt-");
                spelled.push_str(version);
            }
            _ => spelled.push_str(word),
        }
    }
    spelled.replace("gpt-35", "gpt-3.5").replace("gpt-41", "gpt-4.1")
}

/// Whether `deployment` is `model` with other words around it, none of which could make it another model.
fn is_deployment_of(deployment: &str, model: &str) -> bool {
    // A short id such as `ada` occurs by chance.
    if model.len() < 5 && !matches!(model, "o1" | "o3") {
        return false;
    }
    let Some(at) = deployment.find(model) else { return false };
    let (before, after) = (&deployment[..at], &deployment[at + model.len()..]);
    let another = |word: &str| {
        let variants = [
            "mini",
            "nano",
            "pro",
            "turbo",
            "audio",
            "realtime",
            "preview",
            "codex",
            "chat",
            "max",
            "search",
            "instruct",
            "high",
            "low",
            "fast",
            "vision",
            "transcribe",
            "tts",
            "image",
            "ft",
            "finetuned",
            "large",
            "small",
            "deep",
            "research",
            "luna",
            "sol",
            "terra",
            "astra",
        ];
        variants.contains(&word) || word.ends_with(|c: char| c.is_ascii_digit()) && word.starts_with(|c: char| c.is_ascii_digit())
    };
    let words = |text: &str| text.split('-').filter(|word| !word.is_empty()).any(another);
    (before.is_empty() || before.ends_with('-'))
        && (after.is_empty() || after.starts_with('-'))
        && !words(before)
        && !words(after)
}
