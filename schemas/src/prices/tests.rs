//! Prices against values computed by hand from `model_prices.json`, and properties of the arithmetic.

use std::sync::OnceLock;

use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn table() -> &'static PriceTable {
    static TABLE: OnceLock<PriceTable> = OnceLock::new();
    TABLE.get_or_init(PriceTable::embedded)
}

fn micros(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).expect("a time").timestamp_micros()
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a decimal")
}

fn request<'a>(provider: &'a str, model: &'a str, time: &str) -> PriceRequest<'a> {
    let at = micros(time);
    PriceRequest {
        provider: Some(provider),
        response_model: Some(model),
        started_at: at,
        completed_at: at,
        ..PriceRequest::default()
    }
}

fn tokens(input: i64, output: i64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

/// Lines as `kind units@price`, then the total.
fn lines(priced: &Priced) -> String {
    let line = |line: &CostLine| {
        let price = line.usd_per_million.map_or_else(|| "?".to_owned(), |price| price.to_string());
        format!("{} {}@{price}", line.kind.as_str(), line.units)
    };
    let total = priced.cost_usd.map_or_else(|| "NULL".to_owned(), |cost| cost.to_string());
    format!("{} = {total}", priced.lines.iter().map(line).collect::<Vec<_>>().join(" + "))
}

fn check(request: &PriceRequest<'_>, usage: Usage, expected: &str) {
    assert_eq!(lines(&table().price(request, &usage)), expected, "{request:?}");
}

#[test]
fn openai_cached_tokens_are_part_of_the_input() {
    // 700 × 2.50 + 300 × 1.25 + 100 × 10 dollars per million
    let usage = Usage { cache_read: 300, reasoning: 40, ..tokens(1000, 100) };
    check(
        &request("openai", "gpt-4o-2024-08-06", "2026-01-15T12:00:00Z"),
        usage,
        "input 700@2.5 + cache_read 300@1.25 + output 100@10 = 0.003125",
    );
}

#[test]
fn service_tiers_have_rates_of_their_own() {
    let at = "2026-06-01T00:00:00Z";
    let usage = Usage { cache_read: 200, ..tokens(1000, 500) };
    for (tier, mode, expected) in [
        ("default", "standard", "input 800@1.1 + cache_read 200@0.275 + output 500@4.4 = 0.003135"),
        ("flex", "flex", "input 800@0.55 + cache_read 200@0.138 + output 500@2.2 = 0.0015676"),
        ("priority", "priority", "input 800@2 + cache_read 200@0.5 + output 500@8 = 0.0057"),
        // The batch set states no cache read rate: the standard one stays.
        ("batch", "batch", "input 800@0.55 + cache_read 200@0.275 + output 500@2.2 = 0.001595"),
    ] {
        let request = PriceRequest { service_tier: Some(tier), ..request("openai", "o4-mini", at) };
        check(&request, usage, expected);
        assert_eq!(table().price(&request, &usage).rate_mode, Some(mode));
    }
}

#[test]
fn anthropic_cache_writes_cost_by_their_lifetime() {
    // 124 + 1536 read + 128 written, of which 28 for an hour
    let usage = Usage { cache_read: 1536, cache_write: 128, cache_write_1h: 28, ..tokens(1788, 20) };
    check(
        &request("anthropic", "claude-sonnet-4-5-20250929", "2026-01-01T00:00:00Z"),
        usage,
        "input 124@3 + cache_read 1536@0.3 + cache_write 100@3.75 + cache_write_1h 28@6 + output 20@15 = 0.0016758",
    );
}

#[test]
fn a_long_prompt_moves_the_whole_request_to_the_tier() {
    let at = "2026-06-01T00:00:00Z";
    let gemini = request("gcp.gemini", "gemini-2.5-pro", at);
    check(&gemini, tokens(200_000, 1000), "input 200000@1.25 + output 1000@10 = 0.26");
    let long = Usage { cache_read: 50_001, ..tokens(200_001, 1000) };
    check(&gemini, long, "input 150000@2.5 + cache_read 50001@0.25 + output 1000@15 = 0.40250025");
    let priced = table().price(&gemini, &long);
    assert_eq!(priced.tier_above_tokens, Some(200_000));
    assert_eq!(priced.price.as_deref(), Some("gcp.gemini/gemini-2.5-pro since 2026-04-20"));
    // The batch set has a tier of its own, and takes the cache read rate of the standard tier.
    let batch = PriceRequest { service_tier: Some("batch"), ..gemini };
    check(&batch, long, "input 150000@1.25 + cache_read 50001@0.25 + output 1000@7.5 = 0.20750025");
}

#[test]
fn the_rate_set_valid_at_the_time_applies() {
    let usage = Usage { cache_read: 1000, ..tokens(2000, 1000) };
    for (time, expected) in [
        // Before records: the oldest known rates.
        ("2026-01-01T00:00:00Z", "input 1000@1.74 + cache_read 1000@0.145 + output 1000@3.48 = 0.005365"),
        ("2026-05-24T23:59:59.999999Z", "input 1000@1.74 + cache_read 1000@0.145 + output 1000@3.48 = 0.005365"),
        ("2026-05-25T00:00:00Z", "input 1000@0.435 + cache_read 1000@0.003625 + output 1000@0.87 = 0.001308625"),
        ("2026-08-16T05:00:00Z", "input 1000@0.66 + cache_read 1000@0.022 + output 1000@1.98 = 0.002662"),
    ] {
        check(&request("deepseek", "deepseek-v4-pro", time), usage, expected);
    }
    // A scheduled change, not yet begun and begun.
    check(&request("gcp.gemini", "gemini-4-argon", "2026-12-01T00:00:00Z"), tokens(1_000_000, 0), "input 1000000@4 = 4");
}

#[test]
fn a_past_long_context_tier_ends_with_its_rate_set() {
    let usage = tokens(200_001, 100);
    check(&request("anthropic", "claude-opus-4-6", "2026-03-12T00:00:00Z"), usage, "input 200001@10 + output 100@37.5 = 2.00376");
    check(&request("anthropic", "claude-opus-4-6", "2026-03-13T00:00:00Z"), usage, "input 200001@5 + output 100@25 = 1.002505");
}

#[test]
fn deepseek_doubles_by_the_clock_of_completion() {
    let priced = |started: &str, completed: &str| {
        let request = PriceRequest { completed_at: micros(completed), ..request("deepseek", "deepseek-v4-pro", started) };
        table().price(&request, &tokens(1_000_000, 0)).cost_usd
    };
    let (base, doubled) = (Some(decimal("0.66")), Some(decimal("1.32")));
    // 2026-11-18 is a Wednesday. The windows are 01:00–04:00 and 06:00–10:00 UTC on working days in China.
    assert_eq!(priced("2026-11-18T00:59:59Z", "2026-11-18T00:59:59Z"), base);
    assert_eq!(priced("2026-11-18T00:59:59Z", "2026-11-18T01:00:00Z"), doubled, "what decides is the end");
    assert_eq!(priced("2026-11-18T03:59:00Z", "2026-11-18T04:00:00Z"), base, "a window excludes its end");
    assert_eq!(priced("2026-11-18T06:00:00Z", "2026-11-18T09:59:59Z"), doubled);
    assert_eq!(priced("2026-11-21T02:00:00Z", "2026-11-21T02:00:00Z"), base, "a Saturday");
    assert_eq!(priced("2026-10-01T02:00:00Z", "2026-10-01T02:00:00Z"), base, "a holiday");
    // An earlier rule halved prices at night, past midnight, until 2025-09-05.
    let night = |time| table().price(&request("deepseek", "deepseek-chat", time), &tokens(1_000_000, 0)).cost_usd;
    assert_eq!(night("2025-08-01T00:29:00Z"), Some(decimal("0.135")));
    assert_eq!(night("2025-08-01T00:30:00Z"), Some(decimal("0.27")));
    assert_eq!(night("2025-08-01T23:00:00Z"), Some(decimal("0.135")));
    assert_eq!(night("2025-09-06T23:00:00Z"), Some(decimal("0.57")));
}

#[test]
fn a_region_has_its_own_row_or_an_uplift() {
    let at = "2026-06-01T00:00:00Z";
    let eu = |provider, model| PriceRequest { region: Some("eu"), ..request(provider, model, at) };
    check(&eu("azure.ai.openai", "gpt-4o"), tokens(1000, 100), "input 1000@2.75 + output 100@11 = 0.00385");
    check(&eu("openai", "gpt-5.4"), tokens(1000, 100), "input 1000@2.75 + output 100@16.5 = 0.0044");
    check(&request("azure", "azure/eu/gpt-4o", at), tokens(1000, 100), "input 1000@2.75 + output 100@11 = 0.00385");
    check(
        &request("aws.bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", at),
        tokens(1000, 100),
        "input 1000@1.1 + output 100@5.5 = 0.00165",
    );
    check(
        &request("aws.bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0", at),
        tokens(1000, 100),
        "input 1000@1 + output 100@5 = 0.0015",
    );
}

#[test]
fn reasoning_and_audio_are_apart_only_with_a_price_of_their_own() {
    let usage = Usage { reasoning: 600, audio_input: 100, ..tokens(1000, 1000) };
    check(
        &request("perplexity", "sonar-deep-research", "2026-06-01T00:00:00Z"),
        usage,
        "input 1000@2 + output 400@8 + reasoning 600@3 = 0.007",
    );
    check(
        &request("google", "gemini-2.5-flash", "2026-06-01T00:00:00Z"),
        usage,
        "input 900@0.3 + audio_input 100@1 + output 1000@2.5 = 0.00287",
    );
    check(&request("openai", "o4-mini", "2026-06-01T00:00:00Z"), usage, "input 1000@1.1 + output 1000@4.4 = 0.0055");
}

#[test]
fn names_resolve_as_the_table_says() {
    for (provider, model, row) in [
        // dated, aliased, matched
        (Some("openai"), "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"),
        (Some("openai"), "gpt-5.6-luna-2026-07-09", "openai/gpt-5.6-luna"),
        (Some("openai"), "o3-2030-01-31", "openai/o3"),
        (Some("OpenAI"), "GPT-4o", "openai/gpt-4o"),
        (Some("openai.chat"), "o4-mini-high", "openai/o4-mini"),
        (Some("openai"), "ft:gpt-4o-mini-2024-07-18:acme:support:abc", "openai/ft:gpt-4o-mini-2024-07-18"),
        (Some("anthropic"), "claude-haiku-4.5", "anthropic/claude-haiku-4-5"),
        (Some("anthropic.messages"), "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"),
        (Some("gemini"), "models/gemini-2.5-flash", "gcp.gemini/gemini-2.5-flash"),
        (Some("gcp.gemini"), "gemini-2.5-flash-001", "gcp.gemini/gemini-2.5-flash"),
        (Some("gcp.vertex_ai"), "gemini-2.5-pro-002", "gcp.vertex_ai/gemini-2.5-pro"),
        (Some("xai"), "grok-4.6-20260101", "x_ai/grok-4.6"),
        // the longest literal wins
        (Some("gcp.gemini"), "gemini-2.5-flash-lite-preview-99-2031", "gcp.gemini/gemini-2.5-flash-lite"),
        // routers
        (Some("openai"), "openai/gpt-4o", "openai/gpt-4o"),
        (Some("openai"), "anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        (Some("openrouter"), "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        (Some("litellm"), "openrouter/google/gemini-2.5-pro", "gcp.gemini/gemini-2.5-pro"),
        (Some("langchain"), "gpt-4o", "openai/gpt-4o"),
        (Some("groq"), "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        (Some("openai"), "claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        (Some("together"), "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        // Azure
        (Some("azure"), "azure/gpt-4o", "azure.ai.openai/gpt-4o"),
        (Some("az.ai.openai"), "gpt-35-turbo", "azure.ai.openai/gpt-35-turbo"),
        (Some("azure.ai.openai"), "prod-gpt4o-mini", "azure.ai.openai/gpt-4o-mini"),
        (Some("azure.ai.openai"), "gpt-41-mini-team-b", "azure.ai.openai/gpt-4.1-mini"),
        (Some("azure.ai.inference"), "gpt-4o", "azure.ai.openai/gpt-4o"),
        // Bedrock
        (
            Some("aws.bedrock"),
            "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
            "aws.bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0@profile:us",
        ),
        (Some("aws"), "bedrock/us-west-2/anthropic.claude-v2", "aws.bedrock/anthropic.claude-v2@us-west-2"),
        (
            Some("aws.bedrock"),
            "arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-v2",
            "aws.bedrock/anthropic.claude-v2@us-west-2",
        ),
        (
            Some("aws.bedrock"),
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "aws.bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0@profile:us",
        ),
        (Some("aws.bedrock"), "amazon.nova-lite-v1:0:300k", "aws.bedrock/amazon.nova-lite-v1:0"),
        (Some("aws.bedrock"), "titan-embed-text-v2:0", "aws.bedrock/amazon.titan-embed-text-v2:0"),
        (None, "anthropic.claude-3-opus-20240229-v1:0", "aws.bedrock/anthropic.claude-3-opus-20240229-v1:0"),
        (Some("anthropic"), "anthropic.claude-opus-5", "aws.bedrock/anthropic.claude-opus-5"),
        // Vertex
        (Some("vertex_ai"), "claude-sonnet-4-5@20250929", "gcp.vertex_ai/claude-sonnet-4-5@20250929"),
        (Some("vertex_ai"), "vertex_ai/gemini-2.5-pro", "gcp.vertex_ai/gemini-2.5-pro"),
        (
            None,
            "projects/p-1/locations/us-east5/publishers/anthropic/models/claude-opus-4-1@20250805",
            "gcp.vertex_ai/claude-opus-4-1@20250805",
        ),
        (Some("gcp.vertex_ai"), "publishers/google/models/gemini-2.5-flash", "gcp.vertex_ai/gemini-2.5-flash"),
        (None, "claude-3-5-sonnet-v2@20241022", "gcp.vertex_ai/claude-3-5-sonnet-v2@20241022"),
        // others
        (Some("fireworks"), "accounts/fireworks/models/deepseek-v3p2", "fireworks_ai/accounts/fireworks/models/deepseek-v3p2"),
        (None, "mistral-large-latest", "mistral_ai/mistral-large-latest"),
    ] {
        assert_eq!(table().resolve(provider, model, None).as_deref(), Some(row), "{provider:?} {model}");
    }
}

#[test]
fn what_the_table_does_not_know_is_unpriced_and_never_zero() {
    for (provider, model) in [
        (Some("openai"), "my-own-model"),
        (Some("ollama"), "gpt-4o"),
        (None, "llama-3.1-8b"),
        (Some("azure.ai.openai"), "team-b"),
        (Some("azure.ai.openai"), "gpt-4o-realtime-eu"),
        (Some("azure.ai.openai"), "gpt-5-9"),
        (Some("aws.bedrock"), "arn:aws:bedrock:us-east-1:1:application-inference-profile/abcdef"),
        (Some("gcp.gemini"), "gemini-2.5-pro-preview-tts"),
        // suspect rows
        (Some("azure.ai.inference"), "jais-30b-chat"),
        (Some("cohere"), "embed-multilingual-light-v3.0"),
        (Some(""), ""),
    ] {
        assert_eq!(table().resolve(provider, model, None), None, "{provider:?} {model}");
    }
    let priced =
        table().price(&request("openai", "my-own-model", "2026-01-01T00:00:00Z"), &Usage { cache_read: 5, ..tokens(10, 1) });
    assert_eq!(lines(&priced), "input 5@? + cache_read 5@? + output 1@? = NULL");
    assert_eq!(priced.source, CostSource::Unpriced);
}

#[test]
fn unknown_usage_is_not_priced() {
    let gpt = request("openai", "gpt-4o", "2026-01-01T00:00:00Z");
    for usage in [Usage::default(), Usage { input: Some(5), ..Usage::default() }, Usage { output: Some(5), ..Usage::default() }] {
        let priced = table().price(&gpt, &usage);
        assert_eq!((priced.cost_usd, priced.source, priced.lines.len()), (None, CostSource::NoUsage, 0));
    }
    // Embeddings have no output.
    let embedding = request("openai", "text-embedding-3-small", "2026-01-01T00:00:00Z");
    check(&embedding, Usage { input: Some(1000), ..Usage::default() }, "input 1000@0.02 = 0.00002");
}

#[test]
fn the_request_model_is_tried_after_the_response_model_except_on_bedrock() {
    let request = |provider, request_model, response_model| {
        let request = PriceRequest {
            provider: Some(provider),
            request_model: Some(request_model),
            response_model: Some(response_model),
            ..PriceRequest::default()
        };
        table().price(&request, &tokens(1, 1)).price.map(|price| price.split(' ').next().unwrap_or_default().to_owned())
    };
    assert_eq!(request("openai", "gpt-4o", "gpt-4o-2024-05-13").as_deref(), Some("openai/gpt-4o-2024-05-13"));
    assert_eq!(request("azure.ai.openai", "gpt-4o", "team-b").as_deref(), Some("azure.ai.openai/gpt-4o"));
    let (profile, plain) = ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001");
    assert_eq!(
        request("aws.bedrock", profile, plain).as_deref(),
        Some("aws.bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0@profile:us")
    );
}

#[test]
fn own_prices_take_precedence() {
    #[derive(serde::Deserialize)]
    struct Config {
        prices: Vec<PriceOverride>,
    }
    let own = |toml: &str| toml::from_str::<Config>(toml).map(|config| config.prices);
    let prices = own(r#"
        [[prices]]
        provider = "azure"
        model = "team-b"
        input_usd_per_million = 2.20
        output_usd_per_million = "8.8"
        [[prices]]
        model = "gpt-4o*"
        input_usd_per_million = "1"
        output_usd_per_million = 4
        cache_read_usd_per_million = 0.1
        effective_from = "2026-06-01"
        "#)
    .expect("prices");
    let table = PriceTable::embedded().with_overrides(&prices).expect("valid prices");
    assert_ne!(table.version(), PriceTable::embedded().version());
    let price =
        |provider, model, time| table.price(&request(provider, model, time), &Usage { cache_read: 100, ..tokens(1000, 100) });

    let deployment = price("azure.ai.openai", "Team-B", "2026-01-01T00:00:00Z");
    assert_eq!(lines(&deployment), "input 900@2.2 + cache_read 100@2.2 + output 100@8.8 = 0.00308");
    assert_eq!((deployment.source, deployment.price.as_deref()), (CostSource::Configured, Some("azure.ai.openai/team-b")));
    assert_eq!(price("openai", "gpt-4o", "2026-05-31T23:59:59Z").source, CostSource::Computed);
    let matched = price("openai", "gpt-4o-2024-08-06", "2026-06-01T00:00:00Z");
    assert_eq!(lines(&matched), "input 900@1 + cache_read 100@0.1 + output 100@4 = 0.00131");
    assert_eq!(matched.price.as_deref(), Some("*/gpt-4o* since 2026-06-01"));

    let typo = own("[[prices]]\nmodel = \"x\"\ninput_usd_per_milion = 1").expect_err("typo");
    assert!(typo.to_string().contains("unknown field `input_usd_per_milion`"), "{typo}");
    let negative = own("[[prices]]\nmodel = \"x\"\ninput_usd_per_million = \"-1\"").expect("parses");
    let error = PriceTable::embedded().with_overrides(&negative).expect_err("negative");
    assert_eq!(
        error.to_string(),
        "own price 1, model `x`: `input_usd_per_million` is `-1`, expected 0 to 1000000 with at most 9 decimals"
    );
}

#[test]
fn llm_cost_is_the_price_of_a_call() {
    let cost = llm_cost(table(), Some("openai"), "gpt-4o", (1000, 100, 300, 0), micros("2026-01-01T00:00:00Z"));
    assert_eq!(cost, Some(decimal("0.003125")));
    assert_eq!(llm_cost(table(), None, "no-such-model", (1, 1, 0, 0), 0), None);
}

#[test]
fn absurd_counts_are_unpriced_instead_of_overflowing() {
    let priced = table().price(&request("openai", "o1-pro", "2026-01-01T00:00:00Z"), &tokens(i64::MAX, i64::MAX));
    assert_eq!((priced.cost_usd, priced.source), (None, CostSource::Unpriced));
}

#[test]
fn every_row_resolves_to_itself() {
    for row in &table().rows {
        let found = table().row(Some(&row.provider), &row.model, row.region.as_deref()).expect("a row");
        let same_but_for_case = found.model.eq_ignore_ascii_case(&row.model) && found.region == row.region;
        assert!(same_but_for_case, "{} resolved to {}", row.id(), found.id());
    }
    assert_eq!(table().rows.len(), 2421 - 5, "all rows but the suspect ones");
}

#[test]
fn what_calls_are_billed_at_is_stated() {
    let own: PriceOverride =
        toml::from_str("model = 'mine-*'\ninput_usd_per_million = 3\noutput_usd_per_million = '4.5'").unwrap();
    let table = PriceTable::embedded().with_overrides(&[own]).unwrap();
    let stated = table.stated_rates();
    let rate = |priced: &Priced, line: &CostLine| {
        let same = |rate: &&StatedRate| {
            Some(&rate.price) == priced.price.as_ref()
                && (rate.kind, Some(rate.rate_mode), rate.tier_above_tokens)
                    == (line.kind, priced.rate_mode, priced.tier_above_tokens)
        };
        let mut found = stated.iter().filter(same);
        let rate = found.next().map(|rate| rate.usd_per_million);
        assert!(found.next().is_none(), "one rate for {line:?} of {priced:?}");
        rate
    };
    let calls = [
        ("openai", "gpt-4o-2024-08-06", None, 1_000),
        ("openai", "gpt-5", Some("flex"), 1_000),
        ("anthropic", "claude-sonnet-4-5", None, 300_000),
        ("somebody", "Mine-7b", None, 1_000),
    ];
    for (provider, model, service_tier, input) in calls {
        let request = PriceRequest { service_tier, ..request(provider, model, "2026-11-01T12:00:00Z") };
        let priced = table.price(&request, &tokens(input, 10));
        assert!(priced.lines.len() == 2, "{priced:?}");
        for line in &priced.lines {
            assert_eq!(rate(&priced, line), line.usd_per_million, "{priced:?}");
        }
    }
    assert_eq!(stated.iter().filter(|rate| rate.source == CostSource::Configured).count(), 2);
    assert!(stated.iter().all(|rate| !rate.usd_per_million.is_sign_negative()));
}

proptest! {
    #[test]
    fn lines_add_up_and_are_never_negative(
        row in 0..2416_usize,
        counts in prop::array::uniform8(-10_i64..2_000_000),
        tier in prop::sample::select(vec!["default", "batch", "flex", "priority", "fast"]),
        at in 1_600_000_000_000_000_i64..1_900_000_000_000_000,
    ) {
        let [input, output, cache_read, cache_write, cache_write_1h, reasoning, audio_input, audio_output] = counts;
        let usage = Usage { input: Some(input), output: Some(output), cache_read, cache_write, cache_write_1h, reasoning, audio_input, audio_output };
        let row = &table().rows[row];
        let request = PriceRequest {
            provider: Some(&row.provider), request_model: Some(&row.model), region: row.region.as_deref(),
            service_tier: Some(tier), started_at: at, completed_at: at + 1_000_000, ..PriceRequest::default()
        };
        let priced = table().price(&request, &usage);
        prop_assert_eq!(priced.lines.iter().map(|line| line.units).sum::<i64>(), input.max(0) + output.max(0));
        prop_assert!(priced.lines.iter().all(|line| line.units > 0));
        if let Some(cost) = priced.cost_usd {
            prop_assert!(!cost.is_sign_negative());
            prop_assert_eq!(priced.lines.iter().filter_map(|line| line.cost_usd).sum::<Decimal>(), cost);
            prop_assert!(cost.scale() <= MONEY_SCALE as u32);
        } else {
            prop_assert!(priced.lines.iter().all(|line| line.cost_usd.is_none()));
        }
    }

    #[test]
    fn any_name_resolves_without_a_panic(provider in "[a-z._ -]{0,12}", model in "\\PC{0,40}") {
        let _ = table().resolve(Some(&provider), &model, None);
        let _ = table().resolve(None, &model, Some("eu"));
        for provider in ["azure", "bedrock", "vertex", "openai", "anthropic", "fireworks"] {
            let _ = table().resolve(Some(provider), &model, None);
        }
    }
}
