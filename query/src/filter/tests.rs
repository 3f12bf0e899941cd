//! The filter language: what it means in SQL, and what it says about a mistake.

use proptest::prelude::*;

use super::*;

fn sql(text: &str) -> String {
    Filter::parse(text).expect("a filter").sql().unwrap_or_default()
}

fn refused(text: &str) -> String {
    let error = Filter::parse(text).expect_err("not a filter");
    let more = [error.expected.map(|e| format!("expected {e}")), error.hint].into_iter().flatten().collect::<Vec<_>>().join("; ");
    format!("{}: {}; {more}", error.column, error.message)
}

#[test]
fn terms_become_predicates() {
    insta::assert_snapshot!(sql("service:api model:gpt-4o|claude*"), @"(service_name = 'api') AND (request_model = 'gpt-4o' OR request_model LIKE 'claude%' OR response_model = 'gpt-4o' OR response_model LIKE 'claude%')");
    insta::assert_snapshot!(sql("cost:>0.01 duration:<=1.5s tokens:>=1000"), @"(cost_usd > 0.01) AND (duration_ns <= 1500000000) AND (coalesce(input_tokens, 0) + coalesce(output_tokens, 0) >= 1000)");
    insta::assert_snapshot!(sql("-status:error has:error has:session"), @"(status_code = 'ERROR') IS NOT TRUE AND (status_code = 'ERROR') AND (session_id IS NOT NULL)");
    insta::assert_snapshot!(sql(r#""100% it's" tag:"a\"b""#), @r#"(name ILIKE '%100\% it''s%' OR input_preview ILIKE '%100\% it''s%' OR output_preview ILIKE '%100\% it''s%') AND (tags LIKE '%"a\\"b"%')"#);
    insta::assert_snapshot!(sql("attr.http.route:/x attr.n:>3"), @"(coalesce(json_as_text(attributes, 'http.route'), json_as_text(resource_attributes, 'http.route')) = '/x') AND (TRY_CAST(coalesce(json_as_text(attributes, 'n'), json_as_text(resource_attributes, 'n')) AS DOUBLE) > 3)");
    assert_eq!(Filter::parse("   ").expect("empty").sql(), None);
}

#[test]
fn a_value_cannot_leave_its_quotes() {
    assert_eq!(sql("user:x'OR'1'='1"), "(user_id = 'x''OR''1''=''1')");
    assert_eq!(sql(r#"attr."k') OR true --":v"#).matches("'").count() % 2, 0);
}

#[test]
fn errors_say_where_and_what_was_meant() {
    insta::assert_snapshot!(refused("service:a modle:x"), @"11: no filter key `modle`; did you mean `model`?");
    insta::assert_snapshot!(refused("cost:>cheap"), @"7: `cheap` is not a number; expected a number, such as `0.01`");
    insta::assert_snapshot!(refused("duration:>2"), @"11: `2` is not a duration; expected a number with a unit, such as `250ms`, `2s`, `1.5m`");
    insta::assert_snapshot!(refused("name:>x"), @"7: `name` is text and cannot be compared; expected `key:value`");
    insta::assert_snapshot!(refused("name:"), @r#"6: a key without a value; expected a value, or `""` for the empty text"#);
    insta::assert_snapshot!(refused(r#""open"#), @r#"1: a quotation mark without its partner; expected `"`"#);
}

proptest! {
    #[test]
    fn a_filter_prints_as_it_is_read(text in r#"(-?(service|model|tag|attr\.a|cost|duration|has|"x y"|word)[:><="|*a-z0-9 .\\]{0,12}){0,4}"#) {
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).expect("printed filters are filters"), filter);
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(text in "\\PC{0,60}") {
        drop(Filter::parse(&text));
    }
}
