//! The filter language: what it means in SQL and back, how it prints, and what it says about a mistake.

use proptest::prelude::*;

use super::*;

fn sql(text: &str) -> String {
    Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).sql().unwrap_or_default()
}

/// The filter in its normal form.
fn canonical(text: &str) -> String {
    Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).to_string()
}

fn refused(text: &str) -> String {
    let error = Filter::parse(text).expect_err("not a filter");
    let more = [error.expected.map(|e| format!("expected {e}")), error.hint].into_iter().flatten().collect::<Vec<_>>().join("; ");
    format!("{}: {}; {more}", error.column, error.message)
}

/// The filter that a condition becomes.
fn back(sql: &str) -> String {
    from_sql(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}")).filter.to_string()
}

fn no_token(sql: &str) -> String {
    let error = from_sql(sql).expect_err(sql).0;
    let place = error.position.map_or_else(String::new, |p| format!("{}:{}: ", p.line, p.column));
    format!("{place}{}; {}", error.detail, error.hint.unwrap_or_default())
}

#[test]
fn terms_become_predicates() {
    insta::assert_snapshot!(sql("service:api model:gpt-4o|claude*"), @"service_name = 'api' AND (request_model = 'gpt-4o' OR request_model LIKE 'claude%' OR response_model = 'gpt-4o' OR response_model LIKE 'claude%')");
    insta::assert_snapshot!(sql("cost:>0.010 duration:<=1.5s tokens:>=1k input_tokens:5..10|20"), @"cost_usd > 0.01 AND duration_ns <= 1500000000 AND coalesce(input_tokens, 0) + coalesce(output_tokens, 0) >= 1000 AND (input_tokens BETWEEN 5 AND 10 OR input_tokens = 20)");
    insta::assert_snapshot!(sql("-status:error has:error has:session -has:user"), @"(status_code = 'ERROR') IS NOT TRUE AND (status_code = 'ERROR' OR error_type IS NOT NULL) AND session_id IS NOT NULL AND user_id IS NULL");
    insta::assert_snapshot!(sql(r#""100% it's" tag:"a\"b""#), @r#"(name ILIKE '%100\% it''s%' OR input_preview ILIKE '%100\% it''s%' OR output_preview ILIKE '%100\% it''s%' OR error_message ILIKE '%100\% it''s%') AND tags LIKE '%"a\\"b"%'"#);
    insta::assert_snapshot!(sql("attr.http.route:/x attr.n:>3 resource.host:a|b"), @"coalesce(json_as_text(attributes, 'http.route'), json_as_text(resource_attributes, 'http.route')) = '/x' AND TRY_CAST(coalesce(json_as_text(attributes, 'n'), json_as_text(resource_attributes, 'n')) AS DOUBLE) > 3 AND json_as_text(resource_attributes, 'host') IN ('a', 'b')");
    assert_eq!(Filter::parse("   ").expect("empty").sql(), None);
}

#[test]
fn groups_become_groups() {
    insta::assert_snapshot!(sql("service:api OR has:error cost:>1"), @"(service_name = 'api' OR ((status_code = 'ERROR' OR error_type IS NOT NULL) AND cost_usd > 1))");
    insta::assert_snapshot!(sql("-(service:api has:error) root:true"), @"(service_name = 'api' AND (status_code = 'ERROR' OR error_type IS NOT NULL)) IS NOT TRUE AND parent_span_id IS NULL");
    insta::assert_snapshot!(sql("(user:a OR session:s) NOT (tool:x OR tool:y)"), @"(user_id = 'a' OR session_id = 's') AND (tool_name IN ('x', 'y')) IS NOT TRUE");
}

#[test]
fn what_means_the_same_prints_the_same() {
    assert_eq!(canonical("((service_name:api))  AND has:error"), "service:api has:error");
    assert_eq!(canonical("service:b OR service:a* OR service:a OR service:b"), "service:b|a|a*");
    assert_eq!(canonical("request_model:x OR response_model:x|y"), "model:x OR response_model:y");
    assert_eq!(canonical("has:request_model OR cost:1 OR has:response_model"), "has:model OR cost:1");
    assert_eq!(canonical("status:error|ok  status:error"), "status:ERROR|OK status:ERROR");
    assert_eq!(canonical("cost:>1 OR has:error"), "cost:>1 OR has:error");
    assert_eq!(canonical("-has:error (has:error OR has:error)"), "-has:error has:error");
    assert_eq!(canonical("has:error_type OR status:error"), "has:error");
    // Whatever SQL compares with, and not a rounded one: `> 0.9` is not `> 1`.
    assert_eq!(canonical("duration:>0.9ns duration:<0.0015us"), "duration:>0.9ns duration:<1.5ns");
    assert_eq!(canonical("duration:>1500ms duration:<90s ttft:60s..2h"), "duration:>1.5s duration:<90s ttft:1m..2h");
    assert_eq!(canonical("cost:$0.50 tokens:2M.. tokens:..3k"), "cost:0.5 tokens:>=2000000 tokens:<=3000");
    assert_eq!(
        canonical("--service:api -root:false -has:root"),
        "service:api root:true -root:true".replace("-root:true", "has:parent")
    );
    assert_eq!(canonical("refund policy* \"a b\"*c"), r#""refund" "policy" "a b"*"c""#);
    assert_eq!(canonical(r#"name:"x y"|f(a)|pre*"(post)" trace:ABC"#), r#"name:"x y"|"f(a)"|pre*"(post)" trace:abc"#);
    assert_eq!(canonical("a OR (b c) OR -(d e)"), r#""a" OR ("b" "c") OR -("d" "e")"#);
    assert_eq!(canonical("or and not"), r#""or" "and" "not""#);
}

#[test]
fn a_value_cannot_leave_its_quotes() {
    assert_eq!(sql("user:x'OR'1'='1"), "user_id = 'x''OR''1''=''1'");
    assert_eq!(sql(r#"attr."k') OR true --":v"#).matches("'").count() % 2, 0);
}

#[test]
fn errors_say_where_and_what_was_meant() {
    insta::assert_snapshot!(refused("service:a modle:x"), @"11: no filter key `modle`; did you mean `model`?");
    insta::assert_snapshot!(refused("cost:>cheap"), @"7: `cheap` is not a number; expected a number, such as `0.01` or `20k`");
    insta::assert_snapshot!(refused("duration:>2"), @"11: `2` is not a duration; expected a number with a unit, such as `250ms`, `2s`, `1.5m`; did you mean `2s` or `2ms`?");
    insta::assert_snapshot!(refused("name:>x"), @"6: `name` is text and cannot be compared; expected `key:value`");
    insta::assert_snapshot!(refused("name:"), @r#"6: a key without a value; expected a value, or `""` for the empty text"#);
    insta::assert_snapshot!(refused("status:!=ok"), @"8: `!=` is not an operator of filters; write `-status:value`");
    insta::assert_snapshot!(refused(r#"a "open"#), @r#"3: a quotation mark without its partner; expected `"`; write `\"` for a quotation mark inside a text"#);
    insta::assert_snapshot!(refused("a (b OR c"), @"3: a parenthesis without its partner; expected `)`");
    insta::assert_snapshot!(refused("a b) c"), @"4: a closing parenthesis without its partner; put text in quotation marks");
    insta::assert_snapshot!(refused("a OR"), @"5: a condition is missing; expected a condition, such as `service:api`; to search for the word itself, write it in quotation marks");
    insta::assert_snapshot!(refused("OR a"), @"1: a condition is missing; expected a condition, such as `service:api`; to search for the word itself, write it in quotation marks");
    insta::assert_snapshot!(refused("a ()"), @"4: a condition is missing; expected a condition, such as `service:api`; to search for the word itself, write it in quotation marks");
    insta::assert_snapshot!(refused("tokens:9..3"), @"8: nothing lies between 9 and 3; did you mean `3..9`?");
    insta::assert_snapshot!(refused("root:maybe"), @"6: `root` is either true or false; expected `true` or `false`");
    insta::assert_snapshot!(refused("has:modle"), @"5: no filter key `modle`; did you mean `model`?");
    assert!(refused("http://example.org").contains("put text with a colon in quotation marks"));
    assert!(refused(&"(".repeat(40)).contains("nested deeper"));
}

#[test]
fn sql_of_people_becomes_a_filter() {
    assert_eq!(back("SELECT * FROM spans WHERE service_name = 'api' AND cost_usd > 0.01;"), "service:api cost:>0.01");
    assert_eq!(back("WHERE 'api' = spans.service_name AND 10 < input_tokens"), "service:api input_tokens:>10");
    assert_eq!(back("service_name IN ('a', 'b') OR service_name LIKE 'c%'"), "service:a|b|c*");
    assert_eq!(
        back("attributes ->> 'http.route' = '/x' AND TRY_CAST(attributes ->> 'n' AS DOUBLE) BETWEEN 1 AND 2"),
        "span.http.route:/x span.n:1..2"
    );
    assert_eq!(
        back("attributes ->> 'k' IS NOT NULL AND metadata ->> 'tier' <> 'free'"),
        "has:span.k has:metadata.tier -metadata.tier:free"
    );
    assert_eq!(back("status_code <> 'OK' AND user_id <> 'ada'"), "-status:OK has:user -user:ada");
    assert_eq!(back("NOT (user_id = 'ada' OR cost_usd > 1)"), "has:user -user:ada cost:<=1");
    assert_eq!(back("NOT (user_id IS NULL) AND counted AND NOT streaming"), "has:user call:true has:streaming -streaming:true");
    assert_eq!(back("user_id IS DISTINCT FROM 'ada'"), "-user:ada");
    assert_eq!(back("(request_model = 'x' OR response_model = 'x') AND parent_span_id IS NULL"), "model:x root:true");
    assert_eq!(back("NOT (status_code = 'ERROR' OR error_type IS NOT NULL)"), "-status:ERROR -has:error_type");
    assert_eq!(back("(status_code = 'ERROR' OR error_type IS NOT NULL) IS NOT TRUE"), "-has:error");
    assert_eq!(back(""), "");
}

#[test]
fn a_time_range_is_given_apart() {
    let search =
        from_sql("start_time >= '2026-11-20 10:00:00' AND user_id = 'ada' AND start_time < TIMESTAMP '2026-11-21T00:00:00Z'")
            .unwrap();
    assert_eq!(search.filter.to_string(), "user:ada");
    assert_eq!(
        (search.from.as_deref(), search.to.as_deref()),
        (Some("2026-11-20T10:00:00.000000Z"), Some("2026-11-21T00:00:00.000000Z"))
    );
}

#[test]
fn what_no_filter_can_say_is_named() {
    insta::assert_snapshot!(no_token("service_name = 'a' AND\n  lower(name) = 'x'"), @"2:3: `lower(name) = 'x'` has no token: no filter can say this; ");
    insta::assert_snapshot!(no_token("inptu_tokens > 3"), @"1:1: `inptu_tokens` has no token: no filter key stands for the column `inptu_tokens`; did you mean `input_tokens`?");
    insta::assert_snapshot!(no_token("name ILIKE '%x%'"), @"1:1: `name ILIKE '%x%'` has no token: free text is looked for in name, input_preview, output_preview, error_message together; use `LIKE` for one column");
    insta::assert_snapshot!(no_token("name LIKE 'a_c'"), @r"1:1: `name LIKE 'a_c'` has no token: `_` stands for any one character, which no filter can say; `\_` is an underscore");
    insta::assert_snapshot!(no_token("attributes ->> 'n' > 3"), @"1:1: `attributes ->> 'n' > 3` has no token: an attribute is text; as a number it is `TRY_CAST(attributes ->> 'key' AS DOUBLE)`");
    insta::assert_snapshot!(no_token("status_code = 'error'"), @"1:1: `status_code = 'error'` has no token: no span has such a value; this column is stored in capitals or, for identifiers, in lower case");
    insta::assert_snapshot!(no_token("SELECT name, count(*) FROM spans GROUP BY name"), @"only a plain `SELECT … FROM spans WHERE …` can become a filter; ");
    insta::assert_snapshot!(no_token("name = 'a' AND"), @"1:15: syntax error: expected an expression, found `the end of the query`; ");
    insta::assert_snapshot!(no_token("name = 'a' name"), @"1:12: syntax error: expected the end of the condition, found `name`; ");
    insta::assert_snapshot!(no_token("trace_id IN (SELECT trace_id FROM spans)"), @"1:1: `trace_id IN (SELECT trace_id FROM spans)` has no token: no filter can say this; ");
}

/// Any filter of the language.
fn filters() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[a-z0-9._/-]{1,6}",
        "[a-z]{0,3}\\*[a-z]{0,3}",
        "\"[a-zA-Z %_'*|()<>=.:-]{0,8}\"",
        Just(r#""a\"b\\c""#.to_owned()),
        Just("\"x y\"*z".to_owned()),
        Just("ünï*".to_owned()),
    ];
    let texts = prop::collection::vec(text, 1..4).prop_map(|values| values.join("|"));
    let numbers =
        prop::collection::vec("(>|>=|<|<=)?-?[0-9]{1,4}(\\.[0-9]{1,3})?|[0-3]\\.\\.[4-9]", 1..3).prop_map(|n| n.join("|"));
    let durations = prop::collection::vec("(>|<=)?[0-9]{1,3}(\\.5)?(ns|us|ms|s|m|h)|1ms\\.\\.2s", 1..3).prop_map(|n| n.join("|"));
    let text_keys = "service|name|model|request_model|response_model|provider|op|status|error|session|user|tool|tag|finish|env|kind|trace|\
                     parent|attr\\.a|span\\.b|resource\\.host|metadata\\.m|attr\\.\"a b\"";
    let leaf = prop_oneof![
        (text_keys, texts.clone()).prop_map(|(key, values)| format!("{key}:{values}")),
        ("cost|tokens|input_tokens|output_tokens|cache_read_tokens", numbers.clone())
            .prop_map(|(key, values)| format!("{key}:{values}")),
        ("duration|ttft", durations).prop_map(|(key, values)| format!("{key}:{values}")),
        numbers.prop_map(|values| format!(
            "attr.n:>={}",
            values.trim_start_matches(['>', '<', '=']).split('|').next().unwrap_or("1").replace("..", "")
        )),
        "has:(error|cost|model|tokens|request_model|session|attr\\.a|parent|root)",
        "(root|call|streaming):(true|false)",
        "[a-z]{1,5}(\\*[a-z]{1,3})?|\"[a-zA-Z %_'*|()<>=.:-]{1,8}\"",
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|all| all.join(" ")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|any| format!("({})", any.join(" OR "))),
            inner.prop_map(|one| format!("-({one})")),
        ]
    })
}

proptest! {
    /// Every condition that a filter makes is read back as that filter.
    #[test]
    fn sql_of_a_filter_is_the_filter(text in filters()) {
        let filter = Filter::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e:?}")))?;
        let sql = filter.sql().unwrap_or_default();
        let search = from_sql(&sql).map_err(|e| TestCaseError::fail(format!("{sql}: {e:?}")))?;
        prop_assert_eq!(&search.filter.to_string(), &filter.to_string(), "{}", sql);
        prop_assert_eq!(search.filter, filter);
    }

    #[test]
    fn a_filter_prints_as_it_is_read(text in filters()) {
        let filter = Filter::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e:?}")))?;
        prop_assert_eq!(Filter::parse(&filter.to_string()).expect("printed filters are filters"), filter);
    }

    #[test]
    fn pieces_that_are_read_print_as_they_are_read(text in r#"(-?(service|model|tag|attr\.a|cost|duration|has|"x y"|word|\(|\)| OR )[:><="|*a-z0-9 .\\]{0,12}){0,4}"#) {
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).expect("printed filters are filters"), filter);
        }
    }

    #[test]
    fn nothing_makes_the_readers_panic(text in "\\PC{0,60}", sql in "[a-z_ ()'%=<>0-9.,*-]{0,60}") {
        drop(Filter::parse(&text));
        drop(from_sql(&sql));
    }
}
