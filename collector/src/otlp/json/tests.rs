//! The codec against OTLP 1.11, "JSON Protobuf Encoding", and the proto3 JSON mapping.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::otlp::borrowed::SpanRef;

fn span(json: &str) -> Span {
    decode(json.as_bytes()).expect("a span").0
}

fn value(json: &str) -> Option<any_value::Value> {
    decode::<AnyValue>(json.as_bytes()).expect("a value").0.value
}

fn error(json: &str) -> String {
    decode::<Span>(json.as_bytes()).expect_err("not a span").to_string()
}

#[test]
fn ids_are_hexadecimal_in_either_case() {
    let expected: Vec<u8> = (0xA0..=0xAF).collect();
    for id in ["a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF", "a0A1a2A3a4A5a6A7a8A9aaABacADaeAF"] {
        let json = format!(r#"{{"traceId":"{id}","links":[{{"traceId":"{id}","spanId":"{}"}}]}}"#, &id[..16]);
        let span = span(&json);
        assert_eq!((&span.trace_id, &span.links[0].trace_id), (&expected, &expected));
        assert_eq!(span.links[0].span_id, expected[..8]);
    }
    let exemplar: Exemplar = decode(br#"{"traceId":"AB","spanId":"cd","asInt":"4"}"#).unwrap().0;
    assert_eq!((exemplar.trace_id, exemplar.span_id), (vec![0xAB], vec![0xCD]));
    assert_eq!(
        error(r#"{"traceId":"oKGio6SlpqeoqaqrrK2urw=="}"#),
        "at `$.traceId` (byte 37): found `\"oKGio6SlpqeoqaqrrK2urw==\"`, expected an id in hexadecimal"
    );
}

#[test]
fn other_bytes_are_base64_of_either_alphabet() {
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        assert_eq!(
            value(&format!(r#"{{"bytesValue":"{text}"}}"#)),
            Some(any_value::Value::BytesValue(vec![0xFB, 0xFF])),
            "{text}"
        );
    }
}

#[test]
fn enums_are_integers_only() {
    assert_eq!(span(r#"{"kind":2,"status":{"code":1}}"#).kind, 2);
    assert_eq!(span(r#"{"kind":99}"#).kind, 99, "an unknown number is kept");
    assert!(error(r#"{"kind":"SPAN_KIND_SERVER"}"#).starts_with("at `$.kind`"));
}

#[test]
fn integers_of_64_bits_are_texts_or_numbers() {
    for text in [r#""1700000000000000001""#, "1700000000000000001"] {
        assert_eq!(span(&format!(r#"{{"startTimeUnixNano":{text}}}"#)).start_time_unix_nano, 1_700_000_000_000_000_001);
    }
    assert_eq!(span(r#"{"startTimeUnixNano":"18446744073709551615"}"#).start_time_unix_nano, u64::MAX);
    assert_eq!(span(r#"{"startTimeUnixNano":1.7e18}"#).start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(value(r#"{"intValue":"-9223372036854775808"}"#), Some(any_value::Value::IntValue(i64::MIN)));
    for bad in ["1.5", r#""x""#, "-1", "18446744073709551616", "1e20", "true", "[]"] {
        assert!(error(&format!(r#"{{"startTimeUnixNano":{bad}}}"#)).starts_with("at `$.startTimeUnixNano`"), "{bad}");
    }
}

#[test]
fn doubles_are_numbers_or_the_three_words() {
    for (text, expected) in [
        ("1", 1.0),
        ("-0.5e-3", -0.0005),
        (r#""2.5""#, 2.5),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
    ] {
        assert_eq!(value(&format!(r#"{{"doubleValue":{text}}}"#)), Some(any_value::Value::DoubleValue(expected)));
    }
    let Some(any_value::Value::DoubleValue(nan)) = value(r#"{"doubleValue":"NaN"}"#) else { panic!("a double") };
    assert!(nan.is_nan());
    for bad in [r#""inf""#, r#""nan""#, "NaN", "1e999", r#""""#] {
        assert!(decode::<AnyValue>(format!(r#"{{"doubleValue":{bad}}}"#).as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn null_is_absent_and_unknown_keys_are_ignored() {
    let span =
        span(r#"{"name":null,"attributes":null,"status":null,"new":{"deep":[1,{"x":null},"]}"]},"kind":null,"span_id":"zz"} "#);
    assert_eq!(span, Span::default());
    assert_eq!(value(r#"{"stringValue":null,"intValue":"1"}"#), Some(any_value::Value::IntValue(1)));
    assert_eq!(value("{}"), None);
    let list = value(r#"{"arrayValue":{"values":[null,{}]}}"#);
    assert_eq!(list, Some(any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue::default(); 2] })));
}

#[test]
fn metrics_keep_their_oneofs() {
    let json = r#"{"metrics":[
        {"name":"g","gauge":{"dataPoints":[{"asInt":"0"},{"asDouble":0},{"asDouble":"NaN"}]}},
        {"name":"s","sum":{"dataPoints":[{"asInt":7}],"aggregationTemporality":2,"isMonotonic":true}},
        {"name":"h","histogram":{"dataPoints":[{"count":"3","sum":0,"bucketCounts":["1",2],"explicitBounds":[0.5]}]}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-2,"positive":{"offset":-1,"bucketCounts":["5"]},"min":-0.0}]}},
        {"name":"q","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":2}]}]}},
        {"name":"none"}]}"#;
    let (scope, defects) = decode::<ScopeMetrics>(json.as_bytes()).unwrap();
    assert!(defects.is_empty());
    let [g, s, h, e, q, none] = &scope.metrics[..] else { panic!("six metrics") };
    let Some(metric::Data::Gauge(gauge)) = &g.data else { panic!("a gauge") };
    assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsInt(0)));
    assert_eq!(gauge.data_points[1].value, Some(number_data_point::Value::AsDouble(0.0)));
    assert!(matches!(&s.data, Some(metric::Data::Sum(sum)) if sum.is_monotonic && sum.aggregation_temporality == 2));
    assert!(
        matches!(&h.data, Some(metric::Data::Histogram(h)) if h.data_points[0].sum == Some(0.0) && h.data_points[0].bucket_counts == [1, 2])
    );
    assert!(
        matches!(&e.data, Some(metric::Data::ExponentialHistogram(e)) if e.data_points[0].scale == -2 && e.data_points[0].max.is_none())
    );
    assert!(matches!(&q.data, Some(metric::Data::Summary(q)) if q.data_points[0].quantile_values[0].value == 2.0));
    assert_eq!(none.data, None);
    let again = decode::<ScopeMetrics>(encode(&scope).as_bytes()).unwrap().0;
    assert_eq!(again.encode_to_vec(), scope.encode_to_vec());
}

#[test]
fn a_bad_record_costs_only_itself() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":7},"x",{"attributes":[{"key":"k","value":{"intValue":"?"}}]},{"name":"b"}]}]}]}"#;
    let (request, defects) = decode::<ExportTraceServiceRequest>(json.as_bytes()).unwrap();
    let names: Vec<_> = request.resource_spans[0].scope_spans[0].spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(defects.len(), 3);
    assert_eq!(defects[0].record, r#"{"name":7}"#);
    let place = "at `$.resourceSpans[0].scopeSpans[0].spans[3].attributes[0].value.intValue`";
    assert!(defects[2].detail.starts_with(place), "{}", defects[2].detail);
}

#[test]
fn text_that_is_not_json_is_refused_with_the_place() {
    for bad in [
        "",
        "{",
        "[]",
        "{\"name\" \"x\"}",
        "{\"name\":\"x\",}",
        "{name:1}",
        "{} {}",
        "{\"name\":\"\u{1}\"}",
        r#"{"name":"\x"}"#,
        r#"{"x":01}"#,
        r#"{"x":[1,]}"#,
        r#"{"x":tru}"#,
        r#"{"name":"a"#,
    ] {
        assert!(decode::<Span>(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(decode::<Span>(b"{\"name\":\"\xff\"}").is_err());
    assert_eq!(error("[1]"), "at `$` (byte 0): found an array, expected an object");
}

#[test]
fn escapes_and_surrogates_are_read() {
    let name = span(r#"{"name":"\u00e9\ud83d\ude00\n\/ \ud800x \"\\"}"#).name;
    assert_eq!(name, "é😀\n/ \u{FFFD}x \"\\");
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        format!("{open}{{}}{}", "]}}".repeat(levels))
    };
    assert!(decode::<AnyValue>(nested(40).as_bytes()).is_ok());
    assert!(decode::<AnyValue>(nested(60).as_bytes()).unwrap_err().to_string().contains("nesting"));
    let brackets = format!(r#"{{"unknown":{}}}"#, "[".repeat(1_000_000));
    assert!(decode::<Span>(brackets.as_bytes()).unwrap_err().to_string().contains("nesting"));
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".*".prop_map(|text| Some(any_value::Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(any_value::Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(any_value::Value::IntValue(value))),
        (any::<f64>()).prop_map(|value| Some(any_value::Value::DoubleValue(value))),
        any::<Vec<u8>>().prop_map(|bytes| Some(any_value::Value::BytesValue(bytes))),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values })) }),
            attributes_of(inner)
                .prop_map(|values| AnyValue { value: Some(any_value::Value::KvlistValue(KeyValueList { values })) }),
        ]
    })
}

fn attributes_of(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (".{0,8}", prop::option::of(value)).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
    prop::collection::vec(attribute, 0..4)
}

fn any_span() -> impl Strategy<Value = Span> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u64>(), any::<u64>(), any::<u32>());
    let status = prop::option::of((".{0,8}", any::<i32>()).prop_map(|(message, code)| Status { message, code }));
    let events = prop::collection::vec((".{0,8}", any::<u64>(), attributes_of(any_value())), 0..3);
    (ids, ".{0,20}", any::<i32>(), attributes_of(any_value()), status, events).prop_map(
        |(ids, name, kind, attributes, status, events)| {
            let event =
                |(name, time_unix_nano, attributes)| Event { name, time_unix_nano, attributes, dropped_attributes_count: 0 };
            Span {
                trace_id: ids.0.to_vec(),
                span_id: ids.1.to_vec(),
                start_time_unix_nano: ids.2,
                end_time_unix_nano: ids.3,
                flags: ids.4,
                name,
                kind,
                attributes,
                status,
                events: events.into_iter().map(event).collect(),
                ..Span::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn protobuf_to_json_and_back_is_equal(span in any_span()) {
        let json = encode(&span);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        let (again, defects) = decode::<Span>(json.as_bytes()).expect("own JSON");
        prop_assert!(defects.is_empty());
        prop_assert_eq!(again.encode_to_vec(), span.encode_to_vec());
    }

    #[test]
    fn a_span_is_borrowed_from_protobuf_as_prost_reads_it(span in any_span()) {
        let body = span.encode_to_vec();
        let borrowed = SpanRef::read(&body).expect("SDKs write no more than these fields");
        prop_assert_eq!(borrowed.to_span().encode_to_vec(), body);
    }

    #[test]
    fn attributes_to_an_object_and_back_are_equal_unless_marked_exact(list in attributes_of(any_value())) {
        let (object, exact) = crate::otlp::attributes::to_object(&list);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&object).is_ok(), "{object}");
        if !exact {
            prop_assert_eq!(crate::otlp::attributes::from_object("attributes", &object).expect("own JSON"), list);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r#"[\[\]{}",:a-z0-9\\.eE+\- ]{0,80}"#) {
        drop(decode::<Span>(text.as_bytes()));
        drop(decode::<AnyValue>(format!("{{\"arrayValue\":{text}").as_bytes()));
    }
}
