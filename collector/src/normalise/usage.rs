//! Token arithmetic: what an SDK wrote, made canonical. Input includes cache reads and writes, output includes reasoning.
//!
//! SDKs differ by provider, so the numbers themselves are asked first, then the rule that found them, then the dialect's table.

use assay_schemas::{
    dialects::{Part, TokenConvention},
    genai::GenAi,
};

/// What is known beside the counts.
#[derive(Debug, Default)]
pub(super) struct UsageFacts<'a> {
    /// Input + output as the sender summed them.
    pub(super) total: Option<i64>,
    /// What the rules that found input and output say.
    pub(super) input_cache: Option<Part>,
    pub(super) output_reasoning: Option<Part>,
    /// The table of the dialect that gave the input count.
    pub(super) conventions: &'a [TokenConvention],
}

/// Adds to the counts in `genai` the parts that are counted beside them.
pub(super) fn make_inclusive(genai: &mut GenAi, facts: &UsageFacts<'_>) {
    let convention = |part: fn(&TokenConvention) -> Option<Part>| {
        let fits = |convention: &&TokenConvention| {
            convention.providers.is_empty()
                || genai.provider.as_ref().is_some_and(|provider| convention.providers.iter().any(|known| known == provider))
        };
        facts.conventions.iter().filter(fits).find_map(part)
    };
    let cache = genai.cache_read_tokens.unwrap_or(0).saturating_add(genai.cache_write_tokens.unwrap_or(0));
    let reasoning = genai.reasoning_tokens.unwrap_or(0);
    let cache_said = facts.input_cache.or_else(|| convention(|found| found.cache));
    let reasoning_said = facts.output_reasoning.or_else(|| convention(|found| found.reasoning));

    let (input, output) = (genai.input_tokens, genai.output_tokens);
    // Said by the numbers: a whole below its part cannot hold it.
    let shown = |part: i64, whole: Option<i64>| whole.is_some_and(|whole| whole < part);
    let (mut cache_outside, mut reasoning_outside) =
        (shown(cache, input).then_some(true), shown(reasoning, output).then_some(true));
    // Else by the rule or the table, else by the total, which counts every token once.
    cache_outside = cache_outside.or(cache_said.map(|said| said == Part::Outside));
    reasoning_outside = reasoning_outside.or(reasoning_said.map(|said| said == Part::Outside));
    if let Some(total) = facts.total {
        let sum = input.unwrap_or(0).saturating_add(output.unwrap_or(0));
        let fits = |(cache_out, reasoning_out): &(bool, bool)| {
            let parts = cache * i64::from(*cache_out) + reasoning * i64::from(*reasoning_out);
            cache_outside.is_none_or(|known| known == *cache_out)
                && reasoning_outside.is_none_or(|known| known == *reasoning_out)
                && total == sum.saturating_add(parts)
        };
        if let Some((cache_out, reasoning_out)) =
            [(false, false), (true, false), (false, true), (true, true)].into_iter().find(fits)
        {
            cache_outside = Some(cache_out);
            reasoning_outside = Some(reasoning_out);
        }
    }
    if cache_outside == Some(true) {
        // Said to be inside, and the reads fit: then the writes alone are beside (LiteLLM before 1.70).
        let reads_fit = cache_said == Some(Part::Inside) && input >= genai.cache_read_tokens;
        let beside = if reads_fit { genai.cache_write_tokens.unwrap_or(0) } else { cache };
        genai.input_tokens = input.map(|input| input.saturating_add(beside));
    }
    if reasoning_outside == Some(true) {
        genai.output_tokens = output.map(|output| output.saturating_add(reasoning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inclusive(counts: [Option<i64>; 5], facts: &UsageFacts<'_>) -> (Option<i64>, Option<i64>) {
        let [input, output, read, write, reasoning] = counts;
        let mut genai = GenAi {
            provider: Some("anthropic".to_owned()),
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_tokens: write,
            reasoning_tokens: reasoning,
            ..GenAi::default()
        };
        make_inclusive(&mut genai, facts);
        (genai.input_tokens, genai.output_tokens)
    }

    #[test]
    fn input_below_its_cache_parts_is_exclusive_whatever_is_said() {
        let facts = UsageFacts { input_cache: Some(Part::Inside), ..UsageFacts::default() };
        assert_eq!(inclusive([Some(124), Some(16), Some(1536), Some(128), None], &facts), (Some(1788), Some(16)));
    }

    #[test]
    fn writes_alone_are_beside_where_reads_fit_an_input_said_to_hold_them() {
        let facts = UsageFacts { input_cache: Some(Part::Inside), total: Some(1676), ..UsageFacts::default() };
        assert_eq!(inclusive([Some(1660), Some(16), Some(1536), Some(128), None], &facts), (Some(1788), Some(16)));
        assert_eq!(
            inclusive([Some(1660), Some(16), Some(1536), Some(128), None], &UsageFacts::default()),
            (Some(3324), Some(16))
        );
    }

    #[test]
    fn inclusive_counts_stay() {
        let facts = UsageFacts::default();
        assert_eq!(inclusive([Some(1788), Some(16), Some(1536), Some(128), Some(3)], &facts), (Some(1788), Some(16)));
    }

    #[test]
    fn the_table_decides_by_provider_where_the_numbers_do_not() {
        let table = [TokenConvention { providers: vec!["anthropic".to_owned()], cache: Some(Part::Outside), reasoning: None }];
        let facts = UsageFacts { conventions: &table, ..UsageFacts::default() };
        assert_eq!(inclusive([Some(2000), Some(16), Some(1536), None, None], &facts), (Some(3536), Some(16)));
        let other = [TokenConvention { providers: vec!["openai".to_owned()], cache: Some(Part::Outside), reasoning: None }];
        let facts = UsageFacts { conventions: &other, ..UsageFacts::default() };
        assert_eq!(inclusive([Some(2000), Some(16), Some(1536), None, None], &facts), (Some(2000), Some(16)));
    }

    #[test]
    fn a_total_shows_that_a_part_is_outside() {
        let facts = UsageFacts { total: Some(205), ..UsageFacts::default() };
        assert_eq!(inclusive([Some(65), Some(75), Some(65), None, Some(0)], &facts), (Some(130), Some(75)));
        let facts = UsageFacts { total: Some(82), ..UsageFacts::default() };
        assert_eq!(inclusive([Some(17), Some(17), None, None, Some(48)], &facts), (Some(17), Some(65)));
        let facts = UsageFacts { total: Some(65 + 65 + 75 + 60), ..UsageFacts::default() };
        assert_eq!(inclusive([Some(65), Some(75), Some(65), None, Some(60)], &facts), (Some(130), Some(135)));
    }

    #[test]
    fn unknown_stays_unknown() {
        assert_eq!(inclusive([None, None, Some(5), None, Some(5)], &UsageFacts::default()), (None, None));
    }
}
