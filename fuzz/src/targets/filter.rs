//! The filter language: text and SQL, both ways. Whatever is read prints as something that reads as the same.

use assay_query::filter::{Filter, from_sql};

use super::text as lossy;

/// Filters as people write them.
const FILTERS: [&str; 14] = [
    "service:api model:gpt-4o|claude* (cost:>0.01 OR has:error) -tool:search \"refund policy\"",
    "name:\"call 2 *\"",
    "name:\"call 2 \"*",
    "cost:0.01..0.5 duration:1s..",
    "has:error has:cost|session",
    "root:true call:true streaming:false",
    "attr.http.route:/chat attr.retries:>3 span.x:y resource.z:* metadata.\"a b\":1",
    "-(service:api has:error) NOT user:ada OR (a OR (b c))",
    "tokens:<=20k duration:>1.5s ttft:<300ms input_tokens:=0",
    "\"OR\" \"AND\" \\\" a:b:c",
    "service_name:api status:error kind:client",
    "--a",
    "\u{1F680} größe:東京",
    "trace:0af7651916cd43dd8448eb211c80319c span:00f067aa0ba902b7",
];

/// Any text as a filter.
pub(super) fn text(input: &[u8]) {
    let input = lossy(input);
    let Ok(filter) = Filter::parse(&input) else { return };
    let printed = filter.to_string();
    let again =
        Filter::parse(&printed).unwrap_or_else(|error| panic!("`{input}` prints as `{printed}`, which is refused: {error}"));
    assert_eq!(again, filter, "`{input}` prints as `{printed}`");
    assert_eq!(again.to_string(), printed, "`{input}`");
    in_sql(&filter);
}

/// Any text as a condition in SQL.
pub(super) fn sql(input: &[u8]) {
    let input = lossy(input);
    let Ok(search) = from_sql(&input) else { return };
    let printed = search.filter.to_string();
    if let Ok(again) = Filter::parse(&printed) {
        assert_eq!(again, search.filter, "`{input}` prints as `{printed}`");
    }
    in_sql(&search.filter);
}

fn in_sql(filter: &Filter) {
    let Some(sql) = filter.sql() else { return };
    match from_sql(&sql) {
        Ok(search) => assert!(search.filter == *filter && search.from.is_none() && search.to.is_none(), "`{filter}` is `{sql}`"),
        // Long filters have SQL that is longer, or of more conditions, than what is read.
        Err(error) => assert!(sql.len() > 8 << 10, "`{filter}` is `{sql}`, which is refused: {error}"),
    }
}

pub(super) fn text_seeds() -> Vec<Vec<u8>> {
    FILTERS.iter().map(|filter| filter.as_bytes().to_vec()).collect()
}

pub(super) fn sql_seeds() -> Vec<Vec<u8>> {
    let sql = FILTERS.iter().filter_map(|filter| Filter::parse(filter).ok()?.sql());
    let mut seeds: Vec<_> = sql.map(String::into_bytes).collect();
    for own in [
        "SELECT * FROM spans WHERE service_name = 'api' AND start_time >= '2026-01-01T00:00:00Z' AND start_time < now()",
        "WHERE cost_usd BETWEEN 0.01 AND 1 AND NOT (name LIKE '%a\\%b%' OR model IN ('x', 'y'))",
        "json_get_str(attributes, 'http.route') = '/chat' AND duration_ns > 1e9",
        "coalesce(response_model, request_model) ILIKE 'GPT%' ESCAPE '\\'",
    ] {
        seeds.push(own.as_bytes().to_vec());
    }
    seeds.push(format!("name = 'a'{}", " OR name = 'b'".repeat(500)).into_bytes());
    seeds.push(format!("cost_usd > 1{}", " + 1".repeat(5000)).into_bytes());
    seeds
}
